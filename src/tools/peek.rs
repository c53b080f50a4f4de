//! A look at the newest messages of a topic, or the newest rows of the table: as they are, or as columns.

use std::time::Duration;

use arrow::array::RecordBatch;

use super::quality::validator;
use super::{connect_kafka, connect_postgres};
use crate::broker::Cluster;
use crate::capture::{PollOptions, newest_rows};
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::model::{Message, MessageBatch};
use crate::postgres::{Session, Table, TextRows, query_text, quote_identifier};
use crate::wire::decode::Decoder;

const APPLICATION: &str = "foodstream peek";
/// A message below the end is there, or an open transaction holds it back.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Where to look; by default at the newest messages of all partitions.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeekFrom {
    pub partition: Option<i32>,
    /// From this offset on, instead of the newest.
    pub offset: Option<i64>,
    /// From the first message of this time on, in milliseconds since the epoch, where no offset is given.
    pub timestamp_ms: Option<i64>,
}

impl PeekFrom {
    /// The first messages from a place on are wanted, not the newest.
    fn is_forward(&self) -> bool {
        self.offset.is_some() || self.timestamp_ms.is_some()
    }
}

/// A message with its place. `key` and `value` are `None` where Kafka has null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeekedMessage {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch; negative when the message has none.
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

impl From<Message<'_>> for PeekedMessage {
    fn from(message: Message<'_>) -> Self {
        PeekedMessage {
            partition: message.partition,
            offset: message.offset,
            timestamp_ms: message.timestamp_ms,
            key: message.key.map(<[u8]>::to_vec),
            value: message.value.map(<[u8]>::to_vec),
        }
    }
}

/// Up to `limit` committed messages, the newest last. Blocks; moves no position.
pub fn peek_topic(
    settings: &Settings,
    topic: Option<&str>,
    limit: usize,
    from: PeekFrom,
) -> Result<Vec<PeekedMessage>> {
    let kafka = settings.require_kafka()?;
    let topic = topic.unwrap_or(&kafka.topic);
    peek(&mut connect_kafka(settings)?, topic, limit, from)
}

/// The same in columns: those of the quarantine, `reasons` null where the consumer would accept the message.
pub fn peek_topic_rows(settings: &Settings, topic: Option<&str>, limit: usize, from: PeekFrom) -> Result<RecordBatch> {
    let mut validator = validator(settings)?;
    let peeked = peek_topic(settings, topic, limit, from)?;
    let mut messages = MessageBatch::default();
    for PeekedMessage { partition, offset, timestamp_ms, key, value } in &peeked {
        let (key, value) = (key.as_deref(), value.as_deref());
        messages.push(Message { partition: *partition, offset: *offset, timestamp_ms: *timestamp_ms, key, value });
    }
    validator.show(&messages)
}

fn peek(cluster: &mut dyn Cluster, topic: &str, limit: usize, from: PeekFrom) -> Result<Vec<PeekedMessage>> {
    if cluster.describe(topic)?.is_none() {
        return Err(Error::new(Kind::Broker, format!("there is no topic `{topic}`")));
    }
    let bounds = cluster.bounds(topic)?;
    if let Some(partition) = from.partition
        && !bounds.iter().any(|bound| bound.partition == partition)
    {
        let count = bounds.len();
        return Err(Error::config(format!(
            "topic `{topic}` has {count} partitions, counted from 0, and no {partition}"
        )));
    }
    let begins = match (from.offset, from.timestamp_ms) {
        (None, Some(timestamp_ms)) => cluster.offsets_at(topic, timestamp_ms)?,
        _ => Vec::new(),
    };
    let mut messages = Vec::new();
    for bound in bounds.iter().filter(|bound| from.partition.is_none_or(|only| only == bound.partition)) {
        let range = (bound.earliest, bound.end);
        let by_time = begins.iter().find(|begin| begin.partition == bound.partition).map(|begin| begin.offset);
        messages.extend(match from.offset.or(by_time) {
            Some(offset) => first(cluster, topic, bound.partition, (offset.max(bound.earliest), bound.end), limit)?,
            None => last(cluster, topic, bound.partition, range, limit)?,
        });
    }
    messages.sort_by_key(|message| (message.timestamp_ms, message.partition, message.offset));
    let surplus = messages.len().saturating_sub(limit);
    match from.is_forward() {
        true => messages.truncate(limit),
        false => drop(messages.drain(..surplus)),
    }
    Ok(messages)
}

/// Reads a range until `limit` messages are there. What an open transaction holds back is not shown.
fn first(
    cluster: &mut dyn Cluster,
    topic: &str,
    partition: i32,
    (from, until): (i64, i64),
    limit: usize,
) -> Result<Vec<PeekedMessage>> {
    let mut messages = Vec::new();
    if limit == 0 {
        return Ok(messages);
    }
    let read = cluster.read_committed(topic, partition, from, until, READ_TIMEOUT, &mut |message| {
        messages.push(PeekedMessage::from(message));
        if messages.len() < limit { Ok(()) } else { Err(Error::interrupted()) }
    });
    match read {
        Err(error) if messages.len() < limit && !error.is_retriable() => Err(error),
        _ => Ok(messages),
    }
}

/// The last `limit` messages of a range. Markers and aborted records take offsets too, so the look back doubles
/// until there are enough.
fn last(
    cluster: &mut dyn Cluster,
    topic: &str,
    partition: i32,
    (earliest, end): (i64, i64),
    limit: usize,
) -> Result<Vec<PeekedMessage>> {
    let mut back = i64::try_from(limit).unwrap_or(i64::MAX).saturating_mul(2).saturating_add(2);
    loop {
        let from = end.saturating_sub(back).max(earliest);
        let mut messages = first(cluster, topic, partition, (from, end), usize::MAX)?;
        if messages.len() >= limit || from == earliest {
            let surplus = messages.len().saturating_sub(limit);
            messages.drain(..surplus);
            return Ok(messages);
        }
        back = back.saturating_mul(2);
    }
}

/// The newest rows of the table, the newest first, in the columns that their messages have.
pub async fn peek_table_rows(settings: &Settings, limit: u64) -> Result<RecordBatch> {
    let client = connect_postgres(settings, APPLICATION, Session::Read).await?;
    let (schema, rows) = newest_rows(&client, &PollOptions::from_settings(settings)?, limit).await?;
    let mut messages = MessageBatch::default();
    for (place, (_, key, value)) in rows.iter().enumerate() {
        let (partition, offset, timestamp_ms) = (0, place as i64, -1);
        messages.push(Message { partition, offset, timestamp_ms, key: Some(key), value: Some(value) });
    }
    Ok(Decoder::new(&schema)?.decode(&messages)?.rows)
}

/// The newest rows of the table, every value as PostgreSQL writes it.
pub async fn peek_table(settings: &Settings, limit: u64) -> Result<TextRows> {
    let client = connect_postgres(settings, APPLICATION, Session::Read).await?;
    let table = Table::describe(&client, &settings.require_postgres()?.table).await?;
    let timestamp = &settings.cdc.timestamp_column;
    let column = quote_identifier(timestamp);
    // Those without a timestamp last, by a query of their own: an index has them at its other end.
    let parts = match table.column(timestamp) {
        Some(found) if found.not_null => vec![format!("ORDER BY {column} DESC")],
        Some(_) => {
            vec![format!("WHERE {column} IS NOT NULL ORDER BY {column} DESC"), format!("WHERE {column} IS NULL")]
        }
        None => vec![String::new()],
    };
    let mut rows = TextRows::default();
    for part in parts {
        let left = limit.saturating_sub(rows.rows.len() as u64);
        let sql = format!("SELECT * FROM {} {part} LIMIT {left}", table.qualified());
        let found = query_text(&client, &sql, &format!("cannot read {table}")).await?;
        rows.columns = found.columns;
        rows.rows.extend(found.rows);
    }
    Ok(rows)
}
