//! Ingest: topic to lake, exactly once, micro-batch by micro-batch.
//!
//! ```text
//! Reader ─chunk→ Validating thread ─rows, rejects→ the open batch ─(full, or its trigger is over)→ Writer thread ─→ commit
//!   ▲                                                                                                  │
//!   └────────────────── positions of the log, when it was assigned partitions or lost a race ◀─────────┘
//! ```
//! Positions come from the commit log alone (protocols C1); the group's offsets follow for lag tools. An open
//! batch is dropped, never half committed, when partitions move. Below: `consume`, `validate`, `lake`.

mod for_each;
mod observe;
mod options;
mod positions;
mod repeats;
mod report;
mod targets;
mod trigger;
mod validating;
mod watching;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;

use crate::aggregate::Aggregator;
use crate::broker::{Cluster, GroupConsumer};
use crate::clock::Clock;
use crate::consume::{Reader, Step};
use crate::error::{Error, Kind, Result};
use crate::failpoints::{self, reach};
use crate::lake::{Head, Lake, Plan};
use crate::model::{Counts, MessageBatch, MicroBatch, OffsetRange};

use super::progress::{Ingested, Reports};
use super::retry::Backoff;
use super::shutdown::Stop;
use super::totals_topic::TotalsTopic;
pub use for_each::Each;
pub use observe::{Observed, Observer};
pub use options::{Bounds, Options, Parts};
pub use targets::Targets;
use targets::Watch;
use validating::Validating;
use watching::Watching;
use writer::{Done, Outcome, Writer};

/// Longest wait inside one poll: a stop request is noticed within it.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// The consumer's loop and everything it owns.
pub struct Ingest<C, K> {
    reader: Reader<C>,
    cluster: K,
    writer: Writer,
    validating: Validating,
    totals: Aggregator,
    totals_topic: Option<TotalsTopic>,
    options: Options,
    stop: Stop,
    clock: Arc<dyn Clock>,
    reports: Reports,
    head: Head,
    chunk: MessageBatch,
    open: MicroBatch,
    /// When the open batch got its first message, and its last so far.
    opened_at: Option<Instant>,
    grown_at: Option<Instant>,
    /// What the next trigger counts from.
    triggered_at: Option<Instant>,
    /// Nothing can be added to the open batch: what follows it is gone.
    cut_short: bool,
    /// Where this call is to end, for those who watch it.
    ends: Option<Targets>,
    /// This call ends by itself, so it gives up on services that stay away.
    bounded: bool,
    backoff: Backoff,
    /// A batch was handed out or lost by an error: reading goes back to the log's positions first.
    astray: bool,
    /// A function acts on each batch before its commit: every batch has a plan.
    each: bool,
    /// A plan of our partitions that starts at the log's positions: it comes before anything is gathered.
    due: Option<Plan>,
    done: Ingested,
    unknown_keys: u64,
    observer: Option<Observer>,
    watching: Watching,
}

impl<C: GroupConsumer, K: Cluster> Ingest<C, K> {
    /// Creates a missing topic, founds the lake where there is none, and joins the group. Reads nothing yet.
    /// Blocks; a bounded run gives up on services that are away after `retry.start_timeout_sec`.
    pub fn open(parts: Parts<C, K, impl Lake + 'static>, options: Options, bounded: bool, stop: Stop) -> Result<Self> {
        let Parts { consumer, mut cluster, lake, mut validator, totals, clock } = parts;
        let mut writer = Writer::spawn(lake)?;
        let backoff = || Backoff::new(&options.retry, bounded, &options.monitor);
        let head = super::retry::until_ok(backoff(), &stop, || {
            positions::found_or_continue(&mut cluster, &mut writer, &options)
        })?;
        // Before the group is joined: no partition waits for it.
        repeats::take_in_log(&mut writer, &mut validator)?;
        Ok(Ingest {
            reader: Reader::new(consumer),
            cluster,
            writer,
            validating: Validating::spawn(validator)?,
            totals,
            totals_topic: None,
            ends: None,
            bounded,
            backoff: backoff(),
            astray: false,
            each: false,
            due: None,
            stop,
            clock,
            reports: Reports::default(),
            done: Ingested { commit: Some(head.number), positions: head.positions(), ..Ingested::default() },
            head,
            chunk: MessageBatch::default(),
            open: MicroBatch::default(),
            opened_at: None,
            grown_at: None,
            triggered_at: None,
            cut_short: false,
            options,
            unknown_keys: 0,
            observer: None,
            watching: Watching::default(),
        })
    }

    /// From now on shows every commit of a batch that had messages to `observer`, once it is durable.
    pub fn observe(&mut self, observer: Option<Observer>) {
        self.observer = observer;
    }

    /// From now on commits are followed to a topic.
    pub fn publish_totals(&mut self, topic: TotalsTopic) {
        self.totals_topic = Some(topic);
    }

    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }

    pub fn progress(&self) -> &Ingested {
        &self.done
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Schema of accepted rows, also where a batch has none.
    pub fn lake_schema(&self) -> SchemaRef {
        self.validating.lake_schema()
    }

    /// Schema of rejects, also where a batch has none.
    pub fn quarantine_schema(&self) -> SchemaRef {
        self.validating.quarantine_schema()
    }

    /// Straight to the lake: gathers one batch while the last one is committed.
    ///
    /// Returns what this call did. A stop request is a normal end: the open batch is committed first.
    pub fn run(&mut self, bounds: Bounds) -> Result<Ingested> {
        let begun = self.clock.instant();
        let before = self.done.clone();
        let result = match self.run_until(bounds, begun) {
            Err(error) if error.kind() == Kind::Interrupted => Ok(()),
            result => result,
        };
        let settled = self.settle();
        self.astray |= result.is_err() || settled.is_err();
        result?;
        settled?;
        self.settle_totals(bounds)?;
        Ok(self.done_since(&before, begun))
    }

    fn done_since(&self, before: &Ingested, begun: Instant) -> Ingested {
        let now = &self.done;
        Ingested {
            batches: now.batches - before.batches,
            files: now.files - before.files,
            counts: Counts {
                input: now.counts.input - before.counts.input,
                accepted: now.counts.accepted - before.counts.accepted,
                rejected: now.counts.rejected - before.counts.rejected,
            },
            seconds: self.clock.instant().duration_since(begun).as_secs_f64(),
            ..now.clone()
        }
    }

    fn run_until(&mut self, bounds: Bounds, begun: Instant) -> Result<()> {
        self.begin(bounds.is_bounded())?;
        let targets = self.targets(bounds)?;
        let mut watch = Watch::new(begun);
        let batches_before = self.done.batches;
        loop {
            if let Some(outcome) = self.writer.try_outcome()? {
                self.take_outcome(outcome)?;
            }
            let over = bounds.timeout.is_some_and(|limit| self.clock.instant().duration_since(begun) >= limit);
            if self.stop.is_requested() || over {
                return self.flush();
            }
            if let Some(limit) = bounds.max_batches
                && self.done.batches - batches_before + u64::from(self.writer.in_flight()) >= limit
            {
                if !self.writer.in_flight() {
                    return Ok(());
                }
                self.settle()?;
                continue;
            }
            if let Some(targets) = &targets {
                if self.at_targets(targets) {
                    self.settle()?;
                }
                if self.reached(targets, &mut watch)? {
                    return Ok(());
                }
            }
            self.gather(targets.as_ref())?;
            if self.is_complete(targets.as_ref()) {
                self.hand_over()?;
            }
        }
    }

    /// What every call begins with.
    fn begin(&mut self, bounded: bool) -> Result<()> {
        self.bounded = bounded;
        self.backoff = self.new_backoff();
        self.tell_running();
        self.astray |= std::mem::take(&mut self.each);
        if self.astray { self.rewind() } else { Ok(()) }
    }

    /// The next micro-batch, for a caller that commits it itself with [`Ingest::commit`].
    /// `None` when the bounds are reached or a stop was requested; an uncommitted batch is read again.
    pub fn next_batch(&mut self, targets: Option<&Targets>, timeout: Option<Duration>) -> Result<Option<MicroBatch>> {
        match self.next_batch_until(targets, timeout) {
            Err(error) if error.kind() == Kind::Interrupted => Ok(None),
            result => result.inspect_err(|_| self.astray = true),
        }
    }

    fn next_batch_until(&mut self, targets: Option<&Targets>, timeout: Option<Duration>) -> Result<Option<MicroBatch>> {
        self.begin(targets.is_some() || timeout.is_some())?;
        let begun = self.clock.instant();
        let mut watch = Watch::new(begun);
        loop {
            let over = timeout.is_some_and(|limit| self.clock.instant().duration_since(begun) >= limit);
            if self.stop.is_requested() || over {
                return Ok(None);
            }
            if let Some(targets) = targets
                && self.reached(targets, &mut watch)?
            {
                return Ok(None);
            }
            self.gather(targets)?;
            if self.is_complete(targets) {
                let batch = self.cut()?;
                if batch.counts.input > 0 {
                    self.astray = true;
                    return Ok(Some(batch));
                }
                self.commit(batch)?;
            }
        }
    }

    /// Commits a batch that `next_batch` returned; false when another worker took its partitions meanwhile.
    /// After an error the batch is void: it is read again.
    pub fn commit(&mut self, batch: MicroBatch) -> Result<bool> {
        self.astray = true;
        self.check_topic()?;
        reach(failpoints::INGEST_GATHERED)?;
        let ranges = batch.ranges.clone();
        self.writer.submit(batch)?;
        let outcome = self.writer.outcome()?.ok_or_else(|| Error::bug("a submitted batch has no outcome"))?;
        let committed = self.take_outcome(outcome)?;
        // A plan was read past the group: its member still stands before it.
        self.astray = committed && !self.reader.follows(&ranges);
        Ok(committed)
    }

    /// Drops what was gathered or handed out and not committed; reading goes on from the log's positions.
    pub fn rewind(&mut self) -> Result<()> {
        self.settle()?;
        self.drop_open();
        let assigned = self.reader.assigned();
        self.stand_at_log(&assigned, true)?;
        self.astray = false;
        Ok(())
    }

    /// Leaves the group after settling what is under way.
    pub fn close(&mut self) -> Result<()> {
        let settled = self.settle();
        self.reader.close();
        if let Some(topic) = self.totals_topic.take() {
            topic.close(self.head.number);
        }
        settled
    }

    /// A bounded run has not ended before its commits are in the totals' topic. On a stop they are published as far
    /// as time allows, and the rest by whoever comes next.
    fn settle_totals(&self, bounds: Bounds) -> Result<()> {
        match &self.totals_topic {
            Some(topic) if bounds.available_now && !self.stop.is_requested() => {
                topic.wait_for(self.head.number, self.options.retry.start_timeout)
            }
            _ => Ok(()),
        }
    }

    /// Reads and validates one chunk.
    fn gather(&mut self, targets: Option<&Targets>) -> Result<()> {
        self.tell_standing();
        if self.reader.is_full(self.options.limits) {
            return Ok(());
        }
        let wait = self.until_trigger(targets).map_or(POLL_WAIT, |left| left.min(POLL_WAIT));
        let step = match self.reader.read(&mut self.chunk, self.options.limits, wait) {
            Ok(step) => step,
            Err(error) => return self.after_read_error(error),
        };
        if self.reader.is_answered() {
            self.backoff.reset();
            self.watching.note_answer();
        }
        match step {
            Step::Assigned(partitions) => {
                self.drop_open();
                self.settle()?;
                self.stand_at_log(&partitions, false)
            }
            Step::Revoked => {
                self.drop_open();
                self.reader.release()
            }
            Step::Read if self.chunk.is_empty() => Ok(()),
            Step::Read => self.validate_chunk(),
        }
    }

    fn after_read_error(&mut self, error: Error) -> Result<()> {
        if error.kind() == Kind::DataLoss {
            // What was read before the gap is not lost with it: its batch goes the usual way, then reading fails again.
            if self.reader.has_moved() {
                self.cut_short = true;
                return Ok(());
            }
            self.settle()?;
            if self.options.fail_on_data_loss {
                return Err(error);
            }
            tracing::error!(target: "foodstream::consumer", "{}; going on as failOnDataLoss is false", error.report());
            let assigned = self.reader.assigned();
            return self.stand_at_log(&assigned, true);
        }
        let pause = self.backoff.next_pause(error)?;
        self.stop.wait(pause);
        Ok(())
    }

    /// Closes the open batch and gives it to the writer, after the one before has its outcome; unless that
    /// outcome voided it.
    fn hand_over(&mut self) -> Result<()> {
        if let Some(outcome) = self.writer.outcome()?
            && !self.take_outcome(outcome)?
        {
            return Ok(());
        }
        self.check_topic()?;
        let batch = self.cut()?;
        reach(failpoints::INGEST_GATHERED)?;
        self.writer.submit(batch)
    }

    fn cut(&mut self) -> Result<MicroBatch> {
        self.note_trigger();
        let ranges = self.reader.cut();
        self.close_open(ranges)
    }

    fn close_open(&mut self, ranges: Vec<OffsetRange>) -> Result<MicroBatch> {
        self.take_validated()?;
        let mut batch = std::mem::take(&mut self.open);
        self.opened_at = None;
        self.cut_short = false;
        batch.ranges = ranges;
        if let Some(recent) = self.recent()? {
            recent.cut();
        }
        batch.totals = self.totals.of(&batch.accepted)?;
        let Counts { input, accepted, rejected } = batch.counts;
        if input != accepted + rejected {
            return Err(Error::bug(format!("{input} messages became {accepted} rows and {rejected} rejects")));
        }
        if let Some(observer) = &mut self.observer {
            observer.sample(&batch.accepted);
        }
        self.watching.cut();
        Ok(batch)
    }

    /// On a clean stop: what was gathered, or only passed over, is committed (C2).
    fn flush(&mut self) -> Result<()> {
        if self.reader.has_moved() {
            self.hand_over()?;
        }
        self.settle()
    }

    /// Waits for the batch in flight.
    fn settle(&mut self) -> Result<()> {
        match self.writer.outcome()? {
            Some(outcome) => self.take_outcome(outcome).map(|_| ()),
            None => Ok(()),
        }
    }

    fn drop_open(&mut self) {
        // Dropped with the rest; if its thread is gone, the next chunk says so.
        let _ = self.validating.take();
        self.open = MicroBatch::default();
        self.opened_at = None;
        self.cut_short = false;
        self.forget_open_values();
        self.watching.drop_open();
    }

    /// Notes a commit, or goes back to the log after a lost race. True when it was a commit.
    fn take_outcome(&mut self, outcome: Outcome) -> Result<bool> {
        match outcome {
            Outcome::Done(done) => {
                self.note_commit(*done)?;
                Ok(true)
            }
            Outcome::Lost(head) => {
                tracing::warn!(
                    target: "foodstream::consumer",
                    "another worker committed these partitions first; going on from its positions (commit {})",
                    head.number
                );
                self.head = head;
                self.drop_open();
                let assigned = self.reader.assigned();
                self.stand_at_log(&assigned, true)?;
                Ok(false)
            }
        }
    }

    fn note_commit(&mut self, done: Done) -> Result<()> {
        reach(failpoints::INGEST_COMMITTED)?;
        self.head = done.head.clone();
        self.done.batches += u64::from(done.staged.counts.input > 0);
        self.done.files += done.staged.files.len() as u64;
        self.done.counts.input += done.staged.counts.input;
        self.done.counts.accepted += done.staged.counts.accepted;
        self.done.counts.rejected += done.staged.counts.rejected;
        self.done.commit = Some(self.head.number);
        self.done.positions = self.head.positions();
        if let Some(topic) = &self.totals_topic {
            topic.nudge();
        }
        let now = self.clock.now();
        self.tell_commit(&done, now);
        if let Some(observer) = &mut self.observer {
            observer.show(&done, now);
        }
        if let Err(error) = self.reader.publish_offsets(&self.done.positions) {
            tracing::debug!(target: "foodstream::consumer", "group offsets were not published: {}", error.report());
        }
        reach(failpoints::INGEST_OFFSETS_SENT)?;
        self.remember_commit(done.head.number)
    }
}
