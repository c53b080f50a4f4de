//! Totals read out of the log: whole, for a table; and what changed, for a topic that follows the log.
//!
//! ```text
//! <checkpoint>/totals-topic/lock         flock; its holder is the one worker that publishes
//! <checkpoint>/totals-topic/published    up to which record everything is known to be published; a copy, may be lost
//! ```
//! Publishing follows the log and never leads it, so a lost or old mark repeats whole groups, which changes nothing,
//! and skips none. Below: the commit log. Above: `pipeline::totals_topic`, `tools`.

use std::fs::{File, TryLockError};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::commit_log::Log;
use super::durable::{Dir, failed};
use super::record::{self, VERSION};
use super::state::State;
use crate::error::{Error, Result};
use crate::model::{Aggregation, DataType, Totals};

const FOLDER: &str = "totals-topic";
const LOCK: &str = "lock";
const MARK: &str = "published";
/// The mark before it has its name. Only the lock's holder writes it.
const NEW_MARK: &str = "published.new";

/// The totals of a lake, as its log has them.
#[derive(Clone, Debug)]
pub struct TotalsLog {
    /// The last commit.
    pub number: u64,
    pub committed_at: DateTime<Utc>,
    /// As pinned by commit 0.
    pub definition: Aggregation,
    /// Name and type of the pinned columns.
    pub columns: Vec<(String, DataType)>,
    pub totals: Totals,
}

impl TotalsLog {
    /// Reads the log alone; writes nothing. `None` where no lake has been founded.
    pub fn read(checkpoint: &Path) -> Result<Option<TotalsLog>> {
        let state = match Log::find(checkpoint)? {
            Some(log) => log.load()?,
            None => None,
        };
        let Some(State { head, pin, last, .. }) = state else { return Ok(None) };
        let typed = pin.columns.into_iter().map(|column| {
            let data_type = column.data_type.parse::<DataType>();
            data_type.map(|data_type| (column.name, data_type)).map_err(Error::bug)
        });
        Ok(Some(TotalsLog {
            number: head.number,
            committed_at: last.committed_at,
            definition: pin.aggregate,
            columns: typed.collect::<Result<_>>()?,
            totals: head.totals,
        }))
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    version: u32,
    number: u64,
    /// Of that record: a log that was rebuilt is another one.
    hash: String,
}

/// Groups that changed since the mark, whole, as they are at record `number`.
#[derive(Clone, Debug)]
pub struct Changes {
    pub number: u64,
    pub definition: Aggregation,
    pub totals: Totals,
}

/// Follows a log for a topic. Of several on one log, in one or many processes, one holds the lock at a time.
#[derive(Debug)]
pub struct TotalsFollower {
    log: Log,
    folder: Dir,
    /// Holds the lock by living.
    lock: Option<File>,
    state: Option<State>,
    /// Changed and not yet published.
    pending: Totals,
    /// The record of the mark on disk.
    marked: Option<u64>,
}

impl TotalsFollower {
    /// Makes the folder; takes no lock yet.
    pub fn open(checkpoint: &Path) -> Result<TotalsFollower> {
        let log = Log::create(checkpoint)?;
        let folder = log.checkpoint().make(FOLDER)?;
        let (lock, state, pending, marked) = (None, None, Totals::default(), None);
        Ok(TotalsFollower { log, folder, lock, state, pending, marked })
    }

    /// The uuid of the lake; `None` before it is founded.
    pub fn lake(&self) -> Result<Option<String>> {
        Ok(self.log.read(0)?.map(|(record, _)| record.lake))
    }

    /// Whether this one publishes. A holder that ended, however it ended, has given the lock back.
    pub fn claim(&mut self) -> Result<bool> {
        if self.lock.is_some() {
            return Ok(true);
        }
        let file = match self.folder.open_file(LOCK)? {
            Some(file) => file,
            None => match self.folder.create(LOCK) {
                Ok(file) => file,
                // Another worker made it in between.
                Err(error) => self.folder.open_file(LOCK)?.ok_or(error)?,
            },
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &self.folder.join(LOCK), error)),
        }
        // Whoever held it before has moved the mark.
        (self.state, self.pending, self.marked) = (None, Totals::default(), None);
        self.lock = Some(file);
        Ok(true)
    }

    /// Lets another worker publish.
    pub fn release(&mut self) {
        self.lock = None;
    }

    /// What the log holds beyond the mark; `None`: nothing. Only for the lock's holder, and read by it after every
    /// publisher before it has been fenced off: then what it publishes is never older than what is there.
    pub fn changes(&mut self) -> Result<Option<Changes>> {
        if self.lock.is_none() {
            return Err(Error::bug("totals are published by the lock's holder only"));
        }
        match &mut self.state {
            Some(state) => {
                while self.log.step(state)? {
                    self.pending.replace(&state.last.totals);
                }
            }
            None => self.begin()?,
        }
        let Some(state) = &self.state else { return Ok(None) };
        if self.marked == Some(state.head.number) {
            return Ok(None);
        }
        let definition = state.pin.aggregate.clone();
        Ok(Some(Changes { number: state.head.number, definition, totals: self.pending.clone() }))
    }

    /// Reads the log, and takes what the mark leaves open, or everything where there is no usable mark.
    fn begin(&mut self) -> Result<()> {
        let Some(state) = self.log.load()? else { return Ok(()) };
        let since = match self.mark() {
            Some(mark) if mark.number <= state.head.number => self.touched_since(&mark, state.head.number)?,
            _ => None,
        };
        (self.marked, self.pending) = match since {
            Some((number, touched)) => (Some(number), touched),
            None => (None, state.head.totals.clone()),
        };
        self.state = Some(state);
        Ok(())
    }

    /// `None` where the mark is of another log, or its records are gone.
    fn touched_since(&self, mark: &Mark, last: u64) -> Result<Option<(u64, Totals)>> {
        let known = self.log.read(mark.number)?.is_some_and(|(_, hash)| hash == mark.hash);
        if !known {
            return Ok(None);
        }
        let mut touched = Totals::default();
        for number in mark.number + 1..=last {
            let Some((record, _)) = self.log.read(number)? else { return Ok(None) };
            touched.replace(&record.totals);
        }
        Ok(Some((mark.number, touched)))
    }

    /// A mark that is torn is as good as none.
    fn mark(&self) -> Option<Mark> {
        let bytes = self.folder.read(MARK).ok()??;
        record::unseal(&bytes, &self.folder.join(MARK)).ok()
    }

    /// Up to which record everything is published, by whomever; `None`: not known.
    pub fn published_number(&self) -> Option<u64> {
        self.mark().map(|mark| mark.number)
    }

    /// Everything up to the record of the last `changes` has been published.
    pub fn published(&mut self) -> Result<()> {
        let Some(state) = &self.state else { return Err(Error::bug("nothing was read that could be published")) };
        let mark = Mark { version: VERSION, number: state.head.number, hash: state.head.hash.clone() };
        self.folder.remove(NEW_MARK)?;
        self.folder.write_new(NEW_MARK, &record::seal(&mark)?)?;
        self.folder.replace(NEW_MARK, MARK)?;
        self.marked = Some(mark.number);
        self.pending = Totals::default();
        Ok(())
    }
}
