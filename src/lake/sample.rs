//! Parquet files without a log, in the lake's layout: for trying readers (`create-parquet`).
//!
//! Files become visible whole, by rename, under names of their own kind: a lake refuses a root that holds them,
//! and they are not written into a root that holds a lake's files.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::durable::{Dir, Moved, sync_files};
use super::{layout, parquet, probe};
use crate::config::Compression;
use crate::error::{Error, Kind, Result};
use crate::model::DatedBatch;

/// Writes one file a batch and returns their paths.
pub fn write_samples(root: &Path, compression: Compression, batches: &[DatedBatch]) -> Result<Vec<PathBuf>> {
    let mut staging = root.as_os_str().to_owned();
    staging.push("_staging");
    let root = Dir::create_all(root)?;
    let survey = layout::survey(&root)?;
    if !survey.files.is_empty() {
        return Err(Error::new(
            Kind::Lake,
            format!(
                "{} is a lake ({}); samples would be counted with its rows, so name another folder",
                root.path().display(),
                layout::first_few(&survey.files)
            ),
        ));
    }
    let id = Uuid::new_v4().hyphenated().to_string();
    let staging = Dir::create_all(Path::new(&staging))?;
    probe::refuse_other_file_system(&staging, &root, "the sample folder")?;
    let folder = staging.make(&id)?;
    let written = write_all(&root, &folder, &id, compression, batches);
    // Best effort: nothing of a sample is worth another error.
    for name in folder.names().unwrap_or_default() {
        let _ = folder.remove(&name);
    }
    let _ = staging.remove_folder(&id);
    let _ = staging.path().parent().map(|_| std::fs::remove_dir(staging.path()));
    written
}

fn write_all(
    root: &Dir,
    staging: &Dir,
    id: &str,
    compression: Compression,
    batches: &[DatedBatch],
) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        let name = format!("sample-{}-{number}.parquet", &id[..8]);
        let schema = batch.rows.schema();
        let properties = parquet::properties(&schema, compression)?;
        let rows = std::slice::from_ref(&batch.rows);
        let path = staging.join(&name);
        let (_, file) = parquet::write(staging.create(&name)?, &path, &schema, &properties, None, rows)?;
        sync_files(&[(file, path)])?;
        let folder_name = layout::date_folder(batch.date)?;
        let folder = root.make_durable(&folder_name)?;
        if staging.rename_new(&name, &folder, &name)? != Moved::Done {
            return Err(Error::new(Kind::Lake, format!("{} exists already", folder.join(&name).display())));
        }
        folder.sync()?;
        paths.push(folder.join(&name));
    }
    Ok(paths)
}
