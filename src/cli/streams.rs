//! `producer` and `consumer`: the two loops, until they are stopped or their bounds are reached.

use serde_json::json;

use super::args::{Consumer, Producer};
use super::session::Session;
use super::{runtime, signals};
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::pipeline::compose::{self, ConsumerRun, ProducerRun};
use crate::pipeline::progress::{Ingested, Published};
use crate::pipeline::{ingest, replicate};

pub fn producer(args: &Producer, session: &mut Session) -> Result<i32> {
    let settings = session.begin(&args.common)?;
    let run = ProducerRun {
        start_from: args.start_from.clone(),
        adopt: args.adopt,
        once_wait: args.waits.once_wait,
        run_id: session.run_id.clone(),
    };
    let stop = signals::stop_on_signals()?;
    if args.dry_run {
        let plan = runtime::shared()?.block_on(compose::producer_plan(&settings, &run, &stop))?;
        plan.lines.iter().for_each(|line| session.out.line(line));
        plan.warnings.iter().for_each(|warning| session.out.line(format_args!("warning: {warning}")));
        session.out.report(&json!({ "plan": plan.lines, "warnings": plan.warnings }));
        return Ok(0);
    }
    let bounds = replicate::Bounds { once: args.once, max_rows: args.max_rows, timeout: args.waits.timeout };
    let bounded = bounds.once || bounds.timeout.is_some();
    let done = runtime::shared()?
        .block_on(async { compose::producer(&settings, &run, bounded, &stop).await?.run(bounds).await });
    let done = or_nothing(done)?;
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

const RULE: &str = "========================================";

pub fn consumer(args: &Consumer, session: &mut Session) -> Result<i32> {
    let settings = session.begin(&args.common)?;
    let stop = signals::stop_on_signals()?;
    let run = ConsumerRun { once_wait: args.waits.once_wait, run_id: session.run_id.clone() };
    let bounds = ingest::Bounds {
        available_now: args.once,
        max_batches: args.max_batches,
        timeout: args.waits.timeout.or(settings.consumer.await_termination_timeout),
    };
    let bounded = bounds.available_now || bounds.timeout.is_some();
    say!("{RULE}");
    say!("STARTING STRUCTURED STREAMING");
    say!("{RULE}");
    say!("STEP 1: Reading from Kafka topic...");
    let done = compose::consumer(&settings, &run, bounded, &stop).and_then(|mut ingest| {
        started(&settings, bounds)?;
        let done = ingest.run(bounds);
        let closed = ingest.close();
        done.and_then(|done| closed.map(|()| done))
    });
    report(session, &or_nothing(done)?);
    Ok(0)
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

fn report(session: &mut Session, done: &Ingested) {
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

/// A stop before the loop began is as clean as one later.
fn or_nothing<T: Default>(done: Result<T, Error>) -> Result<T> {
    match done {
        Err(error) if error.kind() == Kind::Interrupted => Ok(T::default()),
        other => other,
    }
}
