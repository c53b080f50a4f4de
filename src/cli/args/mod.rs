//! The command line as types: every command, every flag, its default. One parser for the program and its modules.
//!
//! What a flag means is said in its help; what a command does stands in its own module.

mod local;
mod purchases;
mod streaming;
mod values;

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, Utc};
use clap::builder::styling::Styles;
use clap::{Args, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

use crate::config::{Preset, defaults};
use values::{parse_moment, parse_rate, parse_share};

pub use local::{Demo, Local, LocalDir, LocalFolder, LocalUp, Service};
pub use purchases::{BatchForm, Purchases, PurchasesCommon, PurchasesProduce, PurchasesRun};
pub use streaming::{StatusArgs, StatusPort, Waits};

/// Orders of one round of the guide.
const DEFAULT_ORDERS: u64 = 5;
/// Enough for a partition of each of three days to be worth looking at.
const DEFAULT_SAMPLES: u64 = 50;

#[derive(Debug, Parser)]
#[command(
    name = "foodstream",
    version,
    about = "PostgreSQL rows through Kafka into a validated, date-partitioned Parquet lake, each exactly once",
    styles = Styles::plain(),
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Poll the table and publish its rows to the topic, until stopped
    Producer(Producer),
    /// Consume the topic into the lake, until stopped
    Consumer(Consumer),
    /// Insert test orders into the table
    InsertOrders(InsertOrders),
    /// Compare table, topic and lake, row by row; exit code 3 on any difference
    Verify(Verify),
    /// Examine services, topic, disk and settings, each finding with a remedy; exit code 3 on any fault
    Doctor(Doctor),
    /// Check connection, rights, table and index
    CheckPostgres(CheckPostgres),
    /// Publish a test message to a topic of its own
    CheckKafkaProducer(CheckKafkaProducer),
    /// Read a message of the topic
    CheckKafkaConsumer(CheckKafkaConsumer),
    /// Show what the lake holds: total, rows by date, sample rows
    Read(Read),
    /// Show the totals of the commit log: by period and group, with running sums
    Totals(Totals),
    /// Write sample Parquet files without Kafka, for trying readers
    CreateParquet(CreateParquet),
    /// Start and stop a local PostgreSQL and Kafka, without Docker
    #[command(subcommand)]
    Local(Local),
    /// The guide's whole walk on services of its own, from start to verification
    Demo(Demo),
    /// List, create or describe topics
    #[command(subcommand)]
    Topics(Topics),
    /// Look at messages of a topic or rows of a table
    #[command(subcommand)]
    Peek(Peek),
    /// Purchase events: the second pipeline
    #[command(subcommand)]
    Purchases(Purchases),
    /// Mend the lake's log
    #[command(subcommand)]
    Lake(Lake),
    /// Check, show and describe the configuration
    #[command(subcommand)]
    Config(Config),
    /// Show the version
    Version(Version),
}

/// What most commands take.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// Configuration file; without one, --preset purchases takes configs/purchases.yml
    #[arg(
        long,
        value_name = "FILE",
        default_value = defaults::CONFIG_FILE,
        default_value_if("preset", Preset::Purchases.name(), defaults::PURCHASES_CONFIG_FILE)
    )]
    pub config: PathBuf,
    /// What lies below the file, orders or purchases [default: as the file says, else orders]
    #[arg(long, value_name = "NAME")]
    pub preset: Option<Preset>,
    /// Table, in place of the configured one
    #[arg(long, value_name = "[SCHEMA.]TABLE")]
    pub table: Option<String>,
    /// Override a setting, as in `cdc.batch_limit=500`; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub output: Output,
}

/// What a command says, and how.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Output {
    /// error, warn, info, debug, trace or off
    #[arg(long, value_name = "LEVEL", conflicts_with = "quiet")]
    pub log_level: Option<String>,
    /// Form of the log lines on stderr
    #[arg(long, value_name = "FORM")]
    pub log_format: Option<LogFormat>,
    /// Log warnings and errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// json: one JSON object as the last line on stdout
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub report: ReportForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportForm {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct Producer {
    /// Publish what is there now, then exit
    #[arg(long)]
    pub once: bool,
    /// Check rights, table, index and topic, print the plan, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Start after this position, as `2025-11-18 12:30:45.123456|42` or a bare timestamp
    #[arg(long, value_name = "POSITION", allow_hyphen_values = true)]
    pub start_from: Option<String>,
    /// Go on at the position although topic, state file or database contradict it: what is lost is accepted
    #[arg(long)]
    pub adopt: bool,
    /// Stop after this many rows
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_rows: Option<u64>,
    #[command(flatten)]
    pub waits: Waits,
    #[command(flatten)]
    pub status: StatusArgs,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct Consumer {
    /// Consume up to the end offsets of this moment, then exit
    #[arg(long, visible_alias = "available-now")]
    pub once: bool,
    /// Stop after this many micro-batches
    #[arg(long, value_name = "BATCHES", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_batches: Option<u64>,
    #[command(flatten)]
    pub waits: Waits,
    #[command(flatten)]
    pub status: StatusArgs,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct InsertOrders {
    /// How many
    #[arg(long, default_value_t = DEFAULT_ORDERS, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// Rows a second; all at once without it
    #[arg(long, value_name = "ROWS", value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// Share of the orders to make invalid, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = parse_share)]
    pub invalid: f64,
    #[command(flatten)]
    pub server: Server,
    #[command(flatten)]
    pub common: Common,
}

/// A server named on the command line instead of in a file.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Server, in place of the configured one")]
pub struct Server {
    #[arg(long)]
    pub host: Option<String>,
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    #[arg(long)]
    pub database: Option<String>,
    #[arg(long)]
    pub user: Option<String>,
    /// Others on this machine can read it here; the configuration takes `password_file` and `${NAME}`
    #[arg(long)]
    pub password: Option<SecretString>,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// Only this section: postgres, kafka, lake, state or checkpoint
    #[arg(long, value_name = "NAME")]
    pub section: Option<crate::verify::Section>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct Doctor {
    /// Only this section: postgres, kafka, lake or program
    #[arg(long, value_name = "NAME")]
    pub section: Option<crate::tools::doctor::Section>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct CheckPostgres {
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct CheckKafkaProducer {
    /// Topic to publish to [default: the configured one with `-check` after it]
    #[arg(long)]
    pub topic: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct CheckKafkaConsumer {
    /// Topic to read [default: the configured one]
    #[arg(long)]
    pub topic: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct Read {
    /// Only this partition, as YYYY-MM-DD
    #[arg(long)]
    pub date: Option<NaiveDate>,
    /// Rows to show [default: 20 in a table, all in the other forms]
    #[arg(long)]
    pub limit: Option<usize>,
    /// Form of the rows
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub format: RowForm,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct Totals {
    #[command(flatten)]
    pub shown: ShownTotals,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct ShownTotals {
    /// Group columns to keep apart; none after it folds all [default: aggregate.group_by]
    #[arg(long, value_name = "COL", num_args = 0.., value_delimiter = ',')]
    pub by: Option<Vec<String>>,
    /// Form of the rows
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub format: RowForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RowForm {
    Table,
    Json,
    Csv,
}

#[derive(Debug, Args)]
pub struct CreateParquet {
    /// Folder to write to; one that holds no lake
    #[arg(long, value_name = "FOLDER", default_value = "sample_parquet")]
    pub output: PathBuf,
    /// How many orders
    #[arg(long, default_value_t = DEFAULT_SAMPLES, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// The same seed gives the same orders
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// json: one JSON object as the last line on stdout
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub report: ReportForm,
}

#[derive(Debug, Subcommand)]
pub enum Topics {
    /// Name all topics
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Create a topic with the configured numbers, if it is missing
    Create {
        /// [default: the configured one]
        topic: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Show partitions, offsets and settings
    Describe {
        /// [default: the configured one]
        topic: Option<String>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Subcommand)]
pub enum Peek {
    /// Messages of a topic, the newest last
    Topic {
        /// [default: the configured one]
        topic: Option<String>,
        /// Only this partition
        #[arg(long)]
        partition: Option<i32>,
        /// From this offset on, instead of the newest
        #[arg(long)]
        offset: Option<i64>,
        /// From the first message of this time on, as 2025-11-18T10:00:00Z
        #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with = "offset")]
        timestamp: Option<DateTime<Utc>>,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        common: Common,
    },
    /// Rows of the table, the newest first
    Table {
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
pub struct Shown {
    /// How many
    #[arg(long, default_value_t = 10)]
    pub limit: usize,
}

#[derive(Debug, Subcommand)]
pub enum Lake {
    /// Write a new commit log from what the lake's files say of themselves
    RebuildLog {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Write the annotated configuration to begin with, and the schema for editors beside it
    Init {
        /// Where to, if nothing is there [default: configs/orders_stream.yml or configs/purchases.yml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Of which pipeline, orders or purchases
        #[arg(long, value_name = "NAME", default_value = Preset::default().name())]
        preset: Preset,
    },
    /// Read the configuration and say whether it is right
    Check {
        #[command(flatten)]
        common: Common,
    },
    /// Print the effective values, without secrets
    Show {
        /// Say where each value came from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Print the JSON Schema that editors use
    Schema,
    /// Print the `schema` section for the table's columns
    FromTable {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
pub struct Version {
    /// Also the libraries that are built in
    #[arg(long)]
    pub verbose: bool,
}
