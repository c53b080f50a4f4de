//! `foodstream.doctor` and the report it returns.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{convert, given, wait};
use crate::cli::runtime;
use crate::tools::doctor::{DoctorOptions, Report, Section, Verdict, doctor as examine};

/// What doctor found; true unless there is a fault or a service is away.
#[pyclass(frozen, module = "foodstream")]
#[derive(Debug)]
pub struct DoctorReport(Report);

#[pymethods]
impl DoctorReport {
    /// A dict a check: section, check, verdict, fact, remedies.
    #[getter]
    fn checks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &self.0.to_json()["checks"])
    }

    /// The exit code of `foodstream doctor`: 0, 3 for faults, 75 where only a service is away.
    #[getter]
    fn exit_code(&self) -> i32 {
        self.0.exit_code()
    }

    /// The report as `foodstream doctor --report json` prints it.
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
        let count = |verdict| self.0.with(verdict).count();
        let (ok, warnings, faults) = (count(Verdict::Ok), count(Verdict::Warning), count(Verdict::Fault));
        format!("DoctorReport(ok={ok}, warnings={warnings}, faults={faults}, exit_code={})", self.0.exit_code())
    }

    fn _repr_html_(&self) -> String {
        self.0.to_html()
    }
}

/// Examine services, topic, disk and settings; changes nothing.
#[pyfunction]
#[pyo3(signature = (config, *, section=None, overrides=None))]
pub fn doctor(
    py: Python<'_>,
    config: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = given::text_or_none)] section: Option<String>,
    overrides: Option<&Bound<'_, PyAny>>,
) -> PyResult<DoctorReport> {
    let section: Option<Section> =
        section.as_deref().map(str::parse).transpose().map_err(PyValueError::new_err::<String>)?;
    let settings = convert::settings(config, overrides)?;
    let options = DoctorOptions { sections: section.into_iter().collect() };
    let found = wait::for_look(py, move || runtime::shared()?.block_on(examine(&settings, &options)))?;
    Ok(DoctorReport(found))
}
