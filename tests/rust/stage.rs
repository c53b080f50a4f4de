//! A pipeline of its own for each test: a database, a topic, folders, and the parts to run it step by step.

use std::path::Path;
use std::time::Duration;

use foodstream::broker::kafka::{KafkaCluster, KafkaProducer};
use foodstream::broker::{Cluster, TopicSpec, TransactionalProducer};
use foodstream::config::{Overrides, Settings};
use foodstream::model::position::format_timestamp_us;
use foodstream::model::{ChangeBatch, Cursor, Operation};
use foodstream::pipeline::compose::{self, ConsumerRun, ProducerRun};
use foodstream::pipeline::monitor::Monitor;
use foodstream::pipeline::{Stop, ingest, replicate};
use foodstream::publish::CursorRecord;
use foodstream::tools::{InsertOptions, InsertReport, insert_test_orders};
use foodstream::verify::{Report, VerifyOptions, verify};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// 2025-11-18 12:00 UTC, the time of the last sample order.
pub const NOON: i64 = 1_763_467_200_000_000;
pub const ORDERS: &str = include_str!("../../db/orders.sql");
const TIMEOUT: Duration = Duration::from_secs(30);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run the tests by `make test`"))
}

/// Requests its stop when it goes: a test that fails would wait for ever for a run that nobody ends.
pub struct EndWithTest(pub Stop);

impl Drop for EndWithTest {
    fn drop(&mut self) {
        self.0.request();
    }
}

pub struct Stage {
    pub settings: Settings,
    pub sql: Client,
    pub folder: TempDir,
}

async fn connect(text: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(text, NoTls).await.expect("postgresql answers");
    tokio::spawn(connection);
    client
}

impl Stage {
    /// A database with `tables` (SQL), and a configuration that `extra` (YAML) is added to.
    pub async fn new(tables: &str, extra: &str) -> Stage {
        let server = variable("FOODSTREAM_TEST_POSTGRES");
        let kafka = variable("FOODSTREAM_TEST_KAFKA");
        let name = format!("stage_{}", uuid::Uuid::new_v4().simple());
        let admin = connect(&server).await;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let value = |key: &str| {
            let found = server.split_whitespace().find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        let sql = connect(&format!("{server} dbname={name}")).await;
        sql.batch_execute(tables).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        let (host, port, user, password) = (value("host"), value("port"), value("user"), value("password"));
        let yaml = format!(
            "postgres: {{host: {host}, port: {port}, db: {name}, user: {user}, password: '{password}', table: orders}}\n\
             kafka: {{brokers: '{kafka}', topic: {name}, num_partitions: 2, replication_factor: 1}}\n\
             streaming: {{checkpoint_location: {root}/checkpoint, last_processed_timestamp_location: {root}/state}}\n\
             datalake: {{path: {root}/lake, format: parquet}}\n\
             consumer: {{trigger_interval_ms: 50}}\n{extra}"
        );
        let settings = Settings::from_yaml(&yaml, None, &Overrides::default()).unwrap();
        Stage { settings, sql, folder }
    }

    /// The documents' table with its ten rows.
    pub async fn orders() -> Stage {
        Self::new(ORDERS, "cdc: {poll_interval_sec: 0.05}\n").await
    }

    pub async fn run(&self, statement: &str) {
        self.sql.batch_execute(statement).await.unwrap();
    }

    /// Publishes what is there.
    pub async fn produce(&self) {
        let run = ProducerRun {
            start_from: None,
            adopt: false,
            once_wait: TIMEOUT,
            run_id: "test".into(),
            monitor: Monitor::default(),
        };
        let stop = Stop::new();
        let mut replicate = compose::producer(&self.settings, &run, true, &stop).await.unwrap();
        replicate.run(replicate::Bounds { once: true, ..replicate::Bounds::default() }).await.unwrap();
    }

    /// Consumes what is there.
    pub async fn consume(&self) {
        let settings = self.settings.clone();
        let consumed = tokio::task::spawn_blocking(move || {
            let run = ConsumerRun { once_wait: TIMEOUT, run_id: "test".into(), monitor: Monitor::default() };
            let mut ingest = compose::consumer(&settings, &run, true, &Stop::new())?;
            ingest.run(ingest::Bounds { available_now: true, ..ingest::Bounds::default() })
        });
        consumed.await.unwrap().unwrap();
    }

    pub async fn verify(&self) -> Report {
        verify(&self.settings, &VerifyOptions::default()).await.unwrap()
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Names of all Parquet files of the lake, relative to it.
    pub fn lake_files(&self) -> Vec<std::path::PathBuf> {
        let root = self.path("lake");
        let folders = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// A message outside the pipeline's transactions and without a key.
    pub async fn foreign_message(&self, value: &'static str) {
        let kafka = self.settings.require_kafka().unwrap().clone();
        let sent = tokio::task::spawn_blocking(move || {
            KafkaCluster::new(&kafka)?.send_check(&kafka.topic, value.as_bytes()).map(drop)
        });
        sent.await.unwrap().unwrap();
    }

    /// A snapshot's xmin above every tuple: transactions of other tests, anywhere on the server, hold it back.
    async fn snapshot_past_all_rows(&self) -> u64 {
        let sql = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, max(xmin::text::bigint) FROM orders";
        loop {
            let row = self.sql.query_one(sql, &[]).await.unwrap();
            if row.get::<_, i64>(0) > row.get::<_, i64>(1) {
                return row.get::<_, i64>(0) as u64;
            }
            tokio::task::yield_now().await;
        }
    }

    /// What a faulty producer would do: these messages, and a cursor above all rows of the table, in one transaction.
    pub async fn publish_badly(&self, messages: &[(i64, String)], cursor: Cursor) {
        let snapshot_xmin = self.snapshot_past_all_rows().await;
        let settings = self.settings.clone();
        let mut batch = ChangeBatch::default();
        batch.end = Some(cursor);
        for (key, value) in messages {
            let write = |out: &mut Vec<u8>| {
                out.extend_from_slice(key.to_string().as_bytes());
                let key_end = out.len();
                out.extend_from_slice(value.as_bytes());
                Ok::<usize, ()>(key_end)
            };
            batch.push_with(Operation::Insert, write).unwrap();
        }
        let work = move || publish(&settings, &batch, cursor, snapshot_xmin);
        tokio::task::spawn_blocking(work).await.unwrap();
    }
}

fn publish(settings: &Settings, batch: &ChangeBatch, cursor: Cursor, snapshot_xmin: u64) {
    let kafka = settings.require_kafka().unwrap();
    let pipeline_id = settings.pipeline_id("public", "orders").unwrap();
    let cursor_topic = settings.cursor_topic(&pipeline_id);
    let mut cluster = KafkaCluster::new(kafka).unwrap();
    let spec = |name: &str, partitions| TopicSpec {
        name: name.to_owned(),
        partitions,
        replication_factor: 1,
        config: [("cleanup.policy".to_owned(), if partitions == 1 { "compact" } else { "delete" }.to_owned())].into(),
    };
    cluster.ensure_topic(&spec(&kafka.topic, 2)).unwrap();
    cluster.ensure_topic(&spec(&cursor_topic, 1)).unwrap();
    let mut producer = KafkaProducer::transactional(kafka, "stage").unwrap();
    producer.init(TIMEOUT).unwrap();
    let record = CursorRecord {
        version: 1,
        pipeline_id: pipeline_id.clone(),
        timestamp: format_timestamp_us(cursor.timestamp_us),
        key: cursor.key.map(|key| key.to_string()),
        zone: "UTC".into(),
        horizon: None,
        snapshot_xmin: Some(snapshot_xmin),
        rows_published: batch.len() as u64,
        start: "1970-01-01 00:00:00".into(),
        writer: "test".into(),
        system_identifier: None,
        timeline: None,
        topic_id: None,
    };
    producer.begin().unwrap();
    producer.send(&kafka.topic, batch).unwrap();
    producer.send_one(&cursor_topic, 0, pipeline_id.as_bytes(), &record.encode().unwrap()).unwrap();
    producer.commit(TIMEOUT).unwrap();
}

/// Copies a file under another lake file's name.
pub fn copy_as_other(file: &Path) -> std::path::PathBuf {
    let name = file.file_name().unwrap().to_str().unwrap();
    let other = file.with_file_name(name.replacen("part-0", "part-1", 1));
    std::fs::copy(file, &other).unwrap();
    other
}

/// Test orders into the stage's table.
pub async fn insert(stage: &Stage, options: InsertOptions) -> InsertReport {
    insert_test_orders(&stage.settings, &options, std::future::pending()).await.unwrap()
}
