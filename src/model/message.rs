//! Messages as they were read from the broker, many at once, in one buffer.

use std::collections::BTreeMap;
use std::ops::Range;

/// A borrowed view of one message. `key` and `value` are `None` where Kafka has null, not empty bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch as the broker stored them; negative when the message has none.
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    start: usize,
    /// `usize::MAX` for null: an empty key is something else.
    key_len: usize,
    value_len: usize,
}

const NULL: usize = usize::MAX;

/// Messages of one topic, in the order they were handed over; offsets rise within a partition.
#[derive(Clone, Debug, Default)]
pub struct MessageBatch {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl MessageBatch {
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

    /// Keys and values of some messages, one after the other; panics past the end, as a slice does.
    pub fn bytes_of(&self, messages: Range<usize>) -> &[u8] {
        let start_of =
            |index: usize| if index == self.spans.len() { self.bytes.len() } else { self.spans[index].start };
        &self.bytes[start_of(messages.start)..start_of(messages.end)]
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    pub fn push(&mut self, message: Message<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(message.key.unwrap_or_default());
        self.bytes.extend_from_slice(message.value.unwrap_or_default());
        self.spans.push(Span {
            partition: message.partition,
            offset: message.offset,
            timestamp_ms: message.timestamp_ms,
            start,
            key_len: message.key.map_or(NULL, <[u8]>::len),
            value_len: message.value.map_or(NULL, <[u8]>::len),
        });
    }

    /// The message at `index`; panics past the end, as a slice does.
    pub fn get(&self, index: usize) -> Message<'_> {
        let span = self.spans[index];
        let key_len = if span.key_len == NULL { 0 } else { span.key_len };
        let value_start = span.start + key_len;
        Message {
            partition: span.partition,
            offset: span.offset,
            timestamp_ms: span.timestamp_ms,
            key: (span.key_len != NULL).then(|| &self.bytes[span.start..value_start]),
            value: (span.value_len != NULL).then(|| &self.bytes[value_start..value_start + span.value_len]),
        }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        (0..self.spans.len()).map(|index| self.get(index))
    }

    /// When the newest message of each partition was stored, where it has a time. Reads the index and no message.
    pub fn newest_ms(&self) -> BTreeMap<i32, i64> {
        let mut newest = BTreeMap::new();
        // Messages of a partition come one after the other, many at a time.
        for run in self.spans.chunk_by(|one, next| one.partition == next.partition) {
            let of_run = run.iter().map(|span| span.timestamp_ms).filter(|&time| time >= 0).max();
            if let Some(time) = of_run {
                let known = newest.entry(run[0].partition).or_insert(time);
                *known = time.max(*known);
            }
        }
        newest
    }
}
