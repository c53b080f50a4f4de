//! Topics, partitions, transactions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::{Bounds, Outcome, TopicDescription, TopicSpec, TransactionalProducer, Uncommitted};
use super::{LostReply, MemoryBroker, State, no_topic};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Kind, Result};
use crate::model::{ChangeBatch, Message, Operation, PartitionOffset};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Committed,
    Aborted,
}

struct Entry {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp_ms: i64,
    /// Index of its transaction; `None` for a record outside any.
    transaction: Option<usize>,
    /// The marker that ends a transaction: it has an offset and is never handed out.
    control: bool,
}

#[derive(Default)]
struct Partition {
    first: i64,
    entries: VecDeque<Entry>,
}

struct Topic {
    id: String,
    config: BTreeMap<String, String>,
    partitions: Vec<Partition>,
}

/// The live incarnation of a transactional id.
#[derive(Default)]
struct Identity {
    epoch: u64,
    open: Option<usize>,
}

#[derive(Default)]
pub(super) struct Log {
    topics: BTreeMap<String, Topic>,
    transactions: Vec<Fate>,
    /// Partitions that a transaction has written to.
    touched: BTreeMap<usize, BTreeSet<(String, i32)>>,
    identities: BTreeMap<String, Identity>,
    created: u64,
}

impl Partition {
    fn end(&self) -> i64 {
        self.first + self.entries.len() as i64
    }

    fn at(&self, offset: i64) -> Option<&Entry> {
        usize::try_from(offset - self.first).ok().and_then(|index| self.entries.get(index))
    }
}

impl Log {
    pub(super) fn create(&mut self, spec: &TopicSpec) {
        if self.topics.contains_key(&spec.name) {
            return;
        }
        self.created += 1;
        let topic = Topic {
            id: format!("memory-{}", self.created),
            config: spec.config.clone(),
            partitions: (0..spec.partitions).map(|_| Partition::default()).collect(),
        };
        self.topics.insert(spec.name.clone(), topic);
    }

    pub(super) fn delete_topic(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    pub(super) fn describe(&self, name: &str) -> Option<TopicDescription> {
        self.topics.get(name).map(|topic| TopicDescription {
            name: name.to_owned(),
            id: topic.id.clone(),
            partitions: topic.partitions.len() as i32,
        })
    }

    pub(super) fn config(&self, topic: &str) -> Option<BTreeMap<String, String>> {
        let mut config = self.topics.get(topic)?.config.clone();
        config.entry("cleanup.policy".to_owned()).or_insert_with(|| "delete".to_owned());
        Some(config)
    }

    pub(super) fn partitions(&self, topic: &str) -> i32 {
        self.topics.get(topic).map_or(0, |topic| topic.partitions.len() as i32)
    }

    fn partition(&self, topic: &str, partition: i32) -> Result<&Partition> {
        let found = usize::try_from(partition).ok().and_then(|index| self.topics.get(topic)?.partitions.get(index));
        found.ok_or_else(|| no_topic(topic))
    }

    pub(super) fn bounds(&self, topic: &str) -> Result<Vec<Bounds>> {
        let topic = self.topics.get(topic).ok_or_else(|| no_topic(topic))?;
        let bounds = |(number, partition): (usize, &Partition)| Bounds {
            partition: number as i32,
            earliest: partition.first,
            end: partition.end(),
        };
        Ok(topic.partitions.iter().enumerate().map(bounds).collect())
    }

    pub(super) fn offsets_at(&self, topic: &str, timestamp_ms: i64) -> Result<Vec<PartitionOffset>> {
        let topic = self.topics.get(topic).ok_or_else(|| no_topic(topic))?;
        let start = |(number, partition): (usize, &Partition)| {
            let young = partition.entries.iter().position(|entry| entry.timestamp_ms >= timestamp_ms);
            let offset = young.map_or(partition.end(), |index| partition.first + index as i64);
            PartitionOffset { partition: number as i32, offset }
        };
        Ok(topic.partitions.iter().enumerate().map(start).collect())
    }

    /// The entry at or after `position` under read_committed: its message, `None` for a marker or an aborted
    /// record, and the position after it. `None` when the last stable offset is reached.
    pub(super) fn read(
        &self,
        topic: &str,
        partition: i32,
        position: i64,
    ) -> Result<Option<(Option<Message<'_>>, i64)>> {
        let log = self.partition(topic, partition)?;
        if position < log.first || position > log.end() {
            return Err(Error::new(
                Kind::DataLoss,
                format!(
                    "topic `{topic}`, partition {partition}: offsets [{position}, {}) are gone from the broker",
                    log.first
                ),
            ));
        }
        let Some(entry) = log.at(position) else { return Ok(None) };
        let fate = entry.transaction.map(|index| self.transactions[index]);
        match fate {
            Some(Fate::Open) => Ok(None),
            _ if position >= self.last_stable(log) => Ok(None),
            Some(Fate::Aborted) => Ok(Some((None, position + 1))),
            _ if entry.control => Ok(Some((None, position + 1))),
            _ => {
                let message = Message {
                    partition,
                    offset: position,
                    timestamp_ms: entry.timestamp_ms,
                    key: entry.key.as_deref(),
                    value: entry.value.as_deref(),
                };
                Ok(Some((Some(message), position + 1)))
            }
        }
    }

    /// The first offset of an open transaction, or the end.
    fn last_stable(&self, partition: &Partition) -> i64 {
        if self.identities.values().all(|identity| identity.open.is_none()) {
            return partition.end();
        }
        let open = |entry: &Entry| entry.transaction.is_some_and(|index| self.transactions[index] == Fate::Open);
        partition.entries.iter().position(open).map_or(partition.end(), |index| partition.first + index as i64)
    }

    pub(super) fn append(
        &mut self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        transaction: Option<usize>,
    ) -> Result<i64> {
        let entry = Entry {
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            timestamp_ms: SystemClock.now().timestamp_millis(),
            transaction,
            control: false,
        };
        let offset = self.push(topic, partition, entry)?;
        if let Some(transaction) = transaction {
            self.touched.entry(transaction).or_default().insert((topic.to_owned(), partition));
        }
        Ok(offset)
    }

    fn push(&mut self, topic: &str, partition: i32, entry: Entry) -> Result<i64> {
        let log = usize::try_from(partition)
            .ok()
            .and_then(|index| self.topics.get_mut(topic)?.partitions.get_mut(index))
            .ok_or_else(|| no_topic(topic))?;
        log.entries.push_back(entry);
        Ok(log.end() - 1)
    }

    pub(super) fn delete_records(&mut self, topic: &str, partition: i32, before: i64) {
        let found = self.topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(partition as usize));
        if let Some(log) = found {
            while log.first < before && log.entries.pop_front().is_some() {
                log.first += 1;
            }
        }
    }

    /// Ends a transaction: a marker in each partition it wrote to.
    fn end(&mut self, transaction: usize, fate: Fate) {
        self.transactions[transaction] = fate;
        for (topic, partition) in self.touched.remove(&transaction).unwrap_or_default() {
            let timestamp_ms = SystemClock.now().timestamp_millis();
            let marker = Entry { key: None, value: None, timestamp_ms, transaction: None, control: true };
            // A topic deleted meanwhile needs no marker.
            drop(self.push(&topic, partition, marker));
        }
    }

    /// A new epoch: older producers of the id are fenced, their open transaction is aborted.
    fn init(&mut self, id: &str) -> u64 {
        let identity = self.identities.entry(id.to_owned()).or_default();
        identity.epoch += 1;
        let epoch = identity.epoch;
        if let Some(open) = identity.open.take() {
            self.end(open, Fate::Aborted);
        }
        epoch
    }

    fn identity(&mut self, id: &str, epoch: u64) -> Result<&mut Identity> {
        match self.identities.get_mut(id) {
            Some(identity) if identity.epoch == epoch => Ok(identity),
            _ => Err(Error::new(Kind::Fenced, format!("another producer took over the transactional id `{id}`"))),
        }
    }

    fn begin(&mut self, id: &str, epoch: u64) -> Result<()> {
        let number = self.transactions.len();
        let identity = self.identity(id, epoch)?;
        if identity.open.is_some() {
            return Err(Error::bug("a transaction was begun inside another"));
        }
        identity.open = Some(number);
        self.transactions.push(Fate::Open);
        Ok(())
    }

    fn open(&mut self, id: &str, epoch: u64) -> Result<usize> {
        self.identity(id, epoch)?.open.ok_or_else(|| Error::bug("no transaction is open"))
    }

    fn finish(&mut self, id: &str, epoch: u64, fate: Fate) -> Result<()> {
        let open = self.open(id, epoch)?;
        self.identity(id, epoch)?.open = None;
        self.end(open, fate);
        Ok(())
    }
}

/// A producer of the memory broker.
pub struct MemoryProducer {
    broker: MemoryBroker,
    /// `None`: idempotent only.
    id: Option<String>,
    epoch: u64,
}

impl MemoryProducer {
    pub(super) fn new(broker: MemoryBroker, id: Option<String>) -> Self {
        MemoryProducer { broker, id, epoch: 0 }
    }

    fn on_log<T>(&self, act: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.broker.reach()?;
        let result = act(&mut state);
        self.broker.shared.changed.notify_all();
        result
    }

    fn transaction(&self, state: &mut State) -> Result<Option<usize>> {
        match &self.id {
            Some(id) => state.log.open(id, self.epoch).map(Some),
            None => Ok(None),
        }
    }
}

impl TransactionalProducer for MemoryProducer {
    fn init(&mut self, _timeout: Duration) -> Result<()> {
        if let Some(id) = &self.id {
            self.epoch = self.on_log(|state| Ok(state.log.init(id)))?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        match &self.id {
            Some(id) => self.on_log(|state| state.log.begin(id, self.epoch)),
            None => Ok(()),
        }
    }

    fn send(&mut self, topic: &str, rows: &ChangeBatch) -> Result<()> {
        self.on_log(|state| {
            let transaction = self.transaction(state)?;
            let partitions = state.log.partitions(topic);
            if partitions == 0 {
                return Err(no_topic(topic));
            }
            for (operation, key, value) in rows.iter() {
                let partition = (crc32c::crc32c(key) % partitions as u32) as i32;
                let marker = operation == Operation::Delete && value.is_empty();
                state.log.append(topic, partition, Some(key), (!marker).then_some(value), transaction)?;
            }
            Ok(())
        })
    }

    fn send_one(&mut self, topic: &str, partition: i32, key: &[u8], value: &[u8]) -> Result<()> {
        self.on_log(|state| {
            let transaction = self.transaction(state)?;
            state.log.append(topic, partition, Some(key), Some(value), transaction).map(|_| ())
        })
    }

    fn commit(&mut self, _timeout: Duration) -> Result<(), Uncommitted> {
        let unclear = |error| Uncommitted { outcome: Outcome::Unclear, error };
        let Some(id) = self.id.clone() else { return self.broker.reach().map(|_| ()).map_err(unclear) };
        let mut state = self.broker.reach().map_err(unclear)?;
        let lost = state.lost_reply.take();
        if lost != Some(LostReply::NotCommitted) {
            let finished = state.log.finish(&id, self.epoch, Fate::Committed);
            self.broker.shared.changed.notify_all();
            finished.map_err(|error| {
                let outcome = if error.kind() == Kind::Fenced { Outcome::Fenced } else { Outcome::Unclear };
                Uncommitted { outcome, error }
            })?;
        }
        match lost {
            None => Ok(()),
            Some(_) => Err(unclear(Error::new(Kind::Broker, "the reply to the commit was lost").retriable())),
        }
    }

    fn abort(&mut self, _timeout: Duration) -> Result<()> {
        match &self.id {
            Some(id) => self.on_log(|state| state.log.finish(id, self.epoch, Fate::Aborted)),
            None => Ok(()),
        }
    }
}
