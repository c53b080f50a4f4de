//! The end of the interpreter beside calls of other threads.
//!
//! Python waits for its ordinary threads, and only then lets daemon threads go; a thread that then asks for the GIL
//! never gets it, and dies in the middle of Rust's frames. So, when Python ends: every call is asked to stop and gets a
//! little time, and a thread that waits for one stays asleep instead of going back to Python. A Ctrl-C that ended the
//! main thread ends the calls of ordinary threads too, which Python would otherwise wait for without an end.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use log::LevelFilter;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::wait;
use crate::clock::{Clock, SystemClock};
use crate::pipeline::Stop;

/// A commit under way takes milliseconds, leaving a group a second; a server that does not answer must not hold up
/// the end of the process for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A Ctrl-C is heard this often meanwhile.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// The thread that ends the interpreter; unset as long as it lives.
static ENDING: OnceLock<ThreadId> = OnceLock::new();
static WORK: Mutex<Work> = Mutex::new(Work { begun: 0, stops: BTreeMap::new() });
static WORK_ENDED: Condvar = Condvar::new();

struct Work {
    begun: u64,
    stops: BTreeMap<u64, Stop>,
}

fn work() -> MutexGuard<'static, Work> {
    WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Work under way; it is over when this is dropped.
pub struct UnderWay(u64);

impl UnderWay {
    pub fn begin(stop: &Stop) -> Self {
        let mut work = work();
        work.begun += 1;
        let number = work.begun;
        work.stops.insert(number, stop.clone());
        UnderWay(number)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        work().stops.remove(&self.0);
        WORK_ENDED.notify_all();
    }
}

/// To be called without the GIL, before asking for it: does not return to an interpreter that goes down.
pub fn stay_asleep_if_ending() {
    if ENDING.get().is_some_and(|&ending| ending != thread::current().id()) {
        loop {
            thread::park();
        }
    }
}

pub fn is_ending() -> bool {
    ENDING.get().is_some()
}

pub fn connect(py: Python<'_>) -> PyResult<()> {
    py.import("atexit")?.call_method1("register", (wrap_pyfunction!(end, py)?,))?;
    // Called before ordinary threads are joined. Without it, which no version so far is, a second Ctrl-C is needed.
    if let Ok(register) = py.import("threading")?.getattr("_register_atexit") {
        register.call1((wrap_pyfunction!(end_if_interrupted, py)?,))?;
    }
    Ok(())
}

fn request_stops() {
    work().stops.values().for_each(Stop::request);
}

#[pyfunction]
fn end_if_interrupted(py: Python<'_>) -> PyResult<()> {
    // Set when the exception that ended the main thread was shown.
    let ended_by = py.import("sys")?.getattr("last_type").ok().and_then(|kind| kind.cast_into::<PyType>().ok());
    let interrupted = ended_by.map(|kind| kind.is_subclass_of::<PyKeyboardInterrupt>()).transpose()?;
    if interrupted == Some(true) && !wait::is_forked() {
        request_stops();
    }
    Ok(())
}

#[pyfunction]
fn end(py: Python<'_>) {
    log::set_max_level(LevelFilter::Off);
    // A forked child has the list of its parent's calls, and perhaps its lock, held for ever.
    if wait::is_forked() || ENDING.set(thread::current().id()).is_err() {
        return;
    }
    request_stops();
    let over = SystemClock.instant() + PATIENCE;
    while py.check_signals().is_ok() {
        let done = py.detach(|| {
            let work = work();
            let waited = WORK_ENDED.wait_timeout_while(work, SIGNALS_EVERY, |work| !work.stops.is_empty());
            waited.unwrap_or_else(PoisonError::into_inner).0.stops.is_empty()
        });
        if done || SystemClock.instant() >= over {
            return;
        }
    }
}
