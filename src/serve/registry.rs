//! How the processes of one pipeline find each other: a small file each, in a folder that follows from the configuration.
//!
//! A clean end removes the file. One that stays while its process is gone tells of a kill; the next start puts a note
//! in its place, so that whoever watched it can tell a kill from an end. Files hold addresses and no secret.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::shared::Facts;
use crate::clock::{Clock, SystemClock};

/// Notes of ends are dropped after this.
const NOTE_KEPT: Duration = Duration::from_secs(3600);
const MAX_FILE_BYTES: u64 = 16 * 1024;
const REGISTERED: &str = ".json";
const ENDED: &str = ".end";

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    pub id: String,
    pub role: String,
    pub pid: u32,
    pub host: String,
    pub run_id: String,
    /// For this machine.
    pub url: String,
    /// Other machines reach it too: by this address, or by its host's name where it listens on all.
    pub reachable: bool,
    pub topic: String,
    pub started_at: String,
}

/// How a process ended, where it was not cleanly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndNote {
    pub state: String,
    pub text: Option<String>,
}

impl Registration {
    pub fn new(facts: &Facts, ip: IpAddr) -> Registration {
        Registration {
            id: facts.id.clone(),
            role: facts.role.name().to_owned(),
            pid: std::process::id(),
            host: facts.host.clone(),
            run_id: facts.run_id.clone(),
            url: facts.url.clone(),
            reachable: !ip.is_loopback(),
            topic: facts.topic.clone().unwrap_or_default(),
            started_at: super::part::moment(SystemClock.now()),
        }
    }

    /// The process is on this machine and gone.
    pub fn is_dead(&self, own_host: &str) -> bool {
        self.host == own_host && !is_alive(self.pid)
    }
}

/// Our own file.
#[derive(Debug)]
pub struct Registry {
    folder: PathBuf,
    own: Registration,
}

impl Registry {
    /// Puts our file there. `None`, with a debug line, where the folder cannot be written: the page then shows this
    /// process alone.
    pub fn join(folder: PathBuf, own: Registration) -> Option<Registry> {
        let joined = fs::create_dir_all(&folder).and_then(|()| {
            note_the_dead(&folder, &own.host);
            write(&folder, &format!("{}{REGISTERED}", own.id), &serde_json::to_vec(&own)?)
        });
        match joined {
            Ok(()) => Some(Registry { folder, own }),
            Err(error) => {
                let folder = folder.display();
                tracing::warn!(target: "foodstream::serve", "the status page shows this process alone: {folder}: {error}");
                None
            }
        }
    }

    /// Takes our file away, with a note for others where we failed. The last one takes all notes and the folder.
    pub fn leave(self, failure: Option<&str>) {
        let others = registrations(&self.folder).iter().any(|other| other.id != self.own.id);
        if let Some(text) = failure.filter(|_| others) {
            note(&self.folder, &self.own.id, "failed", Some(text));
        }
        // A folder that is gone or not empty stays as it is.
        let _ = fs::remove_file(self.folder.join(format!("{}{REGISTERED}", self.own.id)));
        if !others {
            names(&self.folder, ENDED).for_each(|note| drop(fs::remove_file(note)));
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// All registered processes; files that are none are passed over.
pub fn registrations(folder: &Path) -> Vec<Registration> {
    names(folder, REGISTERED).filter_map(|path| serde_json::from_slice(&read(&path)?).ok()).collect()
}

/// The note on a process whose file is gone.
pub fn end_note(folder: &Path, id: &str) -> Option<EndNote> {
    serde_json::from_slice(&read(&folder.join(format!("{id}{ENDED}")))?).ok()
}

/// The file is of our own user: nobody else gets to see our token.
pub fn is_own(folder: &Path, id: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::symlink_metadata(folder.join(format!("{id}{REGISTERED}")));
    metadata.is_ok_and(|file| file.is_file() && file.uid() == rustix::process::geteuid().as_raw())
}

pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn note_the_dead(folder: &Path, own_host: &str) {
    for dead in registrations(folder).into_iter().filter(|other| other.is_dead(own_host)) {
        note(folder, &dead.id, "down", None);
        let _ = fs::remove_file(folder.join(format!("{}{REGISTERED}", dead.id)));
    }
    for path in names(folder, ENDED) {
        let age = fs::metadata(&path).and_then(|file| file.modified()).ok().and_then(age_of);
        if age.is_some_and(|age| age > NOTE_KEPT) {
            let _ = fs::remove_file(path);
        }
    }
}

fn age_of(modified: SystemTime) -> Option<Duration> {
    SystemTime::from(SystemClock.now()).duration_since(modified).ok()
}

fn note(folder: &Path, id: &str, state: &str, text: Option<&str>) {
    let note = EndNote { state: state.to_owned(), text: text.map(str::to_owned) };
    // Without the note it looks like a clean end to whoever watched.
    let _ = serde_json::to_vec(&note)
        .map_err(io::Error::from)
        .and_then(|bytes| write(folder, &format!("{id}{ENDED}"), &bytes));
}

/// Whole or not at all: others read meanwhile.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // The two sides may run as different users.
    let readable = fs::Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new().permissions(readable).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(folder.join(name)).map(drop).map_err(|error| error.error)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn names(folder: &Path, ending: &str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ending)))
        .collect();
    paths.sort();
    paths.into_iter()
}

/// A process that was killed and not yet waited for is there for the system only.
fn is_alive(pid: u32) -> bool {
    if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
        let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
        return !matches!(state, Some("Z" | "X"));
    }
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}
