//! The producer's log lines, in the documents' words, and its progress reports.
//!
//! Under backlog, and of polls that follow each other fast, one a second is told and the others are summed up; an idle
//! poll is one debug line.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Options;
use crate::clock::{Clock, SystemClock};
use crate::model::position::format_timestamp_us;
use crate::model::{Counts, Cursor, EventTimes};
use crate::pipeline::progress::{BatchReport, Role, Span, milliseconds};
use crate::publish::{CommitInfo, Start, StartOrigin};

/// Detailed lines are allowed this often; what comes in between is summed up. A little less than a second, so that of
/// polls a second apart each is told, although the rows of one come sooner than those of the one before.
const DETAIL_EVERY: Duration = Duration::from_millis(900);

const RULE: &str = "========================================";

#[derive(Debug)]
pub(super) struct Lines {
    topic: String,
    poll: u64,
    last: Option<Cursor>,
    first: Option<Cursor>,
    detailed: bool,
    last_detail: Option<Instant>,
    untold: Untold,
}

/// What was committed since the last line that counts rows.
#[derive(Debug, Default)]
struct Untold {
    rows: u64,
    transactions: u64,
}

macro_rules! say {
    ($($words:tt)*) => { tracing::info!(target: "foodstream::producer", $($words)*) };
}

impl Lines {
    pub fn new(topic: String) -> Self {
        Lines { topic, poll: 0, last: None, first: None, detailed: true, last_detail: None, untold: Untold::default() }
    }

    /// A first start is told as it is configured, not as the position just before it.
    pub fn starts_at(&mut self, start: &Start) {
        if start.origin == StartOrigin::Default {
            self.first = Some(start.cursor);
        }
    }

    pub fn started(&self, poll_interval: Duration) {
        say!("{RULE}");
        say!("STARTING CDC POLLING LOOP");
        say!("{RULE}");
        tracing::debug!(target: "foodstream::producer", "polling every {} s", poll_interval.as_secs_f64());
    }

    pub fn poll(&mut self, number: u64, last: Cursor) {
        self.poll = number;
        self.last = Some(last);
        tracing::debug!(target: "foodstream::producer", "poll #{number} after {last}");
    }

    pub fn fetched(&mut self, rows: usize) {
        self.detailed = self.detail_is_due();
        if !self.detailed {
            return;
        }
        self.sum_up();
        self.last_detail = Some(SystemClock.instant());
        say!("========== POLL #{} ==========", self.poll);
        if let Some(last) = self.last {
            let configured = self.first.take().is_some_and(|first| first == last);
            let shown = Cursor { timestamp_us: last.timestamp_us + i64::from(configured), ..last };
            say!("Last processed timestamp: {}", short(shown));
        }
        say!("Reading from PostgreSQL...");
        say!(operation = "poll", batch_id = self.poll, rows, "Fetched {rows} new records");
        say!("Converted {rows} rows to JSON format");
        say!("Publishing {rows} messages to Kafka topic: {}", self.topic);
    }

    pub fn committed(&mut self, rows: u64, cursor: Cursor) {
        if !self.detailed {
            self.untold.rows += rows;
            self.untold.transactions += 1;
            return;
        }
        let since_fetch = self.last_detail.map_or(Duration::ZERO, |at| SystemClock.instant().duration_since(at));
        say!(
            operation = "publish",
            batch_id = self.poll,
            rows,
            duration_ms = milliseconds(since_fetch),
            "Successfully published to Kafka topic"
        );
        say!("STATE UPDATED: last_processed_timestamp = {}", short(cursor));
    }

    /// What is not told is summed up before a long pause and, of polls that follow each other fast, by the next one
    /// that is told or finds nothing.
    pub fn sleeping(&mut self, rows: usize, pause: Duration) {
        let is_long = pause >= DETAIL_EVERY;
        if is_long || rows == 0 && self.detail_is_due() {
            self.sum_up();
        }
        let seconds = pause.as_secs_f64();
        if rows == 0 {
            tracing::debug!(target: "foodstream::producer", "no new rows; sleeping for {seconds} seconds");
        } else if self.detailed || is_long {
            say!("Sleeping for {seconds} seconds...");
        }
    }

    /// One line of what was committed and not told.
    pub fn sum_up(&mut self) {
        let Untold { rows, transactions } = std::mem::take(&mut self.untold);
        if transactions > 0 {
            say!(
                operation = "publish",
                rows,
                transactions,
                "Published {rows} messages since the last line (transactions: {transactions})"
            );
        }
    }

    fn detail_is_due(&self) -> bool {
        self.last_detail.is_none_or(|last| SystemClock.instant().duration_since(last) >= DETAIL_EVERY)
    }
}

/// The documents show whole seconds where there is no fraction.
fn short(cursor: Cursor) -> String {
    let text = format_timestamp_us(cursor.timestamp_us);
    text.strip_suffix(".000000").map(str::to_owned).unwrap_or(text)
}

/// A transaction that is known to be committed.
pub(super) struct Transaction {
    pub rows: u64,
    pub info: CommitInfo,
    /// Position of the transaction before.
    pub after: Option<Cursor>,
    /// Timestamps of its rows, on the column's clock.
    pub times: EventTimes,
    /// Reading its pages.
    pub read_time: Duration,
    /// From the first page to the broker's answer.
    pub duration: Duration,
    pub since_last: Option<Duration>,
}

impl Transaction {
    pub fn phases(&self) -> Vec<(&'static str, Duration)> {
        vec![("read", self.read_time), ("commit", self.info.commit_time)]
    }

    pub fn to_json(&self, options: &Options, events: Option<EventTimes>, now: DateTime<Utc>, number: u64) -> Value {
        let report = BatchReport {
            role: Role::Producer,
            batch_id: number,
            finished: now,
            counts: Counts { input: self.rows, accepted: self.rows, rejected: 0 },
            duration: self.duration,
            since_last: self.since_last,
            phases: self.phases(),
            events,
            source: options.source.clone(),
            span: Span::Rows { start: self.after, end: self.info.cursor },
            behind: None,
            sink: format!("Kafka[{}]", options.topic),
            written: None,
        };
        report.to_json(&options.run_id, &options.query)
    }
}
