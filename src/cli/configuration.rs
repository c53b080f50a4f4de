//! `config check|show|schema|from-table` and `version`.

use serde_json::json;

use super::args::{Config, Version};
use super::session::Session;
use crate::config;
use crate::error::Result;

pub fn config(command: &Config, session: &mut Session) -> Result<i32> {
    match command {
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
                let value = if *origin { json!({ "value": entry.value, "origin": entry.origin }) } else { json!(entry.value) };
                (entry.key, value)
            });
            session.out.report(&serde_json::Value::Object(members.collect()));
            Ok(0)
        }
        Config::Schema => {
            session.out.data(format_args!("{:#}", config::json_schema()));
            Ok(0)
        }
        Config::FromTable { common } => { session.begin(common)?; Ok(0) }
    }
}

pub fn version(args: &Version, session: &mut Session) -> Result<i32> {
    session.out.data(format_args!("foodstream {}", env!("CARGO_PKG_VERSION")));
    if args.verbose {
    }
    Ok(0)
}
