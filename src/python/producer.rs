//! `foodstream.Producer`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyo3::prelude::*;
use serde_json::json;

use super::progress::Progress;
use super::slot::{self, Slot};
use super::{config, convert};
use crate::capture::PollSource;
use crate::cli::runtime;
use crate::config::Settings;
use crate::error::Result;
use crate::pipeline::Stop;
use crate::pipeline::compose::{self, ProducerRun};
use crate::pipeline::progress::{Published, Reports};
use crate::pipeline::replicate::{Bounds, Replicate};

type Session = Replicate<PollSource>;

#[pyclass(frozen, module = "foodstream")]
pub struct Producer {
    settings: Arc<Settings>,
    run: Arc<ProducerRun>,
    reports: Arc<Mutex<Reports>>,
    slot: Arc<Slot<Session>>,
}

impl Producer {
    fn call<R: Send + 'static>(
        &self,
        py: Python<'_>,
        bounded: bool,
        work: impl FnOnce(&mut Session) -> Result<R> + Send + 'static,
    ) -> PyResult<Result<R>> {
        let (settings, run, reports) = (self.settings.clone(), self.run.clone(), self.reports.clone());
        let open = move |stop: &Stop| {
            let session = runtime::shared()?.block_on(compose::producer(&settings, &run, bounded, stop))?;
            *slot::lock(&reports) = session.reports();
            Ok(session)
        };
        self.slot.call(py, open, work)
    }
}

#[pymethods]
impl Producer {
    #[new]
    #[pyo3(signature = (config, *, overrides=None, start_from=None, adopt=false, once_wait=90.0))]
    fn new(
        config: &Bound<'_, PyAny>,
        overrides: Option<&Bound<'_, PyAny>>,
        start_from: Option<String>,
        adopt: bool,
        once_wait: f64,
    ) -> PyResult<Self> {
        let once_wait = convert::seconds("once_wait", once_wait)?;
        let run_id = uuid::Uuid::new_v4().to_string();
        Ok(Producer {
            settings: convert::settings(config, overrides)?,
            run: Arc::new(ProducerRun { start_from, adopt, once_wait, run_id }),
            reports: Arc::default(),
            slot: Slot::new("producer"),
        })
    }

    #[pyo3(signature = (*, once=false, timeout=None, max_rows=None))]
    fn run(&self, py: Python<'_>, once: bool, timeout: Option<f64>, max_rows: Option<u64>) -> PyResult<Progress> {
        let timeout: Option<Duration> = timeout.map(|value| convert::seconds("timeout", value)).transpose()?;
        let bounds = Bounds { once, max_rows, timeout };
        let bounded = once || timeout.is_some();
        let done = self.call(py, bounded, move |session| runtime::shared()?.block_on(session.run(bounds)))?;
        slot::or_stopped(py, done, Published::default()).map(Progress::from)
    }

    fn poll(&self, py: Python<'_>) -> PyResult<u64> {
        let done = self.call(py, true, |session| runtime::shared()?.block_on(session.poll()))?;
        slot::or_stopped(py, done, 0)
    }

    fn stop(&self) {
        self.slot.stop();
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.slot.close(py)
    }

    #[getter]
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        slot::status(py, &self.slot, &self.run.run_id)
    }

    #[getter]
    fn last_progress<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let last = slot::lock(&self.reports).last();
        last.map(|report| convert::to_python(py, &report)).transpose()
    }

    #[getter]
    fn recent_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let recent = slot::lock(&self.reports).recent();
        convert::to_python(py, &json!(recent))
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        format!("Producer({}, {})", config::summary(&self.settings), self.slot.state())
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.slot.abandon();
    }
}
