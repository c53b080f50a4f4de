//! The Python boundary: converts and calls; the package `foodstream` gives these names their place.
//!
//! ```text
//! Producer, Consumer ─▶ handle (one session, one call at a time) ─▶ wait (no GIL, Ctrl-C heard) ─▶ pipeline
//! StreamingJob ─▶ Consumer, with the texts of cli::purchases     EventProducer ─▶ handle ─▶ tools::purchases
//! DataValidator ─▶ tools::quality
//! Batch, read ─▶ arrow (capsules) · errors (exceptions) · logging (events to `logging`) · main ─▶ cli
//! ```
//! Classes are frozen: what changes stands behind locks, and every wait for one has released the GIL.

mod arrow;
mod awaiting;
mod consumer;
mod convert;
mod doctor;
mod errors;
mod event_producer;
mod functions;
mod given;
mod handle;
mod html;
mod logging;
mod looking;
mod messages;
mod producer;
mod progress;
mod report;
mod shutdown;
mod streaming_job;
mod validator;
mod wait;

use pyo3::prelude::*;

// Free threading is not declared: nothing of ours needs the GIL that we know of, but no test has run without it.
#[pymodule(gil_used = true)]
mod _core {
    use super::*;

    #[pymodule_export]
    use super::arrow::Rows;
    #[pymodule_export]
    use super::consumer::{Batch, Consumer};
    #[pymodule_export]
    use super::convert::Config;
    #[pymodule_export]
    use super::doctor::{DoctorReport, doctor};
    #[pymodule_export]
    use super::event_producer::{EventProducer, EventProgress};
    #[pymodule_export]
    use super::functions::{insert_test_orders, main, totals, verify_pipeline};
    #[pymodule_export]
    use super::looking::{peek, quarantine, read};
    #[pymodule_export]
    use super::producer::Producer;
    #[pymodule_export]
    use super::progress::{LakeProgress, Progress};
    #[pymodule_export]
    use super::report::Report;
    #[pymodule_export]
    use super::streaming_job::StreamingJob;
    #[pymodule_export]
    use super::validator::{DataValidator, QualityReport};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        wait::remember_process();
        let python = module.py().version_info();
        crate::tools::doctor::runs_in(&format!("Python {}.{}.{}", python.major, python.minor, python.patch));
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        errors::register(module)?;
        logging::connect(module.py())?;
        shutdown::connect(module.py())
    }
}
