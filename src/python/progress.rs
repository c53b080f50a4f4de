//! What a run has done, as Python sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::prelude::*;
use serde_json::Value;

use super::wait::{Tell, Told};
use super::{convert, given, html};
use crate::error::Result;
use crate::pipeline::progress::{Ingested, Published, Reports};

pub fn refuse_unfit(on_progress: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    on_progress.map_or(Ok(()), |function| given::callable("on_progress", "on_progress(progress)", function))
}

/// Does work whose reports go to the thread that waits for it, if `watched`.
pub fn watching<R>(watched: bool, reports: &Reports, tell: Tell, work: impl FnOnce() -> Result<R>) -> Result<R> {
    if watched {
        reports.watch(Some(Arc::new(move |report: &Value| tell(Told::Progress(report.clone())))));
    }
    let done = work();
    reports.watch(None);
    done
}

/// Hands a report to `on_progress`, in the caller's thread.
pub fn tell(py: Python<'_>, on_progress: Option<&Bound<'_, PyAny>>, told: Told) -> PyResult<()> {
    match (told, on_progress) {
        (Told::Progress(report), Some(function)) => function.call1((convert::to_python(py, &report)?,)).map(drop),
        _ => Ok(()),
    }
}

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

    fn _repr_html_(&self) -> String {
        let Progress { rows, transactions, polls, .. } = self;
        let cursor = self.cursor.as_deref().unwrap_or("none");
        let seconds = format!("{:.3}", self.seconds);
        html::facts(
            "published",
            &[
                ("rows", rows),
                ("transactions", transactions),
                ("polls", polls),
                ("cursor", &cursor),
                ("seconds", &seconds),
            ],
        )
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

    fn _repr_html_(&self) -> String {
        let LakeProgress { rows, accepted, rejected, batches, files, .. } = self;
        let commit = self.commit.map_or_else(|| "none".to_owned(), |number| number.to_string());
        let seconds = format!("{:.3}", self.seconds);
        html::facts(
            "consumed",
            &[
                ("rows", rows),
                ("accepted", accepted),
                ("rejected", rejected),
                ("batches", batches),
                ("files", files),
                ("last commit", &commit),
                ("seconds", &seconds),
            ],
        )
    }
}
