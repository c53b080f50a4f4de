//! `foodstream.purchases.EventProducer`: generated purchase events, as dicts or onto their topic.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyException, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};
use serde_json::Value;

use super::handle::Handle;
use super::wait::Tell;
use super::{awaiting, convert, errors, given, html, messages, progress};
use crate::clock::{Clock, SystemClock};
use crate::config::{Preset, Settings};
use crate::error::{Error, Result};
use crate::model::Counts;
use crate::pipeline::Stop;
use crate::pipeline::progress::{BatchReport, Query, Reports, Role, Span};
use crate::tools::purchases::{self, EventStream, Lost, Pace, Produced, SharedGenerator};

/// What a generated event is keyed by.
const KEY_FIELD: &str = "customer_id";

/// Long enough for somebody to read it, short enough to see that it goes on.
const REPORTS_EVERY: Duration = Duration::from_secs(1);

struct Session {
    stream: EventStream,
    stop: Stop,
    reports: Reports,
}

/// Reports of a run: at most one a second, and one at its end.
struct Reporting {
    reports: Reports,
    run_id: String,
    topic: String,
    told: u64,
    number: u64,
    last: Instant,
}

impl Reporting {
    fn look(&mut self, sent: u64) {
        if SystemClock.instant().duration_since(self.last) >= REPORTS_EVERY {
            self.report(sent);
        }
    }

    fn report(&mut self, sent: u64) {
        let now = SystemClock.instant();
        let events = sent - std::mem::replace(&mut self.told, sent);
        if events == 0 {
            return;
        }
        let taken = now.duration_since(std::mem::replace(&mut self.last, now));
        let report = BatchReport {
            role: Role::Generator,
            batch_id: self.number,
            finished: SystemClock.now(),
            counts: Counts { input: events, accepted: events, rejected: 0 },
            duration: taken,
            since_last: Some(taken),
            phases: Vec::new(),
            events: None,
            source: "generator".to_owned(),
            span: Span::Offsets { ranges: Vec::new(), ends: Vec::new() },
            behind: None,
            sink: format!("Kafka[{}]", self.topic),
            written: None,
        };
        self.number += 1;
        let query = Query::new(&self.topic, &format!("generator {}", self.topic));
        self.reports.push(report.to_json(&self.run_id, &query));
    }
}

/// Makes realistic purchase events and publishes them.
#[pyclass(frozen, module = "foodstream.purchases")]
pub struct EventProducer {
    handle: Handle<Session>,
    generator: SharedGenerator,
    /// Of a session that a stop ended before its events were delivered.
    lost: Lost,
}

impl EventProducer {
    /// Raises, once, what a session that is gone could not deliver.
    fn own_up(&self, py: Python<'_>) -> PyResult<()> {
        match self.lost.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(errors::raise(py, &error)),
            None => Ok(()),
        }
    }

    fn opener(&self) -> impl FnOnce(&Settings, &Stop) -> Result<(Session, Reports)> + use<> {
        let (generator, lost) = (self.generator.clone(), self.lost.clone());
        move |settings, stop| {
            let asked = stop.clone();
            let stream = EventStream::open(settings, generator, Arc::new(move || asked.is_requested()), lost)?;
            let reports = Reports::default();
            Ok((Session { stream, stop: stop.clone(), reports: reports.clone() }, reports))
        }
    }
}

#[pymethods]
impl EventProducer {
    #[new]
    #[pyo3(signature = (config, *, overrides=None))]
    fn new(config: &Bound<'_, PyAny>, overrides: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let settings = convert::settings_over(Preset::Purchases, config, overrides)?;
        let generator = purchases::generator(&settings.events);
        Ok(EventProducer { handle: Handle::new("EventProducer", settings), generator, lost: Lost::default() })
    }

    /// Make the next event and return it; nothing is sent.
    fn generate<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (_, value) = purchases::next_event(&self.generator);
        let options = PyDict::new(py);
        options.set_item("parse_float", py.import("decimal")?.getattr("Decimal")?)?;
        py.import("json")?.call_method("loads", (PyBytes::new(py, &value),), Some(&options))
    }

    /// Send one event; flush() waits for its delivery.
    #[pyo3(signature = (event, *, key=None))]
    fn publish(&self, py: Python<'_>, event: &Bound<'_, PyAny>, key: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let value = messages::bytes(event)?.ok_or_else(|| PyTypeError::new_err("an event is a dict, str or bytes"))?;
        let (key, value) = (key_of(&value, key)?, value.into_owned());
        let work = move |session: &mut Session| session.stream.publish(&key, &value);
        errors::or_stopped(py, self.handle.call(py, self.opener(), work)?, ())?;
        self.own_up(py)
    }

    /// Wait until everything published is in the topic.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        // Without a session nothing was published.
        let open = |_: &Settings, _: &Stop| Err(Error::interrupted());
        errors::or_stopped(py, self.handle.call(py, open, |session| session.stream.flush())?, ())?;
        self.own_up(py)
    }

    /// Generate and publish until stop(), Ctrl-C or a limit.
    #[pyo3(signature = (*, max_events=None, rate=None, timeout=None, on_progress=None))]
    fn run(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = given::whole)] max_events: Option<i64>,
        #[pyo3(from_py_with = given::number)] rate: Option<f64>,
        #[pyo3(from_py_with = given::time_or_none)] timeout: Option<f64>,
        on_progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<EventProgress> {
        progress::refuse_unfit(on_progress)?;
        let max_events = max_events.map(|most| given::at_least(0, "max_events", most)).transpose()?;
        let events = &self.handle.settings.events;
        let max_events = max_events.or(events.max_events);
        let rate = match rate {
            None => events.rate,
            Some(f64::INFINITY) => None,
            Some(rate) if rate > 0.0 => Some(rate),
            Some(rate) => {
                let words = format!("rate is events a second, above 0, math.inf for no limit; not {rate}");
                return Err(PyValueError::new_err(words));
            }
        };
        let timeout = timeout.map(|value| given::seconds("timeout", value)).transpose()?;
        let (watched, run_id) = (on_progress.is_some(), self.handle.run_id.clone());
        let topic = self.handle.settings.kafka.as_ref().map(|kafka| kafka.topic.clone()).unwrap_or_default();
        let work = move |session: &mut Session, tell: Tell| {
            let Session { stream, stop, reports } = session;
            let (number, last) = (0, SystemClock.instant());
            let mut reporting = Reporting { reports: reports.clone(), run_id, topic, told: 0, number, last };
            progress::watching(watched, reports, tell, || {
                let mut look = |sent: &Produced| reporting.look(sent.events);
                let pace = Pace { timeout, wait: &mut |pause| stop.wait(pause), progress: &mut look };
                let done = stream.run(rate, max_events, pace)?;
                reporting.report(done.events);
                Ok(done)
            })
        };
        let told = |told| progress::tell(py, on_progress, told);
        let done = self.handle.telling_call(py, self.opener(), work, told)?;
        errors::or_stopped(py, done, Produced::default()).map(EventProgress::from)
    }

    /// The same, to be awaited; cancelling it stops the run.
    #[pyo3(signature = (**options), text_signature = "($self, *, max_events=None, rate=None, timeout=None, on_progress=None)")]
    fn arun<'py>(this: &Bound<'py, Self>, options: Option<Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
        awaiting::run(this, options)
    }

    /// End the run in another thread; what it sent is delivered first. Nothing if there is none.
    fn stop(&self) {
        self.handle.stop();
    }

    /// Deliver what was published and let go of the connections. May be called again.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        // A run under way delivers by itself.
        let flushed = if self.handle.state() == "idle" { self.flush(py) } else { Ok(()) };
        // After a Ctrl-C the flush ends by itself.
        if flushed.as_ref().is_err_and(|raised| !raised.is_instance_of::<PyException>(py)) {
            self.handle.let_go();
            return flushed;
        }
        self.handle.close(py)?;
        flushed.and_then(|()| self.own_up(py))
    }

    /// What it is doing: `message` is idle, running, stopping or closed.
    #[getter]
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.handle.status(py)
    }

    /// The last report of a run, in the words of Spark's StreamingQueryProgress.
    #[getter]
    fn last_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.handle.last_progress(py)
    }

    /// The last hundred reports.
    #[getter]
    fn recent_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.handle.recent_progress(py)
    }

    fn __aenter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        awaiting::entered(this)
    }

    #[pyo3(signature = (*_exception))]
    fn __aexit__<'py>(this: &Bound<'py, Self>, _exception: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        awaiting::close(this)
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        self.handle.repr()
    }
}

/// The key that was given, or the customer of the event; without either the key is empty.
fn key_of(event: &[u8], key: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<u8>> {
    if let Some(key) = key {
        if key.cast::<PyString>().is_err() && key.cast::<PyBytes>().is_err() {
            let kind = key.get_type().name()?.to_string();
            return Err(PyTypeError::new_err(format!("key is a str or bytes, not {kind}")));
        }
        return Ok(messages::bytes(key)?.unwrap_or_default().into());
    }
    let event: Option<Value> = serde_json::from_slice(event).ok();
    let customer = event.as_ref().and_then(|event| event.get(KEY_FIELD)?.as_str());
    Ok(customer.unwrap_or_default().into())
}

/// What a run of the event producer has done.
#[pyclass(frozen, get_all, module = "foodstream.purchases")]
pub struct EventProgress {
    events: u64,
    valid: u64,
    /// By the way in which they are broken.
    invalid: BTreeMap<&'static str, u64>,
    duplicates: u64,
    /// Events that did not reach the topic.
    delivery_errors: u64,
    seconds: f64,
}

impl From<Produced> for EventProgress {
    fn from(run: Produced) -> Self {
        let Produced { events, valid, invalid, duplicates, delivery_errors, seconds } = run;
        EventProgress { events, valid, invalid, duplicates, delivery_errors, seconds }
    }
}

#[pymethods]
impl EventProgress {
    fn __repr__(&self) -> String {
        let EventProgress { events, valid, duplicates, delivery_errors, seconds, .. } = self;
        let invalid: u64 = self.invalid.values().sum();
        let counts = format!("events={events}, valid={valid}, invalid={invalid}, duplicates={duplicates}");
        format!("EventProgress({counts}, delivery_errors={delivery_errors}, seconds={seconds:.3})")
    }

    fn _repr_html_(&self) -> String {
        let EventProgress { events, valid, duplicates, delivery_errors, .. } = self;
        let invalid: u64 = self.invalid.values().sum();
        let seconds = format!("{:.3}", self.seconds);
        html::facts(
            "events produced",
            &[
                ("events", events),
                ("valid", valid),
                ("invalid", &invalid),
                ("duplicates", duplicates),
                ("delivery errors", delivery_errors),
                ("seconds", &seconds),
            ],
        )
    }
}
