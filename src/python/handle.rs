//! What `Producer` and `Consumer` have in common: settings, a session in a slot, reports, and how calls are waited for.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use serde_json::{Value, json};

use super::{convert, errors, wait};
use crate::cli::runtime;
use crate::config::Settings;
use crate::error::Result;
use crate::pipeline::Stop;
use crate::pipeline::progress::Reports;
use crate::pipeline::session::Slot;

pub struct Handle<S: Send + 'static> {
    name: &'static str,
    pub settings: Arc<Settings>,
    pub run_id: String,
    slot: Arc<Slot<S>>,
    reports: Arc<Mutex<Reports>>,
}

impl<S: Send + 'static> Handle<S> {
    pub fn new(name: &'static str, settings: Arc<Settings>) -> Self {
        let run_id = uuid::Uuid::new_v4().to_string();
        Handle { name, settings, run_id, slot: Arc::default(), reports: Arc::default() }
    }

    /// Does work with the session, which `open` makes, with its reports, where there is none.
    pub fn call<R: Send + 'static>(
        &self,
        py: Python<'_>,
        open: impl FnOnce(&Settings, &Stop) -> Result<(S, Reports)> + Send + 'static,
        work: impl FnOnce(&mut S) -> Result<R> + Send + 'static,
    ) -> PyResult<Result<R>> {
        // Before the slot is taken: a call that did not begin leaves it free.
        wait::begin(py)?;
        let call = self.slot.begin().map_err(|refusal| errors::misuse(py, format!("{}: {refusal}", self.name)))?;
        let (slot, settings, reports) = (self.slot.clone(), self.settings.clone(), self.reports.clone());
        let open = move |stop: &Stop| {
            let (session, its_reports) = open(&settings, stop)?;
            *reports.lock().unwrap_or_else(PoisonError::into_inner) = its_reports;
            Ok(session)
        };
        wait::for_work(py, &call.stop.clone(), move || slot.work(&call, open, work))
    }

    pub fn stop(&self) {
        self.slot.stop();
    }

    pub fn close(&self, py: Python<'_>) -> PyResult<()> {
        if wait::is_forked() || !self.slot.close() {
            return Ok(());
        }
        let slot = self.slot.clone();
        let clear = move || {
            slot.clear();
            Ok(())
        };
        // Without `begin`: a Ctrl-C that waits to be heard must not leave the session open.
        wait::for_work(py, &Stop::new(), clear)?.map_err(|error| errors::raise(py, &error))
    }

    pub fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let state = self.slot.state();
        let active = matches!(state, "running" | "stopping");
        convert::to_python(py, &json!({ "runId": self.run_id, "message": state, "isTriggerActive": active }))
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

impl<S: Send + 'static> Drop for Handle<S> {
    /// Python may hold the GIL here, and a session's threads may wait for it: nothing is waited for.
    fn drop(&mut self) {
        let slot = self.slot.clone();
        if wait::is_forked() {
            // The session's threads live in the parent only; waiting for them would never end.
            std::mem::forget(slot);
            return;
        }
        slot.close();
        if let Ok(runtime) = runtime::shared() {
            runtime.spawn_blocking(move || slot.clear());
        }
    }
}
