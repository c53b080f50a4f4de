//! The consumer's loop over broker and lake in memory: each message once in the lake, whatever moves meanwhile.

mod batches;
mod bounded;
mod faults;
mod for_each;
mod repeats;
mod stops;
mod validating;
mod workers;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use chrono::DateTime;

use super::*;
use crate::broker::TopicSpec;
use crate::broker::memory::{MemoryBroker, MemoryCluster, MemoryConsumer};
use crate::broker::{Event, TransactionalProducer};
use crate::clock::ManualClock;
use crate::config::{self, StartingOffsets, Validation};
use crate::consume::Limits;
use crate::lake::memory::MemoryLake;
use crate::model::{OffsetRange, PartitionOffset, Schema};
use crate::pipeline::monitor::Monitor;
use crate::pipeline::progress::Query;
use crate::validate::Validator;

const TOPIC: &str = "food_orders_raw";
const GROUP: &str = "foodstream-food_orders_raw";
/// Longest real time a test may take: reached only by one that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Broker, lake and clock of a test. The clock moves only while a consumer waits.
struct Bench {
    broker: MemoryBroker,
    lake: MemoryLake,
    clock: Arc<ManualClock>,
    stop: Stop,
    options: Options,
    validation: Validation,
    /// A partition of whose end nobody hears, as while its leader is away.
    silent: Option<i32>,
    /// Wait asked for by each poll that brought nothing.
    waits: Arc<Mutex<Vec<Duration>>>,
}

/// What a test does while the loop polls: called ahead of each poll.
type Script = Box<dyn FnMut(&Poll) + Send>;

/// A poll as the script sees it.
struct Poll {
    /// Manual time since the run began.
    at: Duration,
    /// Polls in a row, before this one, that brought nothing.
    idle: usize,
}

/// Whether the lake's thread has work, once there is one.
type Busy = Arc<OnceLock<Arc<AtomicBool>>>;

/// A group member whose waiting moves the manual clock instead of passing real time. While the lake's thread, which
/// lives in real time, has work, the clock stands still.
struct Driven {
    busy: Busy,
    consumer: MemoryConsumer,
    clock: Arc<ManualClock>,
    script: Script,
    begun: Instant,
    begun_really: Instant,
    idle: usize,
    silent: Option<i32>,
    waits: Arc<Mutex<Vec<Duration>>>,
}

impl GroupConsumer for Driven {
    fn poll(
        &mut self,
        into: &mut MessageBatch,
        max_messages: usize,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Vec<Event>> {
        assert!(self.begun_really.elapsed() < PATIENCE, "the loop does not end");
        let at = self.clock.instant().duration_since(self.begun);
        (self.script)(&Poll { at, idle: self.idle });
        let before = into.len();
        let mut events = self.consumer.poll(into, max_messages, max_bytes, Duration::ZERO)?;
        let is_silent = |partition: i32| self.silent == Some(partition);
        events.retain(|event| !matches!(event, Event::EndOfPartition { partition, .. } if is_silent(*partition)));
        if events.is_empty() && into.len() == before {
            self.idle += 1;
            self.waits.lock().unwrap().push(timeout);
            if self.busy.get().is_some_and(|busy| busy.load(Ordering::Acquire)) {
                std::thread::yield_now();
            } else {
                self.clock.advance(timeout);
            }
        } else {
            self.idle = 0;
        }
        Ok(events)
    }

    fn assign(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        self.consumer.assign(positions)
    }

    fn seek(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        self.consumer.seek(positions)
    }

    fn publish_offsets(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        self.consumer.publish_offsets(positions)
    }

    fn known_ends(&self) -> Vec<PartitionOffset> {
        self.consumer.known_ends()
    }

    fn close(&mut self) {
        self.consumer.close();
    }
}

type TestIngest = Ingest<Driven, MemoryCluster>;

const FOREVER: Bounds = Bounds { available_now: false, max_batches: None, timeout: None };
const AVAILABLE_NOW: Bounds = Bounds { available_now: true, max_batches: None, timeout: None };

impl Bench {
    /// A topic with so many partitions, and batches that only the trigger of 5 s ends.
    fn new(partitions: i32) -> Self {
        let broker = MemoryBroker::new();
        let topic = TopicSpec { name: TOPIC.to_owned(), partitions, replication_factor: 1, config: BTreeMap::new() };
        broker.create_topic(&topic);
        let retry = config::Retry { start_timeout: Duration::ZERO, max_backoff: Duration::from_millis(1) };
        let options = Options {
            topic,
            limits: Limits { max_messages: u64::MAX, max_bytes: u64::MAX },
            trigger: Duration::from_secs(5),
            settle: Duration::from_secs(5),
            starting_offsets: StartingOffsets::Earliest,
            fail_on_data_loss: true,
            retry,
            once_wait: Duration::from_secs(90),
            run_id: "run".to_owned(),
            query: Query::default(),
            monitor: Monitor::default(),
            timestamp_column: "created_at".to_owned(),
            lake_path: "lake".into(),
        };
        let clock = Arc::new(ManualClock::new(DateTime::from_timestamp(1_763_546_400, 0).unwrap()));
        let (lake, validation) = (MemoryLake::default(), Validation::default());
        Bench { broker, lake, clock, stop: Stop::new(), options, validation, silent: None, waits: Arc::default() }
    }

    fn with_limit(mut self, max_messages: u64) -> Self {
        self.options.limits.max_messages = max_messages;
        self
    }

    fn try_open(&self, script: impl FnMut(&Poll) + Send + 'static) -> Result<TestIngest> {
        self.try_open_as(self.broker.consumer(GROUP, TOPIC), script)
    }

    fn try_open_as(&self, consumer: MemoryConsumer, script: impl FnMut(&Poll) + Send + 'static) -> Result<TestIngest> {
        self.try_open_with(consumer, self.broker.cluster(), script)
    }

    fn try_open_with<K: Cluster>(
        &self,
        consumer: MemoryConsumer,
        cluster: K,
        script: impl FnMut(&Poll) + Send + 'static,
    ) -> Result<Ingest<Driven, K>> {
        let busy = Busy::default();
        let consumer = Driven {
            busy: Arc::clone(&busy),
            consumer,
            clock: self.clock.clone(),
            script: Box::new(script),
            begun: self.clock.instant(),
            begun_really: Instant::now(),
            idle: 0,
            silent: self.silent,
            waits: self.waits.clone(),
        };
        let (clock, lake) = (self.clock.clone(), self.lake.clone());
        let (validator, totals) = (validator(&self.validation), totals());
        let parts = Parts { consumer, cluster, lake, validator, totals, clock };
        let ingest = Ingest::open(parts, self.options.clone(), true, self.stop.clone())?;
        busy.get_or_init(|| ingest.writer.busy());
        Ok(ingest)
    }

    fn open(&self, script: impl FnMut(&Poll) + Send + 'static) -> TestIngest {
        self.try_open(script).unwrap()
    }

    /// One run up to the ends of its start, by a worker that leaves the group afterwards.
    fn ingest_all(&self) -> Ingested {
        let mut ingest = self.open(|_| {});
        let done = ingest.run(AVAILABLE_NOW).unwrap();
        ingest.close().unwrap();
        done
    }

    /// Why opening, or a run up to the ends, fails.
    fn failure(&self) -> Error {
        match self.try_open(|_| {}) {
            Err(error) => error,
            Ok(mut ingest) => {
                let error = ingest.run(AVAILABLE_NOW).unwrap_err();
                ingest.close().unwrap();
                error
            }
        }
    }

    /// Orders outside of any transaction.
    fn append(&self, partition: i32, ids: std::ops::RangeInclusive<i64>) {
        append(&self.broker, partition, ids);
    }

    /// Orders of one transaction that stays open.
    fn begin(&self, partition: i32, ids: std::ops::RangeInclusive<i64>) -> impl TransactionalProducer + use<> {
        let mut producer = self.broker.producer(&uuid::Uuid::new_v4().to_string());
        producer.init(Duration::ZERO).unwrap();
        producer.begin().unwrap();
        for id in ids {
            producer.send_one(TOPIC, partition, id.to_string().as_bytes(), order(id).as_bytes()).unwrap();
        }
        producer
    }

    fn commit(&self, partition: i32, ids: std::ops::RangeInclusive<i64>) {
        self.begin(partition, ids).commit(Duration::ZERO).unwrap();
    }

    fn abort(&self, partition: i32, ids: std::ops::RangeInclusive<i64>) {
        self.begin(partition, ids).abort(Duration::ZERO).unwrap();
    }

    /// Ranges and message counts of all commits after the founding one.
    fn commits(&self) -> Vec<(Vec<OffsetRange>, u64)> {
        self.lake.commits().into_iter().map(|batch| (batch.ranges, batch.counts.input)).collect()
    }

    /// The totals are those of the rows that are in the lake, 350.00 each.
    fn check_totals(&self) {
        let (totals, rows) = (self.lake.head_now().totals, self.lake.ids().len() as u64);
        assert_eq!(totals.rows(), rows);
        assert_eq!(totals.sums().unwrap().get("amount").cloned(), (rows > 0).then(|| format!("{}.00", rows * 350)));
    }

    fn positions(&self) -> Vec<i64> {
        self.lake.head_now().positions.values().copied().collect()
    }
}

fn append(broker: &MemoryBroker, partition: i32, ids: std::ops::RangeInclusive<i64>) {
    for id in ids {
        broker.append(TOPIC, partition, Some(id.to_string().as_bytes()), Some(order(id).as_bytes())).unwrap();
    }
}

fn range(partition: i32, from: i64, to: i64) -> OffsetRange {
    OffsetRange { partition, from, to }
}

fn validator(validation: &Validation) -> Validator {
    Validator::compile(&Schema::orders(), validation, "created_at", chrono_tz::UTC, TOPIC).unwrap()
}

/// Of the order columns where nothing is configured.
fn totals() -> Aggregator {
    let settings = config::Aggregate::of(&Schema::orders());
    Aggregator::new(&settings, &validator(&Validation::default()).lake_schema(), "created_at", chrono_tz::UTC).unwrap()
}

fn order(id: i64) -> String {
    order_of(id, "350.00")
}

fn order_of(id: i64, amount: &str) -> String {
    format!(
        r#"{{"order_id":{id},"customer_name":"Alice Smith","restaurant_name":"Spice Garden","item":"Naan","amount":{amount},"order_status":"DELIVERED","created_at":"2025-11-18T10:00:00Z"}}"#
    )
}
