//! A client handle whose events we serve ourselves.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaType;

use super::super::context::{Context, Rebalance};
use super::{Failure, Owned, text_of};

/// What a handle is for; librdkafka knows producers and consumers, and takes either for questions to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
    Admin,
}

/// One librdkafka instance. Its main queue holds log lines and errors and must be served by `serve`.
pub struct Handle {
    client: Client<Context>,
    role: Role,
}

impl Handle {
    pub fn new(config: &ClientConfig, role: Role, context: Context) -> Result<Self, KafkaError> {
        let native = config.create_native_config()?;
        let events = match role {
            // Delivery reports as events make a flush wait on a condition; with callbacks, or without reports,
            // it polls in steps of 10 ms. Only failures are reported (delivery.report.only.error).
            Role::Producer => sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_ERROR,
            Role::Consumer | Role::Admin => sys::RD_KAFKA_EVENT_ERROR,
        };
        // SAFETY: `native` is a live configuration object, still ours.
        unsafe { sys::rd_kafka_conf_set_events(native.ptr(), events) };
        let kind = match role {
            Role::Producer | Role::Admin => RDKafkaType::RD_KAFKA_PRODUCER,
            Role::Consumer => {
                // SAFETY: as above; the callback keeps to the contract of librdkafka (see there).
                unsafe { sys::rd_kafka_conf_set_rebalance_cb(native.ptr(), Some(record_rebalance)) };
                RDKafkaType::RD_KAFKA_CONSUMER
            }
        };
        Ok(Handle { client: Client::new(config, native, kind, context)?, role })
    }

    pub fn client(&self) -> &Client<Context> {
        &self.client
    }

    pub fn context(&self) -> &Context {
        self.client.context()
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_t {
        self.client.native_ptr()
    }

    pub(super) fn main_queue(&self) -> Owned<sys::rd_kafka_queue_t> {
        // SAFETY: the handle is live; the returned reference is ours to destroy, and callers drop it first.
        let queue = unsafe { sys::rd_kafka_queue_get_main(self.ptr()) };
        Owned::new(queue, sys::rd_kafka_queue_destroy).expect("every instance has a main queue")
    }

    /// Hands log lines, errors and failed deliveries to the context: all that wait, after waiting up to
    /// `timeout` for the first.
    pub fn serve(&self, timeout: Duration) {
        let queue = self.main_queue();
        let mut wait = super::milliseconds(timeout);
        loop {
            // SAFETY: queue and handle are live; an event is ours to destroy.
            let event = unsafe { sys::rd_kafka_queue_poll(queue.as_ptr(), wait) };
            let Some(event) = Owned::new(event, sys::rd_kafka_event_destroy) else { return };
            self.take_event(&event);
            wait = 0;
        }
    }

    fn take_event(&self, event: &Owned<sys::rd_kafka_event_t>) {
        let event = event.as_ptr();
        // SAFETY: the event is live until the caller drops it; each accessor is called on its own event type, and
        // all text is copied before.
        unsafe {
            match sys::rd_kafka_event_type(event) {
                sys::RD_KAFKA_EVENT_LOG => {
                    let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
                    if sys::rd_kafka_event_log(event, &mut facility, &mut line, &mut level) == 0 {
                        self.context().take_log(level, &text_of(facility), &text_of(line));
                    }
                }
                sys::RD_KAFKA_EVENT_ERROR => {
                    let code: Code = sys::rd_kafka_event_error(event).into();
                    let text = text_of(sys::rd_kafka_event_error_string(event));
                    self.context().take_error(code, &text);
                }
                sys::RD_KAFKA_EVENT_DR => loop {
                    let message = sys::rd_kafka_event_message_next(event);
                    if message.is_null() {
                        break;
                    }
                    let code: Code = (*message).err.into();
                    if code != Code::NoError {
                        self.context().take_failed_delivery(code, &text_of(sys::rd_kafka_err2str((*message).err)));
                    }
                },
                _ => {}
            }
        }
    }

    /// The error that made this instance useless for good, if one did.
    pub fn fatal(&self) -> Option<Failure> {
        self.client.fatal_error().map(|(code, text)| Failure::new(code, text))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Destroying a consumer closes it, and closing asks for a last rebalance, which only the callback can
        // answer by then.
        if self.role == Role::Consumer {
            self.context().begin_close();
        }
    }
}

/// Called by librdkafka from within our own read of the consumer queue, or from within the close.
///
/// It records the event for the owner, who answers with an assignment later; librdkafka waits for that call and
/// delivers nothing of a new assignment before it. The queue is made to return at once.
unsafe extern "C" fn record_rebalance(
    client: *mut sys::rd_kafka_t,
    code: sys::rd_kafka_resp_err_t,
    partitions: *mut sys::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // SAFETY: the opaque of every handle is its context, which the handle keeps alive until after its destruction.
    let context = unsafe { &*(opaque as *const Context) };
    if context.is_closing() {
        // SAFETY: the client is live inside its own callback; a null list gives all partitions back.
        unsafe { sys::rd_kafka_assign(client, ptr::null()) };
        return;
    }
    if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
        let mut numbers = Vec::new();
        if !partitions.is_null() {
            // SAFETY: librdkafka owns the list for the length of this call; `elems` has `cnt` elements.
            let list = unsafe { &*partitions };
            let count = list.cnt as c_int;
            for index in 0..count.max(0) as usize {
                // SAFETY: `index` is below the count.
                numbers.push(unsafe { (*list.elems.add(index)).partition });
            }
        }
        context.take_rebalance(Rebalance::Assigned(numbers));
    } else {
        context.take_rebalance(Rebalance::Revoked);
    }
    // SAFETY: the client is live; the queue reference is destroyed after use.
    unsafe {
        let queue = sys::rd_kafka_queue_get_consumer(client);
        if let Some(queue) = Owned::new(queue, sys::rd_kafka_queue_destroy) {
            sys::rd_kafka_queue_yield(queue.as_ptr());
        }
    }
}
