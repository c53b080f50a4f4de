//! `producer` and `consumer`: the two loops, until they are stopped or their bounds are reached.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::args::{Consumer, Producer};
use super::session::Session;
use super::{runtime, signals, status};
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::pipeline::compose::{self, ConsumerRun, ProducerRun};
use crate::pipeline::monitor::Monitor;
use crate::pipeline::progress::{Ingested, Published};
use crate::pipeline::{Stop, ingest, replicate};
use crate::serve::Role;
use crate::tools::doctor::{Check, DoctorOptions, Section, complaints, doctor};

/// What `doctor` checks of what the producer needs.
const PRODUCERS_SIDE: [Section; 2] = [Section::Postgres, Section::Kafka];

pub fn producer(args: &Producer, session: &mut Session) -> Result<i32> {
    let settings = Arc::new(session.begin_with(&args.common, status::flags(args.status.status_port))?);
    let monitor = Monitor::default();
    let run = ProducerRun {
        start_from: args.start_from.clone(),
        adopt: args.adopt,
        once_wait: args.waits.once_wait,
        run_id: session.run_id.clone(),
        monitor: monitor.clone(),
    };
    let stop = signals::stop_on_signals()?;
    if args.dry_run {
        let stopping = stop.clone();
        let planned = until_stopped(&stop, move || {
            let plan = runtime::shared()?.block_on(compose::producer_plan(&settings, &run, &stopping))?;
            let examined =
                runtime::shared()?.block_on(doctor(&settings, &DoctorOptions { sections: PRODUCERS_SIDE.into() }))?;
            Ok((plan, examined))
        })?;
        let Some((plan, mut examined)) = planned else { return Ok(left_undone(session)) };
        plan.lines.iter().for_each(|line| session.out.line(line));
        // Whether somebody consumes is no matter of the producer's.
        examined.findings.retain(|finding| finding.check != Check::Group);
        // What the plan warns of is among them, with its remedy.
        complaints(&examined).iter().for_each(|line| session.out.line(line));
        session.out.report(&json!({
            "plan": plan.lines, "warnings": plan.warnings, "checks": examined.to_json()["checks"],
        }));
        return Ok(0);
    }
    let bounds = replicate::Bounds { once: args.once, max_rows: args.max_rows, timeout: args.waits.timeout };
    let bounded = bounds.once || bounds.timeout.is_some();
    let server = status::start(&settings, Role::Producer, session, &monitor, &stop);
    let stopping = stop.clone();
    let done = until_stopped(&stop, move || {
        runtime::wait_for(async {
            let mut producer = compose::producer(&settings, &run, bounded, &stopping).await?;
            producer.run(bounds).await
        })
    });
    let done = status::end(server, done)?;
    let Some(done) = done else { return Ok(left_undone(session)) };
    let Published { rows, transactions, polls, cursor, seconds } = done;
    let cursor = cursor.map(|cursor| cursor.to_string());
    let position = cursor.as_deref().unwrap_or("none");
    session.out.line(format_args!(
        "Published {rows} rows in {transactions} transactions, {seconds:.1} s; position: {position}"
    ));
    session.out.report(&json!({
        "rows": rows, "transactions": transactions, "polls": polls, "cursor": cursor, "seconds": seconds,
        "run_id": session.run_id,
    }));
    Ok(0)
}

macro_rules! say {
    ($($words:tt)*) => { tracing::info!(target: "foodstream::consumer", $($words)*) };
}

/// A clean stop takes less than two seconds; leaving takes some of them.
const STOP_PATIENCE: Duration = Duration::from_millis(1_700);

const RULE: &str = "========================================";

pub fn consumer(args: &Consumer, session: &mut Session) -> Result<i32> {
    let settings = Arc::new(session.begin_with(&args.common, status::flags(args.status.status_port))?);
    let stop = signals::stop_on_signals()?;
    let monitor = Monitor::default();
    let (once_wait, run_id) = (args.waits.once_wait, session.run_id.clone());
    let run = ConsumerRun { once_wait, run_id, monitor: monitor.clone() };
    let bounds = ingest::Bounds {
        available_now: args.once,
        max_batches: args.max_batches,
        timeout: args.waits.timeout.or(settings.consumer.await_termination_timeout),
    };
    let bounded = bounds.is_bounded();
    let server = status::start(&settings, Role::Consumer, session, &monitor, &stop);
    say!("{RULE}");
    say!("STARTING STRUCTURED STREAMING");
    say!("{RULE}");
    say!("STEP 1: Reading from Kafka topic...");
    let stopping = stop.clone();
    let done = until_stopped(&stop, move || {
        let mut ingest = compose::consumer(&settings, &run, bounded, &stopping)?;
        started(&settings, bounds)?;
        let done = ingest.run(bounds);
        let closed = ingest.close();
        done.and_then(|done| closed.map(|()| done))
    });
    let Some(done) = status::end(server, done)? else { return Ok(left_undone(session)) };
    report(session, &done);
    Ok(0)
}

/// The last words of a run that ended without its figures. Returns the exit code: nothing is lost.
pub(super) fn left_undone(session: &mut Session) -> i32 {
    session.out.line("Stopped while a service did not answer: what was committed stays, the rest comes again");
    session.out.report(&json!({ "left_undone": true, "run_id": session.run_id }));
    0
}

/// The documents' steps, each with what it stands for here as fields; all of them hold once the stream is composed.
fn started(settings: &Settings, bounds: ingest::Bounds) -> Result<()> {
    let (kafka, lake) = (settings.require_kafka()?, settings.require_lake()?);
    let (topic, group) = (kafka.topic.as_str(), kafka.consumer_group.as_str());
    say!(topic, group, "Kafka stream initialized");
    let columns = settings.schema.as_ref().map_or("orders", |_| "configured");
    say!(columns, "STEP 2: Parsing JSON messages...");
    let drop_invalid_rows = settings.validation.drop_invalid_rows;
    say!(drop_invalid_rows, "STEP 3: Applying data validation...");
    let timezone = lake.partition_timezone.name();
    say!(timezone, "STEP 4: Adding date partition...");
    let path = lake.path.display().to_string();
    say!(path, "STEP 5: Writing to Parquet...");
    say!("STEP 6: Starting streaming query...");
    say!("STREAMING QUERY STARTED");
    match bounds {
        ingest::Bounds { available_now: true, .. } => say!("Running up to the end offsets of this moment"),
        ingest::Bounds { timeout: Some(timeout), .. } => say!("Running for {} seconds", timeout.as_secs_f64()),
        ingest::Bounds { max_batches: Some(batches), .. } => say!("Running for {batches} micro-batches"),
        _ => say!("Running indefinitely (Ctrl+C to stop)..."),
    }
    Ok(())
}

/// What a consumer did, in one line or one object.
pub(super) fn report(session: &mut Session, done: &Ingested) {
    let Ingested { batches, counts, files, commit, positions, seconds } = done;
    session.out.line(format_args!(
        "Consumed {} messages in {batches} micro-batches, {seconds:.1} s: {} rows to the lake, {} to quarantine",
        counts.input, counts.accepted, counts.rejected
    ));
    let positions: serde_json::Map<_, _> =
        positions.iter().map(|at| (at.partition.to_string(), json!(at.offset))).collect();
    session.out.report(&json!({
        "rows": counts.input, "accepted": counts.accepted, "rejected": counts.rejected, "batches": batches,
        "files": files, "commit": commit, "positions": positions, "seconds": seconds, "run_id": session.run_id,
    }));
}

/// Does the work on a thread of its own and waits for it, after a stop for a moment only: a service that does not
/// answer must not keep the process. What is left behind then is what a kill would leave, and the next start
/// recovers from that; nobody knows its figures, hence `None`. A stop before the loop began is as clean as one later.
pub(super) fn until_stopped<T: Default + Send + 'static>(
    stop: &Stop,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<Option<T>> {
    until_stopped_printing(stop, |_| (), |_| work())
}

/// Texts from the loop's thread to the one that owns standard output.
pub(super) type Texts = tokio::sync::mpsc::Sender<String>;

/// Texts that wait to be printed: a reader that is slow slows the loop, and nothing piles up.
const MAX_WAITING_TEXTS: usize = 16;

/// The same for work that has something to print on the way, in order.
pub(super) fn until_stopped_printing<T: Default + Send + 'static>(
    stop: &Stop,
    mut print: impl FnMut(String),
    work: impl FnOnce(Texts) -> Result<T> + Send + 'static,
) -> Result<Option<T>> {
    let runtime = runtime::shared()?;
    let (texts, mut said) = tokio::sync::mpsc::channel(MAX_WAITING_TEXTS);
    let mut work = runtime.spawn_blocking(move || work(texts));
    let done = runtime.block_on(async {
        let patience = patience_after(stop);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                biased;
                Some(text) = said.recv() => print(text),
                done = &mut work => {
                    return done.map_err(|panic| Error::bug("the loop panicked").because(panic))?.map(Some);
                }
                () = &mut patience => {
                    tracing::warn!(target: "foodstream::cli", "a service does not answer; leaving what is under way undone");
                    return Ok(None);
                }
            }
        }
    });
    match done {
        Err(error) if error.kind() == Kind::Interrupted => Ok(Some(T::default())),
        other => other,
    }
}

async fn patience_after(stop: &Stop) {
    stop.requested().await;
    tokio::time::sleep(STOP_PATIENCE).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::config::Overrides;
    use crate::telemetry::testing::Lines;

    #[test]
    fn the_consumer_starts_with_the_documents_steps() {
        let tree = json!({
            "kafka": { "brokers": "localhost:9092", "topic": "t" },
            "datalake": { "path": "lake" },
        });
        let settings = Settings::in_memory(&Overrides { tree: Some(tree), ..Overrides::default() }).unwrap();
        let lines = Lines::default();
        let sink = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(tracing_subscriber::fmt::format().without_time().with_level(false).with_target(false))
            .fmt_fields(tracing_subscriber::fmt::format::debug_fn(|writer, field, value| match field.name() {
                "message" => write!(writer, "{value:?}"),
                _ => Ok(()),
            }))
            .with_ansi(false)
            .with_writer(move || sink.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || started(&settings, ingest::Bounds::default()).unwrap());
        let text = lines.text();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "Kafka stream initialized",
                "STEP 2: Parsing JSON messages...",
                "STEP 3: Applying data validation...",
                "STEP 4: Adding date partition...",
                "STEP 5: Writing to Parquet...",
                "STEP 6: Starting streaming query...",
                "STREAMING QUERY STARTED",
                "Running indefinitely (Ctrl+C to stop)...",
            ]
        );
    }

    #[test]
    fn a_stop_does_not_wait_long_for_a_service_that_does_not_answer() {
        let stop = Stop::new();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let begun = SystemClock.instant();
        let asked = stop.clone();
        let done = until_stopped::<u64>(&stop, move || {
            asked.request();
            let _ = held.recv();
            Ok(1)
        });
        assert_eq!(done.unwrap(), None, "nobody knows what it has done");
        // Without the patience it would wait for `held`, which ends with the test.
        assert!(SystemClock.instant().duration_since(begun) < 10 * STOP_PATIENCE);
        drop(release);
    }

    #[test]
    fn what_ends_in_time_after_a_stop_is_reported() {
        let stop = Stop::new();
        stop.request();
        assert_eq!(until_stopped(&stop, || Ok(7)).unwrap(), Some(7));
        assert_eq!(until_stopped::<u64>(&stop, || Err(Error::interrupted())).unwrap(), Some(0));
    }
}
