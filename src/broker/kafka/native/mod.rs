//! Calls into librdkafka that the safe wrapper lacks or makes slowly. The one place with `unsafe`.
//!
//! - `client`: a handle with its own service of log lines and errors, and of rebalances where it is a consumer.
//! - `produce`: many records a call, and the plain C commit. The wrapper's commit polls in steps of 100 ms, so
//!   that each transaction takes 101 ms; here a thread of our own serves events and a commit takes about two.
//! - `consume`: the batch queue. The wrapper builds an event per message, which costs more than the fetch.
//! - `admin`: topic ids, offsets of many partitions at one isolation level, both missing from the wrapper.
//!
//! Every pointer lives in a type that frees it once and in the right order: topics and queues before their
//! client. Nothing here decides anything; meaning is given to codes in `super::error`.

#![allow(unsafe_code, reason = "librdkafka is a C library; each call states why it is sound")]

mod admin;
mod client;
mod consume;
mod produce;

use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode as Code;

pub(super) use admin::{NewTopic, OffsetSpec, SettingsOf};
pub(super) use client::{Handle, Role};
pub(super) use consume::{Item, MessageQueue, PartitionReader};
pub(super) use produce::{Produced, Record, Topic, TransactionError};

/// A code of librdkafka with its own words about the case.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub code: Code,
    pub text: String,
}

impl Failure {
    fn new(code: Code, text: impl Into<String>) -> Self {
        Failure { code, text: text.into() }
    }
}

/// Something librdkafka made for us, with the function that frees it.
struct Owned<T> {
    pointer: std::ptr::NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `pointer` must come from a constructor of librdkafka that belongs to `free`, and be owned by nobody else.
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        std::ptr::NonNull::new(pointer).map(|pointer| Owned { pointer, free })
    }

    fn as_ptr(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` was given a pointer that `free` may free, and only this drop does.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}

/// Text that librdkafka owns, copied; empty for null.
fn text_of(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka's strings end with NUL, and every caller holds their owner across this call.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().trim().to_owned()
}

/// Names and values go to C without NUL; one inside ends the name there, so it is an error instead.
fn c_text(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::new(Code::InvalidArgument, format!("{text:?} holds a NUL character")))
}

/// Milliseconds for C; longer than a day is a day, so that no conversion can wrap into "for ever".
fn milliseconds(duration: Duration) -> i32 {
    const DAY_MS: u128 = 86_400_000;
    duration.as_millis().min(DAY_MS) as i32
}

/// Slice of an array of pointers that librdkafka returned with its count.
///
/// # Safety
/// `array` is null, or points to `count` initialised pointers that outlive `'a`.
unsafe fn pointers<'a, T>(array: *mut *const T, count: usize) -> &'a [*const T] {
    if array.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(array.cast_const(), count) }
}

/// Takes an error object over and frees it.
fn take_error(error: *mut sys::rd_kafka_error_t) -> Option<Owned<sys::rd_kafka_error_t>> {
    Owned::new(error, sys::rd_kafka_error_destroy)
}
