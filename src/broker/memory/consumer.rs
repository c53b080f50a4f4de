//! The consumer's side: a group that shares partitions out, and members that read committed records.

use std::collections::BTreeMap;
use std::time::Duration;

use super::log::Log;
use super::{Fault, MemoryBroker, State};
use crate::broker::{Event, GroupConsumer};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Lost, Result};
use crate::model::{Message, MessageBatch, PartitionOffset};

/// Members of one group. Everybody lets go before anybody is given partitions.
#[derive(Debug)]
pub(super) struct Group {
    pub topic: String,
    pub offsets: BTreeMap<i32, i64>,
    generation: u64,
    /// With the generation whose partitions the member holds.
    members: BTreeMap<u64, Option<u64>>,
}

impl Group {
    fn new(topic: &str) -> Self {
        Group { topic: topic.to_owned(), offsets: BTreeMap::new(), generation: 0, members: BTreeMap::new() }
    }

    pub fn rebalance(&mut self) {
        self.generation += 1;
    }

    pub fn leave(&mut self, member: u64) {
        if self.members.remove(&member).is_some() {
            self.rebalance();
        }
    }

    fn join(&mut self, member: u64) {
        self.members.insert(member, None);
        self.rebalance();
    }

    fn release(&mut self, member: u64) {
        if let Some(held) = self.members.get_mut(&member) {
            *held = None;
        }
    }

    /// The share of a member; `None` while somebody holds partitions of a generation before this one.
    fn take_share(&mut self, member: u64, partitions: usize) -> Option<Vec<i32>> {
        let generation = self.generation;
        let place = self.members.keys().position(|&other| other == member)?;
        if self.members.values().flatten().any(|&held| held != generation) {
            return None;
        }
        self.members.insert(member, Some(generation));
        Some((0..partitions as i32).skip(place).step_by(self.members.len()).collect())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    /// Not in the group, or in it and waiting for the others to let go.
    Waiting,
    /// Told its partitions of this generation.
    Holding(u64),
    /// Told to let go, and has not answered.
    Releasing,
    Closed,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    next: i64,
    /// The end that was last reported, so that each is reported once.
    reported_end: Option<i64>,
}

impl Place {
    fn at(offset: i64) -> Self {
        Place { next: offset, reported_end: None }
    }
}

/// See [`MemoryBroker::consumer`].
#[derive(Debug)]
pub struct MemoryConsumer {
    broker: MemoryBroker,
    group: String,
    topic: String,
    id: u64,
    membership: Membership,
    places: BTreeMap<i32, Place>,
    /// Partition to read first next time, so that a long one does not starve the others.
    turn: usize,
}

impl MemoryConsumer {
    pub(super) fn new(broker: MemoryBroker, group: &str, topic: &str) -> Self {
        let id = {
            let mut state = broker.lock();
            state.last_member += 1;
            state.groups.entry(group.to_owned()).or_insert_with(|| Group::new(topic));
            state.last_member
        };
        let (group, topic) = (group.to_owned(), topic.to_owned());
        MemoryConsumer { broker, group, topic, id, membership: Membership::Waiting, places: BTreeMap::new(), turn: 0 }
    }

    /// Joins, lets go, or is given partitions, as far as the group is.
    fn negotiate(&mut self, state: &mut State) -> Option<Event> {
        let partitions = state.topics.get(&self.topic).map_or(0, |topic| topic.partitions.len());
        let group = state.groups.get_mut(&self.group).expect("the group was made with its first member");
        match self.membership {
            Membership::Holding(generation) if generation != group.generation => {
                self.membership = Membership::Releasing;
                self.places.clear();
                Some(Event::Revoked)
            }
            Membership::Waiting => {
                if !group.members.contains_key(&self.id) {
                    group.join(self.id);
                    self.broker.0.changed.notify_all();
                }
                let share = group.take_share(self.id, partitions)?;
                self.membership = Membership::Holding(group.generation);
                Some(Event::Assigned(share))
            }
            _ => None,
        }
    }

    /// Every position must lie within its partition: nothing is reset.
    fn check_positions(&self, logs: &[Log]) -> Result<()> {
        for (&partition, place) in &self.places {
            let Some(log) = logs.get(partition as usize) else { continue };
            let (topic, next) = (&self.topic, place.next);
            if next < log.earliest() {
                return Err(deleted(topic, partition, next, log.earliest()));
            }
            if next > log.end() {
                let end = log.end();
                let message = format!("{topic}/{partition} ends at {end}: offsets [{end}, {next}) were lost");
                return Err(Error::data_loss(Lost::offsets(topic, partition, end, Some(next)), message));
            }
        }
        Ok(())
    }

    /// Hands out what is there, partition by partition, with the ends it reaches.
    fn read(&mut self, logs: &[Log], into: &mut MessageBatch, max_messages: usize, max_bytes: usize) -> Vec<Event> {
        let mut events = Vec::new();
        let (full_at, full_bytes) = (into.len() + max_messages, into.byte_len() + max_bytes);
        self.turn += 1;
        let partitions: Vec<i32> = self.places.keys().copied().collect();
        for index in 0..partitions.len() {
            let partition = partitions[(self.turn + index) % partitions.len()];
            let (Some(log), Some(place)) = (logs.get(partition as usize), self.places.get_mut(&partition)) else {
                continue;
            };
            let mut found = log.next_committed(place.next);
            while let Some((offset, record)) = found
                && into.len() < full_at
                && into.byte_len() < full_bytes
            {
                let (key, value) = (record.key.as_deref(), record.value.as_deref());
                into.push(Message { partition, offset, timestamp_ms: record.timestamp_ms, key, value });
                place.next = offset + 1;
                found = log.next_committed(place.next);
            }
            if found.is_none() && place.next <= log.last_stable() {
                place.next = log.last_stable();
                if place.reported_end != Some(place.next) {
                    place.reported_end = Some(place.next);
                    events.push(Event::EndOfPartition { partition, offset: place.next });
                }
            }
        }
        events
    }
}

impl GroupConsumer for MemoryConsumer {
    fn poll(
        &mut self,
        into: &mut MessageBatch,
        max_messages: usize,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Vec<Event>> {
        let begun = SystemClock.instant();
        let before = into.len();
        let broker = self.broker.clone();
        let mut state = broker.lock();
        loop {
            state.check_reachable()?;
            if let Some(event) = self.negotiate(&mut state) {
                return Ok(vec![event]);
            }
            let logs = state.topics.get(&self.topic).map_or(&[][..], |topic| &topic.partitions);
            self.check_positions(logs)?;
            let events = self.read(logs, into, max_messages, max_bytes);
            if into.len() > before && state.take_fault(|fault| fault == Fault::PollBreaks).is_some() {
                return Err(super::unreachable());
            }
            let left = timeout.saturating_sub(SystemClock.instant().duration_since(begun));
            if !events.is_empty() || into.len() > before || left.is_zero() {
                return Ok(events);
            }
            state = broker.0.changed.wait_timeout(state, left).expect("no holder of this lock panics").0;
        }
    }

    fn assign(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        if self.membership == Membership::Releasing && positions.is_empty() {
            let mut state = self.broker.lock();
            if let Some(group) = state.groups.get_mut(&self.group) {
                group.release(self.id);
            }
            self.membership = Membership::Waiting;
            self.broker.0.changed.notify_all();
            return Ok(());
        }
        if !matches!(self.membership, Membership::Holding(_)) {
            return Err(Error::bug("positions answer an assignment, and there was none"));
        }
        self.places = positions.iter().map(|at| (at.partition, Place::at(at.offset))).collect();
        Ok(())
    }

    fn seek(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        for at in positions {
            let place = self.places.get_mut(&at.partition);
            *place.ok_or_else(|| Error::bug("only an assigned partition can be sought"))? = Place::at(at.offset);
        }
        Ok(())
    }

    fn publish_offsets(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        let mut state = self.broker.lock();
        state.check_reachable()?;
        if let Some(group) = state.groups.get_mut(&self.group) {
            group.offsets.extend(positions.iter().map(|at| (at.partition, at.offset)));
        }
        Ok(())
    }

    fn known_ends(&self) -> Vec<PartitionOffset> {
        let state = self.broker.lock();
        let logs = state.topics.get(&self.topic).map_or(&[][..], |topic| &topic.partitions);
        let end = |&partition: &i32| Some(PartitionOffset { partition, offset: logs.get(partition as usize)?.end() });
        self.places.keys().filter_map(end).collect()
    }

    fn close(&mut self) {
        self.membership = Membership::Closed;
        self.places.clear();
        if let Some(group) = self.broker.lock().groups.get_mut(&self.group) {
            group.leave(self.id);
        }
        self.broker.0.changed.notify_all();
    }
}

/// The error of a position whose records are gone.
pub(super) fn deleted(topic: &str, partition: i32, position: i64, earliest: i64) -> Error {
    let message = format!("{topic}/{partition} starts at {earliest}: offsets [{position}, {earliest}) were deleted");
    Error::data_loss(Lost::offsets(topic, partition, position, Some(earliest)), message)
}
