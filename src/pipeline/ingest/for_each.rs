//! A function for each batch, before its commit: planned, handed out, committed, and replayed after a crash (C5).
//!
//! ```text
//! gather ─▶ cut ─▶ plan (durable) ─▶ the function ─▶ commit under the plan's id
//!                    ▲ a kill, an error or a rebalance behind this point: replay
//! plan of our partitions at the log's positions ─▶ read exactly from..to ─▶ the function ─▶ commit
//! ```
//! A replay reads past the group: a plan may cover partitions that another worker holds by now, and no limit of a
//! batch applies to it. If two workers replay one plan, both hand out the same rows under the same id and one of
//! them commits. The promise ends where something plans nothing: a plain run commits planned offsets with a warning.

use std::time::{Duration, Instant};

use super::targets::Watch;
use super::{Bounds, Ingest, Targets, positions};
use crate::broker::{Cluster, GroupConsumer};
use crate::consume::CHUNK_MESSAGES;
use crate::error::{Error, Kind, Lost, Result};
use crate::lake::{Plan, Planned};
use crate::model::{MicroBatch, OffsetRange};
use crate::pipeline::progress::Ingested;
use crate::pipeline::retry::until_ok;

/// Longest wait for the next message of a plan: all of them are there, so only a broker that is away takes longer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// One call: its bounds, and where it began.
#[derive(Debug)]
pub struct Each {
    bounds: Bounds,
    targets: Option<Targets>,
    begun: Instant,
    before: Ingested,
}

impl<C: GroupConsumer, K: Cluster> Ingest<C, K> {
    /// Begins at the log's positions, with the end offsets of a bounded call.
    pub fn begin_each(&mut self, bounds: Bounds) -> Result<Each> {
        let (begun, before) = (self.clock.instant(), self.done.clone());
        self.begin(bounds.is_bounded())?;
        self.each = true;
        // For the plans: they are looked for where reading begins.
        self.astray = true;
        let targets = self.targets(bounds)?;
        Ok(Each { bounds, targets, begun, before })
    }

    /// The next planned batch with messages, for a caller that acts on it and then calls [`Ingest::commit`]. One that
    /// it does not commit comes again. `None` when the bounds are reached or a stop was requested: what is gathered
    /// when the time is over is handed out before, what is gathered at a stop is read again.
    pub fn next_each(&mut self, each: &Each) -> Result<Option<MicroBatch>> {
        match self.next_each_until(each) {
            Err(error) if error.kind() == Kind::Interrupted => Ok(None),
            result => result.inspect_err(|_| self.astray = true),
        }
    }

    pub fn done_in(&self, each: &Each) -> Ingested {
        self.done_since(&each.before, each.begun)
    }

    fn next_each_until(&mut self, each: &Each) -> Result<Option<MicroBatch>> {
        let Each { bounds, targets, begun, before } = each;
        let mut watch = Watch::new(self.clock.instant());
        loop {
            if self.astray {
                self.rewind()?;
            }
            let full = bounds.max_batches.is_some_and(|limit| self.done.batches - before.batches >= limit);
            let over = bounds.timeout.is_some_and(|limit| self.clock.instant().duration_since(*begun) >= limit);
            if self.stop.is_requested() || full || (over && !self.reader.has_moved()) {
                return Ok(None);
            }
            if let Some(targets) = targets
                && self.reached(targets, &mut watch)?
            {
                return Ok(None);
            }
            let batch = match self.due.take() {
                Some(plan) => self.replay(&plan)?,
                None if over => self.plan_open()?,
                None => {
                    self.gather(targets.as_ref())?;
                    if self.is_complete(targets.as_ref()) { self.plan_open()? } else { None }
                }
            };
            // A batch that only moved past control records is planned too, since every commit here must be, but
            // there is nothing in it to act on.
            match batch {
                Some(batch) if batch.counts.input > 0 => {
                    self.astray = true;
                    return Ok(Some(batch));
                }
                Some(batch) => drop(self.commit(batch)?),
                None => {}
            }
        }
    }

    /// Notes the plan that is to be replayed first, among those at the log's positions that touch these partitions.
    pub(super) fn look_for_plans(&mut self, partitions: &[i32]) -> Result<()> {
        let mut plans = self.writer.plans()?.into_iter().filter(|plan| plan.touches(partitions.iter().copied()));
        if self.each {
            self.due = plans.next();
            return Ok(());
        }
        self.due = None;
        for plan in plans {
            tracing::warn!(
                target: "foodstream::consumer",
                "batch {} of for_each_batch was begun and not committed; this run commits its offsets in batches of its \
                 own, so for_each_batch will not come back to it",
                plan.id
            );
        }
        Ok(())
    }

    /// Cuts the open batch and plans it. `None`: another plan comes first, or another worker was faster, and reading
    /// goes back to the log.
    fn plan_open(&mut self) -> Result<Option<MicroBatch>> {
        let batch = self.cut()?;
        match self.writer.plan(batch.ranges.clone())? {
            Planned::Done(plan) => Ok(Some(MicroBatch { plan: Some(plan.id), ..batch })),
            Planned::Taken(plan) => {
                tracing::info!(target: "foodstream::consumer", "batch {} was begun for these offsets before", plan.id);
                self.astray = true;
                Ok(None)
            }
            Planned::Lost(head) => {
                tracing::warn!(
                    target: "foodstream::consumer",
                    "another worker committed these partitions first; going on from its positions (commit {})",
                    head.number
                );
                self.astray = true;
                Ok(None)
            }
        }
    }

    /// The batch of a plan, read again. `None`: it was committed or overtaken meanwhile.
    fn replay(&mut self, plan: &Plan) -> Result<Option<MicroBatch>> {
        let (stop, backoff) = (self.stop.clone(), self.new_backoff());
        until_ok(backoff, &stop, || self.read_plan(plan))?;
        let batch = self.close_open(plan.ranges.clone())?;
        if !self.writer.plans()?.contains(plan) {
            self.astray = true;
            return Ok(None);
        }
        tracing::info!(
            target: "foodstream::consumer",
            "batch {} was begun and not committed: its {} messages come again",
            plan.id, batch.counts.input
        );
        Ok(Some(MicroBatch { plan: Some(plan.id.clone()), ..batch }))
    }

    /// Reads the plan's ranges into the open batch, whoever is assigned their partitions.
    fn read_plan(&mut self, plan: &Plan) -> Result<()> {
        self.drop_open();
        positions::same_topic(&self.describe_topic()?, &self.head)?;
        let bounds = self.cluster.bounds(&self.options.topic.name)?;
        for range in &plan.ranges {
            let bound = bounds.iter().find(|bound| bound.partition == range.partition);
            let bound = bound.ok_or_else(|| self.partition_gone(range))?;
            positions::refuse_truncated(&self.options.topic.name, bound, range.to)?;
            let from = self.within(bound, range.from)?.min(range.to);
            if from > range.from {
                self.open.lost.push(OffsetRange { to: from, ..*range });
            }
            self.read_range(OffsetRange { from, ..*range })?;
        }
        Ok(())
    }

    fn read_range(&mut self, range: OffsetRange) -> Result<()> {
        let mut from = range.from;
        while from < range.to {
            self.stop.check()?;
            let to = range.to.min(from + CHUNK_MESSAGES as i64);
            self.chunk.clear();
            let Self { cluster, chunk, options, .. } = self;
            cluster.read_committed(&options.topic.name, range.partition, from, to, READ_TIMEOUT, &mut |message| {
                chunk.push(message);
                Ok(())
            })?;
            if !self.chunk.is_empty() {
                self.validate_chunk()?;
            }
            from = to;
        }
        Ok(())
    }

    fn partition_gone(&self, range: &OffsetRange) -> Error {
        let topic = &self.options.topic.name;
        let OffsetRange { partition, from, to } = range;
        Error::data_loss(
            Lost::offsets(topic, *partition, *from, Some(*to)),
            format!("{topic} has no partition {partition} any more: offsets [{from}, {to}) are gone"),
        )
    }
}
