//! What a run has done, as Python sees it.

use std::collections::BTreeMap;

use pyo3::prelude::*;

use crate::pipeline::progress::{Ingested, Published};

/// What a run of the producer has done.
#[pyclass(frozen, get_all, module = "foodstream")]
pub struct Progress {
    rows: u64,
    transactions: u64,
    polls: u64,
    /// The last published position, `timestamp|key` as the state file holds it.
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
        let cursor = self.cursor.as_deref().unwrap_or("none");
        format!("Progress(rows={rows}, transactions={transactions}, cursor='{cursor}', seconds={seconds:.3})")
    }
}

/// What a run of the consumer has done.
#[pyclass(frozen, get_all, module = "foodstream")]
pub struct LakeProgress {
    /// Messages: accepted and rejected.
    rows: u64,
    accepted: u64,
    rejected: u64,
    batches: u64,
    files: u64,
    /// Number of the log's last commit, whoever made it.
    commit: Option<u64>,
    /// Partition to the next offset to read.
    offsets: BTreeMap<i32, i64>,
    seconds: f64,
}

impl From<Ingested> for LakeProgress {
    fn from(run: Ingested) -> Self {
        let Ingested { batches, counts, files, commit, positions, seconds } = run;
        let offsets = positions.into_iter().map(|at| (at.partition, at.offset)).collect();
        let (rows, accepted, rejected) = (counts.input, counts.accepted, counts.rejected);
        LakeProgress { rows, accepted, rejected, batches, files, commit, offsets, seconds }
    }
}

#[pymethods]
impl LakeProgress {
    fn __repr__(&self) -> String {
        let LakeProgress { rows, accepted, rejected, batches, seconds, .. } = self;
        let counts = format!("rows={rows}, accepted={accepted}, rejected={rejected}, batches={batches}");
        format!("LakeProgress({counts}, seconds={seconds:.3})")
    }
}
