//! A validated micro-batch with the positions its commit will publish.

use arrow::array::RecordBatch;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::position::OffsetRange;
use super::totals::Totals;

/// Accepted rows of one partition date, in the lake's schema (the `date` column is in the path only).
#[derive(Clone, Debug)]
pub struct DatedBatch {
    pub date: NaiveDate,
    pub rows: RecordBatch,
}

/// Every message of the ranges is counted once: `input == accepted + rejected`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub input: u64,
    pub accepted: u64,
    pub rejected: u64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.input += other.input;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
    }
}

/// What one commit makes durable at once.
#[derive(Clone, Debug, Default)]
pub struct MicroBatch {
    /// One range a partition, sorted by partition; `to` is past control and aborted records, so a range may
    /// be wider than its messages and may hold none.
    pub ranges: Vec<OffsetRange>,
    pub accepted: Vec<DatedBatch>,
    /// Batches of the quarantine schema (see `validate`).
    pub rejected: Vec<RecordBatch>,
    pub counts: Counts,
    /// This batch's part of the totals.
    pub totals: Totals,
    /// Offsets inside the ranges that the broker had deleted before they were read; only with
    /// `failOnDataLoss: false`, and recorded in the commit.
    pub lost: Vec<OffsetRange>,
    /// Id of the durable plan that has exactly these ranges, if somebody acts on the rows before the commit.
    pub plan: Option<String>,
}
