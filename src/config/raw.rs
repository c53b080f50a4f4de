//! The configuration as written: one struct a section, every key optional, numbers within their range.
//!
//! These structs are the one list of keys: the reader, the "unknown key" error, the ranges (garde) and the JSON
//! Schema for editors (schemars, from the same attributes and comments) all come from here. `resolve` turns them
//! into `Settings`. Aliases are not repeated: `layers` has given every key its own name before.

use std::collections::BTreeMap;

use garde::Validate;
use schemars::JsonSchema;
use serde::Deserialize;

use super::defaults::{self, MAX_WAIT_MS, MAX_WAIT_SEC};
use super::preset::Preset;
pub(super) use super::raw_text::{RawOffsets, RawScalar};

/// Carries rows from PostgreSQL through Kafka into a Parquet lake. `${NAME}`, `${NAME:-default}` and
/// `${NAME:?message}` stand for environment variables, in unquoted values.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[schemars(title = "foodstream configuration")]
#[garde(allow_unvalidated)]
pub(super) struct Raw {
    /// The pipeline whose shipped configuration lies below this one. Default: orders; for `foodstream purchases` and
    /// the classes of `foodstream.purchases` purchases.
    pub preset: Option<Preset>,
    #[garde(dive)]
    pub postgres: Option<RawPostgres>,
    #[garde(dive)]
    pub kafka: Option<RawKafka>,
    #[garde(dive)]
    pub cdc: Option<RawCdc>,
    #[garde(dive)]
    pub streaming: Option<RawStreaming>,
    #[garde(dive)]
    pub datalake: Option<RawLake>,
    #[garde(dive)]
    pub consumer: Option<RawConsumer>,
    #[garde(dive)]
    pub validation: Option<RawValidation>,
    #[garde(dive)]
    pub aggregate: Option<RawAggregate>,
    /// The columns, in order. Left out, the producer takes the table's columns and the consumer the order schema.
    pub schema: Option<Vec<RawColumn>>,
    #[garde(dive)]
    pub producer: Option<RawEvents>,
    pub spark: Option<RawSpark>,
    #[garde(dive)]
    pub retry: Option<RawRetry>,
    #[garde(dive)]
    pub memory: Option<RawMemory>,
    pub security: Option<RawSecurity>,
    pub logging: Option<RawLogging>,
    #[garde(dive)]
    pub status: Option<RawStatus>,
}

/// The source table.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct RawPostgres {
    /// Host name, address, or the folder of a unix socket.
    pub host: Option<String>,
    #[garde(range(min = 1, max = 65535))]
    #[schemars(extend("default" = defaults::POSTGRES_PORT))]
    pub port: Option<i64>,
    /// Name of the database.
    pub db: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    /// A file that holds the password, in place of `password`.
    pub password_file: Option<String>,
    /// `orders`, or `schema.name`.
    pub table: Option<String>,
    /// `jdbc:postgresql://host:port/db`: fills what host, port and db leave out.
    #[expect(dead_code, reason = "a known key, unfolded into host, port and db before this struct is read")]
    pub jdbc_url: Option<String>,
    /// Accepted from files written for the JVM, without effect.
    pub driver: Option<String>,
    /// Default: verify-full; plain on loopback and single-label hosts.
    pub sslmode: Option<RawSslMode>,
    /// Certificates to trust (PEM), in place of the system's.
    pub sslrootcert: Option<String>,
    /// Our own certificate (PEM).
    pub sslcert: Option<String>,
    /// Its key (PEM).
    pub sslkey: Option<String>,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawSslMode {
    Disable,
    Require,
    VerifyCa,
    VerifyFull,
}

/// The generator of purchase events.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct RawEvents {
    /// Messages that are sent together, at most.
    #[garde(range(min = 1, max = 1_000_000))]
    pub batch_size: Option<i64>,
    /// Longest time a message waits for others, in milliseconds.
    #[garde(range(min = 0, max = 900_000))]
    pub linger_ms: Option<i64>,
    /// `all`; anything weaker is raised to it.
    pub acks: Option<RawScalar>,
    /// Accepted; a message is tried again for as long as it may take.
    #[garde(range(min = 0, max = 2_147_483_647))]
    pub retries: Option<i64>,
    /// Seconds between two events. Not together with `rate`.
    #[garde(range(min = 0.0, max = 86_400.0))]
    pub event_interval_seconds: Option<f64>,
    /// Events a second, or `unlimited`. Default: one.
    pub rate: Option<RawScalar>,
    /// Events of one run. Default: no limit.
    #[garde(range(min = 1))]
    pub max_events: Option<i64>,
    /// The same seed gives the same events. Default: another one in each run.
    #[garde(range(min = 0))]
    pub seed: Option<i64>,
    /// Share of events that break a rule.
    #[garde(range(min = 0.0, max = 1.0))]
    #[schemars(extend("default" = 0.0))]
    pub invalid_share: Option<f64>,
    /// Share of events that repeat an earlier one.
    #[garde(range(min = 0.0, max = 1.0))]
    #[schemars(extend("default" = 0.0))]
    pub duplicate_share: Option<f64>,
}

/// Accepted from files written for Spark.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSpark {
    /// Without effect.
    pub app_name: Option<String>,
    /// Without effect.
    pub master: Option<String>,
    /// Without effect.
    pub output_mode: Option<String>,
    /// `10 seconds`, `500 milliseconds`, `1 minute`: the trigger, in place of consumer.trigger_interval_ms; of both, the
    /// one of the later source counts.
    pub trigger_processing_time: Option<String>,
}

/// The topic between the two halves.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct RawKafka {
    /// `host:port`, several with commas.
    pub brokers: Option<String>,
    pub topic: Option<String>,
    /// Of a topic created here; an existing one keeps its own.
    #[garde(range(min = 1, max = 10_000))]
    #[schemars(extend("default" = defaults::NUM_PARTITIONS))]
    pub num_partitions: Option<i64>,
    #[garde(range(min = 1, max = 100))]
    #[schemars(extend("default" = defaults::REPLICATION_FACTOR))]
    pub replication_factor: Option<i64>,
    /// Settings of a topic created here, such as `retention.ms`.
    pub topic_config: Option<BTreeMap<String, RawScalar>>,
    /// Default: `foodstream-<topic>`.
    pub consumer_group: Option<String>,
    /// librdkafka's names, for both sides.
    pub properties: Option<BTreeMap<String, RawScalar>>,
    /// librdkafka's names, for the producer alone.
    pub producer: Option<BTreeMap<String, RawScalar>>,
    /// librdkafka's names, for the consumer alone.
    pub consumer: Option<BTreeMap<String, RawScalar>>,
    /// false: at least once, the position in the state file only.
    #[schemars(extend("default" = true))]
    pub exactly_once: Option<bool>,
}

/// How rows are captured.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct RawCdc {
    /// Seconds between polls that find nothing; fractions allowed. Default: streaming.batch_interval.
    #[garde(range(min = 0.001, max = MAX_WAIT_SEC))]
    pub poll_interval_sec: Option<f64>,
    /// Rows a poll.
    #[garde(range(min = 1, max = 10_000_000))]
    #[schemars(extend("default" = defaults::BATCH_LIMIT))]
    pub batch_limit: Option<i64>,
    /// Where a new pipeline starts, on the column's own clock: `2025-11-18 00:00:00`.
    #[schemars(extend("default" = defaults::START_TIMESTAMP))]
    pub default_start_timestamp: Option<String>,
    #[schemars(extend("default" = defaults::TIMESTAMP_COLUMN))]
    pub timestamp_column: Option<String>,
    /// A unique integer or uuid column. Default: the primary key.
    pub key_column: Option<String>,
    /// Zone of a timestamp column without one.
    #[schemars(extend("default" = defaults::TIMEZONE))]
    pub timezone: Option<String>,
    /// Milliseconds kept clear of the newest transaction.
    #[garde(range(min = 0, max = MAX_WAIT_MS))]
    #[schemars(extend("default" = defaults::BEGIN_MARGIN_MS))]
    pub begin_margin_ms: Option<i64>,
    /// Seconds of fixed delay, where the server hides its sessions from us; a weaker promise.
    #[garde(range(min = 0.001, max = MAX_WAIT_SEC))]
    pub late_commit_margin_sec: Option<f64>,
    /// Default: `foodstream-cursor-<pipeline id>`.
    pub cursor_topic: Option<String>,
    /// Default: `<db>.<schema>.<table>-<topic>`.
    pub pipeline_id: Option<String>,
    /// Rows a Kafka transaction gathers under backlog.
    #[garde(range(min = 1, max = 100_000_000))]
    #[schemars(extend("default" = defaults::TRANSACTION_MAX_ROWS))]
    pub transaction_max_rows: Option<i64>,
    /// Milliseconds a Kafka transaction stays open under backlog; well below its time-out of 60 s.
    #[garde(range(min = 1, max = 30_000))]
    #[schemars(extend("default" = defaults::TRANSACTION_MAX_MS))]
    pub transaction_max_ms: Option<i64>,
}

/// Positions and rhythm.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct RawStreaming {
    /// Folder of the commit log.
    pub checkpoint_location: Option<String>,
    /// A folder (then `last_processed_timestamp.txt` in it), or a `.txt` file.
    pub last_processed_timestamp_location: Option<String>,
    /// Seconds: the consumer's trigger and the producer's poll, where they are not set themselves.
    #[garde(range(min = 0.001, max = MAX_WAIT_SEC))]
    #[schemars(extend("default" = defaults::BATCH_INTERVAL_SEC))]
    pub batch_interval: Option<f64>,
}

/// The Parquet files.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct RawLake {
    /// Root of the table: `date=…/part-….parquet` and nothing else.
    pub path: Option<String>,
    #[schemars(extend("default" = "parquet"))]
    #[expect(dead_code, reason = "reading it checks it: there is one format")]
    pub format: Option<RawFormat>,
    /// `none`, `snappy`, `lz4`, `zstd` or `zstd(1)` to `zstd(22)`.
    #[schemars(extend("default" = "zstd(1)"))]
    pub compression: Option<String>,
    #[garde(range(min = 1, max = 1_000_000_000))]
    #[schemars(extend("default" = defaults::MAX_ROWS_PER_FILE))]
    pub max_rows_per_file: Option<i64>,
    /// Rejected messages. Default: `<path>_quarantine`.
    pub quarantine_path: Option<String>,
    /// Files not yet committed, on the same file system. Default: `<path>_staging`.
    pub staging_path: Option<String>,
    /// Zone whose day of created_at is `date`. Default: cdc.timezone.
    pub partition_timezone: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawFormat {
    Parquet,
}

/// How messages are consumed.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct RawConsumer {
    /// Messages a micro-batch. Default: no limit.
    #[garde(range(min = 1))]
    pub max_offsets_per_trigger: Option<i64>,
    /// Milliseconds: the longest a message waits for its micro-batch. Default: streaming.batch_interval.
    #[garde(range(min = 1, max = MAX_WAIT_MS))]
    pub trigger_interval_ms: Option<i64>,
    /// Seconds until a clean stop; 0 runs until stopped.
    #[garde(range(min = 0.0))]
    #[schemars(extend("default" = 0))]
    pub await_termination_timeout: Option<f64>,
    /// Bytes of messages a micro-batch, at most a quarter of memory.budget_mb. Default: 64 MiB, or that quarter.
    #[garde(range(min = 65_536))]
    pub max_batch_bytes: Option<i64>,
    /// For partitions the commit log does not know: earliest, latest, a time, `timestamp:<ms>`, or Spark's JSON.
    #[schemars(with = "Option<String>", extend("type" = ["string", "object"], "default" = "earliest"))]
    pub starting_offsets: Option<RawOffsets>,
    /// false: a lost interval is logged and recorded, and the run goes on.
    #[schemars(extend("default" = true))]
    pub fail_on_data_loss: Option<bool>,
}

/// Which rows are accepted.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct RawValidation {
    #[schemars(extend("default" = false))]
    pub allow_null_order_id: Option<bool>,
    #[schemars(extend("default" = false))]
    pub allow_negative_amount: Option<bool>,
    #[schemars(extend("default" = false))]
    pub allow_zero_amount: Option<bool>,
    /// Whether order_status must be one of the four known words.
    #[schemars(extend("default" = true))]
    pub check_status: Option<bool>,
    /// false keeps failed rows in the lake, with validation_status and validation_errors.
    #[schemars(extend("default" = true))]
    pub drop_invalid_rows: Option<bool>,
    /// Rules of your own, column by column.
    #[schemars(extend("default" = []))]
    pub rules: Option<Vec<RawRule>>,
    /// A column that is computed from others: total = quantity × unit price × (1 − discount / 100), rounded half away
    /// from zero to the total's digits. A row where it differs is rejected.
    pub total: Option<RawTotal>,
    /// A string or integer column whose values may come once: later rows with an accepted value are rejected.
    pub unique_column: Option<String>,
    /// Accepted rows back to which a repeated value is found for certain.
    #[garde(range(min = 1, max = defaults::MAX_UNIQUE_HORIZON))]
    #[schemars(extend("default" = defaults::UNIQUE_HORIZON))]
    pub unique_horizon: Option<i64>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTotal {
    /// The computed column, a decimal or an integer like the others.
    #[schemars(required)]
    pub total: Option<String>,
    #[schemars(required)]
    pub quantity: Option<String>,
    #[schemars(required)]
    pub unit_price: Option<String>,
    /// Percent taken off; a row where it is null is not judged. Default: nothing is taken off.
    pub discount_percentage: Option<String>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    #[schemars(required)]
    pub column: Option<String>,
    pub not_null: Option<bool>,
    /// Blank after trimming counts as empty.
    pub not_empty: Option<bool>,
    /// The least value accepted; decimals are compared exactly.
    pub min: Option<RawScalar>,
    /// The greatest value accepted.
    pub max: Option<RawScalar>,
    /// The value must be greater than this.
    pub exclusive_min: Option<RawScalar>,
    /// The values accepted, letter by letter.
    pub one_of: Option<Vec<RawScalar>>,
    /// A regular expression (no look-around), searched in the value: `^` and `$` tie it to the ends.
    pub matches: Option<String>,
    /// Characters, not bytes.
    #[schemars(range(min = 0))]
    pub max_length: Option<i64>,
}

/// Totals that every commit keeps, exactly. All but `max_groups` and `topic` is fixed by the first commit.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct RawAggregate {
    /// The period: a day, or an hour of the wall clock of datalake.partition_timezone.
    #[schemars(extend("default" = "day"))]
    pub every: Option<RawEvery>,
    /// Columns whose values are kept apart: string, boolean, integer or date.
    #[schemars(extend("default" = []))]
    pub group_by: Option<Vec<String>>,
    /// Decimal or integer columns. Default: amount, where it is a decimal.
    pub sum: Option<Vec<String>>,
    #[schemars(extend("default" = []))]
    pub min: Option<Vec<String>>,
    #[schemars(extend("default" = []))]
    pub max: Option<Vec<String>>,
    /// Kept as sum and count; shown with two more digits, rounded half away from zero.
    #[schemars(extend("default" = []))]
    pub avg: Option<Vec<String>>,
    /// A compacted topic that every commit's totals are published to.
    pub topic: Option<String>,
    /// Groups of one period, at most.
    #[garde(range(min = 1, max = 100_000))]
    #[schemars(extend("default" = defaults::MAX_GROUPS))]
    pub max_groups: Option<i64>,
}

#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawEvery {
    Day,
    Hour,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawColumn {
    #[schemars(required)]
    pub name: Option<String>,
    /// bigint, int, smallint, string, decimal(p,s), double, boolean, timestamp, timestamptz, date or json.
    #[serde(rename = "type")]
    #[schemars(required)]
    pub data_type: Option<String>,
    #[schemars(extend("default" = true))]
    pub nullable: Option<bool>,
}

/// How long an unreachable service is waited for.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct RawRetry {
    /// Seconds until a bounded run or a check gives up.
    #[garde(range(min = 0.0, max = MAX_WAIT_SEC))]
    #[schemars(extend("default" = defaults::START_TIMEOUT_SEC))]
    pub start_timeout_sec: Option<f64>,
    /// Seconds between attempts, at most.
    #[garde(range(min = 0.001, max = MAX_WAIT_SEC))]
    #[schemars(extend("default" = defaults::MAX_BACKOFF_SEC))]
    pub max_backoff_sec: Option<f64>,
}

/// One budget for everything held in memory.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct RawMemory {
    /// Megabytes for fetched messages, decoded rows and open files together.
    #[garde(range(min = 16, max = 1_048_576))]
    #[schemars(extend("default" = defaults::MEMORY_BUDGET_MB))]
    pub budget_mb: Option<i64>,
}

/// What is allowed beyond the safe defaults.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecurity {
    /// Takes connections without verified TLS to hosts that are neither loopback nor single-label.
    #[schemars(extend("default" = false))]
    pub allow_plaintext: Option<bool>,
}

/// What is logged, and how; to stderr always.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLogging {
    /// error, warn, info, debug, trace or off.
    #[schemars(extend("default" = defaults::LOG_LEVEL))]
    pub level: Option<String>,
    /// text, json, or a template of Python's logging: %(asctime)s, %(name)s, %(levelname)s, %(message)s and others.
    #[schemars(extend("default" = "text"))]
    pub format: Option<String>,
    /// Written beside stderr.
    pub file: Option<String>,
}

/// The status server of a running producer or consumer: page, metrics, health.
#[derive(Deserialize, JsonSchema, Validate, Default)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct RawStatus {
    /// Default: true for commands, false for the classes of the Python package.
    pub enabled: Option<bool>,
    /// Address to listen on; any but loopback needs a token.
    #[schemars(extend("default" = defaults::STATUS_HOST))]
    pub host: Option<String>,
    /// 0 takes any free one. Default: the next free one from 4040.
    #[garde(range(min = 0, max = 65535))]
    pub port: Option<i64>,
    /// What a request must carry: `Authorization: Bearer …`, or `?token=…` once in a browser. 16 characters or more.
    pub token: Option<String>,
    /// A file that holds the token, in place of `token`.
    pub token_file: Option<String>,
    /// `/readyz` says no while rows are older than this, in seconds.
    #[garde(range(min = 0.1, max = MAX_WAIT_SEC))]
    #[schemars(extend("default" = defaults::READY_MAX_LAG_SEC))]
    pub ready_max_lag_sec: Option<f64>,
}

// No `///` here: it would become the description of every key of this type.
