//! The rows of a lake, found by its configuration or its folder, with the schema that they have.

use std::path::Path;

use arrow::datatypes::SchemaRef;

use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::lake::read::{LakeReader, ReadOptions, Root};
use crate::model::Schema;

/// A lake as it was when it was opened.
#[derive(Clone, Debug)]
pub struct LakeRows {
    pub reader: LakeReader,
    pub schema: SchemaRef,
    /// Rows of the date that was asked for, or all.
    pub rows: u64,
}

/// Opens the lake of the settings, by its commit log, or else a folder, by listing it. A configured lake without
/// files has the configured schema.
///
/// # Errors
/// `Lake` for a folder without files of a lake.
pub fn read_rows(settings: Option<&Settings>, folder: Option<&Path>, options: &ReadOptions) -> Result<LakeRows> {
    let (reader, columns) = match (settings, folder) {
        (Some(settings), _) => {
            let checkpoint = settings.streaming.checkpoint_location.as_deref();
            let reader = LakeReader::with_settings(settings.require_lake()?, checkpoint, Root::Lake)?;
            (reader, Some(settings.schema.clone().unwrap_or_else(Schema::orders)))
        }
        (None, Some(folder)) => (LakeReader::open(folder, None)?, None),
        (None, None) => return Err(Error::bug("neither settings nor a folder were given")),
    };
    let schema = match (reader.schema(options)?, columns) {
        (Some(schema), _) => schema,
        (None, Some(columns)) => columns.to_arrow(),
        (None, None) => return Err(Error::new(Kind::Lake, "the folder holds no date=YYYY-MM-DD/*.parquet files")),
    };
    let in_scope = reader.files().iter().filter(|file| options.date.is_none_or(|date| date == file.date));
    let rows = in_scope.map(|file| file.rows).sum();
    Ok(LakeRows { reader, schema, rows })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::config::Compression;

    #[test]
    fn a_folder_is_read_and_counted_by_date() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("samples");
        let now = DateTime::from_timestamp(1_763_467_200, 0).unwrap();
        crate::tools::create_parquet_sample(&root, 50, 7, Compression::None, now).unwrap();
        let all = read_rows(None, Some(&root), &ReadOptions::default()).unwrap();
        assert_eq!((all.rows, all.schema.field(0).name().as_str()), (50, "order_id"));
        let today = ReadOptions { date: Some(now.date_naive()), ..ReadOptions::default() };
        let found = read_rows(None, Some(&root), &today).unwrap();
        let counted: usize = found.reader.batches(today).map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(found.rows, counted as u64);
        assert!(found.rows < 50);
    }

    #[test]
    fn a_folder_without_files_is_no_lake() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_rows(None, Some(folder.path()), &ReadOptions::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Lake);
    }
}
