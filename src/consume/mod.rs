//! Consume: records of the topic, gathered into bounded batches with exact offset ranges.
//!
//! A `Reader` owns one group member. It hands assignment changes to its caller, who alone knows where the lake
//! stands, and keeps the positions between two commits: a range reaches from the position of the last batch to
//! the one after the last record or after the control records that follow it (protocols C1, C2, C4).
//! Below: `broker`'s traits. Above: `pipeline::ingest`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::broker::{Event, GroupConsumer};
use crate::error::Result;
use crate::model::{MessageBatch, OffsetRange, PartitionOffset};

/// When a batch is full. Whichever is reached first ends it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_messages: u64,
    pub max_bytes: u64,
}

/// Messages decoded at a time: large enough to amortise a call, small enough that the raw bytes of a chunk
/// stay in the processor's second-level cache while they are decoded.
pub const CHUNK_MESSAGES: usize = 8_192;
/// A chunk of large messages ends by its bytes instead.
pub const CHUNK_BYTES: usize = 4 << 20;

/// What a call to [`Reader::read`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The chunk holds new messages, or only positions moved, or nothing happened in time.
    Read,
    /// The group gave us these partitions: answer with [`Reader::start`]. What was gathered is void.
    Assigned(Vec<i32>),
    /// The group took all partitions. What was gathered is void.
    Revoked,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where the current batch began.
    from: i64,
    /// The next offset to read.
    next: i64,
    /// The reader stood at the end of the partition when it last heard of it.
    at_end: bool,
}

/// One member of the group, and where it stands.
#[derive(Debug)]
pub struct Reader<C> {
    consumer: C,
    places: BTreeMap<i32, Place>,
    messages: u64,
    bytes: u64,
    /// A poll failed: the consumer may have moved on over messages that nobody counted.
    astray: bool,
    /// The last read brought something that only a broker can have said.
    answered: bool,
}

impl<C: GroupConsumer> Reader<C> {
    pub fn new(consumer: C) -> Self {
        Reader { consumer, places: BTreeMap::new(), messages: 0, bytes: 0, astray: false, answered: false }
    }

    /// Reads one chunk into `chunk` (emptied first), waiting up to `timeout` for the first message.
    /// Stops at the limits of the batch, so that a batch never holds more messages than asked for.
    /// After an error the batch stands where it stood: what the failed call had read is read again.
    pub fn read(&mut self, chunk: &mut MessageBatch, limits: Limits, timeout: Duration) -> Result<Step> {
        chunk.clear();
        self.answered = false;
        let room = limits.max_messages.saturating_sub(self.messages).min(CHUNK_MESSAGES as u64) as usize;
        let byte_room = limits.max_bytes.saturating_sub(self.bytes).min(CHUNK_BYTES as u64) as usize;
        if self.astray {
            self.consumer.seek(&self.positions())?;
            self.astray = false;
        }
        let events = self.consumer.poll(chunk, room, byte_room, timeout).inspect_err(|_| {
            chunk.clear();
            self.astray = !self.places.is_empty();
        })?;
        let mut step = Step::Read;
        for event in events {
            match event {
                Event::Assigned(partitions) => step = Step::Assigned(partitions),
                Event::Revoked => step = Step::Revoked,
                Event::EndOfPartition { partition, offset } => {
                    self.answered = true;
                    if let Some(place) = self.places.get_mut(&partition) {
                        place.next = place.next.max(offset);
                        place.at_end = true;
                    }
                }
            }
        }
        if step != Step::Read {
            chunk.clear();
            self.forget();
            return Ok(step);
        }
        for message in chunk.iter() {
            if let Some(place) = self.places.get_mut(&message.partition) {
                place.at_end &= message.offset < place.next;
                place.next = place.next.max(message.offset + 1);
            }
        }
        self.answered |= !chunk.is_empty();
        self.messages += chunk.len() as u64;
        self.bytes += chunk.byte_len() as u64;
        Ok(step)
    }

    /// The last read brought messages or the end of a partition, which after an error is heard again. That a read
    /// brought nothing and no error says nothing: an absent broker is reported once and then silent.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Answers an assignment: reading starts at the lake's positions.
    pub fn start(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        self.consumer.assign(positions)?;
        self.stand_at(positions);
        Ok(())
    }

    /// Answers a revocation.
    pub fn release(&mut self) -> Result<()> {
        self.forget();
        self.consumer.assign(&[])
    }

    /// Drops what was gathered and goes back, or on, to these positions.
    pub fn rewind(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        self.consumer.seek(positions)?;
        self.stand_at(positions);
        Ok(())
    }

    /// Lets the current batch's range of a partition begin before what is read: deleted offsets are passed over.
    pub fn begin_at(&mut self, partition: i32, from: i64) {
        if let Some(place) = self.places.get_mut(&partition) {
            place.from = from;
        }
    }

    /// Closes the batch: returns its ranges and begins the next one where it ended.
    pub fn cut(&mut self) -> Vec<OffsetRange> {
        self.messages = 0;
        self.bytes = 0;
        self.places
            .iter_mut()
            .filter(|(_, place)| place.next > place.from)
            .map(|(&partition, place)| {
                let from = std::mem::replace(&mut place.from, place.next);
                OffsetRange { partition, from, to: place.next }
            })
            .collect()
    }

    /// Messages gathered since the last cut.
    pub fn gathered(&self) -> u64 {
        self.messages
    }

    pub fn is_full(&self, limits: Limits) -> bool {
        self.messages >= limits.max_messages || self.bytes >= limits.max_bytes
    }

    /// Any position moved since the last cut, with or without messages.
    pub fn has_moved(&self) -> bool {
        self.places.values().any(|place| place.next > place.from)
    }

    /// The next batch begins where these ranges end, in each partition of them that is assigned.
    pub fn follows(&self, ranges: &[OffsetRange]) -> bool {
        ranges.iter().all(|range| self.places.get(&range.partition).is_none_or(|place| place.from == range.to))
    }

    pub fn assigned(&self) -> Vec<i32> {
        self.places.keys().copied().collect()
    }

    /// Next offsets, by assigned partition.
    pub fn positions(&self) -> Vec<PartitionOffset> {
        self.places.iter().map(|(&partition, place)| PartitionOffset { partition, offset: place.next }).collect()
    }

    /// Every assigned partition was read to its end when last heard of.
    pub fn at_end(&self) -> bool {
        self.places.values().all(|place| place.at_end)
    }

    /// Ends of assigned partitions, as far as they are known.
    pub fn known_ends(&self) -> Vec<PartitionOffset> {
        self.consumer.known_ends()
    }

    /// Tells the group how far the lake is, for lag tools.
    pub fn publish_offsets(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        let own: Vec<_> =
            positions.iter().copied().filter(|position| self.places.contains_key(&position.partition)).collect();
        if own.is_empty() { Ok(()) } else { self.consumer.publish_offsets(&own) }
    }

    pub fn close(&mut self) {
        self.consumer.close();
    }

    fn stand_at(&mut self, positions: &[PartitionOffset]) {
        self.forget();
        self.places = positions
            .iter()
            .map(|position| (position.partition, Place { from: position.offset, next: position.offset, at_end: false }))
            .collect();
    }

    fn forget(&mut self) {
        self.astray = false;
        self.places.clear();
        self.messages = 0;
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests;
