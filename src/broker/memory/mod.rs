//! A broker in memory: a test double that keeps the contracts of `broker` and breaks on demand.
//!
//! It models what the protocols lean on: control records that take offsets, aborted records, the last stable
//! offset, fencing by transactional id and epoch, topics with ids, deleted records, and one consumer group with
//! rebalances in which everybody lets go before anybody is given. It does not model replication, batching,
//! compaction, or time: nothing expires unless a test says so. Every handle is cheap to clone and shares one state.
//!
//! `log` is a partition, `producer`, `consumer` and `cluster` are the three traits over it.

mod cluster;
mod consumer;
mod log;
mod producer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::broker::TopicSpec;
use crate::error::{Error, Kind, Result};

pub use cluster::MemoryCluster;
pub use consumer::MemoryConsumer;
pub use producer::MemoryProducer;

use consumer::Group;
use log::{Log, Record, TransactionId};

/// What goes wrong next, once. Faults of one kind of call wait in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The transaction is committed, the answer is lost.
    CommitAnswerLost,
    /// The request to commit is lost; the transaction stays open until a successor ends it.
    CommitRequestLost,
    /// The broker refuses the commit; the transaction can be aborted.
    CommitRefused,
    /// A bounded read ends by its time-out.
    ReadTimesOut,
    /// A poll of a group member breaks off after it has read.
    PollBreaks,
}

impl Fault {
    fn is_of_commit(self) -> bool {
        !matches!(self, Fault::ReadTimesOut | Fault::PollBreaks)
    }
}

/// The cluster. Handles for the three traits come from here, and everything that only tests do.
#[derive(Clone, Debug, Default)]
pub struct MemoryBroker(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Told of every change that a waiting reader may want to see.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    unreachable: bool,
    time_ms: i64,
    topics: BTreeMap<String, Topic>,
    transactional: BTreeMap<String, Transactional>,
    last_transaction: TransactionId,
    groups: BTreeMap<String, Group>,
    last_member: u64,
    faults: VecDeque<Fault>,
}

#[derive(Debug)]
struct Topic {
    id: String,
    config: BTreeMap<String, String>,
    partitions: Vec<Log>,
}

/// What the transaction coordinator knows of one transactional id.
#[derive(Debug, Default)]
struct Transactional {
    epoch: u32,
    open: Option<OpenTransaction>,
}

#[derive(Debug)]
struct OpenTransaction {
    id: TransactionId,
    /// Topic ids and partitions that hold records of it.
    touched: BTreeSet<(String, usize)>,
}

impl MemoryBroker {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn cluster(&self) -> MemoryCluster {
        MemoryCluster::new(self.clone())
    }

    /// A producer of this transactional id; several may exist, the last to `init` lives.
    pub fn producer(&self, transactional_id: &str) -> MemoryProducer {
        MemoryProducer::new(self.clone(), Some(transactional_id.to_owned()))
    }

    /// A producer without transactions, behind the same trait: `commit` only flushes.
    pub fn plain_producer(&self) -> MemoryProducer {
        MemoryProducer::new(self.clone(), None)
    }

    /// A member of a group; it joins with its first poll.
    pub fn consumer(&self, group: &str, topic: &str) -> MemoryConsumer {
        MemoryConsumer::new(self.clone(), group, topic)
    }

    /// While unreachable every call fails with a retriable error, and sends wait in their queues.
    pub fn set_reachable(&self, reachable: bool) {
        self.lock().unreachable = !reachable;
        self.0.changed.notify_all();
    }

    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }

    /// The time that messages are stamped with from now on.
    pub fn set_time_ms(&self, time_ms: i64) {
        self.lock().time_ms = time_ms;
    }

    /// Creates a topic, replacing one of the same name: with a new id and no records. A group that reads it notices
    /// only another number of partitions.
    pub fn create_topic(&self, spec: &TopicSpec) {
        let mut state = self.lock();
        let made = Topic::new(spec);
        let partitions = made.partitions.len();
        let replaced = state.topics.insert(spec.name.clone(), made);
        if replaced.is_none_or(|replaced| replaced.partitions.len() != partitions) {
            state.rebalance_readers_of(&spec.name);
        }
        self.0.changed.notify_all();
    }

    pub fn delete_topic(&self, name: &str) {
        self.lock().topics.remove(name);
    }

    pub fn add_partitions(&self, topic: &str, count: i32) -> Result<()> {
        let mut state = self.lock();
        state.topic_mut(topic)?.partitions.resize_with(count.max(0) as usize, Log::default);
        state.rebalance_readers_of(topic);
        self.0.changed.notify_all();
        Ok(())
    }

    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        self.lock().partition_mut(topic, partition)?.delete_before(before);
        Ok(())
    }

    /// A record of a foreign producer that knows no transactions. Returns its offset.
    pub fn append(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<i64> {
        let mut state = self.lock();
        let timestamp_ms = state.time_ms;
        let log = state.partition_mut(topic, partition)?;
        let offset = log.end();
        log.append(Record { timestamp_ms, key: key.map(<[u8]>::to_vec), value: value.map(<[u8]>::to_vec) }, None);
        self.0.changed.notify_all();
        Ok(offset)
    }

    /// The coordinator aborts the open transaction for its age and fences its producer, as after a long pause.
    pub fn expire_transaction(&self, transactional_id: &str) {
        self.lock().fence(transactional_id);
        self.0.changed.notify_all();
    }

    /// Makes the group share its partitions out again.
    pub fn rebalance(&self, group: &str) {
        if let Some(group) = self.lock().groups.get_mut(group) {
            group.rebalance();
        }
        self.0.changed.notify_all();
    }

    /// Offsets that members published for lag tools, by partition.
    pub fn group_offsets(&self, group: &str) -> BTreeMap<i32, i64> {
        self.lock().groups.get(group).map(|group| group.offsets.clone()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of this lock panics")
    }
}

impl Topic {
    fn new(spec: &TopicSpec) -> Self {
        let mut config = BTreeMap::from([("cleanup.policy".to_owned(), "delete".to_owned())]);
        config.extend(spec.config.clone());
        let mut partitions = Vec::new();
        partitions.resize_with(spec.partitions.max(1) as usize, Log::default);
        Topic { id: uuid::Uuid::new_v4().to_string(), config, partitions }
    }
}

impl State {
    fn check_reachable(&self) -> Result<()> {
        if self.unreachable { Err(unreachable()) } else { Ok(()) }
    }

    fn topic(&self, name: &str) -> Result<&Topic> {
        self.topics.get(name).ok_or_else(|| unknown_topic(name))
    }

    fn topic_mut(&mut self, name: &str) -> Result<&mut Topic> {
        self.topics.get_mut(name).ok_or_else(|| unknown_topic(name))
    }

    fn partition(&self, topic: &str, partition: i32) -> Result<&Log> {
        let log = usize::try_from(partition).ok().and_then(|index| self.topic(topic).ok()?.partitions.get(index));
        log.ok_or_else(|| unknown_topic(&format!("{topic}/{partition}")))
    }

    fn partition_mut(&mut self, topic: &str, partition: i32) -> Result<&mut Log> {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        let log = self.topic_mut(topic)?.partitions.get_mut(index);
        log.ok_or_else(|| unknown_topic(&format!("{topic}/{partition}")))
    }

    /// The next fault among those that `wanted` selects.
    fn take_fault(&mut self, wanted: impl Fn(Fault) -> bool) -> Option<Fault> {
        let at = self.faults.iter().position(|&fault| wanted(fault))?;
        self.faults.remove(at)
    }

    /// Gives the id a new epoch and aborts what the old one left open.
    fn fence(&mut self, transactional_id: &str) -> u32 {
        self.end_transaction(transactional_id, false);
        let known = self.transactional.entry(transactional_id.to_owned()).or_default();
        known.epoch += 1;
        known.epoch
    }

    fn end_transaction(&mut self, transactional_id: &str, committed: bool) {
        let open = self.transactional.get_mut(transactional_id).and_then(|known| known.open.take());
        let Some(open) = open else { return };
        for topic in self.topics.values_mut() {
            for (partition, log) in topic.partitions.iter_mut().enumerate() {
                if open.touched.contains(&(topic.id.clone(), partition)) {
                    log.end_transaction(open.id, committed);
                }
            }
        }
    }

    fn rebalance_readers_of(&mut self, topic: &str) {
        self.groups.values_mut().filter(|group| group.topic == topic).for_each(Group::rebalance);
    }
}

fn unreachable() -> Error {
    Error::new(Kind::Broker, "no broker answers").retriable()
}

fn unknown_topic(name: &str) -> Error {
    Error::new(Kind::Broker, format!("topic {name} does not exist"))
}
