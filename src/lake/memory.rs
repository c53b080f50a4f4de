//! A lake in memory: a double of the contract for the tests of what stands above, with other workers played by hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::{Committed, Head, Lake, Staged, StagedFile};
use crate::error::{Error, Result};
use crate::model::{Counts, MicroBatch, OffsetRange, PartitionOffset, Totals};

/// The log and what it committed. Clones share it: each is a worker of its own.
#[derive(Clone, Default)]
pub(crate) struct MemoryLake(Arc<Mutex<State>>);

type Hook = Box<dyn FnOnce(&MemoryLake) + Send>;

#[derive(Default)]
struct State {
    head: Option<Head>,
    commits: Vec<MicroBatch>,
    staged: BTreeMap<String, MicroBatch>,
    before_commit: Option<Hook>,
    failure: Option<Error>,
}

impl MemoryLake {
    pub fn head_now(&self) -> Head {
        self.lock().head.clone().expect("the test founded the lake")
    }

    pub fn commits(&self) -> Vec<MicroBatch> {
        self.lock().commits.clone()
    }

    /// The first column of all accepted rows, sorted: what is in the lake twice is there twice.
    pub fn ids(&self) -> Vec<i64> {
        let mut ids = Vec::new();
        for dated in self.lock().commits.iter().flat_map(|batch| &batch.accepted) {
            ids.extend(dated.rows.column(0).as_primitive::<Int64Type>().values());
        }
        ids.sort_unstable();
        ids
    }

    /// Staged batches that were neither committed nor discarded.
    pub fn left_behind(&self) -> usize {
        self.lock().staged.len()
    }

    /// Runs ahead of the next commit, while its writer believes in the head it knows.
    pub fn before_next_commit(&self, hook: impl FnOnce(&MemoryLake) + Send + 'static) {
        self.lock().before_commit = Some(Box::new(hook));
    }

    /// Makes the next commit fail, before anything of it is durable.
    pub fn fail_next_commit(&self, error: Error) {
        self.lock().failure = Some(error);
    }

    /// What another worker commits: ranges without rows.
    pub fn commit_foreign(&self, ranges: &[OffsetRange]) {
        let batch = MicroBatch { ranges: ranges.to_vec(), ..MicroBatch::default() };
        self.lock().apply(batch).expect("a commit without rows adds up");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn apply(&mut self, batch: MicroBatch) -> Result<Head> {
        let head = self.head.as_mut().ok_or_else(|| Error::bug("the lake has not been founded"))?;
        head.totals.add(&batch.totals)?;
        head.counts.add(batch.counts);
        head.number += 1;
        head.hash = format!("hash of {}", head.number);
        head.positions.extend(batch.ranges.iter().map(|range| (range.partition, range.to)));
        self.commits.push(batch);
        Ok(head.clone())
    }
}

fn begins(head: &Head, ranges: &[OffsetRange]) -> bool {
    ranges.iter().all(|range| head.positions.get(&range.partition).is_none_or(|&position| position == range.from))
}

impl Lake for MemoryLake {
    fn head(&mut self) -> Result<Option<Head>> {
        Ok(self.lock().head.clone())
    }

    fn found(&mut self, topic: &str, topic_id: &str, starts: &[PartitionOffset]) -> Result<Head> {
        let mut state = self.lock();
        let founded = state.head.get_or_insert_with(|| Head {
            number: 0,
            hash: "hash of 0".to_owned(),
            positions: starts.iter().map(|start| (start.partition, start.offset)).collect(),
            topic: topic.to_owned(),
            topic_id: topic_id.to_owned(),
            counts: Counts::default(),
            totals: Totals::default(),
        });
        Ok(founded.clone())
    }

    fn stage(&mut self, batch: &MicroBatch) -> Result<Staged> {
        let id = uuid::Uuid::new_v4().to_string();
        let files = batch.accepted.iter().map(|dated| StagedFile {
            staged_name: id.clone(),
            final_name: format!("date={}/part-{id}.parquet", dated.date),
            quarantine: false,
            rows: dated.rows.num_rows() as u64,
            bytes: 0,
            crc32c: 0,
        });
        let staged = Staged {
            batch: id.clone(),
            ranges: batch.ranges.clone(),
            lost: batch.lost.clone(),
            counts: batch.counts,
            totals: batch.totals.clone(),
            files: files.collect(),
        };
        self.lock().staged.insert(id, batch.clone());
        Ok(staged)
    }

    fn commit(&mut self, staged: &Staged, against: &Head) -> Result<Committed> {
        let hook = self.lock().before_commit.take();
        if let Some(hook) = hook {
            hook(self);
        }
        let mut state = self.lock();
        if let Some(error) = state.failure.take() {
            return Err(error);
        }
        let head = state.head.clone().ok_or_else(|| Error::bug("the lake has not been founded"))?;
        if head.number != against.number || !begins(&head, &staged.ranges) {
            return Ok(Committed::Lost(head));
        }
        let batch = state.staged.remove(&staged.batch).ok_or_else(|| Error::bug("committed without being staged"))?;
        state.apply(batch).map(Committed::Done)
    }

    fn discard(&mut self, staged: Staged) -> Result<()> {
        self.lock().staged.remove(&staged.batch);
        Ok(())
    }
}
