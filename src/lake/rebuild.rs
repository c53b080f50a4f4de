//! A new commit log from the footers of the files, for a lake whose log was lost or damaged (protocol L8).
//!
//! Each file says which offset ranges its batch held, how many files the batch had, and the batch's counts. Totals are
//! made anew from the rows. What the footers cannot tell: commits that had no file. Offsets between two batches may have
//! been such commits (control records, expired messages) or files that are gone, so they are reported as gaps and never
//! passed over in silence. After the last file the topic is read again, which repeats nothing.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use uuid::Uuid;

use super::commit_log::Log;
use super::durable::{Dir, Moved};
use super::layout::{self, COMMITS, METADATA, PLANS, SNAPSHOTS};
use super::old_log::OldLog;
use super::parquet::{self, Footer};
use super::read::DEFAULT_BATCH_ROWS;
use super::record::{FileEntry, Record, Running, VERSION};
use super::state::State;
use super::{LakeOptions, identity, publish, staging};
use crate::error::{Error, Kind, Lost, Result};
use crate::model::{Counts, DatedBatch, OffsetRange, Totals};

/// Offsets between two batches, of no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub partition: i32,
    pub from: i64,
    pub to: i64,
}

#[derive(Clone, Debug)]
pub struct RebuildReport {
    pub lake: String,
    pub topic: String,
    pub topic_id: String,
    /// Records written, commit 0 included.
    pub commits: u64,
    pub files: u64,
    pub counts: Counts,
    /// Next offset to read, by partition.
    pub positions: BTreeMap<i32, i64>,
    pub gaps: Vec<Gap>,
    /// The old log's first record could be read, so the starts of partitions without a file are kept. Otherwise such
    /// partitions are read from their earliest message.
    pub starts_known: bool,
    /// Those of them that the rest of the old log names.
    pub forgotten: Vec<i32>,
    /// Where the old log now lies, if there was one.
    pub set_aside: Option<PathBuf>,
}

/// Makes the totals of rows; a file's rows come in several calls.
pub type TotalsOf<'a> = dyn Fn(&[DatedBatch]) -> Result<Totals> + 'a;

/// Writes a new log. The old one, if any, is set aside and not deleted. Only with an explicit yes of a person.
///
/// # Errors
/// `Config`: more groups than `aggregate.max_groups`.
/// `Lake`: a living writer, foreign files, files of two lakes or topics, two batches that hold the same offsets.
/// `DataLoss`: a batch of which files are missing. `Schema`: files of other columns. Nothing is changed then.
pub fn rebuild_log(options: &LakeOptions, totals_of: &TotalsOf<'_>) -> Result<RebuildReport> {
    options.refuse_unfit()?;
    let settings = &options.settings;
    let staging = Dir::create_all(&settings.staging_path)?;
    if let Some(writer) = staging::living_writer(&staging)? {
        let message = format!("a writer is at work ({}); stop all consumers first", staging.join(&writer).display());
        return Err(Error::new(Kind::Lake, message));
    }
    let lake = Dir::create_all(&settings.path)?;
    let quarantine = Dir::create_all(&settings.quarantine_path)?;
    let mut found = Vec::new();
    for (root, is_quarantine, key) in [(&lake, false, "datalake.path"), (&quarantine, true, "datalake.quarantine_path")]
    {
        let survey = layout::survey(root)?;
        layout::refuse_foreign(root, &survey, key)?;
        for name in survey.files {
            found.push(read_file(options, root, &name, is_quarantine, totals_of)?);
        }
    }
    let Some(first) = found.first().map(|file| file.footer.clone()) else {
        return Err(Error::new(
            Kind::Lake,
            format!(
                "{} has no files to rebuild a log from; a consumer may start with an empty log",
                lake.path().display()
            ),
        ));
    };
    refuse_mixed(&found, &first)?;
    let mut sets = group(found);
    let staged = complete_from_staging(&staging, &mut sets, &first, totals_of)?;
    refuse_incomplete(&sets)?;
    let order = order(&sets)?;
    for file in staged {
        file.make_visible(if file.quarantine { &quarantine } else { &lake })?;
    }
    write_log(options, &first, &sets, &order)
}

/// A file with what its footer and its bytes say.
struct Found {
    path: PathBuf,
    quarantine: bool,
    entry: FileEntry,
    footer: Footer,
    /// Of its rows; none for a file of the quarantine.
    totals: Totals,
}

fn read_file(
    options: &LakeOptions,
    root: &Dir,
    name: &str,
    quarantine: bool,
    totals_of: &TotalsOf<'_>,
) -> Result<Found> {
    let path = root.join(name);
    let gone = || Error::new(Kind::Lake, format!("{} vanished while it was read", path.display()));
    let builder = parquet::reader(identity::open(root, name)?.ok_or_else(gone)?, &path)?;
    let footer = parquet::footer(&builder)
        .ok_or_else(|| Error::new(Kind::Lake, format!("{} has no foodstream footer; move it away", path.display())))?;
    let schema = if quarantine { &options.quarantine_schema } else { &options.lake_schema };
    if builder.schema().fields() != schema.fields() {
        let message = format!(
            "{} has other columns than the configuration; restore the `schema` it was written with",
            path.display()
        );
        return Err(Error::new(Kind::Schema, message));
    }
    let rows = builder.metadata().file_metadata().num_rows().max(0) as u64;
    let (bytes, crc) = parquet::checksum(identity::open(root, name)?.ok_or_else(gone)?, &path)?;
    let entry = FileEntry { name: name.to_owned(), rows, bytes, crc32c: format!("{crc:08x}") };
    let totals = read_totals(builder, &path, &footer, totals_of)?;
    Ok(Found { path, quarantine, entry, footer, totals })
}

/// Reads all rows of a file of the lake.
fn read_totals(
    builder: ParquetRecordBatchReaderBuilder<File>,
    path: &Path,
    footer: &Footer,
    totals_of: &TotalsOf<'_>,
) -> Result<Totals> {
    let mut totals = Totals::default();
    if footer.quarantine {
        return Ok(totals);
    }
    let unreadable = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(Kind::Lake, format!("{} cannot be read to its end", path.display())).because(cause)
    };
    let date = layout::parse_date_folder(&footer.folder).ok_or_else(|| unreadable("its folder has no date".into()))?;
    let reader = builder.with_batch_size(DEFAULT_BATCH_ROWS).build().map_err(|error| unreadable(error.into()))?;
    for rows in reader {
        let rows = rows.map_err(|error| unreadable(error.into()))?;
        totals.add(&totals_of(&[DatedBatch { date, rows }])?)?;
    }
    Ok(totals)
}

fn refuse_mixed(found: &[Found], first: &Footer) -> Result<()> {
    let same = |file: &&Found| {
        file.footer.lake == first.lake && file.footer.topic_id == first.topic_id && file.footer.topic == first.topic
    };
    match found.iter().find(|file| !same(file)) {
        None => Ok(()),
        Some(other) => Err(Error::new(
            Kind::Lake,
            format!(
                "{} is of lake {} and topic {} ({}), other files of lake {} and topic {} ({}); a log names one of each, so move \
                 one kind away",
                other.path.display(),
                other.footer.lake,
                other.footer.topic,
                other.footer.topic_id,
                first.lake,
                first.topic,
                first.topic_id,
            ),
        )),
    }
}

/// The files of one staged batch.
struct Set {
    footer: Footer,
    ranges: Vec<OffsetRange>,
    files: BTreeMap<usize, Found>,
}

fn group(found: Vec<Found>) -> Vec<Set> {
    let mut sets: BTreeMap<String, Set> = BTreeMap::new();
    for file in found {
        let set = sets.entry(file.footer.set.clone()).or_insert_with(|| Set {
            footer: file.footer.clone(),
            ranges: file.footer.ranges.iter().filter(|range| range.from < range.to).copied().collect(),
            files: BTreeMap::new(),
        });
        set.files.insert(file.footer.part, file);
    }
    sets.into_values().collect()
}

/// A file that its commit had not yet renamed.
struct Unfinished {
    staged: Dir,
    name: String,
    folder: String,
    quarantine: bool,
}

impl Unfinished {
    fn make_visible(&self, root: &Dir) -> Result<()> {
        let name = format!("{}/{}", self.folder, self.name);
        publish::prepare_folders(root, std::iter::once(name.as_str()), &mut publish::KnownFolders::default())?;
        let folder = root.make(&self.folder)?;
        match self.staged.rename_new(&self.name, &folder, &self.name)? {
            Moved::Done => {}
            other => {
                let message =
                    format!("{} could not be made visible: {other:?}", self.staged.join(&self.name).display());
                return Err(Error::new(Kind::Lake, message));
            }
        }
        self.staged.sync()?;
        folder.sync()
    }
}

/// A batch of which one file is visible was committed, so its others are taken from staging where they lie there.
/// A batch without a visible file was not, or will be read again from the topic.
fn complete_from_staging(
    staging: &Dir,
    sets: &mut [Set],
    first: &Footer,
    totals_of: &TotalsOf<'_>,
) -> Result<Vec<Unfinished>> {
    let mut open: BTreeMap<String, &mut Set> = sets
        .iter_mut()
        .filter(|set| set.files.len() < set.footer.parts)
        .map(|set| (set.footer.set.clone(), set))
        .collect();
    let mut unfinished = Vec::new();
    if open.is_empty() {
        return Ok(unfinished);
    }
    for writer in staging.names()?.into_iter().filter(|name| Uuid::try_parse(name).is_ok()) {
        let Some(folder) = staging.child(&writer)? else { continue };
        for name in folder.names()?.into_iter().filter(|name| layout::is_part_name(name)) {
            let path = folder.join(&name);
            let Some(file) = folder.open_file(&name)? else { continue };
            // A file cut by a kill has no footer; it belongs to no commit.
            let Ok(builder) = parquet::reader(file, &path) else { continue };
            let Some(footer) = parquet::footer(&builder).filter(|footer| footer.lake == first.lake) else { continue };
            let Some(set) = open.get_mut(&footer.set) else { continue };
            let Some(again) = folder.open_file(&name)? else { continue };
            let (bytes, crc) = parquet::checksum(again, &path)?;
            let rows = builder.metadata().file_metadata().num_rows().max(0) as u64;
            let entry =
                FileEntry { name: format!("{}/{name}", footer.folder), rows, bytes, crc32c: format!("{crc:08x}") };
            let (part, quarantine) = (footer.part, footer.quarantine);
            let totals = read_totals(builder, &path, &footer, totals_of)?;
            let staged = Dir::open(folder.path())?;
            unfinished.push(Unfinished { staged, name, folder: footer.folder.clone(), quarantine });
            set.files.insert(part, Found { path, quarantine, entry, footer, totals });
        }
    }
    Ok(unfinished)
}

fn refuse_incomplete(sets: &[Set]) -> Result<()> {
    let Some(set) = sets.iter().find(|set| set.files.len() != set.footer.parts) else { return Ok(()) };
    let there = set.files.values().next().map(|file| file.path.display().to_string()).unwrap_or_default();
    let ranges: Vec<String> = set
        .ranges
        .iter()
        .map(|range| format!("partition {} offsets {} to {}", range.partition, range.from, range.to))
        .collect();
    let offsets = set.ranges.iter().map(|range| (range.partition, (range.from, Some(range.to)))).collect();
    Err(Error::data_loss(
        Lost { topic: Some(set.footer.topic.clone()), offsets, ..Lost::default() },
        format!(
            "{} of the {} files of one commit are missing, among them rows of {}; {there} is another of its files; \
             restore them first",
            set.footer.parts - set.files.len(),
            set.footer.parts,
            ranges.join(", ")
        ),
    ))
}

/// Indices of the sets in an order in which each partition's offsets rise.
fn order(sets: &[Set]) -> Result<Vec<usize>> {
    let mut queues: BTreeMap<i32, Vec<(i64, i64, usize)>> = BTreeMap::new();
    for (index, set) in sets.iter().enumerate() {
        for range in &set.ranges {
            queues.entry(range.partition).or_default().push((range.from, range.to, index));
        }
    }
    for (partition, queue) in &mut queues {
        queue.sort_unstable();
        if let Some(pair) = queue.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            let path = |index: usize| sets[index].files.values().next().map(|file| file.path.display().to_string());
            return Err(Error::new(
                Kind::Lake,
                format!(
                    "two commits hold offsets {} to {} of partition {partition}: {} and {}; one of them does not belong \
                     to this lake, so move it away",
                    pair[1].0,
                    pair[0].1.min(pair[1].1),
                    path(pair[0].2).unwrap_or_default(),
                    path(pair[1].2).unwrap_or_default()
                ),
            ));
        }
    }
    let mut queues: BTreeMap<i32, VecDeque<usize>> = queues
        .into_iter()
        .map(|(partition, queue)| (partition, queue.into_iter().map(|(_, _, index)| index).collect()))
        .collect();
    // A set goes out when it stands first in the queue of each of its partitions.
    let mut waiting: Vec<usize> = sets.iter().map(|set| set.ranges.len()).collect();
    let mut ready: VecDeque<usize> = VecDeque::new();
    let arrive = |queue: &VecDeque<usize>, waiting: &mut Vec<usize>, ready: &mut VecDeque<usize>| {
        if let Some(&front) = queue.front() {
            waiting[front] -= 1;
            if waiting[front] == 0 {
                ready.push_back(front);
            }
        }
    };
    queues.values().for_each(|queue| arrive(queue, &mut waiting, &mut ready));
    let mut ordered = Vec::with_capacity(sets.len());
    while let Some(index) = ready.pop_front() {
        ordered.push(index);
        for range in &sets[index].ranges {
            let queue = queues.get_mut(&range.partition).expect("made from the same ranges");
            queue.pop_front();
            arrive(queue, &mut waiting, &mut ready);
        }
    }
    if ordered.len() == sets.len() {
        return Ok(ordered);
    }
    Err(Error::new(Kind::Lake, "the offset ranges of the files fit no order of commits; were they restored in part?"))
}

/// Writes the log beside the old one, then puts it in its place. A kill in between leaves no log, and the next
/// open says so.
fn write_log(options: &LakeOptions, first: &Footer, sets: &[Set], order: &[usize]) -> Result<RebuildReport> {
    let checkpoint = Dir::create_all(&options.checkpoint)?;
    let id = Uuid::new_v4().hyphenated().to_string();
    let beside = format!("rebuild-{}", &id[..8]);
    let log = Log::create(&checkpoint.join(&beside))?;
    let old = OldLog::read(&options.checkpoint, first)?;
    let starts_known = old.starts.is_some();
    let mut builder = Builder { options, log: &log, id: &id, gaps: Vec::new() };
    let mut state = builder.found(first, sets, old.starts.unwrap_or_default())?;
    for &index in order {
        builder.add(&mut state, &sets[index])?;
    }
    let gaps = builder.gaps;
    let forgotten = old.partitions.into_iter().filter(|partition| !state.head.positions.contains_key(partition));
    let forgotten: Vec<i32> = forgotten.collect();
    let set_aside = set_aside(&checkpoint, &format!("before-rebuild-{}", &id[..8]))?;
    let built = Dir::open(&checkpoint.join(&beside))?;
    if built.rename_new(COMMITS, &checkpoint, COMMITS)? != Moved::Done {
        let message = format!("{} could not be put in place", built.join(COMMITS).display());
        return Err(Error::new(Kind::Lake, message));
    }
    checkpoint.sync()?;
    checkpoint.remove_folder(&beside)?;
    let log = Log::create(&options.checkpoint)?;
    identity::keep_metadata(&log, &state, &id, options.clock.now())?;
    tracing::info!(target: "foodstream::lake", commits = state.head.number + 1, gaps = gaps.len(), "commit log rebuilt");
    Ok(RebuildReport {
        lake: state.lake,
        topic: state.head.topic,
        topic_id: state.head.topic_id,
        commits: state.head.number + 1,
        files: sets.iter().map(|set| set.files.len() as u64).sum(),
        counts: state.head.counts,
        positions: state.head.positions,
        gaps,
        starts_known,
        forgotten,
        set_aside,
    })
}

/// Moves what there is of an old log into a folder of its own.
fn set_aside(checkpoint: &Dir, name: &str) -> Result<Option<PathBuf>> {
    if checkpoint.has(COMMITS)? && checkpoint.remove_folder(COMMITS)? {
        checkpoint.sync()?;
    }
    let mut moved = None;
    for old in [COMMITS, SNAPSHOTS, PLANS, METADATA] {
        if !checkpoint.has(old)? {
            continue;
        }
        let aside = checkpoint.make(name)?;
        checkpoint.rename_new(old, &aside, old)?;
        aside.sync()?;
        moved = Some(aside.path().to_owned());
    }
    checkpoint.sync()?;
    Ok(moved)
}

struct Builder<'a> {
    options: &'a LakeOptions,
    log: &'a Log,
    id: &'a str,
    gaps: Vec<Gap>,
}

impl Builder<'_> {
    fn record(&self, number: u64, first: &Footer, batch: &str, ranges: Vec<OffsetRange>) -> Record {
        Record {
            version: VERSION,
            number,
            lake: first.lake.clone(),
            writer: self.id.to_owned(),
            batch: batch.to_owned(),
            committed_at: self.options.clock.now(),
            previous: None,
            topic: first.topic.clone(),
            topic_id: first.topic_id.clone(),
            ranges,
            lost: Vec::new(),
            files: Vec::new(),
            quarantine: Vec::new(),
            counts: Counts::default(),
            totals: Totals::default(),
            running: Running::default(),
            founding: None,
        }
    }

    fn found(&self, first: &Footer, sets: &[Set], mut starts: BTreeMap<i32, i64>) -> Result<State> {
        for range in sets.iter().flat_map(|set| &set.ranges) {
            let start = starts.entry(range.partition).or_insert(range.from);
            *start = range.from.min(*start);
        }
        let ranges = starts.iter().map(|(&partition, &from)| OffsetRange { partition, from, to: from }).collect();
        let mut record = self.record(0, first, self.id, ranges);
        record.founding = Some(self.options.pin());
        let hash = self.append(&record)?;
        State::founded(record, hash, &self.log.record_path(0))
    }

    fn add(&mut self, state: &mut State, set: &Set) -> Result<()> {
        let position = |range: &OffsetRange| state.head.positions.get(&range.partition).copied();
        let skipped: Vec<OffsetRange> = set
            .ranges
            .iter()
            .filter_map(|range| {
                let from = position(range)?;
                (from < range.from).then_some(OffsetRange { partition: range.partition, from, to: range.from })
            })
            .collect();
        if !skipped.is_empty() {
            self.gaps.extend(skipped.iter().map(|range| Gap {
                partition: range.partition,
                from: range.from,
                to: range.to,
            }));
            let gap = self.record(state.head.number + 1, &set.footer, self.id, skipped);
            self.follow(state, gap, Counts::default(), &Totals::default())?;
        }
        let mut record = self.record(state.head.number + 1, &set.footer, &set.footer.set, set.ranges.clone());
        for file in set.files.values() {
            let files = if file.quarantine { &mut record.quarantine } else { &mut record.files };
            files.push(file.entry.clone());
        }
        record.counts = set.footer.counts;
        let mut part = Totals::default();
        set.files.values().try_for_each(|file| part.add(&file.totals))?;
        self.follow(state, record, set.footer.counts, &part)
    }

    fn follow(&self, state: &mut State, mut record: Record, counts: Counts, part: &Totals) -> Result<()> {
        (record.totals, record.running) = state.after(counts, part, self.options.aggregate.max_groups)?;
        record.previous = Some(state.head.hash.clone());
        let hash = self.append(&record)?;
        let path = self.log.record_path(record.number);
        state.apply(record, hash, &path)
    }

    fn append(&self, record: &Record) -> Result<String> {
        self.log.append(record)?.ok_or_else(|| taken(&self.log.record_path(record.number)))
    }
}

fn taken(path: &Path) -> Error {
    Error::new(Kind::Lake, format!("{} exists already; is another rebuild running?", path.display()))
}
