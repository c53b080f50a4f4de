//! Replicate: table to topic, each row's message once.
//!
//! ```text
//! Source ─page→ ChangeBatch ─→ Sender thread: transaction{ rows of one or several pages, cursor } ─→ Kafka
//!   ▲                                                                      │
//!   └────────── seek, after a failure, to the cursor read back from Kafka ◀┘
//! ```
//! While one page is put into the send queue the next is read. Under backlog pages follow each other without a
//! pause and share a transaction, bounded by rows and age, so that throughput does not depend on
//! `cdc.batch_limit`. Below: `capture`, `publish`.

mod report;
mod sender;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::capture::{Page, Source};
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::model::{ChangeBatch, Cursor};
use crate::publish::Start;

use super::progress::{Published, Reports};
use super::retry::Backoff;
use super::shutdown::Stop;
use report::Lines;
pub use sender::Sender;

/// A bounded run asks again this soon while it waits for the horizon to pass.
const ONCE_POLL: Duration = Duration::from_millis(50);
/// Longest random wait before taking the transactional id back after a fence, so that two producers do not
/// fence each other in step.
const FENCE_JITTER_MS: u64 = 1_000;

/// What a run is told beside its parts.
#[derive(Clone, Debug)]
pub struct Options {
    pub topic: String,
    pub poll_interval: Duration,
    pub batch_limit: u32,
    pub transaction_max_rows: u32,
    pub transaction_max: Duration,
    pub retry: config::Retry,
    /// How long `--once` waits for the horizon.
    pub once_wait: Duration,
    pub run_id: String,
}

/// When a run ends by itself. All unset: only a stop ends it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Ends when every row below the server's clock at the start is published (K7).
    pub once: bool,
    pub max_rows: Option<u64>,
    pub timeout: Option<Duration>,
}

/// A source that can say how far the server's clock is and who holds the horizon back.
pub trait BoundedSource: Source {
    /// The server's clock, microseconds on the timestamp column's clock.
    fn server_clock_us(&mut self) -> impl Future<Output = Result<i64>> + Send;
    /// Whoever holds the horizon, in words; `None` when nobody does.
    fn holder(&self) -> Option<String>;
}

/// The producer's loop and everything it owns.
pub struct Replicate<S> {
    source: S,
    sender: Sender,
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
    spare: Vec<ChangeBatch>,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    rows: u64,
    since: Instant,
    horizon_us: i64,
    snapshot_xmin: u64,
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
            sender,
            backoff: Backoff::new(&options.retry, false),
            lines,
            options,
            stop,
            clock,
            reports: Reports::default(),
            done: Published { cursor: Some(start.cursor), ..Published::default() },
            read_to: start.cursor,
            open: None,
            spare: Vec::new(),
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
        self.backoff = Backoff::new(&self.options.retry, bounds.once);
        let result = self.run_until(bounds, begun).await;
        if result.is_err() {
            let _ = self.sender.abort().await;
            self.open = None;
        }
        result?;
        Ok(Published {
            rows: self.done.rows - before.rows,
            transactions: self.done.transactions - before.transactions,
            polls: self.done.polls - before.polls,
            cursor: self.done.cursor,
            seconds: self.clock.instant().duration_since(begun).as_secs_f64(),
        })
    }

    /// One page, published and committed; the number of its rows.
    pub async fn poll(&mut self) -> Result<u64> {
        let before = self.done.rows;
        if self.page_or_recover(self.options.batch_limit).await?.is_some() {
            self.commit_or_recover().await?;
        }
        Ok(self.done.rows - before)
    }

    async fn run_until(&mut self, bounds: Bounds, begun: Instant) -> Result<()> {
        self.lines.started(self.options.poll_interval);
        let goal = if bounds.once { Some(self.server_clock().await?) } else { None };
        let first_row = self.done.rows;
        let mut limit = self.options.batch_limit;
        loop {
            let now = self.clock.instant();
            let over = bounds.timeout.is_some_and(|limit| now.duration_since(begun) >= limit);
            let enough = bounds.max_rows.is_some_and(|max| self.pending_total() - first_row >= max);
            if self.stop.is_requested() || over || enough {
                return self.commit_or_recover().await;
            }
            let capped = bounds.max_rows.map_or(limit, |max| {
                limit.min(u32::try_from(max - (self.pending_total() - first_row)).unwrap_or(u32::MAX))
            });
            let Some(page) = self.page_or_recover(capped).await? else { continue };
            // A backlog is read in larger pages: a transaction's worth instead of a poll's.
            limit = if page.full { self.options.transaction_max_rows.max(limit) } else { self.options.batch_limit };
            if !page.full || self.transaction_is_due() {
                self.commit_or_recover().await?;
            }
            if page.full {
                continue;
            }
            if let Some(goal) = goal {
                if page.horizon_us > goal {
                    return Ok(());
                }
                self.check_once_wait(begun)?;
            }
            let pause =
                if bounds.once { ONCE_POLL.min(self.options.poll_interval) } else { self.options.poll_interval };
            self.lines.sleeping(page.rows, pause);
            self.stop.sleep(pause).await;
        }
    }

    fn pending_total(&self) -> u64 {
        self.done.rows + self.open.map_or(0, |open| open.rows)
    }

    fn transaction_is_due(&self) -> bool {
        self.open.is_some_and(|open| {
            open.rows >= u64::from(self.options.transaction_max_rows)
                || self.clock.instant().duration_since(open.since) >= self.options.transaction_max
        })
    }

    fn check_once_wait(&self, begun: Instant) -> Result<()> {
        if self.clock.instant().duration_since(begun) < self.options.once_wait {
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
            match self.source.server_clock_us().await {
                Ok(clock) => return Ok(clock),
                Err(error) => self.pause_after(error).await?,
            }
        }
    }

    /// One page into the open transaction. `None` after a failure that was waited for.
    async fn page_or_recover(&mut self, limit: u32) -> Result<Option<Page>> {
        match self.page(limit).await {
            Ok(page) => {
                self.backoff.reset();
                Ok(Some(page))
            }
            Err(error) => self.recover_from(error).await.map(|()| None),
        }
    }

    async fn page(&mut self, limit: u32) -> Result<Page> {
        let mut batch = self.spare.pop().unwrap_or_default();
        batch.clear();
        self.done.polls += 1;
        self.lines.poll(self.done.polls, self.read_to);
        let result = self.read_page(limit, &mut batch).await;
        // Rows read before a failure are read again: their position was never handed on.
        let page = match result {
            Ok(page) => page,
            Err(error) => {
                self.spare.push(batch);
                return Err(error);
            }
        };
        if page.rows == 0 {
            self.spare.push(batch);
            return Ok(page);
        }
        let end = batch.end.ok_or_else(|| Error::bug("a page with rows has no end position"))?;
        self.lines.fetched(page.rows);
        let receipt = self.sender.append(batch).await?;
        let (batch, sent) = receipt.buffer().await?;
        self.spare.push(batch);
        sent?;
        self.read_to = end;
        let since = self.open.map_or_else(|| self.clock.instant(), |open| open.since);
        self.open = Some(Open {
            rows: self.open.map_or(0, |open| open.rows) + page.rows as u64,
            since,
            horizon_us: page.horizon_us,
            snapshot_xmin: page.snapshot_xmin,
        });
        Ok(page)
    }

    /// Reads a page; when an open transaction grows old meanwhile, it is committed first (K1).
    async fn read_page(&mut self, limit: u32, batch: &mut ChangeBatch) -> Result<Page> {
        let Some(open) = self.open else {
            let stop = self.stop.clone();
            return tokio::select! {
                page = self.source.next_page(limit, batch) => page,
                () = stop.requested() => Err(Error::interrupted()),
            };
        };
        let age = self.clock.instant().duration_since(open.since);
        let left = self.options.transaction_max.saturating_sub(age);
        let (result, committed) = {
            let page = self.source.next_page(limit, batch);
            tokio::pin!(page);
            tokio::select! {
                page = &mut page => return page,
                () = tokio::time::sleep(left) => {}
            }
            let committed = self.sender.commit(open.horizon_us, open.snapshot_xmin).await;
            (page.await, committed)
        };
        self.note_commit(open, committed?);
        result
    }

    async fn commit_or_recover(&mut self) -> Result<()> {
        match self.commit().await {
            Ok(()) => Ok(()),
            Err(error) => self.recover_from(error).await,
        }
    }

    async fn commit(&mut self) -> Result<()> {
        let Some(open) = self.open else { return Ok(()) };
        let info = self.sender.commit(open.horizon_us, open.snapshot_xmin).await?;
        self.note_commit(open, info);
        Ok(())
    }

    fn note_commit(&mut self, open: Open, info: crate::publish::CommitInfo) {
        self.open = None;
        self.done.rows += open.rows;
        self.done.transactions += 1;
        self.done.cursor = Some(info.cursor);
        self.lines.committed(open.rows, info.cursor);
        self.reports.push(report::transaction(
            &self.options,
            open.rows,
            &info,
            self.clock.now(),
            self.done.transactions,
        ));
    }

    /// After a failure on either side: what is certain stays, what is unclear is read back (K5).
    async fn recover_from(&mut self, mut error: Error) -> Result<()> {
        if error.kind() == Kind::Source {
            // The open transaction holds whole rows up to `read_to`: it must not stay open while the table is away.
            match self.commit().await {
                Ok(()) => {
                    self.source.seek(self.read_to);
                    return self.pause_after(error).await;
                }
                Err(on_commit) => error = on_commit,
            }
        }
        match error.kind() {
            Kind::Interrupted => return Ok(()),
            Kind::Broker | Kind::Fenced => {}
            _ => return Err(error),
        }
        if error.kind() == Kind::Broker && !error.is_retriable() {
            return Err(error);
        }
        if error.kind() == Kind::Broker {
            self.pause_after(error).await?;
        } else {
            let jitter = u64::from(uuid::Uuid::new_v4().as_fields().0) % FENCE_JITTER_MS;
            self.stop.sleep(Duration::from_millis(jitter)).await;
        }
        loop {
            self.open = None;
            match self.sender.recover().await {
                Ok(start) => {
                    self.source.seek(start.cursor);
                    self.read_to = start.cursor;
                    self.done.cursor = Some(start.cursor);
                    return Ok(());
                }
                Err(error) => self.pause_after(error).await?,
            }
            if self.stop.is_requested() {
                return Ok(());
            }
        }
    }

    async fn pause_after(&mut self, error: Error) -> Result<()> {
        let pause = self.backoff.next_pause(error)?;
        self.stop.sleep(pause).await;
        Ok(())
    }
}
