//! The consumer's side: positions against the topic's ends, the lake's head, and what was rejected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, Utc};

use super::samples::raise;
use super::{BatchFigures, Latency, Monitor, READABLE, Rejects, SOURCE_TO_READABLE, Sampled, Service};
use crate::clock::{Clock, SystemClock};
use crate::lake::Head;
use crate::model::{Counts, PartitionOffset};

/// The loop looks four times a second; after so long without a look there may be messages that nobody has seen.
const STALE: Duration = Duration::from_secs(2);
/// Dates whose newest row is kept, more than anybody is shown.
const MAX_DATES: usize = 100;

#[derive(Clone, Debug, Default)]
pub struct ConsumerSight {
    /// Number of the log's last commit, whoever made it.
    pub commit: Option<u64>,
    pub committed_at: Option<DateTime<Utc>>,
    /// Next offset to read, by partition, as the lake has it; of one that the lake does not know yet, its first.
    pub committed: BTreeMap<i32, i64>,
    pub assigned: Vec<i32>,
    /// Ends of assigned partitions as the broker last said, and when the loop last looked while Kafka was there: the
    /// client remembers them, and says the same all through an outage.
    ends: BTreeMap<i32, i64>,
    pub ends_at: Option<DateTime<Utc>>,
    looked: Option<Instant>,
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
    /// The newest row that this run brought, by date of the lake.
    pub newest_us: BTreeMap<NaiveDate, i64>,
    /// By partition: when the newest message that is readable was published, and when nothing was left to read.
    newest_ms: BTreeMap<i32, i64>,
    caught_up: BTreeMap<i32, DateTime<Utc>>,
}

impl ConsumerSight {
    /// Messages not yet readable in assigned partitions; `None` until the broker has said where each of them ends, and
    /// where none was left at a look that is long past.
    pub fn behind(&self, now: Instant) -> Option<u64> {
        let left = self.assigned.iter().map(|partition| self.left_in(*partition)).sum::<Option<u64>>();
        left.filter(|left| !self.assigned.is_empty() && (*left > 0 || self.is_fresh(now)))
    }

    /// The same of one partition.
    pub fn lag_of(&self, partition: i32, now: Instant) -> Option<u64> {
        self.left_in(partition).filter(|left| *left > 0 || self.is_fresh(now))
    }

    pub fn end_of(&self, partition: i32) -> Option<i64> {
        self.ends.get(&partition).copied()
    }

    /// When the newest message of a partition that is readable was published, as far as this run brought it.
    pub fn newest_of(&self, partition: i32) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(*self.newest_ms.get(&partition)?)
    }

    /// Whether its lag is something to be known.
    pub fn has_partitions(&self) -> bool {
        !self.assigned.is_empty()
    }

    /// Seconds since the oldest message that is not readable yet was published, or a little more: those of the
    /// partition that is worst off. `None` where it is not known of one of them.
    pub(super) fn unread_seconds(&self, now: DateTime<Utc>, at: Instant) -> Option<f64> {
        let seconds = self.assigned.iter().map(|partition| self.unread_seconds_of(*partition, now, at));
        seconds.reduce(|worst, of_partition| Some(f64::max(worst?, of_partition?)))?
    }

    /// It is younger than the newest readable one of its partition, and than the last moment at which nothing was left
    /// there.
    fn unread_seconds_of(&self, partition: i32, now: DateTime<Utc>, at: Instant) -> Option<f64> {
        if self.left_in(partition)? == 0 && self.is_fresh(at) {
            return Some(0.0);
        }
        let since = self.newest_of(partition).max(self.caught_up.get(&partition).copied())?;
        Some(((now - since).num_milliseconds() as f64 / 1e3).max(0.0))
    }

    /// As of the last look.
    fn left_in(&self, partition: i32) -> Option<u64> {
        let (end, committed) = (self.ends.get(&partition)?, self.committed.get(&partition)?);
        Some(end.saturating_sub(*committed).max(0) as u64)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < STALE)
    }

    /// Notes the partitions of which nothing was left at the last look.
    fn note_caught_up(&mut self) {
        let Some(looked) = self.ends_at else { return };
        for &partition in &self.assigned {
            if self.left_in(partition) == Some(0) {
                self.caught_up.insert(partition, looked);
            }
        }
    }

    fn note_newest(&mut self, sampled: &Sampled) {
        self.readable_to_us = self.readable_to_us.max(sampled.events.map(|events| events.greatest_us));
        for (&partition, &time) in &sampled.newest_ms {
            raise(&mut self.newest_ms, partition, time);
        }
        for (&date, &time) in &sampled.newest_us {
            raise(&mut self.newest_us, date, time);
        }
        while self.newest_us.len() > MAX_DATES {
            self.newest_us.pop_first();
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
    /// Where partitions begin that were assigned and that the lake does not know yet.
    pub fn begins_at(&self, begins: impl IntoIterator<Item = PartitionOffset>) {
        let mut sight = self.lock();
        let consumer = sight.consumer.get_or_insert_default();
        consumer.committed.extend(begins.into_iter().map(|begin| (begin.partition, begin.offset)));
    }

    pub fn standing(&self, standing: Standing<'_>) {
        let (now, at) = (SystemClock.now(), SystemClock.instant());
        let known = self.lock().consumer.as_ref().and_then(|consumer| consumer.head.clone());
        let known = known.filter(|head| head.number == standing.head.number);
        // Totals may be large: they are copied before the lock is taken, and dropped after.
        let head = self.is_watched().then(|| known.unwrap_or_else(|| Arc::new(standing.head.clone())));
        let mut sight = self.lock();
        let kafka_is_away = sight.is_away(Service::Kafka);
        let consumer = sight.consumer.get_or_insert_default();
        let past = std::mem::replace(&mut consumer.head, head);
        consumer.commit = Some(standing.head.number);
        consumer.lake = standing.head.counts;
        consumer.committed.extend(&standing.head.positions);
        consumer.assigned = standing.assigned;
        consumer.ends = standing.ends.iter().map(|end| (end.partition, end.offset)).collect();
        if !kafka_is_away {
            (consumer.ends_at, consumer.looked) = (Some(now), Some(at));
        }
        consumer.open = standing.open;
        consumer.note_caught_up();
        drop(sight);
        drop(past);
    }

    pub fn committed(&self, batch: CommittedBatch<'_>) {
        let at = SystemClock.instant();
        let CommittedBatch { head, counts, files, bytes, sampled, rejects, figures, .. } = batch;
        let mut sight = self.lock();
        if counts.input > 0 {
            sight.batch(counts.input, figures);
        }
        let consumer = sight.consumer.get_or_insert_default();
        consumer.commit = Some(head.number);
        consumer.committed_at = Some(batch.at);
        consumer.committed.extend(&head.positions);
        consumer.lake = head.counts;
        consumer.counts.add(counts);
        consumer.files += files;
        consumer.bytes += bytes;
        consumer.rejects.merge(rejects);
        consumer.note_newest(sampled);
        consumer.note_caught_up();
        let (now_ms, now_us) = (batch.at.timestamp_millis() as f64, batch.at.timestamp_micros() as f64);
        let since_published = sampled.published_ms.values().iter().map(|&time| (now_ms - time as f64) / 1e3);
        let latency = sight.latencies.entry(READABLE).or_insert_with(|| Latency::new(at));
        latency.add(at, counts.input, since_published);
        let since_created = sampled.created_us.values().iter().map(|&time| (now_us - time as f64) / 1e6);
        let latency = sight.latencies.entry(SOURCE_TO_READABLE).or_insert_with(|| Latency::new(at));
        latency.add(at, counts.accepted, since_created);
    }
}
