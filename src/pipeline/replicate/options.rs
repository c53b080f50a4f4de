//! What a run is told, when it ends by itself, and what it asks of its source beside rows.

use std::time::Duration;

use crate::capture::{Source, SourceSight, WaitingRows};
use crate::config;
use crate::error::Result;
use crate::pipeline::monitor::Monitor;
use crate::pipeline::progress::Query;

/// A bounded run asks again this soon while it waits for the horizon to pass.
const ONCE_POLL: Duration = Duration::from_millis(50);

/// What a run is told beside its parts.
#[derive(Clone, Debug)]
pub struct Options {
    pub topic: String,
    pub poll_interval: Duration,
    pub batch_limit: u32,
    pub transaction_max_rows: u32,
    pub transaction_max: Duration,
    /// Of a page, as far as the rows before it tell.
    pub page_max_bytes: u64,
    pub retry: config::Retry,
    /// How long `--once` waits for the horizon.
    pub once_wait: Duration,
    pub run_id: String,
    pub query: Query,
    pub monitor: Monitor,
    /// The table, for reports.
    pub source: String,
}

/// When a run ends by itself. All unset: only a stop ends it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Ends when every row below the server's clock at the start is published (K7).
    pub once: bool,
    pub max_rows: Option<u64>,
    pub timeout: Option<Duration>,
}

impl Bounds {
    /// How long a run rests after a page that was not full. All pages of a backlog are read under the horizon of its
    /// first one, which is old when the last one is read: a younger one need not be waited for.
    pub(super) fn pause(&self, poll_interval: Duration, after_backlog: bool) -> Duration {
        match self.once {
            true if after_backlog => Duration::ZERO,
            true => ONCE_POLL.min(poll_interval),
            false => poll_interval,
        }
    }
}

/// A source that can say how far the server's clock is and who holds the horizon back.
pub trait BoundedSource: Source {
    /// The server's clock, microseconds on the timestamp column's clock.
    fn server_clock_us(&mut self) -> impl Future<Output = Result<i64>> + Send;
    /// Whoever holds the horizon, in words; `None` when nobody does.
    fn holder(&self) -> Option<String>;
    /// What the last page was read under, where the source can tell.
    fn sight(&self) -> Option<SourceSight>;
    /// The rows that wait behind the last page, up to a limit; `None` where that cannot be told soon.
    fn count_waiting(&mut self) -> impl Future<Output = Result<Option<WaitingRows>>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_run_asks_at_once_behind_a_backlog_and_soon_otherwise() {
        let rhythm = Duration::from_secs(5);
        let once = Bounds { once: true, ..Bounds::default() };
        assert_eq!(once.pause(rhythm, true), Duration::ZERO);
        assert_eq!(once.pause(rhythm, false), ONCE_POLL);
        assert_eq!(once.pause(Duration::from_millis(1), false), Duration::from_millis(1));
        assert_eq!(Bounds::default().pause(rhythm, true), rhythm, "an endless run keeps its rhythm");
    }
}
