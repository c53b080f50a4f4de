//! The numbers of a verification, typed: what the report shows, JSON carries and tests compare.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;

use crate::model::Key;

/// Names shown of each kind; the count goes on.
pub const MAX_NAMED: usize = 20;

/// Keys of one kind of finding: all counted, the first twenty named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Offenders {
    pub count: u64,
    pub keys: Vec<String>,
}

impl Offenders {
    pub fn push(&mut self, key: Key) {
        self.push_name(|| key.to_string());
    }

    pub fn push_name(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.keys.len() < MAX_NAMED {
            self.keys.push(name());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Where the lake stands in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionLag {
    pub partition: i32,
    pub earliest: i64,
    /// Next offset the lake will read; `None` before it was founded on this partition.
    pub position: Option<i64>,
    pub end: i64,
    /// Offsets between position and end, transaction markers included.
    pub lag: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Rows the table has now, and those of them from the start position up to the cursor.
    pub table_rows: u64,
    pub rows_in_scope: u64,
    /// Rows before the recorded start position: not the pipeline's, counted apart.
    pub rows_before_start: u64,
    /// Rows the lake's own start position skipped (startingOffsets other than earliest).
    pub rows_skipped_by_start: u64,
    pub not_yet_published: u64,
    pub published_not_yet_consumed: u64,

    pub lake_rows: u64,
    pub quarantine_rows: u64,
    /// Rows of the table found in the lake, in the quarantine.
    pub held_in_lake: u64,
    pub held_in_quarantine: u64,

    pub missing: Offenders,
    pub extra: Offenders,
    pub duplicate: Offenders,
    pub altered: Offenders,
    pub updated_after_capture: Offenders,
    pub deleted_after_capture: Offenders,
    pub unproven: Offenders,
    pub null_created_at: Offenders,
    pub infinite_created_at: Offenders,
    pub future_created_at: Offenders,
    pub back_dated: Offenders,
    /// Messages in quarantine or on their way that no row of the table explains: another program's.
    pub foreign_messages: u64,
    /// Rows of the lake without a readable key, which cannot be compared.
    pub lake_rows_without_key: u64,

    pub topic: Option<String>,
    pub partitions: Vec<PartitionLag>,
    /// Records, not offsets: consumed by the lake, and waiting.
    pub messages_consumed: u64,
    pub messages_waiting: u64,
    /// Without a table: records that the topic still has of those consumed; `None` where some are gone by now.
    pub messages_counted: Option<u64>,

    pub dates: BTreeMap<NaiveDate, u64>,
    pub files: u64,
    pub quarantine_files: u64,
    pub orphan_files: Vec<String>,
    pub missing_files: Vec<String>,

    pub start: Option<String>,
    pub cursor: Option<String>,
    pub state: Option<String>,
    /// Number of the last commit.
    pub commit: Option<u64>,
}
