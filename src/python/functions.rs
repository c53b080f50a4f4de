//! The functions of the module.

use pyo3::prelude::*;
use serde_json::Value;

use super::convert;
use crate::cli::{self, Exit};

/// One command. An exit code, or what Python is to run: its name and its options.
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
