//! From committed to visible: the renames of one record, by whoever comes first (protocols L4, L5).
//!
//! The record is the truth; a rename only follows it. So any writer may finish any record's renames, several may
//! try at once, and a file that is no longer staged is done only if the final one is the very file the record
//! names, by length and checksum.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::durable::{Dir, Moved, sync_folders};
use super::layout;
use super::parquet;
use super::record::{FileEntry, Record};
use crate::error::{Error, Kind, Result};
use crate::failpoints;

/// The three roots a rename goes between.
#[derive(Clone, Copy)]
pub(crate) struct Roots<'a> {
    pub staging: &'a Dir,
    pub lake: &'a Dir,
    pub quarantine: &'a Dir,
}

/// Date folders of one root by their identities, with entries that this worker has synced itself.
#[derive(Debug, Default)]
pub(crate) struct KnownFolders(BTreeMap<String, (u64, Option<SystemTime>)>);

/// Creates and syncs the date folders of the record's files: a full disk must show before the commit.
pub(crate) fn prepare_folders<'a>(
    root: &Dir,
    names: impl Iterator<Item = &'a str>,
    known: &mut KnownFolders,
) -> Result<()> {
    let mut folders: Vec<&str> = names.map(|name| split(name).map(|(folder, _)| folder)).collect::<Result<_>>()?;
    folders.sort_unstable();
    folders.dedup();
    let mut news = Vec::new();
    for name in folders {
        let folder = match root.child(name)? {
            Some(folder) => folder,
            None => {
                let made = root.make(name)?;
                made.sync()?;
                made
            }
        };
        let identity = folder.identity()?;
        if known.0.get(name) != Some(&identity) {
            news.push((name.to_owned(), identity));
        }
    }
    if !news.is_empty() {
        // Also where the folders were there: another worker may have made them and not come to its sync.
        root.sync()?;
        known.0.extend(news);
    }
    Ok(())
}

/// Makes the record's files visible and durable under their final names. Harmless when it has been done.
pub(crate) fn publish(roots: Roots<'_>, record: &Record) -> Result<()> {
    if record.files.is_empty() && record.quarantine.is_empty() {
        return Ok(());
    }
    let staged = roots.staging.child(&record.writer)?;
    let mut touched = Vec::new();
    for (root, files) in [(roots.lake, &record.files), (roots.quarantine, &record.quarantine)] {
        let mut folders: BTreeMap<&str, Dir> = BTreeMap::new();
        for file in files {
            let (folder_name, name) = split(&file.name)?;
            if !folders.contains_key(folder_name) {
                let folder = match root.child(folder_name)? {
                    Some(folder) => folder,
                    None => root.make_durable(folder_name)?,
                };
                folders.insert(folder_name, folder);
            }
            move_file(staged.as_ref(), &folders[folder_name], name, file, record.number)?;
            failpoints::reach(failpoints::LAKE_RENAMED)?;
        }
        touched.extend(folders.into_values());
    }
    failpoints::reach(failpoints::LAKE_ALL_RENAMED)?;
    sync_folders(staged.iter().chain(&touched))
}

fn split(name: &str) -> Result<(&str, &str)> {
    layout::split_final_name(name)
        .ok_or_else(|| Error::new(Kind::Lake, format!("`{name}` in a commit record is no name of a lake file")))
}

fn move_file(staged: Option<&Dir>, folder: &Dir, name: &str, entry: &FileEntry, commit: u64) -> Result<()> {
    let moved = staged.map_or(Ok(Moved::Missing), |staged| staged.rename_new(name, folder, name))?;
    if moved == Moved::Done {
        return Ok(());
    }
    let path = folder.join(name);
    let wrong = |what: String| {
        Error::new(
            Kind::Lake,
            format!(
                "{} belongs to commit {commit}, but {what}; restore it, or stop and run `foodstream verify`",
                path.display()
            ),
        )
    };
    let Some(file) = folder.open_file(name)? else {
        return Err(wrong("it is neither there nor in staging".to_owned()));
    };
    let (bytes, crc) = parquet::checksum(file, &path)?;
    if (bytes, format!("{crc:08x}")) != (entry.bytes, entry.crc32c.clone()) {
        return Err(wrong(format!(
            "the file there has {bytes} bytes and checksum {crc:08x} where the record has {} and {}",
            entry.bytes, entry.crc32c
        )));
    }
    match staged {
        // A rename made of two steps was cut between them.
        Some(staged) if moved == Moved::Taken => staged.remove(name),
        _ => Ok(()),
    }
}
