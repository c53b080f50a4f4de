//! Reading the lake back: what is committed, as Arrow batches.
//!
//! With the commit log the files are those that the log names, so a batch is seen whole or not at all, also while
//! its renames are under way (a file is looked for under its final name, then staged, then once more under the
//! final one). Without a log the date folders are listed, as any other reader does.

use std::collections::BTreeMap;
use std::collections::vec_deque::VecDeque;
use std::fmt::Display;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use arrow::array::{ArrayRef, Date32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::NaiveDate;

use super::commit_log::Log;
use super::durable::{Dir, failed};
use super::record::{FileEntry, Record};
use super::{layout, parquet};
use crate::config;
use crate::error::{Error, Kind, Result};

/// Rows of one batch: large enough that a batch costs nothing beside its rows, small enough (about 13 MB of
/// orders) to stay far below any memory budget.
pub const DEFAULT_BATCH_ROWS: usize = 65_536;

/// The name of the column that stands in the path only.
pub const DATE_COLUMN: &str = "date";

/// Which of the two roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Lake,
    Quarantine,
}

impl Root {
    fn path(self, settings: &config::Lake) -> &Path {
        match self {
            Root::Lake => &settings.path,
            Root::Quarantine => &settings.quarantine_path,
        }
    }
}

/// Days from the first to the last, both inside; `None` leaves a side open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayRange {
    pub first: Option<NaiveDate>,
    pub last: Option<NaiveDate>,
}

impl DayRange {
    pub fn only(day: NaiveDate) -> Self {
        DayRange { first: Some(day), last: Some(day) }
    }

    pub fn contains(&self, day: NaiveDate) -> bool {
        self.first.is_none_or(|first| first <= day) && self.last.is_none_or(|last| day <= last)
    }
}

#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// `None`: all. The batches have the columns in this order.
    pub columns: Option<Vec<String>>,
    pub days: DayRange,
    /// Adds `date` (Date32) from the path: where `columns` names it, and as the last column where all are read.
    pub date_column: bool,
    pub batch_rows: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        let batch_rows = DEFAULT_BATCH_ROWS;
        ReadOptions { columns: None, days: DayRange::default(), date_column: false, batch_rows }
    }
}

impl ReadOptions {
    /// Where the column of the path stands among the others; `None` where it is not read.
    fn date_place(&self) -> Option<usize> {
        match &self.columns {
            _ if !self.date_column => None,
            None => Some(usize::MAX),
            Some(names) => names.iter().position(|name| name == DATE_COLUMN),
        }
    }

    /// What `batches` yields of a lake with these columns.
    ///
    /// # Errors
    /// `Schema` for a column that the lake has not.
    pub fn schema_of(&self, columns: &SchemaRef) -> Result<SchemaRef> {
        let (_, projected) = project(columns, self, "the lake")?;
        Ok(with_date(&projected, self))
    }
}

/// One file of the lake.
#[derive(Clone, Debug)]
pub struct LakeFile {
    pub date: NaiveDate,
    /// Under the root: `date=YYYY-MM-DD/….parquet`.
    pub name: String,
    pub rows: u64,
    pub bytes: u64,
    /// The writer that staged it; `None` when found by listing.
    writer: Option<String>,
}

impl LakeFile {
    fn of(record: &Record, entry: &FileEntry) -> Result<LakeFile> {
        let date = entry.name.split_once('/').and_then(|(folder, _)| layout::parse_date_folder(folder));
        let date = date.ok_or_else(|| {
            Error::new(Kind::Lake, format!("`{}` in commit {} is no lake file", entry.name, record.number))
        })?;
        let (name, writer) = (entry.name.clone(), Some(record.writer.clone()));
        Ok(LakeFile { date, name, rows: entry.rows, bytes: entry.bytes, writer })
    }
}

/// Files, rows and bytes of one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSummary {
    pub date: NaiveDate,
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// The files that were committed when it was opened.
#[derive(Clone, Debug)]
pub struct LakeReader {
    root: PathBuf,
    staging: PathBuf,
    files: Vec<LakeFile>,
}

impl LakeReader {
    /// The lake under `path`: by the log of `checkpoint`, or by listing where there is none. Staging is taken to
    /// be `<path>_staging`; a lake with another one is opened by `with_settings`.
    pub fn open(path: &Path, checkpoint: Option<&Path>) -> Result<LakeReader> {
        let mut staging = path.as_os_str().to_owned();
        staging.push("_staging");
        Self::new(path, Path::new(&staging), checkpoint, Root::Lake)
    }

    /// One root of a configured lake.
    pub fn with_settings(settings: &config::Lake, checkpoint: Option<&Path>, root: Root) -> Result<LakeReader> {
        Self::new(root.path(settings), &settings.staging_path, checkpoint, root)
    }

    /// The same as it was after a commit.
    ///
    /// # Errors
    /// `Config` for a commit that is not there, `Lake` where the log cannot name all files.
    pub fn at_commit(settings: &config::Lake, checkpoint: &Path, root: Root, commit: u64) -> Result<LakeReader> {
        let log = Log::find(checkpoint)?.filter(|log| log.numbers().is_ok_and(|numbers| !numbers.is_empty()));
        let Some(log) = log else {
            return Err(Error::config(format!("there is no commit {commit}: the lake has not been founded yet")));
        };
        let last = log.numbers()?.last().copied().unwrap_or_default();
        if commit > last {
            return Err(Error::config(format!("there is no commit {commit}: the last one is {last}")));
        }
        let files = files_of_log(&log, root, commit)?.ok_or_else(|| {
            Error::new(Kind::Lake, "the commit log has lost its oldest records: only the lake as it is now can be read")
        })?;
        let (root, staging) = (root.path(settings).to_owned(), settings.staging_path.clone());
        Ok(LakeReader { root, staging, files })
    }

    /// The rows that one commit accepted.
    pub(super) fn of_commit(settings: &config::Lake, record: &Record) -> Result<LakeReader> {
        let files = record.files.iter().map(|entry| LakeFile::of(record, entry)).collect::<Result<_>>()?;
        Ok(LakeReader { root: settings.path.clone(), staging: settings.staging_path.clone(), files })
    }

    fn new(path: &Path, staging: &Path, checkpoint: Option<&Path>, root: Root) -> Result<LakeReader> {
        let by_log = match checkpoint.map(Log::find).transpose()?.flatten() {
            Some(log) => files_of_log(&log, root, u64::MAX)?,
            None => None,
        };
        let files = match by_log {
            Some(files) => files,
            None => files_of_folder(path)?,
        };
        Ok(LakeReader { root: path.to_owned(), staging: staging.to_owned(), files })
    }

    /// By date, then by name.
    pub fn files(&self) -> &[LakeFile] {
        &self.files
    }

    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// By date.
    pub fn partitions(&self) -> Vec<PartitionSummary> {
        let mut days: BTreeMap<NaiveDate, PartitionSummary> = BTreeMap::new();
        for file in &self.files {
            let empty = PartitionSummary { date: file.date, files: 0, rows: 0, bytes: 0 };
            let day = days.entry(file.date).or_insert(empty);
            day.files += 1;
            day.rows += file.rows;
            day.bytes += file.bytes;
        }
        days.into_values().collect()
    }

    /// The schema that `batches` yields; `None` for a lake without files.
    pub fn schema(&self, options: &ReadOptions) -> Result<Option<SchemaRef>> {
        let Some(first) = self.files.first() else { return Ok(None) };
        let (file, path) = self.open_file(first)?;
        let builder = parquet::reader(file, &path)?;
        let (_, projected) = project(builder.schema(), options, path.display())?;
        Ok(Some(with_date(&projected, options)))
    }

    /// The committed rows, file by file in the order of `files`. The first error ends it.
    pub fn batches(&self, options: ReadOptions) -> Batches {
        let wanted = |file: &&LakeFile| options.days.contains(file.date);
        let files = self.files.iter().filter(wanted).cloned().collect();
        Batches { reader: self.clone(), options, files, current: None, schema: None }
    }

    fn open_file(&self, file: &LakeFile) -> Result<(File, PathBuf)> {
        let path = self.root.join(&file.name);
        let found = match &file.writer {
            None => open_in(&self.root, &file.name)?.map(|file| (file, path.clone())),
            Some(writer) => open_committed(&self.root, &self.staging, writer, &file.name)?,
        };
        let (opened, found_at) = found.ok_or_else(|| {
            let message = format!("{} is committed but is neither there nor in staging", path.display());
            Error::new(Kind::Lake, format!("{message}; `foodstream verify` lists all such files"))
        })?;
        let bytes = opened.metadata().map_err(|e| failed("examine", &found_at, e))?.len();
        if bytes != file.bytes {
            let (found_at, wanted) = (found_at.display(), file.bytes);
            return Err(Error::new(
                Kind::Lake,
                format!("{found_at} has {bytes} bytes, the commit log says {wanted}; restore the file"),
            ));
        }
        Ok((opened, found_at))
    }
}

fn open_in(root: &Path, name: &str) -> Result<Option<File>> {
    let Some((folder, file)) = name.split_once('/') else { return Ok(None) };
    let Some(folder) = Dir::open(root)?.child(folder)? else { return Ok(None) };
    folder.open_file(file)
}

/// Final, staged, then final again: a rename between the first two looks leaves the third.
pub(crate) fn open_committed(root: &Path, staging: &Path, writer: &str, name: &str) -> Result<Option<(File, PathBuf)>> {
    let final_path = root.join(name);
    let at_final = || -> Result<Option<(File, PathBuf)>> {
        if !root.is_dir() {
            return Ok(None);
        }
        Ok(open_in(root, name)?.map(|file| (file, final_path.clone())))
    };
    if let Some(found) = at_final()? {
        return Ok(Some(found));
    }
    let base = name.rsplit('/').next().unwrap_or(name);
    let staged = staging.join(writer);
    if staged.is_dir()
        && let Ok(folder) = Dir::open(&staged)
        && let Some(file) = folder.open_file(base)?
    {
        return Ok(Some((file, staged.join(base))));
    }
    at_final()
}

/// Up to and with commit `last`. `None`: the log is empty, or its oldest records are gone, so it cannot name all files.
fn files_of_log(log: &Log, root: Root, last: u64) -> Result<Option<Vec<LakeFile>>> {
    let numbers = log.numbers()?;
    if numbers.first() != Some(&0) {
        return Ok(None);
    }
    let mut files = Vec::new();
    log.each(|record| {
        let entries = match root {
            Root::Lake => &record.files,
            Root::Quarantine => &record.quarantine,
        };
        let entries = if record.number <= last { entries.as_slice() } else { &[] };
        entries.iter().try_for_each(|entry| {
            files.push(LakeFile::of(record, entry)?);
            Ok(())
        })
    })?;
    files.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(Some(files))
}

/// Every Parquet file in a date folder, whoever wrote it.
fn files_of_folder(root: &Path) -> Result<Vec<LakeFile>> {
    if !root.is_dir() {
        return Ok(Vec::new());
    }
    let root = Dir::open(root)?;
    let mut files = Vec::new();
    for folder_name in root.names()? {
        let Some(date) = layout::parse_date_folder(&folder_name) else { continue };
        let Some(folder) = root.child(&folder_name)? else { continue };
        for file_name in folder.names()?.into_iter().filter(|name| name.ends_with(".parquet")) {
            let Some(file) = folder.open_file(&file_name)? else { continue };
            let path = folder.join(&file_name);
            let bytes = file.metadata().map_err(|e| failed("examine", &path, e))?.len();
            let rows = parquet::reader(file, &path)?.metadata().file_metadata().num_rows();
            let name = format!("{folder_name}/{file_name}");
            files.push(LakeFile { date, name, rows: rows.max(0) as u64, bytes, writer: None });
        }
    }
    Ok(files)
}

/// An iterator over committed rows.
pub struct Batches {
    reader: LakeReader,
    options: ReadOptions,
    files: VecDeque<LakeFile>,
    current: Option<Current>,
    /// Of the batches; fixed by the first file.
    schema: Option<SchemaRef>,
}

struct Current {
    batches: ParquetRecordBatchReader,
    /// Indices into the file's projected columns, in the order asked for.
    order: Vec<usize>,
    date: NaiveDate,
    path: PathBuf,
}

impl Batches {
    fn open_next(&mut self) -> Result<bool> {
        let Some(file) = self.files.pop_front() else { return Ok(false) };
        let (opened, path) = self.reader.open_file(&file)?;
        let builder = parquet::reader(opened, &path)?;
        let (indices, projected) = project(builder.schema(), &self.options, path.display())?;
        let schema = with_date(&projected, &self.options);
        match &self.schema {
            None => self.schema = Some(schema),
            Some(first) if first.fields() == schema.fields() => {}
            Some(_) => {
                let message = format!("{} has another schema than the files before it", path.display());
                return Err(Error::new(Kind::Schema, message));
            }
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), indices.iter().copied());
        let reader = builder.with_batch_size(self.options.batch_rows).with_projection(mask).build();
        let batches = reader.map_err(|e| unreadable(&path, e))?;
        let mut sorted = indices.clone();
        sorted.sort_unstable();
        let place = |index: &usize| sorted.binary_search(index).expect("sorted holds every index");
        let order = indices.iter().map(place).collect();
        self.current = Some(Current { batches, order, date: file.date, path });
        Ok(true)
    }

    fn try_next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(current) = &mut self.current {
                match current.batches.next() {
                    Some(batch) => {
                        let batch = batch.map_err(|e| unreadable(&current.path, e))?;
                        let schema = self.schema.clone().expect("set when the file was opened");
                        return arrange(&batch, current, schema, self.options.date_place()).map(Some);
                    }
                    None => self.current = None,
                }
            }
            if !self.open_next()? {
                return Ok(None);
            }
        }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.try_next();
        if next.is_err() {
            self.files.clear();
            self.current = None;
        }
        next.transpose()
    }
}

fn unreadable(path: &Path, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Kind::Lake, format!("cannot read {}; restore the file", path.display())).because(cause)
}

/// Indices of the wanted columns and their schema, in the order asked for.
fn project(schema: &SchemaRef, options: &ReadOptions, of: impl Display) -> Result<(Vec<usize>, Schema)> {
    let indices: Vec<usize> = match &options.columns {
        None => (0..schema.fields().len()).collect(),
        Some(names) => {
            let find = |name: &String| {
                schema.index_of(name).map_err(|_| {
                    let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                    let known = known.join(", ");
                    Error::new(Kind::Schema, format!("{of} has no column `{name}`; it has {known}"))
                })
            };
            let of_path = |name: &&String| options.date_column && *name == DATE_COLUMN;
            names.iter().filter(|name| !of_path(name)).map(find).collect::<Result<_>>()?
        }
    };
    let projected = schema.project(&indices).map_err(|e| Error::bug("projection out of range").because(e))?;
    Ok((indices, projected.with_metadata(Default::default())))
}

fn with_date(schema: &Schema, options: &ReadOptions) -> SchemaRef {
    let Some(place) = options.date_place() else { return Arc::new(schema.clone()) };
    let mut fields = schema.fields().to_vec();
    fields.insert(place.min(fields.len()), Arc::new(Field::new(DATE_COLUMN, DataType::Date32, false)));
    Arc::new(Schema::new(fields))
}

fn arrange(batch: &RecordBatch, current: &Current, schema: SchemaRef, date: Option<usize>) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = current.order.iter().map(|&place| batch.column(place).clone()).collect();
    if let Some(place) = date {
        let days = (current.date - NaiveDate::default()).num_days();
        let days = i32::try_from(days).expect("a four-digit year is in range");
        columns.insert(place.min(columns.len()), Arc::new(Date32Array::from_value(days, batch.num_rows())));
    }
    let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &rows)
        .map_err(|e| Error::bug(format!("columns of {} do not fit their schema", current.path.display())).because(e))
}
