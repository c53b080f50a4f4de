//! The lake on a file system: opening with recovery, and the commit itself.
//!
//! ```text
//! stage:  write, check, sync under <staging>/<writer>/
//! commit: finish record N−1 · date folders · record N under a temporary name · link to its number  ← the commit
//!         · rename the files · sync both sides
//! ```
//! A kill before the link leaves staged files that recovery deletes; a kill after it leaves renames that the next
//! writer, or recovery, finishes. `failpoints` stands at every step, and a test stops at each.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use uuid::Uuid;

use super::commit_log::{Log, SNAPSHOT_EVERY, TEMPORARY};
use super::durable::Dir;
use super::layout::{self, PLANS, SNAPSHOTS, Survey};
use super::plan::{self, Plan, Plans};
use super::probe;
use super::publish::{self, KnownFolders, Roots};
use super::record::{FileEntry, Pin, Record, Running, VERSION};
use super::stage::{Format, Stager};
use super::staging::Staging;
use super::state::{State, continues};
use super::{Committed, Head, Lake, Planned, RecentValues, Staged, StagedFile, recent};
use super::{identity, inventory};
use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::failpoints::{self, reach};
use crate::model::{Counts, MicroBatch, OffsetRange, PartitionOffset, Schema, Totals};

/// Length of a hyphenated uuid.
const UUID_LEN: usize = 36;

/// What a lake is opened with.
#[derive(Clone)]
pub struct LakeOptions {
    pub settings: config::Lake,
    /// `streaming.checkpoint_location`.
    pub checkpoint: PathBuf,
    /// Of accepted rows, as `MicroBatch::accepted` brings them.
    pub lake_schema: SchemaRef,
    pub quarantine_schema: SchemaRef,
    /// The configured columns: pinned by the first commit.
    pub schema_text: Schema,
    /// Pinned as well.
    pub drop_invalid_rows: bool,
    /// Its definition is pinned, its bound is not.
    pub aggregate: config::Aggregate,
    pub clock: Arc<dyn Clock>,
}

impl LakeOptions {
    pub(super) fn pin(&self) -> Pin {
        let zone = self.settings.partition_timezone;
        Pin::new(&self.schema_text, self.drop_invalid_rows, zone, &self.aggregate.definition)
    }

    /// Refuses folders that cannot be used, before anything is created in them.
    pub(super) fn refuse_unfit(&self) -> Result<()> {
        probe::refuse_unfit_folders(&self.settings, &self.checkpoint)
    }

    /// Names this lake's writers to each other.
    pub(super) fn owner(&self, checkpoint: &Dir) -> Result<String> {
        let path = checkpoint.path();
        let real = path.canonicalize().map_err(|e| super::durable::failed("resolve", path, e))?;
        Ok(real.to_string_lossy().into_owned())
    }
}

/// One writer of a lake on a file system. Several may work on one lake, in one or many processes.
pub struct LocalLake {
    options: LakeOptions,
    pin: Pin,
    root: Dir,
    quarantine: Dir,
    staging: Staging,
    log: Log,
    lake_format: Format,
    quarantine_format: Format,
    state: Option<State>,
    /// The last record whose files are known, to us, to be visible and durable.
    published: Option<u64>,
    /// Of the lake and of the quarantine.
    known_folders: [KnownFolders; 2],
    /// The last record that a snapshot covers, or that we started from.
    folded: u64,
    /// An error left files or folders in a state that only a new start may judge.
    broken: bool,
}

impl LocalLake {
    /// Opens the lake, creating missing folders, and recovers: finishes the last commit's renames and removes what
    /// dead writers staged.
    ///
    /// # Errors
    /// `Config`: a folder of Spark's, folders inside each other, another file system. `Schema`: other columns than
    /// those pinned. `Lake`, `DataLoss`: foreign files, a damaged log or one with gaps, a lake without its log or
    /// with files beyond the log's end.
    pub fn open(options: LakeOptions) -> Result<LocalLake> {
        options.refuse_unfit()?;
        let settings = &options.settings;
        let root = Dir::create_all(&settings.path)?;
        let quarantine = Dir::create_all(&settings.quarantine_path)?;
        let lake_files = layout::survey(&root)?;
        layout::refuse_foreign(&root, &lake_files, "datalake.path")?;
        let quarantine_files = layout::survey(&quarantine)?;
        layout::refuse_foreign(&quarantine, &quarantine_files, "datalake.quarantine_path")?;

        let log = Log::create(&options.checkpoint)?;
        let owner = options.owner(log.checkpoint())?;
        let staging = Staging::claim(Dir::create_all(&settings.staging_path)?, &owner)?;
        probe::refuse_other_file_system(staging.dir(), &root, "datalake.path")?;
        probe::refuse_other_file_system(staging.dir(), &quarantine, "datalake.quarantine_path")?;
        probe::refuse_replacing(log.commits(), staging.writer())?;

        let pin = options.pin();
        let lake_format = Format::new(options.lake_schema.clone(), settings)?;
        let quarantine_format = Format::new(options.quarantine_schema.clone(), settings)?;
        let (state, published, folded, broken) = (None, None, 0, false);
        let mut lake = LocalLake {
            options,
            pin,
            root,
            quarantine,
            staging,
            log,
            lake_format,
            quarantine_format,
            state,
            published,
            known_folders: Default::default(),
            folded,
            broken,
        };
        lake.recover(&owner, &lake_files, &quarantine_files)?;
        Ok(lake)
    }

    fn recover(&mut self, owner: &str, lake: &Survey, quarantine: &Survey) -> Result<()> {
        match self.log.load()? {
            Some(state) => {
                // Before anything is written: a snapshot of a log that lost its end would look like the truth.
                inventory::refuse_files_beyond(
                    &self.log,
                    &state,
                    [(&self.root, lake), (&self.quarantine, quarantine)],
                )?;
                self.adopt(state)?;
                let uuid = &self.founded()?.lake;
                identity::refuse_foreign_lake(&self.root, lake, uuid)?;
                identity::refuse_foreign_lake(&self.quarantine, quarantine, uuid)?;
            }
            None => identity::refuse_lost_log(&self.log, [(&self.root, lake), (&self.quarantine, quarantine)])?,
        }
        self.bury_dead_writers(owner)?;
        self.remove_temporaries()
    }

    /// Finishes the last record and removes what dead writers staged.
    pub(super) fn bury_dead_writers(&mut self, owner: &str) -> Result<()> {
        let dead = self.staging.dead_writers(owner)?;
        // Read after the locks are ours: one of the dead may have committed since the log was first read.
        self.refresh()?;
        self.finish_last()?;
        dead.into_iter().try_for_each(|writer| self.staging.delete(writer))
    }

    /// Takes over a log that this instance has not seen before, if it was founded with our settings.
    fn adopt(&mut self, state: State) -> Result<()> {
        state.pin.check(&self.pin, &self.log.record_path(0))?;
        identity::keep_metadata(&self.log, &state, self.staging.writer(), self.options.clock.now())?;
        self.folded = self.log.snapshots()?.last().copied().unwrap_or(0);
        self.state = Some(state);
        self.fold();
        Ok(())
    }

    fn refresh(&mut self) -> Result<()> {
        match self.state.as_mut() {
            Some(state) => self.log.advance(state),
            None => match self.log.load()? {
                Some(state) => self.adopt(state),
                None => Ok(()),
            },
        }
    }

    fn founded(&self) -> Result<&State> {
        self.state.as_ref().ok_or_else(|| Error::bug("the lake has not been founded"))
    }

    /// Makes the last record's name and files durable, whoever committed it: nothing may be built on less.
    fn finish_last(&mut self) -> Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        let number = state.head.number;
        if self.published == Some(number) {
            return Ok(());
        }
        self.log.sync_record(number)?;
        publish::publish(self.roots(), &state.last)?;
        self.published = Some(number);
        Ok(())
    }

    fn roots(&self) -> Roots<'_> {
        Roots { staging: self.staging.root(), lake: &self.root, quarantine: &self.quarantine }
    }

    /// Temporary names in the checkpoint whose writers are gone.
    fn remove_temporaries(&self) -> Result<()> {
        let checkpoint = self.log.checkpoint();
        let folders = [checkpoint.child(SNAPSHOTS)?, checkpoint.child(PLANS)?];
        for folder in folders.iter().flatten().chain([self.log.commits()]) {
            for name in folder.names()? {
                let writer = name.strip_prefix(TEMPORARY).and_then(|rest| rest.get(..UUID_LEN));
                if let Some(writer) = writer
                    && !self.staging.root().has(writer)?
                {
                    folder.remove(&name)?;
                }
            }
        }
        Ok(())
    }

    /// Writes a snapshot when enough records have gathered.
    fn fold(&mut self) {
        let Some(state) = &self.state else { return };
        if state.head.number >= self.folded + SNAPSHOT_EVERY {
            self.log.write_snapshot(state, self.staging.writer());
            self.folded = state.head.number;
        }
    }

    fn usable(&self) -> Result<()> {
        if !self.broken {
            return Ok(());
        }
        Err(Error::new(Kind::Lake, "an earlier write to the lake failed; open the lake again, so that the log decides"))
    }

    /// After an error nothing of this instance is trusted any more.
    fn breaking<T>(&mut self, outcome: Result<T>) -> Result<T> {
        self.broken |= outcome.is_err();
        outcome
    }

    /// The pipeline's folders and log by uuid, as every file's footer repeats it. `None` before commit 0.
    pub fn lake_uuid(&self) -> Option<&str> {
        self.state.as_ref().map(|state| state.lake.as_str())
    }

    #[cfg(test)]
    pub(super) fn staging_name(&self) -> &str {
        self.staging.writer()
    }

    /// A writer whose lock was lost (a network file system's server restarted) may have been taken for dead and
    /// swept. A record that names files which are gone would stop every later commit.
    fn refuse_lost_staging(&self, staged: &Staged) -> Result<()> {
        for file in &staged.files {
            if !self.staging.dir().has(&file.staged_name)? {
                let path = self.staging.dir().join(&file.staged_name);
                let message = format!("{} is gone; open the lake again and read its rows again", path.display());
                return Err(Error::new(Kind::Lake, message));
            }
        }
        Ok(())
    }

    fn next_record(&self, state: &State, staged: &Staged) -> Result<Record> {
        let (totals, running) = state.after(staged.counts, &staged.totals, self.options.aggregate.max_groups)?;
        let entries = |quarantine: bool| {
            let files = staged.files.iter().filter(|file| file.quarantine == quarantine);
            files.map(entry).collect::<Vec<_>>()
        };
        Ok(Record {
            version: VERSION,
            number: state.head.number + 1,
            lake: state.lake.clone(),
            writer: self.staging.writer().to_owned(),
            batch: staged.batch.clone(),
            committed_at: self.options.clock.now(),
            previous: Some(state.head.hash.clone()),
            topic: state.head.topic.clone(),
            topic_id: state.head.topic_id.clone(),
            ranges: staged.ranges.clone(),
            lost: staged.lost.clone(),
            files: entries(false),
            quarantine: entries(true),
            counts: staged.counts,
            totals,
            running,
            founding: None,
        })
    }

    fn founding_record(&self, topic: &str, topic_id: &str, starts: &[PartitionOffset]) -> Record {
        let ranges =
            starts.iter().map(|start| OffsetRange { partition: start.partition, from: start.offset, to: start.offset });
        Record {
            version: VERSION,
            number: 0,
            lake: Uuid::new_v4().hyphenated().to_string(),
            writer: self.staging.writer().to_owned(),
            batch: Uuid::new_v4().hyphenated().to_string(),
            committed_at: self.options.clock.now(),
            previous: None,
            topic: topic.to_owned(),
            topic_id: topic_id.to_owned(),
            ranges: ranges.collect(),
            lost: Vec::new(),
            files: Vec::new(),
            quarantine: Vec::new(),
            counts: Counts::default(),
            totals: Totals::default(),
            running: Running::default(),
            founding: Some(self.pin.clone()),
        }
    }

    /// The commit, from the point where the head is known to be the one meant (protocols L2 to L4).
    fn commit_next(&mut self, staged: &Staged) -> Result<Committed> {
        reach(failpoints::LAKE_STAGED)?;
        self.finish_last()?;
        reach(failpoints::LAKE_PREVIOUS_FINISHED)?;
        let [lake, rejects] = &mut self.known_folders;
        for (root, known, quarantine) in [(&self.root, lake, false), (&self.quarantine, rejects, true)] {
            let files = staged.files.iter().filter(|file| file.quarantine == quarantine);
            publish::prepare_folders(root, files.map(|file| file.final_name.as_str()), known)?;
        }
        self.refuse_lost_staging(staged)?;
        reach(failpoints::LAKE_FOLDERS)?;
        let record = self.next_record(self.founded()?, staged)?;
        let number = record.number;
        let hash = match self.log.append(&record)? {
            Some(hash) => hash,
            None => match self.log.read(number)? {
                // The link's answer was lost, as a network file system may do: the record is ours all the same.
                Some((taken, hash)) if taken == record => hash,
                _ => {
                    self.refresh()?;
                    return Ok(Committed::Lost(self.founded()?.head.clone()));
                }
            },
        };
        let path = self.log.record_path(number);
        self.state.as_mut().expect("the record continues it").apply(record, hash, &path)?;
        reach(failpoints::LAKE_COMMITTED)?;
        publish::publish(self.roots(), &self.founded()?.last)?;
        self.published = Some(number);
        reach(failpoints::LAKE_PUBLISHED)?;
        plan::remove(self.log.checkpoint(), &staged.batch);
        self.fold();
        Ok(Committed::Done(self.founded()?.head.clone()))
    }
}

fn entry(file: &StagedFile) -> FileEntry {
    FileEntry {
        name: file.final_name.clone(),
        rows: file.rows,
        bytes: file.bytes,
        crc32c: format!("{:08x}", file.crc32c),
    }
}

impl Lake for LocalLake {
    fn head(&mut self) -> Result<Option<Head>> {
        self.usable()?;
        self.refresh()?;
        Ok(self.state.as_ref().map(|state| state.head.clone()))
    }

    fn found(&mut self, topic: &str, topic_id: &str, starts: &[PartitionOffset]) -> Result<Head> {
        self.usable()?;
        self.refresh()?;
        if self.state.is_none() {
            let record = self.founding_record(topic, topic_id, starts);
            let appended = self.log.append(&record);
            if self.breaking(appended)?.is_some() {
                tracing::info!(target: "foodstream::lake", lake = record.lake, topic, "lake founded");
            }
            // Ours or another's: read back and held against our settings either way.
            let adopted = self.refresh();
            self.breaking(adopted)?;
            let finished = self.finish_last();
            self.breaking(finished)?;
        }
        Ok(self.founded()?.head.clone())
    }

    fn plan(&mut self, ranges: &[OffsetRange]) -> Result<Planned> {
        self.usable()?;
        let plans = Plans::find_or_make(self.log.checkpoint())?;
        self.refresh()?;
        let state = self.founded()?;
        if !continues(&state.head, ranges) {
            return Ok(Planned::Lost(state.head.clone()));
        }
        let mut pending = plans.pending(&state.lake, &state.head)?.into_iter();
        if let Some(plan) = pending.find(|plan| plan.touches(ranges.iter().map(|range| range.partition))) {
            return Ok(Planned::Taken(plan));
        }
        let written = plans.write(self.staging.writer(), &state.lake, &state.head, ranges);
        self.breaking(written).map(Planned::Done)
    }

    fn plans(&mut self) -> Result<Vec<Plan>> {
        self.usable()?;
        let Some(plans) = Plans::find(self.log.checkpoint())? else { return Ok(Vec::new()) };
        self.refresh()?;
        self.state.as_ref().map_or_else(|| Ok(Vec::new()), |state| plans.pending(&state.lake, &state.head))
    }

    fn stage(&mut self, batch: MicroBatch) -> Result<Staged> {
        self.usable()?;
        let state = self.founded()?;
        let stager = Stager {
            dir: self.staging.dir(),
            lake: &self.lake_format,
            quarantine: &self.quarantine_format,
            max_rows_per_file: self.options.settings.max_rows_per_file,
            lake_uuid: &state.lake,
            topic: &state.head.topic,
            topic_id: &state.head.topic_id,
            ingest_date: self.options.clock.now().date_naive(),
        };
        let staged = stager.stage(batch);
        // A batch that does not add up has written nothing.
        let harmless = staged.as_ref().is_err_and(|error| error.kind() == Kind::Bug);
        self.broken |= staged.is_err() && !harmless;
        staged
    }

    fn commit(&mut self, staged: &Staged, against: &Head) -> Result<Committed> {
        self.usable()?;
        self.refresh()?;
        let head = &self.founded()?.head;
        if head.number != against.number || head.hash != against.hash || !continues(head, &staged.ranges) {
            return Ok(Committed::Lost(head.clone()));
        }
        let committed = self.commit_next(staged);
        self.breaking(committed)
    }

    fn recent_values(&mut self, wanted: &RecentValues, see: &mut dyn FnMut(u64, &dyn Array)) -> Result<u64> {
        self.usable()?;
        self.refresh()?;
        let head = self.founded()?.head.number;
        recent::recent_values(&self.log, &self.options.settings, head, wanted, see)?;
        Ok(head)
    }

    fn discard(&mut self, staged: Staged) -> Result<()> {
        for file in &staged.files {
            self.staging.dir().remove(&file.staged_name)?;
        }
        Ok(())
    }
}
