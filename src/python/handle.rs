//! What `Producer` and `Consumer` have in common: settings, a session in a slot, reports, and how calls are waited for.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use serde_json::{Value, json};

use super::{convert, errors, wait};
use crate::cli::runtime;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::pipeline::Stop;
use crate::pipeline::monitor::{Monitor, Phase};
use crate::pipeline::progress::Reports;
use crate::pipeline::session::{Call, Slot};
use crate::serve::{Role, Server, Setup};

pub struct Handle<S: Send + 'static> {
    name: &'static str,
    pub settings: Arc<Settings>,
    pub run_id: String,
    slot: Arc<Slot<S>>,
    reports: Arc<Mutex<Reports>>,
    /// Is told what every session does.
    pub monitor: Monitor,
    server: Arc<Mutex<Option<Server>>>,
}

impl<S: Send + 'static> Handle<S> {
    pub fn new(name: &'static str, settings: Arc<Settings>) -> Self {
        let run_id = uuid::Uuid::new_v4().to_string();
        Handle {
            name,
            settings,
            run_id,
            slot: Arc::default(),
            reports: Arc::default(),
            monitor: Monitor::default(),
            server: Arc::default(),
        }
    }

    /// Where its status page is, once a session was opened and the configuration asks for one.
    fn status_url(&self) -> Option<String> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().map(|server| server.url().to_owned())
    }

    /// A page that the configuration asks for by name; a library opens no port by itself.
    pub fn serve(&self, role: Role) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_none() && self.settings.status.enabled == Some(true) {
            *server = Server::start(Setup {
                settings: Arc::clone(&self.settings),
                role,
                run_id: self.run_id.clone(),
                monitor: self.monitor.clone(),
                stop: None,
            });
        }
    }

    /// Does work with the session, which `open` makes, with its reports, where there is none.
    pub fn call<R: Send + 'static>(
        &self,
        py: Python<'_>,
        open: impl FnOnce(&Settings, &Stop) -> Result<(S, Reports)> + Send + 'static,
        work: impl FnOnce(&mut S) -> Result<R> + Send + 'static,
    ) -> PyResult<Result<R>> {
        self.telling_call(py, open, |session, _| work(session), |_| Ok(()))
    }

    /// The same for work that tells something on the way, which `told` gets in the caller's thread.
    pub fn telling_call<R: Send + 'static>(
        &self,
        py: Python<'_>,
        open: impl FnOnce(&Settings, &Stop) -> Result<(S, Reports)> + Send + 'static,
        work: impl FnOnce(&mut S, wait::Tell) -> Result<R> + Send + 'static,
        mut told: impl FnMut(wait::Told) -> PyResult<()>,
    ) -> PyResult<Result<R>> {
        let call = self.begin(py)?;
        let (slot, open, stop) = (self.slot.clone(), self.opener(open), call.stop.clone());
        let monitor = self.monitor.clone();
        let telling = move |tell| noted(&monitor, slot.work(&call, open, |session| work(session, tell)));
        wait::for_telling_work(py, &stop, telling, |what| self.calling(py, || told(what)))
    }

    /// Calls a function of the caller's. Its exception ends a run as an error of ours does; its words may hold a row.
    pub fn calling<R>(&self, py: Python<'_>, function: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        function().inspect_err(|raised| {
            if raised.is_instance_of::<PyException>(py) {
                let kind = raised.get_type(py).name();
                let kind = kind.map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
                self.monitor.enter(Phase::Failed(format!("a function that it called raised {kind}")));
            }
        })
    }

    /// Begins a call that comes back to Python between its steps.
    pub fn steps(&self, py: Python<'_>) -> PyResult<Steps<'_, S>> {
        Ok(Steps { handle: self, call: Arc::new(self.begin(py)?) })
    }

    fn begin(&self, py: Python<'_>) -> PyResult<Call> {
        // Before the slot is taken: a call that did not begin leaves it free.
        wait::begin(py)?;
        self.slot.begin().map_err(|refusal| errors::misuse(py, format!("{}: {refusal}", self.name)))
    }

    /// Opens a session with its reports.
    fn opener(
        &self,
        open: impl FnOnce(&Settings, &Stop) -> Result<(S, Reports)> + Send + 'static,
    ) -> impl FnOnce(&Stop) -> Result<S> + Send + 'static {
        let (settings, reports, monitor) = (self.settings.clone(), self.reports.clone(), self.monitor.clone());
        move |stop: &Stop| {
            let before = monitor.enter(Phase::Starting);
            let (session, its_reports) = open(&settings, stop).inspect_err(|error| {
                // Nothing was begun.
                if error.kind() == Kind::Interrupted {
                    monitor.enter(before);
                }
            })?;
            *reports.lock().unwrap_or_else(PoisonError::into_inner) = its_reports;
            Ok(session)
        }
    }

    pub fn stop(&self) {
        self.slot.stop();
    }

    pub fn close(&self, py: Python<'_>) -> PyResult<()> {
        if wait::is_forked() || !self.slot.close() {
            return Ok(());
        }
        let server = self.server.clone();
        self.clear(py, move || drop(take(&server)))
    }

    /// Closes without waiting for the session's threads, which may want the GIL.
    pub fn let_go(&self) {
        self.slot.close();
        let (slot, server) = (self.slot.clone(), self.server.clone());
        if let Ok(runtime) = runtime::shared() {
            runtime.spawn_blocking(move || {
                slot.clear();
                drop(take(&server));
            });
        }
    }

    /// Lets go of the session; the next call opens a new one, which goes on where the log stands.
    pub fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.clear(py, || ())
    }

    /// Without `begin`: a Ctrl-C that waits to be heard must not leave the session open.
    fn clear(&self, py: Python<'_>, after: impl FnOnce() + Send + 'static) -> PyResult<()> {
        let slot = self.slot.clone();
        let clear = move || {
            slot.clear();
            after();
            Ok(())
        };
        wait::for_work(py, &Stop::new(), clear)?.map_err(|error| errors::raise(py, &error))
    }

    pub fn state(&self) -> &'static str {
        self.slot.state()
    }

    pub fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let state = self.slot.state();
        let active = matches!(state, "running" | "stopping");
        let mut status = json!({ "runId": self.run_id, "message": state, "isTriggerActive": active });
        if let Some(url) = self.status_url() {
            status["url"] = json!(url);
        }
        convert::to_python(py, &status)
    }

    pub fn last_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &self.reports().last().unwrap_or(Value::Null))
    }

    pub fn recent_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &Value::Array(self.reports().recent()))
    }

    fn reports(&self) -> Reports {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn repr(&self) -> String {
        format!("{}({}, {})", self.name, convert::summary(&self.settings), self.slot.state())
    }
}

fn take(server: &Mutex<Option<Server>>) -> Option<Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A run that fails is shown so until another one begins.
fn noted<R>(monitor: &Monitor, done: Result<R>) -> Result<R> {
    done.inspect_err(|error| {
        if error.kind() != Kind::Interrupted {
            monitor.enter(Phase::Failed(error.report()));
        }
    })
}

/// A call of several steps. Until it is finished nothing else begins over the handle.
pub struct Steps<'a, S: Send + 'static> {
    handle: &'a Handle<S>,
    call: Arc<Call>,
}

impl<S: Send + 'static> Steps<'_, S> {
    pub fn open<R: Send + 'static>(
        &self,
        py: Python<'_>,
        open: impl FnOnce(&Settings, &Stop) -> Result<(S, Reports)> + Send + 'static,
        work: impl FnOnce(&mut S) -> Result<R> + Send + 'static,
    ) -> PyResult<Result<R>> {
        let (slot, call, open) = (self.handle.slot.clone(), self.call.clone(), self.handle.opener(open));
        let monitor = self.handle.monitor.clone();
        wait::for_work(py, &self.call.stop, move || noted(&monitor, slot.step(&call, open, work)))
    }

    /// A step with the session that `open` left: `Interrupted` where it was closed meanwhile.
    pub fn step<R: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut S) -> Result<R> + Send + 'static,
    ) -> PyResult<Result<R>> {
        self.telling_step(py, |session, _| work(session), |_| Ok(()))
    }

    /// The same for work that tells something on the way, which `told` gets in the caller's thread.
    pub fn telling_step<R: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut S, wait::Tell) -> Result<R> + Send + 'static,
        mut told: impl FnMut(wait::Told) -> PyResult<()>,
    ) -> PyResult<Result<R>> {
        let (slot, call, monitor) = (self.handle.slot.clone(), self.call.clone(), self.handle.monitor.clone());
        let telling =
            move |tell| noted(&monitor, slot.step(&call, |_| Err(Error::interrupted()), |session| work(session, tell)));
        let told = |what| self.handle.calling(py, || told(what));
        wait::for_telling_work(py, &self.call.stop, telling, told)
    }

    pub fn is_stopping(&self) -> bool {
        self.call.stop.is_requested()
    }

    /// Ends the call. What a stop has to close is waited for, unless it was a Ctrl-C that is on its way up.
    pub fn finish<R>(self, py: Python<'_>, result: PyResult<R>) -> PyResult<R> {
        let (slot, call) = (self.handle.slot.clone(), self.call.clone());
        if result.is_err() && call.stop.is_requested() {
            let runtime = runtime::shared().map_err(|error| errors::raise(py, &error))?;
            runtime.spawn_blocking(move || slot.end(&call));
            return result;
        }
        let ended = wait::for_result(py, &Stop::new(), move || {
            slot.end(&call);
            Ok(())
        });
        result.and_then(|value| ended.map(|()| value))
    }
}

impl<S: Send + 'static> Drop for Handle<S> {
    /// Python may hold the GIL here: nothing is waited for.
    fn drop(&mut self) {
        if wait::is_forked() {
            // The session's threads live in the parent only; waiting for them would never end.
            std::mem::forget(self.slot.clone());
            std::mem::forget(self.server.clone());
            return;
        }
        self.let_go();
    }
}
