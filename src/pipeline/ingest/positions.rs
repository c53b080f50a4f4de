//! Where reading starts: the commit log's positions, checked against the topic as it is now (C1).

use std::collections::BTreeMap;

use crate::broker::{Bounds, Cluster, GroupConsumer, TopicDescription};
use crate::config::StartingOffsets;
use crate::error::{Error, Kind, Lost, Result};
use crate::lake::Head;
use crate::model::{OffsetRange, PartitionOffset};
use crate::pipeline::retry::until_ok;

use super::writer::Writer;
use super::{Ingest, Options};

/// Spark's numbers for the two ends of a partition in an explicit `startingOffsets`.
const SPARK_EARLIEST: i64 = -2;
const SPARK_LATEST: i64 = -1;

/// Makes sure that the topic exists and that the lake is founded on it.
pub(super) fn found_or_continue(cluster: &mut impl Cluster, writer: &mut Writer, options: &Options) -> Result<Head> {
    let topic = cluster.ensure_topic(&options.topic)?;
    if topic.partitions != options.topic.partitions {
        tracing::warn!(
            target: "foodstream::consumer",
            "topic {} has {} partitions, kafka.num_partitions says {}; running with what is there",
            topic.name, topic.partitions, options.topic.partitions
        );
    }
    if let Some(head) = writer.head()? {
        same_topic(&topic, &head)?;
        return Ok(head);
    }
    let starts = starts(cluster, options)?;
    let head = writer.found(&topic.name, &topic.id, starts)?;
    same_topic(&topic, &head)?;
    Ok(head)
}

/// A topic of the same name that was deleted and created anew is another topic: its offsets mean other records.
pub(super) fn same_topic(topic: &TopicDescription, head: &Head) -> Result<()> {
    if topic.id == head.topic_id {
        return Ok(());
    }
    if topic.name != head.topic {
        return Err(Error::config(format!(
            "kafka.topic is {}, but the lake was made from {}, whose offsets mean other records: set kafka.topic back, \
             or give the new topic a checkpoint_location and a datalake.path of its own",
            topic.name, head.topic
        )));
    }
    let what =
        format!("topic {} was deleted and created anew (id {} instead of {})", topic.name, topic.id, head.topic_id);
    Err(lost_topic(&what, head))
}

fn lost_topic(what: &str, head: &Head) -> Error {
    let lost: Vec<String> =
        head.positions.iter().map(|(partition, offset)| format!("{partition} from {offset}")).collect();
    let offsets = head.positions.iter().map(|(&partition, &offset)| (partition, (offset, None))).collect();
    Error::data_loss(
        Lost { topic: Some(head.topic.clone()), offsets, ..Lost::default() },
        format!(
            "{what}: whatever followed the lake's positions (partitions {}) is gone; give the new topic a new \
             checkpoint_location and datalake.path to accept that",
            lost.join(", ")
        ),
    )
}

/// Starting offsets as numbers, for every partition there is.
fn starts(cluster: &mut impl Cluster, options: &Options) -> Result<Vec<PartitionOffset>> {
    let topic = &options.topic.name;
    let bounds = cluster.bounds(topic)?;
    let each = |offset: &dyn Fn(&Bounds) -> i64| {
        bounds.iter().map(|bound| PartitionOffset { partition: bound.partition, offset: offset(bound) }).collect()
    };
    Ok(match &options.starting_offsets {
        StartingOffsets::Earliest => each(&|bound| bound.earliest),
        StartingOffsets::Latest => each(&|bound| bound.end),
        StartingOffsets::TimestampMs(moment) => cluster.offsets_at(topic, *moment)?,
        StartingOffsets::Explicit(offsets) => {
            check_explicit(topic, offsets, &bounds)?;
            each(&|bound| match offsets.get(&bound.partition) {
                None | Some(&SPARK_EARLIEST) => bound.earliest,
                Some(&SPARK_LATEST) => bound.end,
                Some(&offset) => offset,
            })
        }
    })
}

/// Commit 0 keeps the starts for good, so they must be offsets that the topic has.
fn check_explicit(topic: &str, offsets: &BTreeMap<i32, i64>, bounds: &[Bounds]) -> Result<()> {
    for (&partition, &offset) in offsets {
        let Some(bound) = bounds.iter().find(|bound| bound.partition == partition) else {
            let message = format!("consumer.startingOffsets names partition {partition}, which {topic} does not have");
            return Err(Error::config(message));
        };
        let symbolic = matches!(offset, SPARK_EARLIEST | SPARK_LATEST);
        if !symbolic && !(bound.earliest..=bound.end).contains(&offset) {
            return Err(Error::config(format!(
                "consumer.startingOffsets says {offset} for {topic}/{partition}, which holds {} to {}; -2 is the \
                 earliest, -1 the latest",
                bound.earliest, bound.end
            )));
        }
    }
    Ok(())
}

/// A partition that ends before the lake's position is not the one the lake was made from.
pub(super) fn refuse_truncated(topic: &str, bound: &Bounds, committed: i64) -> Result<()> {
    let Bounds { partition, end, .. } = bound;
    if committed <= *end {
        return Ok(());
    }
    Err(Error::data_loss(
        Lost::offsets(topic, *partition, *end, Some(committed)),
        format!(
            "{topic}/{partition} ends at {end}, before the lake's position {committed}: the broker lost offsets \
             [{end}, {committed}), and new records would take their numbers; restore its data, or give the topic a new \
             checkpoint_location and datalake.path to accept that"
        ),
    ))
}

impl<C: GroupConsumer, K: Cluster> Ingest<C, K> {
    /// Reads the log and starts (or, while assigned, seeks) these partitions at its positions.
    pub(super) fn stand_at_log(&mut self, partitions: &[i32], seek: bool) -> Result<()> {
        if let Some(head) = self.writer.head()? {
            self.head = head;
        }
        self.remember_log_only()?;
        self.look_for_plans(partitions)?;
        if partitions.is_empty() {
            return if seek { Ok(()) } else { self.reader.start(&[]) };
        }
        let stop = self.stop.clone();
        let backoff = self.new_backoff();
        let bounds = until_ok(backoff, &stop, || {
            // Compared first: in another topic of the name the partition may never appear.
            same_topic(&self.describe_topic()?, &self.head)?;
            self.bounds_of(partitions)
        })?;
        let mut positions = Vec::with_capacity(partitions.len());
        let mut lost = Vec::new();
        for bound in &bounds {
            let partition = bound.partition;
            let committed = self.head.positions.get(&partition).copied().unwrap_or(bound.earliest);
            let offset = self.within(bound, committed)?;
            if offset != committed {
                lost.push(OffsetRange { partition, from: committed, to: offset });
            }
            positions.push(PartitionOffset { partition, offset });
        }
        if seek {
            self.reader.rewind(&positions)?
        } else {
            self.reader.start(&positions)?
        }
        let is_new = |position: &PartitionOffset| !self.head.positions.contains_key(&position.partition);
        self.options.monitor.begins_at(positions.into_iter().filter(is_new));
        for range in lost {
            self.reader.begin_at(range.partition, range.from);
            self.open.lost.push(range);
        }
        Ok(())
    }

    /// The bounds of these partitions, in their order. The group may give out a new partition before every broker
    /// knows it, and one that is left out here would not be read until the group moves again.
    fn bounds_of(&mut self, partitions: &[i32]) -> Result<Vec<Bounds>> {
        let topic = &self.options.topic.name;
        let bounds = self.cluster.bounds(topic)?;
        let find = |&partition: &i32| {
            bounds.iter().find(|bound| bound.partition == partition).copied().ok_or_else(|| {
                let message =
                    format!("kafka does not know the bounds of {topic}/{partition} yet, which the group gave us");
                Error::new(Kind::Broker, message).retriable()
            })
        };
        partitions.iter().map(find).collect()
    }

    /// The committed position, or what is left of the partition where the configuration accepts the loss.
    pub(super) fn within(&self, bound: &Bounds, committed: i64) -> Result<i64> {
        if (bound.earliest..=bound.end).contains(&committed) {
            return Ok(committed);
        }
        let topic = &self.options.topic.name;
        let partition = bound.partition;
        refuse_truncated(topic, bound, committed)?;
        let error = format!(
            "{topic}/{partition} starts at {}: offsets [{committed}, {}) were deleted before they were read",
            bound.earliest, bound.earliest
        );
        if self.options.fail_on_data_loss {
            let error = format!("{error}; set consumer.failOnDataLoss: false to accept the loss and go on");
            let lost = Lost::offsets(topic, partition, committed, Some(bound.earliest));
            return Err(Error::data_loss(lost, error));
        }
        tracing::error!(target: "foodstream::consumer", "{error}; going on as failOnDataLoss is false");
        Ok(bound.earliest)
    }

    /// Before each commit the topic must still be the one the lake was founded on.
    pub(super) fn check_topic(&mut self) -> Result<()> {
        let topic = match self.describe_topic() {
            Err(error) if error.is_retriable() => {
                let stop = self.stop.clone();
                let backoff = self.new_backoff();
                match until_ok(backoff, &stop, || self.describe_topic()) {
                    // On a stop while Kafka is away the batch is still sound: the topic was checked at its assignment.
                    Err(error) if error.kind() == Kind::Interrupted => return Ok(()),
                    described => described,
                }
            }
            described => described,
        };
        same_topic(&topic?, &self.head)
    }

    pub(super) fn describe_topic(&mut self) -> Result<TopicDescription> {
        let Ingest { cluster, options, head, .. } = self;
        let name = &options.topic.name;
        cluster.describe_known(name)?.ok_or_else(|| lost_topic(&format!("topic {name} was deleted"), head))
    }
}
