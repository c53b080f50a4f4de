//! Log events of library use, handed to Python's `logging` under `foodstream.*`; nothing is configured there.
//!
//! Worker threads need the GIL for an event that somebody wants; every call that waits for them has released it
//! (`wait`), so none can wait for the other; `shutdown` silences them in time. Events of other crates stay out: what matters of them we say ourselves.

use std::sync::OnceLock;

use log::LevelFilter;
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger, ResetHandle};

static CACHE: OnceLock<ResetHandle> = OnceLock::new();

pub fn connect(py: Python<'_>) -> PyResult<()> {
    let logger = Logger::new(py, Caching::LoggersAndLevels)?
        .filter(LevelFilter::Off)
        .filter_target("foodstream".to_owned(), LevelFilter::Debug);
    // A second interpreter of this process finds the first one's logger in place.
    if let Ok(cache) = logger.install() {
        let _ = CACHE.set(cache);
    }
    Ok(())
}

/// Levels are cached, so that an event nobody wants costs no GIL; each call looks at them anew.
pub fn refresh() {
    if let Some(cache) = CACHE.get() {
        cache.reset();
    }
}
