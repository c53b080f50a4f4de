//! `foodstream.purchases.StreamingJob`: a consumer that shows its totals batch by batch.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::arrow::Rows;
use super::consumer::Consumer;
use super::progress::LakeProgress;
use super::{awaiting, convert, errors, functions, given};
use crate::cli::purchases::{BatchForm, Show};
use crate::config::Preset;

/// Streams purchase events into the lake and prints their daily and running totals.
#[pyclass(frozen, extends = Consumer, module = "foodstream.purchases")]
pub struct StreamingJob;

#[pymethods]
impl StreamingJob {
    #[new]
    #[pyo3(signature = (config, *, overrides=None, available_now=false, once_wait=90.0))]
    fn new(
        config: &Bound<'_, PyAny>,
        overrides: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = given::flag)] available_now: bool,
        #[pyo3(from_py_with = given::time)] once_wait: f64,
    ) -> PyResult<PyClassInitializer<Self>> {
        let settings = convert::settings_over(Preset::Purchases, config, overrides)?;
        let consumer = Consumer::over("StreamingJob", settings, available_now, once_wait)?;
        Ok(PyClassInitializer::from(consumer).add_subclass(StreamingJob))
    }

    /// Consume into the lake and print each batch, until stop(), Ctrl-C or a limit.
    #[pyo3(signature = (*, available_now=false, once=false, max_batches=None, timeout=None, on_progress=None, output="table"))]
    fn run(
        this: &Bound<'_, Self>,
        #[pyo3(from_py_with = given::flag)] available_now: bool,
        #[pyo3(from_py_with = given::flag)] once: bool,
        #[pyo3(from_py_with = given::whole)] max_batches: Option<i64>,
        #[pyo3(from_py_with = given::time_or_none)] timeout: Option<f64>,
        on_progress: Option<&Bound<'_, PyAny>>,
        output: &str,
    ) -> PyResult<LakeProgress> {
        let (py, consumer) = (this.py(), this.as_super().get());
        let form = form(output)?;
        let bounds = consumer.bounds(available_now, once, max_batches, timeout)?;
        let show = Show::new(consumer.settings(), form).map_err(|error| errors::raise(py, &error))?;
        consumer.ingest(py, bounds, show, |text| print(py, text), on_progress)
    }

    /// The same, to be awaited; cancelling it stops the run.
    #[pyo3(signature = (**options), text_signature = "($self, *, available_now=False, once=False, max_batches=None, timeout=None, on_progress=None, output='table')")]
    fn arun<'py>(this: &Bound<'py, Self>, options: Option<Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
        awaiting::run(this, options)
    }

    /// Return the totals so far by day and group.
    #[pyo3(signature = (*, by=None, running=false))]
    fn totals(
        this: &Bound<'_, Self>,
        #[pyo3(from_py_with = given::names)] by: Option<Vec<String>>,
        #[pyo3(from_py_with = given::flag)] running: bool,
    ) -> PyResult<Rows> {
        functions::totals_of(this.py(), this.as_super().get().settings().clone(), by, running)
    }
}

fn form(output: &str) -> PyResult<BatchForm> {
    match output {
        "table" => Ok(BatchForm::Table),
        "json" => Ok(BatchForm::Json),
        "none" => Ok(BatchForm::None),
        other => Err(PyValueError::new_err(format!("output is 'table', 'json' or 'none', not {other:?}"))),
    }
}

/// Python's own `print`, so that a notebook and `contextlib.redirect_stdout` get the text.
fn print(py: Python<'_>, text: &str) -> PyResult<()> {
    let options = PyDict::new(py);
    options.set_item("flush", true)?;
    py.import("builtins")?.call_method("print", (text,), Some(&options)).map(drop)
}
