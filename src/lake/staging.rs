//! A writer's own folder beside the lake, locked while the writer lives.
//!
//! ```text
//! <staging root>/<writer uuid>/lock         flock; its text names the checkpoint it works for
//! <staging root>/<writer uuid>/part-…       staged files, until a commit renames them away
//! ```
//! The kernel gives the lock back when the process ends, however it ends: a folder whose lock can be taken has no
//! writer any more. Such a folder is deleted only after the log's last record is known to be finished, since that
//! record may still need it.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};

use uuid::Uuid;

use super::durable::{self, Dir, failed};
use crate::error::{Error, Kind, Result};

const LOCK: &str = "lock";

/// A new folder can lose a race with a sweep only between two system calls; so many times in a row it cannot.
const CLAIM_ATTEMPTS: u32 = 8;

#[derive(Debug)]
pub(crate) struct Staging {
    root: Dir,
    dir: Dir,
    writer: String,
    /// Holds the lock by living.
    _lock: File,
}

impl Staging {
    /// Makes and locks a folder of its own. `owner` tells this lake's writers from those of another lake that
    /// was given the same staging root.
    pub fn claim(root: Dir, owner: &str) -> Result<Staging> {
        for _ in 0..CLAIM_ATTEMPTS {
            let writer = Uuid::new_v4().hyphenated().to_string();
            let Some(dir) = root.try_make(&writer)? else { continue };
            let Some(lock) = try_claim(&root, &dir, &writer, owner)? else { continue };
            root.sync()?;
            return Ok(Staging { root, dir, writer, _lock: lock });
        }
        Err(Error::new(
            Kind::Lake,
            format!("cannot lock a folder under {}; does its file system know flock?", root.path().display()),
        ))
    }

    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    pub fn root(&self) -> &Dir {
        &self.root
    }

    pub fn writer(&self) -> &str {
        &self.writer
    }

    /// Gives the folder back with all that is staged in it, for one that no log knows. Best effort.
    pub fn discard(self) {
        for name in self.dir.names().unwrap_or_default() {
            if name != LOCK {
                let _ = self.dir.remove(&name);
            }
        }
    }

    /// Takes the locks of this lake's dead writers. With a lock in hand no further commit of that writer can come,
    /// so the log, read after this, says what of its folder is still needed.
    pub fn dead_writers(&self, owner: &str) -> Result<Vec<Dead>> {
        let mut dead = Vec::new();
        for name in self.root.names()? {
            if name == self.writer || Uuid::try_parse(&name).is_err() {
                continue;
            }
            let Some(folder) = self.root.child(&name)? else { continue };
            match take(&folder, owner)? {
                Taken::Living => {}
                Taken::Foreign => tracing::info!(
                    target: "foodstream::lake", folder = %folder.path().display(),
                    "left a staging folder that another lake's writer made"
                ),
                // Between its folder and its lock a writer is starting, or died. Empty, it holds nothing to lose.
                Taken::Unlocked => drop(self.root.remove_folder(&name)?),
                Taken::Dead(lock) => dead.push(Dead { name, folder, lock }),
            }
        }
        Ok(dead)
    }

    /// Deletes what a dead writer left. The log's last record must have been finished since its lock was taken.
    pub fn delete(&self, dead: Dead) -> Result<()> {
        let Dead { name, folder, lock } = dead;
        let files = folder.names()?;
        for file in files.iter().filter(|file| *file != LOCK) {
            folder.remove(file)?;
        }
        // Last, while it is still held: a folder without a lock is only ever removed when empty.
        folder.remove(LOCK)?;
        drop(lock);
        self.root.remove_folder(&name)?;
        tracing::info!(
            target: "foodstream::lake", writer = name, files = files.len().saturating_sub(1),
            "removed the staging folder of a writer that is gone"
        );
        Ok(())
    }
}

/// The folder of a writer that is gone, its lock now ours.
#[derive(Debug)]
pub(crate) struct Dead {
    name: String,
    folder: Dir,
    lock: File,
}

impl Drop for Staging {
    /// Leaves nothing behind a clean stop. Files that were staged stay for recovery, which knows the log.
    fn drop(&mut self) {
        let only_lock = self.dir.names().is_ok_and(|names| names.iter().all(|name| name == LOCK));
        if only_lock && self.dir.remove(LOCK).is_ok() {
            let _ = self.root.remove_folder(&self.writer);
        }
    }
}

/// Whether a living writer of any lake holds a folder under this root, other than `except`.
pub(crate) fn living_writer(root: &Dir) -> Result<Option<String>> {
    for name in root.names()?.into_iter().filter(|name| Uuid::try_parse(name).is_ok()) {
        let Some(folder) = root.child(&name)? else { continue };
        if let Some(lock) = folder.open_file(LOCK)?
            && matches!(lock.try_lock(), Err(TryLockError::WouldBlock))
        {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// `None`: a sweep took the folder away under us.
fn try_claim(root: &Dir, dir: &Dir, writer: &str, owner: &str) -> Result<Option<File>> {
    let path = dir.join(LOCK);
    let mut lock = match dir.create(LOCK) {
        Ok(lock) => lock,
        Err(_) if !root.has(writer)? => return Ok(None),
        Err(error) => return Err(error),
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(failed("lock", &path, e)),
    }
    // A sweep that held the lock before us has removed the name: then this lock protects nothing.
    if !dir.has(LOCK)? || !root.has(writer)? {
        return Ok(None);
    }
    lock.write_all(owner.as_bytes()).map_err(|e| failed("write", &path, e))?;
    durable::sync_file(&lock, &path)?;
    dir.sync()?;
    Ok(Some(lock))
}

enum Taken {
    Living,
    Foreign,
    Unlocked,
    Dead(File),
}

fn take(folder: &Dir, owner: &str) -> Result<Taken> {
    let path = folder.join(LOCK);
    let Some(mut lock) = folder.open_file(LOCK)? else { return Ok(Taken::Unlocked) };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Taken::Living),
        Err(TryLockError::Error(e)) => return Err(failed("lock", &path, e)),
    }
    let mut text = String::new();
    lock.read_to_string(&mut text).map_err(|e| failed("read", &path, e))?;
    // An empty text: killed before it staged anything, or writing samples.
    Ok(if text.is_empty() || text == owner { Taken::Dead(lock) } else { Taken::Foreign })
}

#[cfg(test)]
mod tests {
    use super::*;
    use durable::trace;

    #[test]
    fn a_folder_that_a_sweep_takes_before_its_lock_is_made_again_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let root = || Dir::open(folder.path()).unwrap();
        trace::after_next("make", |made| std::fs::remove_dir(made).unwrap());
        let staging = Staging::claim(root(), "this lake").unwrap();
        assert_eq!(root().names().unwrap(), [staging.writer()]);
        assert_eq!(living_writer(&root()).unwrap().as_deref(), Some(staging.writer()));
    }
}
