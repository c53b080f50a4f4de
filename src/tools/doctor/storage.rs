//! The lake's side: room, file systems, the commit log, the files.

use std::path::Path;
use std::time::Duration;

use super::report::{Check, Finding, Section, Verdict};
use super::words::{age, bytes, plural};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Settings, shell_quoted};
use crate::error::Result;
use crate::lake::Head;
use crate::lake::health::{self, Folder, LogHealth, NewestDays, Space};

/// How many days are looked at: what the trigger makes shows in the newest.
const DAYS_LOOKED_AT: usize = 7;
/// A day in so many files costs its readers more in opening than in reading, where the files are small as well.
const MANY_FILES_A_DAY: u64 = 1_000;
/// Readers like files of tens of megabytes and more.
const SMALL_FILE_BYTES: u64 = 1 << 20;
/// Free space below one part in so many is little, however large the disk is.
const LITTLE_SPACE_SHARE: u64 = 20;
/// A start of the consumer that takes longer is felt after every kill.
const SLOW_START: Duration = Duration::from_secs(5);
/// Batches that must find room: what is staged, what is written, quarantine, log.
const BATCHES_OF_ROOM: u64 = 4;

#[derive(Debug, Default)]
pub(super) struct Examined {
    pub findings: Vec<Finding>,
    /// Where the lake stands; `None` where there is none, or its log cannot be read.
    pub head: Option<Head>,
}

pub(super) fn examine(settings: &Settings) -> Examined {
    let (Some(lake), Some(checkpoint)) = (&settings.lake, &settings.streaming.checkpoint_location) else {
        let why = "the configuration names no `datalake.path` or no `streaming.checkpoint_location`";
        let checks = Check::ALL.iter().filter(|check| check.section() == Section::Lake);
        let findings = checks.map(|check| Finding::not_applicable(*check, why)).collect();
        return Examined { findings, head: None };
    };
    let places = Places::new(lake, checkpoint);
    let newest = health::newest_days(&lake.path, DAYS_LOOKED_AT);
    let begun = SystemClock.instant();
    let log = health::log(checkpoint);
    let took = SystemClock.instant().duration_since(begun);
    let head = log.as_ref().ok().and_then(|log| log.as_ref().map(|log| log.head.clone()));
    let has_files = newest.as_ref().is_ok_and(|newest| newest.of > 0);
    let told = |check, finding: Result<Finding>| {
        finding.unwrap_or_else(|error| Finding::could_not_tell(check, error.report()))
    };
    let findings = vec![
        told(Check::Folders, places.look().map(|found| folders(&found, lake, checkpoint))),
        told(Check::FreeSpace, places.look().map(|found| free_space(&found, settings.consumer.max_batch_bytes))),
        told(Check::FileSystem, file_system(lake)),
        match log {
            Ok(log) => commit_log(log.as_ref(), took, has_files, &lake.path),
            Err(error) => Finding::new(Check::CommitLog, Verdict::Fault, error.report()),
        },
        told(Check::Files, newest.map(|newest| files(&newest, &lake.path))),
    ];
    Examined { findings, head }
}

/// Where the lake stands by now; `None` where that cannot be told.
pub(super) fn head(settings: &Settings) -> Option<Head> {
    let log = health::log(settings.streaming.checkpoint_location.as_deref()?);
    log.ok().flatten().map(|log| log.head)
}

/// The folders of a lake, each with its key.
struct Places<'a>([(&'static str, &'a Path); 4]);

impl<'a> Places<'a> {
    fn new(lake: &'a config::Lake, checkpoint: &'a Path) -> Self {
        Places([
            ("datalake.path", &lake.path),
            ("datalake.quarantine_path", &lake.quarantine_path),
            ("datalake.staging_path", &lake.staging_path),
            ("streaming.checkpoint_location", checkpoint),
        ])
    }

    fn look(&self) -> Result<Vec<(&'static str, &'a Path, Folder)>> {
        self.0.iter().map(|&(key, path)| Ok((key, path, health::folder(path)?))).collect()
    }
}

pub(super) fn folders(found: &[(&str, &Path, Folder)], lake: &config::Lake, checkpoint: &Path) -> Finding {
    let check = Check::Folders;
    if let Err(error) = health::refuse_unfit_folders(lake, checkpoint) {
        return Finding::new(check, Verdict::Fault, error.report());
    }
    if let Some((key, path, _)) = found.iter().find(|(.., folder)| !folder.writable) {
        let shown = path.display();
        let fact = format!("this account may not write to {shown} (`{key}`): no consumer of it can run");
        // In the shell in which it is pasted, $USER may be another.
        let (uid, path) = (rustix::process::geteuid().as_raw(), shell_quoted(&path.to_string_lossy()));
        return Finding::new(check, Verdict::Fault, fact).mended_by(format!("sudo chown -R {uid} -- {path}"));
    }
    match found.iter().filter(|(.., folder)| !folder.there).count() {
        0 => Finding::ok(check, format!("{} and the three beside it are there and writable", lake.path.display())),
        4 => Finding::not_applicable(check, "not there yet: the consumer's first start makes them"),
        missing => {
            Finding::ok(check, format!("writable; {missing} of 4 are not there yet and are made at the next start"))
        }
    }
}

fn free_space(found: &[(&str, &Path, Folder)], batch_bytes: u64) -> Finding {
    // The fullest decides: the folders may be on one file system or on four.
    let worst = found.iter().min_by_key(|(.., folder)| folder.space.free);
    let Some((key, path, folder)) = worst else { return Finding::not_applicable(Check::FreeSpace, "no folder") };
    judge_space(folder.space, batch_bytes, &format!("{} (`{key}`)", path.display()))
}

pub(super) fn judge_space(space: Space, batch_bytes: u64, place: &str) -> Finding {
    let fact = format!("{} of {} free at {place}", bytes(space.free), bytes(space.total));
    let needed = batch_bytes.saturating_mul(BATCHES_OF_ROOM);
    let verdict = match space.free {
        free if free < needed => Verdict::Fault,
        free if free < space.total / LITTLE_SPACE_SHARE => Verdict::Warning,
        _ => return Finding::ok(Check::FreeSpace, fact),
    };
    let finding = Finding::new(Check::FreeSpace, verdict, fact);
    finding.mended_by(format!("make room: a micro-batch may need {}; a full disk stops the consumer", bytes(needed)))
}

fn file_system(lake: &config::Lake) -> Result<Finding> {
    let check = Check::FileSystem;
    let mut looked_at = 0;
    for (key, root) in [("datalake.path", &lake.path), ("datalake.quarantine_path", &lake.quarantine_path)] {
        match health::crosses_file_systems(&lake.staging_path, root)? {
            None => {}
            Some(false) => looked_at += 1,
            Some(true) => {
                let fact = format!(
                    "{} (`datalake.staging_path`) and {} (`{key}`) are on different file systems: a file cannot become \
                     visible in one step, so the consumer refuses to start",
                    lake.staging_path.display(),
                    root.display()
                );
                let mut beside = lake.path.clone().into_os_string();
                beside.push("_staging");
                let remedy = format!("datalake.staging_path: {}", Path::new(&beside).display());
                return Ok(Finding::new(check, Verdict::Fault, fact).mended_by(remedy));
            }
        }
    }
    Ok(match looked_at {
        0 => Finding::not_applicable(check, "staging is not there yet: the consumer's first start tries it"),
        _ => Finding::ok(check, "staging, lake and quarantine share one"),
    })
}

pub(super) fn commit_log(log: Option<&LogHealth>, took: Duration, has_files: bool, lake: &Path) -> Finding {
    let check = Check::CommitLog;
    let Some(log) = log else {
        if has_files {
            let fact = format!(
                "there is no commit log, but {} has files: going on would write their rows a second time, so the \
                 consumer refuses to start",
                lake.display()
            );
            return Finding::new(check, Verdict::Fault, fact).mended_by("foodstream lake rebuild-log");
        }
        return Finding::not_applicable(check, "not begun yet: the consumer's first start founds the lake");
    };
    let fact = format!(
        "{} (about {}), the last is number {}; a start reads {} behind the newest snapshot, {} just now",
        plural(log.records, "record", "records"),
        bytes(log.bytes),
        log.head.number,
        log.behind_snapshot,
        age(took)
    );
    if took < SLOW_START {
        return Finding::ok(check, fact);
    }
    let finding = Finding::new(check, Verdict::Warning, format!("{fact}: every start of the consumer takes as long"));
    finding.mended_by("consumer.trigger_interval_ms: 60000")
}

pub(super) fn files(newest: &NewestDays, root: &Path) -> Finding {
    let check = Check::Files;
    if !newest.foreign.is_empty() {
        let fact = format!(
            "{} in {} that are not the lake's, {} among them: readers count or fail on them, and the consumer refuses \
             to start",
            plural(newest.foreign.len() as u64, "file or folder", "files or folders"),
            root.display(),
            newest.foreign[0].display()
        );
        return Finding::new(check, Verdict::Fault, fact)
            .mended_by(format!("mv -- {} /tmp/", shell_quoted(&newest.foreign[0].to_string_lossy())));
    }
    let Some(worst) = newest.days.iter().max_by_key(|day| day.files) else {
        return Finding::not_applicable(check, "no file yet");
    };
    let mean = worst.bytes / worst.files.max(1);
    let fact = format!(
        "{} in {}, {} each on average, the most of the newest {} looked at ({} in all)",
        plural(worst.files, "file", "files"),
        worst.folder,
        bytes(mean),
        plural(newest.days.len() as u64, "day", "days"),
        newest.of
    );
    if worst.files < MANY_FILES_A_DAY || mean >= SMALL_FILE_BYTES {
        return Finding::ok(check, fact);
    }
    let finding = Finding::new(check, Verdict::Warning, format!("{fact}: readers open more than they read"));
    finding.mended_by("consumer.trigger_interval_ms: 60000")
}
