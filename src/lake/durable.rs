//! Durability in one place: folders by descriptor, files that are synced before they have a name, renames that
//! never replace, put-if-absent.
//!
//! Every other module of the lake writes through here, so that no call site can forget the sync of a file or of
//! its folder. A failed sync is reported and never tried again: the kernel may have dropped the pages, and a
//! second sync would lie. Names are resolved against an open folder and never follow a symbolic link.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::failpoints;

/// Owner writes, group reads: lake and quarantine may hold personal data, so others get nothing.
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// As many syncs run beside each other, and as many new files are open until they are synced together.
pub(crate) const SYNCED_AT_ONCE: usize = 8;

/// An I/O error with what was tried and where. A full disk may be emptied, so that is worth another try from the
/// start; nothing else is.
pub(crate) fn failed(action: &str, path: &Path, cause: impl Into<io::Error>) -> Error {
    let cause = cause.into();
    let full = matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let advice = if full { "; free some space" } else { "" };
    let error = Error::new(Kind::Lake, format!("cannot {action} {}{advice}", path.display())).because(cause);
    if full { error.retriable() } else { error }
}

fn sync_failed(path: &Path, cause: impl Into<io::Error>) -> Error {
    let message = format!("cannot sync {} to disk; start again, the last commit in the log decides", path.display());
    Error::new(Kind::Lake, message).because(cause.into())
}

/// What became of a rename that must not replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Done,
    /// The target exists; the source is where it was.
    Taken,
    /// There is no source.
    Missing,
}

/// The failpoints a put-if-absent passes.
#[derive(Clone, Copy)]
pub(crate) struct PutPoints {
    pub written: &'static str,
    pub linked: &'static str,
}

/// For files whose loss only costs time or is noticed at once.
pub(crate) const SIDE_FILE: PutPoints =
    PutPoints { written: failpoints::LAKE_SIDE_FILE_WRITTEN, linked: failpoints::LAKE_SIDE_FILE_WRITTEN };

/// An open folder. It stays the same folder when its path is moved or replaced by a link.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a folder that the user named; links on the way are the user's own.
    pub fn open(path: &Path) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed("open the folder", path, e))?;
        Ok(Dir { fd, path: path.to_owned() })
    }

    /// Creates the folder and those above it, each synced into its parent, and opens it.
    pub fn create_all(path: &Path) -> Result<Dir> {
        if path.is_dir() {
            return Dir::open(path);
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::config(format!("`{}` cannot name a new folder", path.display())))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let parent = Dir::create_all(parent)?;
        parent.make(name)?;
        parent.sync()?;
        Dir::open(path)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The number of the device the folder is on.
    pub fn device(&self) -> Result<u64> {
        self.stat().map(|stat| stat.st_dev)
    }

    /// What tells this folder from another of its name: its number on the device, and, since that may be given out anew,
    /// when it was made, where the file system knows.
    pub fn identity(&self) -> Result<(u64, Option<SystemTime>)> {
        let metadata = self.fd.try_clone().and_then(|fd| File::from(fd).metadata());
        let metadata = metadata.map_err(|error| failed("examine", &self.path, error))?;
        Ok((metadata.ino(), metadata.created().ok()))
    }

    fn stat(&self) -> Result<Stat> {
        rustix::fs::fstat(&self.fd).map_err(|e| failed("examine", &self.path, e))
    }

    /// A folder inside this one, `None` when missing. A link in its place is refused: writes stay under the root.
    pub fn child(&self, name: &str) -> Result<Option<Dir>> {
        let path = self.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Dir { fd, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(Error::new(
                Kind::Lake,
                format!("{} is a link or no folder; only real folders are written to, so remove it", path.display()),
            )),
            Err(e) => Err(failed("open the folder", &path, e)),
        }
    }

    /// Creates the folder unless it exists and opens it. The caller syncs this one.
    pub fn make(&self, name: &str) -> Result<Dir> {
        self.try_make(name)?.ok_or_else(|| {
            Error::new(Kind::Lake, format!("{} vanished while it was created", self.join(name).display()))
        })
    }

    /// The same; `None` where somebody has removed it at once.
    pub fn try_make(&self, name: &str) -> Result<Option<Dir>> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(FOLDER_MODE as _)) {
            Ok(()) => trace::note("make", &self.join(name)),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(failed("create the folder", &self.join(name), e)),
        }
        self.child(name)
    }

    /// `make`, then both the folder and its entry are durable.
    pub fn make_durable(&self, name: &str) -> Result<Dir> {
        let child = self.make(name)?;
        child.sync()?;
        self.sync()?;
        Ok(child)
    }

    pub fn sync(&self) -> Result<()> {
        sync_all(&[(self.fd.as_fd(), self.path())])
    }

    /// A new file, never an existing one.
    pub fn create(&self, name: &str) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(FILE_MODE as _))
            .map(File::from)
            .map_err(|e| failed("create", &self.join(name), e))
    }

    /// A file of this folder to read, `None` when missing.
    pub fn open_file(&self, name: &str) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(failed("open", &self.join(name), e)),
        }
    }

    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(mut file) = self.open_file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| failed("read", &self.join(name), e))?;
        Ok(Some(bytes))
    }

    pub fn has(&self, name: &str) -> Result<bool> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(failed("examine", &self.join(name), e)),
        }
    }

    /// Names of all entries, sorted. One that is not UTF-8 is shown with replacement characters and is nobody's.
    pub fn names(&self) -> Result<Vec<String>> {
        let list = |e| failed("list", &self.path, e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(list)? {
            names.push(entry.map_err(list)?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Removes a file; a missing one is no error.
    pub fn remove(&self, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(failed("remove", &self.join(name), e)),
        }
    }

    /// Removes an empty folder; `false` when it is not empty. A missing one is no error.
    pub fn remove_folder(&self, name: &str) -> Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(e) => Err(failed("remove the folder", &self.join(name), e)),
        }
    }

    /// Moves an entry without ever replacing one. The caller syncs both folders.
    pub fn rename_new(&self, name: &str, to: &Dir, new_name: &str) -> Result<Moved> {
        match rustix::fs::renameat_with(&self.fd, name, &to.fd, new_name, RenameFlags::NOREPLACE) {
            Ok(()) => {
                trace::note("move", &to.join(new_name));
                Ok(Moved::Done)
            }
            Err(Errno::EXIST) => Ok(Moved::Taken),
            Err(Errno::NOENT) => Ok(Moved::Missing),
            // A file system without the flag: two steps do the same, and a kill between them leaves both names,
            // which `publish` recognises.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.link_and_remove(name, to, new_name),
            Err(e) => Err(self.move_failed(name, &to.join(new_name), e)),
        }
    }

    /// Gives the file another name of this folder, in place of the file that has it.
    pub fn replace(&self, name: &str, new_name: &str) -> Result<()> {
        rustix::fs::renameat(&self.fd, name, &self.fd, new_name)
            .map_err(|e| self.move_failed(name, &self.join(new_name), e))
    }

    pub(super) fn link_and_remove(&self, name: &str, to: &Dir, new_name: &str) -> Result<Moved> {
        let moved = self.link_new(name, to, new_name)?;
        if moved == Moved::Done {
            self.remove(name)?;
        }
        Ok(moved)
    }

    /// Gives the file a second name that must be free. The caller syncs the folder.
    pub fn link_new(&self, name: &str, to: &Dir, new_name: &str) -> Result<Moved> {
        match rustix::fs::linkat(&self.fd, name, &to.fd, new_name, AtFlags::empty()) {
            Ok(()) => {
                trace::note("link", &to.join(new_name));
                Ok(Moved::Done)
            }
            Err(Errno::EXIST) => Ok(Moved::Taken),
            Err(Errno::NOENT) => Ok(Moved::Missing),
            Err(e) => Err(self.move_failed(name, &to.join(new_name), e)),
        }
    }

    fn move_failed(&self, name: &str, target: &Path, cause: Errno) -> Error {
        let from = self.join(name);
        if cause == Errno::XDEV {
            return Error::config(format!(
                "{} and {} are on different file systems, so a file cannot be moved in one step; \
                 name a `datalake.staging_path` on the file system of both",
                from.display(),
                target.display()
            ));
        }
        failed(&format!("move {} to", from.display()), target, cause)
    }

    /// Whether a rename from here to there would cross file systems. Nothing is moved: the kernel compares the
    /// mounts before it looks for the names, so this also sees two mounts of one device.
    pub fn crosses_to(&self, to: &Dir, missing_name: &str) -> Result<bool> {
        let answer = rustix::fs::renameat_with(&self.fd, missing_name, &to.fd, missing_name, RenameFlags::NOREPLACE);
        Ok(answer == Err(Errno::XDEV) || self.device()? != to.device()?)
    }

    /// Writes a new file and syncs it. On an error nothing keeps the name.
    pub fn write_new(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.create(name)?;
        let written = file
            .write_all(bytes)
            .map_err(|e| failed("write", &self.join(name), e))
            .and_then(|()| sync_file(&file, &self.join(name)));
        if written.is_err() {
            // The first error is the one to report.
            let _ = self.remove(name);
        }
        written
    }
}

/// Syncs a file's data and length. What a checked close would report beyond this is nothing: the data is down.
pub(crate) fn sync_file(file: &File, path: &Path) -> Result<()> {
    sync_all(&[(file.as_fd(), path)])
}

/// Syncs files.
pub(crate) fn sync_files(files: &[(File, PathBuf)]) -> Result<()> {
    sync_all(&files.iter().map(|(file, path)| (file.as_fd(), path.as_path())).collect::<Vec<_>>())
}

/// Syncs folders.
pub(crate) fn sync_folders<'a>(folders: impl Iterator<Item = &'a Dir>) -> Result<()> {
    sync_all(&folders.map(|folder| (folder.fd.as_fd(), folder.path())).collect::<Vec<_>>())
}

/// Side by side, since a disk takes for several hardly longer than for one.
fn sync_all(entries: &[(BorrowedFd<'_>, &Path)]) -> Result<()> {
    let sync = |(fd, path): &(BorrowedFd<'_>, &Path)| rustix::fs::fsync(fd).map_err(|e| sync_failed(path, e));
    for entries in entries.chunks(SYNCED_AT_ONCE) {
        let Some((last, others)) = entries.split_last() else { continue };
        let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
            let spawn = |entry| std::thread::Builder::new().spawn_scoped(scope, move || sync(entry));
            let started: Vec<_> = others.iter().map(|entry| spawn(entry).map_err(|_no_thread| entry)).collect();
            let last = sync(last);
            let outcomes = started.into_iter().map(|thread| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(entry) => sync(entry),
            });
            outcomes.chain([last]).collect()
        });
        for (outcome, (_, path)) in outcomes.into_iter().zip(entries) {
            outcome?;
            trace::note("sync", path);
        }
    }
    Ok(())
}

/// Makes `target/name` hold exactly `bytes`, durably, unless something has that name already: then `false`, and
/// nothing changed. A kill at any point leaves no file or the whole file. `scratch` lies on the same file system
/// and keeps, after a kill, at most the temporary name.
pub(crate) fn put_if_absent(
    scratch: &Dir,
    temporary: &str,
    target: &Dir,
    name: &str,
    bytes: &[u8],
    points: PutPoints,
) -> Result<bool> {
    scratch.write_new(temporary, bytes)?;
    failpoints::reach(points.written)?;
    let linked = match scratch.link_new(temporary, target, name) {
        Err(error) if error_is_unsupported(&error) => scratch.rename_new(temporary, target, name),
        other => other,
    };
    if matches!(linked, Ok(Moved::Done)) {
        failpoints::reach(points.linked)?;
        target.sync()?;
    }
    // Best effort: a temporary name that stays is removed by the next sweep.
    let _ = scratch.remove(temporary);
    match linked? {
        Moved::Done => Ok(true),
        Moved::Taken => Ok(false),
        Moved::Missing => Err(Error::new(
            Kind::Lake,
            format!("{} has vanished; has the folder been removed under a running writer?", target.path().display()),
        )),
    }
}

/// File systems without hard links answer so (FAT, some network and FUSE file systems).
fn error_is_unsupported(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    let code = cause.and_then(io::Error::raw_os_error);
    [Errno::PERM, Errno::NOTSUP, Errno::NOSYS].iter().any(|unsupported| code == Some(unsupported.raw_os_error()))
}

/// What this thread did to the disk. A kill leaves what a process has written, so only the order of the steps shows
/// what a power cut would leave.
#[cfg(test)]
pub(super) mod trace {
    use std::cell::RefCell;
    use std::path::{Path, PathBuf};

    type Act = Box<dyn FnOnce(&Path)>;

    thread_local! {
        static STEPS: RefCell<Vec<(&'static str, PathBuf)>> = const { RefCell::new(Vec::new()) };
        static NEXT: RefCell<Option<(&'static str, Act)>> = const { RefCell::new(None) };
    }

    pub fn note(step: &'static str, path: &Path) {
        STEPS.with_borrow_mut(|steps| steps.push((step, path.to_owned())));
        if let Some((_, act)) = NEXT.with_borrow_mut(|next| next.take_if(|(awaited, _)| *awaited == step)) {
            act(path);
        }
    }

    /// What another process does right after this thread's next step of that name.
    pub fn after_next(step: &'static str, act: impl FnOnce(&Path) + 'static) {
        NEXT.set(Some((step, Box::new(act))));
    }

    /// The steps since the last call.
    pub fn take() -> Vec<(&'static str, PathBuf)> {
        STEPS.take()
    }
}

#[cfg(not(test))]
mod trace {
    #[inline(always)]
    pub fn note(_: &'static str, _: &std::path::Path) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_stays_taken_by_rename_by_link_and_by_put() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::create_all(&folder.path().join("a/b")).unwrap();
        dir.write_new("first", b"1").unwrap();
        dir.write_new("second", b"2").unwrap();
        assert!(dir.write_new("first", b"3").is_err());
        assert_eq!(dir.rename_new("second", &dir, "first").unwrap(), Moved::Taken);
        assert_eq!(dir.link_and_remove("second", &dir, "first").unwrap(), Moved::Taken);
        assert!(!put_if_absent(&dir, "temporary", &dir, "first", b"4", SIDE_FILE).unwrap());
        assert_eq!(dir.names().unwrap(), ["first", "second"]);
        assert_eq!((dir.read("first").unwrap(), dir.read("second").unwrap()), (Some(b"1".into()), Some(b"2".into())));
    }

    #[test]
    fn a_rename_of_two_steps_does_what_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        dir.write_new("from", b"1").unwrap();
        assert_eq!(dir.link_and_remove("from", &dir, "to").unwrap(), Moved::Done);
        assert_eq!(dir.names().unwrap(), ["to"]);
        assert_eq!(dir.link_and_remove("from", &dir, "other").unwrap(), Moved::Missing);
        assert_eq!(dir.rename_new("from", &dir, "other").unwrap(), Moved::Missing);
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        dir.write_new("file", b"1").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("folder")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("file"), folder.path().join("link")).unwrap();
        assert!(dir.child("folder").unwrap_err().to_string().contains("is a link"));
        assert!(dir.child("file").unwrap_err().to_string().contains("no folder"));
        assert!(dir.open_file("link").is_err());
        assert!(dir.has("link").unwrap() && dir.child("missing").unwrap().is_none());
    }

    #[test]
    fn a_full_disk_is_worth_another_try_and_nothing_else_is() {
        let full = failed("write", Path::new("/lake/part"), io::Error::from(io::ErrorKind::StorageFull));
        assert!(full.is_retriable() && full.to_string().contains("free some space"));
        let denied = failed("write", Path::new("/lake/part"), io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(!denied.is_retriable() && denied.to_string().contains("/lake/part"));
    }
}
