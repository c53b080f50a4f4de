//! What a Python object holds of the core: one session, opened by the first call, used by one call at a time.
//!
//! A session that was asked to stop, or whose work failed, is dropped on the thread that worked: dropping may wait
//! for threads that log, and those may wait for the GIL. The next call opens a new one, which goes on where the
//! cursor or the commit log stands.

use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::prelude::*;
use serde_json::json;

use super::{convert, errors, wait};
use crate::cli::runtime;
use crate::error::{Error, Result};
use crate::pipeline::Stop;

#[derive(Debug)]
pub struct Slot<S> {
    name: &'static str,
    session: Mutex<Option<(Stop, S)>>,
    control: Mutex<Control>,
}

#[derive(Debug, Default)]
struct Control {
    /// Of the call under way, or of the open session.
    stop: Stop,
    /// Number of the call under way.
    running: Option<u64>,
    calls: u64,
    closed: bool,
}

impl<S: Send + 'static> Slot<S> {
    pub fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Slot { name, session: Mutex::new(None), control: Mutex::default() })
    }

    /// Does work with the session, opening it first where there is none.
    pub fn call<R: Send + 'static>(
        self: &Arc<Self>,
        py: Python<'_>,
        open: impl FnOnce(&Stop) -> Result<S> + Send + 'static,
        work: impl FnOnce(&mut S) -> Result<R> + Send + 'static,
    ) -> PyResult<Result<R>> {
        wait::refuse_if_forked()?;
        let (call, stop) = self.begin(py)?;
        let slot = Arc::clone(self);
        let own_stop = stop.clone();
        wait::for_work(py, &stop, move || {
            let result = slot.with_session(&own_stop, open, work);
            let mut control = slot.control();
            if control.running == Some(call) {
                control.running = None;
            }
            result
        })
    }

    fn begin(&self, py: Python<'_>) -> PyResult<(u64, Stop)> {
        let mut control = self.control();
        if control.closed {
            return Err(errors::misuse(py, format!("this {} is closed", self.name)));
        }
        if control.stop.is_requested() {
            control.stop = Stop::new();
        } else if control.running.is_some() {
            return Err(errors::misuse(
                py,
                format!("this {} is busy in another thread; stop() ends that call", self.name),
            ));
        }
        control.calls += 1;
        control.running = Some(control.calls);
        Ok((control.calls, control.stop.clone()))
    }

    fn with_session<R>(
        &self,
        stop: &Stop,
        open: impl FnOnce(&Stop) -> Result<S>,
        work: impl FnOnce(&mut S) -> Result<R>,
    ) -> Result<R> {
        let mut held = self.session();
        if held.as_ref().is_some_and(|(stop, _)| stop.is_requested()) {
            *held = None;
        }
        let result = wait::caught(|| {
            let (_, session) = match &mut *held {
                Some(open) => open,
                None => held.insert((stop.clone(), open(stop)?)),
            };
            work(session)
        });
        if result.is_err() || stop.is_requested() {
            *held = None;
        }
        result
    }

    /// Ends the call under way, if any, at its next safe point.
    pub fn stop(&self) {
        self.control().stop.request();
    }

    /// Ends everything and waits for it. Nothing happens the second time, nor in a forked child.
    pub fn close(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let stop = {
            let mut control = self.control();
            if std::mem::replace(&mut control.closed, true) || wait::is_forked() {
                return Ok(());
            }
            control.stop.request();
            control.stop.clone()
        };
        let slot = Arc::clone(self);
        wait::for_result(py, &stop, move || {
            *slot.session() = None;
            Ok(())
        })
    }

    /// For an object that Python lets go of: as `close`, without waiting.
    pub fn abandon(self: &Arc<Self>) {
        if wait::is_forked() {
            // Threads that the session would wait for live in the parent only.
            std::mem::forget(Arc::clone(self));
            return;
        }
        self.stop();
        let slot = Arc::clone(self);
        if let Ok(runtime) = runtime::shared() {
            runtime.spawn_blocking(move || *slot.session() = None);
        }
    }

    /// `closed`, `stopping`, `running` or `idle`.
    pub fn state(&self) -> &'static str {
        let control = self.control();
        match (control.closed, control.running.is_some(), control.stop.is_requested()) {
            (true, ..) => "closed",
            (false, true, true) => "stopping",
            (false, true, false) => "running",
            (false, false, _) => "idle",
        }
    }

    fn session(&self) -> MutexGuard<'_, Option<(Stop, S)>> {
        lock(&self.session)
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        lock(&self.control)
    }
}

/// A panic while the lock was held was turned into an error already; the data under it is whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What the object is doing, in the words of Spark's StreamingQuery.
pub fn status<'py, S: Send + 'static>(py: Python<'py>, slot: &Slot<S>, run_id: &str) -> PyResult<Bound<'py, PyAny>> {
    let message = slot.state();
    let active = matches!(message, "running" | "stopping");
    convert::to_python(py, &json!({ "runId": run_id, "message": message, "isTriggerActive": active }))
}

/// The answer of work that a stop may end before it began: then nothing was done.
pub fn or_stopped<R>(py: Python<'_>, result: Result<R>, nothing: R) -> PyResult<R> {
    match result {
        Err(error) if error.kind() == crate::error::Kind::Interrupted => Ok(nothing),
        other => other.map_err(|error: Error| errors::raise(py, &error)),
    }
}
