//! Micro-batches one by one, for a caller that looks at each before it is committed.
//!
//! Asking for the next batch commits the current one; whatever else happens leaves it uncommitted, and its messages
//! come again. Above `ingest`, which gathers and commits.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ingest::{Bounds, Each, Ingest, Targets};
use super::progress::Ingested;
use crate::broker::{Cluster, GroupConsumer};
use crate::error::Result;
use crate::model::MicroBatch;

/// The loop's other face: the caller sets the pace.
pub struct Batches<C: GroupConsumer, K: Cluster> {
    pub ingest: Ingest<C, K>,
    /// End offsets of a bounded iteration, asked for at its first batch.
    targets: Option<Option<Targets>>,
    /// The batch in the caller's hands and its serial number.
    current: Option<(u64, MicroBatch)>,
    /// The call of a function for each batch, while it lasts.
    each: Option<Each>,
}

/// Unique in the process: a batch that outlived its session must not pass for one of the next.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A batch as it is handed out: the data is shared with the one that will be committed.
#[derive(Clone, Debug)]
pub struct Handed {
    pub serial: u64,
    /// Number that the commit gets if no other worker commits before.
    pub id: u64,
    pub batch: MicroBatch,
}

impl<C: GroupConsumer, K: Cluster> Batches<C, K> {
    pub fn new(ingest: Ingest<C, K>) -> Self {
        Batches { ingest, targets: None, current: None, each: None }
    }

    /// Commits the current batch and gathers the next; `None` at the end offsets or after a stop.
    pub fn next(&mut self, available_now: bool) -> Result<Option<Handed>> {
        self.commit_current()?;
        let targets = match self.targets.take() {
            Some(targets) => targets,
            None => self.ingest.targets(Bounds { available_now, ..Bounds::default() })?,
        };
        let next = self.ingest.next_batch(targets.as_ref(), None);
        self.targets = Some(targets);
        Ok(next?.map(|batch| self.hand(batch)))
    }

    fn hand(&mut self, batch: MicroBatch) -> Handed {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        self.current = Some((serial, batch.clone()));
        Handed { serial, id: self.ingest.head().number + 1, batch }
    }

    /// Calls the function with each batch before its commit (protocol C5).
    ///
    /// The batch is planned: it has an id in `batch.plan`, and whatever becomes of this process, its offsets are
    /// handed out with this id and these rows only, until they are in the lake. An error of the function leaves the
    /// batch uncommitted and is returned; the next call begins with it.
    pub fn for_each(&mut self, bounds: Bounds, mut function: impl FnMut(&Handed) -> Result<()>) -> Result<Ingested> {
        self.begin_each(bounds)?;
        while let Some(handed) = self.next_each()? {
            function(&handed)?;
            self.commit(handed.serial)?;
        }
        Ok(self.end_each())
    }

    /// [`Batches::for_each`] for a caller that has to leave this object between two steps: `begin_each`, then
    /// `next_each` and `commit` by turns, then `end_each`.
    pub fn begin_each(&mut self, bounds: Bounds) -> Result<()> {
        self.restart()?;
        self.each = Some(self.ingest.begin_each(bounds)?);
        Ok(())
    }

    /// The next planned batch; one that was handed out before and not committed is given up and comes again.
    /// `None` at the bounds or after a stop.
    pub fn next_each(&mut self) -> Result<Option<Handed>> {
        self.current = None;
        let Some(each) = &self.each else { return Ok(None) };
        Ok(self.ingest.next_each(each)?.map(|batch| self.hand(batch)))
    }

    /// What the call has done so far.
    pub fn done_each(&self) -> Ingested {
        self.each.as_ref().map(|each| self.ingest.done_in(each)).unwrap_or_default()
    }

    /// The end of the call, and what it has done.
    pub fn end_each(&mut self) -> Ingested {
        let done = self.done_each();
        self.each = None;
        done
    }

    /// Commits the batch with this serial number. `None`: it is no longer the current one. False: another worker
    /// took its partitions, and what it held comes again, to whoever has them now.
    pub fn commit(&mut self, serial: u64) -> Result<Option<bool>> {
        match &self.current {
            Some((current, _)) if *current == serial => self.commit_current().map(Some),
            _ => Ok(None),
        }
    }

    /// Commits the current batch, if there is one, and begins no other.
    pub fn finish(&mut self) -> Result<()> {
        self.commit_current().map(drop)
    }

    /// Begins anew at the log's positions.
    pub fn restart(&mut self) -> Result<()> {
        self.targets = None;
        if self.current.take().is_some() { self.ingest.rewind() } else { Ok(()) }
    }

    fn commit_current(&mut self) -> Result<bool> {
        match self.current.take() {
            Some((_, batch)) => self.ingest.commit(batch),
            None => Ok(true),
        }
    }
}

impl<C: GroupConsumer, K: Cluster> Drop for Batches<C, K> {
    fn drop(&mut self) {
        if let Err(error) = self.ingest.close() {
            tracing::warn!(target: "foodstream::consumer", "leaving the group: {}", error.report());
        }
    }
}
