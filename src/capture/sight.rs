//! What a source can tell of itself beside its rows: for people, never for positions.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// What the server said when the horizon was last judged.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSight {
    /// The server's clock, UTC microseconds, and what a clock of the timestamp column showed at that moment.
    pub clock_utc_us: i64,
    pub clock_column_us: i64,
    /// When that was, here.
    pub at: Instant,
    /// On the column's clock.
    pub horizon_us: i64,
    pub holder: Option<HolderSight>,
}

/// Who keeps the horizon back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderSight {
    pub text: String,
    pub pid: Option<i32>,
    pub age: Duration,
}

impl SourceSight {
    /// What a clock of the column shows at `now`.
    pub fn column_us(&self, now: Instant) -> i64 {
        let elapsed = now.saturating_duration_since(self.at);
        self.clock_column_us.saturating_add(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }

    /// A time of the column as UTC, right as long as its zone changed no offset between it and now.
    pub fn utc(&self, column_us: i64) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(column_us.checked_add(self.ahead_of_column_us())?)
    }

    /// How far UTC is ahead of the column's clock.
    pub fn ahead_of_column_us(&self) -> i64 {
        self.clock_utc_us.saturating_sub(self.clock_column_us)
    }
}

/// Rows that wait, counted up to a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitingRows {
    /// Above the position.
    pub rows: u64,
    pub rows_at_least: bool,
    /// Of these at or above the horizon.
    pub held: u64,
    pub held_at_least: bool,
    /// Timestamp of the oldest held row.
    pub oldest_held_us: Option<i64>,
}
