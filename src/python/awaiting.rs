//! Calls that can be awaited: the same methods, in a thread of their own (`foodstream._aio`), so that what blocks does
//! not hold up the event loop.

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A coroutine for `object.run(**options)`, which refuses what does not fit; cancelling it stops the run.
pub fn run<'py>(object: &Bound<'py, PyAny>, options: Option<Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
    call(object, "run", options)
}

/// A coroutine for `object.close()`, for `__aexit__`.
pub fn close<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    call(object, "close", None)
}

fn call<'py>(
    object: &Bound<'py, PyAny>,
    method: &str,
    options: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = options.unwrap_or_else(|| PyDict::new(object.py()));
    aio(object.py())?.call_method1("run", (object, method, options))
}

/// An asynchronous iterator over a consumer's batches.
pub fn batches<'py>(consumer: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    aio(consumer.py())?.call_method1("batches", (consumer,))
}

/// What `__aenter__` gives.
pub fn entered<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    aio(object.py())?.call_method1("entered", (object,))
}

fn aio(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("foodstream._aio")
}
