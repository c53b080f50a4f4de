//! The typed settings, after defaults, environment and flags. Units stand last in the names.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use secrecy::SecretString;

use super::preset::Preset;
use super::properties::other_name;
use super::provenance::Provenance;
use super::{defaults, secrets};
use crate::model::{Aggregation, DataType, Schema};
use crate::telemetry;

/// Everything a pipeline is told. Sections a command does not need may be absent in the file; asking for
/// one that is absent is a located configuration error (`Settings::require_*`).
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file it came from; `None` for settings made in memory.
    pub file: Option<PathBuf>,
    /// What lies below it.
    pub preset: Preset,
    pub postgres: Option<Postgres>,
    pub kafka: Option<Kafka>,
    pub cdc: Cdc,
    pub streaming: Streaming,
    pub lake: Option<Lake>,
    pub consumer: Consumer,
    pub validation: Validation,
    pub aggregate: Aggregate,
    /// `None` where the file writes no `schema`: the producer then takes the table's columns, the consumer
    /// `Schema::orders()`.
    pub schema: Option<Schema>,
    pub events: Events,
    pub retry: Retry,
    pub memory_budget_mb: u32,
    pub allow_plaintext: bool,
    pub logging: Logging,
    pub status: Status,
    /// Where each value came from; the reason why settings are made by `Settings::load` and its siblings only.
    pub(super) provenance: Provenance,
}

/// The generator of purchase events.
#[derive(Clone, Debug)]
pub struct Events {
    /// Events a second; `None`: as fast as they can be sent.
    pub rate: Option<f64>,
    pub max_events: Option<u64>,
    pub seed: Option<u64>,
    pub invalid_share: f64,
    pub duplicate_share: f64,
    /// `batch.num.messages` and `linger.ms` of librdkafka, where they are written.
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub struct Postgres {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: Option<SecretString>,
    /// `orders` or `schema.name`, as written.
    pub table: String,
    pub tls: PostgresTls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    /// TLS without checking who answers; only with `security.allow_plaintext`.
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Clone, Debug)]
pub struct PostgresTls {
    /// `None`: verify-full, plain on loopback and single-label hosts.
    pub mode: Option<SslMode>,
    pub root_cert: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Clone)]
pub struct Kafka {
    pub brokers: String,
    pub topic: String,
    pub num_partitions: i32,
    pub replication_factor: i32,
    /// Topic settings used when a missing topic is created.
    pub topic_config: BTreeMap<String, String>,
    pub consumer_group: String,
    /// librdkafka names, already checked against those that would break a promise.
    pub properties: BTreeMap<String, String>,
    pub producer_properties: BTreeMap<String, String>,
    pub consumer_properties: BTreeMap<String, String>,
    pub exactly_once: bool,
}

impl Kafka {
    /// Takes the place of what is given for the producer by either name of the setting.
    pub fn set_producer_property(&mut self, name: &str, value: &str) {
        if let Some(other) = other_name(name) {
            self.producer_properties.remove(other);
        }
        self.producer_properties.insert(name.to_owned(), value.to_owned());
    }
}

/// By hand, since a property may be a password.
impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("num_partitions", &self.num_partitions)
            .field("replication_factor", &self.replication_factor)
            .field("topic_config", &self.topic_config)
            .field("consumer_group", &self.consumer_group)
            .field("properties", &secrets::masked(&self.properties))
            .field("producer_properties", &secrets::masked(&self.producer_properties))
            .field("consumer_properties", &secrets::masked(&self.consumer_properties))
            .field("exactly_once", &self.exactly_once)
            .finish()
    }
}

#[derive(Clone, Debug)]
pub struct Cdc {
    pub poll_interval: Duration,
    pub batch_limit: u32,
    /// Microseconds on the timestamp column's own clock.
    pub default_start_timestamp_us: i64,
    pub timestamp_column: String,
    /// `None`: the table's primary key.
    pub key_column: Option<String>,
    pub timezone: Tz,
    pub begin_margin: Duration,
    pub late_commit_margin: Option<Duration>,
    /// `None`: `foodstream-cursor-<pipeline id>`.
    pub cursor_topic: Option<String>,
    /// `None`: `<db>.<schema>.<table>-<topic>`.
    pub pipeline_id: Option<String>,
    pub transaction_max_rows: u32,
    pub transaction_max: Duration,
}

#[derive(Clone, Debug, Default)]
pub struct Streaming {
    pub checkpoint_location: Option<PathBuf>,
    /// The state file itself, resolved from `last_processed_timestamp_location` (a folder or a `.txt` file).
    pub state_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Snappy,
    Lz4,
    Zstd(i32),
}

#[derive(Clone, Debug)]
pub struct Lake {
    pub path: PathBuf,
    pub compression: Compression,
    pub max_rows_per_file: u64,
    pub quarantine_path: PathBuf,
    pub staging_path: PathBuf,
    pub partition_timezone: Tz,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartingOffsets {
    Earliest,
    Latest,
    /// Milliseconds since the epoch: the first message at or after it.
    TimestampMs(i64),
    /// Spark's per-partition form: partition to offset (-2 earliest, -1 latest).
    Explicit(BTreeMap<i32, i64>),
}

#[derive(Clone, Debug)]
pub struct Consumer {
    pub max_offsets_per_trigger: Option<u64>,
    pub trigger_interval: Duration,
    /// `None`: run until stopped.
    pub await_termination_timeout: Option<Duration>,
    pub max_batch_bytes: u64,
    pub starting_offsets: StartingOffsets,
    pub fail_on_data_loss: bool,
}

#[derive(Clone, Debug)]
pub struct Validation {
    pub allow_null_order_id: bool,
    pub allow_negative_amount: bool,
    pub allow_zero_amount: bool,
    pub check_status: bool,
    pub drop_invalid_rows: bool,
    pub rules: Vec<Rule>,
    pub total: Option<TotalRule>,
    pub unique: Option<Unique>,
}

impl Default for Validation {
    fn default() -> Self {
        Validation {
            allow_null_order_id: false,
            allow_negative_amount: false,
            allow_zero_amount: false,
            check_status: true,
            drop_invalid_rows: true,
            rules: Vec::new(),
            total: None,
            unique: None,
        }
    }
}

/// Columns of `total = quantity × unit_price × (1 − discount_percentage / 100)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotalRule {
    pub total: String,
    pub quantity: String,
    pub unit_price: String,
    pub discount_percentage: Option<String>,
}

/// A column whose values are accepted once within the last `horizon` accepted rows, or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    pub column: String,
    pub horizon: u64,
}

/// One entry of `validation.rules`. Numbers stay text so that a decimal bound is exact.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    pub column: String,
    pub not_null: bool,
    pub not_empty: bool,
    pub min: Option<String>,
    pub max: Option<String>,
    pub exclusive_min: Option<String>,
    pub one_of: Option<Vec<String>>,
    pub matches: Option<String>,
    pub max_length: Option<u64>,
}

/// The totals that every commit keeps.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Pinned with the lake.
    pub definition: Aggregation,
    /// Groups of one period, at most.
    pub max_groups: u32,
    /// Where they are published.
    pub topic: Option<String>,
}

impl Aggregate {
    /// What is kept of these columns where nothing is configured: rows by day, and the sum of a decimal `amount`.
    pub fn of(schema: &Schema) -> Aggregate {
        let is_money = |data_type| matches!(data_type, DataType::Decimal { .. });
        let column = schema.columns.iter().find(|column| column.name == defaults::SUM_COLUMN);
        let sum = column.filter(|column| is_money(column.data_type)).map(|column| column.name.clone());
        let definition = Aggregation { sum: sum.into_iter().collect(), ..Aggregation::default() };
        Aggregate { definition, max_groups: defaults::MAX_GROUPS, topic: None }
    }
}

#[derive(Clone, Debug)]
pub struct Retry {
    pub start_timeout: Duration,
    pub max_backoff: Duration,
}

#[derive(Clone, Debug)]
pub struct Logging {
    pub level: String,
    pub format: telemetry::Format,
    pub file: Option<PathBuf>,
}

/// The status server.
#[derive(Clone, Debug)]
pub struct Status {
    /// `None`: for commands only.
    pub enabled: Option<bool>,
    pub host: String,
    /// `None`: the next free one from 4040.
    pub port: Option<u16>,
    pub token: Option<SecretString>,
    pub ready_max_lag: Duration,
}
