//! The producer's side: the position, the horizon, and what waits behind them.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::{BatchFigures, Latency, Monitor, PUBLISHED};
use crate::capture::{SourceSight, WaitingRows};
use crate::clock::{Clock, SystemClock};
use crate::model::Cursor;

/// A holder this young is ordinary work.
const HELD_AFTER: Duration = Duration::from_secs(2);
/// A page that is late by less is ordinary work, too; afterwards there may be rows that nobody has seen.
const LATE_AFTER: Duration = Duration::from_secs(2);
/// Rows that wait are counted with every page, but at most every five seconds; after so long more than the time
/// between two pages a count says nothing of now.
const COUNT_KEPT: Duration = Duration::from_secs(10);
/// Points that stand for the rows of a transaction, which lie in the order of their timestamps.
const POINTS: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub counted: WaitingRows,
    pub at: DateTime<Utc>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProducerSight {
    pub polls: u64,
    pub last_poll: Option<DateTime<Utc>>,
    pub last_row: Option<DateTime<Utc>>,
    pub source: Option<SourceSight>,
    /// Of the last row that is known to be published.
    pub position: Option<Cursor>,
    /// The last count since there was something to count.
    counted: Option<(Waiting, Instant)>,
    /// When the last page came, and how soon the next one was to follow.
    looked: Option<Instant>,
    interval: Duration,
    /// Of the last row that was read.
    read_to_us: Option<i64>,
    /// Of the oldest row that was read and is not known to be published.
    pending_us: Option<i64>,
    /// Of the oldest row that was read, was not published, and has to be read again.
    again_us: Option<i64>,
    /// The last page was cut by its limit.
    full: bool,
}

impl ProducerSight {
    pub fn position_utc(&self) -> Option<DateTime<Utc>> {
        self.source.as_ref()?.utc(self.position?.timestamp_us)
    }

    pub fn horizon_utc(&self) -> Option<DateTime<Utc>> {
        let source = self.source.as_ref()?;
        source.utc(source.horizon_us)
    }

    pub fn horizon_age(&self, now: Instant) -> Option<f64> {
        let source = self.source.as_ref()?;
        Some(micros(source.column_us(now).saturating_sub(source.horizon_us)))
    }

    /// Whether somebody keeps the horizon back for longer than ordinary work does.
    fn is_held(&self) -> bool {
        let holder = self.source.as_ref().and_then(|source| source.holder.as_ref());
        holder.is_some_and(|holder| holder.age >= HELD_AFTER)
    }

    /// There is something to count: more below the horizon than the page took, or rows above a horizon that is held.
    fn wants_count(&self) -> bool {
        self.full || self.is_held()
    }

    /// How many rows wait, where that is known of now: none, or as many as were counted lately.
    pub fn waiting(&self, now: Instant) -> Option<Waiting> {
        let at = self.last_poll.filter(|_| self.is_on_time(now))?;
        if !self.wants_count() {
            return Some(Waiting { counted: WaitingRows::default(), at });
        }
        let is_new = |when: Instant| now.saturating_duration_since(when) < self.interval + COUNT_KEPT;
        self.counted.filter(|(_, when)| is_new(*when)).map(|(waiting, _)| waiting)
    }

    /// No page is overdue.
    fn is_on_time(&self, now: Instant) -> bool {
        self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < self.interval + LATE_AFTER)
    }

    pub(super) fn unpublished_seconds(&self, now: Instant) -> Option<f64> {
        let source = self.source.as_ref()?;
        let waiting = self.waiting(now);
        let held_us = waiting.and_then(|waiting| waiting.counted.oldest_held_us);
        let oldest = self.pending_us.or(self.again_us).or(self.read_to_us.filter(|_| self.full));
        let oldest = oldest.or(held_us.filter(|_| self.is_held()));
        match oldest {
            Some(oldest) => Some(micros(source.column_us(now).saturating_sub(oldest))),
            // Rows may have come since the last look at the table, however long ago that is.
            None if !self.is_on_time(now) => Some(now.saturating_duration_since(source.at).as_secs_f64()),
            None if self.is_held() && waiting.is_none() => None,
            None => Some(0.0),
        }
    }
}

fn micros(us: i64) -> f64 {
    (us as f64 / 1e6).max(0.0)
}

/// A page that the source answered.
#[derive(Debug)]
pub struct PolledPage {
    /// Pages asked for so far.
    pub polls: u64,
    pub source: Option<SourceSight>,
    /// Timestamps of its first and last row.
    pub rows: Option<(i64, i64)>,
    /// It was cut by its limit.
    pub full: bool,
    /// How soon the next one is to follow.
    pub interval: Duration,
}

/// A transaction that is known to be committed.
#[derive(Debug)]
pub struct PublishedRows {
    pub rows: u64,
    /// Timestamps of its first and last row.
    pub first_us: i64,
    pub position: Cursor,
    /// Oldest row that was read since and is still on its way.
    pub pending_us: Option<i64>,
    pub figures: BatchFigures,
}

impl Monitor {
    pub fn stands_at(&self, position: Cursor) {
        let mut sight = self.lock();
        let producer = sight.producer.get_or_insert_default();
        producer.position = Some(position);
        // Pages follow the position in order: nothing older than their first row lies behind it.
        let pending_us = producer.pending_us.take().or(producer.again_us);
        producer.again_us = pending_us.filter(|&pending_us| pending_us > position.timestamp_us);
        // What was read beyond it waits to be read again.
        if producer.read_to_us.is_some_and(|read_to| read_to > position.timestamp_us) {
            producer.read_to_us = Some(position.timestamp_us);
            producer.full = true;
        }
    }

    /// True when rows that wait are to be counted.
    pub fn polled(&self, page: PolledPage) -> bool {
        let PolledPage { polls, source, rows, full, interval } = page;
        let (now, at) = (SystemClock.now(), SystemClock.instant());
        let watched = self.is_watched();
        let mut sight = self.lock();
        let producer = sight.producer.get_or_insert_default();
        producer.polls = polls;
        producer.last_poll = Some(now);
        (producer.looked, producer.interval) = (Some(at), interval);
        (producer.full, producer.again_us) = (full, None);
        if source.is_some() {
            producer.source = source;
        }
        if let Some((first_us, last_us)) = rows {
            producer.last_row = Some(now);
            producer.pending_us.get_or_insert(first_us);
            producer.read_to_us = Some(last_us);
        }
        if !producer.wants_count() {
            producer.counted = None;
            return false;
        }
        watched
    }

    pub fn counted(&self, counted: WaitingRows) {
        let (at, instant) = (SystemClock.now(), SystemClock.instant());
        self.lock().producer.get_or_insert_default().counted = Some((Waiting { counted, at }, instant));
    }

    pub fn published(&self, published: PublishedRows) {
        let now = SystemClock.instant();
        let PublishedRows { rows, first_us, position, pending_us, figures } = published;
        let mut sight = self.lock();
        sight.batch(rows, figures);
        let producer = sight.producer.get_or_insert_default();
        producer.position = Some(position);
        producer.pending_us = pending_us;
        let Some(clock_us) = producer.source.as_ref().map(|source| source.column_us(now)) else { return };
        let span = position.timestamp_us.saturating_sub(first_us) as f64;
        let point = |at: u32| {
            let us = first_us as f64 + span * f64::from(at) / f64::from(POINTS - 1);
            (clock_us as f64 - us) / 1e6
        };
        let latency = sight.latencies.entry(PUBLISHED).or_insert_with(|| Latency::new(now));
        latency.add(now, rows, (0..POINTS as usize).map(|at| point(at as u32)));
    }
}
