//! When the open batch is complete: full, one trigger after the one before it, or at a bounded run's targets.

use std::time::Duration;

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

    /// How long the open batch may still grow: to one trigger after the batch before was closed, as Spark counts it;
    /// on the way to a bounded run's targets, where nothing is waited for, to one after its first message.
    /// `None` while it has no message.
    pub(super) fn until_trigger(&self, targets: Option<&Targets>) -> Option<Duration> {
        let (opened, trigger) = (self.opened_at?, self.options.trigger);
        let settle = if targets.is_some() { trigger } else { self.options.settle.min(trigger) };
        let settled = opened + settle;
        let due = self.closed_at.map_or(settled, |closed| settled.max(closed + trigger));
        Some(due.saturating_duration_since(self.clock.instant()))
    }
}
