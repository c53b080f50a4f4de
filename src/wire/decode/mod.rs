//! Messages into columns: each value's JSON object is read once, straight into Arrow's own layout.
//!
//! Guarantees: a message becomes a row, or it is named with its reason; a value that its column cannot hold exactly
//! becomes null *and* a fault, never a rounded or a cut value; no input panics, recurses or allocates per row.
//! What every type accepts:
//!
//! | column | accepts | otherwise |
//! | --- | --- | --- |
//! | integers | a number written without fraction and exponent | `wrong_type`, `out_of_range` |
//! | decimal | any number that fits precision and scale without rounding | `wrong_type`, `out_of_range` |
//! | double | any number; the nearest double counts | `wrong_type`, `out_of_range` (overflow, underflow to zero) |
//! | boolean, string | `true`, `false`; a string | `wrong_type` |
//! | timestamps | RFC 3339 with a zone, up to six digits of fraction | `wrong_type`, `unparseable`, `out_of_range` |
//! | date | `YYYY-MM-DD` | `wrong_type`, `unparseable` |
//! | json | any value, kept as its text; `null` is null | |
//!
//! A key that comes twice leaves its column null with `duplicate_key`. Keys the schema does not know are counted and
//! skipped. Keys are expected in the schema's order without spaces, as our encoder writes them, and found by one
//! comparison then; any other order and spacing costs a look-up.
//! Below: `scan` (JSON), `number`, `time`, `builder` (columns). Above: `validate`, `verify`.

mod builder;
mod number;
mod scan;
mod time;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use self::builder::ColumnBuilder;
use self::scan::{RawString, Scanner, unescape};
use crate::error::{Error, Kind, Result};
use crate::model::{Fault, MessageBatch, Reason, Schema};

pub use self::number::{Number, Scaled};
pub use self::scan::MAX_DEPTH;
pub use self::time::{MICROS_PER_DAY, MICROS_PER_SECOND, parse_day, parse_timestamp};

/// Messages whose bytes, keys included, are checked to be UTF-8 by one call, which costs less than one each. So few of
/// ordinary size are still in the processor's cache when they are read. Where the check fails, each is checked alone.
const CHECKED_AT_ONCE: usize = 64;

/// What became of a batch of messages: every message is in `origin` or in `unreadable`, once.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// In the schema's `to_arrow` form.
    pub rows: RecordBatch,
    /// Index of the message that each row came from, rising.
    pub origin: Vec<u32>,
    /// Values that were left out of `rows`, by row.
    pub faults: Vec<Fault>,
    /// Messages that gave no row, by index, rising.
    pub unreadable: Vec<(u32, Reason)>,
    /// Keys at the top of readable messages that name no column.
    pub unknown_keys: u64,
}

/// Reads messages of one schema. Keeps small buffers between batches; the columns themselves are handed over.
pub struct Decoder {
    arrow_schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    /// `"name":` of each column, as our encoder writes it.
    keys: Vec<Box<[u8]>>,
    /// Column by unescaped name, for keys out of order.
    by_name: HashMap<Box<[u8]>, usize>,
    /// Faults of the batch under way.
    faults: Vec<Fault>,
    /// Unescaped text of a key that has escapes.
    name: Vec<u8>,
}

impl Decoder {
    /// A configuration error if the schema has two columns of one name, or more than a fault can number.
    pub fn new(schema: &Schema) -> Result<Self> {
        if schema.columns.len() > usize::from(u16::MAX) {
            return Err(Error::config(format!("the schema has {} columns; the limit is 65535", schema.columns.len())));
        }
        let mut by_name = HashMap::with_capacity(schema.columns.len());
        let mut keys = Vec::with_capacity(schema.columns.len());
        for (index, column) in schema.columns.iter().enumerate() {
            if by_name.insert(Box::from(column.name.as_bytes()), index).is_some() {
                return Err(Error::config(format!("the schema names the column `{}` twice", column.name)));
            }
            let quoted = serde_json::Value::from(column.name.as_str()).to_string();
            keys.push(format!("{quoted}:").into_bytes().into_boxed_slice());
        }
        Ok(Decoder {
            arrow_schema: schema.to_arrow(),
            columns: schema.columns.iter().map(|column| ColumnBuilder::new(column.data_type)).collect(),
            keys,
            by_name,
            faults: Vec::new(),
            name: Vec::new(),
        })
    }

    /// Reads every message of the batch. Fails only where a batch is larger than Arrow's 32-bit offsets reach.
    pub fn decode(&mut self, batch: &MessageBatch) -> Result<Decoded> {
        if i32::try_from(batch.byte_len()).is_err() || u32::try_from(batch.len()).is_err() {
            let (messages, bytes) = (batch.len(), batch.byte_len());
            let message =
                format!("a batch of {messages} messages and {bytes} bytes is too large; lower max_batch_bytes");
            return Err(Error::new(Kind::Config, message));
        }
        for column in &mut self.columns {
            column.reserve(batch.len());
        }
        let mut origin = Vec::with_capacity(batch.len());
        let mut unreadable = Vec::new();
        let mut unknown_keys = 0;
        let mut is_utf8 = false;
        for (index, message) in batch.iter().enumerate() {
            if index % CHECKED_AT_ONCE == 0 {
                let next = index..batch.len().min(index + CHECKED_AT_ONCE);
                is_utf8 = simdutf8::basic::from_utf8(batch.bytes_of(next)).is_ok();
            }
            let first_fault = self.faults.len();
            match self.message(message.value, is_utf8, origin.len()) {
                Ok(unknown) => {
                    unknown_keys += unknown;
                    origin.push(index as u32);
                }
                Err(reason) => {
                    self.faults.truncate(first_fault);
                    for column in &mut self.columns {
                        column.truncate(origin.len());
                    }
                    unreadable.push((index as u32, reason));
                }
            }
        }
        let arrays = self.columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(origin.len()));
        let rows = RecordBatch::try_new_with_options(self.arrow_schema.clone(), arrays, &options)
            .map_err(|error| Error::bug("decoded columns do not fit their own schema").because(error))?;
        Ok(Decoded { rows, origin, faults: std::mem::take(&mut self.faults), unreadable, unknown_keys })
    }

    /// Pushes one row and returns how many unknown keys it had. On an error parts of the row may have been pushed.
    ///
    /// `part_of_utf8`: the value stands in a longer text that is known to be UTF-8.
    #[inline]
    fn message(&mut self, value: Option<&[u8]>, part_of_utf8: bool, row: usize) -> Result<u64, Reason> {
        let value = value.ok_or(Reason::Tombstone)?;
        let (Some(first), Some(last)) = (value.first(), value.last()) else { return Err(Reason::EmptyMessage) };
        // Where ASCII begins and ends it, no character was cut.
        if !(part_of_utf8 && first.is_ascii() && last.is_ascii()) {
            simdutf8::basic::from_utf8(value).map_err(|_| Reason::NotUtf8)?;
        }
        let mut scanner = Scanner::new(value);
        scanner.skip_space();
        if !scanner.eat(b'{') {
            scanner.skip_value()?;
            scanner.end()?;
            return Err(Reason::NotObject);
        }
        let (pushed, unknown) = self.members(&mut scanner, row)?;
        scanner.end()?;
        if pushed < self.columns.len() {
            for column in self.columns.iter_mut().filter(|column| column.rows() == row) {
                column.push_null();
            }
        }
        Ok(unknown)
    }

    /// Reads the members up to the closing brace; returns how many columns were pushed and how many keys are unknown.
    #[inline]
    fn members(&mut self, scanner: &mut Scanner<'_>, row: usize) -> Result<(usize, u64), Reason> {
        let (mut pushed, mut unknown) = (0, 0);
        let mut expected = 0;
        if !self.keys.first().is_some_and(|key| scanner.starts_with(key)) {
            scanner.skip_space();
            if scanner.eat(b'}') {
                return Ok((0, 0));
            }
        }
        loop {
            let in_order = self.keys.get(expected).is_some_and(|key| scanner.eat_all(key));
            let found = if in_order { Some(expected) } else { self.find_column(scanner)? };
            match found {
                Some(index) => {
                    pushed += usize::from(self.member(scanner, row, index)?);
                    expected = index + 1;
                }
                None => {
                    scanner.skip_value()?;
                    unknown += 1;
                }
            }
            if scanner.eat(b',') {
                continue;
            }
            scanner.skip_space();
            if scanner.eat(b'}') {
                return Ok((pushed, unknown));
            }
            scanner.expect(b',')?;
        }
    }

    /// Reads a known member's value; whether it is the first of its column in this row.
    #[inline]
    fn member(&mut self, scanner: &mut Scanner<'_>, row: usize, index: usize) -> Result<bool, Reason> {
        let column = &mut self.columns[index];
        let fault = |reason| Fault { row: row as u32, column: Some(index as u16), reason };
        if column.rows() > row {
            // Which of the two was meant cannot be known.
            scanner.skip_value()?;
            column.truncate(row);
            column.push_null();
            let known = fault(Reason::DuplicateKey);
            if !self.faults.iter().rev().take_while(|fault| fault.row == known.row).any(|fault| *fault == known) {
                self.faults.push(known);
            }
            return Ok(false);
        }
        if let Some(reason) = column.read(scanner)? {
            self.faults.push(fault(reason));
        }
        Ok(true)
    }

    #[cold]
    fn find_column(&mut self, scanner: &mut Scanner<'_>) -> Result<Option<usize>, Reason> {
        let RawString { bytes, escaped } = scanner.member_name()?;
        if !escaped {
            return Ok(self.by_name.get(bytes).copied());
        }
        self.name.clear();
        unescape(bytes, &mut self.name)?;
        Ok(self.by_name.get(self.name.as_slice()).copied())
    }
}
