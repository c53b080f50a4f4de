//! What `doctor` asks of a lake: room, file systems, the sizes of the newest files, and what the log costs at a start.
//!
//! Nothing is written and no lock is taken, so it may run beside living writers; unlike `report`, it looks at the newest
//! days and records only, so that it takes no longer on an old lake than on a young one.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::Head;
use super::commit_log::Log;
use super::durable::{Dir, failed};
use super::layout;
use super::probe;
use crate::config;
use crate::error::Result;

/// How many of the newest records are measured; the others are taken to be like them.
const MEASURED_RECORDS: usize = 100;

/// Room on the file system of a folder, or of the nearest one above it that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this account may still write.
    pub free: u64,
    pub total: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub there: bool,
    /// This account may write to it, or make it.
    pub writable: bool,
    pub space: Space,
}

/// The log as a consumer's start reads it.
#[derive(Clone, Debug)]
pub struct LogHealth {
    pub records: u64,
    /// Of these, the ones behind the newest snapshot: a start reads and checks each.
    pub behind_snapshot: u64,
    /// Of all records, estimated from the newest.
    pub bytes: u64,
    pub head: Head,
}

/// Files of one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayOfFiles {
    /// The folder's name: `date=2025-11-18`.
    pub folder: String,
    pub files: u64,
    pub bytes: u64,
}

/// The newest days of a root, the newest first, and what lies among them and is no lake file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewestDays {
    pub days: Vec<DayOfFiles>,
    /// All days of the root.
    pub of: usize,
    pub foreign: Vec<PathBuf>,
}

pub fn folder(path: &Path) -> Result<Folder> {
    let there = path.is_dir();
    let absolute = std::path::absolute(path).map_err(|e| failed("examine", path, e))?;
    let nearest = absolute.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
    let found = rustix::fs::statvfs(nearest).map_err(|e| failed("examine the file system of", nearest, e))?;
    let space = Space { free: found.f_bavail * found.f_frsize, total: found.f_blocks * found.f_frsize };
    let writable = rustix::fs::access(nearest, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    Ok(Folder { there, writable, space })
}

/// # Errors
/// `Config` where one folder lies in another, or Spark wrote them.
pub fn refuse_unfit_folders(settings: &config::Lake, checkpoint: &Path) -> Result<()> {
    probe::refuse_unfit_folders(settings, checkpoint)
}

/// Whether files can become visible in one step: `Some(true)` where a rename from staging would cross file systems,
/// `None` where one of the two is not there yet. The kernel is asked for a rename of nothing; nothing is moved.
pub fn crosses_file_systems(staging: &Path, root: &Path) -> Result<Option<bool>> {
    if !staging.is_dir() || !root.is_dir() {
        return Ok(None);
    }
    let name = format!("probe-{}", uuid::Uuid::new_v4().simple());
    Dir::open(staging)?.crosses_to(&Dir::open(root)?, &name).map(Some)
}

/// Reads the log as a start does; `None` where no lake has been founded.
///
/// # Errors
/// `DataLoss` or `Lake` for a log that a start would refuse as well.
pub fn log(checkpoint: &Path) -> Result<Option<LogHealth>> {
    let Some(log) = Log::find(checkpoint)? else { return Ok(None) };
    let Some(head) = log.load()?.map(|state| state.head) else { return Ok(None) };
    let numbers = log.numbers()?;
    let newest = &numbers[numbers.len().saturating_sub(MEASURED_RECORDS)..];
    let mut bytes = 0;
    for &number in newest {
        let path = log.record_path(number);
        bytes += path.metadata().map_err(|e| failed("examine", &path, e))?.len();
    }
    let records = numbers.len() as u64;
    let snapshot = log.snapshots()?.last().copied();
    Ok(Some(LogHealth {
        records,
        behind_snapshot: snapshot.map_or(records, |snapshot| head.number.saturating_sub(snapshot)),
        bytes: bytes * records / (newest.len().max(1) as u64),
        head,
    }))
}

/// Counts and measures the files of the newest days of a root, and looks for what is not the lake's.
pub fn newest_days(root: &Path, most: usize) -> Result<NewestDays> {
    let mut found = NewestDays::default();
    if !root.is_dir() {
        return Ok(found);
    }
    let root = Dir::open(root)?;
    let (mut folders, foreign): (Vec<String>, Vec<String>) =
        root.names()?.into_iter().partition(|name| layout::parse_date_folder(name).is_some());
    found.foreign.extend(foreign.iter().map(|name| root.join(name)));
    found.of = folders.len();
    folders.sort_unstable_by(|left, right| right.cmp(left));
    for name in folders.into_iter().take(most) {
        let Some(folder) = root.child(&name)? else { continue };
        let mut day = DayOfFiles { folder: name, files: 0, bytes: 0 };
        for file in folder.names()? {
            let path = folder.join(&file);
            if !layout::is_part_name(&file) {
                found.foreign.push(path);
            } else if let Ok(about) = path.symlink_metadata() {
                day.files += 1;
                day.bytes += about.len();
            }
        }
        found.days.push(day);
    }
    Ok(found)
}
