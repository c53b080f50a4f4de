//! A broker in memory that keeps the contracts of this module, for tests of what stands above it.
//!
//! - `log`: topics, partitions, offsets with gaps where transactions ended, `read_committed`, fencing.
//! - `group`: one assignment a group and topic, handed out anew when members come, go, or a test asks.
//! - this file: the handle that tests hold, and the faults they can order.
//!
//! The conformance suite in `tests/rust/broker` runs over it and over real Kafka.

mod group;
mod log;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{Bounds, Cluster, TopicDescription, TopicSpec};
use crate::error::{Error, Kind, Result};
use crate::model::{Message, PartitionOffset};

pub use group::MemoryConsumer;
pub use log::MemoryProducer;

/// What becomes of the next commit whose reply is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostReply {
    Committed,
    NotCommitted,
}

#[derive(Default)]
struct State {
    log: log::Log,
    groups: BTreeMap<(String, String), group::Group>,
    lost_reply: Option<LostReply>,
    away: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The cluster; clones are handles to the same one.
#[derive(Clone, Default)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

impl MemoryBroker {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn producer(&self, transactional_id: &str) -> MemoryProducer {
        MemoryProducer::new(self.clone(), Some(transactional_id.to_owned()))
    }

    /// Records are visible at once; begin, commit and abort change nothing.
    pub fn idempotent_producer(&self) -> MemoryProducer {
        MemoryProducer::new(self.clone(), None)
    }

    pub fn consumer(&self, group: &str, topic: &str) -> MemoryConsumer {
        MemoryConsumer::join(self.clone(), group, topic)
    }

    /// Loses the reply to the next commit: its outcome is unclear to the producer.
    pub fn lose_next_commit_reply(&self, lost: LostReply) {
        self.lock().lost_reply = Some(lost);
    }

    /// While away, every call is an error worth retrying.
    pub fn set_away(&self, away: bool) {
        self.change(|state| state.away = away);
    }

    /// Takes all partitions of a group back and hands them out again.
    pub fn rebalance(&self, group: &str, topic: &str) {
        self.change(|state| {
            if let Some(group) = state.groups.get_mut(&(group.to_owned(), topic.to_owned())) {
                group.rebalance(state.log.partitions(topic));
            }
        });
    }

    /// The offsets a group has published.
    pub fn published_offsets(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let state = self.lock();
        state.groups.get(&(group.to_owned(), topic.to_owned())).map(|group| group.offsets.clone()).unwrap_or_default()
    }

    /// Removes the records before an offset, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        self.change(|state| state.log.delete_records(topic, partition, before));
    }

    pub fn delete_topic(&self, topic: &str) {
        self.change(|state| state.log.delete_topic(topic));
    }

    /// Appends a record outside any transaction and returns its offset.
    pub fn append(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<i64> {
        let mut state = self.lock();
        let appended = state.log.append(topic, partition, key, value, None);
        self.shared.changed.notify_all();
        appended
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("no holder of this lock panics")
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        self.shared.changed.notify_all();
        result
    }

    /// The state, or the error of a broker that is away.
    fn reach(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.away {
            return Err(Error::new(Kind::Broker, "the memory broker is away").retriable());
        }
        Ok(state)
    }

    /// Waits for a change of the state until `deadline`; false when it has passed.
    fn wait<'s>(&self, state: MutexGuard<'s, State>, deadline: Instant) -> (MutexGuard<'s, State>, bool) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (state, false);
        }
        let (state, _) = self.shared.changed.wait_timeout(state, left).expect("no holder of this lock panics");
        (state, true)
    }
}

fn no_topic(topic: &str) -> Error {
    Error::new(Kind::Broker, format!("the memory broker has no topic `{topic}`"))
}

impl Cluster for MemoryBroker {
    fn describe(&mut self, topic: &str) -> Result<Option<TopicDescription>> {
        Ok(self.reach()?.log.describe(topic))
    }

    fn ensure_topic(&mut self, spec: &TopicSpec) -> Result<TopicDescription> {
        let mut state = self.reach()?;
        state.log.create(spec);
        state.log.describe(&spec.name).ok_or_else(|| no_topic(&spec.name))
    }

    fn topic_config(&mut self, topic: &str) -> Result<BTreeMap<String, String>> {
        self.reach()?.log.config(topic).ok_or_else(|| no_topic(topic))
    }

    fn bounds(&mut self, topic: &str) -> Result<Vec<Bounds>> {
        self.reach()?.log.bounds(topic)
    }

    fn offsets_at(&mut self, topic: &str, timestamp_ms: i64) -> Result<Vec<PartitionOffset>> {
        self.reach()?.log.offsets_at(topic, timestamp_ms)
    }

    fn read_committed(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
        until: i64,
        timeout: Duration,
        each: &mut dyn FnMut(Message<'_>) -> Result<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let mut position = from;
        let broker = self.clone();
        let mut state = broker.reach()?;
        loop {
            while position < until {
                let Some((message, next)) = state.log.read(topic, partition, position)? else { break };
                position = next;
                if let Some(message) = message
                    && message.offset < until
                {
                    each(message)?;
                }
            }
            if position >= until {
                return Ok(());
            }
            let (waited, in_time) = broker.wait(state, deadline);
            state = waited;
            if !in_time {
                let text = format!("topic `{topic}`, partition {partition}: position {position} did not reach {until}");
                return Err(Error::new(Kind::Broker, text).retriable());
            }
        }
    }
}
