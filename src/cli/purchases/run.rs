//! `purchases run`: the consumer's loop with the documents' tables on standard output.

use std::sync::Arc;

use super::show::Show;
use crate::cli::args::{BatchForm, PurchasesRun};
use crate::cli::session::Session;
use crate::cli::streams::{self, Texts};
use crate::cli::{signals, status};
use crate::config::Settings;
use crate::error::Result;
use crate::pipeline::compose::{self, ConsumerRun};
use crate::pipeline::ingest::Bounds;
use crate::pipeline::monitor::Monitor;
use crate::serve::Role;

macro_rules! say {
    ($($words:tt)*) => { tracing::info!(target: "foodstream::purchases", $($words)*) };
}

pub fn run(args: &PurchasesRun, session: &mut Session) -> Result<i32> {
    let settings = Arc::new(session.begin_purchases_with(&args.common, status::flags(args.status.status_port))?);
    let show = Show::new(&settings, args.output)?;
    let stop = signals::stop_on_signals()?;
    let monitor = Monitor::default();
    let (once_wait, run_id) = (args.waits.once_wait, session.run_id.clone());
    let run = ConsumerRun { once_wait, run_id, monitor: monitor.clone() };
    let bounds = Bounds {
        available_now: args.once,
        max_batches: args.max_batches,
        timeout: args.waits.timeout.or(settings.consumer.await_termination_timeout),
    };
    let bounded = bounds.is_bounded();
    signals::leave_soon_after(&stop)?;
    let server = status::start(&settings, Role::Consumer, session, &monitor, &stop);
    announce(&settings)?;
    let stopping = stop.clone();
    let out = &mut session.out;
    let done = streams::until_stopped_printing(
        &stop,
        |text| out.data(text),
        move |texts| {
            let mut ingest = compose::consumer(&settings, &run, bounded, &stopping)?;
            ingest.observe(show.map(|show| show.begin(move |text| tell(&texts, text))));
            let done = ingest.run(bounds);
            let closed = ingest.close();
            done.and_then(|done| closed.map(|()| done))
        },
    );
    let done = status::end(server, done)?;
    // With `--output json` standard output holds the batches, one a line, and a report only where one is asked for.
    match done {
        _ if args.output == BatchForm::Json && !session.out.wants_json() => {}
        Some(done) => streams::report(session, &done),
        None => return Ok(streams::left_undone(session)),
    }
    Ok(0)
}

fn announce(settings: &Settings) -> Result<()> {
    let (kafka, lake) = (settings.require_kafka()?, settings.require_lake()?);
    let (topic, group) = (kafka.topic.as_str(), kafka.consumer_group.as_str());
    say!(topic, group, "Starting streaming job");
    say!("Platform: {}", std::env::consts::OS);
    say!("Checkpoint path: {}", settings.require_checkpoint()?.display());
    say!("Lake path: {}", lake.path.display());
    say!("Trigger: {} s", settings.consumer.trigger_interval.as_secs_f64());
    Ok(())
}

/// The receiver is gone only when the command has given up waiting.
fn tell(texts: &Texts, text: String) {
    let _ = texts.blocking_send(text);
}
