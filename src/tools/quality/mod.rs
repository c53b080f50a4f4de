//! Data quality: how many messages were accepted, and why the others were not.
//!
//! `of_lake` reads what was consumed, from the commit log and the quarantine; `judge` validates messages at hand, by
//! the same rules and without any service. Both count by [`Reasons`]. Nothing is changed.

mod judge;
mod of_lake;

pub use judge::{Judged, MessageChunks, judge, validator};
pub use of_lake::{QualityReport, quality_of_lake};

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{AsArray, RecordBatch};
use serde::Serialize;

use crate::error::{Error, Result};

/// Column of the quarantine that says why.
const REASONS_COLUMN: &str = "reasons";

/// Rejected messages by what was wrong with them. A message with several reasons counts once under each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reasons {
    /// `not_positive`: messages with that reason, in whatever column.
    pub by_reason: BTreeMap<String, u64>,
    /// `not_positive:amount`; the code alone where it concerns the whole message.
    pub by_reason_and_column: BTreeMap<String, u64>,
}

/// Counts reasons as the quarantine writes them: few different texts, many times.
#[derive(Debug, Default)]
struct Tally(HashMap<String, u64>);

impl Tally {
    /// Counts the texts of a column; nulls are rows without a reason.
    fn add(&mut self, batch: &RecordBatch, column: &str) -> Result<()> {
        let texts = batch.column_by_name(column).and_then(|array| array.as_string_opt::<i32>());
        let texts = texts.ok_or_else(|| Error::bug(format!("`{column}` is missing or no text")))?;
        for text in texts.iter().flatten() {
            match self.0.get_mut(text) {
                Some(count) => *count += 1,
                None => drop(self.0.insert(text.to_owned(), 1)),
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: Tally) {
        for (text, rows) in other.0 {
            *self.0.entry(text).or_default() += rows;
        }
    }

    fn rows(&self) -> u64 {
        self.0.values().sum()
    }

    fn reasons(&self) -> Reasons {
        let mut reasons = Reasons::default();
        for (text, rows) in &self.0 {
            let codes: BTreeSet<&str> = text.split(',').map(|one| one.split(':').next().unwrap_or(one)).collect();
            for code in codes {
                *reasons.by_reason.entry(code.to_owned()).or_default() += rows;
            }
            for one in text.split(',') {
                *reasons.by_reason_and_column.entry(one.to_owned()).or_default() += rows;
            }
        }
        reasons
    }
}

#[cfg(test)]
mod tests;
