//! Publishing over the broker in memory: what is published once stays published once, whatever is lost on the way.

mod fences;
mod plan;
mod positions;
mod stops;
mod transactions;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::broker::memory::{MemoryBroker, MemoryCluster, MemoryProducer};
use crate::error::Kind;
use crate::model::{Key, Operation};

const TOPIC: &str = "food_orders_raw";
const CURSOR_TOPIC: &str = "foodstream-cursor-shop";
const PIPELINE: &str = "shop.public.orders-food_orders_raw";
/// 2025-11-18 10:00:00, on the column's own clock.
const TEN: i64 = 1_763_460_000_000_000;
const MINUTE_US: i64 = 60_000_000;

/// Makes producers of one transactional id; `before` runs ahead of each.
struct Factory {
    broker: MemoryBroker,
    exactly_once: bool,
    before: Box<dyn FnMut() + Send>,
}

impl ProducerFactory for Factory {
    type Producer = MemoryProducer;

    fn create(&mut self) -> Result<MemoryProducer> {
        (self.before)();
        Ok(match self.exactly_once {
            true => self.broker.producer(&format!("foodstream-{PIPELINE}")),
            false => self.broker.plain_producer(),
        })
    }
}

type TestPublisher = Publisher<Factory, MemoryCluster>;

fn options() -> PublisherOptions {
    PublisherOptions {
        pipeline_id: PIPELINE.to_owned(),
        topic: TopicSpec { name: TOPIC.to_owned(), partitions: 3, replication_factor: 1, config: BTreeMap::new() },
        cursor_topic: CURSOR_TOPIC.to_owned(),
        state_file: None,
        zone: "UTC".to_owned(),
        default_start: Cursor { timestamp_us: 0, key: None },
        start_from: None,
        adopt: false,
        system_identifier: Some("7300000000000000001".to_owned()),
        timeline: Some(1),
        timeout: Duration::from_secs(10),
        exactly_once: true,
        timestamp_column: "created_at".to_owned(),
        key_column: "order_id".to_owned(),
    }
}

fn with_state_file(path: &Path) -> PublisherOptions {
    PublisherOptions { state_file: Some(path.to_owned()), ..options() }
}

fn open(broker: &MemoryBroker, options: PublisherOptions) -> Result<(TestPublisher, Start)> {
    open_with(broker, options, || {})
}

fn open_with(
    broker: &MemoryBroker,
    options: PublisherOptions,
    before: impl FnMut() + Send + 'static,
) -> Result<(TestPublisher, Start)> {
    let exactly_once = options.exactly_once;
    Publisher::open(
        Factory { broker: broker.clone(), exactly_once, before: Box::new(before) },
        broker.cluster(),
        options,
    )
}

/// The error of a start that must fail.
fn refused(broker: &MemoryBroker, options: PublisherOptions) -> Error {
    match open(broker, options) {
        Ok((_, start)) => panic!("started at {}", start.cursor),
        Err(error) => error,
    }
}

/// Order `id` was made `id` minutes after ten.
fn cursor(id: i64) -> Cursor {
    Cursor { timestamp_us: TEN + id * MINUTE_US, key: Some(Key::Int(id)) }
}

fn rows(ids: std::ops::RangeInclusive<i64>) -> ChangeBatch {
    let mut batch = ChangeBatch::default();
    batch.end = Some(cursor(*ids.end()));
    for id in ids {
        let created_at = format_timestamp_us(cursor(id).timestamp_us).replace(' ', "T");
        let written: Result<()> = batch.push_with(Operation::Insert, |buffer| {
            buffer.extend_from_slice(id.to_string().as_bytes());
            let key_end = buffer.len();
            buffer.extend_from_slice(format!(r#"{{"order_id":{id},"created_at":"{created_at}Z"}}"#).as_bytes());
            Ok(key_end)
        });
        written.unwrap();
    }
    batch
}

fn publish(publisher: &mut TestPublisher, ids: std::ops::RangeInclusive<i64>) -> Result<CommitInfo> {
    publisher.append(&rows(ids))?;
    publisher.commit(TEN, 770)
}

/// Ids of all committed rows in the data topic, sorted: a row that was published twice is there twice.
fn published(broker: &MemoryBroker) -> Vec<i64> {
    let mut ids: Vec<i64> = values(broker, TOPIC).iter().map(|row| row["order_id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn cursor_records(broker: &MemoryBroker) -> Vec<serde_json::Value> {
    values(broker, CURSOR_TOPIC)
}

fn values(broker: &MemoryBroker, topic: &str) -> Vec<serde_json::Value> {
    let mut cluster = broker.cluster();
    let mut values = Vec::new();
    for bound in cluster.bounds(topic).unwrap() {
        let mut each = |message: crate::model::Message<'_>| {
            values.push(serde_json::from_slice(message.value.unwrap()).unwrap());
            Ok(())
        };
        let timeout = Duration::from_millis(1);
        cluster.read_committed(topic, bound.partition, bound.earliest, bound.end, timeout, &mut each).unwrap();
    }
    values
}

/// A topic in which another pipeline, or a lost one, published these orders.
fn topic_with(broker: &MemoryBroker, ids: std::ops::RangeInclusive<i64>) {
    broker.create_topic(&options().topic);
    for (index, (_, key, value)) in rows(ids).iter().enumerate() {
        broker.append(TOPIC, (index % 3) as i32, Some(key), Some(value)).unwrap();
    }
}

fn state(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().trim_end().to_owned()
}
