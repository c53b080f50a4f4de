//! A group member that reads in batches and takes its positions from its caller.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset;

use super::config;
use super::context::{Context, Rebalance};
use super::error::{failed, is_passing, wrapper_failed};
use super::native::{Failure, Handle, Item, MessageQueue, OffsetSpec, Role};
use crate::broker::{Bounds, Event, GroupConsumer};
use crate::config::Kafka;
use crate::error::{Error, Lost, Result};
use crate::model::{MessageBatch, PartitionOffset};

/// Entries taken from librdkafka a call. Larger calls were no faster, and what was taken and not handed over is
/// memory outside the queue's limit.
const ENTRIES_PER_READ: usize = 10_000;

/// The assumed size of a message before any was seen, and the least assumed after.
const TYPICAL_MESSAGE_BYTES: usize = 256;

/// Questions asked while an error is explained.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A poll wakes this often to look at errors of the connection.
const WAIT_SLICE: Duration = Duration::from_millis(100);

/// A partition that is being stopped must not be stopped again before the first stop is through: librdkafka 2.12 counts
/// both and aborts the process (`rd_kafka_assignment_partition_stopped`). It tells nobody when one is through; that
/// takes two of its threads a wake-up each, and this is a hundred times that.
const STOP_TIME: Duration = Duration::from_millis(300);

/// What a poll may still add to its batch.
struct Limits {
    messages: usize,
    bytes: usize,
}

enum Drained {
    /// Everything taken so far was handed over.
    Empty,
    /// The batch is full, or an event must be seen first.
    Stopped,
}

/// The position that an entry of the queue moves, unless it was fetched before a seek or an assignment (C4). librdkafka
/// outdates such entries itself; what is handed out does not depend on it.
fn due(positions: &mut BTreeMap<i32, i64>, partition: i32, offset: i64) -> Option<&mut i64> {
    positions.get_mut(&partition).filter(|position| offset >= **position)
}

/// `GroupConsumer` over librdkafka.
pub struct KafkaGroupConsumer {
    // Dropped before the handle.
    queue: MessageQueue,
    handle: Handle,
    topic: String,
    /// The next offset to hand out, per assigned partition. Entries of other partitions are stale and dropped.
    positions: BTreeMap<i32, i64>,
    /// The last rebalance the owner was told of and has not answered.
    unanswered: Option<Rebalance>,
    /// The last assignment was of some partitions: they are, or will be, read.
    reading: bool,
    /// When partitions were last stopped, until something of those started after them came.
    stopped_at: Option<Instant>,
    message_bytes: usize,
    closed: bool,
}

impl KafkaGroupConsumer {
    /// Joins `kafka.consumer_group` for `kafka.topic`; partitions come as `Event::Assigned` from `poll`.
    pub fn new(kafka: &Kafka) -> Result<Self> {
        let doing = format!("joining group `{}`", kafka.consumer_group);
        let handle = Handle::new(&config::group_consumer(kafka), Role::Consumer, Context::new(&kafka.brokers))
            .map_err(|error| wrapper_failed(&kafka.brokers, &doing, &error))?;
        let queue = MessageQueue::of_group(&handle).map_err(|failure| failed(handle.context(), &doing, &failure))?;
        handle.subscribe(&kafka.topic).map_err(|failure| failed(handle.context(), &doing, &failure))?;
        Ok(KafkaGroupConsumer {
            queue,
            handle,
            topic: kafka.topic.clone(),
            positions: BTreeMap::new(),
            unanswered: None,
            reading: false,
            stopped_at: None,
            message_bytes: TYPICAL_MESSAGE_BYTES,
            closed: false,
        })
    }

    fn doing(&self) -> String {
        format!("reading topic `{}`", self.topic)
    }

    fn failed(&self, failure: &Failure) -> Error {
        failed(self.handle.context(), &self.doing(), failure)
    }

    fn refuse_if_closed(&self) -> Result<()> {
        if self.closed { Err(Error::bug("the consumer was used after its close")) } else { Ok(()) }
    }

    /// Moves rebalances that ran during a read to the events; true when there were any.
    fn take_rebalances(&mut self, events: &mut Vec<Event>) -> bool {
        let mut any = false;
        while let Some(rebalance) = self.handle.context().next_rebalance() {
            any = true;
            // Whatever was fetched belongs to the time before.
            self.positions.clear();
            self.queue.forget_taken();
            events.push(match &rebalance {
                Rebalance::Assigned(partitions) => Event::Assigned(partitions.clone()),
                Rebalance::Revoked => Event::Revoked,
            });
            self.unanswered = Some(rebalance);
        }
        any
    }

    /// Hands over what was taken, up to the limits, and stops before a message that follows an event.
    fn drain(&mut self, into: &mut MessageBatch, limits: &Limits, events: &mut Vec<Event>) -> Result<Drained> {
        let (most, most_bytes) = (limits.messages, limits.bytes);
        let mut failure = None;
        while let Some(item) = self.queue.peek() {
            match item {
                Item::Message(message) => {
                    if let Some(position) = due(&mut self.positions, message.partition, message.offset) {
                        self.stopped_at = None;
                        if !events.is_empty() || into.len() >= most || into.byte_len() >= most_bytes {
                            return Ok(Drained::Stopped);
                        }
                        *position = message.offset + 1;
                        into.push(message);
                    }
                }
                Item::EndOfPartition { partition, offset } => {
                    if let Some(position) = due(&mut self.positions, partition, offset) {
                        self.stopped_at = None;
                        *position = offset;
                        events.push(Event::EndOfPartition { partition, offset });
                    }
                }
                Item::Failed { partition, offset, failure: cause } => failure = Some((partition, offset, cause)),
            }
            self.queue.skip();
            if let Some((partition, offset, cause)) = failure.take() {
                self.judge(partition, offset, &cause)?;
            }
        }
        Ok(if events.is_empty() { Drained::Empty } else { Drained::Stopped })
    }

    /// Whether an error entry ends the reading. librdkafka goes on by itself after those that pass.
    fn judge(&mut self, partition: i32, offset: i64, failure: &Failure) -> Result<()> {
        match failure.code {
            Code::AutoOffsetReset => {
                // An answer to an older position is stale, as its messages would be.
                let Some(&position) = self.positions.get(&partition) else { return Ok(()) };
                let wanted = if offset >= 0 { offset } else { position };
                let bounds = self.bounds().unwrap_or_default();
                Err(lost(&self.topic, partition, wanted, &bounds))
            }
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                // Said as well while a new topic travels through the brokers.
                match self.handle.describe_topic(&self.topic, EXPLAIN_TIMEOUT) {
                    Ok(Some(_)) => Ok(()),
                    Ok(None) => Err(self.failed(failure)),
                    Err(other) => Err(self.failed(&other)),
                }
            }
            Code::PollExceeded => {
                tracing::warn!(
                    target: "foodstream::kafka",
                    "a batch took longer than `max.poll.interval.ms`; the group took the partitions back ({})",
                    failure.text
                );
                Ok(())
            }
            code if is_passing(code) => {
                tracing::debug!(target: "foodstream::kafka", code = ?code, "{}", failure.text);
                Ok(())
            }
            _ => Err(self.failed(failure)),
        }
    }

    fn bounds(&self) -> Option<Vec<Bounds>> {
        let topic = self.handle.describe_topic(&self.topic, EXPLAIN_TIMEOUT).ok()??;
        let list = |spec| self.handle.list_offsets(&self.topic, topic.partitions, spec, EXPLAIN_TIMEOUT).ok();
        let bounds = list(OffsetSpec::Earliest)?.into_iter().zip(list(OffsetSpec::End)?);
        Some(
            bounds
                .map(|(first, end)| Bounds { partition: first.partition, earliest: first.offset, end: end.offset })
                .collect(),
        )
    }

    /// A report that all brokers are down may be outdated; one question decides. Called when nothing came.
    fn check_connection(&self) -> Result<()> {
        if let Some(refusal) = self.handle.context().refusal() {
            return Err(self.failed(&refusal));
        }
        if !self.handle.context().take_all_brokers_down() {
            return Ok(());
        }
        const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
        match self.handle.client().fetch_metadata(Some(&self.topic), ANSWER_TIMEOUT) {
            Ok(_) => Ok(()),
            Err(error) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::AllBrokersDown);
                self.handle.serve(Duration::ZERO);
                Err(self.failed(&Failure { code, text: error.to_string() }))
            }
        }
    }

    fn list(&self, positions: impl Iterator<Item = (i32, i64)>) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in positions {
            if offset < 0 {
                return Err(Error::bug(format!("partition {partition} was given the logical offset {offset}")));
            }
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
                .map_err(|error| Error::bug(format!("partition {partition}: {error}")))?;
        }
        Ok(list)
    }

    /// Starts all positions anew: librdkafka discards what it fetched before.
    fn restart(&mut self, positions: BTreeMap<i32, i64>) -> Result<()> {
        let list = self.list(positions.iter().map(|(&partition, &offset)| (partition, offset)))?;
        self.queue.forget_taken();
        self.replace(Some(&list), !positions.is_empty())?;
        self.positions = positions;
        Ok(())
    }

    fn replace(&mut self, list: Option<&TopicPartitionList>, reading: bool) -> Result<()> {
        self.let_stops_pass();
        self.handle.assign(list).map_err(|failure| self.failed(&failure))?;
        if std::mem::replace(&mut self.reading, reading) {
            self.stopped_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Before partitions are stopped.
    #[allow(clippy::disallowed_methods, reason = "there is no condition to wait for, and a stop waits for it too")]
    fn let_stops_pass(&mut self) {
        if self.reading
            && let Some(stopped_at) = self.stopped_at.take()
        {
            std::thread::sleep(STOP_TIME.saturating_sub(stopped_at.elapsed()));
        }
    }

    /// How many entries may be taken without going far beyond the limit of bytes.
    fn next_read(&self, into: &MessageBatch, limits: &Limits) -> usize {
        let room = limits.bytes.saturating_sub(into.byte_len()) / self.message_bytes + 1;
        let messages = limits.messages.saturating_sub(into.len());
        room.min(messages).clamp(1, ENTRIES_PER_READ)
    }
}

impl GroupConsumer for KafkaGroupConsumer {
    fn poll(
        &mut self,
        into: &mut MessageBatch,
        max_messages: usize,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Vec<Event>> {
        self.refuse_if_closed()?;
        let deadline = Instant::now() + timeout;
        let (before, before_bytes) = (into.len(), into.byte_len());
        let limits = Limits { messages: before + max_messages, bytes: before_bytes.saturating_add(max_bytes) };
        let mut events = Vec::new();
        self.handle.serve(Duration::ZERO);
        loop {
            if let Drained::Stopped = self.drain(into, &limits, &mut events)? {
                break;
            }
            if into.len() >= limits.messages || into.byte_len() >= limits.bytes {
                break;
            }
            let mut count = self.queue.fill(self.next_read(into, &limits), Duration::ZERO);
            if count == 0 && into.len() == before {
                let left = deadline.saturating_duration_since(Instant::now());
                count = self.queue.fill(1, left.min(WAIT_SLICE));
            }
            if self.take_rebalances(&mut events) {
                break;
            }
            if count > 0 {
                continue;
            }
            if into.len() > before {
                break;
            }
            self.handle.serve(Duration::ZERO);
            self.check_connection()?;
            if Instant::now() >= deadline {
                break;
            }
        }
        if into.len() > before {
            let average = (into.byte_len() - before_bytes) / (into.len() - before);
            self.message_bytes = average.max(TYPICAL_MESSAGE_BYTES);
        }
        Ok(events)
    }

    fn assign(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        self.refuse_if_closed()?;
        let accepts = matches!(self.unanswered.take(), Some(Rebalance::Assigned(_)));
        if positions.is_empty() && !accepts {
            self.positions.clear();
            self.queue.forget_taken();
            return self.replace(None, false);
        }
        self.restart(positions.iter().map(|position| (position.partition, position.offset)).collect())
    }

    fn seek(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        self.refuse_if_closed()?;
        let mut sought = self.positions.clone();
        for position in positions {
            // A partition that was taken away meanwhile is somebody else's to place.
            if let Some(offset) = sought.get_mut(&position.partition) {
                *offset = position.offset;
            }
        }
        if sought.is_empty() {
            return Ok(());
        }
        // Not librdkafka's seek: it fails while an assignment is under way, and keeps the end-of-partition state.
        self.restart(sought)
    }

    fn publish_offsets(&mut self, positions: &[PartitionOffset]) -> Result<()> {
        self.refuse_if_closed()?;
        let list = self.list(positions.iter().map(|position| (position.partition, position.offset)))?;
        if let Err(failure) = self.handle.commit_async(&list) {
            tracing::debug!(target: "foodstream::kafka", "offsets were not published: {}", failure.text);
        }
        Ok(())
    }

    fn known_ends(&self) -> Vec<PartitionOffset> {
        let end = |&partition: &i32| {
            let offset = self.handle.known_end(&self.topic, partition)?;
            Some(PartitionOffset { partition, offset })
        };
        self.positions.keys().filter_map(end).collect()
    }

    fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.positions.clear();
        self.queue.forget_taken();
        self.let_stops_pass();
        if let Err(failure) = self.handle.close_consumer() {
            tracing::debug!(target: "foodstream::kafka", "leaving the group: {}", failure.text);
        }
        self.handle.serve(Duration::ZERO);
    }
}

impl Drop for KafkaGroupConsumer {
    fn drop(&mut self) {
        self.close();
    }
}

/// The error for a position that the partition does not have, with the interval that is gone.
pub fn lost(topic: &str, partition: i32, wanted: i64, bounds: &[Bounds]) -> Error {
    let place = format!("{topic}/{partition}");
    let bounds = bounds.iter().find(|bounds| bounds.partition == partition).copied();
    let (from, to, text) = match bounds {
        Some(Bounds { earliest, .. }) if wanted < earliest => {
            let text = format!(
                "{place} starts at {earliest}: offsets [{wanted}, {earliest}) are gone from the broker, deleted or \
                 expired before they were read; nothing was skipped"
            );
            (wanted, Some(earliest), text)
        }
        Some(Bounds { end, .. }) if wanted > end => {
            let text = format!(
                "{place} ends at {end}, but offset {wanted} was wanted: it was truncated or the topic was made anew; \
                 offsets [{end}, {wanted}) are not what they were"
            );
            (end, Some(wanted), text)
        }
        _ => {
            let text = format!("{place}: offset {wanted} cannot be read any more; offsets [{wanted}, ?) are lost");
            (wanted, None, text)
        }
    };
    Error::data_loss(Lost::offsets(topic, partition, from, to), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn c4_what_lies_before_the_own_position_is_not_handed_out_whatever_the_library_gives() {
        let mut positions = BTreeMap::from([(0, 40), (1, 0)]);
        assert_eq!(due(&mut positions, 0, 39), None, "from before a seek");
        assert_eq!(due(&mut positions, 2, 90), None, "of a partition that was taken away");
        // Offsets have gaps: control and aborted records.
        *due(&mut positions, 0, 43).unwrap() = 44;
        assert_eq!(due(&mut positions, 0, 43), None, "a second time");
        assert_eq!(due(&mut positions, 0, 44), Some(&mut 44));
        assert_eq!(due(&mut positions, 1, 0), Some(&mut 0));
    }

    #[test]
    fn a_lost_offset_names_topic_partition_and_interval() {
        let bounds = [Bounds { partition: 2, earliest: 40, end: 90 }];
        let error = lost("orders", 2, 7, &bounds);
        assert_eq!(error.kind(), Kind::DataLoss);
        assert!(error.to_string().contains("orders/2 starts at 40: offsets [7, 40)"), "{error}");
        assert_eq!(error.lost(), Some(&Lost::offsets("orders", 2, 7, Some(40))));
        let error = lost("orders", 2, 120, &bounds);
        assert!(error.to_string().contains("[90, 120)"), "{error}");
        assert_eq!(error.lost(), Some(&Lost::offsets("orders", 2, 90, Some(120))));
        assert_eq!(lost("orders", 2, 50, &bounds).lost(), Some(&Lost::offsets("orders", 2, 50, None)));
    }
}
