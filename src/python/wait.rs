//! Waiting for Rust from Python: without the GIL, with an ear for Ctrl-C, and never in a forked child.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use serde_json::Value;

use super::shutdown::{self, UnderWay};
use super::{errors, logging};
use crate::cli::runtime;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::pipeline::{Stop, session};

/// Signals are looked at this often: a Ctrl-C is answered within this and the grace.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);
/// After a Ctrl-C the work gets this long to end before the exception goes up; what takes longer ends by itself.
const GRACE: Duration = Duration::from_millis(100);

/// What waits for the caller's thread: a slow one slows the work, and nothing piles up.
const MAX_WAITING: usize = 16;
/// How often work looks whether the caller's thread has caught up: far below what such a thread takes for each.
const CAUGHT_UP_EVERY: Duration = Duration::from_millis(5);

/// What work tells the thread that waits for it.
pub enum Told {
    Text(String),
    /// Of a commit or a transaction, in Spark's words.
    Progress(Value),
}

/// What comes from the working thread.
enum Answer<R> {
    Told(Told),
    Done(Result<R>),
}

/// Where work leaves it.
pub type Tell = Arc<dyn Fn(Told) + Send + Sync>;

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
    if shutdown::is_ending() {
        return Err(PyRuntimeError::new_err("the interpreter is going down; nothing new begins"));
    }
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
    for_telling_work(py, stop, |_| work(), |_| Ok(()))
}

/// The same for work that tells something on the way; `told` gets them in the caller's thread, in order. Its exception
/// ends the work as a Ctrl-C does.
pub fn for_telling_work<R: Send + 'static>(
    py: Python<'_>,
    stop: &Stop,
    work: impl FnOnce(Tell) -> Result<R> + Send + 'static,
    told: impl FnMut(Told) -> PyResult<()>,
) -> PyResult<Result<R>> {
    let under_way = UnderWay::begin(stop);
    let counted = move |tell| {
        let done = work(tell);
        drop(under_way);
        done
    };
    waited_for(py, stop, counted, told)
}

fn waited_for<R: Send + 'static>(
    py: Python<'_>,
    stop: &Stop,
    work: impl FnOnce(Tell) -> Result<R> + Send + 'static,
    mut told: impl FnMut(Told) -> PyResult<()>,
) -> PyResult<Result<R>> {
    logging::refresh();
    let (sender, mut answers) = channel();
    let runtime = runtime::shared().map_err(|error| errors::raise(py, &error))?;
    let waiting = Arc::new(AtomicUsize::new(0));
    let telling: Sender<Answer<R>> = sender.clone();
    let (queued, stopping) = (waiting.clone(), stop.clone());
    runtime.spawn_blocking(move || {
        let tell = move |told| {
            // Not after a stop: the caller's thread may be in `close()` by now, which waits for this work.
            while queued.load(Ordering::Acquire) >= MAX_WAITING && !stopping.wait(CAUGHT_UP_EVERY) {}
            queued.fetch_add(1, Ordering::AcqRel);
            // After a Ctrl-C nobody waits any more.
            drop(telling.send(Answer::Told(told)));
        };
        let _ = sender.send(Answer::Done(session::caught(|| work(Arc::new(tell)))));
    });
    loop {
        let (received, receiver) = py.detach(move || {
            let received = answers.recv_timeout(SIGNALS_EVERY);
            shutdown::stay_asleep_if_ending();
            (received, answers)
        });
        let heard = match received {
            Ok(Answer::Done(result)) => return Ok(result),
            Err(RecvTimeoutError::Disconnected) => return Ok(Err(Error::bug("work ended without an answer"))),
            Ok(Answer::Told(what)) => {
                waiting.fetch_sub(1, Ordering::AcqRel);
                told(what).and_then(|()| py.check_signals())
            }
            Err(RecvTimeoutError::Timeout) => py.check_signals(),
        };
        if let Err(exception) = heard {
            stop.request();
            py.detach(move || {
                let over = SystemClock.instant() + GRACE;
                let left = || over.saturating_duration_since(SystemClock.instant());
                while let Ok(Answer::Told(_)) = receiver.recv_timeout(left()) {}
            });
            return Err(exception);
        }
        answers = receiver;
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

/// A call that only looks: after a Ctrl-C, and when Python ends, nobody waits for it.
pub fn for_look<R: Send + 'static>(py: Python<'_>, look: impl FnOnce() -> Result<R> + Send + 'static) -> PyResult<R> {
    begin(py)?;
    let looked = waited_for(py, &Stop::new(), |_| look(), |_| Ok(()))?;
    looked.map_err(|error| errors::raise(py, &error))
}
