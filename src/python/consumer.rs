//! `foodstream.Consumer` and its `Batch`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::SchemaRef;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::arrow::Rows;
use super::handle::{Handle, Steps};
use super::progress::{self, LakeProgress};
use super::wait::{Tell, Told};
use super::{awaiting, convert, errors, given, html};
use crate::broker::kafka::{KafkaCluster, KafkaGroupConsumer};
use crate::cli::purchases::Show;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::model::Counts;
use crate::pipeline::Stop;
use crate::pipeline::batches::{Batches, Handed};
use crate::pipeline::compose::{self, ConsumerRun};
use crate::pipeline::ingest::Bounds;
use crate::pipeline::progress::{Ingested, Reports};
use crate::serve::Role;

type Session = Batches<KafkaGroupConsumer, KafkaCluster>;

/// Consumes a topic into the lake, or hands its micro-batches to Python.
#[pyclass(frozen, subclass, module = "foodstream")]
pub struct Consumer {
    handle: Arc<Handle<Session>>,
    run: Arc<ConsumerRun>,
    available_now: bool,
    iteration: Arc<Iteration>,
}

/// A `for` loop over the consumer. No call is under way while its body runs, so a stop then has to be kept for the
/// loop's next step.
#[derive(Default)]
struct Iteration {
    open: AtomicBool,
    stopped: AtomicBool,
}

impl Iteration {
    fn begin(&self) {
        self.stopped.store(false, Ordering::SeqCst);
        self.open.store(true, Ordering::SeqCst);
    }

    fn end(&self) {
        self.open.store(false, Ordering::SeqCst);
    }

    /// True if there is a loop, which will then see the stop.
    fn stop(&self) -> bool {
        let open = self.open.load(Ordering::SeqCst);
        if open {
            self.stopped.store(true, Ordering::SeqCst);
        }
        open
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

impl Consumer {
    pub fn over(name: &'static str, settings: Arc<Settings>, available_now: bool, once_wait: f64) -> PyResult<Self> {
        let once_wait = given::seconds("once_wait", once_wait)?;
        let handle = Arc::new(Handle::new(name, settings));
        let (run_id, monitor) = (handle.run_id.clone(), handle.monitor.clone());
        let run = Arc::new(ConsumerRun { once_wait, run_id, monitor });
        Ok(Consumer { handle, run, available_now, iteration: Arc::default() })
    }

    pub fn settings(&self) -> &Arc<Settings> {
        &self.handle.settings
    }

    pub fn bounds(
        &self,
        available_now: bool,
        once: bool,
        max_batches: Option<i64>,
        timeout: Option<f64>,
    ) -> PyResult<Bounds> {
        let max_batches = max_batches.map(|most| given::at_least(0, "max_batches", most)).transpose()?;
        let timeout = timeout.map(|value| given::seconds("timeout", value)).transpose()?;
        let timeout = timeout.or(self.settings().consumer.await_termination_timeout);
        Ok(Bounds { available_now: available_now || once || self.available_now, max_batches, timeout })
    }

    /// Straight to the lake. Of each commit, in this thread: a text to `print` where `show` makes one, and a report to
    /// `on_progress`.
    pub fn ingest(
        &self,
        py: Python<'_>,
        bounds: Bounds,
        show: Option<Show>,
        print: impl Fn(&str) -> PyResult<()>,
        on_progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<LakeProgress> {
        progress::refuse_unfit(on_progress)?;
        let watched = on_progress.is_some();
        let work = move |session: &mut Session, tell: Tell| {
            session.restart()?;
            let texts = tell.clone();
            session.ingest.observe(show.map(|show| show.begin(move |text| texts(Told::Text(text)))));
            let done = progress::watching(watched, &session.ingest.reports(), tell, || session.ingest.run(bounds));
            session.ingest.observe(None);
            done
        };
        let told = |told| match told {
            Told::Text(text) => print(&text),
            report => progress::tell(py, on_progress, report),
        };
        let open = self.opener(bounds.is_bounded());
        let done = self.handle.telling_call(py, open, work, told)?;
        errors::or_stopped(py, done, Ingested::default()).map(LakeProgress::from)
    }

    fn opener(&self, bounded: bool) -> impl FnOnce(&Settings, &Stop) -> Result<(Session, Reports)> + use<> {
        let run = self.run.clone();
        self.handle.serve(Role::Consumer);
        move |settings, stop| {
            let ingest = compose::consumer(settings, &run, bounded, stop)?;
            let reports = ingest.reports();
            Ok((Batches::new(ingest), reports))
        }
    }
}

impl Consumer {
    /// The function is called in the caller's own thread, between two steps of Rust's.
    fn each(
        &self,
        py: Python<'_>,
        steps: &Steps<'_, Session>,
        function: &Bound<'_, PyAny>,
        bounds: Bounds,
        on_progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Ingested> {
        let watched = on_progress.is_some();
        let told = |told| progress::tell(py, on_progress, told);
        let open = self.opener(bounds.is_bounded());
        let begun = steps.open(py, open, move |session| {
            session.begin_each(bounds)?;
            Ok((session.ingest.lake_schema(), session.ingest.quarantine_schema()))
        })?;
        let Some((lake, quarantine)) = errors::or_stopped(py, begun.map(Some), None)? else {
            return Ok(Ingested::default());
        };
        let mut so_far = Ingested::default();
        loop {
            // A batch without messages is committed here, and is reported too.
            let gather = move |session: &mut Session, tell: Tell| {
                let reports = session.ingest.reports();
                progress::watching(watched, &reports, tell, || session.next_each())
            };
            let next = steps.telling_step(py, gather, told)?;
            let Some(handed) = errors::or_stopped(py, next, None)? else { break };
            if steps.is_stopping() {
                break;
            }
            let (serial, id) = (handed.serial, handed.batch.plan.clone());
            let (lake, quarantine) = (lake.clone(), quarantine.clone());
            let batch = Batch { handed, lake, quarantine, handle: self.handle.clone() };
            self.handle.calling(py, || function.call1((batch, &id)))?;
            let commit = move |session: &mut Session, tell: Tell| {
                let reports = session.ingest.reports();
                let committed = progress::watching(watched, &reports, tell, || session.commit(serial))?;
                Ok(committed.map(|_| session.done_each()))
            };
            let committed = steps.telling_step(py, commit, told)?;
            so_far = errors::or_stopped(py, committed, None)?.ok_or_else(|| {
                let id = id.unwrap_or_default();
                let words =
                    format!("Consumer: closed while its function ran; batch {id} is not committed and comes again");
                errors::misuse(py, words)
            })?;
        }
        let done = steps.step(py, |session| Ok(session.end_each()))?;
        errors::or_stopped(py, done, so_far)
    }
}

#[pymethods]
impl Consumer {
    #[new]
    #[pyo3(signature = (config, *, overrides=None, available_now=false, once_wait=90.0))]
    fn new(
        config: &Bound<'_, PyAny>,
        overrides: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = given::flag)] available_now: bool,
        #[pyo3(from_py_with = given::time)] once_wait: f64,
    ) -> PyResult<Self> {
        Consumer::over("Consumer", convert::settings(config, overrides)?, available_now, once_wait)
    }

    /// Consume into the lake until stop(), Ctrl-C or a limit.
    #[pyo3(signature = (*, available_now=false, once=false, max_batches=None, timeout=None, on_progress=None))]
    fn run(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::flag)] available_now: bool,
        #[pyo3(from_py_with = given::flag)] once: bool,
        #[pyo3(from_py_with = given::whole)] max_batches: Option<i64>,
        #[pyo3(from_py_with = given::time_or_none)] timeout: Option<f64>,
        on_progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<LakeProgress> {
        let bounds = self.bounds(available_now, once, max_batches, timeout)?;
        self.ingest(py, bounds, None, |_| Ok(()), on_progress)
    }

    /// The same, to be awaited; cancelling it stops the run.
    #[pyo3(signature = (**options), text_signature = "($self, *, available_now=False, once=False, max_batches=None, timeout=None, on_progress=None)")]
    fn arun<'py>(this: &Bound<'py, Self>, options: Option<Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
        awaiting::run(this, options)
    }

    /// Call fn(batch, batch_id) for each micro-batch, then commit it to the lake.
    #[pyo3(signature = (
        r#fn, *, available_now=false, once=false, max_batches=None, timeout=None, on_progress=None
    ))]
    #[allow(clippy::too_many_arguments)] // they are Python's, by name
    fn for_each_batch(
        &self,
        py: Python<'_>,
        r#fn: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = given::flag)] available_now: bool,
        #[pyo3(from_py_with = given::flag)] once: bool,
        #[pyo3(from_py_with = given::whole)] max_batches: Option<i64>,
        #[pyo3(from_py_with = given::time_or_none)] timeout: Option<f64>,
        on_progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<LakeProgress> {
        given::callable("fn", "fn(batch, batch_id)", r#fn)?;
        progress::refuse_unfit(on_progress)?;
        let bounds = self.bounds(available_now, once, max_batches, timeout)?;
        let steps = self.handle.steps(py)?;
        let done = self.each(py, &steps, r#fn, bounds, on_progress);
        steps.finish(py, done).map(LakeProgress::from)
    }

    /// A new loop begins at the lake's positions: what an earlier one left uncommitted comes again.
    fn __iter__(this: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        let consumer = this.get();
        consumer.iteration.begin();
        let done = consumer.handle.call(py, consumer.opener(consumer.available_now), Session::restart)?;
        errors::or_stopped(py, done, ())?;
        Ok(this)
    }

    fn __aiter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        awaiting::batches(this)
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        let (available_now, iteration) = (self.available_now, self.iteration.clone());
        let work = move |session: &mut Session| {
            if iteration.is_stopped() {
                return session.finish().map(|()| None);
            }
            let next = session.next(available_now)?;
            Ok(next.map(|handed| (handed, session.ingest.lake_schema(), session.ingest.quarantine_schema())))
        };
        let (opener, iteration) = (self.opener(available_now), self.iteration.clone());
        let open = move |settings: &Settings, stop: &Stop| {
            if iteration.is_stopped() { Err(Error::interrupted()) } else { opener(settings, stop) }
        };
        let done = self.handle.call(py, open, work)?;
        // What was gathered as the stop came is not committed: it comes again in the next loop.
        let next = errors::or_stopped(py, done, None)?.filter(|_| !self.iteration.is_stopped());
        if next.is_none() {
            self.iteration.end();
            // A variable may hold the last batch, and with it this, for long: no other consumer should wait for that.
            if available_now {
                self.handle.release(py)?;
            }
        }
        Ok(next.map(|(handed, lake, quarantine)| Batch { handed, lake, quarantine, handle: self.handle.clone() }))
    }

    /// End the run or the loop in another thread after its commit; nothing if there is none.
    fn stop(&self) {
        if !self.iteration.stop() || self.handle.state() == "running" {
            self.handle.stop();
        }
    }

    /// Leave the group and let go of all connections. May be called again; anything else afterwards raises.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.close(py)
    }

    /// What it is doing: `message` is idle, running, stopping or closed; `url` is there with a status page.
    #[getter]
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.handle.status(py)
    }

    /// The last commit, in the words of Spark's StreamingQueryProgress.
    #[getter]
    fn last_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.handle.last_progress(py)
    }

    /// The last hundred commits.
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

/// Rows of a batch that a notebook shows.
const SHOWN_ROWS: usize = 5;
/// Partitions of a batch that it shows: of a thousand nobody reads more.
const SHOWN_PARTITIONS: usize = 8;

/// A micro-batch: decoded and validated, not yet in the lake.
#[pyclass(frozen, module = "foodstream")]
pub struct Batch {
    handed: Handed,
    lake: SchemaRef,
    quarantine: SchemaRef,
    handle: Arc<Handle<Session>>,
}

#[pymethods]
impl Batch {
    /// Number of its commit, if no other worker commits before.
    #[getter]
    fn id(&self) -> u64 {
        self.handed.id
    }

    /// Valid rows, in the lake's columns.
    #[getter]
    fn accepted(&self) -> Rows {
        let accepted = &self.handed.batch.accepted;
        Rows::held(self.lake.clone(), accepted.iter().map(|dated| dated.rows.clone()).collect())
    }

    /// Rows that failed validation, with their reasons, their bytes and their position.
    #[getter]
    fn rejected(&self) -> Rows {
        Rows::held(self.quarantine.clone(), self.handed.batch.rejected.clone())
    }

    /// Partition to (from, to), `to` not included.
    #[getter]
    fn offsets(&self) -> BTreeMap<i32, (i64, i64)> {
        self.handed.batch.ranges.iter().map(|range| (range.partition, (range.from, range.to))).collect()
    }

    /// The id under which `for_each_batch` hands these offsets out, each time; None in a loop.
    #[getter]
    fn plan_id(&self) -> Option<&str> {
        self.handed.batch.plan.as_deref()
    }

    /// Write files, quarantine and offsets to the lake in one commit.
    fn commit(&self, py: Python<'_>) -> PyResult<bool> {
        if self.handed.batch.plan.is_some() {
            let words = "for_each_batch commits a batch when its function returns; commit() is for loops".to_owned();
            return Err(errors::misuse(py, words));
        }
        let serial = self.handed.serial;
        // A consumer without a session has no open batch either.
        let open = |_: &Settings, _: &Stop| Err(Error::interrupted());
        let done = self.handle.call(py, open, move |session| session.commit(serial))?;
        let stale = || errors::misuse(py, "this batch is no longer open: it was committed or given up".to_owned());
        errors::or_stopped(py, done, None)?.ok_or_else(stale)
    }

    /// Messages, accepted and rejected.
    fn __len__(&self) -> usize {
        usize::try_from(self.handed.batch.counts.input).unwrap_or(usize::MAX)
    }

    fn __repr__(&self) -> String {
        let Counts { accepted, rejected, .. } = self.handed.batch.counts;
        format!("Batch(id={}, accepted={accepted}, rejected={rejected})", self.handed.id)
    }

    /// Counts, offsets and the first accepted rows.
    fn _repr_html_(&self) -> PyResult<String> {
        let Counts { accepted, rejected, .. } = self.handed.batch.counts;
        let ranges = &self.handed.batch.ranges;
        let shown = ranges.iter().take(SHOWN_PARTITIONS);
        let shown = shown.map(|range| format!("{}: {} to {}", range.partition, range.from, range.to));
        let left_out = ranges.len().checked_sub(SHOWN_PARTITIONS).filter(|&more| more > 0);
        let left_out = left_out.map(|more| format!("{more} partitions more"));
        let offsets = shown.chain(left_out).collect::<Vec<_>>().join(", ");
        let facts: [(&str, &dyn std::fmt::Display); 3] =
            [("accepted", &accepted), ("rejected", &rejected), ("offsets", &offsets)];
        let facts = html::facts(&format!("batch {}", self.handed.id), &facts);
        let accepted = self.handed.batch.accepted.iter().map(|dated| &dated.rows);
        let first = html::rows(accepted, SHOWN_ROWS).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(facts + &first)
    }
}
