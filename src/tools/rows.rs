//! The rows of a lake, found by its configuration or its folder, with the schema that they have.

use std::path::Path;

use arrow::datatypes::SchemaRef;

use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::lake::read::{LakeReader, ReadOptions, Root};
use crate::tools::quality::validator;

/// A lake as it was when it was opened.
#[derive(Clone, Debug)]
pub struct LakeRows {
    pub reader: LakeReader,
    pub schema: SchemaRef,
    /// Rows of the date that was asked for, or all.
    pub rows: u64,
}

/// What is to be read.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub root: Root,
    /// As it was after this commit; `None`: as it is now.
    pub snapshot: Option<u64>,
    pub options: ReadOptions,
}

impl Wanted {
    /// Accepted rows as they are now.
    pub fn of_lake(options: ReadOptions) -> Self {
        Wanted { root: Root::Lake, snapshot: None, options }
    }
}

/// Opens the lake of the settings, by its commit log, or else a folder, by listing it. A configured lake without
/// files has the configured schema.
///
/// # Errors
/// `Lake` for a folder without files of a lake, `Schema` for a column that is not there, `Config` for a snapshot that
/// is not.
pub fn read_rows(settings: Option<&Settings>, folder: Option<&Path>, wanted: &Wanted) -> Result<LakeRows> {
    let reader = match (settings, folder) {
        (Some(settings), _) => open(settings, wanted)?,
        (None, Some(folder)) => LakeReader::open(folder, None)?,
        (None, None) => return Err(Error::bug("neither settings nor a folder were given")),
    };
    let options = &wanted.options;
    let schema = match (reader.schema(options)?, settings) {
        (Some(schema), _) => schema,
        (None, Some(settings)) => options.schema_of(&columns(settings, wanted.root)?)?,
        (None, None) => return Err(Error::new(Kind::Lake, "the folder holds no date=YYYY-MM-DD/*.parquet files")),
    };
    let in_scope = reader.files().iter().filter(|file| options.days.contains(file.date));
    let rows = in_scope.map(|file| file.rows).sum();
    Ok(LakeRows { reader, schema, rows })
}

fn open(settings: &Settings, wanted: &Wanted) -> Result<LakeReader> {
    let lake = settings.require_lake()?;
    match wanted.snapshot {
        Some(commit) => LakeReader::at_commit(lake, settings.require_checkpoint()?, wanted.root, commit),
        None => LakeReader::with_settings(lake, settings.streaming.checkpoint_location.as_deref(), wanted.root),
    }
}

fn columns(settings: &Settings, root: Root) -> Result<SchemaRef> {
    let validator = validator(settings)?;
    Ok(match root {
        Root::Lake => validator.lake_schema(),
        Root::Quarantine => validator.quarantine_schema(),
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::config::Compression;
    use crate::lake::read::DayRange;

    #[test]
    fn a_folder_is_read_and_counted_by_date() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("samples");
        let now = DateTime::from_timestamp(1_763_467_200, 0).unwrap();
        crate::tools::create_parquet_sample(&root, 50, 7, Compression::None, now).unwrap();
        let all = read_rows(None, Some(&root), &Wanted::of_lake(ReadOptions::default())).unwrap();
        assert_eq!((all.rows, all.schema.field(0).name().as_str()), (50, "order_id"));
        let today = ReadOptions { days: DayRange::only(now.date_naive()), ..ReadOptions::default() };
        let found = read_rows(None, Some(&root), &Wanted::of_lake(today.clone())).unwrap();
        let counted: usize = found.reader.batches(today).map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(found.rows, counted as u64);
        assert!(found.rows < 50);
    }

    #[test]
    fn a_folder_without_files_is_no_lake() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_rows(None, Some(folder.path()), &Wanted::of_lake(ReadOptions::default())).unwrap_err();
        assert_eq!(error.kind(), Kind::Lake);
    }
}
