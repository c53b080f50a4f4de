//! Consumer groups: who reads which partition, and the members' view of the log.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::{Event, GroupConsumer};
use super::{MemoryBroker, State};
use crate::error::{Error, Result};
use crate::model::{MessageBatch, PartitionOffset};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Idle,
    /// Told of its partitions, has not answered.
    Offered,
    Reading,
    /// Told to give them back, has not answered.
    Revoking,
}

struct Member {
    standing: Standing,
    events: VecDeque<Event>,
}

#[derive(Default)]
pub(super) struct Group {
    members: BTreeMap<u64, Member>,
    rebalancing: bool,
    next_member: u64,
    pub(super) offsets: BTreeMap<i32, i64>,
}

impl Group {
    fn join(&mut self, partitions: i32) -> u64 {
        let number = self.next_member;
        self.next_member += 1;
        self.members.insert(number, Member { standing: Standing::Idle, events: VecDeque::new() });
        self.rebalance(partitions);
        number
    }

    fn leave(&mut self, number: u64, partitions: i32) {
        if self.members.remove(&number).is_some() {
            self.rebalance(partitions);
        }
    }

    pub(super) fn rebalance(&mut self, partitions: i32) {
        self.rebalancing = true;
        self.advance(partitions);
    }

    /// All partitions are taken back before any is given out; a member that has not yet answered an offer is
    /// asked for it back once it has.
    fn advance(&mut self, partitions: i32) {
        if !self.rebalancing {
            return;
        }
        for member in self.members.values_mut().filter(|member| member.standing == Standing::Reading) {
            member.standing = Standing::Revoking;
            member.events.push_back(Event::Revoked);
        }
        if self.members.values().any(|member| member.standing != Standing::Idle) {
            return;
        }
        self.rebalancing = false;
        let count = self.members.len() as i32;
        for (number, member) in self.members.values_mut().enumerate() {
            let share = (0..partitions).filter(|partition| partition % count == number as i32).collect();
            member.standing = Standing::Offered;
            member.events.push_back(Event::Assigned(share));
        }
    }

    fn answer(&mut self, number: u64, partitions: i32) {
        if let Some(member) = self.members.get_mut(&number) {
            member.standing = match member.standing {
                Standing::Offered => Standing::Reading,
                Standing::Revoking => Standing::Idle,
                other => other,
            };
        }
        self.advance(partitions);
    }
}

struct Place {
    position: i64,
    /// The end that was last reported.
    reported: Option<i64>,
}

/// A member of a group of the memory broker.
pub struct MemoryConsumer {
    broker: MemoryBroker,
    group: (String, String),
    member: Option<u64>,
    places: BTreeMap<i32, Place>,
}

impl MemoryConsumer {
    pub(super) fn join(broker: MemoryBroker, group: &str, topic: &str) -> Self {
        let group = (group.to_owned(), topic.to_owned());
        let member = broker.change(|state| {
            let partitions = state.log.partitions(&group.1);
            state.groups.entry(group.clone()).or_default().join(partitions)
        });
        MemoryConsumer { broker, group, member: Some(member), places: BTreeMap::new() }
    }

    fn number(&self) -> Result<u64> {
        self.member.ok_or_else(|| Error::bug("the consumer was used after its close"))
    }

    fn next_event(&self, state: &mut State, number: u64) -> Option<Event> {
        state.groups.get_mut(&self.group)?.members.get_mut(&number)?.events.pop_front()
    }

    /// Reads what is there, partition by partition; ends of partitions are reported once each.
    fn read(&mut self, state: &State, into: &mut MessageBatch, most: usize, most_bytes: usize) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        for (&partition, place) in &mut self.places {
            loop {
                if into.len() >= most || into.byte_len() >= most_bytes {
                    return Ok(events);
                }
                let Some((message, next)) = state.log.read(&self.group.1, partition, place.position)? else { break };
                place.position = next;
                if let Some(message) = message {
                    if !events.is_empty() {
                        place.position = message.offset;
                        return Ok(events);
                    }
                    into.push(message);
                }
            }
            if place.reported != Some(place.position) {
                place.reported = Some(place.position);
                events.push(Event::EndOfPartition { partition, offset: place.position });
            }
        }
        Ok(events)
    }

    fn place(&mut self, positions: &[PartitionOffset]) {
        let fresh =
            |position: &PartitionOffset| (position.partition, Place { position: position.offset, reported: None });
        self.places.extend(positions.iter().map(fresh));
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
        let number = self.number()?;
        let deadline = Instant::now() + timeout;
        let broker = self.broker.clone();
        let (before, before_bytes) = (into.len(), into.byte_len());
        let mut state = broker.reach()?;
        loop {
            if let Some(event) = self.next_event(&mut state, number) {
                self.places.clear();
                return Ok(vec![event]);
            }
            let events = self.read(&state, into, before + max_messages, before_bytes.saturating_add(max_bytes))?;
            if !events.is_empty() || into.len() > before {
                return Ok(events);
            }
            let (waited, in_time) = broker.wait(state, deadline);
            state = waited;
            if !in_time {
                return Ok(Vec::new());
            }
        }
    }

    fn assign(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        let number = self.number()?;
        self.places.clear();
        self.place(positions);
        self.broker.change(|state| {
            let partitions = state.log.partitions(&self.group.1);
            if let Some(group) = state.groups.get_mut(&self.group) {
                group.answer(number, partitions);
            }
        });
        Ok(())
    }

    fn seek(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        self.number()?;
        let own: Vec<_> =
            positions.iter().copied().filter(|position| self.places.contains_key(&position.partition)).collect();
        self.place(&own);
        Ok(())
    }

    fn publish_offsets(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        self.number()?;
        self.broker.change(|state| {
            if let Some(group) = state.groups.get_mut(&self.group) {
                group.offsets.extend(positions.iter().map(|position| (position.partition, position.offset)));
            }
        });
        Ok(())
    }

    fn close(&mut self) {
        let Some(number) = self.member.take() else { return };
        self.places.clear();
        self.broker.change(|state| {
            let partitions = state.log.partitions(&self.group.1);
            if let Some(group) = state.groups.get_mut(&self.group) {
                group.leave(number, partitions);
            }
        });
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.close();
    }
}
