//! What the two loops have done so far, in the words of Spark's StreamingQueryProgress where it has them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::model::{Counts, Cursor, OffsetRange, PartitionOffset};

/// Reports kept for `recent_progress`, as many as Spark keeps by default.
const KEPT_REPORTS: usize = 100;

/// As logs and reports give durations.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A run of the producer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Published {
    pub rows: u64,
    pub transactions: u64,
    pub polls: u64,
    pub cursor: Option<Cursor>,
    pub seconds: f64,
}

/// A run of the consumer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ingested {
    pub batches: u64,
    pub counts: Counts,
    pub files: u64,
    /// Number of the last commit, whoever made it.
    pub commit: Option<u64>,
    pub positions: Vec<PartitionOffset>,
    pub seconds: f64,
}

/// One micro-batch of the consumer, or one transaction of the producer.
#[derive(Clone, Debug)]
pub struct BatchReport {
    pub batch_id: u64,
    pub finished: DateTime<Utc>,
    pub counts: Counts,
    pub duration: Duration,
    /// Phase names and durations, in order.
    pub phases: Vec<(&'static str, Duration)>,
    pub source: String,
    pub ranges: Vec<OffsetRange>,
    /// Offsets that a bounded run has still to read.
    pub behind: Option<u64>,
    pub sink: String,
}

impl BatchReport {
    pub fn to_json(&self, run_id: &str) -> Value {
        let seconds = self.duration.as_secs_f64().max(1e-6);
        let durations: serde_json::Map<String, Value> =
            self.phases.iter().map(|(name, time)| ((*name).to_owned(), json!(milliseconds(*time)))).collect();
        let offsets = |pick: fn(&OffsetRange) -> i64| -> Value {
            self.ranges.iter().map(|range| (range.partition.to_string(), json!(pick(range)))).collect()
        };
        let mut source = json!({
            "description": self.source,
            "startOffset": offsets(|range| range.from),
            "endOffset": offsets(|range| range.to),
            "numInputRows": self.counts.input,
        });
        if let Some(behind) = self.behind {
            source["metrics"] = json!({ "offsetsBehindLatest": behind });
        }
        json!({
            "runId": run_id,
            "timestamp": self.finished.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            "batchId": self.batch_id,
            "batchDuration": self.duration.as_millis() as u64,
            "numInputRows": self.counts.input,
            "processedRowsPerSecond": self.counts.input as f64 / seconds,
            "durationMs": durations,
            "sources": [source],
            "sink": {
                "description": self.sink,
                "numOutputRows": self.counts.accepted,
                "numRejectedRows": self.counts.rejected,
            },
        })
    }
}

/// Is shown each report once it has been kept.
pub type Watcher = Arc<dyn Fn(&Value) + Send + Sync>;

/// Shared between a loop and whoever watches it.
#[derive(Clone, Default)]
pub struct Reports(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    reports: VecDeque<Value>,
    watcher: Option<Watcher>,
}

impl Reports {
    pub fn push(&self, report: Value) {
        let watcher = {
            let mut kept = self.lock();
            if kept.reports.len() == KEPT_REPORTS {
                kept.reports.pop_front();
            }
            kept.reports.push_back(report.clone());
            kept.watcher.clone()
        };
        // Without the lock: a watcher may wait for somebody who asks for the last report meanwhile.
        if let Some(watcher) = watcher {
            watcher(&report);
        }
    }

    /// Shows every report from now on to `watcher`, in the loop's thread, which waits for it; `None` ends that.
    pub fn watch(&self, watcher: Option<Watcher>) {
        self.lock().watcher = watcher;
    }

    pub fn last(&self) -> Option<Value> {
        self.lock().reports.back().cloned()
    }

    pub fn recent(&self) -> Vec<Value> {
        self.lock().reports.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_sees_each_report_and_may_ask_for_the_last_meanwhile() {
        let reports = Reports::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (asked, noted) = (reports.clone(), seen.clone());
        reports.watch(Some(Arc::new(move |report| {
            assert_eq!(asked.last().as_ref(), Some(report));
            noted.lock().unwrap().push(report["batchId"].as_u64());
        })));
        reports.push(json!({ "batchId": 1 }));
        reports.push(json!({ "batchId": 2 }));
        reports.watch(None);
        reports.push(json!({ "batchId": 3 }));
        assert_eq!((seen.lock().unwrap().clone(), reports.recent().len()), (vec![Some(1), Some(2)], 3));
    }
}
