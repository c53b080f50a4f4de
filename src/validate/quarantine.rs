//! Rejects as columns: what came, where it stood, why it was refused, and what of it parsed.
//!
//! | column | type | |
//! | --- | --- | --- |
//! | `raw_key`, `raw_value` | binary | the message's own bytes; null where Kafka has null |
//! | `topic`, `partition`, `offset` | utf8, int, bigint | the position, unique |
//! | `timestamp` | timestamp(ms, UTC) | the broker's; null where the message has none |
//! | `reasons` | utf8 | `not_positive:amount,empty:item`; a code alone concerns the whole message |
//! | then the schema's columns | as in the lake | null where missing or unparseable |
//!
//! A schema column named like one of the first seven is called `column_<name>` here, or `column_column_<name>` if
//! that is taken too, and so on.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType as ArrowType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use crate::error::{Error, Result};
use crate::model::schema::UTC;
use crate::model::{MessageBatch, Schema};

/// Put before a schema column whose name a fixed column has.
pub const CLASH_PREFIX: &str = "column_";

const REASONS: &str = "reasons";

pub(super) struct Quarantine {
    schema: SchemaRef,
    topic: String,
}

/// One message that is not accepted.
#[derive(Clone, Debug)]
pub(super) struct Reject {
    pub(super) message: u32,
    /// Its decoded row; `None` for an unreadable message.
    pub(super) row: Option<u32>,
    pub(super) reasons: String,
}

fn fixed_fields() -> Vec<Field> {
    let timestamp = ArrowType::Timestamp(TimeUnit::Millisecond, Some(Arc::from(UTC)));
    vec![
        Field::new("raw_key", ArrowType::Binary, true),
        Field::new("raw_value", ArrowType::Binary, true),
        Field::new("topic", ArrowType::Utf8, false),
        Field::new("partition", ArrowType::Int32, false),
        Field::new("offset", ArrowType::Int64, false),
        Field::new("timestamp", timestamp, true),
        Field::new(REASONS, ArrowType::Utf8, false),
    ]
}

impl Quarantine {
    pub(super) fn new(schema: &Schema, topic: &str) -> Self {
        let mut fields = fixed_fields();
        let fixed: HashSet<String> = fields.iter().map(|field| field.name().clone()).collect();
        let mut taken: HashSet<String> = fixed.iter().cloned().collect();
        taken.extend(schema.columns.iter().map(|column| column.name.clone()));
        for field in schema.to_arrow().fields() {
            let mut name = field.name().clone();
            if fixed.contains(&name) {
                while !taken.insert(name.clone()) {
                    name.insert_str(0, CLASH_PREFIX);
                }
            }
            fields.push(field.as_ref().clone().with_name(name));
        }
        Quarantine { schema: Arc::new(ArrowSchema::new(fields)), topic: topic.to_owned() }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The rejects in their order; `None` when there are none.
    pub(super) fn lay_out(
        &self,
        messages: &MessageBatch,
        rows: &RecordBatch,
        rejects: Vec<Reject>,
    ) -> Result<Option<RecordBatch>> {
        if rejects.is_empty() {
            return Ok(None);
        }
        self.batch(self.schema.clone(), messages, rows, &rejects).map(Some)
    }

    /// The same columns for messages of whatever fate: `reasons` is null where the text is empty.
    pub(super) fn lay_out_all(
        &self,
        messages: &MessageBatch,
        rows: &RecordBatch,
        all: &[Reject],
    ) -> Result<RecordBatch> {
        let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
        let fields = self.schema.fields().iter();
        let fields = fields.map(|field| if field.name() == REASONS { nullable(field) } else { field.as_ref().clone() });
        self.batch(Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>())), messages, rows, all)
    }

    fn batch(
        &self,
        schema: SchemaRef,
        messages: &MessageBatch,
        rows: &RecordBatch,
        laid_out: &[Reject],
    ) -> Result<RecordBatch> {
        let batch = self.columns(messages, rows, laid_out);
        let batch = batch.and_then(|columns| RecordBatch::try_new(schema, columns));
        batch.map_err(|error| Error::bug("rejects do not fit the quarantine schema").because(error))
    }

    fn columns(
        &self,
        messages: &MessageBatch,
        rows: &RecordBatch,
        rejects: &[Reject],
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let raw = || rejects.iter().map(|reject| messages.get(reject.message as usize));
        let timestamps: TimestampMillisecondArray =
            raw().map(|message| (message.timestamp_ms >= 0).then_some(message.timestamp_ms)).collect();
        let reasons = rejects.iter().map(|reject| Some(reject.reasons.as_str()).filter(|reasons| !reasons.is_empty()));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(raw().map(|message| message.key).collect::<BinaryArray>()),
            Arc::new(raw().map(|message| message.value).collect::<BinaryArray>()),
            Arc::new(StringArray::from(vec![self.topic.as_str(); rejects.len()])),
            Arc::new(raw().map(|message| message.partition).collect::<Int32Array>()),
            Arc::new(raw().map(|message| message.offset).collect::<Int64Array>()),
            Arc::new(timestamps.with_timezone(UTC)),
            Arc::new(reasons.collect::<StringArray>()),
        ];
        let picked: UInt32Array = rejects.iter().map(|reject| reject.row).collect();
        for column in rows.columns() {
            columns.push(take(column, &picked, None)?);
        }
        Ok(columns)
    }
}
