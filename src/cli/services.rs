//! Commands that ask PostgreSQL or Kafka something, or insert test orders: thin over `tools`.

use std::io::IsTerminal;
use std::path::Path;

use chrono::{DateTime, SecondsFormat};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::args::{CheckKafkaConsumer, CheckKafkaProducer, CheckPostgres, InsertOrders, Peek, Server, Topics};
use super::session::Session;
use super::{runtime, signals};
use crate::config::{Settings, defaults};
use crate::error::Result;
use crate::model::Key;
use crate::tools::{self, InsertOptions, NAMED_IDS, PeekFrom, PeekedMessage, TopicDetails};

pub fn insert_orders(args: &InsertOrders, session: &mut Session) -> Result<i32> {
    let settings = server(args, session)?;
    let most_ids = if session.out.wants_json() { usize::MAX } else { NAMED_IDS };
    let options =
        InsertOptions { count: args.count, rate: args.rate, invalid_share: args.invalid, seed: None, most_ids };
    let stop = signals::stop_on_signals()?;
    let report = runtime::shared()?.block_on(tools::insert_test_orders(&settings, &options, stop.requested()))?;
    for line in report.lines() {
        session.out.line(format_args!("[INSERT] {line}"));
    }
    session.out.line("");
    session.out.line("[INSERT] Recently inserted records:");
    for row in &report.recent {
        session.out.line(format_args!("  {row}"));
    }
    let mut said = json!({ "inserted": report.inserted, "table": report.table, "total": report.total });
    // Put in behind, as `json!` would copy the list.
    said["ids"] = Value::Array(report.ids.iter().map(key).collect());
    session.out.report(&said);
    Ok(0)
}

pub fn key(key: &Key) -> Value {
    match key {
        Key::Int(number) => json!(number),
        Key::Uuid(_) => json!(key.to_string()),
    }
}

/// The configuration with the named server over it; a server that is named in full needs no file.
fn server(args: &InsertOrders, session: &mut Session) -> Result<Settings> {
    let mut overrides = session.overrides(&args.common)?;
    let Server { host, port, database, user, password } = &args.server;
    let mut named = serde_json::Map::new();
    let texts = [("host", host), ("db", database), ("user", user)];
    named.extend(texts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?)))));
    named.extend(port.map(|port| ("port".to_owned(), json!(port))));
    named.extend(password.as_ref().map(|password| ("password".to_owned(), json!(password.expose_secret()))));
    let in_full = host.is_some() && database.is_some() && user.is_some();
    let config = &args.common.config;
    let without_file = in_full && config.as_path() == Path::new(defaults::CONFIG_FILE) && !config.is_file();
    if without_file {
        named.insert("table".to_owned(), json!(args.common.table.as_deref().unwrap_or(ORDERS)));
    }
    if !named.is_empty() {
        overrides.tree = Some(json!({ "postgres": named }));
    }
    let settings = if without_file { Settings::in_memory(&overrides)? } else { Settings::load(config, &overrides)? };
    session.use_settings(&args.common.output, &settings)?;
    Ok(settings)
}

/// The table of the documents.
const ORDERS: &str = "orders";

pub fn check_postgres(args: &CheckPostgres, session: &mut Session) -> Result<i32> {
    let settings = session.begin(&args.common)?;
    let check = runtime::shared()?.block_on(tools::check_postgres(&settings))?;
    check.lines.iter().for_each(|line| session.out.line(line));
    session.out.report(&json!({
        "address": check.address, "database": check.database, "table": check.table, "records": check.records,
        "server_version": check.server_version, "warnings": check.warnings,
    }));
    Ok(0)
}

pub fn check_kafka_producer(args: &CheckKafkaProducer, session: &mut Session) -> Result<i32> {
    let settings = session.begin(&args.common)?;
    let check = tools::check_kafka_producer(&settings, args.topic.as_deref())?;
    check.lines.iter().for_each(|line| session.out.line(line));
    session.out.report(&json!({
        "brokers": check.brokers, "topic": check.topic, "partition": check.partition, "offset": check.offset,
    }));
    Ok(0)
}

pub fn check_kafka_consumer(args: &CheckKafkaConsumer, session: &mut Session) -> Result<i32> {
    let settings = session.begin(&args.common)?;
    let check = tools::check_kafka_consumer(&settings, args.topic.as_deref())?;
    check.lines.iter().for_each(|line| session.out.line(line));
    let message = check.message.as_ref().map(|(partition, offset, value)| {
        json!({ "partition": partition, "offset": offset, "value": String::from_utf8_lossy(value) })
    });
    session.out.report(&json!({
        "brokers": check.brokers, "topic": check.topic, "exists": check.exists, "message": message,
    }));
    Ok(0)
}

pub fn topics(command: &Topics, session: &mut Session) -> Result<i32> {
    match command {
        Topics::List { common } => {
            let topics = tools::topics_list(&session.begin(common)?)?;
            topics.iter().for_each(|(name, _)| session.out.line(name));
            let topics: Vec<Value> =
                topics.iter().map(|(name, partitions)| json!({ "topic": name, "partitions": partitions })).collect();
            session.out.report(&json!({ "topics": topics }));
        }
        Topics::Create { topic, common } => {
            let (topic, created) = tools::topics_create(&session.begin(common)?, topic.as_deref())?;
            let fact = if created { "Created topic" } else { "Topic was there already:" };
            session.out.line(format_args!("{fact} {} ({} partitions)", topic.name, topic.partitions));
            session.out.report(&json!({ "topic": topic.name, "partitions": topic.partitions, "created": created }));
        }
        Topics::Describe { topic, common } => {
            let details = tools::topics_describe(&session.begin(common)?, topic.as_deref())?;
            describe(&details, session);
        }
    }
    Ok(0)
}

fn describe(details: &TopicDetails, session: &mut Session) {
    let TopicDetails { topic, bounds, group, config } = details;
    session.out.line(format_args!("Topic: {}  id: {}  partitions: {}", topic.name, topic.id, topic.partitions));
    let mut partitions = Vec::new();
    for bound in bounds {
        let position = group.iter().find(|lag| lag.partition == bound.partition).and_then(|lag| lag.committed);
        let group = position.map_or("-".to_owned(), |offset| offset.to_string());
        session.out.line(format_args!(
            "  Partition {}: offsets {} to {}, group position {group}",
            bound.partition, bound.earliest, bound.end
        ));
        partitions.push(json!({
            "partition": bound.partition, "earliest": bound.earliest, "end": bound.end, "group": position,
        }));
    }
    session.out.line("Settings:");
    for (name, value) in config {
        session.out.line(format_args!("  {name} = {value}"));
    }
    session.out.report(&json!({
        "topic": topic.name, "id": topic.id, "partitions": partitions, "config": config,
    }));
}

pub fn peek(command: &Peek, session: &mut Session) -> Result<i32> {
    match command {
        Peek::Topic { topic, partition, offset, timestamp, shown, common } => {
            let settings = session.begin(common)?;
            let timestamp_ms = timestamp.map(|moment| moment.timestamp_millis());
            let from = PeekFrom { partition: *partition, offset: *offset, timestamp_ms };
            let messages = tools::peek_topic(&settings, topic.as_deref(), shown.limit, from)?;
            messages.iter().for_each(|message| session.out.line(line(message)));
            let messages: Vec<Value> = messages.iter().map(describe_message).collect();
            session.out.report(&json!({ "messages": messages }));
        }
        Peek::Table { shown, common } => {
            let settings = session.begin(common)?;
            let rows = runtime::shared()?.block_on(tools::peek_table(&settings, shown.limit as u64))?;
            session.out.line(rows.columns.join(" | "));
            for row in &rows.rows {
                let cells: Vec<&str> = row.iter().map(|cell| cell.as_deref().unwrap_or("null")).collect();
                session.out.line(terminal_safe(&cells.join(" | ")));
            }
            session.out.report(&json!({ "columns": rows.columns, "rows": rows.rows }));
        }
    }
    Ok(0)
}

fn line(message: &PeekedMessage) -> String {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "null".to_owned(),
    };
    let time = time(message.timestamp_ms).unwrap_or_else(|| "-".to_owned());
    let (partition, offset) = (message.partition, message.offset);
    let shown = format!("{partition}:{offset} {time} {} {}", text(&message.key), text(&message.value));
    terminal_safe(&shown)
}

fn describe_message(message: &PeekedMessage) -> Value {
    let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    json!({
        "partition": message.partition, "offset": message.offset, "timestamp": time(message.timestamp_ms),
        "key": text(&message.key), "value": text(&message.value),
    })
}

fn time(timestamp_ms: i64) -> Option<String> {
    let moment = DateTime::from_timestamp_millis(timestamp_ms).filter(|_| timestamp_ms >= 0);
    moment.map(|moment| moment.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// What somebody wrote into a topic must not steer the terminal of whoever looks at it; a pipe gets it as it is.
fn terminal_safe(text: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
