//! Times of a few rows that stand for all rows of a batch, and the newest of all of them.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::NaiveDate;

use crate::model::{DatedBatch, EventTimes, MessageBatch};

/// Of one batch, so that a batch of many chunks stays as cheap as one of few.
const OF_A_BATCH: usize = 512;

/// Of the batch that is being gathered, or of the one that was cut last and is committed next.
#[derive(Clone, Debug, Default)]
pub struct Sampled {
    /// Milliseconds at which messages were published.
    pub published_ms: Spread,
    /// Microseconds at which rows were committed at the source.
    pub created_us: Spread,
    /// When the newest message was published, by partition.
    pub newest_ms: BTreeMap<i32, i64>,
    /// The newest row, by date of the lake.
    pub newest_us: BTreeMap<NaiveDate, i64>,
    /// Of all rows.
    pub events: Option<EventTimes>,
}

impl Sampled {
    pub fn add_messages(&mut self, messages: &MessageBatch) {
        let time = |at| Some(messages.get(at).timestamp_ms).filter(|&time| time >= 0);
        self.published_ms.offer(messages.len(), time);
        for (partition, time) in messages.newest_ms() {
            raise(&mut self.newest_ms, partition, time);
        }
    }

    /// `column` holds the time of each row.
    pub fn add_rows(&mut self, accepted: &[DatedBatch], column: &str) {
        for dated in accepted {
            let Some(column) = dated.rows.column_by_name(column) else { return };
            let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() else { return };
            self.created_us.offer(times.len(), |at| times.is_valid(at).then(|| times.value(at)));
            let events = match times.null_count() {
                0 => EventTimes::of_slice(times.values()),
                _ => EventTimes::of_all(times.iter().flatten()),
            };
            let Some(events) = events else { continue };
            raise(&mut self.newest_us, dated.date, events.greatest_us);
            self.events = Some(self.events.map_or(events, |known| known.merged(events)));
        }
    }
}

/// Keeps the greatest value of a key.
pub(super) fn raise<K: Ord>(kept: &mut BTreeMap<K, i64>, key: K, value: i64) {
    let known = kept.entry(key).or_insert(value);
    *known = value.max(*known);
}

/// Values of rows that lie evenly over all rows, however many come: of each `stride` rows the first. When they are too
/// many, every second is dropped and the stride doubles.
#[derive(Clone, Debug)]
pub struct Spread {
    values: Vec<i64>,
    stride: u64,
    offered: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Spread { values: Vec::new(), stride: 1, offered: 0 }
    }
}

impl Spread {
    pub fn values(&self) -> &[i64] {
        &self.values
    }

    /// More rows, of which `value` gives one; it is asked for a few.
    pub(super) fn offer(&mut self, rows: usize, value: impl Fn(usize) -> Option<i64>) {
        let begun = self.offered;
        self.offered += rows as u64;
        let mut next = begun.next_multiple_of(self.stride);
        while next < self.offered {
            self.values.extend(value((next - begun) as usize));
            if self.values.len() > OF_A_BATCH {
                self.thin_out();
            }
            next = (next + 1).next_multiple_of(self.stride);
        }
    }

    fn thin_out(&mut self) {
        let mut at = 0;
        self.values.retain(|_| {
            at += 1;
            at % 2 == 1
        });
        self.stride *= 2;
    }
}
