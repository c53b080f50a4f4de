//! Messages into accepted rows by day, and rejects with their reasons.
//!
//! ```text
//! MessageBatch ─wire::decode→ columns + faults ─checks→ more faults ─┬→ accepted rows, split by local day
//!                                                                     └→ rejects: raw bytes, position, reasons, what parsed
//! ```
//! Guarantees: every message is accepted or rejected, once (counted, and compared at the end of each batch); a reject
//! keeps its bytes, its position and *all* its reasons; an accepted row holds exactly what its message says.
//! With `drop_invalid_rows: false`, rows that only break a rule stay in the lake, tagged; a row that lost a value in
//! decoding, has no usable timestamp, or whose message is unreadable goes to quarantine in any case.
//! `rules` compiles the configuration, `checks` applies it column by column, then `total` and `recent` judge the rows
//! that are left: computed totals, and values that were accepted before. `split` divides
//! rows, `quarantine` lays out rejects. No I/O. Above: `pipeline::ingest`.

mod checks;
mod quarantine;
mod recent;
mod rules;
mod split;
mod total;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType as ArrowType, Field, Schema as ArrowSchema, SchemaRef, TimestampMicrosecondType};

use self::checks::ColumnCheck;
use self::quarantine::{Quarantine, Reject};
pub use self::recent::{Recalled, Recent};
use self::total::TotalCheck;
use crate::config::settings::Validation;
use crate::error::{Error, Result};
use crate::model::local_time::LocalTime;
use crate::model::{Counts, DatedBatch, Fault, MessageBatch, Reason, Schema};
use crate::wire::decode::{Decoded, Decoder};

/// Tag columns of the lake when invalid rows stay in it.
pub const STATUS_COLUMN: &str = "validation_status";
pub const ERRORS_COLUMN: &str = "validation_errors";
/// The documents' words.
pub const STATUS_VALID: &str = "SUCCESS";
pub const STATUS_INVALID: &str = "FAILED";

/// Everything a schema and its rules decide, compiled once.
pub struct Validator {
    schema: Schema,
    decoder: Decoder,
    checks: Vec<ColumnCheck>,
    total: Option<TotalCheck>,
    recent: Option<Recent>,
    unique_column: Option<String>,
    timestamp_column: usize,
    days: LocalTime,
    keep_invalid: bool,
    lake_schema: SchemaRef,
    quarantine: Quarantine,
}

/// A batch of messages after validation.
#[derive(Clone, Debug)]
pub struct Validated {
    /// In the lake schema, one batch a day, days rising, rows in the order of their messages.
    pub accepted: Vec<DatedBatch>,
    /// In the quarantine schema, in the order of the messages.
    pub rejected: Option<RecordBatch>,
    pub counts: Counts,
    /// Keys of readable messages that name no column.
    pub unknown_keys: u64,
}

impl Validator {
    /// Compiles the documents' rules and the configured ones for the columns that exist.
    ///
    /// `timestamp_column` decides the partition date: the day it falls on in `partition_timezone`. A rule that names an
    /// unknown column, or that its column's type cannot carry, is a configuration error with its key.
    pub fn compile(
        schema: &Schema,
        validation: &Validation,
        timestamp_column: &str,
        partition_timezone: chrono_tz::Tz,
        topic: &str,
    ) -> Result<Self> {
        let decoder = Decoder::new(schema)?;
        let timestamp_index = rules::timestamp_index(schema, timestamp_column)?;
        let checks = rules::compile(schema, validation, timestamp_index)?;
        let keep_invalid = !validation.drop_invalid_rows;
        Ok(Validator {
            decoder,
            checks,
            total: rules::total(schema, validation)?,
            recent: rules::recent(schema, validation)?,
            unique_column: validation.unique.as_ref().map(|unique| unique.column.clone()),
            timestamp_column: timestamp_index,
            days: LocalTime::new(partition_timezone),
            keep_invalid,
            lake_schema: lake_schema(schema, keep_invalid)?,
            quarantine: Quarantine::new(schema, topic),
            schema: schema.clone(),
        })
    }

    /// Schema of accepted rows: the columns, and the two tags where invalid rows are kept.
    pub fn lake_schema(&self) -> SchemaRef {
        self.lake_schema.clone()
    }

    /// Schema of rejects: raw key and value, position, reasons, then every column, null where it did not parse.
    pub fn quarantine_schema(&self) -> SchemaRef {
        self.quarantine.schema()
    }

    /// What was accepted in the unique column. Whoever commits the batches keeps it in step with the log; without
    /// that it is the memory of this validator alone.
    pub fn recent(&mut self) -> Option<&mut Recent> {
        self.recent.as_mut()
    }

    /// The column that [`Validator::recent`] remembers.
    pub fn unique_column(&self) -> Option<&str> {
        self.unique_column.as_deref()
    }

    /// Rows that break a rule stay in the lake, tagged.
    pub fn keeps_invalid(&self) -> bool {
        self.keep_invalid
    }

    /// Decodes every message and finds what is wrong with it, in the order of rows.
    fn examine(&mut self, messages: &MessageBatch) -> Result<(Decoded, Vec<Fault>)> {
        let mut decoded = self.decoder.decode(messages)?;
        let mut faults = std::mem::take(&mut decoded.faults);
        for check in &self.checks {
            check.apply(&decoded.rows, &mut faults);
        }
        settle(&mut faults);
        if let Some(total) = &self.total {
            total.apply(&decoded.rows, &mut faults);
            settle(&mut faults);
        }
        if let Some(recent) = &mut self.recent {
            recent.apply(&decoded.rows, &mut faults);
            settle(&mut faults);
        }
        Ok((decoded, faults))
    }

    /// All messages in the quarantine's columns, for whoever only looks: `reasons` says why a message would be
    /// rejected, or tagged, and is null where nothing is wrong with it.
    pub fn show(&mut self, messages: &MessageBatch) -> Result<RecordBatch> {
        let (decoded, faults) = self.examine(messages)?;
        let nothing = |message| Reject { message, row: None, reasons: String::new() };
        let mut all: Vec<Reject> = (0..messages.len() as u32).map(nothing).collect();
        for (row, &message) in decoded.origin.iter().enumerate() {
            all[message as usize].row = Some(row as u32);
        }
        for of_row in faults.chunk_by(|left, right| left.row == right.row) {
            all[decoded.origin[of_row[0].row as usize] as usize].reasons = self.reasons(of_row);
        }
        for &(message, reason) in &decoded.unreadable {
            reason.code().clone_into(&mut all[message as usize].reasons);
        }
        self.quarantine.lay_out_all(messages, &decoded.rows, &all)
    }

    /// Decodes and judges every message of the batch.
    pub fn validate(&mut self, messages: &MessageBatch) -> Result<Validated> {
        let (decoded, faults) = self.examine(messages)?;
        let verdicts = self.judge(&decoded, &faults);
        let rows = self.tag(&decoded.rows, &verdicts.kept)?;
        let instants = rows.column(self.timestamp_column).as_primitive::<TimestampMicrosecondType>();
        let accepted = split::by_day(&rows, instants.values(), &verdicts.rejected_rows, &mut self.days)?;
        let counts = Counts {
            input: messages.len() as u64,
            accepted: accepted.iter().map(|batch| batch.rows.num_rows() as u64).sum(),
            rejected: verdicts.rejects.len() as u64,
        };
        if counts.input != counts.accepted + counts.rejected {
            return Err(Error::bug(format!("a validated batch does not add up: {counts:?}")));
        }
        let rejected = self.quarantine.lay_out(messages, &decoded.rows, verdicts.rejects)?;
        Ok(Validated { accepted, rejected, counts, unknown_keys: decoded.unknown_keys })
    }

    /// Decides what becomes of the rows with faults, which come sorted by row.
    fn judge(&self, decoded: &Decoded, faults: &[Fault]) -> Verdicts {
        let mut verdicts = Verdicts::default();
        for of_row in faults.chunk_by(|left, right| left.row == right.row) {
            let row = of_row[0].row;
            let reasons = self.reasons(of_row);
            if self.keep_invalid && !of_row.iter().any(|fault| self.bars_from_lake(fault)) {
                verdicts.kept.push((row, reasons));
            } else {
                verdicts.rejected_rows.push(row);
                verdicts.rejects.push(Reject { message: decoded.origin[row as usize], row: Some(row), reasons });
            }
        }
        let unreadable = decoded.unreadable.iter();
        verdicts.rejects.extend(unreadable.map(|&(message, reason)| Reject {
            message,
            row: None,
            reasons: reason.code().to_owned(),
        }));
        verdicts.rejects.sort_unstable_by_key(|reject| reject.message);
        verdicts
    }

    /// A lake row would not show what the message says, or would have no day.
    fn bars_from_lake(&self, fault: &Fault) -> bool {
        let no_day = fault.column == Some(self.timestamp_column as u16) && fault.reason == Reason::Null;
        no_day || fault.reason.loses_value()
    }

    /// `not_positive:amount,empty:item`.
    fn reasons(&self, faults: &[Fault]) -> String {
        let mut text = String::new();
        for fault in faults {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(fault.reason.code());
            if let Some(column) = fault.column {
                text.push(':');
                text.push_str(&self.schema.columns[usize::from(column)].name);
            }
        }
        text
    }

    /// Adds the tag columns where invalid rows are kept.
    fn tag(&self, rows: &RecordBatch, kept: &[(u32, String)]) -> Result<RecordBatch> {
        if !self.keep_invalid {
            return Ok(rows.clone());
        }
        let mut status = vec![STATUS_VALID; rows.num_rows()];
        let mut errors = vec![None; rows.num_rows()];
        for (row, reasons) in kept {
            status[*row as usize] = STATUS_INVALID;
            errors[*row as usize] = Some(reasons.as_str());
        }
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(StringArray::from(status)) as ArrayRef);
        columns.push(Arc::new(StringArray::from(errors)));
        RecordBatch::try_new(self.lake_schema.clone(), columns)
            .map_err(|error| Error::bug("tagged rows do not fit the lake schema").because(error))
    }
}

#[derive(Default)]
struct Verdicts {
    /// Rows that break a rule and stay in the lake, with their reasons.
    kept: Vec<(u32, String)>,
    /// Rising.
    rejected_rows: Vec<u32>,
    rejects: Vec<Reject>,
}

/// Sorts by row, column and reason. A null that decoding left behind is no second fault of its column.
fn settle(faults: &mut Vec<Fault>) {
    faults.sort_unstable_by_key(|fault| (fault.row, fault.column, fault.reason));
    faults.dedup_by(|next, kept| {
        let same_value = next.row == kept.row && next.column == kept.column;
        same_value && (next.reason == kept.reason || (next.reason == Reason::Null && kept.reason.loses_value()))
    });
}

fn lake_schema(schema: &Schema, keep_invalid: bool) -> Result<SchemaRef> {
    let columns = schema.to_arrow();
    if !keep_invalid {
        return Ok(columns);
    }
    let mut fields: Vec<_> = columns.fields().iter().cloned().collect();
    for (name, nullable) in [(STATUS_COLUMN, false), (ERRORS_COLUMN, true)] {
        if schema.index_of(name).is_some() {
            return Err(Error::config(format!(
                "the table has a column `{name}`, which `validation.drop_invalid_rows: false` adds by itself; \
                 leave the column out of `schema`, or drop invalid rows"
            )));
        }
        fields.push(Arc::new(Field::new(name, ArrowType::Utf8, nullable)));
    }
    Ok(Arc::new(ArrowSchema::new(fields)))
}
