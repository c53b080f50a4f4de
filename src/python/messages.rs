//! Messages as Python has them: dicts, JSON texts or bytes.

use std::borrow::Cow;
use std::fmt::Write as _;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};
use serde_json::Value;

use crate::wire::decode::MAX_DEPTH;

/// A single message, where a list of them may stand too.
pub fn is_one(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(value.cast::<PyString>().is_ok() || value.cast::<PyBytes>().is_ok() || is_mapping(value)?)
}

/// A cast to `PyMapping` asks the same, and drops a Ctrl-C that is heard while Python answers.
fn is_mapping(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static MAPPING: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    if value.cast::<PyDict>().is_ok() {
        return Ok(true);
    }
    value.is_instance(MAPPING.import(value.py(), "collections.abc", "Mapping")?)
}

/// The bytes of a message; `None` is Kafka's null.
pub fn bytes<'a>(message: &'a Bound<'_, PyAny>) -> PyResult<Option<Cow<'a, [u8]>>> {
    if message.is_none() {
        return Ok(None);
    }
    if let Ok(text) = message.cast::<PyString>() {
        return Ok(Some(Cow::Borrowed(text.to_str()?.as_bytes())));
    }
    if let Ok(bytes) = message.cast::<PyBytes>() {
        return Ok(Some(Cow::Borrowed(bytes.as_bytes())));
    }
    if let Ok(bytes) = message.cast::<PyByteArray>() {
        return Ok(Some(Cow::Owned(bytes.to_vec())));
    }
    if is_mapping(message)? {
        let mut text = String::new();
        write_json(message, &mut text, 0)?;
        return Ok(Some(Cow::Owned(text.into_bytes())));
    }
    Err(PyTypeError::new_err(format!("expected a dict, str or bytes, not {}", message.get_type().name()?)))
}

/// As `json.dumps` writes it, and a Decimal with its digits, which `json` has no word for, a date in ISO form.
fn write_json(value: &Bound<'_, PyAny>, text: &mut String, depth: u32) -> PyResult<()> {
    if depth > MAX_DEPTH {
        return Err(PyValueError::new_err(format!("nested deeper than {MAX_DEPTH}")));
    }
    if value.is_none() {
        text.push_str("null");
    } else if let Ok(flag) = value.cast::<PyBool>() {
        text.push_str(if flag.is_true() { "true" } else { "false" });
    } else if let Ok(words) = value.cast::<PyString>() {
        let _ = write!(text, "{}", Value::from(words.to_str()?));
    } else if value.cast::<PyInt>().is_ok() {
        text.push_str(value.py().get_type::<PyInt>().call1((value,))?.str()?.to_str()?);
    } else if let Ok(number) = value.cast::<PyFloat>() {
        let number = serde_json::Number::from_f64(number.value()).ok_or_else(|| no_json(value));
        let _ = write!(text, "{}", number?);
    } else if is_mapping(value)? {
        text.push('{');
        for (index, item) in value.call_method0("items")?.try_iter()?.enumerate() {
            let (name, member): (Bound<'_, PyString>, Bound<'_, PyAny>) = item?.extract()?;
            let _ = write!(text, "{}{}:", if index == 0 { "" } else { "," }, Value::from(name.to_str()?));
            write_json(&member, text, depth + 1)?;
        }
        text.push('}');
    } else if value.cast::<PyList>().is_ok() || value.cast::<PyTuple>().is_ok() {
        text.push('[');
        for (index, item) in value.try_iter()?.enumerate() {
            text.push_str(if index == 0 { "" } else { "," });
            write_json(&item?, text, depth + 1)?;
        }
        text.push(']');
    } else if value.hasattr("as_tuple")? && value.call_method0("is_finite")?.is_truthy()? {
        text.push_str(value.call_method1("__format__", ("f",))?.str()?.to_str()?);
    } else if value.hasattr("isoformat")? {
        write_json(&value.call_method0("isoformat")?, text, depth + 1)?;
    } else if value.hasattr("item")? {
        // A scalar of numpy.
        write_json(&value.call_method0("item")?, text, depth + 1)?;
    } else {
        return Err(no_json(value));
    }
    Ok(())
}

fn no_json(value: &Bound<'_, PyAny>) -> PyErr {
    PyValueError::new_err(format!("JSON has no word for {value}"))
}
