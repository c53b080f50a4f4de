//! The consumer's side: positions against the topic's ends, the lake's head, and what was rejected.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{BatchFigures, Latency, Monitor, READABLE, Rejects, SOURCE_TO_READABLE, Sampled};
use crate::clock::{Clock, SystemClock};
use crate::lake::Head;
use crate::model::{Counts, PartitionOffset};

#[derive(Clone, Debug, Default)]
pub struct ConsumerSight {
    /// Number of the log's last commit, whoever made it.
    pub commit: Option<u64>,
    pub committed_at: Option<DateTime<Utc>>,
    /// Next offset to read, by partition, as the lake has it.
    pub committed: BTreeMap<i32, i64>,
    pub assigned: Vec<i32>,
    /// Ends of assigned partitions as the broker last said, and when the loop last looked.
    pub ends: BTreeMap<i32, i64>,
    pub ends_at: Option<DateTime<Utc>>,
    /// Messages in the open batch.
    pub open: u64,
    /// Of this run.
    pub counts: Counts,
    pub files: u64,
    pub bytes: u64,
    pub rejects: Rejects,
    /// Of the whole lake.
    pub lake: Counts,
    /// With the totals; only while somebody looks.
    pub head: Option<Arc<Head>>,
    /// The newest row that is readable: when it was committed at the source.
    pub readable_to_us: Option<i64>,
    /// The newest message that is readable: when it was published.
    newest_ms: Option<i64>,
    /// When nothing was left to read.
    caught_up: Option<DateTime<Utc>>,
}

impl ConsumerSight {
    /// Messages not yet readable in assigned partitions; `None` until the broker has said where each of them ends.
    pub fn behind(&self) -> Option<u64> {
        let known = self.assigned.iter().filter_map(|partition| self.lag_of(*partition));
        let is_told = !self.ends.is_empty() && self.assigned.iter().all(|partition| self.ends.contains_key(partition));
        is_told.then(|| known.sum())
    }

    pub fn lag_of(&self, partition: i32) -> Option<u64> {
        let (end, committed) = (self.ends.get(&partition)?, self.committed.get(&partition)?);
        Some(end.saturating_sub(*committed).max(0) as u64)
    }

    /// Seconds since the oldest message that is not readable yet was published, or a little more: it is younger than
    /// the newest readable one and than the last moment at which nothing was left.
    pub(super) fn unread_seconds(&self, now: DateTime<Utc>) -> Option<f64> {
        if self.behind()? == 0 {
            return Some(0.0);
        }
        let newest = self.newest_ms.and_then(DateTime::from_timestamp_millis);
        let since = self.caught_up.max(newest)?;
        Some(((now - since).num_milliseconds() as f64 / 1e3).max(0.0))
    }

    fn look(&mut self, now: DateTime<Utc>) {
        if self.behind() == Some(0) {
            self.caught_up = Some(now);
        }
    }
}

/// Where the loop stands; told some times a second.
#[derive(Debug)]
pub struct Standing<'a> {
    pub head: &'a Head,
    pub assigned: Vec<i32>,
    pub ends: Vec<PartitionOffset>,
    pub open: u64,
}

/// A commit that is durable.
#[derive(Debug)]
pub struct CommittedBatch<'a> {
    pub head: &'a Head,
    pub at: DateTime<Utc>,
    pub counts: Counts,
    pub files: u64,
    pub bytes: u64,
    pub sampled: &'a Sampled,
    pub rejects: Rejects,
    pub figures: BatchFigures,
}

impl Monitor {
    pub fn standing(&self, standing: Standing<'_>) {
        let now = SystemClock.now();
        let known = self.lock().consumer.as_ref().and_then(|consumer| consumer.head.clone());
        let known = known.filter(|head| head.number == standing.head.number);
        // Totals may be large: they are copied before the lock is taken, and dropped after.
        let head = self.is_watched().then(|| known.unwrap_or_else(|| Arc::new(standing.head.clone())));
        let mut sight = self.lock();
        let consumer = sight.consumer.get_or_insert_default();
        let past = std::mem::replace(&mut consumer.head, head);
        consumer.commit = Some(standing.head.number);
        consumer.lake = standing.head.counts;
        consumer.committed.clone_from(&standing.head.positions);
        consumer.assigned = standing.assigned;
        consumer.ends = standing.ends.iter().map(|end| (end.partition, end.offset)).collect();
        consumer.ends_at = Some(now);
        consumer.open = standing.open;
        consumer.look(now);
        drop(sight);
        drop(past);
    }

    pub fn committed(&self, batch: CommittedBatch<'_>) {
        let (now, at) = (SystemClock.now(), SystemClock.instant());
        let CommittedBatch { head, counts, files, bytes, sampled, rejects, figures, .. } = batch;
        let mut sight = self.lock();
        if counts.input > 0 {
            sight.batch(counts.input, figures);
        }
        let consumer = sight.consumer.get_or_insert_default();
        consumer.commit = Some(head.number);
        consumer.committed_at = Some(batch.at);
        consumer.committed.clone_from(&head.positions);
        consumer.lake = head.counts;
        consumer.counts.add(counts);
        consumer.files += files;
        consumer.bytes += bytes;
        consumer.rejects.merge(rejects);
        consumer.newest_ms = consumer.newest_ms.max(sampled.published_ms.iter().copied().max());
        consumer.readable_to_us = consumer.readable_to_us.max(sampled.event_us.map(|(_, newest)| newest));
        consumer.look(now);
        let (now_ms, now_us) = (batch.at.timestamp_millis() as f64, batch.at.timestamp_micros() as f64);
        let since_published = sampled.published_ms.iter().map(|&time| (now_ms - time as f64) / 1e3);
        let latency = sight.latencies.entry(READABLE).or_insert_with(|| Latency::new(at));
        latency.add(at, counts.input, since_published);
        let since_created = sampled.created_us.iter().map(|&time| (now_us - time as f64) / 1e6);
        let latency = sight.latencies.entry(SOURCE_TO_READABLE).or_insert_with(|| Latency::new(at));
        latency.add(at, counts.accepted, since_created);
    }
}
