//! What `verify` asks of a lake: the log's chain record by record, and the files it names against those that lie
//! there.
//!
//! Unlike a writer, a report goes on after a fault, so that all are named at once. It may run beside living
//! writers: the log is read before the folders, and once more before a file is called an orphan.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::Head;
use super::commit_log::Log;
use super::durable::{Dir, failed};
use super::layout::{self, Survey};
use super::parquet;
use super::read::open_committed;
use super::record::Record;
use super::state::State;
use crate::config;
use crate::error::Result;
use crate::model::{Counts, OffsetRange};

/// One fault of the log, with the record's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFault {
    pub number: u64,
    pub path: PathBuf,
    pub what: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedFile {
    pub commit: u64,
    /// Under its root.
    pub name: String,
    pub quarantine: bool,
    pub rows: u64,
    pub bytes: u64,
    pub crc32c: String,
    writer: String,
}

#[derive(Clone, Debug)]
pub struct CommitSummary {
    pub number: u64,
    pub batch: String,
    pub writer: String,
    pub committed_at: DateTime<Utc>,
    pub ranges: Vec<OffsetRange>,
    pub counts: Counts,
    pub files: usize,
}

/// The log from its first record to its last.
#[derive(Clone, Debug, Default)]
pub struct LogReport {
    /// `None` where no log has been begun.
    pub lake: Option<String>,
    pub topic: Option<String>,
    pub commits: Vec<CommitSummary>,
    pub files: Vec<CommittedFile>,
    /// `None` when the log is empty or has a fault.
    pub head: Option<Head>,
    pub snapshots: Vec<u64>,
    pub faults: Vec<LogFault>,
}

/// Log and folders together.
#[derive(Clone, Debug, Default)]
pub struct LakeReport {
    pub log: LogReport,
    /// Committed, but neither under its final name nor staged.
    pub missing: Vec<CommittedFile>,
    /// Committed and staged: renames that recovery or the next commit will finish.
    pub unfinished: Vec<CommittedFile>,
    /// Committed and there, but with another length or checksum: the file's path and the fact.
    pub damaged: Vec<(PathBuf, String)>,
    /// Under a root with a lake file's name, but in no record.
    pub orphans: Vec<PathBuf>,
    /// Under a root and no lake file at all.
    pub foreign: Vec<PathBuf>,
}

#[cfg(test)]
impl LakeReport {
    pub fn is_sound(&self) -> bool {
        self.log.faults.is_empty()
            && self.missing.is_empty()
            && self.damaged.is_empty()
            && self.orphans.is_empty()
            && self.foreign.is_empty()
    }
}

/// Checks every record: checksum, version, number, hash of its predecessor, ranges and counts, gaps.
pub fn log_report(checkpoint: &Path) -> Result<LogReport> {
    let Some(log) = Log::find(checkpoint)? else { return Ok(LogReport::default()) };
    let mut report = LogReport { snapshots: log.snapshots()?, ..LogReport::default() };
    let mut state: Option<State> = None;
    let numbers = log.numbers()?;
    if let Some((from, to)) = log.first_gap(&numbers)? {
        report.fault(&log, from, log.missing(from, to).to_string());
    }
    for &number in &numbers {
        match log.read(number) {
            Ok(Some((record, hash))) => {
                report.add(&record);
                let path = log.record_path(number);
                let followed = match state.take() {
                    None if number == 0 => State::founded(record, hash, &path).map(Some),
                    // After a fault there is nothing to hold the record against; a gap has been named above.
                    None => Ok(None),
                    Some(before) if before.head.number + 1 != number => Ok(None),
                    Some(mut before) => before.apply(record, hash, &path).map(|()| Some(before)),
                };
                match followed {
                    Ok(followed) => state = followed,
                    Err(error) => report.fault(&log, number, error.to_string()),
                }
            }
            Ok(None) => {}
            Err(error) => {
                state = None;
                report.fault(&log, number, error.to_string());
            }
        }
    }
    report.finish(&log, state, &numbers);
    Ok(report)
}

impl LogReport {
    fn fault(&mut self, log: &Log, number: u64, what: String) {
        self.faults.push(LogFault { number, path: log.record_path(number), what });
    }

    fn add(&mut self, record: &Record) {
        let (files, quarantine) = (&record.files, &record.quarantine);
        let entries = files.iter().map(|file| (file, false)).chain(quarantine.iter().map(|file| (file, true)));
        self.files.extend(entries.map(|(file, quarantine)| CommittedFile {
            commit: record.number,
            name: file.name.clone(),
            quarantine,
            rows: file.rows,
            bytes: file.bytes,
            crc32c: file.crc32c.clone(),
            writer: record.writer.clone(),
        }));
        self.lake.get_or_insert_with(|| record.lake.clone());
        self.topic.get_or_insert_with(|| record.topic.clone());
        self.commits.push(CommitSummary {
            number: record.number,
            batch: record.batch.clone(),
            writer: record.writer.clone(),
            committed_at: record.committed_at,
            ranges: record.ranges.clone(),
            counts: record.counts,
            files: files.len() + quarantine.len(),
        });
    }

    fn finish(&mut self, log: &Log, state: Option<State>, numbers: &[u64]) {
        let snapshot = self.snapshots.last().copied();
        match (numbers.first(), numbers.last(), snapshot) {
            (Some(&first), _, _) if first > 0 => self.fault(log, 0, log.missing(0, first - 1).to_string()),
            (_, Some(&last), Some(snapshot)) if snapshot > last => {
                self.fault(log, last + 1, log.missing(last + 1, snapshot).to_string());
            }
            (None, None, Some(snapshot)) => self.fault(log, 0, log.missing(0, snapshot).to_string()),
            _ => {}
        }
        if self.faults.is_empty() {
            self.head = state.map(|state| state.head);
        }
    }
}

/// Holds the log against the folders. `read_bytes` compares whole checksums; otherwise lengths only.
pub fn lake_report(settings: &config::Lake, checkpoint: &Path, read_bytes: bool) -> Result<LakeReport> {
    let mut report = LakeReport { log: log_report(checkpoint)?, ..LakeReport::default() };
    for file in &report.log.files {
        let root = if file.quarantine { &settings.quarantine_path } else { &settings.path };
        match open_committed(root, &settings.staging_path, &file.writer, &file.name)? {
            None => report.missing.push(file.clone()),
            Some((opened, path)) => {
                if let Some(what) = difference(opened, &path, file, read_bytes)? {
                    report.damaged.push((path, what));
                } else if !path.starts_with(root) {
                    report.unfinished.push(file.clone());
                }
            }
        }
    }
    let roots = [(&settings.path, false), (&settings.quarantine_path, true)];
    let surveys: Vec<(&PathBuf, bool, Survey)> = roots
        .into_iter()
        .filter(|(root, _)| root.is_dir())
        .map(|(root, quarantine)| Ok((root, quarantine, layout::survey(&Dir::open(root)?)?)))
        .collect::<Result<_>>()?;
    // A file that became visible since the log was read has its record by now.
    let later = log_report(checkpoint)?;
    for (root, quarantine, survey) in surveys {
        let known: BTreeSet<&str> =
            later.files.iter().filter(|file| file.quarantine == quarantine).map(|file| file.name.as_str()).collect();
        let orphans = survey.files.iter().filter(|name| !known.contains(name.as_str()));
        report.orphans.extend(orphans.map(|name| root.join(name)));
        report.foreign.extend(survey.foreign.iter().map(|name| root.join(name)));
    }
    Ok(report)
}

fn difference(file: std::fs::File, path: &Path, entry: &CommittedFile, read: bool) -> Result<Option<String>> {
    let bytes = file.metadata().map_err(|e| failed("examine", path, e))?.len();
    if bytes != entry.bytes {
        return Ok(Some(format!("{bytes} bytes where commit {} has {}", entry.commit, entry.bytes)));
    }
    if !read {
        return Ok(None);
    }
    let (_, crc) = parquet::checksum(file, path)?;
    let crc = format!("{crc:08x}");
    Ok((crc != entry.crc32c).then(|| format!("checksum {crc} where commit {} has {}", entry.commit, entry.crc32c)))
}
