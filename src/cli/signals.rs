//! SIGINT and SIGTERM of a streaming command: the first asks for a clean stop, a second Ctrl-C ends the process.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::runtime;
use crate::error::{Error, Result};
use crate::pipeline::Stop;

/// What a shell reports for a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// A stop that the signals of this process request from now on.
///
/// Commands that do not stream leave the signals alone: their default ends the process, which loses nothing.
pub fn stop_on_signals() -> Result<Stop> {
    let stop = Stop::new();
    let runtime = runtime::shared()?;
    let _context = runtime.enter();
    let unheard = |error| Error::bug("cannot listen to signals").because(error);
    let interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;
    let terminate = signal(SignalKind::terminate()).map_err(unheard)?;
    runtime.spawn(listen(interrupt, terminate, stop.clone()));
    Ok(stop)
}

/// Ends the process where a stop is still not over after this: only a reader of standard output that has paused can
/// hold it up so long.
const LIMIT: Duration = Duration::from_millis(1_900);

/// For commands that print while they work: with a full pipe they would wait for its reader, stop or not.
pub fn leave_soon_after(stop: &Stop) -> Result<()> {
    let stop = stop.clone();
    runtime::shared()?.spawn(async move {
        stop.requested().await;
        tokio::time::sleep(LIMIT).await;
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}

async fn listen(mut interrupt: Signal, mut terminate: Signal, stop: Stop) {
    loop {
        let by_hand = tokio::select! {
            Some(()) = interrupt.recv() => true,
            Some(()) = terminate.recv() => false,
            else => return,
        };
        if by_hand && stop.is_requested() {
            // What is not committed is read again at the next start, so nothing needs to be waited for.
            std::process::exit(INTERRUPTED);
        }
        if !stop.is_requested() {
            tracing::info!(target: "foodstream::cli", "stopping: finishing what is under way (Ctrl+C again to abort)");
            stop.request();
        }
    }
}
