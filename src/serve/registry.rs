//! How the processes of one pipeline find each other: a small file each, in a folder that follows from the configuration.
//!
//! A clean end removes the file; a failure leaves a note in its place, also where nobody else is there to see it, for
//! those who start next. A file that stays while its process is gone tells of a kill: the next start puts a note in its
//! place, so that whoever watched it can tell a kill from an end. Files hold addresses and no secret.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::process::{self, Identity};
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
    /// Which of the processes that had, or will have, this number.
    #[serde(default)]
    pub process: Option<Identity>,
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
    #[serde(flatten)]
    pub of: Registration,
    pub state: String,
    pub text: Option<String>,
    /// When it was written: for one that was killed, when that was found.
    pub at: String,
}

/// What the folder holds.
#[derive(Debug, Default)]
pub struct Found {
    pub registrations: Vec<Registration>,
    /// Of the registered ones those whose file is of our own user: nobody else gets to see our token.
    pub own: BTreeSet<String>,
    pub notes: Vec<EndNote>,
}

impl Registration {
    pub fn new(facts: &Facts, ip: IpAddr) -> Registration {
        Registration {
            id: facts.id.clone(),
            role: facts.role.name().to_owned(),
            pid: std::process::id(),
            process: Identity::own(),
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
        self.host == own_host && process::is_gone(self.pid, self.process.as_ref())
    }

    /// Another one listens where this one did: a container that was started anew sees nothing of the process before.
    fn is_displaced_by(&self, other: &Registration) -> bool {
        self.id != other.id && self.host == other.host && self.url == other.url
    }
}

/// Our own file.
#[derive(Debug)]
pub struct Registry {
    folder: PathBuf,
    own: Registration,
}

impl Registry {
    /// Puts our file there. `None`, with a warning, where the folder cannot be written: the page then shows this
    /// process alone.
    pub fn join(folder: PathBuf, own: Registration) -> Option<Registry> {
        let joined = fs::create_dir_all(&folder).and_then(|()| {
            note_the_dead(&folder, &own);
            tell_what_befell(&folder, &own.role);
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

    /// Takes our file away, with a note where we failed. The last one that ends well takes all notes and the folder.
    pub fn leave(self, failure: Option<&str>) {
        let others = registrations(&self.folder).iter().any(|other| other.id != self.own.id);
        // What befell those in whose place we came is past; a worker that failed beside us still failed.
        let is_past = |note: &&EndNote| note.state != "failed" || note.at < self.own.started_at;
        for past in notes(&self.folder).iter().filter(|note| note.of.role == self.own.role).filter(is_past) {
            let _ = fs::remove_file(self.folder.join(format!("{}{ENDED}", past.of.id)));
        }
        if let Some(text) = failure {
            note(&self.folder, &self.own, "failed", Some(text));
        }
        // A folder that is gone or not empty stays as it is.
        let _ = fs::remove_file(self.folder.join(format!("{}{REGISTERED}", self.own.id)));
        if !others && failure.is_none() {
            names(&self.folder, ENDED).for_each(|note| drop(fs::remove_file(note)));
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// All registered processes; files that are none are passed over.
pub fn registrations(folder: &Path) -> Vec<Registration> {
    let parse = |path: &PathBuf| serde_json::from_slice::<Registration>(&read(path)?).ok();
    let told = names(folder, REGISTERED).filter_map(|path| Some((parse(&path)?, path)));
    told.filter(|(other, path)| is_named(path, &other.id, REGISTERED)).map(|(other, _)| other).collect()
}

/// The notes on processes whose files are gone.
fn notes(folder: &Path) -> Vec<EndNote> {
    let parse = |path: &PathBuf| serde_json::from_slice::<EndNote>(&read(path)?).ok();
    let told = names(folder, ENDED).filter_map(|path| Some((parse(&path)?, path)));
    told.filter(|(note, path)| is_named(path, &note.of.id, ENDED)).map(|(note, _)| note).collect()
}

/// Reads the folder once. Blocks, for as long as its file system likes.
pub fn look(folder: &Path) -> Found {
    let registrations = registrations(folder);
    let own = registrations.iter().map(|other| other.id.clone()).filter(|id| is_own(folder, id)).collect();
    // A note is written before its file goes: in this order no failure looks like a clean end.
    Found { registrations, own, notes: notes(folder) }
}

/// A file speaks for the process it is named after and for no other, and for none by a path.
fn is_named(path: &Path, id: &str, ending: &str) -> bool {
    let plain = !id.is_empty() && id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    plain && path.file_name().is_some_and(|name| name.to_str() == Some(&format!("{id}{ending}")))
}

fn is_own(folder: &Path, id: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::symlink_metadata(folder.join(format!("{id}{REGISTERED}")));
    metadata.is_ok_and(|file| file.is_file() && file.uid() == rustix::process::geteuid().as_raw())
}

pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// `own` is ours, whose address we have.
fn note_the_dead(folder: &Path, own: &Registration) {
    let is_dead = |other: &Registration| other.is_dead(&own.host) || other.is_displaced_by(own);
    for dead in registrations(folder).into_iter().filter(is_dead) {
        note(folder, &dead, "down", None);
        let _ = fs::remove_file(folder.join(format!("{}{REGISTERED}", dead.id)));
    }
    for path in names(folder, ENDED) {
        let age = fs::metadata(&path).and_then(|file| file.modified()).ok().and_then(age_of);
        if age.is_some_and(|age| age > NOTE_KEPT) {
            let _ = fs::remove_file(path);
        }
    }
}

/// On our own page a note of our role has no place: we are what came after it. The last one is told and stays for those
/// who watched its process; the others go, or each of many starts would tell of all before it.
fn tell_what_befell(folder: &Path, role: &str) {
    let mut of_role: Vec<_> = notes(folder).into_iter().filter(|note| note.of.role == role).collect();
    of_role.sort_by(|one, other| one.at.cmp(&other.at));
    let Some(EndNote { of, at, text, .. }) = of_role.pop() else { return };
    for past in of_role {
        let _ = fs::remove_file(folder.join(format!("{}{ENDED}", past.of.id)));
    }
    let how = text.map_or_else(|| "was gone without an end".to_owned(), |text| format!("failed: {text}"));
    // Perhaps it ran beside others that still do.
    tracing::info!(target: "foodstream::serve", "another {role} (pid {}, {at}) {how}", of.pid);
}

fn age_of(modified: SystemTime) -> Option<Duration> {
    SystemTime::from(SystemClock.now()).duration_since(modified).ok()
}

fn note(folder: &Path, of: &Registration, state: &str, text: Option<&str>) {
    let at = super::part::moment(SystemClock.now());
    let note = EndNote { of: of.clone(), state: state.to_owned(), text: text.map(str::to_owned), at };
    // Without the note it looks like a clean end to whoever watched.
    let _ = serde_json::to_vec(&note)
        .map_err(io::Error::from)
        .and_then(|bytes| write(folder, &format!("{}{ENDED}", of.id), &bytes));
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
    // A pipe would keep whoever opens it.
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_speaks_for_the_process_it_is_named_after() {
        let named = |file: &str, id: &str| is_named(&Path::new("folder").join(file), id, REGISTERED);
        assert!(named("consumer-7-0a1b.json", "consumer-7-0a1b"));
        for (file, id) in [("consumer-8.json", "consumer-7"), ("x.json", "../x"), ("a_b.json", "a_b"), (".json", "")] {
            assert!(!named(file, id), "{file}: {id}");
        }
    }
}
