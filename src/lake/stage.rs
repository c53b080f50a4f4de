//! From a micro-batch to staged files: one file a date (more above `max_rows_per_file`), rejects by ingest date.
//!
//! Every file is complete, checked and synced when this returns; none is visible to a reader of the lake.

use std::collections::BTreeMap;

use ::parquet::file::properties::WriterProperties;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::NaiveDate;
use uuid::Uuid;

use super::durable::{Dir, SYNCED_AT_ONCE, sync_files};
use super::layout;
use super::parquet::{self, Footer};
use super::{Staged, StagedFile};
use crate::config;
use crate::error::{Error, Result};
use crate::failpoints::{self, reach};
use crate::model::MicroBatch;

/// How the files of one root are written.
pub(crate) struct Format {
    pub schema: SchemaRef,
    properties: WriterProperties,
}

impl Format {
    pub fn new(schema: SchemaRef, settings: &config::Lake) -> Result<Format> {
        let properties = parquet::properties(&schema, settings.compression)?;
        Ok(Format { schema, properties })
    }

    fn check(&self, rows: &RecordBatch, what: &str) -> Result<()> {
        let same = std::sync::Arc::ptr_eq(rows.schema_ref(), &self.schema)
            || rows.schema_ref().fields() == self.schema.fields();
        if same { Ok(()) } else { Err(Error::bug(format!("{what} have another schema than the lake's files"))) }
    }
}

/// What a batch is staged with.
pub(crate) struct Stager<'a> {
    pub dir: &'a Dir,
    pub lake: &'a Format,
    pub quarantine: &'a Format,
    pub max_rows_per_file: u64,
    pub lake_uuid: &'a str,
    pub topic: &'a str,
    pub topic_id: &'a str,
    pub ingest_date: NaiveDate,
}

/// One file to write.
struct Part {
    quarantine: bool,
    date: NaiveDate,
    batches: Vec<RecordBatch>,
}

impl Stager<'_> {
    /// Writes and syncs all files of the batch. On an error none of them stays.
    pub fn stage(&self, mut batch: MicroBatch) -> Result<Staged> {
        let parts = self.parts(&mut batch)?;
        let count = parts.len();
        let mut staged = Staged {
            batch: Uuid::new_v4().hyphenated().to_string(),
            ranges: batch.ranges,
            lost: batch.lost,
            counts: batch.counts,
            totals: batch.totals,
            files: Vec::with_capacity(count),
        };
        if let Err(error) = self.write_all(&mut staged, parts).and_then(|()| self.dir.sync()) {
            // The disk may be full: give back what this batch took. The first error is the one to report.
            for number in 0..count {
                let _ = self.dir.remove(&file_name(&staged, number));
            }
            return Err(error);
        }
        // The files keep the uuid of their set.
        if let Some(plan) = batch.plan {
            staged.batch = plan;
        }
        Ok(staged)
    }

    fn write_all(&self, staged: &mut Staged, parts: Vec<Part>) -> Result<()> {
        let count = parts.len();
        let mut unsynced = Vec::with_capacity(count.min(SYNCED_AT_ONCE));
        for (number, part) in parts.into_iter().enumerate() {
            let name = file_name(staged, number);
            let footer = Footer {
                lake: self.lake_uuid.to_owned(),
                file: Uuid::new_v4().hyphenated().to_string(),
                set: staged.batch.clone(),
                part: number,
                parts: count,
                quarantine: part.quarantine,
                folder: layout::date_folder(part.date)?,
                topic: self.topic.to_owned(),
                topic_id: self.topic_id.to_owned(),
                ranges: staged.ranges.clone(),
                counts: staged.counts,
            };
            let format = if part.quarantine { self.quarantine } else { self.lake };
            let (file, path) = (self.dir.create(&name)?, self.dir.join(&name));
            let (written, file) =
                parquet::write(file, &path, &format.schema, &format.properties, Some(&footer), part.batches)?;
            unsynced.push((file, path));
            reach(failpoints::LAKE_FILE_WRITTEN)?;
            if unsynced.len() == SYNCED_AT_ONCE {
                sync_files(&std::mem::take(&mut unsynced))?;
            }
            staged.files.push(StagedFile {
                final_name: format!("{}/{name}", footer.folder),
                staged_name: name,
                quarantine: part.quarantine,
                rows: written.rows,
                bytes: written.bytes,
                crc32c: written.crc32c,
            });
        }
        sync_files(&unsynced)
    }

    /// Takes the rows out of the batch, file by file, and checks that it counts every row once.
    fn parts(&self, batch: &mut MicroBatch) -> Result<Vec<Part>> {
        check_ranges(batch)?;
        check_counts(batch)?;
        let mut dates: BTreeMap<NaiveDate, Vec<RecordBatch>> = BTreeMap::new();
        for dated in std::mem::take(&mut batch.accepted) {
            self.lake.check(&dated.rows, "accepted rows")?;
            // Checked before anything is written: a name that cannot be made is a bug of the stage before.
            layout::date_folder(dated.date)?;
            dates.entry(dated.date).or_default().push(dated.rows);
        }
        for rejected in &batch.rejected {
            self.quarantine.check(rejected, "rejected rows")?;
        }
        let mut parts = Vec::new();
        for (date, batches) in dates {
            let files = split(batches, self.max_rows_per_file);
            parts.extend(files.into_iter().map(|batches| Part { quarantine: false, date, batches }));
        }
        let date = self.ingest_date;
        let files = split(std::mem::take(&mut batch.rejected), self.max_rows_per_file);
        parts.extend(files.into_iter().map(|batches| Part { quarantine: true, date, batches }));
        Ok(parts)
    }
}

/// By the first offset of the batch, the uuid of its files, and the file's place among them.
fn file_name(staged: &Staged, number: usize) -> String {
    let first = staged.ranges.iter().filter(|range| range.from < range.to).map(|range| range.from).min();
    layout::part_name(first.unwrap_or(0), &staged.batch, number)
}

fn check_ranges(batch: &MicroBatch) -> Result<()> {
    let sorted = batch.ranges.windows(2).all(|pair| pair[0].partition < pair[1].partition);
    let forward = batch.ranges.iter().all(|range| range.from <= range.to);
    if sorted && forward {
        return Ok(());
    }
    Err(Error::bug(format!("offset ranges of a batch are not one a partition, in order: {:?}", batch.ranges)))
}

fn check_counts(batch: &MicroBatch) -> Result<()> {
    let accepted: usize = batch.accepted.iter().map(|dated| dated.rows.num_rows()).sum();
    let rejected: usize = batch.rejected.iter().map(RecordBatch::num_rows).sum();
    let counts = batch.counts;
    let whole = counts.input == counts.accepted + counts.rejected;
    let rows = (accepted as u64, rejected as u64) == (counts.accepted, counts.rejected);
    let totalled = batch.totals.rows();
    if whole && rows && totalled == counts.accepted {
        return Ok(());
    }
    Err(Error::bug(format!(
        "a batch does not add up: {counts:?}, but {accepted} accepted rows, {totalled} in its totals, and {rejected} \
         rejected ones"
    )))
}

/// Cuts batches into files of at most `max_rows`, without copying rows. No file for no rows.
fn split(batches: Vec<RecordBatch>, max_rows: u64) -> Vec<Vec<RecordBatch>> {
    let max_rows = usize::try_from(max_rows.max(1)).unwrap_or(usize::MAX);
    let mut files: Vec<Vec<RecordBatch>> = Vec::new();
    let mut room = 0;
    for batch in batches {
        let mut at = 0;
        while at < batch.num_rows() {
            if room == 0 {
                files.push(Vec::new());
                room = max_rows;
            }
            let take = room.min(batch.num_rows() - at);
            files.last_mut().expect("pushed above").push(batch.slice(at, take));
            at += take;
            room -= take;
        }
    }
    files
}
