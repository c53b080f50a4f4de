//! Waiting for services that are away, and the one rule of when to give up.
//!
//! A streaming run waits for ever with growing pauses; a bounded run or a check gives up after
//! `retry.start_timeout_sec` and its error keeps `retriable`, which makes the exit code 75.
//! Only errors that say they are retriable are waited for.

use std::time::Duration;

use super::monitor::{Monitor, Service};
use super::shutdown::Stop;
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::error::{Error, Result};

/// First pause: long enough not to hammer a restarting server, short enough to go unnoticed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A repeated failure is logged at least this far apart.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Pauses that double up to a limit, with the time since the first failure.
#[derive(Debug)]
pub struct Backoff {
    monitor: Monitor,
    /// Services whose calls failed since the last success.
    away: Vec<Service>,
    pause: Duration,
    max_pause: Duration,
    /// `None`: wait for ever.
    give_up_after: Option<Duration>,
    trying_since: Option<std::time::Instant>,
    failing_since: Option<std::time::Instant>,
    last_logged: Option<std::time::Instant>,
    jitter: u32,
}

impl Backoff {
    /// `bounded` runs give up after the start time-out. `monitor` is told who is away and who is back.
    pub fn new(retry: &config::Retry, bounded: bool, monitor: &Monitor) -> Self {
        Backoff {
            monitor: monitor.clone(),
            away: Vec::new(),
            pause: FIRST_PAUSE,
            max_pause: retry.max_backoff.max(FIRST_PAUSE),
            give_up_after: bounded.then_some(retry.start_timeout),
            trying_since: None,
            failing_since: None,
            last_logged: None,
            jitter: uuid::Uuid::new_v4().as_fields().0,
        }
    }

    /// Counts the time that is given up after from now on, not from the first failure: a try can itself take long.
    fn begin(&mut self) {
        self.trying_since.get_or_insert_with(|| SystemClock.instant());
    }

    /// To be called after each success.
    pub fn reset(&mut self) {
        self.trying_since = None;
        for service in self.away.drain(..) {
            self.monitor.answered(service);
        }
        if let Some(since) = self.failing_since.take() {
            let seconds = SystemClock.instant().duration_since(since).as_secs_f64();
            tracing::info!(target: "foodstream::retry", seconds, "recovered after {seconds:.1} s");
        }
        self.pause = FIRST_PAUSE;
        self.last_logged = None;
    }

    /// How long to wait before the next try, or the error itself where waiting cannot help any more.
    pub fn next_pause(&mut self, error: Error) -> Result<Duration> {
        if !error.is_retriable() {
            return Err(error);
        }
        if let Some(service) = Service::of(error.kind()) {
            self.monitor.failed(service, &error);
            if !self.away.contains(&service) {
                self.away.push(service);
            }
        }
        let now = SystemClock.instant();
        let failing_since = *self.failing_since.get_or_insert(now);
        let since = self.trying_since.unwrap_or(failing_since);
        if self.give_up_after.is_some_and(|limit| now.duration_since(since) >= limit) {
            return Err(error);
        }
        if self.last_logged.is_none_or(|last| now.duration_since(last) >= LOG_EVERY) {
            self.last_logged = Some(now);
            tracing::warn!(target: "foodstream::retry", "{}; trying again", error.report());
        }
        let pause = self.pause;
        self.pause = (self.pause * 2).min(self.max_pause);
        Ok(self.spread(pause))
    }

    /// Between three quarters of the pause and all of it, so that many workers do not return at once.
    fn spread(&mut self, pause: Duration) -> Duration {
        self.jitter = self.jitter.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        pause.mul_f64(0.75 + 0.25 * f64::from(self.jitter >> 16) / 65_536.0)
    }
}

/// Repeats a blocking call until it succeeds, waiting cannot help, or a stop is requested.
pub fn until_ok<T>(mut backoff: Backoff, stop: &Stop, mut call: impl FnMut() -> Result<T>) -> Result<T> {
    backoff.begin();
    loop {
        stop.check()?;
        match call() {
            Ok(value) => {
                backoff.reset();
                return Ok(value);
            }
            Err(error) => {
                let pause = backoff.next_pause(error)?;
                if stop.wait(pause) {
                    return Err(Error::interrupted());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn retry(start_timeout: Duration) -> config::Retry {
        config::Retry { start_timeout, max_backoff: Duration::from_millis(400) }
    }

    fn away() -> Error {
        Error::new(Kind::Broker, "no broker answers").retriable()
    }

    #[test]
    fn pauses_double_up_to_the_limit() {
        let mut backoff = Backoff::new(&retry(Duration::from_secs(60)), true, &Monitor::default());
        let pauses: Vec<_> = (0..5).map(|_| backoff.next_pause(away()).unwrap().as_millis()).collect();
        for (pause, nominal) in pauses.iter().zip([100, 200, 400, 400, 400]) {
            assert!((nominal * 3 / 4..=nominal).contains(pause), "{pauses:?}");
        }
    }

    #[test]
    fn what_waiting_cannot_mend_is_not_waited_for() {
        let mut backoff = Backoff::new(&retry(Duration::from_secs(60)), false, &Monitor::default());
        assert!(backoff.next_pause(Error::new(Kind::Source, "password refused")).is_err());
    }

    #[test]
    fn a_bounded_run_gives_up_and_stays_retriable() {
        let mut backoff = Backoff::new(&retry(Duration::ZERO), true, &Monitor::default());
        let error = backoff.next_pause(away()).unwrap_err();
        assert_eq!(error.exit_code(), 75);
    }

    #[test]
    fn a_first_try_that_takes_all_the_time_is_also_the_last() {
        let mut tries = 0;
        let limit = Duration::from_millis(20);
        let result: Result<()> = until_ok(Backoff::new(&retry(limit), true, &Monitor::default()), &Stop::new(), || {
            tries += 1;
            let begun = SystemClock.instant();
            while SystemClock.instant().duration_since(begun) < limit {
                std::hint::spin_loop();
            }
            Err(away())
        });
        assert_eq!((result.unwrap_err().exit_code(), tries), (75, 1));
    }

    #[test]
    fn a_stop_ends_the_waiting() {
        let stop = Stop::new();
        let again = stop.clone();
        let result: Result<()> =
            until_ok(Backoff::new(&retry(Duration::from_secs(60)), false, &Monitor::default()), &stop, || {
                again.request();
                Err(away())
            });
        assert_eq!(result.unwrap_err().kind(), Kind::Interrupted);
    }
}
