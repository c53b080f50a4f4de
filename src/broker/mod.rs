//! The broker as the pipeline sees it: batches of records in, batches of records out, positions as numbers.
//!
//! Two traits and their contracts; `kafka` implements them over librdkafka, `memory` for tests, and one
//! conformance suite runs over both. All calls block: they run on threads of their own, never on the
//! async runtime. Only `kafka` names rdkafka.

pub mod kafka;
pub mod memory;

use std::time::Duration;

use crate::error::Result;
use crate::model::{ChangeBatch, MessageBatch, PartitionOffset};

/// A producer whose records become visible together.
///
/// # Contract
/// - `init` fences every earlier producer of the same transactional id and finishes what it left open. It is
///   called once, first.
/// - Records sent between `begin` and `commit` are visible to `read_committed` readers all or not at all, in
///   the order of sending within a partition. Rows with one key go to one partition.
/// - `Ok` from `send` means accepted for sending, not delivered. `Ok` from `commit` means durable on the broker.
/// - After an error with `Outcome::Unclear` or `Fenced` the instance is dead: drop it, make a new one, `init`,
///   and read the cursor back to learn what happened. Nothing is retried inside.
pub trait TransactionalProducer: Send {
    fn init(&mut self, timeout: Duration) -> Result<()>;
    fn begin(&mut self) -> Result<()>;
    /// Sends all rows of the batch to `topic`, waiting for room in the send queue where needed.
    fn send(&mut self, topic: &str, rows: &ChangeBatch) -> Result<()>;
    /// Sends one record to a given partition: the cursor.
    fn send_one(&mut self, topic: &str, partition: i32, key: &[u8], value: &[u8]) -> Result<()>;
    fn commit(&mut self, timeout: Duration) -> Result<(), Uncommitted>;
    /// Takes the open transaction back. An error here also means: drop the instance.
    fn abort(&mut self, timeout: Duration) -> Result<()>;
}

/// Why a transaction is not known to be committed.
#[derive(Debug)]
pub struct Uncommitted {
    pub outcome: Outcome,
    pub error: crate::error::Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Certainly not committed; the transaction can be aborted and the same instance used again.
    Abortable,
    /// A newer producer has this transactional id.
    Fenced,
    /// May or may not have been committed.
    Unclear,
}

/// What happened while polling, in order of occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The group gave these partitions to us: nothing is read until `assign` names their offsets.
    Assigned(Vec<i32>),
    /// The group took all our partitions back: buffers read from them must not be committed any more.
    Revoked,
    /// The reader stands at the end of the partition; `offset` is the position past control and aborted records.
    EndOfPartition { partition: i32, offset: i64 },
}

/// A member of a consumer group that reads committed records of one topic and takes positions from its caller.
///
/// # Contract
/// - Reads `read_committed`, CRC checked, and never resets a position: an offset that is gone is
///   `Kind::DataLoss`, naming partition and interval.
/// - Offsets handed out rise strictly within a partition from the assigned one; records below the last
///   assigned or sought position are never handed out, also while a seek is in flight.
/// - `poll` returns early with what it has when an event happens; events are handed over before records that
///   come after them. An empty result is no sign of an end of the topic: only `EndOfPartition` is.
/// - An error of `poll` voids what the same call appended, and events may be lost with it: the caller seeks to
///   where it stands before it reads on.
/// - The group's committed offsets are written for lag tools only and never read as positions.
pub trait GroupConsumer: Send {
    /// Appends up to `max_messages` messages, or about `max_bytes`, to `into`, waiting `timeout` for the first.
    fn poll(
        &mut self,
        into: &mut MessageBatch,
        max_messages: usize,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Vec<Event>>;
    /// Answers `Event::Assigned`: reading starts at these offsets. An empty slice answers `Event::Revoked`.
    fn assign(&mut self, positions: &[PartitionOffset]) -> Result<()>;
    /// Moves assigned partitions; messages already fetched from before are dropped.
    fn seek(&mut self, positions: &[PartitionOffset]) -> Result<()>;
    /// Publishes offsets to the group for lag tools; best effort, does not wait.
    fn publish_offsets(&mut self, positions: &[PartitionOffset]) -> Result<()>;
    /// Ends of assigned partitions as the broker last said in passing; asks nobody. Partitions of which nothing is known
    /// yet are missing.
    fn known_ends(&self) -> Vec<PartitionOffset>;
    /// Leaves the group.
    fn close(&mut self);
}

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    pub name: String,
    /// The cluster's id of this incarnation of the name.
    pub id: String,
    pub partitions: i32,
}

/// First and next offset of a partition, READ_UNCOMMITTED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub partition: i32,
    pub earliest: i64,
    pub end: i64,
}

/// Questions to the cluster that belong to no transaction and no group.
pub trait Cluster: Send {
    /// `None` when the topic does not exist.
    fn describe(&mut self, topic: &str) -> Result<Option<TopicDescription>>;
    /// The same of a topic that was there: a broker that does not know it, as one that is just back may not, is asked
    /// again for a while.
    fn describe_known(&mut self, topic: &str) -> Result<Option<TopicDescription>> {
        self.describe(topic)
    }
    /// Creates the topic if it is missing and describes it; a lost race with another creator is no error.
    fn ensure_topic(&mut self, spec: &TopicSpec) -> Result<TopicDescription>;
    /// The topic's effective settings, by name.
    fn topic_config(&mut self, topic: &str) -> Result<std::collections::BTreeMap<String, String>>;
    fn bounds(&mut self, topic: &str) -> Result<Vec<Bounds>>;
    /// The first offset at or after a time, per partition; the end where there is none.
    fn offsets_at(&mut self, topic: &str, timestamp_ms: i64) -> Result<Vec<PartitionOffset>>;
    /// Committed records of one partition from `from` up to the position `until`, handed to `each`; ends when
    /// the read position reaches `until`, which may lie past control records. Time-out is a retriable error.
    fn read_committed(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
        until: i64,
        timeout: Duration,
        each: &mut dyn FnMut(crate::model::Message<'_>) -> Result<()>,
    ) -> Result<()>;
}

/// How to create a topic.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: i32,
    pub replication_factor: i32,
    pub config: std::collections::BTreeMap<String, String>,
}
