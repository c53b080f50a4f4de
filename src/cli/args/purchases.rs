//! The purchase pipeline's part of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::values::{parse_seconds, parse_share};
use super::{Demo, Output, ShownTotals, StatusArgs, Waits};
use crate::config::defaults;

#[derive(Debug, Subcommand)]
pub enum Purchases {
    /// Generate purchase events and publish them, until stopped
    Produce(PurchasesProduce),
    /// Validate events, write them to the lake, show daily and running totals batch by batch
    Run(PurchasesRun),
    /// Check configuration, Kafka, folders and one generated event; say what to do
    Check {
        #[command(flatten)]
        common: PurchasesCommon,
    },
    /// Show the totals of every commit together, by day, currency and category
    Totals {
        #[command(flatten)]
        shown: ShownTotals,
        #[command(flatten)]
        common: PurchasesCommon,
    },
    /// Say what was consumed, and why events were rejected
    Report {
        #[command(flatten)]
        common: PurchasesCommon,
    },
    /// A thousand events in three batches on services of its own, summed twice
    Demo(Demo),
}

#[derive(Debug, Args)]
pub struct PurchasesProduce {
    /// Events a second, or `unlimited` [default: the configured rate, or one]
    #[arg(long, value_name = "EVENTS")]
    pub rate: Option<String>,
    /// Stop after this many events
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_events: Option<u64>,
    /// The same seed gives the same events
    #[arg(long)]
    pub seed: Option<u64>,
    /// Share of the events to make invalid, from 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub invalid_share: Option<f64>,
    /// Share of the events to repeat, from 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub duplicate_share: Option<f64>,
    /// Stop cleanly after this time
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub status: StatusArgs,
    #[command(flatten)]
    pub common: PurchasesCommon,
}

#[derive(Debug, Args)]
pub struct PurchasesRun {
    /// Consume up to the end offsets of this moment, then exit
    #[arg(long, visible_alias = "available-now")]
    pub once: bool,
    /// Stop after this many micro-batches
    #[arg(long, value_name = "BATCHES", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_batches: Option<u64>,
    /// What to print of each batch: the documents' tables, one JSON object, or nothing
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub output: BatchForm,
    #[command(flatten)]
    pub waits: Waits,
    #[command(flatten)]
    pub status: StatusArgs,
    #[command(flatten)]
    pub common: PurchasesCommon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BatchForm {
    Table,
    Json,
    None,
}

/// What the commands of the purchase pipeline take: no table, and another file.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct PurchasesCommon {
    /// Configuration file; what it leaves out is as in the shipped one
    #[arg(long, value_name = "FILE", default_value = defaults::PURCHASES_CONFIG_FILE)]
    pub config: PathBuf,
    /// Override a setting, as in `producer.rate=500`; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub output: Output,
}
