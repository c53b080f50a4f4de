//! Parquet files without a log, in the lake's layout: for trying readers (`create-parquet`).
//!
//! Files become visible whole, by rename, under names of their own kind: a lake refuses a root that holds them,
//! and they are not written into a root that holds a lake's files.

use std::path::{Path, PathBuf};

use super::durable::{Dir, Moved, sync_file};
use super::staging::Staging;
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
    // Locked, as a lake's own: between two files it is empty, and a sweep takes what is empty and unlocked. Without an
    // owner's name, so that whoever sweeps takes what a kill leaves here: nobody needs it.
    let staging = Staging::claim(Dir::create_all(Path::new(&staging))?, "")?;
    let written = probe::refuse_other_file_system(staging.dir(), &root, "the sample folder")
        .and_then(|()| write_all(&root, &staging, compression, batches));
    let staging_root = staging.root().path().to_owned();
    staging.discard();
    let _ = std::fs::remove_dir(staging_root);
    written
}

fn write_all(root: &Dir, staging: &Staging, compression: Compression, batches: &[DatedBatch]) -> Result<Vec<PathBuf>> {
    let (id, staging) = (staging.writer(), staging.dir());
    let mut paths = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        let name = format!("sample-{}-{number}.parquet", &id[..8]);
        let schema = batch.rows.schema();
        let properties = parquet::properties(&schema, compression)?;
        let rows = vec![batch.rows.clone()];
        let path = staging.join(&name);
        let (_, file) = parquet::write(staging.create(&name)?, &path, &schema, &properties, None, rows)?;
        sync_file(&file, &path)?;
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
