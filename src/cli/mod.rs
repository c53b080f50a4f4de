//! Commands, parsed by clap: `foodstream NAME …`.
//!
//! [`main`] runs one and returns its exit code (0 done or cleanly stopped, 1 failure, 2 usage or configuration,
//! 3 a difference or a fault found, 75 a service away, 130 aborted by a second Ctrl-C). What a command was asked for goes to
//! stdout (`output`), everything else to stderr (`telemetry`). Errors are one line or a located excerpt of the
//! configuration, never a trace. Below: `config`, `pipeline`, `verify`, `tools`.

mod args;
mod configuration;
mod doctor;
mod handoff;
mod lake;
mod output;
pub mod purchases;
mod rows;
pub mod runtime;
mod services;
mod session;
mod signals;
mod status;
mod streams;
mod verify;

use clap::Parser;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::failpoints;
use args::{Cli, Command};
use session::Session;

/// How a command ended, or what is left to do.
#[derive(Debug)]
pub enum Exit {
    Code(i32),
    /// `local` and the two `demo`s are run by Python, with these options.
    Python {
        command: &'static str,
        options: Map<String, Value>,
    },
}

/// Runs one command; `argv[0]` is the program's name.
pub fn main(argv: Vec<String>) -> Exit {
    failpoints::from_environment();
    match Cli::try_parse_from(argv) {
        Err(error) => {
            // Help and version go to stdout with 0, usage errors to stderr with 2. A closed pipe is no failure.
            let _ = error.print();
            Exit::Code(error.exit_code())
        }
        Ok(Cli { command: Command::Local(local) }) => {
            Exit::Python { command: "local", options: handoff::local(&local) }
        }
        Ok(Cli { command: Command::Demo(demo) }) => Exit::Python { command: "demo", options: handoff::demo(&demo) },
        Ok(Cli { command: Command::Purchases(args::Purchases::Demo(demo)) }) => {
            Exit::Python { command: "purchases demo", options: handoff::demo(&demo) }
        }
        Ok(Cli { command }) => Exit::Code(session::run(|session| run(&command, session))),
    }
}

fn run(command: &Command, session: &mut Session) -> Result<i32> {
    match command {
        Command::Producer(args) => streams::producer(args, session),
        Command::Consumer(args) => streams::consumer(args, session),
        Command::InsertOrders(args) => services::insert_orders(args, session),
        Command::Verify(args) => verify::run(args, session),
        Command::Doctor(args) => doctor::run(args, session),
        Command::CheckPostgres(args) => services::check_postgres(args, session),
        Command::CheckKafkaProducer(args) => services::check_kafka_producer(args, session),
        Command::CheckKafkaConsumer(args) => services::check_kafka_consumer(args, session),
        Command::Read(args) => lake::read(args, session),
        Command::Totals(args) => lake::totals(args, session),
        Command::CreateParquet(args) => lake::create_parquet(args, session),
        Command::Topics(command) => services::topics(command, session),
        Command::Peek(command) => services::peek(command, session),
        Command::Lake(args::Lake::RebuildLog { yes, common }) => lake::rebuild(common, *yes, session),
        Command::Purchases(command) => purchases::run(command, session),
        Command::Config(command) => configuration::config(command, session),
        Command::Version(args) => configuration::version(args, session),
        Command::Local(_) | Command::Demo(_) => Err(Error::bug("local and demo are run by Python")),
    }
}

#[cfg(test)]
mod tests;
