//! The producer's side: epochs, fencing, transactions that end with a control record in each partition they touched.

use std::time::Duration;

use super::log::Record;
use super::{Fault, MemoryBroker, OpenTransaction, State, unreachable};
use crate::broker::{Outcome, TransactionalProducer, Uncommitted};
use crate::error::{Error, Kind, Result};
use crate::failpoints::{self, reach};
use crate::model::ChangeBatch;

/// See [`MemoryBroker::producer`] and [`MemoryBroker::plain_producer`].
#[derive(Debug)]
pub struct MemoryProducer {
    broker: MemoryBroker,
    /// `None`: no transactions, nothing to fence.
    transactional_id: Option<String>,
    /// `None` before `init`, and again once the instance is dead.
    epoch: Option<u32>,
    in_transaction: bool,
    /// Accepted and not yet at the broker, in order.
    queue: Vec<Queued>,
}

#[derive(Debug)]
struct Queued {
    topic: String,
    /// `None`: by the key.
    partition: Option<i32>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl MemoryProducer {
    pub(super) fn new(broker: MemoryBroker, transactional_id: Option<String>) -> Self {
        MemoryProducer { broker, transactional_id, epoch: None, in_transaction: false, queue: Vec::new() }
    }

    /// A stale epoch answers every request with a fence.
    fn check_epoch(&self, state: &State) -> Result<()> {
        let Some(id) = &self.transactional_id else { return Ok(()) };
        let current = state.transactional.get(id).map(|known| known.epoch);
        if current == self.epoch {
            return Ok(());
        }
        Err(Error::new(Kind::Fenced, format!("another producer has taken over transactional.id `{id}`")))
    }

    fn check_open(&self) -> Result<()> {
        if self.in_transaction { Ok(()) } else { Err(Error::bug("no transaction is open")) }
    }

    /// Carries the queue to the logs; while the broker is away it waits.
    fn flush(&mut self) -> Result<()> {
        let broker = self.broker.clone();
        let mut state = broker.lock();
        if state.unreachable {
            return Ok(());
        }
        self.check_epoch(&state)?;
        for queued in self.queue.drain(..) {
            put(&mut state, self.transactional_id.as_deref(), queued)?;
        }
        broker.0.changed.notify_all();
        Ok(())
    }

    fn try_commit(&mut self) -> Result<(), Uncommitted> {
        let refused = |error: Error| Uncommitted {
            outcome: if error.kind() == Kind::Fenced { Outcome::Fenced } else { Outcome::Abortable },
            error,
        };
        let unclear = || Uncommitted { outcome: Outcome::Unclear, error: unreachable() };
        self.check_open().map_err(refused)?;
        self.flush().map_err(refused)?;
        reach(failpoints::PUBLISH_DELIVERED).map_err(|error| Uncommitted { outcome: Outcome::Unclear, error })?;
        let fault = {
            let mut state = self.broker.lock();
            if state.unreachable {
                return Err(unclear());
            }
            self.check_epoch(&state).map_err(refused)?;
            state.take_fault(Fault::is_of_commit)
        };
        match fault {
            Some(Fault::CommitRequestLost) => return Err(unclear()),
            Some(Fault::CommitRefused) => {
                return Err(refused(Error::new(Kind::Broker, "the broker refused to commit").retriable()));
            }
            _ => self.end(true),
        }
        if fault.is_some() { Err(unclear()) } else { Ok(()) }
    }

    fn end(&mut self, committed: bool) {
        let mut state = self.broker.lock();
        if let Some(id) = &self.transactional_id {
            state.end_transaction(id, committed);
        }
        self.in_transaction = false;
        self.broker.0.changed.notify_all();
    }
}

fn put(state: &mut State, transactional_id: Option<&str>, queued: Queued) -> Result<()> {
    let topic = state.topic(&queued.topic)?;
    let partition =
        queued.partition.unwrap_or_else(|| (crc32c::crc32c(&queued.key) as usize % topic.partitions.len()) as i32);
    let place = (topic.id.clone(), partition as usize);
    let mut transaction = None;
    if let Some(id) = transactional_id {
        let fresh = state.last_transaction + 1;
        let known = state.transactional.entry(id.to_owned()).or_default();
        let open = known.open.get_or_insert_with(|| OpenTransaction { id: fresh, touched: Default::default() });
        open.touched.insert(place);
        transaction = Some(open.id);
        state.last_transaction = state.last_transaction.max(open.id);
    }
    let timestamp_ms = state.time_ms;
    let record = Record { timestamp_ms, key: Some(queued.key), value: Some(queued.value) };
    state.partition_mut(&queued.topic, partition)?.append(record, transaction);
    Ok(())
}

impl TransactionalProducer for MemoryProducer {
    fn init(&mut self, _: Duration) -> Result<()> {
        let mut state = self.broker.lock();
        state.check_reachable()?;
        if self.epoch.is_some() {
            return Err(Error::bug("init is called once"));
        }
        self.epoch = Some(match &self.transactional_id {
            Some(id) => state.fence(id),
            None => 0,
        });
        self.broker.0.changed.notify_all();
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        if self.epoch.is_none() || self.in_transaction {
            return Err(Error::bug("a transaction begins after init and after the end of the one before"));
        }
        self.in_transaction = true;
        Ok(())
    }

    fn send(&mut self, topic: &str, rows: &ChangeBatch) -> Result<()> {
        self.check_open()?;
        self.queue.extend(rows.iter().map(|(_, key, value)| Queued {
            topic: topic.to_owned(),
            partition: None,
            key: key.to_vec(),
            value: value.to_vec(),
        }));
        self.flush()
    }

    fn send_one(&mut self, topic: &str, partition: i32, key: &[u8], value: &[u8]) -> Result<()> {
        self.check_open()?;
        let (topic, partition) = (topic.to_owned(), Some(partition));
        self.queue.push(Queued { topic, partition, key: key.to_vec(), value: value.to_vec() });
        self.flush()
    }

    fn commit(&mut self, _: Duration) -> Result<(), Uncommitted> {
        let result = self.try_commit();
        if result.as_ref().is_err_and(|uncommitted| uncommitted.outcome != Outcome::Abortable) {
            self.epoch = None;
            self.in_transaction = false;
        }
        result
    }

    fn abort(&mut self, _: Duration) -> Result<()> {
        self.check_open()?;
        self.queue.clear();
        {
            let state = self.broker.lock();
            state.check_reachable()?;
            self.check_epoch(&state)?;
        }
        self.end(false);
        Ok(())
    }
}
