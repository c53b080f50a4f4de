//! Values across the border: configurations in, reports out.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping, PyString};
use serde_json::Value;

use super::{errors, logging};
use crate::config::{Overrides, Preset, Settings};
use crate::error::Error;
use crate::pipeline::session;

/// A configuration that was read once and can be used many times.
#[pyclass(frozen, module = "foodstream")]
pub struct Config(Arc<Settings>);

#[pymethods]
impl Config {
    #[new]
    #[pyo3(signature = (config, *, preset=None, overrides=None))]
    fn new(config: &Bound<'_, PyAny>, preset: Option<&str>, overrides: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let preset = preset.map(str::parse).transpose();
        let preset = preset.map_err(|words: String| errors::raise(config.py(), &Error::config(words)))?;
        loaded(Preferred { preset, ..Preferred::default() }, config, overrides).map(Config)
    }

    fn __repr__(&self) -> String {
        format!("Config({})", summary(&self.0))
    }
}

/// Table, topic and lake: what tells one pipeline from another, and no secret.
pub fn summary(settings: &Settings) -> String {
    let table = settings.postgres.as_ref().map(|postgres| format!("table={:?}", postgres.table));
    let topic = settings.kafka.as_ref().map(|kafka| format!("topic={:?}", kafka.topic));
    let lake = settings.lake.as_ref().map(|lake| format!("lake={:?}", lake.path));
    [table, topic, lake].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Settings from a path, from nested dicts, or from a `Config`, with `overrides` above the environment.
pub fn settings(config: &Bound<'_, PyAny>, overrides: Option<&Bound<'_, PyAny>>) -> PyResult<Arc<Settings>> {
    loaded(Preferred::default(), config, overrides)
}

/// The same for a class of one pipeline: over its preset, and refused where another one is named.
pub fn settings_over(
    preset: Preset,
    config: &Bound<'_, PyAny>,
    overrides: Option<&Bound<'_, PyAny>>,
) -> PyResult<Arc<Settings>> {
    loaded(Preferred { made_for: Some(preset), ..Preferred::default() }, config, overrides)
}

/// What is said of the preset outside of the configuration.
#[derive(Clone, Copy, Default)]
struct Preferred {
    preset: Option<Preset>,
    made_for: Option<Preset>,
}

fn loaded(
    preferred: Preferred,
    config: &Bound<'_, PyAny>,
    overrides: Option<&Bound<'_, PyAny>>,
) -> PyResult<Arc<Settings>> {
    let py = config.py();
    let raise = |error: Error| errors::raise(py, &error);
    if let Ok(ready) = config.cast::<Config>() {
        if overrides.is_some() || preferred.preset.is_some() {
            let words = "a Config has its settings already: give preset and overrides to the first Config(…)";
            return Err(raise(Error::config(words)));
        }
        let settings = ready.get().0.clone();
        preferred.made_for.map_or(Ok(()), |wanted| settings.require_preset(wanted)).map_err(raise)?;
        return Ok(settings);
    }
    let directory = std::env::current_dir()
        .map_err(|error| raise(Error::config("the working directory is gone").because(error)))?;
    let mut layers = Overrides::from_process(&directory).map_err(raise)?;
    layers.preset = preferred.preset;
    layers.made_for = preferred.made_for;
    layers.tree = overrides.map(|given| tree(given, OVERRIDES)).transpose()?;
    // This waits for no service, so it runs on the caller's thread, where no other would catch a panic.
    let loaded = match config.extract::<PathBuf>() {
        Ok(path) => session::caught(|| Settings::load(&path, &layers)),
        // What a program writes out is meant: it stands above the environment, as overrides do.
        Err(_) => {
            let layers = layers.over(tree(config, CONFIG)?);
            session::caught(|| Settings::in_memory(&layers))
        }
    };
    let settings = loaded.map_err(raise)?;
    logging::refresh();
    settings.log_notes();
    Ok(Arc::new(settings))
}

const CONFIG: &str = "a path, a mapping of sections, or a Config";
const OVERRIDES: &str = "overrides as a mapping of sections, such as {\"cdc\": {\"batch_limit\": 500}}";

/// Nested dicts, lists and scalars by way of Python's own `json`, paths as text.
fn tree(value: &Bound<'_, PyAny>, expected: &str) -> PyResult<Value> {
    let py = value.py();
    if value.cast::<PyMapping>().is_err() {
        let kind = value.get_type().name()?.to_string();
        let words = format!("expected {expected}, not {kind}");
        return Err(errors::raise(py, &Error::config(words)));
    }
    let options = PyDict::new(py);
    options.set_item("default", py.import("os")?.getattr("fspath")?)?;
    let plain = py.get_type::<PyDict>().call1((value,))?;
    let text = py.import("json")?.call_method("dumps", (plain,), Some(&options)).map_err(|error| {
        errors::raise(py, &Error::config(format!("the configuration holds a value YAML has no word for: {error}")))
    })?;
    serde_json::from_str(text.cast::<PyString>()?.to_str()?)
        .map_err(|error| errors::raise(py, &Error::config("the configuration is no valid JSON").because(error)))
}

pub fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(flag) => flag.into_pyobject(py)?.to_owned().into_any(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into_pyobject(py)?.into_any(),
            (None, Some(number)) => number.into_pyobject(py)?.into_any(),
            (None, None) => number.as_f64().into_pyobject(py)?,
        },
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_python(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(members) => {
            let dict = PyDict::new(py);
            for (key, member) in members {
                dict.set_item(key, to_python(py, member)?)?;
            }
            dict.into_any()
        }
    })
}
