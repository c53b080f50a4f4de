//! Sending many records a call, and transactions by the plain C calls.

use std::ffi::c_void;
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::client::Handle;
use super::{Failure, Owned, c_text, milliseconds, take_error, text_of};

/// A topic of a producer. Must be dropped before its handle; `KafkaProducer` declares its fields in that order.
pub struct Topic(Owned<sys::rd_kafka_topic_t>);

// SAFETY: librdkafka's objects may be used from any thread; the library locks inside.
unsafe impl Send for Topic {}

impl Topic {
    /// The partition of a key among so many by `murmur2_random`.
    pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
        debug_assert!(partitions > 0);
        let (key, len) = (key.as_ptr().cast(), key.len());
        // SAFETY: for a key that is not null the function reads its `len` bytes and nothing else.
        unsafe {
            let nothing = ptr::null_mut();
            sys::rd_kafka_msg_partitioner_murmur2_random(ptr::null(), key, len, partitions, nothing, nothing)
        }
    }
}

/// A record to send; `value` `None` is Kafka's null.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// How far a batch got.
pub enum Produced {
    /// All of them, as many as these.
    All(usize),
    /// The queue is full: the first `n` records are in it, the others are not.
    Partly(usize),
    /// The first `n` records are in the queue, the next one was refused.
    Refused(usize, Failure),
}

/// A failed transactional call, with what librdkafka says may be done next.
#[derive(Debug)]
pub struct TransactionError {
    pub failure: Failure,
    pub fatal: bool,
    pub retriable: bool,
}

/// RD_KAFKA_PARTITION_UA: the partitioner chooses by the key.
const UNASSIGNED: i32 = -1;

/// Records handed to C at once: enough to spread the cost of the call, few enough for a small array.
const RECORDS_PER_CALL: usize = 1000;

impl Handle {
    pub fn topic(&self, name: &str) -> Result<Topic, Failure> {
        let name = c_text(name)?;
        // SAFETY: the handle is live, the name ends with NUL, a null configuration means the defaults.
        let topic = unsafe { sys::rd_kafka_topic_new(self.ptr(), name.as_ptr(), ptr::null_mut()) };
        let topic = Owned::new(topic, sys::rd_kafka_topic_destroy);
        topic.map(Topic).ok_or_else(|| Failure::new(last_error(), "the topic's name was refused"))
    }

    /// Puts copies of the records into the send queue; `partition` `None` lets the key decide.
    pub fn produce<'a>(
        &self,
        topic: &Topic,
        partition: Option<i32>,
        records: impl Iterator<Item = Record<'a>>,
    ) -> Produced {
        let mut sent = 0;
        let mut chunk: Vec<sys::rd_kafka_message_t> = Vec::with_capacity(RECORDS_PER_CALL);
        let mut records = records.peekable();
        while records.peek().is_some() {
            chunk.clear();
            chunk.extend(records.by_ref().take(RECORDS_PER_CALL).map(raw_message));
            // SAFETY: topic and handle are live; the array has the stated length; payload and key point into
            // slices that outlive the call, and MSG_F_COPY makes librdkafka copy them before it returns.
            let accepted = unsafe {
                sys::rd_kafka_produce_batch(
                    topic.0.as_ptr(),
                    partition.unwrap_or(UNASSIGNED),
                    sys::RD_KAFKA_MSG_F_COPY,
                    chunk.as_mut_ptr(),
                    chunk.len() as i32,
                )
            };
            if accepted as usize == chunk.len() {
                sent += chunk.len();
                continue;
            }
            // After a full queue all that follow are refused too, so the accepted ones are the first ones.
            // Another refusal concerns one record; later ones may be in, and the caller gives the batch up.
            let no_error = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            let first = chunk.iter().position(|message| message.err != no_error).unwrap_or(chunk.len());
            let code: Code = chunk.get(first).map_or(Code::NoError, |message| message.err.into());
            return match code {
                Code::NoError => Produced::Refused(sent + first, Failure::new(Code::Fail, "records were not queued")),
                Code::QueueFull => Produced::Partly(sent + first),
                code => {
                    // SAFETY: a static string of librdkafka.
                    let text = text_of(unsafe { sys::rd_kafka_err2str(chunk[first].err) });
                    Produced::Refused(sent + first, Failure::new(code, text))
                }
            };
        }
        Produced::All(sent)
    }

    /// Waits until every queued record is delivered or has failed; false when the time passed before.
    pub fn flush(&self, timeout: Duration) -> bool {
        // SAFETY: the handle is a live producer.
        let code = unsafe { sys::rd_kafka_flush(self.ptr(), milliseconds(timeout)) };
        code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
    }

    /// Records queued or on their way, whose delivery is not reported yet.
    pub fn undelivered(&self) -> u64 {
        // SAFETY: the handle is live.
        let waiting = unsafe { sys::rd_kafka_outq_len(self.ptr()) };
        u64::try_from(waiting).unwrap_or_default()
    }

    /// Drops what waits to be sent or for its acknowledgement. Returns when the library's threads have done so: one that
    /// is still to come would drop what is sent next, too.
    pub fn purge(&self) {
        if self.undelivered() == 0 {
            // One of the threads may be asking for the address of a broker that has none.
            return;
        }
        let flags = sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the handle is a live producer; the flags are valid for it.
        unsafe { sys::rd_kafka_purge(self.ptr(), flags) };
    }

    pub fn init_transactions(&self, timeout: Duration) -> Result<(), TransactionError> {
        // SAFETY: the handle is a live producer; the returned error, if any, is ours.
        outcome(unsafe { sys::rd_kafka_init_transactions(self.ptr(), milliseconds(timeout)) })
    }

    pub fn begin_transaction(&self) -> Result<(), TransactionError> {
        // SAFETY: as above.
        outcome(unsafe { sys::rd_kafka_begin_transaction(self.ptr()) })
    }

    /// The plain call, without the wrapper's flush in steps of 100 ms. Another thread must serve this handle.
    pub fn commit_transaction(&self, timeout: Duration) -> Result<(), TransactionError> {
        // SAFETY: as above.
        outcome(unsafe { sys::rd_kafka_commit_transaction(self.ptr(), milliseconds(timeout)) })
    }

    pub fn abort_transaction(&self, timeout: Duration) -> Result<(), TransactionError> {
        // SAFETY: as above.
        outcome(unsafe { sys::rd_kafka_abort_transaction(self.ptr(), milliseconds(timeout)) })
    }

    /// Makes a thread that waits in `serve` return.
    pub fn wake(&self) {
        let queue = self.main_queue();
        // SAFETY: queue and handle are live.
        unsafe { sys::rd_kafka_queue_yield(queue.as_ptr()) };
    }
}

fn raw_message(record: Record<'_>) -> sys::rd_kafka_message_t {
    let (payload, len) = raw_bytes(record.value);
    let (key, key_len) = raw_bytes(record.key);
    sys::rd_kafka_message_t {
        err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: UNASSIGNED,
        payload,
        len,
        key,
        key_len,
        offset: 0,
        _private: ptr::null_mut(),
    }
}

/// Null for Kafka's null; an empty slice keeps a pointer that is not null, and C reads nothing from it.
fn raw_bytes(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()))
}

fn last_error() -> Code {
    // SAFETY: reads a thread-local of librdkafka.
    unsafe { sys::rd_kafka_last_error() }.into()
}

fn outcome(error: *mut sys::rd_kafka_error_t) -> Result<(), TransactionError> {
    let Some(error) = take_error(error) else { return Ok(()) };
    // SAFETY: the error is live; its text is copied before it is freed.
    unsafe {
        Err(TransactionError {
            failure: Failure::new(
                sys::rd_kafka_error_code(error.as_ptr()).into(),
                text_of(sys::rd_kafka_error_string(error.as_ptr())),
            ),
            fatal: sys::rd_kafka_error_is_fatal(error.as_ptr()) != 0,
            retriable: sys::rd_kafka_error_is_retriable(error.as_ptr()) != 0,
        })
    }
}
