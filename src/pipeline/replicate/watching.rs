//! What the loop tells of itself: each page and each transaction.

use std::time::{Duration, Instant};

use super::report::Transaction;
use super::{BoundedSource, Failure, Replicate};
use crate::capture::Page;
use crate::model::ChangeBatch;
use crate::pipeline::monitor::{BatchFigures, PublishedRows, Service};

/// Rows that wait are counted this far apart: a count may take as long as a page.
const COUNT_EVERY: Duration = Duration::from_secs(5);

impl<S: BoundedSource> Replicate<S> {
    /// Tells what a page brought, and counts what waits behind it while somebody wants to know.
    pub(super) async fn tell_page(&mut self, page: &Result<Page, Failure>, batch: &ChangeBatch) {
        let Ok(page) = page else { return };
        let monitor = self.options.monitor.clone();
        monitor.answered(Service::Postgres);
        let rows = batch.begin.zip(batch.end).map(|(begin, end)| (begin.timestamp_us, end.timestamp_us));
        if !monitor.polled(self.done.polls, self.source.sight(), rows, page.full) {
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
        let (first_us, last_us) = (transaction.begin.timestamp_us, transaction.info.cursor.timestamp_us);
        let utc = |us| Some(self.source.sight()?.utc(us)?.timestamp_micros());
        let event_us = utc(first_us).zip(utc(last_us));
        let report = transaction.to_json(&self.options, event_us, now, self.done.transactions);
        monitor.report(&report);
        self.reports.push(report);
        monitor.answered(Service::Kafka);
        monitor.published(PublishedRows {
            rows: transaction.rows,
            first_us,
            position: transaction.info.cursor,
            pending_us: self.open.map(|open| open.begin.timestamp_us),
            figures: BatchFigures { finished: now, duration: transaction.duration, phases: transaction.phases() },
        });
    }
}
