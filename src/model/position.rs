//! Positions: where capture stands in the table, and where the lake stands in the topic.

use std::fmt;

use chrono::{DateTime, NaiveDateTime};
use serde::{Deserialize, Serialize};

/// The value of the key column: the table's rows are ordered by it within one timestamp.
/// The order is PostgreSQL's own for both types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Int(i64),
    Uuid([u8; 16]),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Int(value) => write!(f, "{value}"),
            Key::Uuid(bytes) => write!(f, "{}", uuid::Uuid::from_bytes(*bytes).hyphenated()),
        }
    }
}

impl std::str::FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(value) = text.parse::<i64>() {
            return Ok(Key::Int(value));
        }
        uuid::Uuid::try_parse(text)
            .map(|id| Key::Uuid(*id.as_bytes()))
            .map_err(|_| format!("`{text}` is neither an integer nor a uuid"))
    }
}

/// Everything up to and including this pair of the table's own values has been read.
///
/// `timestamp_us` counts microseconds since 1970-01-01 00:00:00 on the clock of the column itself: for a
/// `timestamp` column that is its local time, unconverted; for `timestamptz` it is UTC.
/// `key` is `None` in an adopted position that had only a timestamp: then every row of that timestamp is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub timestamp_us: i64,
    pub key: Option<Key>,
}

impl Cursor {
    /// Where a configured start begins: rows of this very moment are still to be read.
    pub fn just_before(timestamp_us: i64) -> Cursor {
        Cursor { timestamp_us: timestamp_us.saturating_sub(1), key: None }
    }
}

/// Formats microseconds of the column's clock as `2025-11-18 12:30:45.123456`.
pub fn format_timestamp_us(timestamp_us: i64) -> String {
    match DateTime::from_timestamp_micros(timestamp_us) {
        Some(moment) => moment.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
        None => format!("{timestamp_us} µs"),
    }
}

/// Reads `2025-11-18 12:30:45[.123456]`, with a `T` or a space, and a bare date; no zone.
pub fn parse_timestamp_us(text: &str) -> Option<i64> {
    let text = text.trim();
    // A number that lost its last digit is still a number to chrono: `2025-11-1` must not become the first of the month.
    if !matches!(text.len(), 10 | 16 | 19..) {
        return None;
    }
    const FORMS: [&str; 4] = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];
    FORMS
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))
        .map(|moment| moment.and_utc().timestamp_micros())
}

impl fmt::Display for Cursor {
    /// The documents' state file form: `2025-11-18 12:30:45.123456|42`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_timestamp_us(self.timestamp_us))?;
        match self.key {
            Some(key) => write!(f, "|{key}"),
            None => Ok(()),
        }
    }
}

/// The next offset to read of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionOffset {
    pub partition: i32,
    pub offset: i64,
}

/// Offsets `from` (inclusive) to `to` (exclusive, past control and aborted records) of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    pub partition: i32,
    pub from: i64,
    pub to: i64,
}
