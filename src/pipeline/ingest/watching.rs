//! What the loop tells of itself: where it stands, some times a second, and each commit.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::writer::Done;
use super::{Ingest, report};
use crate::broker::{Cluster, GroupConsumer};
use crate::model::MessageBatch;
use crate::pipeline::monitor::{BatchFigures, CommittedBatch, Phase, Rejects, Sampled, Service, Standing};
use crate::pipeline::retry::Backoff;
use crate::validate::Validated;

/// How often positions are told: often enough for people, too seldom to cost anything.
const STANDING_EVERY: Duration = Duration::from_millis(250);

/// What was noticed of the open batch, and of the one that was cut last and is committed next.
#[derive(Debug, Default)]
pub(super) struct Watching {
    told: Option<Instant>,
    /// Kafka has answered since.
    answered: bool,
    open: Noticed,
    cut: Noticed,
    /// When the last commit was told.
    last_commit: Option<Instant>,
}

#[derive(Debug, Default)]
struct Noticed {
    sampled: Sampled,
    rejects: Rejects,
}

impl Watching {
    pub fn note_answer(&mut self) {
        self.answered = true;
    }

    pub fn add_messages(&mut self, messages: &MessageBatch) {
        self.open.sampled.add_messages(messages);
    }

    pub fn add_validated(&mut self, validated: &Validated, timestamp_column: &str, now: DateTime<Utc>) {
        self.open.sampled.add_rows(&validated.accepted, timestamp_column);
        if let Some(rejected) = &validated.rejected {
            self.open.rejects.add(rejected, now);
        }
    }

    pub fn cut(&mut self) {
        self.cut = std::mem::take(&mut self.open);
    }

    pub fn drop_open(&mut self) {
        self.open = Noticed::default();
    }
}

impl<C: GroupConsumer, K: Cluster> Ingest<C, K> {
    /// One that tells which service it waits for.
    pub(super) fn new_backoff(&self) -> Backoff {
        Backoff::new(&self.options.retry, self.bounded, &self.options.monitor)
    }

    pub(super) fn tell_running(&self) {
        self.options.monitor.enter(Phase::Running);
    }

    pub(super) fn tell_standing(&mut self) {
        let now = self.clock.instant();
        if self.watching.told.is_some_and(|told| now.saturating_duration_since(told) < STANDING_EVERY) {
            return;
        }
        self.watching.told = Some(now);
        if std::mem::take(&mut self.watching.answered) {
            self.options.monitor.answered(Service::Kafka);
        }
        self.options.monitor.standing(Standing {
            head: &self.head,
            assigned: self.reader.assigned(),
            ends: self.reader.known_ends(),
            open: self.reader.gathered(),
        });
    }

    /// Log lines, a progress report, and figures.
    pub(super) fn tell_commit(&mut self, done: &Done, now: DateTime<Utc>) {
        let at = self.clock.instant();
        let since_last = self.watching.last_commit.replace(at).map(|last| at.saturating_duration_since(last));
        let Noticed { sampled, rejects } = std::mem::take(&mut self.watching.cut);
        let sight =
            report::Sight { sampled: &sampled, since_last, ends: &self.reader.known_ends(), behind: self.behind() };
        report::commit(&self.options, done, &self.reports, &sight, now);
        let monitor = &self.options.monitor;
        monitor.answered(Service::Lake);
        monitor.committed(CommittedBatch {
            head: &done.head,
            at: now,
            counts: done.staged.counts,
            files: done.staged.files.len() as u64,
            bytes: done.staged.files.iter().map(|file| file.bytes).sum(),
            sampled: &sampled,
            rejects,
            figures: BatchFigures {
                finished: now,
                duration: done.stage_time + done.commit_time,
                phases: vec![("stage", done.stage_time), ("commit", done.commit_time)],
            },
        });
    }
}
