//! Arguments as they are given: what does not fit is refused in a sentence that says what to write instead.
//!
//! A wrong type is a `TypeError`, before which pyo3 puts the argument's name; a value out of range is a `ValueError`
//! that names it itself.

use std::time::Duration;

use chrono::NaiveDate;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

use super::errors;
use crate::error::Error;

fn wrong(expected: &str, given: &Bound<'_, PyAny>) -> PyErr {
    match given.get_type().name() {
        Ok(kind) => PyTypeError::new_err(format!("expected {expected}, not {kind}")),
        Err(error) => error,
    }
}

/// True or False; a text such as "no" would be true.
pub fn flag(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    given.cast::<PyBool>().map(|flag| flag.is_true()).map_err(|_| wrong("True or False", given))
}

fn is_number(given: &Bound<'_, PyAny>) -> bool {
    given.cast::<PyBool>().is_err() && (given.cast::<PyInt>().is_ok() || given.cast::<PyFloat>().is_ok())
}

/// A whole number or None; see [`at_least`].
pub fn whole(given: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    if given.is_none() {
        return Ok(None);
    }
    if given.cast::<PyBool>().is_ok() {
        return Err(wrong("a whole number, such as 5", given));
    }
    // With `__index__`, as numpy's integers have it.
    given.extract().map(Some).map_err(|_| match given.cast::<PyInt>() {
        Ok(_) => PyTypeError::new_err(format!("expected a whole number of at most 64 bits, not {given}")),
        Err(_) => wrong("a whole number, such as 5", given),
    })
}

/// A whole number; see [`at_least`].
pub fn count(given: &Bound<'_, PyAny>) -> PyResult<i64> {
    whole(given)?.ok_or_else(|| wrong("a whole number, such as 5", given))
}

/// The number where it is not below `least`.
pub fn at_least(least: u64, name: &str, given: i64) -> PyResult<u64> {
    u64::try_from(given)
        .ok()
        .filter(|&number| number >= least)
        .ok_or_else(|| PyValueError::new_err(format!("{name} is a whole number from {least} on, not {given}")))
}

/// A number or None.
pub fn number(given: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    match (given.is_none(), is_number(given)) {
        (true, _) => Ok(None),
        (false, true) => given.extract().map(Some),
        (false, false) => Err(wrong("a number, such as 2.5, or None", given)),
    }
}

/// A number of seconds; see [`seconds`].
pub fn time(given: &Bound<'_, PyAny>) -> PyResult<f64> {
    if is_number(given) { given.extract() } else { Err(wrong("a number of seconds, such as 2.5", given)) }
}

/// A number of seconds or None; see [`seconds`].
pub fn time_or_none(given: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    if given.is_none() { Ok(None) } else { time(given).map(Some) }
}

/// A number of seconds that is a time.
pub fn seconds(name: &str, given: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(given)
        .map_err(|_| PyValueError::new_err(format!("{name} is a number of seconds from 0 on, not {given}")))
}

/// Text.
pub fn text(given: &Bound<'_, PyAny>) -> PyResult<String> {
    given.extract().map_err(|_| wrong("a text (str)", given))
}

/// Text or None.
pub fn text_or_none(given: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if given.is_none() { Ok(None) } else { text(given).map(Some) }
}

/// Names of columns, or None; a text alone is taken for a mistake.
pub fn names(given: &Bound<'_, PyAny>) -> PyResult<Option<Vec<String>>> {
    if given.is_none() {
        return Ok(None);
    }
    let expected = "a list of column names, such as [\"amount\"]";
    if given.cast::<PyString>().is_ok() {
        return Err(wrong(expected, given));
    }
    let named = given.try_iter().and_then(|names| names.map(|name| name?.extract::<String>()).collect());
    named.map(Some).map_err(|_| wrong(expected, given))
}

/// What can be called before or after each step; it has to be done when it returns.
pub fn callable(name: &str, form: &str, given: &Bound<'_, PyAny>) -> PyResult<()> {
    if !given.is_callable() {
        let kind = given.get_type().name()?.to_string();
        return Err(PyTypeError::new_err(format!("{name} must be callable as {form}, not {kind}")));
    }
    let inspect = given.py().import("inspect")?;
    if inspect.call_method1("iscoroutinefunction", (given,))?.is_truthy()? {
        return Err(PyTypeError::new_err(format!("{name} must not be async: what follows does not wait for it")));
    }
    Ok(())
}

/// One day, as `YYYY-MM-DD` or a `datetime.date`, whose `str` it is.
pub fn day(name: &str, given: &Bound<'_, PyAny>) -> PyResult<NaiveDate> {
    let no_day = |_| {
        let words = format!("{name} is YYYY-MM-DD or a datetime.date, not {given}");
        errors::raise(given.py(), &Error::config(words))
    };
    given.str()?.to_string().parse().map_err(no_day)
}

/// The first and the last day of a pair, both inside; None leaves its side open.
pub fn days(given: &Bound<'_, PyAny>) -> PyResult<(Option<NaiveDate>, Option<NaiveDate>)> {
    let side = |side: Bound<'_, PyAny>| if side.is_none() { Ok(None) } else { day("a side of dates", &side).map(Some) };
    let pair: (Bound<'_, PyAny>, Bound<'_, PyAny>) = match given.cast::<PyString>() {
        Ok(_) => Err(wrong("a pair of days", given)),
        Err(_) => given.extract(),
    }
    .map_err(|_| {
        PyTypeError::new_err(format!(
            "dates is a pair of days, such as (\"2025-11-01\", \"2025-11-30\") with both inside and None for no limit; \
             for a single day write date={}",
            given.repr().map_or_else(|_| "…".to_owned(), |text| text.to_string())
        ))
    })?;
    match (side(pair.0)?, side(pair.1)?) {
        (Some(first), Some(last)) if first > last => {
            let words = format!("dates begins with its later day: write (\"{last}\", \"{first}\")");
            Err(errors::raise(given.py(), &Error::config(words)))
        }
        sides => Ok(sides),
    }
}
