//! `foodstream.Report`: what `verify_pipeline` found.

use pyo3::prelude::*;
use serde_json::json;

use super::convert;
use crate::verify::Report as Found;

/// What verify_pipeline found; true unless something was lost, repeated or altered.
#[pyclass(frozen, module = "foodstream")]
#[derive(Debug)]
pub struct Report(Found);

impl From<Found> for Report {
    fn from(found: Found) -> Self {
        Report(found)
    }
}

#[pymethods]
impl Report {
    /// A dict a section: status, name, summary, details.
    #[getter]
    fn checks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &json!(self.0.sections))
    }

    /// Up to twenty keys that should be in the lake or the quarantine and are in neither.
    #[getter]
    fn missing(&self) -> Vec<String> {
        self.0.facts.missing.keys.clone()
    }

    /// Every number of the comparison.
    #[getter]
    fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &json!(self.0.facts))
    }

    /// The report as `foodstream verify --report json` prints it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &self.0.to_json())
    }

    fn __bool__(&self) -> bool {
        self.0.is_ok()
    }

    fn __str__(&self) -> String {
        self.0.render(false)
    }

    fn __repr__(&self) -> String {
        let facts = &self.0.facts;
        let status = json!(self.0.status());
        let (table, lake) = (facts.table_rows, facts.lake_rows);
        let (quarantine, missing) = (facts.quarantine_rows, facts.missing.count);
        format!("Report(status={status}, table={table}, lake={lake}, quarantine={quarantine}, missing={missing})")
    }

    fn _repr_html_(&self) -> String {
        self.0.to_html()
    }
}
