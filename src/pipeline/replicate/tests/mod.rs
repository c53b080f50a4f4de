//! The producer's loop over a table and a broker in memory: each row's message once, whatever fails on either side.

mod bounds;
mod faults;
mod transactions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use chrono::DateTime;

use super::*;
use crate::broker::memory::{MemoryBroker, MemoryCluster, MemoryProducer};
use crate::broker::{Cluster, TopicSpec};
use crate::capture::memory::{MemorySource, MemoryTable};
use crate::capture::{Source, SourceSight, WaitingRows};
use crate::clock::{ManualClock, SystemClock};
use crate::config;
use crate::model::Key;
use crate::pipeline::monitor::Monitor;
use crate::pipeline::progress::Query;
use crate::publish::{ProducerFactory, Publisher, PublisherOptions};

const TOPIC: &str = "food_orders_raw";
const CURSOR_TOPIC: &str = "foodstream-cursor-shop";
/// Order `id` was made at this microsecond plus `id`.
const TEN: i64 = 1_763_460_000_000_000;
/// Longest real time a test may take: reached only by one that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

const ONCE: Bounds = Bounds { once: true, max_rows: None, timeout: None };
const FOREVER: Bounds = Bounds { once: false, max_rows: None, timeout: None };

/// What a test does while the loop polls: called with the number of each page, from 1, before it is read.
type Script = Box<dyn FnMut(usize) + Send>;

/// The table, with what a server tells beside its rows.
struct Watched {
    source: MemorySource,
    server: Arc<Mutex<Server>>,
    script: Script,
}

#[derive(Default)]
struct Server {
    clock_us: i64,
    holder: Option<String>,
    /// Limits of the pages asked for.
    limits: Vec<u32>,
    begun: Option<Instant>,
    clock_failures: usize,
}

impl Source for Watched {
    fn seek(&mut self, position: Cursor) {
        self.source.seek(position);
    }

    async fn next_page(&mut self, limit: u32, batch: &mut ChangeBatch) -> Result<Page> {
        let number = {
            let mut server = self.server.lock().unwrap();
            server.limits.push(limit);
            let begun = *server.begun.get_or_insert_with(Instant::now);
            assert!(begun.elapsed() < PATIENCE, "the loop does not end");
            server.limits.len()
        };
        (self.script)(number);
        self.source.next_page(limit, batch).await
    }
}

impl BoundedSource for Watched {
    async fn server_clock_us(&mut self) -> Result<i64> {
        let mut server = self.server.lock().unwrap();
        if server.clock_failures > 0 {
            server.clock_failures -= 1;
            return Err(away());
        }
        Ok(server.clock_us)
    }

    fn holder(&self) -> Option<String> {
        self.server.lock().unwrap().holder.clone()
    }

    fn sight(&self) -> Option<SourceSight> {
        None
    }

    async fn count_waiting(&mut self) -> Result<Option<WaitingRows>> {
        Ok(None)
    }
}

struct Factory(MemoryBroker);

impl ProducerFactory for Factory {
    type Producer = MemoryProducer;

    fn create(&mut self) -> Result<MemoryProducer> {
        Ok(self.0.producer("foodstream-shop"))
    }
}

/// Table, broker and settings of a test.
struct Bench {
    table: MemoryTable,
    broker: MemoryBroker,
    server: Arc<Mutex<Server>>,
    stop: Stop,
    options: Options,
    state_file: Option<PathBuf>,
}

impl Bench {
    /// A table with orders 1 to `rows`; polls of 10 rows, transactions of 100; the server's clock stands behind the
    /// last of them and nobody holds the horizon.
    fn new(rows: i64) -> Self {
        let options = Options {
            topic: TOPIC.to_owned(),
            poll_interval: Duration::from_millis(1),
            batch_limit: 10,
            transaction_max_rows: 100,
            transaction_max: PATIENCE,
            page_max_bytes: 1 << 20,
            retry: config::Retry { start_timeout: PATIENCE, max_backoff: Duration::from_millis(1) },
            once_wait: PATIENCE,
            run_id: "run".to_owned(),
            query: Query::default(),
            monitor: Monitor::default(),
            source: "PostgreSQL[shop.public.orders]".to_owned(),
        };
        let server = Server { clock_us: TEN + 1_000_000, ..Server::default() };
        let bench = Bench {
            table: MemoryTable::default(),
            broker: MemoryBroker::new(),
            server: Arc::new(Mutex::new(server)),
            stop: Stop::new(),
            options,
            state_file: None,
        };
        bench.insert(1..=rows);
        bench.table.set_horizon(TEN + 1_000_001);
        bench
    }

    fn insert(&self, ids: std::ops::RangeInclusive<i64>) {
        insert(&self.table, ids);
    }

    fn publisher_options(&self) -> PublisherOptions {
        PublisherOptions {
            pipeline_id: "shop".to_owned(),
            topic: TopicSpec { name: TOPIC.to_owned(), partitions: 3, replication_factor: 1, config: BTreeMap::new() },
            cursor_topic: CURSOR_TOPIC.to_owned(),
            state_file: self.state_file.clone(),
            zone: "UTC".to_owned(),
            default_start: Cursor { timestamp_us: 0, key: None },
            start_from: None,
            adopt: false,
            system_identifier: None,
            timeline: None,
            timeout: Duration::from_secs(10),
            exactly_once: true,
            timestamp_column: "created_at".to_owned(),
            key_column: "order_id".to_owned(),
        }
    }

    fn publisher(&self) -> (Publisher<Factory, MemoryCluster>, Start) {
        Publisher::open(Factory(self.broker.clone()), self.broker.cluster(), self.publisher_options()).unwrap()
    }

    fn open(&self, script: impl FnMut(usize) + Send + 'static) -> Replicate<Watched> {
        self.open_at(script, Arc::new(SystemClock))
    }

    fn open_at(&self, script: impl FnMut(usize) + Send + 'static, clock: Arc<dyn Clock>) -> Replicate<Watched> {
        let (publisher, start) = self.publisher();
        let source = Watched { source: self.table.source(), server: self.server.clone(), script: Box::new(script) };
        let sender = Sender::spawn(publisher).unwrap();
        Replicate::new(source, sender, &start, self.options.clone(), self.stop.clone(), clock)
    }

    /// Ids of all committed rows in the data topic, sorted: a row that was published twice is there twice.
    fn published(&self) -> Vec<i64> {
        published(&self.broker)
    }

    fn cursor_records(&self) -> Vec<serde_json::Value> {
        let mut cluster = self.broker.cluster();
        let end = cluster.bounds(CURSOR_TOPIC).unwrap()[0].end;
        let mut records = Vec::new();
        let mut each = |message: crate::model::Message<'_>| {
            records.push(serde_json::from_slice(message.value.unwrap()).unwrap());
            Ok(())
        };
        cluster.read_committed(CURSOR_TOPIC, 0, 0, end, Duration::ZERO, &mut each).unwrap();
        records
    }

    fn limits(&self) -> Vec<u32> {
        self.server.lock().unwrap().limits.clone()
    }
}

fn insert(table: &MemoryTable, ids: std::ops::RangeInclusive<i64>) {
    for id in ids {
        table.insert(TEN + id, Key::Int(id), id.to_string());
    }
}

fn published(broker: &MemoryBroker) -> Vec<i64> {
    let mut cluster = broker.cluster();
    let mut ids = Vec::new();
    for bound in cluster.bounds(TOPIC).unwrap() {
        let mut each = |message: crate::model::Message<'_>| {
            ids.push(std::str::from_utf8(message.value.unwrap()).unwrap().parse().unwrap());
            Ok(())
        };
        // Up to where nothing is open.
        let readable = |until: &i64| {
            let mut cluster = broker.cluster();
            cluster.read_committed(TOPIC, bound.partition, *until, *until, Duration::ZERO, &mut |_| Ok(())).is_ok()
        };
        let until = (bound.earliest..=bound.end).rev().find(readable).unwrap();
        cluster.read_committed(TOPIC, bound.partition, 0, until, Duration::ZERO, &mut each).unwrap();
    }
    ids.sort_unstable();
    ids
}

/// Rows of each transaction that a run reported, in order.
fn transactions(replicate: &Replicate<Watched>) -> Vec<u64> {
    replicate.reports().recent().iter().map(|report| report["numInputRows"].as_u64().unwrap()).collect()
}

fn all(rows: i64) -> Vec<i64> {
    (1..=rows).collect()
}

fn away() -> Error {
    Error::new(Kind::Source, "the server closed the connection").retriable()
}

fn manual_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(DateTime::from_timestamp(1_763_546_400, 0).unwrap()))
}
