//! Exception classes, one for each kind of error that a caller can act on.
//!
//! They are made with Python's own `type`: `ConfigError` has two bases, which extension types of the stable ABI
//! cannot have. Attributes stand on the class with their defaults and on the instance with their values.

use pyo3::exceptions::{PyException, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::error::{Error, Kind, Lost, Result};

/// Kinds with a class of their own, in the order of [`CLASSES`] after the base.
const KINDS: [(Kind, &str, &str); 7] = [
    (Kind::Config, "ConfigError", "The configuration is wrong; path, line, column and key say where, if in a file."),
    (Kind::Source, "SourceError", "PostgreSQL could not be reached, or refused."),
    (Kind::Broker, "BrokerError", "Kafka could not be reached, or refused."),
    (Kind::Schema, "SchemaError", "The table, the messages or the lake disagree about columns."),
    (Kind::Lake, "LakeError", "The lake, its log, or the file system under it is not as it must be."),
    (Kind::DataLoss, "DataLossError", "Rows or offsets never read are gone; the message and attributes say which."),
    (Kind::Fenced, "FencedError", "Another process took over this pipeline or these partitions."),
];

/// What an error of a kind may know besides; None where it does not.
const ATTRIBUTES: [(Kind, [&str; 4]); 2] =
    [(Kind::Config, ["path", "line", "column", "key"]), (Kind::DataLoss, ["topic", "offsets", "cursors", "commits"])];

static CLASSES: PyOnceLock<Vec<Py<PyType>>> = PyOnceLock::new();

fn classes(py: Python<'_>) -> PyResult<&[Py<PyType>]> {
    CLASSES.get_or_try_init(py, || make(py)).map(Vec::as_slice)
}

fn make(py: Python<'_>) -> PyResult<Vec<Py<PyType>>> {
    let (exception, value_error) = (py.get_type::<PyException>(), py.get_type::<PyValueError>());
    let base = class(py, "FoodstreamError", &[&exception], "Base of all errors of this package.")?;
    base.setattr("retriable", false)?;
    let mut made = vec![base.clone().unbind()];
    for (kind, name, doc) in KINDS {
        let bases = if kind == Kind::Config { &[&base, &value_error][..] } else { &[&base] };
        let class = class(py, name, bases, doc)?;
        for (_, names) in ATTRIBUTES.iter().filter(|(of, _)| *of == kind) {
            names.iter().try_for_each(|name| class.setattr(*name, py.None()))?;
        }
        made.push(class.unbind());
    }
    Ok(made)
}

fn class<'py>(py: Python<'py>, name: &str, bases: &[&Bound<'py, PyType>], doc: &str) -> PyResult<Bound<'py, PyType>> {
    let members = PyDict::new(py);
    members.set_item("__module__", "foodstream")?;
    members.set_item("__doc__", doc)?;
    Ok(py.get_type::<PyType>().call1((name, PyTuple::new(py, bases)?, members))?.cast_into::<PyType>()?)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for class in classes(module.py())? {
        let class = class.bind(module.py());
        module.add(class.name()?.to_str()?, class)?;
    }
    Ok(())
}

/// The exception for an error, with everything that a caller may ask it.
pub fn raise(py: Python<'_>, error: &Error) -> PyErr {
    instance(py, error).unwrap_or_else(|failure| failure)
}

fn instance(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    if error.kind() == Kind::Bug {
        let words = format!("this is a bug in foodstream, please report it: {}", error.report());
        return Ok(PyRuntimeError::new_err(words));
    }
    let own = KINDS.iter().position(|(kind, ..)| *kind == error.kind()).map_or(0, |place| place + 1);
    let exception = classes(py)?[own].bind(py).call1((error.report(),))?;
    exception.setattr("retriable", error.is_retriable())?;
    if let (Kind::Config, Some(location)) = (error.kind(), error.location()) {
        exception.setattr("path", &location.file)?;
        exception.setattr("line", location.line)?;
        exception.setattr("column", location.column)?;
        exception.setattr("key", &location.key)?;
    }
    if let Some(Lost { topic, offsets, cursors, commits }) = error.lost() {
        exception.setattr("topic", topic)?;
        exception.setattr("offsets", (!offsets.is_empty()).then_some(offsets))?;
        exception.setattr("cursors", cursors.as_ref())?;
        exception.setattr("commits", *commits)?;
    }
    Ok(PyErr::from_value(exception))
}

/// A use that cannot be: of something closed or busy, or of a batch that is no longer the current one.
pub fn misuse(py: Python<'_>, message: String) -> PyErr {
    let made = classes(py).and_then(|classes| classes[0].bind(py).call1((message,)));
    made.map_or_else(|failure| failure, PyErr::from_value)
}

/// The answer of work that a stop may end before it began: then nothing was done.
pub fn or_stopped<R>(py: Python<'_>, result: Result<R>, nothing: R) -> PyResult<R> {
    match result {
        Err(error) if error.kind() == Kind::Interrupted => Ok(nothing),
        other => other.map_err(|error| raise(py, &error)),
    }
}
