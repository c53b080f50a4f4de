//! Messages at hand, judged by the configured rules: no broker, no lake, no memory of earlier calls.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{REASONS_COLUMN, Reasons, Tally};
use crate::config::Settings;
use crate::consume::{CHUNK_BYTES, CHUNK_MESSAGES};
use crate::error::Result;
use crate::html::escape;
use crate::model::{Counts, Message, MessageBatch, Schema};
use crate::validate::{ERRORS_COLUMN, Validator};

/// All messages are of one imaginary partition; their offsets are their places.
const PARTITION: i32 = 0;
/// What Kafka says of a message without a time.
const NO_TIMESTAMP: i64 = -1;

/// Messages gathered for [`judge`].
#[derive(Clone, Debug, Default)]
pub struct MessageChunks {
    chunks: Vec<MessageBatch>,
    messages: i64,
}

impl MessageChunks {
    /// `None` is Kafka's null value.
    pub fn push(&mut self, value: Option<&[u8]>) {
        let is_full = |chunk: &MessageBatch| chunk.len() >= CHUNK_MESSAGES || chunk.byte_len() >= CHUNK_BYTES;
        if self.chunks.last().is_none_or(is_full) {
            self.chunks.push(MessageBatch::default());
        }
        let (partition, offset, timestamp_ms) = (PARTITION, self.messages, NO_TIMESTAMP);
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Message { partition, offset, timestamp_ms, key: None, value });
        }
        self.messages += 1;
    }
}

/// What became of them.
#[derive(Clone, Debug)]
pub struct Judged {
    pub counts: Counts,
    pub reasons: Reasons,
    /// In the lake's schema.
    pub accepted: Vec<RecordBatch>,
    /// In the quarantine's schema; `offset` is the place of the message, from 0 on.
    pub rejected: Vec<RecordBatch>,
    pub lake_schema: SchemaRef,
    pub quarantine_schema: SchemaRef,
    /// Accepted rows that break a rule, where the configuration keeps them in the lake.
    pub tagged: u64,
}

impl Judged {
    /// Nothing was rejected, and nothing was kept that breaks a rule.
    pub fn is_clean(&self) -> bool {
        self.counts.rejected == 0 && self.tagged == 0
    }

    /// A small table of the counts, for notebooks.
    pub fn to_html(&self) -> String {
        let Counts { input, accepted, rejected } = self.counts;
        let counts = [("messages", input), ("accepted", accepted), ("rejected", rejected)];
        let counts = counts.into_iter().map(|(name, rows)| format!("<tr><td>{name}</td><td>{rows}</td></tr>"));
        // Columns are named by the configuration, which may hold anything.
        let reasons = self.reasons.by_reason_and_column.iter();
        let reasons = reasons.map(|(name, rows)| format!("<tr><td>· {}</td><td>{rows}</td></tr>", escape(name)));
        format!("<table><tbody>{}</tbody></table>", counts.chain(reasons).collect::<String>())
    }
}

/// The configured rules; topic and lake may be missing in the configuration, since neither is needed.
pub fn validator(settings: &Settings) -> Result<Validator> {
    let zone = settings.lake.as_ref().map_or(settings.cdc.timezone, |lake| lake.partition_timezone);
    let topic = settings.kafka.as_ref().map_or("", |kafka| kafka.topic.as_str());
    let schema = settings.schema.clone().unwrap_or_else(Schema::orders);
    Validator::compile(&schema, &settings.validation, &settings.cdc.timestamp_column, zone, topic)
}

/// Judges the messages as the consumer would, as the first ever seen: a repeated id is one that came before in them.
pub fn judge(settings: &Settings, messages: &MessageChunks) -> Result<Judged> {
    let mut validator = validator(settings)?;
    let mut judged = Judged {
        counts: Counts::default(),
        reasons: Reasons::default(),
        accepted: Vec::new(),
        rejected: Vec::new(),
        lake_schema: validator.lake_schema(),
        quarantine_schema: validator.quarantine_schema(),
        tagged: 0,
    };
    let (mut rejected, mut tagged) = (Tally::default(), Tally::default());
    for chunk in &messages.chunks {
        let validated = validator.validate(chunk)?;
        judged.counts.add(validated.counts);
        for dated in validated.accepted {
            if validator.keeps_invalid() {
                tagged.add(&dated.rows, ERRORS_COLUMN)?;
            }
            judged.accepted.push(dated.rows);
        }
        if let Some(batch) = validated.rejected {
            rejected.add(&batch, REASONS_COLUMN)?;
            judged.rejected.push(batch);
        }
    }
    judged.tagged = tagged.rows();
    rejected.merge(tagged);
    judged.reasons = rejected.reasons();
    Ok(judged)
}
