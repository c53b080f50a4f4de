//! Commits shown to whoever prints or counts them, each once it is durable.
//!
//! An observer sees a commit after it happened and cannot stop it; a kill between the two loses the sight, not the
//! commit, and the next one's totals hold all the same.

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};

use super::writer::Done;
use crate::lake::Head;
use crate::model::{Counts, DatedBatch, Totals};

/// A commit as it is shown.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The state after it: number, positions, totals of all days.
    pub head: &'a Head,
    pub committed_at: DateTime<Utc>,
    pub counts: Counts,
    /// What this commit added.
    pub part: &'a Totals,
    /// Its first accepted rows, in the lake's schema.
    pub sample: &'a [RecordBatch],
}

type Show = Box<dyn FnMut(&Observed<'_>) + Send>;

/// What is called at each commit, and how many rows it wants to see.
pub struct Observer {
    rows: usize,
    show: Show,
    /// First rows of the batch that was cut last, which is the one that is committed next.
    sample: Vec<RecordBatch>,
}

impl Observer {
    pub fn new(rows: usize, show: impl FnMut(&Observed<'_>) + Send + 'static) -> Self {
        Observer { rows, show: Box::new(show), sample: Vec::new() }
    }

    /// Slices share the batch's memory, so it lives until the next cut.
    pub(super) fn sample(&mut self, accepted: &[DatedBatch]) {
        self.sample.clear();
        let mut left = self.rows;
        for batch in accepted {
            if left == 0 {
                break;
            }
            let rows = left.min(batch.rows.num_rows());
            self.sample.push(batch.rows.slice(0, rows));
            left -= rows;
        }
    }

    pub(super) fn show(&mut self, done: &Done, now: DateTime<Utc>) {
        let counts = done.staged.counts;
        if counts.input == 0 {
            return;
        }
        let observed =
            Observed { head: &done.head, committed_at: now, counts, part: &done.staged.totals, sample: &self.sample };
        (self.show)(&observed);
        self.sample.clear();
    }
}
