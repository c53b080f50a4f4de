//! The functions of the module.

use std::sync::Arc;

use pyo3::prelude::*;
use serde_json::Value;

use super::arrow::Rows;
use super::report::Report;
use super::{convert, given, wait};
use crate::cli::{self, Exit, runtime};
use crate::config::Settings;
use crate::model::Key;
use crate::pipeline::Stop;
use crate::tools::{self, InsertOptions, TotalsOptions};
use crate::verify::{VerifyOptions, verify};

/// Run one command; `argv[0]` is the program's name.
#[pyfunction]
pub fn main<'py>(py: Python<'py>, argv: Vec<String>) -> PyResult<Bound<'py, PyAny>> {
    match py.detach(|| cli::main(argv)) {
        Exit::Code(code) => Ok(code.into_pyobject(py)?.into_any()),
        Exit::Python { command, options } => {
            let options = convert::to_python(py, &Value::Object(options))?;
            Ok((command, options).into_pyobject(py)?.into_any())
        }
    }
}

/// Compare table, topic, lake and state by key and content; changes nothing.
#[pyfunction]
#[pyo3(signature = (config, *, overrides=None))]
pub fn verify_pipeline(
    py: Python<'_>,
    config: &Bound<'_, PyAny>,
    overrides: Option<&Bound<'_, PyAny>>,
) -> PyResult<Report> {
    let settings = convert::settings(config, overrides)?;
    let found = wait::for_look(py, move || runtime::shared()?.block_on(verify(&settings, &VerifyOptions::default())))?;
    Ok(Report::from(found))
}

/// Insert generated orders into the table and return their keys.
#[pyfunction]
#[pyo3(signature = (config, *, count=5, overrides=None))]
pub fn insert_test_orders<'py>(
    py: Python<'py>,
    config: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = given::count)] count: i64,
    overrides: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let settings = convert::settings(config, overrides)?;
    let count = given::at_least(0, "count", count)?;
    let options = InsertOptions { count, ..InsertOptions::default() };
    let stop = Stop::new();
    let stopped = stop.clone();
    let report = wait::for_result(py, &stop, move || {
        runtime::shared()?.block_on(tools::insert_test_orders(&settings, &options, stopped.requested()))
    })?;
    let ids = report.ids.iter().map(|id| match id {
        Key::Int(number) => Value::from(*number),
        Key::Uuid(_) => Value::from(id.to_string()),
    });
    convert::to_python(py, &Value::Array(ids.collect()))
}

/// Return the totals of a lake by period and group, from its commit log alone; empty before its first commit.
#[pyfunction]
#[pyo3(signature = (config, *, by=None, running=false, overrides=None))]
pub fn totals(
    py: Python<'_>,
    config: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = given::names)] by: Option<Vec<String>>,
    #[pyo3(from_py_with = given::flag)] running: bool,
    overrides: Option<&Bound<'_, PyAny>>,
) -> PyResult<Rows> {
    totals_of(py, convert::settings(config, overrides)?, by, running)
}

pub fn totals_of(py: Python<'_>, settings: Arc<Settings>, by: Option<Vec<String>>, running: bool) -> PyResult<Rows> {
    wait::for_look(py, move || {
        let table = tools::totals_table(&settings, &TotalsOptions { by, running })?;
        Ok(Rows::held(table.rows.schema(), vec![table.rows]))
    })
}
