//! The commit log on a file system: numbered records, put if absent, and snapshots to open it fast.
//!
//! ```text
//! <checkpoint>/commits/<folder of 10,000>/<20 digits>.json     sealed records, never replaced, never deleted here
//! <checkpoint>/snapshots/<20 digits>.json                      the fold up to a record; a copy, may be lost
//! ```
//! A record that is missing below a later one, or that does not carry its predecessor's hash, is an error that
//! names the file: the log is the only memory of what was read, so nothing in it is skipped. Of records that are
//! missing at the end only their files tell (`inventory`).

use std::path::Path;

use super::durable::{self, Dir, PutPoints};
use super::layout::{self, COMMITS, RECORDS_PER_FOLDER, SNAPSHOTS};
use super::record::{self, Record, VERSION};
use super::state::{Snapshot, State};
use crate::error::{Error, Kind, Lost, Result};
use crate::failpoints;

/// A snapshot after so many records: reading a thousand takes some 30 ms, and a snapshot of ten years of daily
/// totals is 300 kB (times the groups of a day), so more often would write more than it saves.
pub(crate) const SNAPSHOT_EVERY: u64 = 1_000;

/// The newest may be torn by the disk; the one before is then still near.
const SNAPSHOTS_KEPT: usize = 2;

const RECORD: PutPoints =
    PutPoints { written: failpoints::LAKE_RECORD_WRITTEN, linked: failpoints::LAKE_RECORD_LINKED };

/// Prefix of temporary names in `commits/`; the writer's uuid follows.
pub(crate) const TEMPORARY: &str = "temporary-";

#[derive(Debug)]
pub(crate) struct Log {
    checkpoint: Dir,
    commits: Dir,
}

impl Log {
    /// For a writer: makes the folders.
    pub fn create(checkpoint: &Path) -> Result<Log> {
        let checkpoint = Dir::create_all(checkpoint)?;
        let commits = match checkpoint.child(COMMITS)? {
            Some(commits) => commits,
            None => checkpoint.make_durable(COMMITS)?,
        };
        Ok(Log { checkpoint, commits })
    }

    /// For a reader: `None` where no log has been begun. Nothing is created.
    pub fn find(checkpoint: &Path) -> Result<Option<Log>> {
        if !checkpoint.is_dir() {
            return Ok(None);
        }
        let checkpoint = Dir::open(checkpoint)?;
        Ok(checkpoint.child(COMMITS)?.map(|commits| Log { checkpoint, commits }))
    }

    pub fn checkpoint(&self) -> &Dir {
        &self.checkpoint
    }

    pub fn commits(&self) -> &Dir {
        &self.commits
    }

    pub fn record_path(&self, number: u64) -> std::path::PathBuf {
        self.commits.join(&layout::record_folder(number)).join(layout::record_name(number))
    }

    /// Numbers of all records that have a name, sorted.
    pub fn numbers(&self) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for name in self.commits.names()? {
            let Some(folder_number) = layout::parse_record_folder(&name) else { continue };
            let Some(folder) = self.commits.child(&name)? else { continue };
            for file in folder.names()? {
                let number = layout::parse_record_name(&file);
                match number.filter(|number| number / RECORDS_PER_FOLDER == folder_number) {
                    Some(number) => numbers.push(number),
                    None => return Err(not_a_record(&folder.join(&file))),
                }
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A record with the hash of its bytes; `None` when the number is free.
    pub fn read(&self, number: u64) -> Result<Option<(Record, String)>> {
        let Some(folder) = self.commits.child(&layout::record_folder(number))? else { return Ok(None) };
        let name = layout::record_name(number);
        let Some(bytes) = folder.read(&name)? else { return Ok(None) };
        let path = folder.join(&name);
        let record: Record = record::unseal(&bytes, &path)?;
        if record.number != number {
            return Err(Error::new(Kind::Lake, format!("{} holds record {}", path.display(), record.number)));
        }
        Ok(Some((record, record::hash(&bytes))))
    }

    /// The state after the last record; `None` for a log without any.
    pub fn load(&self) -> Result<Option<State>> {
        let numbers = self.numbers()?;
        let snapshot = self.newest_snapshot()?;
        let Some(&last) = numbers.last() else {
            return match snapshot {
                None => Ok(None),
                Some(snapshot) => Err(self.missing(0, snapshot.number)),
            };
        };
        if let Some(snapshot) = snapshot.as_ref().filter(|snapshot| snapshot.number > last) {
            return Err(self.missing(last + 1, snapshot.number));
        }
        self.refuse_gaps(&numbers, snapshot.as_ref())?;
        let mut state = match snapshot {
            Some(snapshot) => self.restore(snapshot)?,
            None => self.first()?,
        };
        let from = state.head.number;
        self.advance(&mut state)?;
        tracing::debug!(target: "foodstream::lake", from, to = state.head.number, "commit log read");
        Ok(Some(state))
    }

    /// The state after commit 0, which must exist.
    pub fn first(&self) -> Result<State> {
        let (record, hash) = self.read(0)?.ok_or_else(|| self.missing(0, 0))?;
        State::founded(record, hash, &self.record_path(0))
    }

    fn restore(&self, snapshot: Snapshot) -> Result<State> {
        let number = snapshot.number;
        let (record, hash) = self.read(number)?.ok_or_else(|| self.missing(number, number))?;
        if hash != snapshot.hash {
            return Err(Error::new(
                Kind::Lake,
                format!(
                    "{} is not the record that the snapshot of the log was made from; restore this very record from a \
                     backup, or stop all consumers and run `foodstream lake rebuild-log`",
                    self.record_path(number).display()
                ),
            ));
        }
        Ok(State::restored(snapshot, record))
    }

    /// Takes in the records that came after the state.
    pub fn advance(&self, state: &mut State) -> Result<()> {
        while self.step(state)? {}
        Ok(())
    }

    /// Takes in the next record; `false` when there is none yet.
    pub(super) fn step(&self, state: &mut State) -> Result<bool> {
        let number = state.head.number + 1;
        let Some((record, hash)) = self.read(number)? else { return Ok(false) };
        state.apply(record, hash, &self.record_path(number))?;
        Ok(true)
    }

    /// Hands over every record in order, each checked against the one before it; ends at the first free number.
    pub fn each(&self, mut see: impl FnMut(&Record) -> Result<()>) -> Result<()> {
        if self.numbers()?.is_empty() {
            return Ok(());
        }
        let mut state = self.first()?;
        see(&state.last)?;
        while self.step(&mut state)? {
            see(&state.last)?;
        }
        self.refuse_gaps(&self.numbers()?, None)
    }

    /// A listing made while others append may miss a name and show a later one, so each gap is looked at again.
    fn refuse_gaps(&self, numbers: &[u64], snapshot: Option<&Snapshot>) -> Result<()> {
        let first = numbers[0];
        let folded =
            first.is_multiple_of(RECORDS_PER_FOLDER) && snapshot.is_some_and(|snapshot| snapshot.number >= first);
        if first > 0 && !folded {
            return Err(self.missing(0, first - 1));
        }
        match self.first_gap(numbers)? {
            Some((from, to)) => Err(self.missing(from, to)),
            None => Ok(()),
        }
    }

    /// The first interval of numbers that have no record below a number that has one.
    pub fn first_gap(&self, numbers: &[u64]) -> Result<Option<(u64, u64)>> {
        for pair in numbers.windows(2) {
            for number in pair[0] + 1..pair[1] {
                let folder = self.commits.child(&layout::record_folder(number))?;
                let there = folder.map(|folder| folder.has(&layout::record_name(number))).transpose()?;
                if there != Some(true) {
                    return Ok(Some((number, pair[1] - 1)));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn missing(&self, from: u64, to: u64) -> Error {
        let which = if from == to { format!("record {from}") } else { format!("records {from} to {to}") };
        Error::data_loss(
            Lost { commits: Some((from, to)), ..Lost::default() },
            format!(
                "the commit log lacks {which} ({}), so what was committed there is unknown; restore just what is missing \
                 from a backup (an older log in place of this one would forget its newest commits), or stop all \
                 consumers and run `foodstream lake rebuild-log`",
                self.record_path(from).display()
            ),
        )
    }

    /// Writes the record unless its number is taken. `Some(hash)`: durable; `None`: another has the number.
    pub fn append(&self, record: &Record) -> Result<Option<String>> {
        let bytes = record::seal(record)?;
        let folder = self.folder_for(record.number)?;
        let temporary = format!("{TEMPORARY}{}", record.writer);
        let name = layout::record_name(record.number);
        let ours = durable::put_if_absent(&self.commits, &temporary, &folder, &name, &bytes, RECORD)?;
        Ok(ours.then(|| record::hash(&bytes)))
    }

    /// The record's folder. Only the first record of a folder may create it, and only beside its predecessor:
    /// a writer that slept while old folders were dropped must fail here, not found a second history.
    fn folder_for(&self, number: u64) -> Result<Dir> {
        let name = layout::record_folder(number);
        if let Some(folder) = self.commits.child(&name)? {
            if number.is_multiple_of(RECORDS_PER_FOLDER) {
                // Another worker may have made it and not come to its sync.
                self.commits.sync()?;
            }
            return Ok(folder);
        }
        let may_create = match number.checked_sub(1) {
            None => true,
            Some(previous) if number.is_multiple_of(RECORDS_PER_FOLDER) => {
                let folder = self.commits.child(&layout::record_folder(previous))?;
                folder.map(|folder| folder.has(&layout::record_name(previous))).transpose()? == Some(true)
            }
            Some(_) => false,
        };
        if may_create {
            return self.commits.make_durable(&name);
        }
        Err(Error::new(
            Kind::Lake,
            format!("{} has vanished under a running writer; start again", self.commits.join(&name).display()),
        ))
    }

    /// Makes the record's name and its folder's durable, whoever wrote it.
    pub fn sync_record(&self, number: u64) -> Result<()> {
        self.commits.sync()?;
        match self.commits.child(&layout::record_folder(number))? {
            Some(folder) => folder.sync(),
            None => Err(self.missing(number, number)),
        }
    }

    /// Keeps the state's fold. Failing is no error of the commit: the records say the same.
    pub fn write_snapshot(&self, state: &State, writer: &str) {
        let written = self.try_snapshot(state, writer);
        if let Err(error) = written {
            tracing::warn!(target: "foodstream::lake", error = %error.report(), "snapshot of the log not written");
        }
    }

    fn try_snapshot(&self, state: &State, writer: &str) -> Result<()> {
        let snapshots = self.checkpoint.make(SNAPSHOTS)?;
        let bytes = record::seal(&state.snapshot())?;
        let temporary = format!("{TEMPORARY}{writer}");
        let name = layout::record_name(state.head.number);
        durable::put_if_absent(&snapshots, &temporary, &snapshots, &name, &bytes, durable::SIDE_FILE)?;
        let numbers = snapshot_numbers(&snapshots)?;
        for number in &numbers[..numbers.len().saturating_sub(SNAPSHOTS_KEPT)] {
            snapshots.remove(&layout::record_name(*number))?;
        }
        Ok(())
    }

    /// Numbers of the snapshots, sorted.
    pub fn snapshots(&self) -> Result<Vec<u64>> {
        self.checkpoint.child(SNAPSHOTS)?.map_or_else(|| Ok(Vec::new()), |folder| snapshot_numbers(&folder))
    }

    pub(super) fn newest_snapshot(&self) -> Result<Option<Snapshot>> {
        let Some(folder) = self.checkpoint.child(SNAPSHOTS)? else { return Ok(None) };
        for number in snapshot_numbers(&folder)?.into_iter().rev() {
            let name = layout::record_name(number);
            // Another worker may have removed it since the listing.
            let Some(bytes) = folder.read(&name)? else { continue };
            match record::unseal::<Snapshot>(&bytes, &folder.join(&name)) {
                Ok(snapshot) if snapshot.number == number && snapshot.version == VERSION => return Ok(Some(snapshot)),
                Ok(_) => tracing::warn!(target: "foodstream::lake", number, "snapshot under a wrong number, not used"),
                Err(error) => {
                    tracing::warn!(target: "foodstream::lake", error = %error, "snapshot not used, reading the records");
                }
            }
        }
        Ok(None)
    }
}

fn snapshot_numbers(folder: &Dir) -> Result<Vec<u64>> {
    Ok(folder.names()?.iter().filter_map(|name| layout::parse_record_name(name)).collect())
}

fn not_a_record(path: &Path) -> Error {
    Error::new(
        Kind::Lake,
        format!("{} is no commit record; nothing else belongs in the log, so move it away", path.display()),
    )
}
