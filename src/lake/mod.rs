//! The lake: files, quarantine, positions and totals, made durable in one atomic commit.
//!
//! `local` implements the contract on a file system: staging beside the lake, a put-if-absent record as the
//! commit, renames to make it visible, recovery that finishes what a kill left (protocols L1 to L8).
//! `follow` reads totals out of the log, for tables and for the topic they are published to.
//! Above: `pipeline::ingest`, `verify`, `tools`.

mod commit_log;
mod durable;
mod follow;
pub mod health;
mod identity;
mod inventory;
mod layout;
mod local;
#[cfg(test)]
pub(crate) mod memory;
mod old_log;
mod parquet;
mod plan;
mod probe;
mod publish;
pub mod read;
mod rebuild;
mod recent;
mod record;
pub mod report;
pub mod sample;
mod sizes;
mod stage;
mod staging;
mod state;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use follow::{Changes, TotalsFollower, TotalsLog};
pub use local::{LakeOptions, LocalLake};
pub use plan::Plan;
pub use rebuild::{Gap, RebuildReport, TotalsOf, rebuild_log};
pub use sizes::{FolderSize, partition_sizes};

use arrow::array::Array;

use crate::error::Result;
use crate::model::{Counts, MicroBatch, OffsetRange, PartitionOffset, Totals};

/// The state after a commit: what the next one continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last commit; commit 0 founds the log.
    pub number: u64,
    /// Hash of that record; the next record carries it.
    pub hash: String,
    /// Next offset to read, by partition. A partition that is missing has never been seen.
    pub positions: BTreeMap<i32, i64>,
    /// The topic the lake was founded on.
    pub topic: String,
    pub topic_id: String,
    /// All rows so far.
    pub counts: Counts,
    /// All groups of all periods so far.
    pub totals: Totals,
}

impl Head {
    pub fn positions(&self) -> Vec<PartitionOffset> {
        self.positions.iter().map(|(&partition, &offset)| PartitionOffset { partition, offset }).collect()
    }
}

/// Files written and synced under staging, not yet part of the lake. Dropping it leaves them to recovery;
/// `Lake::discard` removes them at once.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The id the commit record will carry: that of the batch's plan, or a fresh one.
    pub batch: String,
    pub ranges: Vec<OffsetRange>,
    pub lost: Vec<OffsetRange>,
    pub counts: Counts,
    pub totals: Totals,
    pub files: Vec<StagedFile>,
}

#[derive(Clone, Debug)]
pub struct StagedFile {
    /// Name under the writer's staging folder.
    pub staged_name: String,
    /// `date=YYYY-MM-DD/part-….parquet` under the lake root, or under the quarantine root.
    pub final_name: String,
    pub quarantine: bool,
    pub rows: u64,
    pub bytes: u64,
    /// CRC32C of the whole file.
    pub crc32c: u32,
}

/// What became of a commit.
#[derive(Clone, Debug)]
pub enum Committed {
    /// Durable; the new head. Files are visible or will be made so by the next writer or recovery.
    Done(Head),
    /// Another writer took the number. The head is the log's; nothing of ours is visible.
    Lost(Head),
}

/// Which values [`Lake::recent_values`] hands over.
#[derive(Clone, Debug)]
pub struct RecentValues {
    pub column: String,
    /// Only rows that have this word in that text column.
    pub only: Option<(String, String)>,
    /// Only commits after this one.
    pub after: Option<u64>,
    /// Commits are gone through until so many values that are not null were handed over.
    pub at_least: u64,
}

/// What became of ranges that were to be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// Durable. Until these offsets are committed, nobody gets another plan for them.
    Done(Plan),
    /// This plan, which shares a partition with the ranges, starts at the log's positions and comes first.
    Taken(Plan),
    /// The ranges do not start where the log ends.
    Lost(Head),
}

/// Where micro-batches become durable.
///
/// # Contract
/// - **Atomic.** After any kill, at any instruction, either all of a batch's files, rejects, ranges and totals
///   are part of the lake, or none.
/// - **Once.** A batch is committed only against a head whose positions equal the `from` of its ranges
///   (partitions the head does not know count as equal).
/// - **Durable before acknowledged.** `Done` means that a power cut keeps it.
/// - **Planned once.** Among plans that start at the log's positions no two share a partition, whoever wrote them,
///   and none is forgotten before its positions have moved. So as long as all batches of an offset are planned,
///   it is handed out in one batch only, under one id, however often (protocol C5).
/// - **Several writers** share one log; the number is the fence. A loser learns the new head and decides.
/// - **Errors end the instance.** After an error that is not `Kind::Bug`, or once a commit has begun, drop it and
///   open the lake again: the log then says whether the commit happened. A sync is never tried twice.
/// - All calls block.
pub trait Lake: Send {
    /// Re-reads the log's tail. `None`: the lake has not been founded.
    fn head(&mut self) -> Result<Option<Head>>;
    /// Commit 0: lake uuid, topic, schema and starting positions. Losing the race to found returns the other's head.
    fn found(&mut self, topic: &str, topic_id: &str, starts: &[PartitionOffset]) -> Result<Head>;
    /// Makes ranges durable, with a fresh id, before anybody acts on their rows. A batch that carries the id as its
    /// `plan` is committed under it; its ranges and rows must be the plan's.
    fn plan(&mut self, ranges: &[OffsetRange]) -> Result<Planned>;
    /// The plans that start at the log's positions, also those of other workers; overtaken ones are dropped.
    fn plans(&mut self) -> Result<Vec<Plan>>;
    /// Writes and syncs the batch's files under staging. Rows are let go as they are written.
    fn stage(&mut self, batch: MicroBatch) -> Result<Staged>;
    /// Makes a staged batch part of the lake as commit `against.number + 1`.
    fn commit(&mut self, staged: &Staged, against: &Head) -> Result<Committed>;
    /// Hands over a column's values in accepted rows, commit by commit from the newest backwards: all of a commit or
    /// nothing, in any number of pieces, with its number. Re-reads the log's tail first, and returns the number of the
    /// newest commit: a later call with it as `after` goes on without gap or repetition. The lake has been founded.
    fn recent_values(&mut self, wanted: &RecentValues, see: &mut dyn FnMut(u64, &dyn Array)) -> Result<u64>;
    /// Removes staged files that will not be committed.
    fn discard(&mut self, staged: Staged) -> Result<()>;
}
