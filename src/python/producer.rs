//! `foodstream.Producer`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::handle::Handle;
use super::progress::{self, Progress};
use super::wait::Tell;
use super::{awaiting, convert, errors, given};
use crate::capture::PollSource;
use crate::cli::runtime;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::pipeline::Stop;
use crate::pipeline::compose::{self, ProducerRun};
use crate::pipeline::progress::{Published, Reports};
use crate::pipeline::replicate::{Bounds, Replicate};
use crate::publish::state_file;
use crate::serve::Role;

type Session = Replicate<PollSource>;

/// Polls a table and publishes its rows to a topic, each exactly once.
#[pyclass(frozen, module = "foodstream")]
pub struct Producer {
    handle: Handle<Session>,
    run: Arc<ProducerRun>,
    /// A session was opened: where it began is not where the next one begins.
    started: Arc<AtomicBool>,
}

impl Producer {
    fn opener(&self, bounded: bool) -> impl FnOnce(&Settings, &Stop) -> Result<(Session, Reports)> + use<> {
        let (run, started) = (Arc::clone(&self.run), Arc::clone(&self.started));
        self.handle.serve(Role::Producer);
        move |settings, stop| {
            let run = if started.load(Ordering::Acquire) { run.later() } else { ProducerRun::clone(&run) };
            let session = runtime::shared()?.block_on(compose::producer(settings, &run, bounded, stop))?;
            started.store(true, Ordering::Release);
            let reports = session.reports();
            Ok((session, reports))
        }
    }
}

#[pymethods]
impl Producer {
    #[new]
    #[pyo3(signature = (config, *, overrides=None, start_from=None, adopt=false, once_wait=90.0))]
    fn new(
        config: &Bound<'_, PyAny>,
        overrides: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = given::text_or_none)] start_from: Option<String>,
        #[pyo3(from_py_with = given::flag)] adopt: bool,
        #[pyo3(from_py_with = given::time)] once_wait: f64,
    ) -> PyResult<Self> {
        let once_wait = given::seconds("once_wait", once_wait)?;
        if let Some(Err(error)) = start_from.as_deref().map(state_file::parse) {
            return Err(errors::raise(config.py(), &Error::config(format!("start_from: {error}"))));
        }
        let handle = Handle::new("Producer", convert::settings(config, overrides)?);
        let (run_id, monitor) = (handle.run_id.clone(), handle.monitor.clone());
        let run = Arc::new(ProducerRun { start_from, adopt, once_wait, run_id, monitor });
        Ok(Producer { handle, run, started: Arc::default() })
    }

    /// Publish until stop() or Ctrl-C; with once, until what is there now is published.
    #[pyo3(signature = (*, once=false, timeout=None, max_rows=None, on_progress=None))]
    fn run(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::flag)] once: bool,
        #[pyo3(from_py_with = given::time_or_none)] timeout: Option<f64>,
        #[pyo3(from_py_with = given::whole)] max_rows: Option<i64>,
        on_progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Progress> {
        let timeout = timeout.map(|value| given::seconds("timeout", value)).transpose()?;
        let max_rows = max_rows.map(|rows| given::at_least(0, "max_rows", rows)).transpose()?;
        progress::refuse_unfit(on_progress)?;
        let (bounds, bounded) = (Bounds { once, max_rows, timeout }, once || timeout.is_some());
        let watched = on_progress.is_some();
        let work = move |session: &mut Session, tell: Tell| {
            progress::watching(watched, &session.reports(), tell, || runtime::shared()?.block_on(session.run(bounds)))
        };
        let told = |told| progress::tell(py, on_progress, told);
        let done = self.handle.telling_call(py, self.opener(bounded), work, told)?;
        errors::or_stopped(py, done, Published::default()).map(Progress::from)
    }

    /// The same, to be awaited; cancelling it stops the run.
    #[pyo3(signature = (**options), text_signature = "($self, *, once=False, timeout=None, max_rows=None, on_progress=None)")]
    fn arun<'py>(this: &Bound<'py, Self>, options: Option<Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
        awaiting::run(this, options)
    }

    /// Read and publish one page; return the number of rows published.
    fn poll(&self, py: Python<'_>) -> PyResult<u64> {
        let work = |session: &mut Session| runtime::shared()?.block_on(session.poll());
        let done = self.handle.call(py, self.opener(true), work)?;
        errors::or_stopped(py, done, 0)
    }

    /// End the run in another thread after what it is doing; nothing if there is none.
    fn stop(&self) {
        self.handle.stop();
    }

    /// Let go of all connections. May be called again; anything else afterwards raises.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.close(py)
    }

    /// What it is doing: `message` is idle, running, stopping or closed; `url` is there with a status page.
    #[getter]
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.handle.status(py)
    }

    /// The last transaction, in the words of Spark's StreamingQueryProgress.
    #[getter]
    fn last_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.handle.last_progress(py)
    }

    /// The last hundred transactions.
    #[getter]
    fn recent_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.handle.recent_progress(py)
    }

    fn __aenter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        awaiting::entered(this)
    }

    #[pyo3(signature = (*_exception))]
    fn __aexit__<'py>(this: &Bound<'py, Self>, _exception: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        awaiting::close(this)
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.handle.close(py)
    }

    fn __repr__(&self) -> String {
        self.handle.repr()
    }
}
