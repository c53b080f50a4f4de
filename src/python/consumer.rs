//! `foodstream.Consumer` and its `Batch`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use serde_json::json;

use super::arrow::Rows;
use super::progress::LakeProgress;
use super::slot::{self, Slot};
use super::{config, convert, errors};
use crate::broker::kafka::{KafkaCluster, KafkaGroupConsumer};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::model::{Counts, MicroBatch, OffsetRange};
use crate::pipeline::Stop;
use crate::pipeline::compose::{self, ConsumerRun};
use crate::pipeline::ingest::{Bounds, Ingest};
use crate::pipeline::progress::{Ingested, Reports};

struct Session {
    ingest: Ingest<KafkaGroupConsumer, KafkaCluster>,
    /// End offsets of a bounded iteration, asked for once.
    targets: Option<Option<BTreeMap<i32, i64>>>,
    /// The batch in Python's hands, with its number among those of this object.
    current: Option<(u64, MicroBatch)>,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = self.ingest.close() {
            tracing::warn!(target: "foodstream::consumer", "leaving the group: {}", error.report());
        }
    }
}

impl Session {
    fn commit(&mut self) -> Result<bool> {
        match self.current.take() {
            Some((_, batch)) => self.ingest.commit(batch),
            None => Ok(true),
        }
    }

    fn next(&mut self, available_now: bool, serial: u64) -> Result<Option<Batch>> {
        self.commit()?;
        let targets = match self.targets.take() {
            Some(targets) => targets,
            None => self.ingest.targets(Bounds { available_now, ..Bounds::default() })?,
        };
        let next = self.ingest.next_batch(targets.as_ref(), None);
        self.targets = Some(targets);
        let Some(batch) = next? else { return Ok(None) };
        let handed = Batch {
            serial,
            id: self.ingest.head().number + 1,
            counts: batch.counts,
            ranges: batch.ranges.clone(),
            accepted: batch.accepted.iter().map(|dated| dated.rows.clone()).collect(),
            rejected: batch.rejected.clone(),
            lake_schema: self.ingest.lake_schema(),
            quarantine_schema: self.ingest.quarantine_schema(),
            owner: None,
        };
        self.current = Some((serial, batch));
        Ok(Some(handed))
    }
}

#[pyclass(frozen, module = "foodstream")]
pub struct Consumer(Arc<Shared>);

struct Shared {
    settings: Arc<Settings>,
    run: Arc<ConsumerRun>,
    available_now: bool,
    reports: Arc<Mutex<Reports>>,
    slot: Arc<Slot<Session>>,
    serial: Mutex<u64>,
}

impl Shared {
    fn call<R: Send + 'static>(
        &self,
        py: Python<'_>,
        bounded: bool,
        work: impl FnOnce(&mut Session) -> Result<R> + Send + 'static,
    ) -> PyResult<Result<R>> {
        let (settings, run, reports) = (self.settings.clone(), self.run.clone(), self.reports.clone());
        let open = move |stop: &Stop| {
            let ingest = compose::consumer(&settings, &run, bounded, stop)?;
            *slot::lock(&reports) = ingest.reports();
            Ok(Session { ingest, targets: None, current: None })
        };
        self.slot.call(py, open, work)
    }

    fn next_serial(&self) -> u64 {
        let mut serial = slot::lock(&self.serial);
        *serial += 1;
        *serial
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.slot.abandon();
    }
}

#[pymethods]
impl Consumer {
    #[new]
    #[pyo3(signature = (config, *, overrides=None, available_now=false, once_wait=90.0))]
    fn new(
        config: &Bound<'_, PyAny>,
        overrides: Option<&Bound<'_, PyAny>>,
        available_now: bool,
        once_wait: f64,
    ) -> PyResult<Self> {
        let once_wait = convert::seconds("once_wait", once_wait)?;
        let run_id = uuid::Uuid::new_v4().to_string();
        Ok(Consumer(Arc::new(Shared {
            settings: convert::settings(config, overrides)?,
            run: Arc::new(ConsumerRun { once_wait, run_id }),
            available_now,
            reports: Arc::default(),
            slot: Slot::new("consumer"),
            serial: Mutex::default(),
        })))
    }

    #[pyo3(signature = (*, available_now=None, once=false, max_batches=None, timeout=None))]
    fn run(
        &self,
        py: Python<'_>,
        available_now: Option<bool>,
        once: bool,
        max_batches: Option<u64>,
        timeout: Option<f64>,
    ) -> PyResult<LakeProgress> {
        let timeout = timeout.map(|value| convert::seconds("timeout", value)).transpose()?;
        let available_now = once || available_now.unwrap_or(self.0.available_now);
        let bounds = Bounds { available_now, max_batches, timeout };
        let bounded = available_now || timeout.is_some();
        let done = self.0.call(py, bounded, move |session| {
            // A batch that was handed out and never committed is read again.
            if session.current.take().is_some() {
                session.ingest.rewind()?;
            }
            session.ingest.run(bounds)
        })?;
        slot::or_stopped(py, done, Ingested::default()).map(LakeProgress::from)
    }

    fn stop(&self) {
        self.0.slot.stop();
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.0.slot.close(py)
    }

    #[getter]
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        slot::status(py, &self.0.slot, &self.0.run.run_id)
    }

    #[getter]
    fn last_progress<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let last = slot::lock(&self.0.reports).last();
        last.map(|report| convert::to_python(py, &report)).transpose()
    }

    #[getter]
    fn recent_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let recent = slot::lock(&self.0.reports).recent();
        convert::to_python(py, &json!(recent))
    }

    /// A new loop begins at the lake's positions: what an earlier one left uncommitted comes again.
    fn __iter__(this: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        let available_now = this.get().0.available_now;
        let done = this.get().0.call(py, available_now, |session| {
            session.targets = None;
            if session.current.take().is_some() { session.ingest.rewind() } else { Ok(()) }
        })?;
        slot::or_stopped(py, done, ())?;
        Ok(this)
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        let (available_now, serial) = (self.0.available_now, self.0.next_serial());
        let done = self.0.call(py, available_now, move |session| session.next(available_now, serial))?;
        let batch = slot::or_stopped(py, done, None)?;
        Ok(batch.map(|batch| Batch { owner: Some(Arc::clone(&self.0)), ..batch }))
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        format!("Consumer({}, {})", config::summary(&self.0.settings), self.0.slot.state())
    }
}

#[pyclass(frozen, module = "foodstream")]
pub struct Batch {
    serial: u64,
    #[pyo3(get)]
    id: u64,
    counts: Counts,
    ranges: Vec<OffsetRange>,
    accepted: Vec<RecordBatch>,
    rejected: Vec<RecordBatch>,
    lake_schema: SchemaRef,
    quarantine_schema: SchemaRef,
    owner: Option<Arc<Shared>>,
}

#[pymethods]
impl Batch {
    #[getter]
    fn accepted(&self) -> Rows {
        Rows::new(self.lake_schema.clone(), self.accepted.clone())
    }

    #[getter]
    fn rejected(&self) -> Rows {
        Rows::new(self.quarantine_schema.clone(), self.rejected.clone())
    }

    #[getter]
    fn offsets<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let offsets = PyDict::new(py);
        for range in &self.ranges {
            offsets.set_item(range.partition, (range.from, range.to))?;
        }
        Ok(offsets)
    }

    fn commit(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(owner) = &self.owner else {
            return Err(errors::raise(py, &Error::bug("a batch without its consumer")));
        };
        let serial = self.serial;
        let done = owner.call(py, true, move |session| match &session.current {
            Some((current, _)) if *current == serial => session.commit().map(Some),
            _ => Ok(None),
        })?;
        let stale = "this batch is no longer open: it was committed, or its loop ended without committing it";
        slot::or_stopped(py, done, None)?.ok_or_else(|| errors::misuse(py, stale))
    }

    /// Messages, accepted and rejected.
    fn __len__(&self) -> usize {
        usize::try_from(self.counts.input).unwrap_or(usize::MAX)
    }

    fn __repr__(&self) -> String {
        let Counts { accepted, rejected, .. } = self.counts;
        format!("Batch(id={}, accepted={accepted}, rejected={rejected})", self.id)
    }
}
