//! A lake in memory: a double of the contract for the tests of what stands above, with other workers played by hand.

use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;

use super::{Committed, Head, Lake, Plan, Planned, RecentValues, Staged, StagedFile};
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
    /// By batch id: two workers may have staged the batch of one plan.
    staged: Vec<(String, MicroBatch)>,
    plans: Vec<Plan>,
    before_commit: Option<Hook>,
    failure: Option<Error>,
    lost_answer: Option<Error>,
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

    /// Makes the next commit durable and lets its answer be this error.
    pub fn lose_next_answer(&self, error: Error) {
        self.lock().lost_answer = Some(error);
    }

    /// What another worker commits: ranges without rows.
    pub fn commit_foreign(&self, ranges: &[OffsetRange]) {
        let batch = MicroBatch { ranges: ranges.to_vec(), ..MicroBatch::default() };
        self.lock().apply(batch).expect("a commit without rows adds up");
    }

    /// What another worker commits, with rows.
    pub fn commit_foreign_batch(&self, batch: MicroBatch) {
        self.lock().apply(batch).expect("the batch adds up");
    }

    /// Plans that are not committed, overtaken ones too if nobody has looked since.
    pub fn plans_left(&self) -> Vec<Plan> {
        self.lock().plans.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn take_staged(&mut self, id: &str) -> Option<MicroBatch> {
        let at = self.staged.iter().position(|(staged, _)| staged == id)?;
        Some(self.staged.swap_remove(at).1)
    }

    fn drop_overtaken_plans(&mut self) {
        let Some(head) = &self.head else { return };
        self.plans.retain(|plan| begins(head, &plan.ranges));
    }

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

    fn plan(&mut self, ranges: &[OffsetRange]) -> Result<Planned> {
        let mut state = self.lock();
        state.drop_overtaken_plans();
        let head = state.head.as_ref().ok_or_else(|| Error::bug("the lake has not been founded"))?;
        if !begins(head, ranges) {
            return Ok(Planned::Lost(head.clone()));
        }
        let taken = state.plans.iter().find(|plan| plan.touches(ranges.iter().map(|range| range.partition)));
        if let Some(taken) = taken {
            return Ok(Planned::Taken(taken.clone()));
        }
        let plan = Plan { id: uuid::Uuid::new_v4().to_string(), ranges: ranges.to_vec() };
        state.plans.push(plan.clone());
        Ok(Planned::Done(plan))
    }

    fn plans(&mut self) -> Result<Vec<Plan>> {
        let mut state = self.lock();
        state.drop_overtaken_plans();
        Ok(state.plans.clone())
    }

    fn stage(&mut self, batch: MicroBatch) -> Result<Staged> {
        let id = batch.plan.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
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
        self.lock().staged.push((id, batch));
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
        let batch = state.take_staged(&staged.batch).ok_or_else(|| Error::bug("committed without being staged"))?;
        state.plans.retain(|plan| plan.id != staged.batch);
        let head = state.apply(batch)?;
        state.lost_answer.take().map_or(Ok(Committed::Done(head)), Err)
    }

    fn recent_values(&mut self, wanted: &RecentValues, see: &mut dyn FnMut(u64, &dyn Array)) -> Result<u64> {
        let state = self.lock();
        let head = state.head.as_ref().ok_or_else(|| Error::bug("the lake has not been founded"))?.number;
        let mut seen = 0;
        for (index, batch) in state.commits.iter().enumerate().rev() {
            let number = index as u64 + 1;
            if number <= wanted.after.unwrap_or(0) || seen >= wanted.at_least {
                break;
            }
            for dated in &batch.accepted {
                let column = |name: &str| dated.rows.column_by_name(name).expect("the test names a column");
                let has_word = |row: usize| {
                    let only = wanted.only.as_ref();
                    only.is_none_or(|(tag, word)| column(tag).as_string::<i32>().value(row) == word)
                };
                for row in (0..dated.rows.num_rows()).filter(|&row| has_word(row)) {
                    let value = column(&wanted.column).slice(row, 1);
                    seen += 1 - value.null_count() as u64;
                    see(number, &value);
                }
            }
        }
        Ok(head)
    }

    fn discard(&mut self, staged: Staged) -> Result<()> {
        self.lock().take_staged(&staged.batch);
        Ok(())
    }
}
