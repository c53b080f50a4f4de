//! Rows on their way from the source to the broker, already in their message form.
//!
//! One buffer holds keys and values back to back, so that a batch of 100,000 rows is three allocations
//! and not a hundred thousand.

use super::event_times::EventTimes;
use super::position::Cursor;

/// What happened to the row. Polling sees inserts only; the others belong to a source that reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Insert,
    Update,
    Delete,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    key_end: usize,
    value_end: usize,
    operation: Operation,
}

/// Rows in the order of the source, and the position that follows the last of them.
#[derive(Clone, Debug, Default)]
pub struct ChangeBatch {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// Timestamps of the rows, on the column's clock; `None` only while the batch is empty.
    pub times: Option<EventTimes>,
    /// The source's position after the last row; `None` only while the batch is empty.
    pub end: Option<Cursor>,
}

impl ChangeBatch {
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        self.times = None;
        self.end = None;
    }

    /// The row that was appended last stands here.
    #[inline]
    pub fn reached(&mut self, position: Cursor) {
        match &mut self.times {
            Some(times) => times.add(position.timestamp_us),
            none => *none = Some(EventTimes::of(position.timestamp_us)),
        }
        self.end = Some(position);
    }

    /// Appends a row: `write` puts the key into the buffer, then the value, and returns where the key ended.
    /// On an error nothing of the row remains.
    pub fn push_with<E>(
        &mut self,
        operation: Operation,
        write: impl FnOnce(&mut Vec<u8>) -> Result<usize, E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        match write(&mut self.bytes) {
            Ok(key_end) => {
                debug_assert!(start <= key_end && key_end <= self.bytes.len());
                self.spans.push(Span { start, key_end, value_end: self.bytes.len(), operation });
                Ok(())
            }
            Err(error) => {
                self.bytes.truncate(start);
                Err(error)
            }
        }
    }

    /// The rows as (operation, key, value), in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Operation, &[u8], &[u8])> {
        self.spans.iter().map(|span| self.row(span))
    }

    /// The row at `index`; panics past the end, as a slice does.
    pub fn get(&self, index: usize) -> (Operation, &[u8], &[u8]) {
        self.row(&self.spans[index])
    }

    /// The row that was appended last.
    pub fn last(&self) -> Option<(Operation, &[u8], &[u8])> {
        self.spans.last().map(|span| self.row(span))
    }

    fn row(&self, span: &Span) -> (Operation, &[u8], &[u8]) {
        (span.operation, &self.bytes[span.start..span.key_end], &self.bytes[span.key_end..span.value_end])
    }
}
