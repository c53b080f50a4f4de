//! A configuration that was read once and can be used many times.

use std::sync::Arc;

use pyo3::prelude::*;

use super::convert;
use crate::config::Settings;

#[pyclass(frozen, module = "foodstream")]
#[derive(Debug)]
pub struct Config {
    settings: Arc<Settings>,
}

impl Config {
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings)
    }
}

#[pymethods]
impl Config {
    #[new]
    #[pyo3(signature = (config, *, overrides=None))]
    fn new(config: &Bound<'_, PyAny>, overrides: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        Ok(Config { settings: convert::settings(config, overrides)? })
    }

    fn __repr__(&self) -> String {
        format!("Config({})", summary(&self.settings))
    }
}

/// Table, topic and lake: what tells one pipeline from another, and no secret.
pub fn summary(settings: &Settings) -> String {
    let table = settings.postgres.as_ref().map(|postgres| format!("table={:?}", postgres.table));
    let topic = settings.kafka.as_ref().map(|kafka| format!("topic={:?}", kafka.topic));
    let lake = settings.lake.as_ref().map(|lake| format!("lake={:?}", lake.path));
    [table, topic, lake].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
