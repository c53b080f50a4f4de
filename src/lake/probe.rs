//! Can this file system keep the promises? Tried, not guessed (protocol L1).
//!
//! Commits need three things: a rename from staging into lake and quarantine that is one step, a way to give a
//! record a number that must be free, and locks that end with their process. Device numbers alone miss bind
//! mounts, and some network file systems accept a call and do something else, so each is done once at start.

use std::path::{Path, PathBuf};

use super::commit_log::TEMPORARY;
use super::durable::{Dir, Moved};
use super::layout;
use crate::config;
use crate::error::{Error, Kind, Result};

/// Absolute form of a folder that may not exist yet.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?))).map_or(
        absolute.clone(),
        |(above, real)| match absolute.strip_prefix(above) {
            Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
            _ => real,
        },
    )
}

/// Refuses folders that cannot be used, before anything is created in them.
pub(crate) fn refuse_unfit_folders(settings: &config::Lake, checkpoint: &Path) -> Result<()> {
    refuse_overlap(&[
        ("datalake.path", &settings.path),
        ("datalake.quarantine_path", &settings.quarantine_path),
        ("datalake.staging_path", &settings.staging_path),
        ("streaming.checkpoint_location", checkpoint),
    ])?;
    layout::refuse_spark_checkpoint(checkpoint)
}

/// Refuses folders inside each other: readers of the lake would count what is not the lake's, and a reset of
/// one would delete another. Looks before anything is created.
pub(crate) fn refuse_overlap(folders: &[(&str, &Path)]) -> Result<()> {
    let folders: Vec<(&str, PathBuf)> = folders.iter().map(|&(key, path)| (key, resolved(path))).collect();
    for (index, (key, path)) in folders.iter().enumerate() {
        for (other_key, other) in &folders[index + 1..] {
            if path.starts_with(other) || other.starts_with(path) {
                return Err(Error::config(format!(
                    "`{key}` ({}) and `{other_key}` ({}) lie inside each other; give each a folder of its own",
                    path.display(),
                    other.display()
                )));
            }
        }
    }
    Ok(())
}

/// Refuses a root that staged files cannot be renamed into.
pub(crate) fn refuse_other_file_system(staging: &Dir, root: &Dir, key: &str) -> Result<()> {
    let name = format!("probe-{}", uuid::Uuid::new_v4().simple());
    if staging.crosses_to(root, &name)? {
        return Err(crossing(staging.path(), root.path(), key));
    }
    // Beside the root and not in it: nothing but the lake's files may ever appear there.
    let Ok(Some(beside)) = parent(root.path()).map(|parent| Dir::open(&parent)).transpose() else { return Ok(()) };
    staging.write_new(&name, b"foodstream tries whether a file can be moved here\n")?;
    let hidden = format!(".{name}");
    let moved = staging.rename_new(&name, &beside, &hidden);
    staging.remove(&name)?;
    match moved {
        Ok(Moved::Done) => beside.remove(&hidden),
        Ok(other) => Err(Error::new(
            Kind::Lake,
            format!(
                "a file could not be moved from {} to {}: {other:?}",
                staging.path().display(),
                beside.path().display()
            ),
        )),
        // A root of its own in a folder of someone else's: nothing may be created beside it, the check above stands.
        Err(error) if not_permitted(&error) => Ok(()),
        Err(error) if error.kind() == Kind::Config => Err(crossing(staging.path(), root.path(), key)),
        Err(error) => Err(error),
    }
}

fn parent(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()?.parent().map(Path::to_owned)
}

fn not_permitted(error: &Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| matches!(cause.kind(), PermissionDenied | ReadOnlyFilesystem))
}

fn crossing(staging: &Path, root: &Path, key: &str) -> Error {
    Error::config(format!(
        "`datalake.staging_path` ({}) and `{key}` ({}) are on different file systems or mounts, so a file cannot \
         become visible in one step; put both below one mount point",
        staging.display(),
        root.display()
    ))
}

/// Refuses a checkpoint whose file system lets a second writer have a name that is taken.
pub(crate) fn refuse_replacing(commits: &Dir, writer: &str) -> Result<()> {
    let (first, second) = (format!("{TEMPORARY}{writer}-a"), format!("{TEMPORARY}{writer}-b"));
    let tried = try_put(commits, &first, &second);
    commits.remove(&first)?;
    commits.remove(&second)?;
    match tried? {
        true => Ok(()),
        false => Err(Error::config(format!(
            "the file system of {} gives one name to two files, so two workers could both commit; put \
             `streaming.checkpoint_location` on a local file system",
            commits.path().display()
        ))),
    }
}

/// Whether a link, or where there are none a rename, respects a name that is taken.
fn try_put(commits: &Dir, first: &str, second: &str) -> Result<bool> {
    commits.write_new(first, b"foodstream tries whether a taken name stays taken\n")?;
    match commits.link_new(first, commits, second) {
        Ok(moved) => Ok(moved == Moved::Done && commits.link_new(first, commits, second)? == Moved::Taken),
        Err(_) => {
            commits.write_new(second, b"taken\n")?;
            Ok(commits.rename_new(first, commits, second)? == Moved::Taken)
        }
    }
}
