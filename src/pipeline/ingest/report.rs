//! What a commit says: the documents' log lines, and a progress report in Spark's words.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Options;
use super::writer::Done;
use crate::model::PartitionOffset;
use crate::pipeline::monitor::Sampled;
use crate::pipeline::progress::{BatchReport, Reports, Role, Span, milliseconds};

/// What was noticed of a batch beside its commit.
pub(super) struct Sight<'a> {
    pub sampled: &'a Sampled,
    /// Time since the commit before; `None` at the first.
    pub since_last: Option<Duration>,
    pub ends: &'a [PartitionOffset],
    /// Offsets that a bounded run has still to read.
    pub behind: Option<u64>,
}

pub(super) fn commit(options: &Options, done: &Done, reports: &Reports, sight: &Sight<'_>, now: DateTime<Utc>) {
    let counts = done.staged.counts;
    if counts.input > 0 {
        tracing::info!(
            target: "foodstream::consumer",
            operation = "commit",
            batch_id = done.head.number,
            messages = counts.input,
            accepted = counts.accepted,
            rejected = counts.rejected,
            files = done.staged.files.len(),
            stage_ms = milliseconds(done.stage_time),
            commit_ms = milliseconds(done.commit_time),
            "Micro-batch with {} messages processed",
            counts.input
        );
    }
    if counts.rejected > 0 {
        tracing::warn!(
            target: "foodstream::consumer",
            operation = "validate",
            batch_id = done.head.number,
            rejected = counts.rejected,
            "{} messages failed validation and are in quarantine with their reasons",
            counts.rejected
        );
    }
    let mut folders: BTreeMap<&str, u64> = BTreeMap::new();
    for file in done.staged.files.iter().filter(|file| !file.quarantine) {
        *folders.entry(file.final_name.split('/').next().unwrap_or_default()).or_default() += file.rows;
    }
    for (folder, rows) in folders {
        tracing::info!(
            target: "foodstream::consumer",
            operation = "write",
            batch_id = done.head.number,
            rows,
            "Written to: {}/{folder}/",
            options.lake_path.display()
        );
    }
    let report = BatchReport {
        role: Role::Consumer,
        batch_id: done.head.number,
        finished: now,
        counts,
        duration: done.stage_time + done.commit_time,
        since_last: sight.since_last,
        phases: vec![("stage", done.stage_time), ("commit", done.commit_time)],
        events: sight.sampled.events,
        source: format!("Kafka[{}]", options.topic.name),
        span: Span::Offsets { ranges: done.staged.ranges.clone(), ends: sight.ends.to_vec() },
        behind: sight.behind,
        sink: format!("Parquet[{}]", options.lake_path.display()),
        written: Some((done.staged.files.len() as u64, done.staged.files.iter().map(|file| file.bytes).sum())),
    };
    let report = report.to_json(&options.run_id, &options.query);
    options.monitor.report(&report);
    reports.push(report);
}
