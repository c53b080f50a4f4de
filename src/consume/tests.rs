use std::collections::VecDeque;

use super::*;
use crate::error::{Error, Kind};
use crate::model::Message;

/// One poll: events, then (partition, offset) pairs.
type Poll = (Vec<Event>, Vec<(i32, i64)>);

/// Hands out scripted polls.
#[derive(Default)]
struct Scripted {
    polls: VecDeque<Poll>,
    assigned: Vec<Vec<PartitionOffset>>,
    sought: Vec<Vec<PartitionOffset>>,
    asked: Vec<usize>,
    /// Polls that fail after they have appended their messages.
    failures: usize,
}

impl GroupConsumer for Scripted {
    fn known_ends(&self) -> Vec<PartitionOffset> {
        Vec::new()
    }

    fn poll(&mut self, into: &mut MessageBatch, max_messages: usize, _: usize, _: Duration) -> Result<Vec<Event>> {
        self.asked.push(max_messages);
        let (events, messages) = self.polls.pop_front().unwrap_or_default();
        for (partition, offset) in messages.into_iter().take(max_messages) {
            into.push(Message { partition, offset, timestamp_ms: 0, key: None, value: Some(b"{}") });
        }
        if self.failures > 0 {
            self.failures -= 1;
            return Err(Error::new(Kind::Broker, "the connection broke").retriable());
        }
        Ok(events)
    }

    fn assign(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        self.assigned.push(positions.to_vec());
        Ok(())
    }

    fn seek(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        self.sought.push(positions.to_vec());
        Ok(())
    }

    fn publish_offsets(&mut self, _: &[PartitionOffset]) -> Result<()> {
        Ok(())
    }

    fn close(&mut self) {}
}

const LIMITS: Limits = Limits { max_messages: 3, max_bytes: 1 << 20 };

fn at(partition: i32, offset: i64) -> PartitionOffset {
    PartitionOffset { partition, offset }
}

fn reader(polls: Vec<Poll>) -> Reader<Scripted> {
    let mut reader = Reader::new(Scripted { polls: polls.into(), ..Scripted::default() });
    reader.start(&[at(0, 5), at(1, 0)]).unwrap();
    reader
}

fn read(reader: &mut Reader<Scripted>) -> (Step, usize) {
    let mut chunk = MessageBatch::default();
    let step = reader.read(&mut chunk, LIMITS, Duration::ZERO).unwrap();
    (step, chunk.len())
}

#[test]
fn a_range_reaches_past_the_control_record_that_ends_the_partition() {
    let end = Event::EndOfPartition { partition: 0, offset: 8 };
    let mut reader = reader(vec![(vec![], vec![(0, 5), (0, 6)]), (vec![end], vec![])]);
    read(&mut reader);
    read(&mut reader);
    assert_eq!(reader.cut(), [OffsetRange { partition: 0, from: 5, to: 8 }]);
    assert!(!reader.has_moved());
}

#[test]
fn the_next_batch_begins_where_the_last_was_cut() {
    let mut reader = reader(vec![(vec![], vec![(1, 0)]), (vec![], vec![(1, 1), (0, 5)])]);
    read(&mut reader);
    reader.cut();
    read(&mut reader);
    let ranges = reader.cut();
    assert_eq!(ranges, [OffsetRange { partition: 0, from: 5, to: 6 }, OffsetRange { partition: 1, from: 1, to: 2 }]);
}

#[test]
fn a_batch_never_holds_more_messages_than_its_limit() {
    let mut reader = reader(vec![(vec![], vec![(0, 5), (0, 6)]), (vec![], vec![(0, 7), (0, 8)])]);
    read(&mut reader);
    assert!(!reader.is_full(LIMITS));
    assert_eq!(read(&mut reader), (Step::Read, 1));
    assert!(reader.is_full(LIMITS));
    assert_eq!(reader.consumer.asked, [3, 1]);
}

#[test]
fn a_rebalance_voids_what_was_gathered() {
    let mut reader = reader(vec![(vec![], vec![(0, 5)]), (vec![Event::Revoked], vec![(0, 6)])]);
    read(&mut reader);
    assert_eq!(read(&mut reader), (Step::Revoked, 0));
    assert_eq!(reader.gathered(), 0);
    assert!(reader.cut().is_empty());
}

#[test]
fn rewinding_forgets_the_batch_and_seeks() {
    let mut reader = reader(vec![(vec![], vec![(0, 5)])]);
    read(&mut reader);
    reader.rewind(&[at(0, 9), at(1, 0)]).unwrap();
    assert_eq!(reader.consumer.sought, [vec![at(0, 9), at(1, 0)]]);
    assert!(reader.cut().is_empty());
    assert_eq!(reader.positions(), [at(0, 9), at(1, 0)]);
}

#[test]
fn the_end_is_left_again_when_a_message_follows_it() {
    let ends =
        vec![Event::EndOfPartition { partition: 0, offset: 5 }, Event::EndOfPartition { partition: 1, offset: 0 }];
    let mut reader = reader(vec![(ends, vec![]), (vec![], vec![(0, 5)])]);
    read(&mut reader);
    assert!(reader.at_end());
    read(&mut reader);
    assert!(!reader.at_end());
}

#[test]
fn what_a_failed_poll_had_read_is_read_again() {
    let mut reader = reader(vec![(vec![], vec![(0, 5)]), (vec![], vec![(0, 6)]), (vec![], vec![(0, 6)])]);
    read(&mut reader);
    reader.consumer.failures = 1;
    let mut chunk = MessageBatch::default();
    assert!(reader.read(&mut chunk, LIMITS, Duration::ZERO).is_err());
    assert!(chunk.is_empty());
    assert_eq!(reader.gathered(), 1);
    assert_eq!(read(&mut reader), (Step::Read, 1));
    assert_eq!(reader.consumer.sought, [vec![at(0, 6), at(1, 0)]], "the consumer itself had moved on");
    assert_eq!(reader.cut(), [OffsetRange { partition: 0, from: 5, to: 7 }]);
    read(&mut reader);
    assert_eq!(reader.consumer.sought.len(), 1);
}
