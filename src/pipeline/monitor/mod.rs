//! What one run is doing, for whoever looks at it from outside: told by the loops, read by the status server.
//!
//! The loops tell at most once a page or a batch, and hold the lock for a copy of some figures; nothing here is done by
//! row. What costs more (counting rows that wait, copies of the totals) is done only while somebody looks.

mod consumer;
mod latency;
mod producer;
mod rejects;
mod samples;
mod services;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::progress::milliseconds;
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::telemetry::recent;

pub use consumer::{CommittedBatch, ConsumerSight, Standing};
pub use latency::{Latency, Quantiles, WINDOW as LATENCY_WINDOW};
pub use producer::{PolledPage, ProducerSight, PublishedRows, Waiting};
pub use rejects::{RejectTally, Rejects};
pub use samples::Sampled;
pub use services::{Service, ServiceSight};

/// Batches kept, as many as reports.
const KEPT_BATCHES: usize = 100;
/// After a look this long it counts as looked at: longer than the usual interval of a scrape.
const LOOK: Duration = Duration::from_secs(90);

/// Upper bounds of `foodstream_batch_duration_seconds`: from a commit on a local disk to one that waits for a service.
pub const DURATION_BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Names of the latencies, in their order.
pub const PUBLISHED: &str = "published";
pub const READABLE: &str = "readable";
pub const SOURCE_TO_READABLE: &str = "source_to_readable";

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Starting,
    Running,
    Ended,
    /// Ended by this error.
    Failed(String),
}

/// Everything that is known of a run at one moment.
#[derive(Clone, Debug)]
pub struct Sight {
    pub started: DateTime<Utc>,
    pub phase: Phase,
    /// Since when no run of it goes on, because one failed.
    pub failed_at: Option<DateTime<Utc>>,
    pub services: BTreeMap<Service, ServiceSight>,
    /// Rows published, or messages committed.
    pub rows: u64,
    pub batches: u64,
    pub last_batch: Option<BatchFigures>,
    /// Rows and time at work of the last few batches.
    work: VecDeque<(u64, Duration)>,
    pub phases: BTreeMap<&'static str, Duration>,
    /// Batches by duration: one more than [`DURATION_BOUNDS`].
    pub durations: [u64; DURATION_BOUNDS.len() + 1],
    pub duration_sum: Duration,
    pub latencies: BTreeMap<&'static str, Latency>,
    pub producer: Option<ProducerSight>,
    pub consumer: Option<ConsumerSight>,
}

/// Of the last batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchFigures {
    pub finished: DateTime<Utc>,
    pub duration: Duration,
    pub phases: Vec<(&'static str, Duration)>,
}

/// So many batches tell how fast rows are processed.
const WORK_BATCHES: usize = 10;

impl Sight {
    fn new(now: DateTime<Utc>) -> Self {
        Sight {
            started: now,
            phase: Phase::Starting,
            failed_at: None,
            services: BTreeMap::new(),
            rows: 0,
            batches: 0,
            last_batch: None,
            work: VecDeque::new(),
            phases: BTreeMap::new(),
            durations: [0; DURATION_BOUNDS.len() + 1],
            duration_sum: Duration::ZERO,
            latencies: BTreeMap::new(),
            producer: None,
            consumer: None,
        }
    }

    /// Rows by time at work of the last batches; `None` before the first.
    pub fn processed_per_second(&self) -> Option<f64> {
        let rows: u64 = self.work.iter().map(|batch| batch.0).sum();
        let time: Duration = self.work.iter().map(|batch| batch.1).sum();
        (!self.work.is_empty()).then(|| rows as f64 / time.as_secs_f64().max(1e-6))
    }

    /// Seconds that the oldest row waits which is not published, or not readable, yet. Zero where the last look found
    /// none and is of a moment ago; where no look comes, seconds since it, for which rows may wait. `None` where nothing
    /// is known.
    pub fn lag(&self, now: DateTime<Utc>, at: Instant) -> Option<f64> {
        match (&self.producer, &self.consumer) {
            (Some(producer), _) if !self.is_away(Service::Postgres) => producer.unpublished_seconds(at),
            (_, Some(consumer)) => consumer.unread_seconds(now, at),
            _ => None,
        }
    }

    fn is_away(&self, service: Service) -> bool {
        self.services.get(&service).is_some_and(|sight| sight.up == Some(false))
    }

    fn batch(&mut self, rows: u64, figures: BatchFigures) {
        let seconds = figures.duration.as_secs_f64();
        let bucket = DURATION_BOUNDS.iter().position(|&bound| seconds <= bound).unwrap_or(DURATION_BOUNDS.len());
        self.durations[bucket] += 1;
        self.duration_sum += figures.duration;
        for &(name, time) in &figures.phases {
            *self.phases.entry(name).or_default() += time;
        }
        if self.work.len() == WORK_BATCHES {
            self.work.pop_front();
        }
        self.work.push_back((rows, figures.duration));
        self.rows += rows;
        self.batches += 1;
        self.last_batch = Some(figures);
    }
}

/// A batch's report with its number in the order of what happened in this process.
#[derive(Clone, Debug)]
pub struct NumberedReport {
    pub seq: u64,
    pub report: Arc<Value>,
}

/// Clones tell of, and show, the same run.
#[derive(Clone)]
pub struct Monitor(Arc<Inner>);

struct Inner {
    begun: Instant,
    /// Milliseconds after `begun` until which it counts as looked at.
    looked_until_ms: AtomicU64,
    sight: Mutex<Sight>,
    reports: Mutex<VecDeque<NumberedReport>>,
}

impl Default for Monitor {
    fn default() -> Self {
        Monitor(Arc::new(Inner {
            begun: SystemClock.instant(),
            looked_until_ms: AtomicU64::new(0),
            sight: Mutex::new(Sight::new(SystemClock.now())),
            reports: Mutex::default(),
        }))
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Monitor")
    }
}

impl Monitor {
    /// Somebody looks: what is told only then is told for a while.
    pub fn look(&self) {
        let until = milliseconds(self.0.begun.elapsed() + LOOK);
        self.0.looked_until_ms.store(until, Ordering::Relaxed);
    }

    pub fn is_watched(&self) -> bool {
        milliseconds(self.0.begun.elapsed()) < self.0.looked_until_ms.load(Ordering::Relaxed)
    }

    pub fn sight(&self) -> Sight {
        self.lock().clone()
    }

    /// Returns the phase that ends.
    pub fn enter(&self, phase: Phase) -> Phase {
        let mut sight = self.lock();
        match phase {
            Phase::Running => sight.failed_at = None,
            Phase::Failed(_) => {
                sight.failed_at.get_or_insert_with(|| SystemClock.now());
            }
            Phase::Starting | Phase::Ended => {}
        }
        std::mem::replace(&mut sight.phase, phase)
    }

    pub fn phase(&self) -> Phase {
        self.lock().phase.clone()
    }

    pub fn failed(&self, service: Service, error: &Error) {
        self.lock().services.entry(service).or_default().failed(error.report());
    }

    pub fn answered(&self, service: Service) {
        self.lock().services.entry(service).or_default().answered();
    }

    /// A page's worth of rows that no loop reports: the generator's.
    pub fn count_rows(&self, rows: u64) {
        self.lock().rows = rows;
    }

    pub fn reports_after(&self, seq: u64) -> Vec<NumberedReport> {
        let reports = self.0.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.iter().filter(|report| report.seq > seq).cloned().collect()
    }

    pub(super) fn report(&self, report: &Value) {
        let mut reports = self.0.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() == KEPT_BATCHES {
            reports.pop_front();
        }
        reports.push_back(NumberedReport { seq: recent::next_seq(), report: Arc::new(report.clone()) });
    }

    fn lock(&self) -> MutexGuard<'_, Sight> {
        self.0.sight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
