//! `foodstream.purchases.DataValidator`: messages in, a `QualityReport` out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use serde_json::{Value, json};

use super::arrow::Rows;
use super::{convert, errors, wait};
use crate::config::{Preset, Settings};
use crate::model::Counts;
use crate::pipeline::Stop;
use crate::tools::quality::{self, Judged, MessageChunks};
use crate::wire::decode::MAX_DEPTH;

/// Judges messages by the configured rules, without Kafka and without a lake.
#[pyclass(frozen, module = "foodstream.purchases")]
pub struct DataValidator(Arc<Settings>);

#[pymethods]
impl DataValidator {
    #[new]
    #[pyo3(signature = (config, *, overrides=None))]
    fn new(config: &Bound<'_, PyAny>, overrides: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let settings = convert::settings_over(Preset::Purchases, config, overrides)?;
        quality::validator(&settings).map_err(|error| errors::raise(config.py(), &error))?;
        Ok(DataValidator(settings))
    }

    /// Judge dicts, JSON texts or bytes, as the consumer would judge them as messages.
    fn validate(&self, py: Python<'_>, messages: &Bound<'_, PyAny>) -> PyResult<QualityReport> {
        let mut chunks = MessageChunks::default();
        if is_message(messages) {
            return Err(PyTypeError::new_err("validate() takes a list of messages; put a single one into a list"));
        }
        for (index, message) in messages.try_iter()?.enumerate() {
            push(&message?, &mut chunks).inspect_err(|error| {
                let _ = error.value(py).call_method1("add_note", (format!("in message {index}"),));
            })?;
        }
        let settings = self.0.clone();
        wait::for_result(py, &Stop::new(), move || quality::judge(&settings, &chunks)).map(QualityReport)
    }

    fn __repr__(&self) -> String {
        format!("DataValidator({})", convert::summary(&self.0))
    }
}

fn is_message(value: &Bound<'_, PyAny>) -> bool {
    value.cast::<PyString>().is_ok() || value.cast::<PyBytes>().is_ok() || value.cast::<PyMapping>().is_ok()
}

fn push(message: &Bound<'_, PyAny>, chunks: &mut MessageChunks) -> PyResult<()> {
    if message.is_none() {
        chunks.push(None);
    } else if let Ok(text) = message.cast::<PyString>() {
        chunks.push(Some(text.to_str()?.as_bytes()));
    } else if let Ok(bytes) = message.cast::<PyBytes>() {
        chunks.push(Some(bytes.as_bytes()));
    } else if let Ok(bytes) = message.cast::<PyByteArray>() {
        chunks.push(Some(&bytes.to_vec()));
    } else if message.cast::<PyMapping>().is_ok() {
        let mut text = String::new();
        write_json(message, &mut text, 0)?;
        chunks.push(Some(text.as_bytes()));
    } else {
        let kind = message.get_type().name()?;
        return Err(PyTypeError::new_err(format!("expected a dict, str or bytes, not {kind}")));
    }
    Ok(())
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
    } else if let Ok(members) = value.cast::<PyMapping>() {
        for (index, item) in members.items()?.iter().enumerate() {
            let (name, member): (Bound<'_, PyString>, Bound<'_, PyAny>) = item.extract()?;
            let _ = write!(text, "{}{}:", if index == 0 { '{' } else { ',' }, Value::from(name.to_str()?));
            write_json(&member, text, depth + 1)?;
        }
        text.push_str(if members.is_empty()? { "{}" } else { "}" });
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

/// What became of the messages; true if none was rejected.
#[pyclass(frozen, module = "foodstream.purchases")]
pub struct QualityReport(Judged);

#[pymethods]
impl QualityReport {
    /// How many messages were judged.
    #[getter]
    fn input_count(&self) -> u64 {
        self.0.counts.input
    }

    #[getter]
    fn accepted_count(&self) -> u64 {
        self.0.counts.accepted
    }

    #[getter]
    fn rejected_count(&self) -> u64 {
        self.0.counts.rejected
    }

    /// Messages by reason code, such as `too_small`; one with several reasons counts under each.
    #[getter]
    fn by_reason(&self) -> BTreeMap<String, u64> {
        self.0.reasons.by_reason.clone()
    }

    /// Messages by reason and column, such as `too_small:quantity`.
    #[getter]
    fn by_reason_and_column(&self) -> BTreeMap<String, u64> {
        self.0.reasons.by_reason_and_column.clone()
    }

    /// Valid rows, in the lake's columns.
    #[getter]
    fn accepted(&self) -> Rows {
        Rows::held(self.0.lake_schema.clone(), self.0.accepted.clone())
    }

    /// Rejected messages with their bytes and reasons; `offset` is the place in the list.
    #[getter]
    fn rejected(&self) -> Rows {
        Rows::held(self.0.quarantine_schema.clone(), self.0.rejected.clone())
    }

    /// The counts and reasons as a dict.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let Counts { input, accepted, rejected } = self.0.counts;
        let quality::Reasons { by_reason, by_reason_and_column } = &self.0.reasons;
        let members = json!({
            "input": input, "accepted": accepted, "rejected": rejected, "tagged": self.0.tagged,
            "by_reason": by_reason, "by_reason_and_column": by_reason_and_column,
        });
        convert::to_python(py, &members)
    }

    fn __bool__(&self) -> bool {
        self.0.is_clean()
    }

    fn __repr__(&self) -> String {
        let Counts { input, accepted, rejected } = self.0.counts;
        let reasons = json!(self.0.reasons.by_reason);
        format!("QualityReport(input={input}, accepted={accepted}, rejected={rejected}, by_reason={reasons})")
    }

    fn _repr_html_(&self) -> String {
        self.0.to_html()
    }
}
