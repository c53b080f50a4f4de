//! A Rust program over the core: carries what a topic holds now into the lake, exactly once, and ends.
//!
//! ```text
//! cargo run --release --example pipeline -- configs/orders_stream.yml
//! ```
//! The calls are those of `foodstream consumer --once`, and of Python's `Consumer(file, available_now=True).run()`. A
//! kill at any moment loses nothing: the next run goes on where the commit log ends. Prints one JSON object.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use foodstream::clock::{Clock, SystemClock};
use foodstream::config::{Overrides, Settings};
use foodstream::error::{Error, Result};
use foodstream::pipeline::Stop;
use foodstream::pipeline::compose::{self, ConsumerRun};
use foodstream::pipeline::ingest::Bounds;
use foodstream::pipeline::monitor::Monitor;
use foodstream::pipeline::progress::Ingested;

/// How long the run waits for transactions of others that are still open.
const ONCE_WAIT: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    let begun = SystemClock.instant();
    match consume() {
        Ok(done) => {
            let seconds = SystemClock.instant().duration_since(begun).as_secs_f64();
            let told = serde_json::json!({ "rows": done.counts.input, "seconds": seconds });
            writeln!(io::stdout(), "{told}").map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {}", error.report());
            ExitCode::FAILURE
        }
    }
}

fn consume() -> Result<Ingested> {
    let file = std::env::args_os().nth(1).ok_or_else(|| Error::config("name a configuration file"))?;
    let settings = Settings::load(Path::new(&file), &Overrides::from_process(Path::new("."))?)?;
    // A status server, or whoever else looks, reads what the run tells a clone of it.
    let run = ConsumerRun { once_wait: ONCE_WAIT, run_id: "example".to_owned(), monitor: Monitor::default() };
    // Another thread may end the run early through a clone of it, after a commit.
    let stop = Stop::new();
    let mut ingest = compose::consumer(&settings, &run, true, &stop)?;
    let done = ingest.run(Bounds { available_now: true, ..Bounds::default() })?;
    ingest.close()?;
    Ok(done)
}
