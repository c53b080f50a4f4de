//! The validator's memory of accepted values, kept in step with the commit log.
//!
//! Values of the open batch and of the one in flight count as accepted; what is dropped takes its values with it. At a
//! start, whenever reading goes back to the log's positions, and when another worker's commit came before ours, the
//! memory takes in what it lacks of the log. So a message that is read again never meets its own value, and one that
//! was committed by a process that died is known to the next.
//!
//! Another worker's values are known once a commit of ours comes behind theirs: equal values belong into one partition.

use super::Ingest;
use super::writer::Writer;
use crate::broker::{Cluster, GroupConsumer};
use crate::error::Result;
use crate::lake::RecentValues;
use crate::validate::{Recent, STATUS_COLUMN, STATUS_VALID, Validator};

/// Lets the memory take in all commits that it lacks. Nothing is in flight, or what was is committed.
pub(super) fn take_in_log(writer: &mut Writer, validator: &mut Validator) -> Result<()> {
    let Some(column) = validator.unique_column().map(str::to_owned) else { return Ok(()) };
    // Rows that broke a rule lie in the lake too, and claim nothing.
    let only = validator.keeps_invalid().then(|| (STATUS_COLUMN.to_owned(), STATUS_VALID.to_owned()));
    let Some(recent) = validator.recent() else { return Ok(()) };
    let wanted = RecentValues { column, only, after: recent.through(), at_least: recent.horizon() };
    let (recalled, through) = writer.recall(wanted, recent.recall())?;
    recent.take_in(recalled, through);
    Ok(())
}

impl<C: GroupConsumer, K: Cluster> Ingest<C, K> {
    /// The memory, after the chunk under way has left its values in it; `None` where nothing is remembered.
    pub(super) fn recent(&mut self) -> Result<Option<&mut Recent>> {
        if !self.validating.remembers() {
            return Ok(None);
        }
        self.take_validated()?;
        Ok(self.validating.validator()?.recent())
    }

    /// Reading goes back to the log's positions: only what it holds has been accepted.
    pub(super) fn remember_log_only(&mut self) -> Result<()> {
        let Some(recent) = self.recent()? else { return Ok(()) };
        recent.forget_pending();
        let through = recent.through();
        if through == Some(self.head.number) { Ok(()) } else { self.take_in_log() }
    }

    /// The batch in flight became commit `number`.
    pub(super) fn remember_commit(&mut self, number: u64) -> Result<()> {
        let is_next = self.recent()?.is_none_or(|recent| recent.committed(number));
        if is_next { Ok(()) } else { self.take_in_log() }
    }

    fn take_in_log(&mut self) -> Result<()> {
        take_in_log(&mut self.writer, self.validating.validator()?)
    }

    /// Nothing of the open batch is under way any more.
    pub(super) fn forget_open_values(&mut self) {
        if let Ok(validator) = self.validating.validator()
            && let Some(recent) = validator.recent()
        {
            recent.forget_open();
        }
    }
}
