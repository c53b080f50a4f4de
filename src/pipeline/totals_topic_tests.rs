use std::collections::BTreeMap;

use super::*;
use crate::broker::memory::{Fault, MemoryBroker, MemoryProducer};
use crate::clock::ManualClock;
use crate::config::{Aggregate, Compression};
use crate::failpoints::armed;
use crate::lake::{Committed, Lake, LakeOptions, LocalLake};
use crate::model::{Counts, DatedBatch, MicroBatch, OffsetRange, PartitionOffset, Schema};

const TOPIC: &str = "totals";
const PATIENCE: Duration = Duration::from_secs(30);

/// A lake of orders in a folder, grouped by item, and a broker.
struct Bench {
    folder: tempfile::TempDir,
    broker: MemoryBroker,
    next: i64,
}

struct Factory(MemoryBroker);

impl ProducerFactory for Factory {
    type Producer = MemoryProducer;

    fn create(&mut self) -> Result<MemoryProducer> {
        Ok(self.0.producer("foodstream-totals-lake"))
    }
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { folder: tempfile::tempdir().unwrap(), broker: MemoryBroker::new(), next: 0 };
        ensure(&mut bench.broker.cluster(), TOPIC, 1).unwrap();
        bench.lake().found("orders", "id", &[PartitionOffset { partition: 0, offset: 0 }]).unwrap();
        bench
    }

    fn lake(&self) -> LocalLake {
        let at = |name: &str| self.folder.path().join(name);
        let mut aggregate = Aggregate::of(&Schema::orders());
        aggregate.definition.group_by = vec!["item".to_owned()];
        LocalLake::open(LakeOptions {
            settings: config::Lake {
                path: at("lake"),
                compression: Compression::None,
                max_rows_per_file: 1 << 20,
                quarantine_path: at("lake_quarantine"),
                staging_path: at("lake_staging"),
                partition_timezone: chrono_tz::UTC,
            },
            checkpoint: at("checkpoint"),
            lake_schema: Schema::orders().to_arrow(),
            quarantine_schema: Schema::orders().to_arrow(),
            schema_text: Schema::orders(),
            drop_invalid_rows: true,
            aggregate,
            clock: Arc::new(ManualClock::new(chrono::DateTime::from_timestamp(1_763_546_400, 0).unwrap())),
        })
        .unwrap()
    }

    /// Commits one order of 1.00 for each item.
    fn commit(&mut self, items: &[&str]) {
        let date = "2025-11-18".parse().unwrap();
        let count = items.len() as i64;
        let schema = Schema::orders().to_arrow();
        let rows = arrow::array::RecordBatch::try_new(
            schema.clone(),
            schema.fields().iter().map(|field| arrow::array::new_null_array(field.data_type(), items.len())).collect(),
        );
        let mut batch = MicroBatch {
            ranges: vec![OffsetRange { partition: 0, from: self.next, to: self.next + count }],
            accepted: vec![DatedBatch { date, rows: rows.unwrap() }],
            counts: Counts { input: count as u64, accepted: count as u64, rejected: 0 },
            ..MicroBatch::default()
        };
        for item in items {
            let mut one = crate::model::Totals::default();
            one.insert(Period::Day(date), vec![Some((*item).to_owned())], Group::of_sums(1, &[("amount", "1.00")]));
            batch.totals.add(&one).unwrap();
        }
        self.next += count;
        let mut lake = self.lake();
        let head = lake.head().unwrap().unwrap();
        let staged = lake.stage(batch).unwrap();
        assert!(matches!(lake.commit(&staged, &head).unwrap(), Committed::Done(_)));
    }

    fn worker(&self) -> Publishing<Factory> {
        let log = TotalsFollower::open(&self.folder.path().join("checkpoint")).unwrap();
        Publishing::new(log, Factory(self.broker.clone()), TOPIC.to_owned())
    }

    /// Item, commit and rows of every committed record, in order.
    fn records(&self) -> Vec<(String, u64, u64)> {
        let mut cluster = self.broker.cluster();
        let end = cluster.bounds(TOPIC).unwrap()[0].end;
        let mut records = Vec::new();
        let mut each = |message: crate::model::Message<'_>| {
            let key: Value = serde_json::from_slice(message.key.unwrap()).unwrap();
            let value: Value = serde_json::from_slice(message.value.unwrap()).unwrap();
            let item = key["item"].as_str().unwrap().to_owned();
            records.push((item, value["commit"].as_u64().unwrap(), value["rows"].as_u64().unwrap()));
            Ok(())
        };
        cluster.read_committed(TOPIC, 0, 0, end, PATIENCE, &mut each).unwrap();
        records
    }

    /// What a compacted topic keeps.
    fn kept(&self) -> BTreeMap<String, u64> {
        self.records().into_iter().map(|(item, _, rows)| (item, rows)).collect()
    }
}

fn record(item: &str, commit: u64, rows: u64) -> (String, u64, u64) {
    (item.to_owned(), commit, rows)
}

#[test]
fn every_commit_publishes_the_whole_groups_it_touched_and_nothing_else() {
    let mut bench = Bench::new();
    let mut worker = bench.worker();
    bench.commit(&["a", "b"]);
    assert_eq!(worker.step().unwrap(), Some(1));
    bench.commit(&["b"]);
    assert_eq!(worker.step().unwrap(), Some(2));
    assert_eq!(worker.step().unwrap(), Some(2));
    assert_eq!(bench.records(), [record("a", 1, 1), record("b", 1, 1), record("b", 2, 2)]);
}

#[test]
fn keys_and_values_are_compact_json_with_every_digit() {
    let by = vec!["currency".to_owned(), "city".to_owned()];
    let definition = Aggregation { group_by: by, avg: vec!["total".to_owned()], ..Aggregation::default() };
    let period = "2025-11-18T09:30:00Z".parse().unwrap();
    let shown = key(&definition, period, &[Some("U\"S".to_owned()), None]).to_string();
    assert_eq!(shown, r#"{"period":"2025-11-18T09:30:00Z","currency":"U\"S","city":null}"#);
    let sum = "100000000000000000000000000000000000000.00".to_owned();
    let measure = Measure { sum: Some(sum), count: Some(3), min: None, max: None };
    let group = Group { rows: 4, columns: [("total".to_owned(), measure)].into() };
    let expected = concat!(
        r#"{"commit":7,"rows":4,"columns":{"total":{"sum":"100000000000000000000000000000000000000.00","count":3,"#,
        r#""avg":"33333333333333333333333333333333333333.3333"}}}"#
    );
    assert_eq!(value(&definition, 7, &group).to_string(), expected);
}

#[test]
fn what_a_killed_worker_left_out_is_published_by_the_next() {
    let mut bench = Bench::new();
    let mut worker = bench.worker();
    bench.commit(&["a"]);
    worker.step().unwrap();
    // Killed after two commits, before it published either.
    drop(worker);
    bench.commit(&["b"]);
    bench.commit(&["c", "b"]);
    assert_eq!(bench.worker().step().unwrap(), Some(3));
    assert_eq!(bench.kept(), BTreeMap::from([("a".into(), 1), ("b".into(), 2), ("c".into(), 1)]));
}

#[test]
fn an_unclear_transaction_is_repeated_with_the_same_values() {
    for fault in [Fault::CommitAnswerLost, Fault::CommitRequestLost, Fault::CommitRefused] {
        let mut bench = Bench::new();
        let mut worker = bench.worker();
        bench.commit(&["a", "a"]);
        bench.broker.inject(fault);
        assert!(worker.step().is_err(), "{fault:?}");
        bench.commit(&["b"]);
        assert_eq!(worker.step().unwrap(), Some(2), "{fault:?}");
        assert_eq!(bench.kept(), BTreeMap::from([("a".into(), 2), ("b".into(), 1)]), "{fault:?}");
    }
}

#[test]
fn a_worker_without_the_lock_publishes_nothing_and_knows_how_far_the_other_is() {
    let mut bench = Bench::new();
    let (mut first, mut second) = (bench.worker(), bench.worker());
    bench.commit(&["a"]);
    assert_eq!(first.step().unwrap(), Some(1));
    bench.commit(&["a"]);
    assert_eq!(second.step().unwrap(), Some(1));
    assert_eq!(first.step().unwrap(), Some(2));
    drop(first);
    bench.commit(&["b"]);
    assert_eq!(second.step().unwrap(), Some(3));
    assert_eq!(bench.records(), [record("a", 1, 1), record("a", 2, 2), record("b", 3, 1)]);
}

#[test]
fn a_holder_that_was_fenced_overwrites_nothing_newer() {
    let mut bench = Bench::new();
    let mut sleeper = bench.worker();
    bench.commit(&["a"]);
    sleeper.step().unwrap();
    bench.commit(&["a"]);
    // It has read the log and begun to send when its lock is lost and another one takes over.
    let changes = sleeper.log.changes().unwrap().unwrap();
    let mut producer = sleeper.producer.take().unwrap();
    sleeper.log.release();
    let mut next = bench.worker();
    bench.commit(&["a"]);
    assert_eq!(next.step().unwrap(), Some(3));
    assert_eq!(send(&mut producer, TOPIC, &changes).unwrap_err().kind(), Kind::Fenced);
    assert_eq!(bench.records(), [record("a", 1, 1), record("a", 3, 3)]);
}

#[test]
fn a_topic_that_would_forget_is_refused() {
    let bench = Bench::new();
    let spec = |policy: &str| TopicSpec {
        name: "other".to_owned(),
        partitions: 1,
        replication_factor: 1,
        config: [("cleanup.policy".to_owned(), policy.to_owned())].into(),
    };
    bench.broker.create_topic(&spec("compact,delete"));
    let error = ensure(&mut bench.broker.cluster(), "other", 1).unwrap_err();
    assert!(error.to_string().contains("cleanup.policy=compact,delete"), "{error}");
    bench.broker.create_topic(&spec("compact"));
    ensure(&mut bench.broker.cluster(), "other", 1).unwrap();
}

#[test]
fn the_thread_publishes_what_it_is_nudged_for_and_waits_for_a_broker_that_is_away() {
    let mut bench = Bench::new();
    let retry = config::Retry { start_timeout: Duration::ZERO, max_backoff: Duration::from_millis(100) };
    let topic = TotalsTopic::spawn(bench.worker(), &retry, &Monitor::default()).unwrap();
    bench.commit(&["a"]);
    topic.wait_for(1, PATIENCE).unwrap();
    bench.broker.set_reachable(false);
    bench.commit(&["b"]);
    let error = topic.wait_for(2, Duration::from_millis(1)).unwrap_err();
    assert!(error.is_retriable() && error.to_string().contains("commit 2 is in the lake"), "{error}");
    bench.broker.set_reachable(true);
    topic.wait_for(2, PATIENCE).unwrap();
    topic.close(2);
    assert_eq!(bench.kept(), BTreeMap::from([("a".into(), 1), ("b".into(), 1)]));
}

#[test]
fn a_stop_between_the_totals_and_their_mark_publishes_the_same_values_again() {
    let mut bench = Bench::new();
    bench.commit(&["Naan", "Dosa"]);
    let mut worker = bench.worker();
    let stop = armed(failpoints::TOTALS_SENT, 0);
    worker.step().unwrap_err();
    drop(stop);
    drop(worker);
    bench.worker().step().unwrap();
    let once = [record("Dosa", 1, 1), record("Naan", 1, 1)];
    let mut records = bench.records();
    records.sort();
    assert_eq!(records, [&once[..1], &once[..1], &once[1..], &once[1..]].concat());
    assert_eq!(bench.worker().step().unwrap(), Some(1), "the mark says so now");
    assert_eq!(bench.records().len(), 4);
}
