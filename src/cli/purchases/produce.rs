//! `purchases produce`: the event generator, with a progress bar on a terminal and the counts at the end.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;

use crate::cli::args::PurchasesProduce;
use crate::cli::session::Session;
use crate::cli::{signals, status, streams};
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::pipeline::monitor::{Monitor, Phase, Service};
use crate::serve::Role;
use crate::tools::purchases::{self, EventStream, Lost, Pace, Produced};

/// Of a run whose events did not all arrive.
const EXIT_UNDELIVERED: i32 = 1;

pub fn run(args: &PurchasesProduce, session: &mut Session) -> Result<i32> {
    let flags = [flags(args), status::flags(args.status.status_port)].concat();
    let settings = Arc::new(session.begin_purchases_with(&args.common, flags)?);
    let monitor = Monitor::default();
    let stop = signals::stop_on_signals()?;
    let bar = bar(&settings);
    let (stopping, shown, timeout) = (stop.clone(), bar.clone(), args.timeout);
    let topic = settings.require_kafka()?.topic.clone();
    tracing::info!(target: "foodstream::purchases", "Publishing purchase events to Kafka topic: {topic}");
    let server = status::start(&settings, Role::Generator, session, &monitor, &stop);
    let done = streams::until_stopped(&stop, move || {
        let generator = purchases::generator(&settings.events);
        let asked = stopping.clone();
        let mut stream =
            EventStream::open(&settings, generator, Arc::new(move || asked.is_requested()), Lost::default())?;
        monitor.answered(Service::Kafka);
        monitor.enter(Phase::Running);
        let mut wait = |pause| stopping.wait(pause);
        let mut progress = |done: &Produced| {
            shown.set_position(done.events);
            monitor.count_rows(done.events);
        };
        let pace = Pace { timeout, wait: &mut wait, progress: &mut progress };
        stream.run(settings.events.rate, settings.events.max_events, pace)
    });
    bar.finish_and_clear();
    let done = status::end(server, done)?;
    let Some(done) = done else {
        let words =
            format!("stopped while kafka did not answer; of {} events nobody knows which arrived", bar.position());
        return Err(Error::new(Kind::Broker, words));
    };
    tracing::info!(
        target: "foodstream::purchases",
        operation = "produce",
        events = done.events,
        delivery_errors = done.delivery_errors,
        duration_ms = (done.seconds * 1e3) as u64,
        "Published events"
    );
    report(session, &done, &topic);
    Ok(if done.delivery_errors == 0 { 0 } else { EXIT_UNDELIVERED })
}

/// Flags are settings: they stand above file and environment in the same way, and are checked the same.
fn flags(args: &PurchasesProduce) -> Vec<String> {
    let flag = |key: &str, value: Option<String>| value.map(|value| format!("producer.{key}={value}"));
    [
        flag("rate", args.rate.clone()),
        flag("max_events", args.max_events.map(|events| events.to_string())),
        flag("seed", args.seed.map(|seed| seed.to_string())),
        flag("invalid_share", args.invalid_share.map(|share| share.to_string())),
        flag("duplicate_share", args.duplicate_share.map(|share| share.to_string())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Hidden where nobody watches.
fn bar(settings: &Settings) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match settings.events.max_events {
        Some(events) => (ProgressBar::new(events), "{bar:40} {human_pos} of {human_len} events, {rate}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} events, {rate}, {elapsed}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.with_key("rate", rate)),
        Err(_) => bar,
    }
}

/// Whole events: indicatif's own has four digits of a fraction.
fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    let _ = write!(out, "{:.0}/s", state.per_sec());
}

fn report(session: &mut Session, done: &Produced, topic: &str) {
    let Produced { events, valid, invalid, duplicates, delivery_errors, seconds } = done;
    let rate = *events as f64 / seconds.max(1e-6);
    session.out.line(format_args!("Published {events} events to {topic} in {seconds:.1} s, {rate:.0} a second"));
    let broken: u64 = invalid.values().sum();
    if broken + duplicates > 0 {
        session.out.line(format_args!("{valid} valid, {broken} invalid on request, {duplicates} repeated on request"));
    }
    if *delivery_errors > 0 {
        session.out.line(format_args!("{delivery_errors} events were not delivered; the log says why"));
    }
    session.out.report(&json!({
        "events": events, "valid": valid, "invalid": invalid, "duplicates": duplicates,
        "delivery_errors": delivery_errors, "seconds": seconds, "rate": rate, "topic": topic,
        "run_id": session.run_id,
    }));
}
