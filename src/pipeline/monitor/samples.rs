//! Times of a few rows that stand for all rows of a batch.

use arrow::array::{Array, AsArray};
use arrow::compute::{max, min};
use arrow::datatypes::TimestampMicrosecondType;

use crate::model::{DatedBatch, MessageBatch};

/// Of a chunk of messages, and of the rows of a day.
const OF_A_CHUNK: usize = 16;
/// Of one batch, so that a batch of many chunks stays as cheap as one of few.
const OF_A_BATCH: usize = 512;

/// Of the batch that is being gathered, or of the one that was cut last and is committed next.
#[derive(Clone, Debug, Default)]
pub struct Sampled {
    /// Milliseconds at which messages were published.
    pub published_ms: Vec<i64>,
    /// Microseconds at which rows were committed at the source.
    pub created_us: Vec<i64>,
    /// The least and the greatest of all rows.
    pub event_us: Option<(i64, i64)>,
}

impl Sampled {
    pub fn add_messages(&mut self, messages: &MessageBatch) {
        if self.published_ms.len() >= OF_A_BATCH {
            return;
        }
        let times = spread(messages.len()).map(|at| messages.get(at).timestamp_ms);
        self.published_ms.extend(times.filter(|&time| time >= 0));
    }

    /// `column` holds the time of each row.
    pub fn add_rows(&mut self, accepted: &[DatedBatch], column: &str) {
        for dated in accepted {
            let Some(column) = dated.rows.column_by_name(column) else { return };
            let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() else { return };
            if let (Some(least), Some(greatest)) = (min(times), max(times)) {
                let (low, high) = self.event_us.unwrap_or((least, greatest));
                self.event_us = Some((low.min(least), high.max(greatest)));
            }
            if self.created_us.len() < OF_A_BATCH {
                let values = spread(times.len()).filter(|&at| times.is_valid(at)).map(|at| times.value(at));
                self.created_us.extend(values);
            }
        }
    }
}

/// Indices spread over so many, the first and the last among them.
fn spread(len: usize) -> impl Iterator<Item = usize> {
    let points = len.min(OF_A_CHUNK);
    (0..points).map(move |at| if points < 2 { 0 } else { at * (len - 1) / (points - 1) })
}
