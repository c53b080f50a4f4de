//! The lake's side: its log and folders, and every committed row as key and digest.
//!
//! Rows, positions and quarantine belong to one state of the log: where a commit came between the readings, they are
//! taken again, so that a message is never counted both as consumed and as waiting.

use std::collections::HashMap;
use std::path::Path;

use arrow::array::{Array, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType as ArrowType, Int16Type, Int32Type, Int64Type, SchemaRef};

use super::canon::{Canon, Forms, LakeColumns, message_digest};
use super::facts::Facts;
use super::ledger::{Handle, Holding, KeyKind, Place};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::lake::read::{LakeReader, ReadOptions, Root};
use crate::lake::report::{LakeReport, lake_report};
use crate::model::Key;

/// A lake that commits faster than its log can be read this often in a row is not of this world; the error says so.
const MAX_READINGS: usize = 100;

/// Log, folders and readers of one state.
pub(super) struct LakePicture {
    pub report: LakeReport,
    pub lake: LakeReader,
    pub quarantine: LakeReader,
    /// Starting offsets of commit 0, by partition.
    pub starts: HashMap<i32, i64>,
}

impl LakePicture {
    pub fn take(settings: &config::Lake, checkpoint: &Path) -> Result<LakePicture> {
        for _ in 0..MAX_READINGS {
            let report = lake_report(settings, checkpoint, false)?;
            let lake = LakeReader::with_settings(settings, Some(checkpoint), Root::Lake)?;
            let quarantine = LakeReader::with_settings(settings, Some(checkpoint), Root::Quarantine)?;
            let of_log =
                |of_quarantine: bool| report.log.files.iter().filter(|file| file.quarantine == of_quarantine).count();
            let same = of_log(false) == lake.files().len() && of_log(true) == quarantine.files().len();
            if same || report.log.head.is_none() {
                let starts = match report.log.commits.first() {
                    Some(first) if first.number == 0 => {
                        first.ranges.iter().map(|range| (range.partition, range.to)).collect()
                    }
                    _ => HashMap::new(),
                };
                return Ok(LakePicture { report, lake, quarantine, starts });
            }
        }
        Err(Error::new(Kind::Lake, "the lake's log moved on during each of a hundred readings; try again").retriable())
    }

    pub fn is_founded(&self) -> bool {
        !self.report.log.commits.is_empty() || !self.report.log.faults.is_empty()
    }

    /// Next offset to read; `None` where the lake has not been founded on this partition.
    pub fn position(&self, partition: i32) -> Option<i64> {
        self.report.log.head.as_ref()?.positions.get(&partition).copied()
    }

    /// Arrow schema of the lake's rows; `None` before the first file.
    pub fn schema(&self) -> Result<Option<SchemaRef>> {
        self.lake.schema(&ReadOptions::default())
    }

    /// Numbers that need no row to be read.
    pub fn count(&self, facts: &mut Facts) {
        for partition in self.lake.partitions() {
            facts.dates.insert(partition.date, partition.rows);
        }
        facts.files = self.lake.files().len() as u64;
        facts.quarantine_files = self.quarantine.files().len() as u64;
        facts.lake_rows = self.lake.rows();
        facts.quarantine_rows = self.quarantine.rows();
        facts.commit = self.report.log.head.as_ref().map(|head| head.number);
        facts.messages_consumed = self.report.log.head.as_ref().map_or(0, |head| head.counts.input);
        facts.missing_files = self.report.missing.iter().map(|file| file.name.clone()).collect();
        facts.orphan_files = self.report.orphans.iter().map(|path| path.display().to_string()).collect();
    }

    /// Every committed row and every quarantined message.
    pub fn holdings(&self, key: &str, kind: KeyKind, forms: &Forms, facts: &mut Facts) -> Result<Vec<Holding>> {
        let mut holdings = Vec::with_capacity((self.lake.rows() + self.quarantine.rows()) as usize);
        let mut columns: Vec<String> = forms.columns.iter().map(|(name, _)| name.clone()).collect();
        if !columns.iter().any(|name| name == key) {
            columns.push(key.to_owned());
        }
        let mut canon = Canon::default();
        for batch in self.lake.batches(ReadOptions { columns: Some(columns), ..ReadOptions::default() }) {
            lake_rows(&batch?, key, kind, forms, &mut canon, &mut holdings, facts)?;
        }
        let columns = Some(vec!["raw_key".to_owned(), "raw_value".to_owned()]);
        for batch in self.quarantine.batches(ReadOptions { columns, ..ReadOptions::default() }) {
            quarantined(&batch?, kind, forms, &mut canon, &mut holdings, facts)?;
        }
        Ok(holdings)
    }
}

fn lake_rows(
    batch: &RecordBatch,
    key: &str,
    kind: KeyKind,
    forms: &Forms,
    canon: &mut Canon,
    holdings: &mut Vec<Holding>,
    facts: &mut Facts,
) -> Result<()> {
    let keys = Keys::new(batch, key)?;
    let mut columns = LakeColumns::new(batch, forms)?;
    for row in 0..batch.num_rows() {
        match keys.key(row).filter(|key| kind.accepts(*key)) {
            None => facts.lake_rows_without_key += 1,
            Some(key) => {
                columns.canon(row, canon);
                holdings.push(Holding { handle: Handle::new(key), place: Place::Lake, digest: forms.digest(canon) });
            }
        }
    }
    Ok(())
}

fn quarantined(
    batch: &RecordBatch,
    kind: KeyKind,
    forms: &Forms,
    canon: &mut Canon,
    holdings: &mut Vec<Holding>,
    facts: &mut Facts,
) -> Result<()> {
    let (keys, values) = (binary(batch, "raw_key")?, binary(batch, "raw_value")?);
    for row in 0..batch.num_rows() {
        let key = (!keys.is_null(row)).then(|| kind.parse(keys.value(row))).flatten();
        match key {
            None => facts.foreign_messages += 1,
            Some(key) => {
                let value = (!values.is_null(row)).then(|| values.value(row));
                let digest = message_digest(forms, value, canon);
                holdings.push(Holding { handle: Handle::new(key), place: Place::Quarantine, digest });
            }
        }
    }
    Ok(())
}

fn binary<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a BinaryArray> {
    batch.column_by_name(name).and_then(|array| array.as_binary_opt::<i32>()).ok_or_else(|| {
        Error::new(Kind::Schema, format!("the quarantine has no binary column `{name}`; the file is foreign"))
    })
}

/// The key column of a batch, whichever type the schema gave it.
enum Keys<'a> {
    Int16(&'a arrow::array::Int16Array),
    Int32(&'a arrow::array::Int32Array),
    Int64(&'a arrow::array::Int64Array),
    Text(&'a arrow::array::StringArray),
}

impl<'a> Keys<'a> {
    fn new(batch: &'a RecordBatch, name: &str) -> Result<Keys<'a>> {
        let missing = || {
            Error::new(
                Kind::Schema,
                format!("the lake has no column `{name}`, the table's key: its rows cannot be compared"),
            )
        };
        let array = batch.column_by_name(name).ok_or_else(missing)?;
        Ok(match array.data_type() {
            ArrowType::Int16 => Keys::Int16(array.as_primitive::<Int16Type>()),
            ArrowType::Int32 => Keys::Int32(array.as_primitive::<Int32Type>()),
            ArrowType::Int64 => Keys::Int64(array.as_primitive::<Int64Type>()),
            ArrowType::Utf8 => Keys::Text(array.as_string()),
            other => {
                return Err(Error::new(
                    Kind::Schema,
                    format!(
                        "column `{name}` of the lake has type {other}, which is no key: its rows cannot be compared"
                    ),
                ));
            }
        })
    }

    fn key(&self, row: usize) -> Option<Key> {
        match self {
            Keys::Int16(array) => array.is_valid(row).then(|| Key::Int(i64::from(array.value(row)))),
            Keys::Int32(array) => array.is_valid(row).then(|| Key::Int(i64::from(array.value(row)))),
            Keys::Int64(array) => array.is_valid(row).then(|| Key::Int(array.value(row))),
            Keys::Text(array) => array.is_valid(row).then(|| array.value(row).parse().ok()).flatten(),
        }
    }
}
