//! `config init|check|show|schema|from-table` and `version`.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::args::{Common, Config, Version};
use super::runtime;
use super::session::Session;
use crate::broker::kafka;
use crate::config::{self, Settings};
use crate::error::{Error, Kind, Result};
use crate::pipeline::monitor::Monitor;
use crate::pipeline::retry::Backoff;
use crate::postgres::{self, Table, plan_field};

pub fn config(command: &Config, session: &mut Session) -> Result<i32> {
    match command {
        Config::Init { config, preset } => {
            let file = config.as_deref().unwrap_or(Path::new(preset.file()));
            if !write_new(file, preset.shipped())? {
                let words = format!("{} is there already, and was left as it is", file.display());
                return Err(Error::config(words));
            }
            session.out.line(format_args!("wrote {}", file.display()));
            // The name that the file's first line gives to editors.
            let schema = file.with_file_name("schema.json");
            if write_new(&schema, &config::json_schema())? {
                session.out.line(format_args!("wrote {}", schema.display()));
            }
            Ok(0)
        }
        Config::Check { common } => {
            let settings = session.begin(common)?;
            for note in settings.notes() {
                session.out.line(format_args!("note: {}", note.text));
            }
            let mut unfinished = settings.unfinished();
            if unfinished.is_empty() {
                session.out.line(format_args!("{} is right", common.config.display()));
                session.out.report(&json!({ "config": common.config, "ok": true }));
                return Ok(0);
            }
            let last = unfinished.pop();
            for error in unfinished {
                session.out.line(config::render(&error));
            }
            last.map_or(Ok(0), Err)
        }
        Config::Show { origin, common } => {
            let settings = session.begin(common)?;
            session.out.line(settings.show(*origin).trim_end());
            let members = settings.effective().into_iter().map(|entry| {
                let value =
                    if *origin { json!({ "value": entry.value, "origin": entry.origin }) } else { json!(entry.value) };
                (entry.key, value)
            });
            session.out.report(&serde_json::Value::Object(members.collect()));
            Ok(0)
        }
        Config::Schema => {
            session.out.data(format_args!("{:#}", config::json_schema()));
            Ok(0)
        }
        Config::FromTable { common } => from_table(common, session),
    }
}

/// False where there is a file already.
fn write_new(path: &Path, text: &str) -> Result<bool> {
    let written = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
    };
    match written() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::config(format!("cannot write {}", path.display())).because(error)),
    }
}

/// Prints the section as it can be pasted into a file. A column without a type of ours becomes a comment that says
/// what to do about it.
fn from_table(common: &Common, session: &mut Session) -> Result<i32> {
    let settings = session.begin(common)?;
    let table = runtime::shared()?.block_on(describe(&settings))?;
    session.out.line("schema:");
    let mut columns = Vec::new();
    for column in &table.columns {
        let name = Value::from(column.name.as_str());
        match plan_field(column, None) {
            Ok(plan) => {
                let nullable = !column.not_null;
                session.out.line(format_args!(
                    "  - {{ name: {name}, type: {}, nullable: {nullable} }}",
                    quoted(&plan.data_type.to_string())
                ));
                columns.push(json!({ "name": name, "type": plan.data_type.to_string(), "nullable": nullable }));
            }
            Err(error) => session.out.line(format_args!("  # {name} is left out: {}", error.report())),
        }
    }
    session.out.report(&json!({ "schema": columns }));
    Ok(0)
}

/// `decimal(10,2)` holds a comma, which ends a value in the braces of YAML.
fn quoted(type_name: &str) -> String {
    if type_name.contains(',') { format!("\"{type_name}\"") } else { type_name.to_owned() }
}

async fn describe(settings: &Settings) -> Result<Table> {
    let wanted = settings.require_postgres()?;
    let mut backoff = Backoff::new(&settings.retry, true, &Monitor::default());
    loop {
        let client =
            postgres::connect(wanted, settings.allow_plaintext, "foodstream config", postgres::Session::Read).await;
        let described = match client {
            Ok(client) => Table::describe(&client, &wanted.table).await,
            Err(error) => Err(error),
        };
        match described {
            Err(error) if error.kind() == Kind::Source => tokio::time::sleep(backoff.next_pause(error)?).await,
            other => return other,
        }
    }
}

pub fn version(args: &Version, session: &mut Session) -> Result<i32> {
    session.out.data(format_args!("foodstream {}", env!("CARGO_PKG_VERSION")));
    if args.verbose {
        let libraries = [("librdkafka", kafka::library_version()), ("arrow", arrow::ARROW_VERSION.to_owned())];
        for (name, version) in libraries {
            session.out.data(format_args!("{name} {version}"));
        }
        if cfg!(feature = "failpoints") {
            session.out.data(format_args!("failpoints armed by FAILPOINTS"));
        }
    }
    Ok(0)
}
