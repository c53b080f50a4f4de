//! Questions to the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use super::log::Record;
use super::{Fault, MemoryBroker, Topic};
use crate::broker::{Bounds, Cluster, TopicDescription, TopicSpec};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Kind, Result};
use crate::model::{Message, PartitionOffset};

/// See [`MemoryBroker::cluster`].
#[derive(Clone, Debug)]
pub struct MemoryCluster {
    broker: MemoryBroker,
}

impl MemoryCluster {
    pub(super) fn new(broker: MemoryBroker) -> Self {
        MemoryCluster { broker }
    }

    /// Committed records of a partition below `until`, as soon as no open transaction lies before it.
    fn wait_for_committed(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        until: i64,
        timeout: Duration,
    ) -> Result<Vec<(i64, Record)>> {
        let begun = SystemClock.instant();
        let mut state = self.broker.lock();
        loop {
            state.check_reachable()?;
            let timed_out = state.take_fault(|fault| fault == Fault::ReadTimesOut).is_some();
            let log = state.partition(topic, partition)?;
            if from < log.earliest() {
                return Err(super::consumer::deleted(topic, partition, from, log.earliest()));
            }
            let stable = log.last_stable();
            if stable >= until && !timed_out {
                let mut records = Vec::new();
                let mut position = from;
                while let Some((offset, record)) = log.next_committed(position).filter(|&(offset, _)| offset < until) {
                    records.push((offset, record.clone()));
                    position = offset + 1;
                }
                return Ok(records);
            }
            let left = timeout.saturating_sub(SystemClock.instant().duration_since(begun));
            if left.is_zero() || timed_out {
                let message = format!(
                    "{topic}/{partition} could be read up to {stable} of {until}: an open transaction holds the rest back"
                );
                return Err(Error::new(Kind::Broker, message).retriable());
            }
            state = self.broker.0.changed.wait_timeout(state, left).expect("no holder of this lock panics").0;
        }
    }
}

fn description(name: &str, topic: &Topic) -> TopicDescription {
    TopicDescription { name: name.to_owned(), id: topic.id.clone(), partitions: topic.partitions.len() as i32 }
}

impl Cluster for MemoryCluster {
    fn describe(&mut self, topic: &str) -> Result<Option<TopicDescription>> {
        let state = self.broker.lock();
        state.check_reachable()?;
        Ok(state.topics.get(topic).map(|known| description(topic, known)))
    }

    fn ensure_topic(&mut self, spec: &TopicSpec) -> Result<TopicDescription> {
        let mut state = self.broker.lock();
        state.check_reachable()?;
        if !state.topics.contains_key(&spec.name) {
            state.topics.insert(spec.name.clone(), Topic::new(spec));
            state.rebalance_readers_of(&spec.name);
            self.broker.0.changed.notify_all();
        }
        state.topic(&spec.name).map(|topic| description(&spec.name, topic))
    }

    fn topic_config(&mut self, topic: &str) -> Result<BTreeMap<String, String>> {
        let state = self.broker.lock();
        state.check_reachable()?;
        Ok(state.topic(topic)?.config.clone())
    }

    fn bounds(&mut self, topic: &str) -> Result<Vec<Bounds>> {
        let state = self.broker.lock();
        state.check_reachable()?;
        let logs = state.topic(topic)?.partitions.iter().zip(0..);
        Ok(logs.map(|(log, partition)| Bounds { partition, earliest: log.earliest(), end: log.end() }).collect())
    }

    fn offsets_at(&mut self, topic: &str, timestamp_ms: i64) -> Result<Vec<PartitionOffset>> {
        let state = self.broker.lock();
        state.check_reachable()?;
        let logs = state.topic(topic)?.partitions.iter().zip(0..);
        Ok(logs.map(|(log, partition)| PartitionOffset { partition, offset: log.offset_at(timestamp_ms) }).collect())
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
        for (offset, record) in self.wait_for_committed(topic, partition, from, until, timeout)? {
            let Record { timestamp_ms, key, value } = &record;
            each(Message {
                partition,
                offset,
                timestamp_ms: *timestamp_ms,
                key: key.as_deref(),
                value: value.as_deref(),
            })?;
        }
        Ok(())
    }
}
