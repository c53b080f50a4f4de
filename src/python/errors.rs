//! Exception classes, one for each kind of error that a caller can act on.
//!
//! They are made with Python's own `type`: `ConfigError` has two bases, which the extension types of the stable
//! ABI cannot have. Attributes stand on the class with their defaults and on the instance with their values.

use pyo3::exceptions::{PyException, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::error::{Error, Kind};

struct Classes {
    base: Py<PyType>,
    config: Py<PyType>,
    source: Py<PyType>,
    broker: Py<PyType>,
    schema: Py<PyType>,
    lake: Py<PyType>,
    data_loss: Py<PyType>,
    fenced: Py<PyType>,
}

static CLASSES: PyOnceLock<Classes> = PyOnceLock::new();

fn classes(py: Python<'_>) -> PyResult<&Classes> {
    CLASSES.get_or_try_init(py, || make(py))
}

fn make(py: Python<'_>) -> PyResult<Classes> {
    let exception = py.get_type::<PyException>();
    let base = class(py, "FoodstreamError", &[&exception], "Base of all errors of this package.")?;
    base.setattr("retriable", false)?;
    let one = |name, doc| class(py, name, &[&base], doc).map(Bound::unbind);
    let value_error = py.get_type::<PyValueError>();
    let doc = "The configuration is wrong; path, line, column and key say where, as far as it came from a file.";
    let config = class(py, "ConfigError", &[&base, &value_error], doc)?;
    for name in ["path", "line", "column", "key"] {
        config.setattr(name, py.None())?;
    }
    Ok(Classes {
        config: config.unbind(),
        source: one("SourceError", "PostgreSQL could not be reached, or refused.")?,
        broker: one("BrokerError", "Kafka could not be reached, or refused.")?,
        schema: one("SchemaError", "The table, the messages and the lake disagree about columns.")?,
        lake: one("LakeError", "The lake, its commit log, or the file system under it is not as it must be.")?,
        data_loss: one(
            "DataLossError",
            "Rows or offsets that were never read are gone; the message names the interval.",
        )?,
        fenced: one("FencedError", "Another process took over this pipeline or these partitions.")?,
        base: base.unbind(),
    })
}

fn class<'py>(py: Python<'py>, name: &str, bases: &[&Bound<'py, PyType>], doc: &str) -> PyResult<Bound<'py, PyType>> {
    let members = PyDict::new(py);
    members.set_item("__module__", "foodstream")?;
    members.set_item("__doc__", doc)?;
    let made = py.get_type::<PyType>().call1((name, PyTuple::new(py, bases)?, members))?;
    Ok(made.cast_into::<PyType>()?)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let Classes { base, config, source, broker, schema, lake, data_loss, fenced } = classes(py)?;
    for class in [base, config, source, broker, schema, lake, data_loss, fenced] {
        let class = class.bind(py);
        module.add(class.name()?.to_str()?, class)?;
    }
    Ok(())
}

/// The exception for an error, with everything that a caller may ask it.
pub fn raise(py: Python<'_>, error: &Error) -> PyErr {
    instance(py, error).unwrap_or_else(|failure| failure)
}

fn instance(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let classes = classes(py)?;
    let class = match error.kind() {
        Kind::Config => &classes.config,
        Kind::Source => &classes.source,
        Kind::Broker => &classes.broker,
        Kind::Schema => &classes.schema,
        Kind::Lake => &classes.lake,
        Kind::DataLoss => &classes.data_loss,
        Kind::Fenced => &classes.fenced,
        Kind::Interrupted => &classes.base,
        Kind::Bug => return Ok(PyRuntimeError::new_err(format!("this is a bug in foodstream: {}", error.report()))),
    };
    let exception = class.bind(py).call1((error.report(),))?;
    exception.setattr("retriable", error.is_retriable())?;
    if let (Kind::Config, Some(location)) = (error.kind(), error.location()) {
        exception.setattr("path", &location.file)?;
        exception.setattr("line", location.line)?;
        exception.setattr("column", location.column)?;
        exception.setattr("key", &location.key)?;
    }
    Ok(PyErr::from_value(exception))
}

/// A use that cannot be: of something closed, or of a batch that is no longer the current one.
pub fn misuse(py: Python<'_>, message: impl Into<String>) -> PyErr {
    let made = classes(py).and_then(|classes| classes.base.bind(py).call1((message.into(),)));
    made.map_or_else(|failure| failure, PyErr::from_value)
}
