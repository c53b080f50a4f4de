//! Ingest: topic to lake, exactly once, micro-batch by micro-batch.
//!
//! ```text
//! Reader ─chunk→ Validator ─rows, rejects→ the open batch ─(full, or its trigger is over)→ Writer thread ─→ commit
//!   ▲                                                                                         │
//!   └───────────── positions of the log, when it was assigned partitions or lost a race ◀─────┘
//! ```
//! Positions come from the commit log alone (protocols C1); the group's offsets follow for lag tools. An open
//! batch is dropped, never half committed, when partitions move. Below: `consume`, `validate`, `lake`.

mod positions;
mod report;
mod watch;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;

use crate::aggregate::DailyTotals;
use crate::broker::{Cluster, GroupConsumer, TopicSpec};
use crate::clock::Clock;
use crate::config;
use crate::consume::{Limits, Reader, Step};
use crate::error::{Error, Kind, Result};
use crate::lake::{Head, Lake};
use crate::model::{Counts, MessageBatch, MicroBatch};
use crate::validate::Validator;

use super::progress::{Ingested, Reports};
use super::retry::Backoff;
use super::shutdown::Stop;
use watch::Watch;
use writer::{Done, Outcome, Writer};

/// Longest wait inside one poll: a stop request is noticed within it.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// How often a bounded run looks at the log for partitions that other workers hold.
const HEAD_EVERY: Duration = Duration::from_millis(500);

/// What a run is told beside its parts.
#[derive(Clone, Debug)]
pub struct Options {
    pub topic: TopicSpec,
    pub limits: Limits,
    /// Longest time a batch stays open after its first message.
    pub trigger: Duration,
    pub starting_offsets: config::StartingOffsets,
    pub fail_on_data_loss: bool,
    pub retry: config::Retry,
    /// How long a bounded run waits while nothing moves.
    pub once_wait: Duration,
    pub run_id: String,
    /// The lake's root, for log lines.
    pub lake_path: std::path::PathBuf,
}

/// When a run ends by itself. All `None`: only a stop ends it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Ends at the end offsets seen at its start.
    pub available_now: bool,
    pub max_batches: Option<u64>,
    pub timeout: Option<Duration>,
}

/// The consumer's loop and everything it owns.
pub struct Ingest<C, K> {
    reader: Reader<C>,
    cluster: K,
    writer: Writer,
    validator: Validator,
    totals: DailyTotals,
    options: Options,
    stop: Stop,
    clock: Arc<dyn Clock>,
    reports: Reports,
    head: Head,
    chunk: MessageBatch,
    open: MicroBatch,
    opened_at: Option<Instant>,
    backoff: Backoff,
    /// A bounded run gives up on services that are away; any other waits.
    bounded: bool,
    done: Ingested,
    unknown_keys: u64,
}

/// The parts an [`Ingest`] is made of.
pub struct Parts<C, K, L> {
    pub consumer: C,
    pub cluster: K,
    pub lake: L,
    pub validator: Validator,
    pub clock: Arc<dyn Clock>,
}

/// Offsets that a bounded run has to reach, by partition.
pub type Targets = BTreeMap<i32, i64>;

impl<C: GroupConsumer, K: Cluster> Ingest<C, K> {
    /// Creates a missing topic, founds the lake where there is none, and joins the group. Reads nothing yet.
    /// Blocks; a bounded run gives up on services that are away after `retry.start_timeout_sec`.
    pub fn open(parts: Parts<C, K, impl Lake + 'static>, options: Options, bounded: bool, stop: Stop) -> Result<Self> {
        let Parts { consumer, mut cluster, lake, validator, clock } = parts;
        let mut writer = Writer::spawn(lake)?;
        let backoff = || Backoff::new(&options.retry, bounded);
        let head = super::retry::until_ok(backoff(), &stop, || {
            positions::found_or_continue(&mut cluster, &mut writer, &options)
        })?;
        let totals = DailyTotals::new(&validator.lake_schema());
        Ok(Ingest {
            reader: Reader::new(consumer),
            cluster,
            writer,
            validator,
            totals,
            backoff: backoff(),
            bounded,
            stop,
            clock,
            reports: Reports::default(),
            done: Ingested { commit: Some(head.number), positions: head.positions(), ..Ingested::default() },
            head,
            chunk: MessageBatch::default(),
            open: MicroBatch::default(),
            opened_at: None,
            options,
            unknown_keys: 0,
        })
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
        self.validator.lake_schema()
    }

    /// Schema of rejects, also where a batch has none.
    pub fn quarantine_schema(&self) -> SchemaRef {
        self.validator.quarantine_schema()
    }

    /// Straight to the lake: gathers one batch while the last one is committed.
    ///
    /// Returns what this call did. A stop request is a normal end: the open batch is committed first.
    pub fn run(&mut self, bounds: Bounds) -> Result<Ingested> {
        let begun = self.clock.instant();
        let before = self.done.clone();
        let result = self.run_until(bounds, begun);
        let settled = self.settle();
        result?;
        settled?;
        let now = &self.done;
        Ok(Ingested {
            batches: now.batches - before.batches,
            files: now.files - before.files,
            counts: Counts {
                input: now.counts.input - before.counts.input,
                accepted: now.counts.accepted - before.counts.accepted,
                rejected: now.counts.rejected - before.counts.rejected,
            },
            seconds: self.clock.instant().duration_since(begun).as_secs_f64(),
            ..now.clone()
        })
    }

    fn run_until(&mut self, bounds: Bounds, begun: Instant) -> Result<()> {
        let targets = self.targets(bounds)?;
        let mut watch = Watch::new(begun);
        let mut submitted = 0;
        loop {
            if let Some(outcome) = self.writer.try_outcome()? {
                self.take_outcome(outcome)?;
                watch.moved(self.clock.instant());
            }
            let over = bounds.timeout.is_some_and(|limit| self.clock.instant().duration_since(begun) >= limit);
            if self.stop.is_requested() || over {
                return self.flush();
            }
            if bounds.max_batches.is_some_and(|limit| submitted >= limit) {
                return self.settle();
            }
            if let Some(targets) = &targets
                && self.reached(targets, &mut watch)?
            {
                return Ok(());
            }
            if self.gather(targets.as_ref())? {
                watch.moved(self.clock.instant());
            }
            if self.is_complete(targets.as_ref()) {
                submitted += u64::from(self.hand_over()?);
            }
        }
    }

    /// The next micro-batch, for a caller that commits it itself with [`Ingest::commit`].
    /// `None` when the bounds are reached or a stop was requested; an uncommitted batch is read again.
    pub fn next_batch(
        &mut self,
        targets: Option<&BTreeMap<i32, i64>>,
        timeout: Option<Duration>,
    ) -> Result<Option<MicroBatch>> {
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
            if self.gather(targets)? {
                watch.moved(self.clock.instant());
            }
            if self.is_complete(targets) {
                let batch = self.cut()?;
                if batch.counts.input > 0 {
                    return Ok(Some(batch));
                }
                self.commit(batch)?;
            }
        }
    }

    /// Commits a batch that `next_batch` returned; false when another worker took its partitions meanwhile.
    pub fn commit(&mut self, batch: MicroBatch) -> Result<bool> {
        self.check_topic()?;
        self.writer.submit(batch)?;
        match self.writer.outcome()? {
            Some(outcome) => self.take_outcome(outcome),
            None => Err(Error::bug("a submitted batch has no outcome")),
        }
    }

    /// Drops what was gathered or handed out and not committed; reading goes on from the log's positions.
    pub fn rewind(&mut self) -> Result<()> {
        self.settle()?;
        self.drop_open();
        let assigned = self.reader.assigned();
        if assigned.is_empty() { Ok(()) } else { self.stand_at_log(&assigned, true) }
    }

    /// The end offsets that a bounded run has to reach (C3); `None` for an unbounded one.
    pub fn targets(&mut self, bounds: Bounds) -> Result<Option<Targets>> {
        if !bounds.available_now {
            return Ok(None);
        }
        let Self { cluster, options, stop, .. } = self;
        let ends =
            super::retry::until_ok(Backoff::new(&options.retry, true), stop, || cluster.bounds(&options.topic.name))?;
        Ok(Some(ends.into_iter().map(|bound| (bound.partition, bound.end)).collect()))
    }

    /// Leaves the group after settling what is under way.
    pub fn close(&mut self) -> Result<()> {
        let settled = self.settle();
        self.reader.close();
        settled
    }

    /// Reads and validates one chunk. True when something was read.
    fn gather(&mut self, targets: Option<&Targets>) -> Result<bool> {
        if self.reader.is_full(self.options.limits) {
            return Ok(false);
        }
        let wait = self.wait(targets);
        let step = match self.reader.read(&mut self.chunk, self.options.limits, wait) {
            Ok(step) => step,
            Err(error) => return self.after_read_error(error).map(|()| false),
        };
        match step {
            Step::Assigned(partitions) => {
                self.drop_open();
                self.settle()?;
                self.stand_at_log(&partitions, false)?;
                Ok(true)
            }
            Step::Revoked => {
                self.drop_open();
                self.reader.release()?;
                Ok(true)
            }
            Step::Read if self.chunk.is_empty() => Ok(false),
            Step::Read => {
                self.backoff.reset();
                self.validate_chunk().map(|()| true)
            }
        }
    }

    fn wait(&self, targets: Option<&Targets>) -> Duration {
        let until_trigger = self.opened_at.map_or(POLL_WAIT, |opened| {
            self.options.trigger.saturating_sub(self.clock.instant().duration_since(opened))
        });
        match targets {
            Some(targets) if self.at_targets(targets) => Duration::ZERO,
            _ => until_trigger.min(POLL_WAIT),
        }
    }

    fn validate_chunk(&mut self) -> Result<()> {
        let validated = self.validator.validate(&self.chunk)?;
        self.opened_at.get_or_insert_with(|| self.clock.instant());
        self.open.counts.input += validated.counts.input;
        self.open.counts.accepted += validated.counts.accepted;
        self.open.counts.rejected += validated.counts.rejected;
        self.open.accepted.extend(validated.accepted);
        self.open.rejected.extend(validated.rejected);
        if validated.unknown_keys > 0 && self.unknown_keys == 0 {
            tracing::warn!(
                target: "foodstream::consumer",
                "messages hold keys that the schema does not know; they are left out and counted"
            );
        }
        self.unknown_keys += validated.unknown_keys;
        Ok(())
    }

    fn after_read_error(&mut self, error: Error) -> Result<()> {
        if error.kind() == Kind::DataLoss && !self.options.fail_on_data_loss {
            tracing::error!(target: "foodstream::consumer", "{}; going on as failOnDataLoss is false", error.report());
            self.drop_open();
            self.settle()?;
            let assigned = self.reader.assigned();
            return self.stand_at_log(&assigned, true);
        }
        let pause = self.backoff.next_pause(error)?;
        self.stop.wait(pause);
        Ok(())
    }

    /// The open batch is full, its trigger is over, or a bounded run's targets are reached.
    /// At idle a batch that only moved past control records is complete too (C2).
    fn is_complete(&self, targets: Option<&Targets>) -> bool {
        if self.reader.is_full(self.options.limits) {
            return true;
        }
        if !self.reader.has_moved() {
            return false;
        }
        let waited = self.opened_at.map(|opened| self.clock.instant().duration_since(opened));
        match waited {
            Some(waited) => waited >= self.options.trigger || targets.is_some_and(|targets| self.at_targets(targets)),
            None => self.reader.at_end(),
        }
    }

    /// Every assigned partition was read up to its target.
    fn at_targets(&self, targets: &Targets) -> bool {
        self.reader.positions().iter().all(|at| targets.get(&at.partition).is_none_or(|&target| at.offset >= target))
    }

    /// The log, whoever wrote it, has reached all targets (C3).
    fn reached(&mut self, targets: &Targets, watch: &mut Watch) -> Result<bool> {
        let now = self.clock.instant();
        if !self.writer.in_flight() && now.duration_since(watch.looked) >= HEAD_EVERY {
            watch.looked = now;
            self.look_at_log(watch)?;
        }
        let missing = targets.iter().find(|&(partition, &target)| {
            target > 0 && self.head.positions.get(partition).is_none_or(|&position| position < target)
        });
        let Some((&partition, &target)) = missing else { return Ok(true) };
        if now.duration_since(watch.last_moved) < self.options.once_wait {
            return Ok(false);
        }
        let position = self.head.positions.get(&partition).copied().unwrap_or(0);
        let topic = &self.options.topic.name;
        let waited = self.options.once_wait.as_secs();
        let holder = if self.reader.assigned().contains(&partition) {
            "an open transaction of a producer holds the rest back"
        } else {
            "another member of the consumer group holds the partition, or the group gives it to nobody"
        };
        let message =
            format!("nothing moved for {waited} s: {topic}/{partition} stands at {position} of {target}; {holder}");
        Err(Error::new(Kind::Broker, message).retriable())
    }

    fn look_at_log(&mut self, watch: &mut Watch) -> Result<()> {
        if let Some(head) = self.writer.head()?
            && head.number != self.head.number
        {
            watch.moved(self.clock.instant());
            self.done.commit = Some(head.number);
            self.head = head;
        }
        Ok(())
    }

    /// Closes the open batch and gives it to the writer, after the one before has its outcome.
    /// False when that outcome voided it.
    fn hand_over(&mut self) -> Result<bool> {
        if let Some(outcome) = self.writer.outcome()?
            && !self.take_outcome(outcome)?
        {
            return Ok(false);
        }
        self.check_topic()?;
        let batch = self.cut()?;
        self.writer.submit(batch)?;
        Ok(true)
    }

    fn cut(&mut self) -> Result<MicroBatch> {
        let mut batch = std::mem::take(&mut self.open);
        self.opened_at = None;
        batch.ranges = self.reader.cut();
        batch.totals = self.totals.of(&batch.accepted)?;
        let Counts { input, accepted, rejected } = batch.counts;
        if input != accepted + rejected {
            return Err(Error::bug(format!("{input} messages became {accepted} rows and {rejected} rejects")));
        }
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
        self.open = MicroBatch::default();
        self.opened_at = None;
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
        self.head = done.head.clone();
        self.done.batches += 1;
        self.done.files += done.staged.files.len() as u64;
        self.done.counts.input += done.staged.counts.input;
        self.done.counts.accepted += done.staged.counts.accepted;
        self.done.counts.rejected += done.staged.counts.rejected;
        self.done.commit = Some(self.head.number);
        self.done.positions = self.head.positions();
        report::commit(&self.options, &done, &self.reports, self.clock.now());
        if let Err(error) = self.reader.publish_offsets(&self.done.positions) {
            tracing::debug!(target: "foodstream::consumer", "group offsets were not published: {}", error.report());
        }
        Ok(())
    }
}
