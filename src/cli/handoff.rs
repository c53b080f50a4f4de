//! `local` and the two `demo`s: parsed here, run by Python, where the services' packages are.
//!
//! The keys of the options are those that `foodstream.local.run` and `foodstream._walk.run` document.

use serde_json::{Map, Value, json};

use super::args::{Demo, Local, LocalDir, LocalFolder, LocalUp, ReportForm, Service};

pub fn local(command: &Local) -> Map<String, Value> {
    match command {
        Local::Up(up) => started("up", up),
        Local::Restart(up) => started("restart", up),
        Local::Down(folder) => plain("down", folder),
        Local::Status(folder) => plain("status", folder),
        Local::Reset(folder) => plain("reset", folder),
        Local::Logs(logs) => {
            let mut options = base("logs", &logs.folder);
            let service = logs.service.map(|service| match service {
                Service::Postgres => "postgres",
                Service::Kafka => "kafka",
            });
            options.insert("service".to_owned(), json!(service));
            options.insert("lines".to_owned(), json!(logs.lines));
            options
        }
        Local::Psql(psql) => {
            let mut options = base("psql", &psql.folder);
            options.insert("args".to_owned(), json!(psql.args));
            options
        }
    }
}

pub fn demo(demo: &Demo) -> Map<String, Value> {
    let Demo { keep, dir, report } = demo;
    let dir = dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
    [("keep", json!(keep)), ("dir", json!(dir)), ("report", word(*report))]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn started(command: &str, up: &LocalUp) -> Map<String, Value> {
    let mut options = plain(command, &up.folder);
    options.insert("postgres_port".to_owned(), json!(up.postgres_port));
    options.insert("kafka_port".to_owned(), json!(up.kafka_port));
    options.insert("sample".to_owned(), json!(up.sample));
    options
}

fn plain(command: &str, folder: &LocalFolder) -> Map<String, Value> {
    let mut options = base(command, &folder.folder);
    options.insert("report".to_owned(), word(folder.report));
    options
}

fn base(command: &str, folder: &LocalDir) -> Map<String, Value> {
    let dir = folder.dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
    [("command".to_owned(), json!(command)), ("dir".to_owned(), json!(dir))].into_iter().collect()
}

fn word(form: ReportForm) -> Value {
    match form {
        ReportForm::Text => json!("text"),
        ReportForm::Json => json!("json"),
    }
}
