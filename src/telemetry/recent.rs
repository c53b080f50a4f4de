//! The last log lines of this process, for whoever looks at it from outside.
//!
//! Information and above, whatever the log level says; nothing below, since only debug lines may hold values of rows.
//! A line that repeats within ten seconds is counted and told again, with the number, when they are over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::{Line, ROOT};
use crate::clock::{Clock, SystemClock};

/// Lines kept.
const KEPT: usize = 200;
/// How long a line that repeats is only counted.
const REPEATS: Duration = Duration::from_secs(10);
/// Different lines whose repeats are counted at a time.
const MAX_COUNTED: usize = 256;
/// A longer line is cut: an error may carry a statement.
const MAX_CHARS: usize = 2_000;

static SEQ: AtomicU64 = AtomicU64::new(0);
static RECENT: Mutex<Recent> = Mutex::new(Recent::new());

/// Numbers what happens in this process: lines here, batches in the pipeline.
pub fn next_seq() -> u64 {
    SEQ.fetch_add(1, Ordering::Relaxed) + 1
}

/// The number given out last.
pub fn last_seq() -> u64 {
    SEQ.load(Ordering::Relaxed)
}

/// A line as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct RecentLine {
    pub seq: u64,
    pub time: DateTime<Utc>,
    pub level: Level,
    pub target: String,
    pub message: String,
    pub fields: Map<String, Value>,
    /// How often it came again within the ten seconds; zero where it is told for the first time.
    pub repeated: u64,
}

/// Lines by level since the start: error, warning, information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    pub error: u64,
    pub warn: u64,
    pub info: u64,
}

/// Lines after the one with this number, in order.
pub fn lines_after(seq: u64) -> Vec<RecentLine> {
    let mut recent = lock();
    recent.tell_repeats(SystemClock.instant(), SystemClock.now());
    recent.lines.iter().filter(|line| line.seq > seq).cloned().collect()
}

pub fn counts() -> LineCounts {
    lock().counts
}

fn lock() -> MutexGuard<'static, Recent> {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Recent {
    lines: VecDeque<RecentLine>,
    counts: LineCounts,
    repeats: BTreeMap<(String, String), Repeats>,
}

struct Repeats {
    since: Instant,
    last: RecentLine,
    times: u64,
}

impl Recent {
    const fn new() -> Self {
        Recent { lines: VecDeque::new(), counts: LineCounts { error: 0, warn: 0, info: 0 }, repeats: BTreeMap::new() }
    }

    fn take(&mut self, line: RecentLine, at: Instant) {
        let count = match line.level {
            Level::ERROR => &mut self.counts.error,
            Level::WARN => &mut self.counts.warn,
            _ => &mut self.counts.info,
        };
        *count += 1;
        self.tell_repeats(at, line.time);
        let key = (line.target.clone(), line.message.clone());
        if let Some(repeats) = self.repeats.get_mut(&key) {
            repeats.times += 1;
            repeats.last = line;
            return;
        }
        if self.repeats.len() < MAX_COUNTED {
            self.repeats.insert(key, Repeats { since: at, last: line.clone(), times: 0 });
        }
        self.keep(line);
    }

    /// Tells the repeats of lines whose ten seconds are over.
    fn tell_repeats(&mut self, at: Instant, now: DateTime<Utc>) {
        let is_over = |repeats: &Repeats| at.saturating_duration_since(repeats.since) >= REPEATS;
        let over: Vec<_> = self.repeats.extract_if(.., |_, repeats| is_over(repeats)).map(|(_, known)| known).collect();
        for Repeats { last, times, .. } in over.into_iter().filter(|repeats| repeats.times > 0) {
            self.keep(RecentLine { repeated: times, time: now.min(last.time), ..last });
        }
    }

    fn keep(&mut self, line: RecentLine) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(RecentLine { seq: next_seq(), ..line });
    }
}

/// Keeps what passes.
pub(super) struct RecentLayer;

impl<S: Subscriber> Layer<S> for RecentLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let is_ours = metadata.target().split("::").next() == Some(ROOT);
        let lowest = if is_ours { Level::INFO } else { Level::WARN };
        if *metadata.level() > lowest {
            return;
        }
        let mut line =
            Line { level: *metadata.level(), target: metadata.target(), message: String::new(), fields: Map::new() };
        event.record(&mut line);
        let Line { level, target, message, fields } = line;
        let message = message.chars().take(MAX_CHARS).collect();
        let target = target.to_owned();
        let line = RecentLine { seq: 0, time: SystemClock.now(), level, target, message, fields, repeated: 0 };
        lock().take(line, SystemClock.instant());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> RecentLine {
        RecentLine {
            seq: 0,
            time: SystemClock.now(),
            level: Level::INFO,
            target: "foodstream::producer".to_owned(),
            message: message.to_owned(),
            fields: Map::new(),
            repeated: 0,
        }
    }

    fn told(recent: &Recent) -> Vec<(&str, u64)> {
        recent.lines.iter().map(|line| (line.message.as_str(), line.repeated)).collect()
    }

    #[test]
    fn a_line_that_repeats_is_told_once_and_then_with_its_number() {
        let mut recent = Recent::new();
        let start = SystemClock.instant();
        recent.take(line("away"), start);
        recent.take(line("away"), start + Duration::from_secs(1));
        recent.take(line("other"), start + Duration::from_secs(2));
        recent.take(line("away"), start + Duration::from_secs(9));
        assert_eq!(told(&recent), [("away", 0), ("other", 0)]);
        recent.take(line("away"), start + Duration::from_secs(10));
        assert_eq!(told(&recent), [("away", 0), ("other", 0), ("away", 2), ("away", 0)]);
        assert_eq!(recent.counts.info, 5);
    }

    #[test]
    fn repeats_are_told_although_nothing_else_is_logged() {
        let mut recent = Recent::new();
        let start = SystemClock.instant();
        recent.take(line("away"), start);
        recent.take(line("away"), start);
        recent.tell_repeats(start + REPEATS, SystemClock.now());
        assert_eq!(told(&recent), [("away", 0), ("away", 1)]);
        assert!(recent.repeats.is_empty());
    }

    #[test]
    fn the_newest_lines_are_kept_in_order() {
        let mut recent = Recent::new();
        let start = SystemClock.instant();
        (0..KEPT + 5).for_each(|number| recent.take(line(&number.to_string()), start));
        assert_eq!((recent.lines.len(), recent.lines[0].message.as_str()), (KEPT, "5"));
        assert!(recent.lines.iter().is_sorted_by_key(|line| line.seq));
        assert!(recent.repeats.len() <= MAX_COUNTED);
    }
}
