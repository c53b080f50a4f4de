//! The documents' connection checks, each with their lines.

use std::time::Duration;

use super::{connect_kafka, connect_postgres};
use crate::broker::{Cluster, TopicSpec};
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::postgres::{OrderIndex, Session, Table, query_text};

const APPLICATION: &str = "foodstream check-postgres";
/// Appended to the topic's name: a check must not leave messages that the consumer would read.
const CHECK_SUFFIX: &str = "-check";
/// A message below the end is there, or an open transaction holds it back.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a message shown in a line.
const SHOWN_BYTES: usize = 500;

/// What `check_postgres` found.
#[derive(Clone, Debug)]
pub struct PostgresCheck {
    pub address: String,
    pub database: String,
    pub table: String,
    pub records: u64,
    pub server_version: i32,
    /// What is worth mending, in words.
    pub warnings: Vec<String>,
    pub lines: Vec<String>,
}

/// Connects, looks the table up, counts its rows; tells whether the pipeline could poll it.
pub async fn check_postgres(settings: &Settings) -> Result<PostgresCheck> {
    let client = connect_postgres(settings, APPLICATION, Session::Read).await?;
    let table = Table::describe(&client, &settings.require_postgres()?.table).await?;
    let key = table.key_column(&client, settings.cdc.key_column.as_deref()).await?;
    let doing = format!("cannot count the rows of {table}");
    let rows = query_text(&client, &format!("SELECT count(*) FROM {}", table.qualified()), &doing).await?;
    let records: u64 =
        rows.scalar().and_then(|text| text.parse().ok()).ok_or_else(|| Error::new(Kind::Source, doing))?;
    let timestamp = &settings.cdc.timestamp_column;
    let mut warnings = Vec::new();
    let index = match table.order_index(&client, timestamp, &key.name).await? {
        OrderIndex::Full(name) => format!("✓ Index: {name}"),
        OrderIndex::TimestampOnly(name) => format!("✓ Index: {name} (on {timestamp} alone)"),
        OrderIndex::None => {
            let text = format!("no index on ({timestamp}, {}): each poll sorts the table", key.name);
            warnings.push(text.clone());
            format!("! {text}")
        }
    };
    let lines = vec![
        format!("✓ Connected to PostgreSQL ({})", client.address()),
        format!("✓ Database: {}", client.database()),
        format!("✓ Table: {}", table.name),
        format!("✓ Record count: {records}"),
        format!("✓ Key: {}, ordered by {timestamp}", key.name),
        index,
    ];
    Ok(PostgresCheck {
        address: client.address(),
        database: client.database().to_owned(),
        table: table.to_string(),
        records,
        server_version: client.server_version(),
        warnings,
        lines,
    })
}

/// What `check_kafka_producer` did.
#[derive(Clone, Debug)]
pub struct KafkaProducerCheck {
    pub brokers: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub lines: Vec<String>,
}

/// Publishes one message to a topic of its own, `<topic>-check`, or to `topic`. Blocks.
///
/// # Errors
/// `Config` when `topic` is the pipeline's own: its consumer would read the message.
pub fn check_kafka_producer(settings: &Settings, topic: Option<&str>) -> Result<KafkaProducerCheck> {
    let kafka = settings.require_kafka()?;
    let topic = check_topic(&kafka.topic, topic)?;
    let mut cluster = connect_kafka(settings)?;
    cluster.ensure_topic(&TopicSpec {
        name: topic.clone(),
        partitions: 1,
        replication_factor: kafka.replication_factor,
        config: kafka.topic_config.clone(),
    })?;
    let (partition, offset) = cluster.send_check(&topic, br#"{"check":"foodstream"}"#)?;
    let lines = vec![
        format!("✓ Connected to Kafka ({})", kafka.brokers),
        format!("✓ Published test message to topic: {topic}"),
        format!("✓ Message ID: {offset} (partition {partition})"),
    ];
    Ok(KafkaProducerCheck { brokers: kafka.brokers.clone(), topic, partition, offset, lines })
}

fn check_topic(configured: &str, wanted: Option<&str>) -> Result<String> {
    match wanted {
        None => Ok(format!("{configured}{CHECK_SUFFIX}")),
        Some(topic) if topic == configured => Err(Error::config(format!(
            "`{topic}` is the pipeline's own topic: its consumer would put a test message into quarantine; leave the \
             topic out for `{topic}{CHECK_SUFFIX}`"
        ))),
        Some(topic) => Ok(topic.to_owned()),
    }
}

/// What `check_kafka_consumer` read.
#[derive(Clone, Debug)]
pub struct KafkaConsumerCheck {
    pub brokers: String,
    pub topic: String,
    /// False: nobody has created it yet.
    pub exists: bool,
    /// Partition, offset and value of the message; `None` for a topic without messages.
    pub message: Option<(i32, i64, Vec<u8>)>,
    pub lines: Vec<String>,
}

/// Reads one committed message of the topic, without joining a group: no position moves. Blocks.
pub fn check_kafka_consumer(settings: &Settings, topic: Option<&str>) -> Result<KafkaConsumerCheck> {
    let kafka = settings.require_kafka()?;
    let topic = topic.unwrap_or(&kafka.topic).to_owned();
    let mut cluster = connect_kafka(settings)?;
    let mut lines = vec![format!("✓ Connected to Kafka ({})", kafka.brokers)];
    let exists = cluster.describe(&topic)?.is_some();
    let message = if exists { first_message(&mut cluster, &topic)? } else { None };
    if exists {
        lines.push(format!("✓ Subscribed to topic: {topic}"));
    }
    lines.push(match &message {
        Some((.., value)) => format!("✓ Received message: {}", shown(value)),
        None if exists => format!("… Topic {topic} is empty: nothing was published yet"),
        None => format!("… Topic {topic} does not exist yet; producer and consumer create it"),
    });
    Ok(KafkaConsumerCheck { brokers: kafka.brokers.clone(), topic, exists, message, lines })
}

fn shown(value: &[u8]) -> String {
    let cut = value.len() > SHOWN_BYTES;
    let text = String::from_utf8_lossy(&value[..value.len().min(SHOWN_BYTES)]);
    let text: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if cut { format!("{text}… ({} bytes)", value.len()) } else { text }
}

/// The oldest message of the first partition that has one.
fn first_message(cluster: &mut dyn Cluster, topic: &str) -> Result<Option<(i32, i64, Vec<u8>)>> {
    for bound in cluster.bounds(topic)? {
        let mut first = None;
        // One is enough: the error ends the reading.
        let read =
            cluster.read_committed(topic, bound.partition, bound.earliest, bound.end, READ_TIMEOUT, &mut |message| {
                first = Some((message.partition, message.offset, message.value.unwrap_or_default().to_vec()));
                Err(Error::interrupted())
            });
        match read {
            _ if first.is_some() => return Ok(first),
            Ok(()) => {}
            // Held back by an open transaction: another partition may have more luck.
            Err(error) if error.is_retriable() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_producer_check_never_writes_to_the_pipelines_topic() {
        assert_eq!(check_topic("orders", None).unwrap(), "orders-check");
        assert_eq!(check_topic("orders", Some("mine")).unwrap(), "mine");
        let refusal = check_topic("orders", Some("orders")).unwrap_err();
        assert_eq!(refusal.kind(), Kind::Config);
    }

    #[test]
    fn a_message_is_shown_on_one_line_and_cut_when_long() {
        assert_eq!(shown(b"{\"a\":1}\n\x1b[2J"), "{\"a\":1}\u{fffd}\u{fffd}[2J");
        let long = shown(&vec![b'x'; 1_000_000]);
        assert!(long.len() < 600 && long.ends_with("… (1000000 bytes)"), "{long}");
    }
}
