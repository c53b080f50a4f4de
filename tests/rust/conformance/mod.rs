//! The contracts of `foodstream::broker`, said as tests over any implementation.
//!
//! A test binary's module implements [`Harness`] and names it in [`conformance_suite!`]; every sentence of the
//! contracts then becomes a test of that module. Nothing sleeps: each wait is for a condition and ends after
//! [`PATIENCE`].

pub mod cluster;
pub mod consuming;
pub mod producing;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use foodstream::broker::{Cluster, Event, GroupConsumer, TopicDescription, TopicSpec, TransactionalProducer};
use foodstream::model::{ChangeBatch, MessageBatch, Operation, PartitionOffset};

/// Longest wait for anything: rebalances on a busy machine take seconds, a broken contract never ends.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Wait of one poll: short, so that conditions are looked at often.
const POLL: Duration = Duration::from_millis(50);

/// What an implementation brings, and what the traits themselves cannot do.
pub trait Harness {
    type Producer: TransactionalProducer + 'static;
    type Consumer: GroupConsumer + 'static;
    type Cluster: Cluster + 'static;

    fn producer(&self, transactional_id: &str) -> Self::Producer;
    fn consumer(&self, group: &str, topic: &str) -> Self::Consumer;
    fn cluster(&self) -> Self::Cluster;
    /// A name that was never used on this broker.
    fn fresh(&self, stem: &str) -> String;
    /// One record outside of any transaction, durable on return.
    fn append(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>);
    fn delete_records(&self, topic: &str, partition: i32, before: i64);
    /// Deletes a topic; on return its name is free.
    fn delete_topic(&self, topic: &str);
}

/// Makes a `#[test]` of every function of the suite. `$harness` is an expression that makes a harness.
#[macro_export]
macro_rules! conformance_suite {
    ($harness:expr) => {
        $crate::conformance_suite!(@each $harness;
            producing: committed_records_are_read_in_the_order_of_sending, rows_with_one_key_go_to_one_partition,
                an_aborted_transaction_is_never_read, the_same_instance_goes_on_after_an_abort,
                records_of_all_topics_of_a_transaction_become_visible_together, init_fences_the_producer_before,
                init_ends_what_the_producer_before_left_open, a_fenced_producer_cannot_publish_any_more;
            cluster: a_missing_topic_is_described_as_none, a_topic_is_made_once_and_with_its_settings,
                a_topic_made_anew_has_another_id, ends_count_uncommitted_records_and_control_records,
                a_bounded_read_passes_control_records_and_keeps_its_bounds,
                a_bounded_read_behind_an_open_transaction_times_out, offsets_are_found_by_time;
            consuming: nothing_is_read_before_positions_are_assigned, reading_starts_at_the_assigned_offsets,
                the_end_lies_past_control_and_aborted_records, the_end_lies_before_an_open_transaction,
                each_end_is_reported_again_after_it_moved, a_poll_keeps_its_limits,
                a_seek_hands_out_nothing_from_before_it, nulls_are_not_empty_bytes,
                deleted_offsets_are_a_loss_and_not_a_reset, offsets_past_the_end_are_a_loss_and_not_a_reset,
                members_share_the_partitions_without_overlap, who_leaves_gives_its_partitions_to_the_others,
                published_offsets_are_no_positions;
        );
    };
    (@each $harness:expr; $($module:ident: $($name:ident),+;)+) => {
        $($(
            #[test]
            fn $name() {
                $crate::conformance::$module::$name(&$harness);
            }
        )+)+
    };
}

/// Rows with text keys and values.
pub fn rows<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> ChangeBatch {
    let mut batch = ChangeBatch::default();
    for (key, value) in pairs {
        let written: Result<(), std::convert::Infallible> = batch.push_with(Operation::Insert, |buffer| {
            buffer.extend_from_slice(key.as_ref().as_bytes());
            let key_end = buffer.len();
            buffer.extend_from_slice(value.as_ref().as_bytes());
            Ok(key_end)
        });
        written.unwrap();
    }
    batch
}

/// `count` rows whose keys and values tell their number.
pub fn numbered(numbers: std::ops::Range<usize>) -> ChangeBatch {
    rows(numbers.map(|number| (format!("{number}"), format!("value {number}"))))
}

pub fn topic<H: Harness>(harness: &H, partitions: i32) -> TopicDescription {
    let name = harness.fresh("topic");
    let spec = TopicSpec { name, partitions, replication_factor: 1, config: BTreeMap::new() };
    harness.cluster().ensure_topic(&spec).unwrap()
}

/// An initialised producer with a transactional id of its own.
pub fn new_producer<H: Harness>(harness: &H) -> H::Producer {
    let mut producer = harness.producer(&harness.fresh("producer"));
    producer.init(PATIENCE).unwrap();
    producer
}

/// One transaction with these rows.
pub fn publish(producer: &mut impl TransactionalProducer, topic: &str, batch: &ChangeBatch) {
    producer.begin().unwrap();
    producer.send(topic, batch).unwrap();
    producer.commit(PATIENCE).unwrap();
}

/// A record as a reader saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

impl Seen {
    pub fn value_text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().unwrap()).unwrap()
    }
}

pub fn end<H: Harness>(harness: &H, topic: &str, partition: i32) -> i64 {
    let bounds = harness.cluster().bounds(topic).unwrap();
    bounds.iter().find(|bound| bound.partition == partition).unwrap().end
}

/// All committed records of a partition, up to its end.
pub fn committed<H: Harness>(harness: &H, topic: &str, partition: i32) -> Vec<Seen> {
    let until = end(harness, topic, partition);
    committed_between(harness, topic, partition, 0, until)
}

pub fn committed_between<H: Harness>(harness: &H, topic: &str, partition: i32, from: i64, until: i64) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut each = |message: foodstream::model::Message<'_>| {
        seen.push(own(&message));
        Ok(())
    };
    harness.cluster().read_committed(topic, partition, from, until, PATIENCE, &mut each).unwrap();
    seen
}

/// Every committed value of a topic, sorted.
pub fn all_values<H: Harness>(harness: &H, topic: &TopicDescription) -> Vec<String> {
    let records = (0..topic.partitions).flat_map(|partition| committed(harness, &topic.name, partition));
    let mut values: Vec<_> = records.map(|seen| seen.value_text().to_owned()).collect();
    values.sort();
    values
}

fn own(message: &foodstream::model::Message<'_>) -> Seen {
    let foodstream::model::Message { partition, offset, timestamp_ms, key, value } = *message;
    Seen { partition, offset, timestamp_ms, key: key.map(<[u8]>::to_vec), value: value.map(<[u8]>::to_vec) }
}

/// A member of a group with everything it was told, answering assignments with fixed positions.
pub struct Member<C> {
    pub consumer: C,
    /// Where partitions are started; 0 where nothing is said.
    pub starts: BTreeMap<i32, i64>,
    pub assigned: Option<Vec<i32>>,
    pub revocations: usize,
    pub seen: Vec<Seen>,
    /// The last end reported, by partition.
    pub ends: BTreeMap<i32, i64>,
}

impl<C: GroupConsumer> Member<C> {
    pub fn new(consumer: C) -> Self {
        let (starts, ends) = (BTreeMap::new(), BTreeMap::new());
        Member { consumer, starts, assigned: None, revocations: 0, seen: Vec::new(), ends }
    }

    pub fn starting_at(mut self, starts: impl IntoIterator<Item = (i32, i64)>) -> Self {
        self.starts.extend(starts);
        self
    }

    /// One poll, with its events answered.
    pub fn poll(&mut self) -> foodstream::error::Result<()> {
        self.poll_at_most(10_000)
    }

    pub fn poll_at_most(&mut self, max_messages: usize) -> foodstream::error::Result<()> {
        let mut batch = MessageBatch::default();
        let events = self.consumer.poll(&mut batch, max_messages, 1 << 20, POLL)?;
        assert!(batch.len() <= max_messages, "{} messages where {max_messages} were asked for", batch.len());
        let mut moved = false;
        for event in events {
            match event {
                Event::Assigned(partitions) => {
                    let at = |&partition: &i32| PartitionOffset {
                        partition,
                        offset: self.starts.get(&partition).copied().unwrap_or(0),
                    };
                    self.consumer.assign(&partitions.iter().map(at).collect::<Vec<_>>())?;
                    self.assigned = Some(partitions);
                    moved = true;
                }
                Event::Revoked => {
                    self.consumer.assign(&[])?;
                    self.assigned = None;
                    self.revocations += 1;
                    self.ends.clear();
                    moved = true;
                }
                Event::EndOfPartition { partition, offset } => {
                    self.ends.insert(partition, offset);
                }
            }
        }
        if !moved {
            self.seen.extend(batch.iter().map(|message| own(&message)));
        }
        Ok(())
    }

    /// Polls until the condition holds.
    pub fn poll_until(&mut self, wanted: &str, mut done: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            self.poll().unwrap();
            assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {wanted}; seen so far: {:?}", self.seen);
        }
    }

    /// Polls until every assigned partition was read to `ends`.
    pub fn poll_to_ends(&mut self, ends: &[(i32, i64)]) {
        self.poll_until("the ends of the partitions", |member| {
            ends.iter().all(|(partition, end)| member.ends.get(partition) == Some(end))
        });
    }

    pub fn seen_offsets(&self, partition: i32) -> Vec<i64> {
        self.seen.iter().filter(|seen| seen.partition == partition).map(|seen| seen.offset).collect()
    }
}

/// A member that has its partitions.
pub fn joined<H: Harness>(harness: &H, topic: &str, starts: &[(i32, i64)]) -> Member<H::Consumer> {
    let consumer = harness.consumer(&harness.fresh("group"), topic);
    let mut member = Member::new(consumer).starting_at(starts.iter().copied());
    member.poll_until("an assignment", |member| member.assigned.is_some());
    member
}

/// Repeats a look until it shows what is wanted.
pub fn wait_for(wanted: &str, mut look: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !look() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {wanted}");
        std::thread::yield_now();
    }
}
