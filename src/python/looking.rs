//! Functions that look and change nothing: committed rows, rejected rows, and what stands in topic and table.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use super::arrow::Rows;
use super::{convert, errors, given, wait};
use crate::cli::runtime;
use crate::config::Settings;
use crate::error::Error;
use crate::lake::read::{DayRange, ReadOptions, Root};
use crate::tools::{self, PeekFrom, Wanted};

/// A function over files, with the arguments that leave most of them unopened.
macro_rules! pruned {
    ($(#[$doc:meta])* $name:ident($source:ident), $root:expr, $look:expr) => {
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = ($source, *, columns=None, date=None, dates=None, snapshot=None, overrides=None))]
        pub fn $name(
            py: Python<'_>,
            $source: &Bound<'_, PyAny>,
            #[pyo3(from_py_with = given::names)] columns: Option<Vec<String>>,
            date: Option<&Bound<'_, PyAny>>,
            dates: Option<&Bound<'_, PyAny>>,
            #[pyo3(from_py_with = given::whole)] snapshot: Option<i64>,
            overrides: Option<&Bound<'_, PyAny>>,
        ) -> PyResult<Rows> {
            $look(py, $source, overrides, wanted($root, columns, date, dates, snapshot)?)
        }
    };
}

pruned! {
    /// Return the committed rows of a lake, named by its configuration or its folder.
    read(source), Root::Lake, committed
}

pruned! {
    /// Return the rejected messages of a lake, with their bytes, position and reasons.
    quarantine(config), Root::Quarantine, rejected
}

fn committed(
    py: Python<'_>,
    source: &Bound<'_, PyAny>,
    overrides: Option<&Bound<'_, PyAny>>,
    wanted: Wanted,
) -> PyResult<Rows> {
    let Some(folder) = source.extract::<PathBuf>().ok().filter(|path| path.is_dir()) else {
        return rows(py, Some(convert::settings(source, overrides)?), None, wanted);
    };
    let refused = match (overrides, wanted.snapshot) {
        (Some(_), _) => Some(
            "a folder has no settings that overrides could stand above: leave them out, or give the configuration of the lake",
        ),
        (None, Some(_)) => Some("a folder has no commits: give the configuration of the lake to read a snapshot"),
        (None, None) => None,
    };
    match refused {
        Some(words) => Err(errors::raise(py, &Error::config(words))),
        None => rows(py, None, Some(folder), wanted),
    }
}

fn rejected(
    py: Python<'_>,
    config: &Bound<'_, PyAny>,
    overrides: Option<&Bound<'_, PyAny>>,
    wanted: Wanted,
) -> PyResult<Rows> {
    rows(py, Some(convert::settings(config, overrides)?), None, wanted)
}

fn wanted(
    root: Root,
    columns: Option<Vec<String>>,
    date: Option<&Bound<'_, PyAny>>,
    dates: Option<&Bound<'_, PyAny>>,
    snapshot: Option<i64>,
) -> PyResult<Wanted> {
    let days = match (date, dates) {
        (Some(_), Some(_)) => return Err(PyTypeError::new_err("give date for one day or dates for several, not both")),
        (Some(date), None) => DayRange::only(given::day("date", date)?),
        (None, Some(dates)) => {
            let (first, last) = given::days(dates)?;
            DayRange { first, last }
        }
        (None, None) => DayRange::default(),
    };
    let snapshot = snapshot.map(|number| given::at_least(0, "snapshot", number)).transpose()?;
    Ok(Wanted { root, snapshot, options: ReadOptions { columns, days, date_column: true, ..ReadOptions::default() } })
}

fn rows(py: Python<'_>, settings: Option<Arc<Settings>>, folder: Option<PathBuf>, wanted: Wanted) -> PyResult<Rows> {
    wait::for_look(py, move || {
        let found = tools::read_rows(settings.as_deref(), folder.as_deref(), &wanted)?;
        let (reader, len) = (found.reader, usize::try_from(found.rows).unwrap_or(usize::MAX));
        Ok(Rows::new(found.schema, len, move || Box::new(reader.batches(wanted.options.clone()))))
    })
}

/// Return the newest messages of the topic, or the newest rows of the table, without moving anything.
#[pyfunction]
#[pyo3(signature = (config, what, *, n=20, topic=None, partition=None, offset=None, timestamp=None, overrides=None))]
#[allow(clippy::too_many_arguments)] // they are Python's, by name
pub fn peek(
    py: Python<'_>,
    config: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = given::text)] what: String,
    #[pyo3(from_py_with = given::count)] n: i64,
    #[pyo3(from_py_with = given::text_or_none)] topic: Option<String>,
    #[pyo3(from_py_with = given::whole)] partition: Option<i64>,
    #[pyo3(from_py_with = given::whole)] offset: Option<i64>,
    timestamp: Option<&Bound<'_, PyAny>>,
    overrides: Option<&Bound<'_, PyAny>>,
) -> PyResult<Rows> {
    let n = given::at_least(1, "n", n)?;
    let timestamp_ms = timestamp.map(milliseconds).transpose()?;
    let partition = partition.map(|number| given::at_least(0, "partition", number)).transpose()?;
    let partition = partition.map(|number| i32::try_from(number).unwrap_or(i32::MAX));
    let offset = offset.map(|number| given::at_least(0, "offset", number)).transpose()?;
    let offset = offset.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    if offset.is_some() && timestamp_ms.is_some() {
        return Err(PyTypeError::new_err("give offset or timestamp as the place to begin at, not both"));
    }
    match what.as_str() {
        "topic" => {
            let settings = convert::settings(config, overrides)?;
            let from = PeekFrom { partition, offset, timestamp_ms };
            let limit = usize::try_from(n).unwrap_or(usize::MAX);
            let look = move || tools::peek_topic_rows(&settings, topic.as_deref(), limit, from);
            held(wait::for_look(py, look)?)
        }
        "table" if topic.is_some() || partition.is_some() || offset.is_some() || timestamp_ms.is_some() => Err(
            PyTypeError::new_err("topic, partition, offset and timestamp are of a topic: leave them out for \"table\""),
        ),
        "table" => {
            let settings = convert::settings(config, overrides)?;
            let look = move || runtime::shared()?.block_on(tools::peek_table_rows(&settings, n));
            held(wait::for_look(py, look)?)
        }
        other => Err(PyValueError::new_err(format!("peek looks into \"topic\" or \"table\", not {other:?}"))),
    }
}

fn held(rows: RecordBatch) -> PyResult<Rows> {
    Ok(Rows::held(rows.schema(), vec![rows]))
}

/// A moment of the broker's clock: `datetime.datetime` with a zone, or seconds since 1970 as `time.time()` counts them.
fn milliseconds(given: &Bound<'_, PyAny>) -> PyResult<i64> {
    let words = "timestamp is a datetime with a zone, such as datetime.now(UTC), or seconds since 1970";
    if let Ok(Some(seconds)) = given::number(given) {
        let valid = seconds.is_finite() && seconds >= 0.0;
        return if valid {
            Ok((seconds * 1000.0).round() as i64)
        } else {
            Err(PyValueError::new_err(format!("{words}; not {given}")))
        };
    }
    match given.getattr("tzinfo") {
        Ok(zone) if !zone.is_none() => {
            let seconds: f64 = given.call_method0("timestamp")?.extract()?;
            Ok((seconds * 1000.0).round() as i64)
        }
        Ok(_) => Err(PyValueError::new_err(format!("{words}; {given} has none"))),
        Err(_) => Err(PyTypeError::new_err(format!("{words}; not {given}"))),
    }
}
