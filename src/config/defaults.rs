//! Every default that is not "none", with the reason for the number.

/// The file that commands take by themselves: the shipped project's.
pub const CONFIG_FILE: &str = "configs/orders_stream.yml";
/// The same for `foodstream purchases`.
pub const PURCHASES_CONFIG_FILE: &str = "configs/purchases.yml";
/// PostgreSQL's registered port.
pub const POSTGRES_PORT: u16 = 5432;
/// Kafka's usual port, for a broker written without one.
pub const KAFKA_PORT: u16 = 9092;
/// The documents' number: three workers can share the work.
pub const NUM_PARTITIONS: i32 = 3;
/// One broker, as on a laptop and in the documents; a cluster wants 3.
pub const REPLICATION_FACTOR: i32 = 1;
/// The documents' rhythm, for polls and triggers alike.
pub const BATCH_INTERVAL_SEC: f64 = 5.0;
/// The documents' page; under backlog pages follow each other without a pause.
pub const BATCH_LIMIT: u32 = 1000;
/// Before any order: everything in the table is read.
pub const START_TIMESTAMP: &str = "1970-01-01 00:00:00";
pub const TIMESTAMP_COLUMN: &str = "created_at";
/// The zone of a `timestamp` column written with `now() at time zone 'UTC'`.
pub const TIMEZONE: &str = "UTC";
/// Covers the instant between a transaction's start and its appearance in `pg_stat_activity`; the price is that much delay.
pub const BEGIN_MARGIN_MS: u64 = 100;
/// A commit costs milliseconds whatever its size; a hundred thousand rows make it vanish and fit any buffer.
pub const TRANSACTION_MAX_ROWS: u32 = 100_000;
/// What readers under read_committed wait at most under backlog.
pub const TRANSACTION_MAX_MS: u64 = 1000;
/// Fast, and a quarter smaller than lz4.
pub const ZSTD_LEVEL: i32 = 1;
/// A file of some tens of megabytes, which every reader handles well.
pub const MAX_ROWS_PER_FILE: u64 = 1024 * 1024;
/// Of larger batches the files grow, not the speed; a budget below 256 MB lowers it to its share.
pub const MAX_BATCH_BYTES: u64 = 64 * 1024 * 1024;
/// Of the one memory budget, the share an open batch may take: beside it stand the batch that is being written, the
/// open Parquet writers, and the fetch queue.
pub const BATCH_SHARE: u64 = 4;
pub const MEMORY_BUDGET_MB: u32 = 128;
/// A day of eleven events a second, for some 50 MB of memory.
pub const UNIQUE_HORIZON: u64 = 1_000_000;
/// The documents' pace: one event a second, for people to watch.
pub const EVENT_RATE: f64 = 1.0;
/// A commit record carries every group it touched: a thousand are some 150 kB a commit. More is mostly a column like an
/// order's number, which makes a group of each row.
pub const MAX_GROUPS: u32 = 1_000;
/// The documents' money column: summed where nothing else is said and it is a decimal.
pub const SUM_COLUMN: &str = "amount";
/// Long enough for a container beside us to come up.
pub const START_TIMEOUT_SEC: f64 = 30.0;
/// A service that comes back is noticed within half a minute.
pub const MAX_BACKOFF_SEC: f64 = 30.0;
pub const LOG_LEVEL: &str = "info";
/// Seen by this machine only.
pub const STATUS_HOST: &str = "127.0.0.1";
/// Where Spark's page was, and the ports that are tried after it.
pub const STATUS_PORTS: std::ops::RangeInclusive<u16> = 4040..=4140;
/// Twelve of the usual rhythms: longer means that something is wrong and not merely slow.
pub const READY_MAX_LAG_SEC: f64 = 60.0;
/// Shorter tokens can be guessed.
pub const MIN_TOKEN_CHARS: usize = 16;

/// Upper bound of waits: a day; more is a unit mistaken for another.
pub(super) const MAX_WAIT_SEC: f64 = 86_400.0;
pub(super) const MAX_WAIT_MS: i64 = 86_400_000;
/// Some 5 GB of memory; more belongs in a database.
pub(super) const MAX_UNIQUE_HORIZON: i64 = 100_000_000;
