//! A table in memory behind `Source`: for the tests of what stands above, and the model the real one is held to.
//!
//! The test plays the writers: it inserts rows, moves the horizon, and breaks the source when it wants to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Page, Source};
use crate::error::{Error, Result};
use crate::model::{ChangeBatch, Cursor, Key, Operation};

/// The table. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryTable(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    rows: BTreeMap<(i64, Key), Vec<u8>>,
    horizon_us: i64,
    snapshots: u64,
    failures: VecDeque<Failure>,
}

#[derive(Debug)]
struct Failure {
    after_rows: usize,
    error: Error,
}

impl MemoryTable {
    /// Adds a row; `value` is its message.
    pub fn insert(&self, timestamp_us: i64, key: Key, value: impl Into<Vec<u8>>) {
        self.lock().rows.insert((timestamp_us, key), value.into());
    }

    /// Sets W, on the column's clock. The caller keeps the contract: no row is inserted below it afterwards.
    pub fn set_horizon(&self, horizon_us: i64) {
        self.lock().horizon_us = horizon_us;
    }

    /// Makes a coming page fail after it has handed over `after_rows` rows; several are used up in turn.
    pub fn fail_next(&self, after_rows: usize, error: Error) {
        self.lock().failures.push_back(Failure { after_rows, error });
    }

    /// A reader of its own, at the beginning.
    pub fn source(&self) -> MemorySource {
        MemorySource { table: self.clone(), position: Cursor { timestamp_us: i64::MIN, key: None } }
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

#[derive(Debug)]
pub struct MemorySource {
    table: MemoryTable,
    position: Cursor,
}

impl Source for MemorySource {
    fn seek(&mut self, position: Cursor) {
        self.position = position;
    }

    async fn next_page(&mut self, limit: u32, batch: &mut ChangeBatch) -> Result<Page> {
        let mut table = self.table.lock();
        table.snapshots += 1;
        let failure = table.failures.pop_front();
        let limit = limit.max(1) as usize;
        let position = self.position;
        let horizon_us = table.horizon_us;
        let waiting = table.rows.iter().filter(|((timestamp_us, key), _)| {
            let after = (*timestamp_us, Some(*key)) > (position.timestamp_us, position.key);
            let same_done = position.key.is_none() && *timestamp_us == position.timestamp_us;
            after && !same_done && *timestamp_us < horizon_us
        });
        let mut rows = 0;
        for ((timestamp_us, key), value) in waiting.take(limit) {
            if failure.as_ref().is_some_and(|failure| rows == failure.after_rows) {
                break;
            }
            batch.push_with(Operation::Insert, |out| {
                out.extend_from_slice(key.to_string().as_bytes());
                let key_end = out.len();
                out.extend_from_slice(value);
                Ok::<_, Error>(key_end)
            })?;
            self.position = Cursor { timestamp_us: *timestamp_us, key: Some(*key) };
            batch.reached(self.position);
            rows += 1;
        }
        match failure {
            Some(failure) => Err(failure.error),
            None => Ok(Page { rows, full: rows == limit, horizon_us, snapshot_xmin: table.snapshots }),
        }
    }
}
