//! `foodstream.purchases.StreamingJob`: a consumer that shows its totals batch by batch.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::arrow::Rows;
use super::consumer::Consumer;
use super::progress::LakeProgress;
use super::{convert, errors, functions};
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
        available_now: bool,
        once_wait: f64,
    ) -> PyResult<PyClassInitializer<Self>> {
        let settings = convert::settings_over(Preset::Purchases, config, overrides)?;
        let consumer = Consumer::over("StreamingJob", settings, available_now, once_wait)?;
        Ok(PyClassInitializer::from(consumer).add_subclass(StreamingJob))
    }

    /// Consume into the lake and print each batch, until stop(), Ctrl-C or a limit.
    #[pyo3(signature = (*, available_now=false, once=false, max_batches=None, timeout=None, output="table"))]
    fn run(
        this: &Bound<'_, Self>,
        available_now: bool,
        once: bool,
        max_batches: Option<u64>,
        timeout: Option<f64>,
        output: &str,
    ) -> PyResult<LakeProgress> {
        let (py, consumer) = (this.py(), this.as_super().get());
        let form = form(output)?;
        let bounds = consumer.bounds(available_now, once, max_batches, timeout)?;
        let show = Show::new(consumer.settings(), form).map_err(|error| errors::raise(py, &error))?;
        consumer.ingest(py, bounds, show, |text| print(py, text))
    }

    /// Return the totals so far by day and group.
    #[pyo3(signature = (*, by=None, running=false))]
    fn totals(this: &Bound<'_, Self>, by: Option<Vec<String>>, running: bool) -> PyResult<Rows> {
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
