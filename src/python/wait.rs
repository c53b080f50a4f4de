//! Waiting for Rust from Python: without the GIL, with an ear for Ctrl-C, and never in a forked child.

use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::{errors, logging};
use crate::cli::runtime;
use crate::error::{Error, Result};
use crate::pipeline::{Stop, session};

/// Signals are looked at this often: a Ctrl-C is answered within this and the grace.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);
/// After a Ctrl-C the work gets this long to end before the exception goes up; what takes longer ends by itself.
const GRACE: Duration = Duration::from_millis(100);

static HOME: OnceLock<u32> = OnceLock::new();

/// Notes the process that loaded the module.
pub fn remember_process() {
    HOME.get_or_init(std::process::id);
}

/// A forked child has this module's memory without its threads.
pub fn is_forked() -> bool {
    HOME.get().is_some_and(|&home| home != std::process::id())
}

/// What every call begins with: not in a forked child, and not over a Ctrl-C that waits to be heard. Python looks at
/// signals between its own steps only, and `list(consumer)` takes none of them while batches come fast.
pub fn begin(py: Python<'_>) -> PyResult<()> {
    if !is_forked() {
        return py.check_signals();
    }
    Err(PyRuntimeError::new_err(
        "foodstream was loaded before this process was forked, and its threads stayed behind in the parent; start \
         processes with multiprocessing.get_context(\"spawn\") instead",
    ))
}

/// Does the work on another thread, after [`begin`]. A Ctrl-C requests `stop` and raises `KeyboardInterrupt` without
/// waiting long.
pub fn for_work<R: Send + 'static>(
    py: Python<'_>,
    stop: &Stop,
    work: impl FnOnce() -> Result<R> + Send + 'static,
) -> PyResult<Result<R>> {
    logging::refresh();
    let (sender, mut answer) = sync_channel(1);
    let runtime = runtime::shared().map_err(|error| errors::raise(py, &error))?;
    runtime.spawn_blocking(move || {
        // After a Ctrl-C nobody waits any more.
        let _ = sender.send(session::caught(work));
    });
    loop {
        let (received, receiver) = py.detach(move || (answer.recv_timeout(SIGNALS_EVERY), answer));
        match received {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Disconnected) => return Ok(Err(Error::bug("work ended without an answer"))),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Err(interrupt) = py.check_signals() {
            stop.request();
            py.detach(move || drop(receiver.recv_timeout(GRACE)));
            return Err(interrupt);
        }
        answer = receiver;
    }
}

/// A call of its own, whose error is raised.
pub fn for_result<R: Send + 'static>(
    py: Python<'_>,
    stop: &Stop,
    work: impl FnOnce() -> Result<R> + Send + 'static,
) -> PyResult<R> {
    begin(py)?;
    for_work(py, stop, work)?.map_err(|error| errors::raise(py, &error))
}
