//! When the open batch is complete: full, one trigger after the one before it, or at a bounded run's targets.

use std::time::{Duration, Instant};

use super::Ingest;
use super::targets::Targets;
use crate::broker::{Cluster, GroupConsumer};

impl<C: GroupConsumer, K: Cluster> Ingest<C, K> {
    /// The open batch is full or cut short, its trigger is over, or a bounded run's targets are reached.
    /// At idle a batch that only moved past control records is complete too (C2).
    pub(super) fn is_complete(&self, targets: Option<&Targets>) -> bool {
        if self.cut_short || self.reader.is_full(self.options.limits) {
            return true;
        }
        if !self.reader.has_moved() {
            return false;
        }
        match self.until_trigger(targets) {
            Some(left) => left.is_zero() || targets.is_some_and(|targets| self.completes(targets)),
            None => self.reader.at_end(),
        }
    }

    /// How long the open batch may still grow. `None` while it has no message.
    pub(super) fn until_trigger(&self, targets: Option<&Targets>) -> Option<Duration> {
        Some(self.due(targets)?.saturating_duration_since(self.clock.instant()))
    }

    /// One trigger after the batch before was due, as Spark counts it; on the way to a bounded run's targets, where
    /// nothing is waited for, one after the first message.
    fn due(&self, targets: Option<&Targets>) -> Option<Instant> {
        let (opened, trigger) = (self.opened_at?, self.options.trigger);
        let settled = opened + if targets.is_some() { trigger } else { self.settling() };
        Some(self.triggered_at.map_or(settled, |last| settled.max(last + trigger)))
    }

    /// The open batch ends now. A full one puts nothing off: what is left of a backlog would wait for a trigger after
    /// all the rest was read. The next is counted from when this one was due, not from when it ended: each would be a
    /// little later than the one before, away from a poll of the same interval that it follows. And a batch that had all
    /// its messages earlier counts from there: after one late poll all others would wait as long.
    pub(super) fn note_trigger(&mut self) {
        if self.reader.is_full(self.options.limits) {
            return;
        }
        if let (Some(due), Some(grown)) = (self.due(None), self.grown_at) {
            self.triggered_at = Some(due.min(grown + self.settling()).min(self.clock.instant()));
        }
    }

    fn settling(&self) -> Duration {
        self.options.settle.min(self.options.trigger)
    }
}
