//! `foodstream.purchases.DataValidator`: messages in, a `QualityReport` out.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use serde_json::json;

use super::arrow::Rows;
use super::{convert, errors, messages, wait};
use crate::config::{Preset, Settings};
use crate::model::Counts;
use crate::tools::quality::{self, Judged, MessageChunks};

/// A Ctrl-C is heard after so many messages: taking them from a list is no step of Python's.
const MESSAGES_BETWEEN_SIGNALS: usize = 1_000;

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
        if messages::is_one(messages)? {
            return Err(PyTypeError::new_err("validate() takes a list of messages; put a single one into a list"));
        }
        let Ok(given) = messages.try_iter() else {
            let kind = messages.get_type().name()?.to_string();
            return Err(PyTypeError::new_err(format!("expected a list of messages, not {kind}")));
        };
        for (index, message) in given.enumerate() {
            if index % MESSAGES_BETWEEN_SIGNALS == 0 {
                py.check_signals()?;
            }
            let message = message?;
            let bytes = messages::bytes(&message).inspect_err(|error| {
                let _ = error.value(py).call_method1("add_note", (format!("in message {index}"),));
            })?;
            chunks.push(bytes.as_deref());
        }
        let settings = self.0.clone();
        wait::for_look(py, move || quality::judge(&settings, &chunks)).map(QualityReport)
    }

    fn __repr__(&self) -> String {
        format!("DataValidator({})", convert::summary(&self.0))
    }
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
