//! The figures, and that they stay right while a side is idle, away, hanging or far behind.

mod consumer;
mod figures;
mod producer;

use std::time::Duration;

use chrono::TimeDelta;

use super::*;

/// What the monitor says so many seconds from now, when nothing is told meanwhile.
fn lag_after(monitor: &Monitor, seconds: u64) -> Option<f64> {
    let later = Duration::from_secs(seconds);
    let now = SystemClock.now() + TimeDelta::from_std(later).unwrap();
    monitor.sight().lag(now, SystemClock.instant() + later)
}

fn near(value: Option<f64>, wanted: f64) -> bool {
    value.is_some_and(|value| (value - wanted).abs() < 0.5)
}

fn figures() -> BatchFigures {
    let phases = vec![("read", Duration::from_millis(20)), ("commit", Duration::from_millis(30))];
    BatchFigures { finished: SystemClock.now(), duration: Duration::from_millis(50), phases }
}
