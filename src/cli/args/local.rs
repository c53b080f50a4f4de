//! Flags of the local stack and of the demos, which Python runs.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

use super::ReportForm;

#[derive(Debug, Subcommand)]
pub enum Local {
    /// Start what is not running; table and ten sample orders the first time
    Up(LocalUp),
    /// Stop, and keep the data
    Down(LocalFolder),
    /// Say what runs, and where
    Status(LocalFolder),
    /// Stop and start
    Restart(LocalUp),
    /// Stop, and delete the data
    Reset(LocalFolder),
    /// Show the ends of the services' logs
    Logs(LocalLogs),
    /// Open psql on the local database
    Psql(LocalPsql),
}

#[derive(Debug, Args)]
pub struct LocalDir {
    /// The stack's folder [default: .foodstream]
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct LocalUp {
    #[command(flatten)]
    pub folder: LocalFolder,
    /// [default: the one used before, or 5432, or a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub postgres_port: Option<u16>,
    /// [default: the one used before, or 9092, or a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub kafka_port: Option<u16>,
    /// Leave the database empty
    #[arg(long = "no-sample", action = ArgAction::SetFalse)]
    pub sample: bool,
}

#[derive(Debug, Args)]
pub struct LocalFolder {
    #[command(flatten)]
    pub folder: LocalDir,
    /// json: one JSON object as the last line on stdout
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub report: ReportForm,
}

#[derive(Debug, Args)]
pub struct LocalLogs {
    #[command(flatten)]
    pub folder: LocalDir,
    /// Only this service
    pub service: Option<Service>,
    /// Lines of each
    #[arg(long, default_value_t = 50)]
    pub lines: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    Postgres,
    Kafka,
}

#[derive(Debug, Args)]
pub struct LocalPsql {
    #[command(flatten)]
    pub folder: LocalDir,
    /// Arguments for psql
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Leave services, producer and consumer running at the end
    #[arg(long)]
    pub keep: bool,
    /// Work here instead of in a temporary folder; must be new or empty
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// json: one JSON object as the last line on stdout
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub report: ReportForm,
}
