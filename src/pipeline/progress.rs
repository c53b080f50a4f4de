//! What the two loops have done so far, in the words of Spark's StreamingQueryProgress where it has them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::model::{Counts, Cursor, EventTimes, OffsetRange, PartitionOffset};

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

impl Published {
    /// What came after `before`, which took so long.
    pub fn since(&self, before: &Published, took: Duration) -> Published {
        Published {
            rows: self.rows - before.rows,
            transactions: self.transactions - before.transactions,
            polls: self.polls - before.polls,
            cursor: self.cursor,
            seconds: took.as_secs_f64(),
        }
    }
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

/// Which loop a report is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
    Generator,
}

/// The query's name in Spark's words, and an id that stays the same from run to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub id: String,
    pub name: String,
}

impl Query {
    /// `identity` tells this pipeline's half from every other.
    pub fn new(name: &str, identity: &str) -> Query {
        let hash = Sha256::digest(identity.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        Query { id: uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string(), name: name.to_owned() }
    }
}

/// Where a batch began and ended.
#[derive(Clone, Debug)]
pub enum Span {
    Offsets { ranges: Vec<OffsetRange>, ends: Vec<PartitionOffset> },
    Rows { start: Option<Cursor>, end: Cursor },
}

/// One micro-batch of the consumer, or one transaction of the producer.
#[derive(Clone, Debug)]
pub struct BatchReport {
    pub role: Role,
    pub batch_id: u64,
    pub finished: DateTime<Utc>,
    pub counts: Counts,
    pub duration: Duration,
    /// From the end of the batch before; `None` of the first one.
    pub since_last: Option<Duration>,
    /// Phase names and durations, in order.
    pub phases: Vec<(&'static str, Duration)>,
    /// Timestamps of the rows, UTC.
    pub events: Option<EventTimes>,
    pub source: String,
    pub span: Span,
    /// Offsets that a bounded run has still to read.
    pub behind: Option<u64>,
    pub sink: String,
    /// Files and bytes.
    pub written: Option<(u64, u64)>,
}

impl BatchReport {
    pub fn to_json(&self, run_id: &str, query: &Query) -> Value {
        let per_second = |time: Duration| self.counts.input as f64 / time.as_secs_f64().max(1e-6);
        let processed = per_second(self.duration);
        let input = self.since_last.map(per_second);
        let durations: Map<String, Value> =
            self.phases.iter().map(|(name, time)| ((*name).to_owned(), json!(milliseconds(*time)))).collect();
        let mut source = Map::new();
        source.insert("description".to_owned(), json!(self.source));
        self.span.put(&mut source);
        source.insert("numInputRows".to_owned(), json!(self.counts.input));
        put_known(&mut source, "inputRowsPerSecond", input);
        source.insert("processedRowsPerSecond".to_owned(), json!(processed));
        if let Some(behind) = self.behind {
            source.insert("metrics".to_owned(), json!({ "offsetsBehindLatest": behind }));
        }
        let mut sink = Map::new();
        sink.insert("description".to_owned(), json!(self.sink));
        sink.insert("numOutputRows".to_owned(), json!(self.counts.accepted));
        if self.role == Role::Consumer {
            sink.insert("numRejectedRows".to_owned(), json!(self.counts.rejected));
        }
        if let Some((files, bytes)) = self.written {
            sink.insert("metrics".to_owned(), json!({ "files": files, "bytes": bytes }));
        }
        let mut report = Map::new();
        let mut put = |key: &str, value: Value| drop(report.insert(key.to_owned(), value));
        put("id", json!(query.id));
        put("runId", json!(run_id));
        put("name", json!(query.name));
        put("timestamp", json!(moment(self.finished)));
        put("batchId", json!(self.batch_id));
        put("batchDuration", json!(milliseconds(self.duration)));
        put("numInputRows", json!(self.counts.input));
        if let Some(input) = input {
            put("inputRowsPerSecond", json!(input));
        }
        put("processedRowsPerSecond", json!(processed));
        put("durationMs", Value::Object(durations));
        if let Some(events) = self.event_time() {
            put("eventTime", events);
        }
        put("sources", json!([source]));
        put("sink", Value::Object(sink));
        if let Some(observed) = self.observed() {
            put("observedMetrics", observed);
        }
        put("role", json!(self.role.name()));
        Value::Object(report)
    }

    fn event_time(&self) -> Option<Value> {
        let events = self.events?;
        let text = |us| DateTime::from_timestamp_micros(us).map(moment);
        Some(json!({
            "min": text(events.least_us)?, "max": text(events.greatest_us)?, "avg": text(events.mean_us())?,
        }))
    }

    /// How old the batch's rows were when it was done.
    fn observed(&self) -> Option<Value> {
        let events = self.events?;
        let age = |us: i64| (self.finished.timestamp_micros().saturating_sub(us) as f64 / 1e6).max(0.0);
        Some(
            json!({ "latency": { "newest_row_sec": age(events.greatest_us), "oldest_row_sec": age(events.least_us) } }),
        )
    }
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Producer => "producer",
            Role::Consumer => "consumer",
            Role::Generator => "generator",
        }
    }
}

impl Span {
    fn put(&self, source: &mut Map<String, Value>) {
        let mut put = |key: &str, value: Value| drop(source.insert(key.to_owned(), value));
        match self {
            Span::Offsets { ranges, ends } => {
                let offsets = |pick: fn(&OffsetRange) -> i64| -> Value {
                    ranges.iter().map(|range| (range.partition.to_string(), json!(pick(range)))).collect()
                };
                put("startOffset", offsets(|range| range.from));
                put("endOffset", offsets(|range| range.to));
                if !ends.is_empty() {
                    put(
                        "latestOffset",
                        ends.iter().map(|end| (end.partition.to_string(), json!(end.offset))).collect(),
                    );
                }
            }
            Span::Rows { start, end } => {
                if let Some(start) = start {
                    put("startOffset", json!(start.to_string()));
                }
                put("endOffset", json!(end.to_string()));
            }
        }
    }
}

fn put_known(map: &mut Map<String, Value>, key: &str, value: Option<f64>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), json!(value));
    }
}

fn moment(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
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

    fn report(role: Role, span: Span) -> BatchReport {
        BatchReport {
            role,
            batch_id: 7,
            finished: DateTime::from_timestamp_millis(1_795_248_721_123).unwrap(),
            counts: Counts { input: 160, accepted: 158, rejected: 2 },
            duration: Duration::from_millis(20),
            since_last: Some(Duration::from_secs(2)),
            phases: vec![("stage", Duration::from_millis(12)), ("commit", Duration::from_millis(8))],
            events: EventTimes::of_all([1_795_248_719_123_000, 1_795_248_720_123_000, 1_795_248_720_623_000]),
            source: "Kafka[orders]".to_owned(),
            span,
            behind: None,
            sink: "Parquet[lake]".to_owned(),
            written: Some((2, 8_122)),
        }
    }

    #[test]
    fn a_report_has_the_members_of_sparks() {
        let ranges = vec![OffsetRange { partition: 0, from: 5, to: 165 }];
        let ends = vec![PartitionOffset { partition: 0, offset: 170 }];
        let query = Query::new("orders-to-lake", "consumer orders lake");
        let json = report(Role::Consumer, Span::Offsets { ranges, ends }).to_json("run", &query);
        let expected = json!({
            "id": query.id, "runId": "run", "name": "orders-to-lake", "timestamp": "2026-11-21T08:12:01.123Z",
            "batchId": 7, "batchDuration": 20, "numInputRows": 160, "inputRowsPerSecond": 80.0,
            "processedRowsPerSecond": 8_000.0,
            "durationMs": { "stage": 12, "commit": 8 },
            "eventTime": {
                "min": "2026-11-21T08:11:59.123Z", "max": "2026-11-21T08:12:00.623Z", "avg": "2026-11-21T08:11:59.956Z",
            },
            "sources": [{
                "description": "Kafka[orders]", "startOffset": { "0": 5 }, "endOffset": { "0": 165 },
                "latestOffset": { "0": 170 }, "numInputRows": 160, "inputRowsPerSecond": 80.0,
                "processedRowsPerSecond": 8_000.0,
            }],
            "sink": {
                "description": "Parquet[lake]", "numOutputRows": 158, "numRejectedRows": 2,
                "metrics": { "files": 2, "bytes": 8_122 },
            },
            "observedMetrics": { "latency": { "newest_row_sec": 0.5, "oldest_row_sec": 2.0 } },
            "role": "consumer",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let end = Cursor { timestamp_us: 0, key: None };
        let span = Span::Rows { start: None, end };
        let unknown = BatchReport { since_last: None, events: None, written: None, ..report(Role::Producer, span) };
        let json = unknown.to_json("run", &Query::default());
        for member in ["inputRowsPerSecond", "eventTime", "observedMetrics"] {
            assert!(json.get(member).is_none(), "{member}");
        }
        assert_eq!(json["sources"][0]["endOffset"], "1970-01-01 00:00:00.000000");
        assert!(json["sources"][0].get("startOffset").is_none() && json["sink"].get("numRejectedRows").is_none());
    }

    #[test]
    fn the_id_of_a_query_is_that_of_its_pipeline_and_of_no_other() {
        let id = |identity| Query::new("name", identity).id;
        assert_eq!(id("consumer orders lake"), id("consumer orders lake"));
        assert_ne!(id("consumer orders lake"), id("producer orders lake"));
        assert_eq!(id("x").len(), 36);
    }

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
