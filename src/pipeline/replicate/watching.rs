//! What the loop tells of itself: each page and each transaction.

use std::time::{Duration, Instant};

use super::report::Transaction;
use super::{BoundedSource, Failure, Replicate};
use crate::capture::Page;
use crate::model::ChangeBatch;
use crate::pipeline::monitor::{BatchFigures, PolledPage, PublishedRows, Service};

/// Rows that wait are counted this far apart: a count may take as long as a page.
const COUNT_EVERY: Duration = Duration::from_secs(5);

impl<S: BoundedSource> Replicate<S> {
    /// Tells what a page brought, and counts what waits behind it while somebody wants to know.
    pub(super) async fn tell_page(&mut self, page: &Result<Page, Failure>, batch: &ChangeBatch) {
        let Ok(page) = page else { return };
        let monitor = self.options.monitor.clone();
        monitor.answered(Service::Postgres);
        let page = PolledPage {
            polls: self.done.polls,
            source: self.source.sight(),
            rows: batch.times.map(|times| (times.least_us, times.greatest_us)),
            full: page.full,
            interval: self.options.poll_interval,
        };
        if !monitor.polled(page) {
            return;
        }
        let now = self.clock.instant();
        if self.last_count.is_some_and(|last: Instant| now.saturating_duration_since(last) < COUNT_EVERY) {
            return;
        }
        self.last_count = Some(now);
        match self.source.count_waiting().await {
            Ok(Some(counted)) => monitor.counted(counted),
            Ok(None) => {}
            // The next page says what is wrong with the connection.
            Err(error) => tracing::debug!(target: "foodstream::producer", "waiting rows: {}", error.report()),
        }
    }

    pub(super) fn tell_commit(&mut self, transaction: &Transaction) {
        let monitor = &self.options.monitor;
        let now = self.clock.now();
        let events = self.source.sight().and_then(|sight| transaction.times.shifted(sight.ahead_of_column_us()));
        let report = transaction.to_json(&self.options, events, now, self.done.transactions);
        monitor.report(&report);
        self.reports.push(report);
        monitor.answered(Service::Kafka);
        monitor.published(PublishedRows {
            rows: transaction.rows,
            first_us: transaction.times.least_us,
            position: transaction.info.cursor,
            pending_us: self.open.map(|open| open.times.least_us),
            figures: BatchFigures { finished: now, duration: transaction.duration, phases: transaction.phases() },
        });
    }
}
