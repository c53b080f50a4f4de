//! Where a bounded run ends: at the offsets that were the ends when it began, in the log, whoever brought them there (C3).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::broker::{self, Cluster, GroupConsumer};
use crate::error::{Error, Kind, Result};
use crate::pipeline::retry::{Backoff, until_ok};

use super::{Bounds, Ingest, positions};

/// How often a bounded run looks at the log for partitions that other workers hold.
const HEAD_EVERY: Duration = Duration::from_millis(500);

/// Offsets that a bounded run has to reach, by partition.
pub type Targets = BTreeMap<i32, i64>;

/// When a bounded run last came nearer to its targets, and when it last looked at the log.
#[derive(Debug)]
pub(super) struct Watch {
    last_moved: Instant,
    looked: Instant,
    /// Offsets covered so far. What flows in behind the targets does not count: it may never end.
    covered: i64,
}

impl Watch {
    pub fn new(now: Instant) -> Self {
        Watch { last_moved: now, looked: now, covered: 0 }
    }
}

impl<C: GroupConsumer, K: Cluster> Ingest<C, K> {
    /// The end offsets that a bounded run has to reach, READ_UNCOMMITTED; `None` for an unbounded one.
    ///
    /// # Errors
    /// `DataLoss` where the lake is past an end: there would be nothing to reach, and the loss would go unnoticed.
    pub fn targets(&mut self, bounds: Bounds) -> Result<Option<Targets>> {
        self.ends = None;
        if !bounds.available_now {
            return Ok(None);
        }
        let Self { cluster, options, stop, .. } = self;
        let ends = until_ok(Backoff::new(&options.retry, true, &options.monitor), stop, || {
            cluster.bounds(&options.topic.name)
        })?;
        for bound in &ends {
            if let Some(&position) = self.head.positions.get(&bound.partition) {
                positions::refuse_truncated(&self.options.topic.name, bound, position)?;
            }
        }
        // A partition that came later and whose messages have all expired: reading it from its earliest message moves no
        // position, so the log would never know of it.
        let nothing_to_read =
            |bound: &broker::Bounds| bound.earliest == bound.end && !self.head.positions.contains_key(&bound.partition);
        let wanted = ends.into_iter().filter(|bound| !nothing_to_read(bound));
        self.ends = Some(wanted.map(|bound| (bound.partition, bound.end)).collect());
        Ok(self.ends.clone())
    }

    /// Offsets between the log and the ends of a bounded call.
    pub(super) fn behind(&self) -> Option<u64> {
        let behind = |(partition, end): (&i32, &i64)| {
            let logged = self.head.positions.get(partition).copied().unwrap_or(0);
            u64::try_from(end - logged).unwrap_or(0)
        };
        self.ends.as_ref().map(|ends| ends.iter().map(behind).sum())
    }

    /// Every assigned partition was read up to its target.
    pub(super) fn at_targets(&self, targets: &Targets) -> bool {
        self.reader.positions().iter().all(|at| targets.get(&at.partition).is_none_or(|&target| at.offset >= target))
    }

    /// The open batch is the one that brings the log to the targets of the assigned partitions. Once it is there, what
    /// flows in behind them waits for its trigger as always.
    pub(super) fn completes(&self, targets: &Targets) -> bool {
        let logged = |partition| self.head.positions.get(partition).copied().unwrap_or(0);
        self.at_targets(targets)
            && self.reader.assigned().iter().any(|own| targets.get(own).is_some_and(|&target| logged(own) < target))
    }

    /// The log, whoever wrote it, has reached all targets.
    ///
    /// # Errors
    /// `Broker`, retriable, when nothing came nearer to them for `once_wait`.
    pub(super) fn reached(&mut self, targets: &Targets, watch: &mut Watch) -> Result<bool> {
        let now = self.clock.instant();
        if !self.writer.in_flight() && now.duration_since(watch.looked) >= HEAD_EVERY {
            watch.looked = now;
            self.look_at_log()?;
        }
        let Some((&partition, &target)) = targets
            .iter()
            .find(|&(partition, &target)| self.head.positions.get(partition).is_none_or(|&position| position < target))
        else {
            return Ok(true);
        };
        let covered = self.covered(targets);
        if covered != watch.covered {
            watch.covered = covered;
            watch.last_moved = now;
        }
        if now.duration_since(watch.last_moved) < self.options.once_wait {
            return Ok(false);
        }
        Err(self.stuck(partition, target))
    }

    fn stuck(&self, partition: i32, target: i64) -> Error {
        let position = self.head.positions.get(&partition).copied().unwrap_or(0);
        let topic = &self.options.topic.name;
        let waited = self.options.once_wait.as_secs();
        let holder = if self.reader.assigned().contains(&partition) {
            "an open transaction of a producer holds the rest back; the broker may have forgotten one that stays for \
             minutes: see `kafka-transactions.sh find-hanging`"
        } else {
            "another member of the consumer group holds the partition, or the group gives it to nobody"
        };
        let message =
            format!("nothing moved for {waited} s: {topic}/{partition} stands at {position} of {target}; {holder}");
        Error::new(Kind::Broker, message).retriable()
    }

    /// Offsets below the targets that are in the log, and those that were read.
    fn covered(&self, targets: &Targets) -> i64 {
        let below = |partition: &i32, position: i64| targets.get(partition).map_or(0, |&target| position.min(target));
        let read = self.reader.positions().into_iter().map(|at| below(&at.partition, at.offset));
        let logged = self.head.positions.iter().map(|(partition, &position)| below(partition, position));
        read.chain(logged).sum()
    }

    fn look_at_log(&mut self) -> Result<()> {
        if let Some(head) = self.writer.head()?
            && head.number != self.head.number
        {
            self.done.commit = Some(head.number);
            self.head = head;
        }
        Ok(())
    }
}
