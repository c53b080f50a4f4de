//! Replicate: table to topic, each row's message once.
//!
//! ```text
//! Source ─page→ ChangeBatch ─→ Sender thread: transaction{ rows of one or several pages, cursor } ─→ Kafka
//!   ▲                                                                      │
//!   └────────── seek, after a failure, to the cursor read back from Kafka ◀┘
//! ```
//! While one page is sent and its transaction committed the next is read. Under backlog pages follow each other without a
//! pause and share a transaction, bounded by rows and age, so that throughput does not depend on
//! `cdc.batch_limit`; a page is bounded by its bytes as well. Below: `capture`, `publish`.

mod limit;
mod options;
mod outbox;
mod report;
mod sender;
mod watching;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::capture::Page;
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::failpoints::{self, reach};
use crate::model::{ChangeBatch, Cursor, EventTimes};
use crate::publish::{CommitInfo, Start};

use super::monitor::{Phase, Service};
use super::progress::{Published, Reports};
use super::retry::Backoff;
use super::shutdown::Stop;
use limit::PageLimit;
pub use options::{BoundedSource, Bounds, Options};
use outbox::Outbox;
use report::{Lines, Transaction};
pub use sender::Sender;

/// Longest random wait before taking the transactional id back after a fence, so that two producers do not
/// fence each other in step; doubled so often at most.
const FENCE_JITTER_MS: u64 = 1_000;
const MAX_DOUBLINGS: u32 = 3;

/// The producer's loop and everything it owns.
pub struct Replicate<S> {
    source: S,
    outbox: Outbox,
    options: Options,
    stop: Stop,
    clock: Arc<dyn Clock>,
    reports: Reports,
    lines: Lines,
    done: Published,
    /// Position of the last row handed to the sender, committed or not.
    read_to: Cursor,
    /// The open transaction: rows in it, when it began, the page that ended it last.
    open: Option<Open>,
    limit: PageLimit,
    backoff: Backoff,
    /// Rows of the whole pipeline up to the last position known: tells what an unclear commit was.
    rows_published: u64,
    /// A call ended by an error: source and producer stand nowhere until the position is read back.
    astray: bool,
    /// By other producers, or by the broker for a long pause.
    fences: u32,
    /// When the last transaction was known to be committed.
    last_commit: Option<Instant>,
    last_count: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    rows: u64,
    since: Instant,
    horizon_us: i64,
    snapshot_xmin: u64,
    /// Timestamps of its rows.
    times: EventTimes,
    /// Reading its pages.
    read_time: Duration,
}

/// Where a failure came from decides what is still certain.
enum Failure {
    /// The open transaction is whole, up to the last page handed on.
    Source(Error),
    /// The open transaction is gone, and perhaps committed.
    Sink(Error),
}

impl<S: BoundedSource> Replicate<S> {
    pub fn new(
        mut source: S,
        sender: Sender,
        start: &Start,
        options: Options,
        stop: Stop,
        clock: Arc<dyn Clock>,
    ) -> Self {
        source.seek(start.cursor);
        let mut lines = Lines::new(options.topic.clone());
        lines.starts_at(start);
        Replicate {
            source,
            outbox: Outbox::new(sender),
            backoff: Backoff::new(&options.retry, false, &options.monitor),
            lines,
            limit: PageLimit::new(options.batch_limit, options.transaction_max_rows, options.page_max_bytes),
            options,
            stop,
            clock,
            reports: Reports::default(),
            done: Published { cursor: Some(start.cursor), ..Published::default() },
            read_to: start.cursor,
            open: None,
            rows_published: start.rows_published,
            astray: false,
            fences: 0,
            last_commit: None,
            last_count: None,
        }
    }

    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    pub fn progress(&self) -> &Published {
        &self.done
    }

    /// Polls and publishes until the bounds are reached or a stop is requested; returns what this call did.
    pub async fn run(&mut self, bounds: Bounds) -> Result<Published> {
        let begun = self.clock.instant();
        let before = self.done.clone();
        self.backoff =
            Backoff::new(&self.options.retry, bounds.once || bounds.timeout.is_some(), &self.options.monitor);
        let result = self.run_until(bounds, begun).await;
        self.lines.sum_up();
        self.leave(result).await?;
        Ok(self.done.since(&before, self.clock.instant().duration_since(begun)))
    }

    /// One page, published and committed; the number of its rows, and of those of an earlier call's commit that turns out
    /// to have held. Bounded: gives up on services that stay away.
    pub async fn poll(&mut self) -> Result<u64> {
        let before = self.done.rows;
        self.backoff = Backoff::new(&self.options.retry, true, &self.options.monitor);
        let result = self.poll_once().await;
        self.leave(result).await?;
        Ok(self.done.rows - before)
    }

    async fn poll_once(&mut self) -> Result<()> {
        self.options.monitor.enter(Phase::Running);
        self.find_the_way().await?;
        let before = self.done.rows;
        // No rows is an answer, so what failed and was recovered from is tried again, but for a commit that held.
        while !self.stop.is_requested() {
            let read = self.page_or_recover(self.limit.rows_of_poll()).await?.is_some();
            if read && (self.commit_or_recover().await? || self.done.rows > before) {
                break;
            }
        }
        Ok(())
    }

    /// After an error nothing of the open transaction is kept, and the next call reads the position back. A stop is
    /// no error.
    async fn leave(&mut self, result: Result<()>) -> Result<()> {
        match result {
            Err(error) if error.kind() == Kind::Interrupted => Ok(()),
            Err(error) => {
                self.open = None;
                self.astray = true;
                let _ = self.outbox.abort().await;
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    async fn find_the_way(&mut self) -> Result<()> {
        if self.astray { self.recover().await } else { Ok(()) }
    }

    async fn run_until(&mut self, bounds: Bounds, begun: Instant) -> Result<()> {
        self.options.monitor.enter(Phase::Running);
        self.find_the_way().await?;
        self.lines.started(self.options.poll_interval);
        let goal = if bounds.once { Some(self.server_clock().await?) } else { None };
        let first_row = self.done.rows;
        // A backlog may take longer than the patience for a horizon that stands still.
        let mut still_since = begun;
        let mut in_backlog = false;
        loop {
            let elapsed = self.clock.instant().duration_since(begun);
            let over = bounds.timeout.is_some_and(|limit| elapsed >= limit);
            let left = bounds.max_rows.map(|max| max.saturating_sub(self.pending_total() - first_row));
            if self.stop.is_requested() || over {
                return self.commit_or_recover().await.map(|_| ());
            }
            if left == Some(0) {
                // Rows of a commit that failed are not among those asked for: they are read again.
                if self.commit_or_recover().await? {
                    return Ok(());
                }
                continue;
            }
            let polled_at = self.clock.instant();
            let limit = self.limit.rows();
            let capped = self.room().min(u64::from(limit)).min(left.unwrap_or(u64::MAX));
            let Some(page) = self.page_or_recover(u32::try_from(capped).unwrap_or(limit)).await? else { continue };
            if page.rows > 0 {
                still_since = self.clock.instant();
            }
            let was_backlog = std::mem::replace(&mut in_backlog, page.full);
            if page.full {
                if self.transaction_is_due() {
                    self.begin_commit_or_recover().await?;
                }
                continue;
            }
            if !self.commit_or_recover().await? {
                continue;
            }
            if let Some(goal) = goal {
                if page.horizon_us > goal {
                    return Ok(());
                }
                self.check_once_wait(still_since)?;
            }
            let pause = bounds.pause(self.options.poll_interval, was_backlog);
            let pause = bounds.timeout.map_or(pause, |limit| pause.min(limit.saturating_sub(elapsed)));
            self.lines.sleeping(page.rows, pause);
            // From beginning to beginning of two polls; a bounded run, which waits for the horizon, rests in between.
            let taken = self.clock.instant().duration_since(polled_at);
            let pause = if bounds.once { pause } else { pause.saturating_sub(taken) };
            self.stop.sleep(pause).await;
        }
    }

    /// Rows that the open transaction may still take: it never holds more than it is allowed, or one poll's page.
    fn room(&self) -> u64 {
        let most = u64::from(self.options.transaction_max_rows.max(self.options.batch_limit));
        most.saturating_sub(self.open.map_or(0, |open| open.rows)).max(1)
    }

    fn pending_total(&self) -> u64 {
        self.done.rows + self.outbox.committing_rows() + self.open.map_or(0, |open| open.rows)
    }

    fn transaction_is_due(&self) -> bool {
        self.open.is_some_and(|open| {
            open.rows >= u64::from(self.options.transaction_max_rows)
                || self.clock.instant().duration_since(open.since) >= self.options.transaction_max
        })
    }

    fn check_once_wait(&self, still_since: Instant) -> Result<()> {
        if self.clock.instant().duration_since(still_since) < self.options.once_wait {
            return Ok(());
        }
        let waited = self.options.once_wait.as_secs();
        let holder = self.source.holder().unwrap_or_else(|| "no session that could be named".to_owned());
        let message = format!(
            "rows of this moment may still be committed late: after {waited} s the horizon is held by {holder}; \
             everything below it is published"
        );
        Err(Error::new(Kind::Source, message).retriable())
    }

    async fn server_clock(&mut self) -> Result<i64> {
        loop {
            self.stop.check()?;
            match self.source.server_clock_us().await {
                Ok(clock) => return Ok(clock),
                Err(error) => self.pause_after(error).await?,
            }
        }
    }

    /// One page into the open transaction. `None` after a failure that was waited for.
    async fn page_or_recover(&mut self, limit: u32) -> Result<Option<Page>> {
        match self.page(limit).await {
            Ok(page) => Ok(Some(page)),
            Err(failure) => self.recover_from(failure).await.map(|()| None),
        }
    }

    async fn page(&mut self, limit: u32) -> Result<Page, Failure> {
        let mut batch = self.outbox.buffer();
        self.done.polls += 1;
        self.lines.poll(self.done.polls, self.read_to);
        let asked = self.clock.instant();
        let result = self.read_page(limit, &mut batch).await;
        let read_time = self.clock.instant().saturating_duration_since(asked);
        self.tell_page(&result, &batch).await;
        match &result {
            Ok(page) => self.limit.succeeded(page.rows, batch.byte_len(), page.full),
            Err(Failure::Source(error)) if error.is_retriable() => self.limit.failed(limit),
            Err(_) => {}
        }
        // Rows read before a failure are read again: their position was never handed on.
        let page = match result {
            Ok(page) if page.rows > 0 => page,
            other => {
                self.outbox.give_back(batch);
                return other;
            }
        };
        let reached = batch.times.zip(batch.end);
        let (times, end) = reached.ok_or_else(|| Failure::Sink(Error::bug("a page with rows has no end position")))?;
        reach(failpoints::PUBLISH_PAGE_READ).map_err(Failure::Sink)?;
        self.lines.fetched(page.rows);
        // Nothing is sent after a commit that is not known to have succeeded.
        if let Err(error) = self.settle().await {
            self.outbox.give_back(batch);
            return Err(Failure::Sink(error));
        }
        self.outbox.append(batch).await.map_err(Failure::Sink)?;
        self.read_to = end;
        let since = self.open.map_or_else(|| self.clock.instant(), |open| open.since);
        let read_time = read_time + self.open.map_or(Duration::ZERO, |open| open.read_time);
        self.open = Some(Open {
            rows: self.open.map_or(0, |open| open.rows) + page.rows as u64,
            since,
            horizon_us: page.horizon_us,
            snapshot_xmin: page.snapshot_xmin,
            times: self.open.map_or(times, |open| open.times.merged(times)),
            read_time,
        });
        Ok(page)
    }

    /// Reads a page; when an open transaction grows old meanwhile, it is committed first (K1).
    async fn read_page(&mut self, limit: u32, batch: &mut ChangeBatch) -> Result<Page, Failure> {
        let Some(open) = self.open else {
            let stop = self.stop.clone();
            return tokio::select! {
                page = self.source.next_page(limit, batch) => page.map_err(Failure::Source),
                () = stop.requested() => Err(Failure::Source(Error::interrupted())),
            };
        };
        let age = self.clock.instant().duration_since(open.since);
        let left = self.options.transaction_max.saturating_sub(age);
        let stop = self.stop.clone();
        let (result, committed) = {
            let page = self.source.next_page(limit, batch);
            tokio::pin!(page);
            tokio::select! {
                page = &mut page => return page.map_err(Failure::Source),
                () = stop.requested() => return Err(Failure::Source(Error::interrupted())),
                () = tokio::time::sleep(left) => {}
            }
            let committed = match self.outbox.begin_commit(open).await {
                Ok(()) => self.outbox.settle().await,
                Err(error) => Err(error),
            };
            let result = tokio::select! {
                page = page => page,
                () = stop.requested() => Err(Error::interrupted()),
            };
            (result, committed)
        };
        self.open = None;
        self.note_commit(committed.map_err(Failure::Sink)?);
        result.map_err(Failure::Source)
    }

    /// False when the commit failed and the position was read back: what was read since is read again.
    async fn commit_or_recover(&mut self) -> Result<bool> {
        match self.commit().await {
            Ok(()) => Ok(true),
            Err(error) => self.recover_from(Failure::Sink(error)).await.map(|()| false),
        }
    }

    /// The same without waiting for the commit: the next page is read meanwhile.
    async fn begin_commit_or_recover(&mut self) -> Result<()> {
        match self.begin_commit().await {
            Ok(()) => Ok(()),
            Err(error) => self.recover_from(Failure::Sink(error)).await,
        }
    }

    async fn commit(&mut self) -> Result<()> {
        self.begin_commit().await?;
        self.settle().await
    }

    async fn begin_commit(&mut self) -> Result<()> {
        // Whatever comes of it, it is not open any more.
        match self.open.take() {
            Some(open) => self.outbox.begin_commit(open).await,
            None => Ok(()),
        }
    }

    /// Waits for what is under way, and notes a commit.
    async fn settle(&mut self) -> Result<()> {
        let committed = self.outbox.settle().await?;
        self.note_commit(committed);
        Ok(())
    }

    fn note_commit(&mut self, committed: Option<(Open, CommitInfo)>) {
        let Some((open, info)) = committed else { return };
        // Both sides work: a page alone says nothing about the broker.
        self.backoff.reset();
        self.rows_published = info.rows_published;
        self.done.rows += open.rows;
        self.done.transactions += 1;
        let after = self.done.cursor.replace(info.cursor);
        self.lines.committed(open.rows, info.cursor);
        let now = self.clock.instant();
        let transaction = Transaction {
            rows: open.rows,
            info,
            after,
            times: open.times,
            read_time: open.read_time,
            duration: open.read_time + now.saturating_duration_since(open.since),
            since_last: self.last_commit.replace(now).map(|last| now.saturating_duration_since(last)),
        };
        self.tell_commit(&transaction);
    }

    /// After a failure on either side: what is certain stays, what is unclear is read back (K5).
    async fn recover_from(&mut self, failure: Failure) -> Result<()> {
        match failure {
            Failure::Source(error) if error.kind() == Kind::Interrupted => Ok(()),
            Failure::Source(error) => {
                // The open transaction must not stay open while the table is away.
                match self.commit().await {
                    Ok(()) => self.source.seek(self.read_to),
                    Err(on_commit) => self.recover_sink(on_commit).await?,
                }
                self.pause_after(error).await
            }
            Failure::Sink(error) => self.recover_sink(error).await,
        }
    }

    async fn recover_sink(&mut self, error: Error) -> Result<()> {
        if error.kind() == Kind::Fenced {
            // Longer each time: one of two that fence each other then finds the time to publish, which ends the other.
            let longest = FENCE_JITTER_MS << self.fences.min(MAX_DOUBLINGS);
            self.fences += 1;
            let jitter = u64::from(uuid::Uuid::new_v4().as_fields().0) % longest;
            self.stop.sleep(Duration::from_millis(jitter)).await;
        } else {
            self.pause_after(error).await?;
        }
        self.recover().await
    }

    /// Reads the position back and goes on from there. A stop leaves that to the next call, or the next start.
    async fn recover(&mut self) -> Result<()> {
        self.open = None;
        self.astray = true;
        loop {
            self.stop.check()?;
            match self.outbox.recover().await {
                Ok(start) => {
                    self.stand_at(&start);
                    return Ok(());
                }
                Err(error) => self.pause_after(error).await?,
            }
        }
    }

    /// A commit that looked failed and was not shows in the rows that the position counts.
    fn stand_at(&mut self, start: &Start) {
        self.astray = false;
        self.source.seek(start.cursor);
        self.read_to = start.cursor;
        self.done.cursor = Some(start.cursor);
        self.options.monitor.stands_at(start.cursor);
        self.options.monitor.answered(Service::Kafka);
        let found = start.rows_published.saturating_sub(self.rows_published);
        self.rows_published = start.rows_published;
        if found > 0 {
            self.done.rows += found;
            self.done.transactions += 1;
            self.lines.committed(found, start.cursor);
        }
    }

    async fn pause_after(&mut self, error: Error) -> Result<()> {
        let pause = self.backoff.next_pause(error)?;
        self.stop.sleep(pause).await;
        Ok(())
    }
}
