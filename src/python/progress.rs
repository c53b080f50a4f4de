//! What a run has done, as Python sees it.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::pipeline::progress::{Ingested, Published};

/// A run of the producer.
#[pyclass(frozen, get_all, module = "foodstream")]
#[derive(Debug)]
pub struct Progress {
    rows: u64,
    transactions: u64,
    polls: u64,
    cursor: Option<String>,
    seconds: f64,
}

impl From<Published> for Progress {
    fn from(run: Published) -> Self {
        let Published { rows, transactions, polls, cursor, seconds } = run;
        Progress { rows, transactions, polls, cursor: cursor.map(|cursor| cursor.to_string()), seconds }
    }
}

#[pymethods]
impl Progress {
    fn __repr__(&self) -> String {
        let Progress { rows, transactions, seconds, .. } = self;
        let cursor = self.cursor.as_deref().map_or("None".to_owned(), |cursor| format!("'{cursor}'"));
        format!("Progress(rows={rows}, transactions={transactions}, cursor={cursor}, seconds={seconds:.3})")
    }
}

/// A run of the consumer.
#[pyclass(frozen, module = "foodstream")]
#[derive(Debug)]
pub struct LakeProgress(Ingested);

impl From<Ingested> for LakeProgress {
    fn from(run: Ingested) -> Self {
        LakeProgress(run)
    }
}

#[pymethods]
impl LakeProgress {
    #[getter]
    fn batches(&self) -> u64 {
        self.0.batches
    }

    #[getter]
    fn rows(&self) -> u64 {
        self.0.counts.input
    }

    #[getter]
    fn accepted(&self) -> u64 {
        self.0.counts.accepted
    }

    #[getter]
    fn rejected(&self) -> u64 {
        self.0.counts.rejected
    }

    #[getter]
    fn files(&self) -> u64 {
        self.0.files
    }

    #[getter]
    fn commit(&self) -> Option<u64> {
        self.0.commit
    }

    #[getter]
    fn offsets<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let offsets = PyDict::new(py);
        for at in &self.0.positions {
            offsets.set_item(at.partition, at.offset)?;
        }
        Ok(offsets)
    }

    #[getter]
    fn seconds(&self) -> f64 {
        self.0.seconds
    }

    fn __repr__(&self) -> String {
        let Ingested { batches, counts, seconds, .. } = &self.0;
        let (rows, accepted, rejected) = (counts.input, counts.accepted, counts.rejected);
        format!(
            "LakeProgress(rows={rows}, accepted={accepted}, rejected={rejected}, batches={batches}, \
             seconds={seconds:.3})"
        )
    }
}
