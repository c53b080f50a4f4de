//! Reading many messages a call from the batch queue.

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::Handle;
use super::{Failure, Owned, c_text, milliseconds, text_of};
use crate::model::Message;

/// One entry of the consumer queue.
pub enum Item<'a> {
    Message(Message<'a>),
    /// The reader stands at `offset`, past control and aborted records, and nothing committed follows yet.
    EndOfPartition {
        partition: i32,
        offset: i64,
    },
    Failed {
        partition: i32,
        offset: i64,
        failure: Failure,
    },
}

/// A queue entry of librdkafka; freed when dropped.
struct Entry(NonNull<sys::rd_kafka_message_t>);

// SAFETY: a message is plain memory with a counted reference to its fetch buffer; any thread may read and free it.
unsafe impl Send for Entry {}

impl Entry {
    fn item(&self) -> Item<'_> {
        // SAFETY: the message is ours until dropped. Payload and key are null or valid for their lengths as long
        // as it lives, which the returned lifetime keeps.
        unsafe {
            let message = self.0.as_ref();
            let code: Code = message.err.into();
            let (partition, offset) = (message.partition, message.offset);
            match code {
                Code::NoError => {
                    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
                    let timestamp_ms = sys::rd_kafka_message_timestamp(self.0.as_ptr(), &mut kind);
                    let key = bytes(message.key.cast(), message.key_len);
                    let value = bytes(message.payload.cast(), message.len);
                    Item::Message(Message { partition, offset, timestamp_ms, key, value })
                }
                Code::PartitionEOF => Item::EndOfPartition { partition, offset },
                code => {
                    let text = text_of(sys::rd_kafka_message_errstr(self.0.as_ptr()));
                    Item::Failed { partition, offset, failure: Failure::new(code, text) }
                }
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: made by librdkafka, freed once.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// # Safety
/// `pointer` is null, or valid for `length` bytes for `'a`.
unsafe fn bytes<'a>(pointer: *const u8, length: usize) -> Option<&'a [u8]> {
    // SAFETY: promised by the caller.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// A queue of messages, errors and ends, with those already taken from it but not yet handed over.
/// Must be dropped before its handle.
pub struct MessageQueue {
    queue: Owned<sys::rd_kafka_queue_t>,
    taken: VecDeque<Entry>,
    scratch: Vec<*mut sys::rd_kafka_message_t>,
}

// SAFETY: the queue is thread safe; `scratch` holds no pointer between calls.
unsafe impl Send for MessageQueue {}

impl MessageQueue {
    /// The queue of a group member: messages, errors, and rebalances, which run their callback inside `fill`.
    pub fn of_group(handle: &Handle) -> Result<Self, Failure> {
        // SAFETY: the handle is live; the reference is ours to destroy.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(handle.ptr()) };
        Self::new(queue).ok_or_else(|| Failure::new(Code::UnknownGroup, "the consumer has no group"))
    }

    fn new(queue: *mut sys::rd_kafka_queue_t) -> Option<Self> {
        let queue = Owned::new(queue, sys::rd_kafka_queue_destroy)?;
        Some(MessageQueue { queue, taken: VecDeque::new(), scratch: Vec::new() })
    }

    /// Takes up to `most` entries, and returns once it has them or `timeout` has passed: librdkafka waits for all,
    /// so ask for one with a time-out and for many without.
    pub fn fill(&mut self, most: usize, timeout: Duration) -> usize {
        self.scratch.clear();
        self.scratch.reserve(most);
        // SAFETY: the queue is live and the array has room for `most` pointers, of which the call fills the
        // returned number; each becomes ours.
        let count = unsafe {
            let wait = milliseconds(timeout);
            let count = sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), wait, self.scratch.as_mut_ptr(), most);
            let count = usize::try_from(count).unwrap_or(0);
            self.scratch.set_len(count);
            count
        };
        self.taken.extend(self.scratch.drain(..).filter_map(NonNull::new).map(Entry));
        count
    }

    /// The next entry taken by `fill`, left in place.
    pub fn peek(&self) -> Option<Item<'_>> {
        self.taken.front().map(Entry::item)
    }

    /// Frees the entry that `peek` shows.
    pub fn skip(&mut self) {
        self.taken.pop_front();
    }

    /// Frees all entries taken and not handed over.
    pub fn forget_taken(&mut self) {
        self.taken.clear();
    }
}

impl Handle {
    pub fn subscribe(&self, topic: &str) -> Result<(), Failure> {
        let mut list = TopicPartitionList::new();
        list.add_topic_unassigned(topic);
        // SAFETY: handle and list are live; the list is copied.
        checked(unsafe { sys::rd_kafka_subscribe(self.ptr(), list.ptr()) })
    }

    /// Starts reading at the offsets of the list. `None` gives all partitions back, which is another answer than
    /// an empty list: the one ends a revocation, the other accepts an assignment of nothing.
    pub fn assign(&self, list: Option<&TopicPartitionList>) -> Result<(), Failure> {
        let list = list.map_or(std::ptr::null(), |list| list.ptr().cast_const());
        // SAFETY: handle and list are live; the list is copied.
        checked(unsafe { sys::rd_kafka_assign(self.ptr(), list) })
    }

    /// Sends offsets to the group without waiting for an answer.
    pub fn commit_async(&self, list: &TopicPartitionList) -> Result<(), Failure> {
        // SAFETY: handle and list are live; the list is copied.
        checked(unsafe { sys::rd_kafka_commit(self.ptr(), list.ptr(), 1) })
    }

    /// The end of a partition as its last fetch answered; `None` before one did.
    pub fn known_end(&self, topic: &str, partition: i32) -> Option<i64> {
        let name = c_text(topic).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the handle is live; the call only copies what librdkafka remembers into the two numbers.
        checked(unsafe {
            sys::rd_kafka_get_watermark_offsets(self.ptr(), name.as_ptr(), partition, &mut low, &mut high)
        })
        .ok()?;
        (high >= 0).then_some(high)
    }

    /// Leaves the group. Rebalances from here on are answered by the callback itself.
    pub fn close_consumer(&self) -> Result<(), Failure> {
        self.context().begin_close();
        // SAFETY: the handle is a live consumer. A rebalance that waits for its answer is answered first, as the
        // close would wait for it too.
        checked(unsafe {
            sys::rd_kafka_assign(self.ptr(), std::ptr::null());
            sys::rd_kafka_consumer_close(self.ptr())
        })
    }
}

fn checked(code: sys::rd_kafka_resp_err_t) -> Result<(), Failure> {
    if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    // SAFETY: a static string of librdkafka.
    Err(Failure::new(code.into(), text_of(unsafe { sys::rd_kafka_err2str(code) })))
}

/// Reads one partition without a group; stops when dropped.
pub struct PartitionReader<'h> {
    queue: MessageQueue,
    topic: Owned<sys::rd_kafka_topic_t>,
    partition: i32,
    handle: std::marker::PhantomData<&'h Handle>,
}

impl<'h> PartitionReader<'h> {
    pub fn start(handle: &'h Handle, topic: &str, partition: i32, offset: i64) -> Result<Self, Failure> {
        let name = c_text(topic)?;
        // SAFETY: the handle is live; queue and topic are ours and dropped while it still is (`'h`).
        let (queue, topic) = unsafe {
            let queue = MessageQueue::new(sys::rd_kafka_queue_new(handle.ptr()));
            let topic = sys::rd_kafka_topic_new(handle.ptr(), name.as_ptr(), std::ptr::null_mut());
            (queue, Owned::new(topic, sys::rd_kafka_topic_destroy))
        };
        let (Some(queue), Some(topic)) = (queue, topic) else {
            return Err(Failure::new(Code::InvalidArgument, "the topic's name was refused"));
        };
        // SAFETY: topic and queue are live.
        let started =
            unsafe { sys::rd_kafka_consume_start_queue(topic.as_ptr(), partition, offset, queue.queue.as_ptr()) };
        if started != 0 {
            // SAFETY: reads a thread-local, then a static string.
            let (code, text) = unsafe {
                let code = sys::rd_kafka_last_error();
                (code, text_of(sys::rd_kafka_err2str(code)))
            };
            return Err(Failure::new(code.into(), text));
        }
        Ok(PartitionReader { queue, topic, partition, handle: std::marker::PhantomData })
    }

    pub fn queue(&mut self) -> &mut MessageQueue {
        &mut self.queue
    }
}

impl Drop for PartitionReader<'_> {
    fn drop(&mut self) {
        self.queue.forget_taken();
        // SAFETY: started once, stopped once, while topic and queue are live.
        unsafe { sys::rd_kafka_consume_stop(self.topic.as_ptr(), self.partition) };
    }
}
