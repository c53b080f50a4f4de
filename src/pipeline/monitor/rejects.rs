//! Rejects by reason, each with one sample whose letters and digits are hidden.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use chrono::{DateTime, Utc};

/// Reasons kept apart: rules times columns, so a schema of hundreds of columns ends here.
const MAX_REASONS: usize = 200;
const SAMPLE_CHARS: usize = 300;

/// Reason and, where it concerns one, column.
type Why = (String, Option<String>);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rejects {
    pub by_reason: BTreeMap<Why, RejectTally>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct RejectTally {
    pub count: u64,
    pub last: Option<DateTime<Utc>>,
    /// The newest message rejected for this, masked.
    pub sample: String,
}

impl Rejects {
    /// Counts a batch of the quarantine schema. A message with two reasons counts under both.
    pub fn add(&mut self, rejected: &RecordBatch, now: DateTime<Utc>) {
        let (Some(reasons), Some(values)) = (
            rejected.column_by_name("reasons").and_then(|column| column.as_string_opt::<i32>()),
            rejected.column_by_name("raw_value").and_then(|column| column.as_binary_opt::<i32>()),
        ) else {
            return;
        };
        // Text of the reasons to their number and the last row that has them: far fewer than rows.
        let mut texts: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
        for (row, text) in reasons.iter().enumerate() {
            let entry = texts.entry(text.unwrap_or_default()).or_default();
            *entry = (entry.0 + 1, row);
        }
        for (text, (count, row)) in texts {
            let sample = if values.is_null(row) { String::new() } else { masked(values.value(row)) };
            for reason in text.split(',') {
                self.count(reason, count, now, &sample);
            }
        }
    }

    fn count(&mut self, reason: &str, count: u64, now: DateTime<Utc>, sample: &str) {
        let (reason, column) = match reason.split_once(':') {
            Some((reason, column)) => (reason, Some(column.to_owned())),
            None => (reason, None),
        };
        let why = (reason.to_owned(), column);
        if self.by_reason.len() >= MAX_REASONS && !self.by_reason.contains_key(&why) {
            return;
        }
        let tally = self.by_reason.entry(why).or_default();
        tally.count += count;
        tally.last = Some(now);
        tally.sample = sample.to_owned();
    }

    pub fn merge(&mut self, part: Rejects) {
        for ((reason, column), tally) in part.by_reason {
            let why = (reason, column);
            if self.by_reason.len() >= MAX_REASONS && !self.by_reason.contains_key(&why) {
                continue;
            }
            let known = self.by_reason.entry(why).or_default();
            *known = RejectTally { count: known.count + tally.count, ..tally };
        }
    }
}

/// The shape of a value and nothing of it: letters become x, digits 9, whatever is not plain punctuation too.
pub fn masked(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(SAMPLE_CHARS * 4)]);
    let hide = |c: char| match c {
        'A'..='Z' => 'X',
        '0'..='9' => '9',
        ' ' => ' ',
        c if c.is_ascii_punctuation() => c,
        c if c.is_ascii_control() => ' ',
        _ => 'x',
    };
    text.chars().take(SAMPLE_CHARS).map(hide).collect()
}
