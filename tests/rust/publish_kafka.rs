//! Publishing over a real Kafka (`FOODSTREAM_TEST_KAFKA`): what control records, fences and the brokers' own settings
//! do to the cursor. The rules themselves are tested beside the code, over memory.

use std::collections::BTreeMap;
use std::time::Duration;

use foodstream::broker::kafka::{KafkaCluster, KafkaProducer};
use foodstream::broker::{Cluster, TopicSpec, TransactionalProducer};
use foodstream::error::{Error, Kind, Result};
use foodstream::model::{ChangeBatch, Cursor, Key};
use foodstream::publish::{CursorRecord, ProducerFactory, Publisher, PublisherOptions, Start, StartOrigin};

use crate::broker_kafka::{Real, kafka};
use crate::conformance::{self, Harness, PATIENCE, all_values, committed, end, new_producer, wait_for};

/// 2025-11-18 12:00:00, on the column's own clock.
const NOON_US: i64 = 1_763_467_200_000_000;

struct Factory {
    transactional_id: String,
}

impl ProducerFactory for Factory {
    type Producer = KafkaProducer;

    fn create(&mut self) -> Result<KafkaProducer> {
        KafkaProducer::transactional(&kafka("unused"), &self.transactional_id)
    }
}

type RealPublisher = Publisher<Factory, KafkaCluster>;

fn transactional_id(options: &PublisherOptions) -> String {
    format!("foodstream-{}", options.pipeline_id)
}

/// Options of a pipeline that never ran.
fn options() -> PublisherOptions {
    let pipeline_id = Real.fresh("pipeline");
    PublisherOptions {
        topic: TopicSpec {
            name: format!("{pipeline_id}-data"),
            partitions: 3,
            replication_factor: 1,
            config: BTreeMap::new(),
        },
        cursor_topic: format!("{pipeline_id}-cursor"),
        pipeline_id,
        state_file: None,
        zone: "UTC".to_owned(),
        default_start: Cursor { timestamp_us: 0, key: None },
        start_from: None,
        adopt: false,
        system_identifier: None,
        timeline: None,
        timeout: PATIENCE,
        exactly_once: true,
        timestamp_column: "created_at".to_owned(),
        key_column: "order_id".to_owned(),
    }
}

fn open(options: &PublisherOptions) -> Result<(RealPublisher, Start)> {
    Publisher::open(Factory { transactional_id: transactional_id(options) }, Real.cluster(), options.clone())
}

/// The error of a start that must fail.
fn refused(options: &PublisherOptions) -> Error {
    match open(options) {
        Ok((_, start)) => panic!("started at {}", start.cursor),
        Err(error) => error,
    }
}

/// Order `id` was made `id` seconds after noon.
fn at(id: i64) -> Cursor {
    Cursor { timestamp_us: NOON_US + id * 1_000_000, key: Some(Key::Int(id)) }
}

fn rows(ids: std::ops::RangeInclusive<i64>) -> ChangeBatch {
    let end = at(*ids.end());
    let mut batch = conformance::rows(ids.map(|id| (id.to_string(), id.to_string())));
    batch.end = Some(end);
    batch
}

fn publish(publisher: &mut RealPublisher, ids: std::ops::RangeInclusive<i64>) -> Result<()> {
    publisher.append(&rows(ids))?;
    publisher.commit(NOON_US, 770).map(drop)
}

/// Ids of all committed rows, sorted.
fn published(options: &PublisherOptions) -> Vec<i64> {
    let topic = Real.cluster().describe(&options.topic.name).unwrap().unwrap();
    let mut ids: Vec<i64> = all_values(&Real, &topic).iter().map(|id| id.parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// The committed cursor records, oldest first.
fn records(options: &PublisherOptions) -> Vec<CursorRecord> {
    let seen = committed(&Real, &options.cursor_topic, 0);
    seen.iter().map(|seen| CursorRecord::parse(seen.value_text().as_bytes()).unwrap()).collect()
}

fn rows_in_the_log(options: &PublisherOptions) -> i64 {
    Real.cluster().bounds(&options.topic.name).unwrap().iter().map(|bounds| bounds.end).sum()
}

#[test]
fn a_cursor_topic_that_forgets_is_refused() {
    for policy in ["delete", "compact,delete"] {
        let options = options();
        let config = BTreeMap::from([("cleanup.policy".to_owned(), policy.to_owned())]);
        let spec = TopicSpec { name: options.cursor_topic.clone(), partitions: 1, replication_factor: 1, config };
        Real.cluster().ensure_topic(&spec).unwrap();
        let error = refused(&options);
        assert_eq!((error.kind(), error.is_retriable()), (Kind::Broker, false), "{error}");
        assert!(error.to_string().contains(&format!("cleanup.policy={policy}")), "{error}");
    }
}

#[test]
fn a_first_start_makes_a_compacted_cursor_topic_and_records_where_it_starts() {
    let options = options();
    let (_publisher, start) = open(&options).unwrap();
    assert_eq!((start.cursor, start.origin), (options.default_start, StartOrigin::Default));
    let config = Real.cluster().topic_config(&options.cursor_topic).unwrap();
    assert_eq!((config["cleanup.policy"].as_str(), config["segment.bytes"].as_str()), ("compact", "1048576"));
    assert_eq!(records(&options).len(), 1);
}

#[test]
fn rows_and_their_cursor_become_visible_together() {
    let options = options();
    let (mut publisher, _) = open(&options).unwrap();
    publisher.append(&rows(1..=20)).unwrap();
    wait_for("the rows at the broker", || rows_in_the_log(&options) == 20);
    // Read up to the last offset that no open transaction holds back: nothing.
    for bounds in Real.cluster().bounds(&options.topic.name).unwrap().into_iter().filter(|bounds| bounds.end > 0) {
        let mut nothing = |message: foodstream::model::Message<'_>| panic!("visible before the commit: {message:?}");
        let timeout = Duration::from_millis(200);
        let read = Real.cluster().read_committed(&options.topic.name, bounds.partition, 0, 1, timeout, &mut nothing);
        assert!(read.unwrap_err().is_retriable());
    }
    assert_eq!(records(&options).len(), 1, "that of the start");
    publisher.commit(NOON_US, 770).unwrap();
    assert_eq!(published(&options), (1..=20).collect::<Vec<_>>());
    let record = records(&options).pop().unwrap();
    assert_eq!((record.cursor().unwrap(), record.rows_published), (at(20), 20));
    assert_eq!((record.horizon_us().unwrap(), record.snapshot_xmin), (Some(NOON_US), Some(770)));
}

#[test]
fn a_restart_reads_the_position_back_past_control_records() {
    let options = options();
    let (mut publisher, _) = open(&options).unwrap();
    publish(&mut publisher, 1..=5).unwrap();
    publish(&mut publisher, 6..=10).unwrap();
    publisher.append(&rows(11..=15)).unwrap();
    // Left open: only the next start ends it.
    drop(publisher);
    // Somebody's aborted record behind the last cursor, so that the topic ends in control records and the dead.
    let before = end(&Real, &options.cursor_topic, 0);
    let mut stranger = new_producer(&Real);
    stranger.begin().unwrap();
    stranger.send_one(&options.cursor_topic, 0, b"stranger", b"no cursor at all").unwrap();
    wait_for("the record at the broker", || end(&Real, &options.cursor_topic, 0) == before + 1);
    stranger.abort(PATIENCE).unwrap();
    let (mut publisher, start) = open(&options).unwrap();
    assert_eq!((start.cursor, start.rows_published, start.origin), (at(10), 10, StartOrigin::CursorTopic));
    assert_eq!((start.horizon_us, start.first), (Some(NOON_US), options.default_start));
    publish(&mut publisher, 11..=15).unwrap();
    assert_eq!(published(&options), (1..=15).collect::<Vec<_>>());
}

#[test]
fn recovery_drops_what_was_open_and_reads_the_position_back() {
    let options = options();
    let (mut publisher, _) = open(&options).unwrap();
    publish(&mut publisher, 1..=5).unwrap();
    publisher.append(&rows(6..=10)).unwrap();
    wait_for("the rows at the broker", || rows_in_the_log(&options) >= 10);
    let start = publisher.recover().unwrap();
    assert_eq!((start.cursor, start.rows_published), (at(5), 5));
    publish(&mut publisher, 6..=8).unwrap();
    assert_eq!(published(&options), (1..=8).collect::<Vec<_>>());
    assert_eq!(records(&options).pop().unwrap().rows_published, 8);
}

#[test]
fn of_two_publishers_of_one_pipeline_the_older_is_fenced() {
    let options = options();
    let (mut older, _) = open(&options).unwrap();
    publish(&mut older, 1..=3).unwrap();
    older.append(&rows(4..=6)).unwrap();
    let (mut newer, start) = open(&options).unwrap();
    assert_eq!(start.cursor, at(3));
    publish(&mut newer, 4..=6).unwrap();
    let fence = older.commit(NOON_US, 770).unwrap_err();
    assert_eq!(fence.kind(), Kind::Fenced, "{fence}");
    let error = older.recover().unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (Kind::Fenced, false), "{error}");
    assert!(error.to_string().contains("cdc.pipeline_id"), "{error}");
    publish(&mut newer, 7..=9).unwrap();
    assert_eq!(published(&options), (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_single_publisher_that_was_only_paused_goes_on() {
    let options = options();
    let (mut publisher, _) = open(&options).unwrap();
    publish(&mut publisher, 1..=3).unwrap();
    publisher.append(&rows(4..=6)).unwrap();
    // As the broker does when a transaction takes too long: the epoch moves on, and nobody else writes.
    Real.producer(&transactional_id(&options)).init(PATIENCE).unwrap();
    assert_eq!(publisher.commit(NOON_US, 770).unwrap_err().kind(), Kind::Fenced);
    assert_eq!(publisher.recover().unwrap().cursor, at(3));
    publish(&mut publisher, 4..=6).unwrap();
    assert_eq!(published(&options), (1..=6).collect::<Vec<_>>());
}

#[test]
fn a_foreign_transaction_on_the_cursor_topic_is_waited_for() {
    let options = options();
    drop(open(&options).unwrap());
    let before = end(&Real, &options.cursor_topic, 0);
    let mut stranger = new_producer(&Real);
    stranger.begin().unwrap();
    stranger.send_one(&options.cursor_topic, 0, b"stranger", b"{}").unwrap();
    wait_for("the record at the broker", || end(&Real, &options.cursor_topic, 0) > before);
    let error = refused(&PublisherOptions { timeout: Duration::from_secs(2), ..options.clone() });
    assert_eq!(error.exit_code(), 75, "{error}");
    assert!(error.to_string().contains("open transaction"), "{error}");
    stranger.abort(PATIENCE).unwrap();
    assert_eq!(open(&options).unwrap().1.origin, StartOrigin::CursorTopic);
}
