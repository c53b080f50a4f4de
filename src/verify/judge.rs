//! Verdicts on suspects, from the cursor's history and the messages that Kafka still has.
//!
//! A row that differs may have been updated since it was captured; one that is gone may have been deleted. What
//! decides (protocols, V), in this order:
//! 1. A retained message that nobody holds as it is: the content changed between Kafka and the lake. A fault.
//! 2. A tuple whose transaction is not older than the last cursor's snapshot was written after capture.
//! 3. A tuple older than the snapshot of the *first* cursor that covers the row was seen as it is now: a fault. The
//!    last cursor's snapshot would not do: a row captured on Monday and updated on Tuesday is older than Wednesday's.
//! 4. Otherwise unproven: the history that names that first cursor is compacted away, or its transaction held
//!    several pages, each with a snapshot of its own of which only the last is recorded.

use std::collections::HashMap;

use super::facts::Facts;
use super::ledger::{Handle, KeyKind, Place};
use super::reconcile::{Doubt, Suspect, reached};
use crate::model::{Cursor, Key};

/// One record of the cursor topic, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub offset: i64,
    pub position: Cursor,
    /// `None` in the record of a first start, which has read nothing.
    pub snapshot_xmin: Option<u64>,
    /// All rows since the mark before were read under this one snapshot.
    pub one_page: bool,
}

/// The snapshot that captured a row: not older than `after`, not younger than `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cover {
    after: Option<u64>,
    until: Option<u64>,
}

/// What the retained part of the cursor topic tells.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    marks: Vec<Mark>,
}

impl History {
    pub fn new(marks: Vec<Mark>) -> History {
        History { marks }
    }

    /// The youngest snapshot that anything was captured in.
    fn last_snapshot(&self) -> Option<u64> {
        self.marks.iter().rev().find_map(|mark| mark.snapshot_xmin)
    }

    fn cover(&self, timestamp_us: i64, key: Key) -> Cover {
        let first = self.marks.partition_point(|mark| !reached(mark.position, timestamp_us, key));
        let previous = first.checked_sub(1).and_then(|before| self.marks.get(before));
        match self.marks.get(first) {
            // A mark before it did not reach the row yet, or no mark can have come before it.
            Some(mark) if previous.is_some() || mark.offset == 0 => Cover {
                after: if mark.one_page { mark.snapshot_xmin } else { previous.and_then(|mark| mark.snapshot_xmin) },
                until: mark.snapshot_xmin,
            },
            _ => Cover { after: None, until: self.last_snapshot() },
        }
    }
}

/// A message about a suspect key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub partition: i32,
    pub offset: i64,
    pub digest: u64,
}

/// Sightings by key: sorted and not hashed, since a table may be updated from its first row to its last.
#[derive(Clone, Debug, Default)]
pub(super) struct Sightings(Vec<(Handle, Sighting)>);

impl Sightings {
    pub fn new(mut all: Vec<(Handle, Sighting)>) -> Sightings {
        all.sort_unstable_by_key(|(handle, sighting)| (*handle, sighting.partition, sighting.offset));
        Sightings(all)
    }

    fn of(&self, handle: Handle) -> &[(Handle, Sighting)] {
        let start = self.0.partition_point(|(other, _)| *other < handle);
        let rest = &self.0[start..];
        &rest[..rest.partition_point(|(other, _)| *other == handle)]
    }
}

/// What Kafka could be asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub history: History,
    /// Every retained message whose key is a suspect's.
    pub sightings: Sightings,
    /// The lake's starting offsets by partition (commit 0); a partition that is missing starts at 0.
    pub starts: HashMap<i32, i64>,
    /// Kafka still has everything since the lake's start, and all of it was read: silence means "never published".
    pub complete: bool,
    /// The messages between the lake's positions and the ends were all read.
    pub waiting_read: bool,
}

impl Evidence {
    fn sightings(&self, handle: Handle) -> &[(Handle, Sighting)] {
        self.sightings.of(handle)
    }

    fn before_start(&self, sighting: &Sighting) -> bool {
        self.starts.get(&sighting.partition).is_some_and(|start| sighting.offset < *start)
    }
}

/// Moves every suspect into the facts.
pub(super) fn judge(suspects: &[Suspect], evidence: &Evidence, kind: KeyKind, facts: &mut Facts) {
    for suspect in suspects {
        match suspect.doubt {
            Doubt::Absent => absent(suspect, evidence, kind, facts),
            Doubt::Differs { held } => differs(suspect, held, evidence, kind, facts),
            Doubt::Gone { held, place } => gone(suspect, held, place, evidence, kind, facts),
        }
    }
}

fn written_after(snapshot: Option<u64>, xmin: u64) -> bool {
    snapshot.is_some_and(|snapshot| xmin >= snapshot)
}

fn absent(suspect: &Suspect, evidence: &Evidence, kind: KeyKind, facts: &mut Facts) {
    let key = suspect.handle.key(kind);
    let seen = evidence.sightings(suspect.handle);
    if seen.iter().any(|(_, sighting)| !evidence.before_start(sighting)) {
        facts.missing.push(key);
    } else if !seen.is_empty() {
        facts.rows_skipped_by_start += 1;
    } else if !evidence.waiting_read {
        facts.unproven.push(key);
    } else if evidence.starts.values().any(|start| *start > 0) && !evidence.complete {
        // Its message may have lain before the lake's start, and is gone by now.
        facts.unproven.push(key);
    } else {
        let cover = evidence.history.cover(suspect.created_at_us, key);
        // Written when the cursor already stood above its timestamp: outside the promise, and named (H8).
        if written_after(cover.until, suspect.xmin) { facts.back_dated.push(key) } else { facts.missing.push(key) }
    }
}

fn differs(suspect: &Suspect, held: u64, evidence: &Evidence, kind: KeyKind, facts: &mut Facts) {
    let key = suspect.handle.key(kind);
    let seen = evidence.sightings(suspect.handle);
    let held_as_sent = seen.iter().any(|(_, sighting)| sighting.digest == held);
    // Not what was sent, or held although nobody sent it.
    if !held_as_sent && (!seen.is_empty() || evidence.complete) {
        return facts.altered.push(key);
    }
    if written_after(evidence.history.last_snapshot(), suspect.xmin) {
        return facts.updated_after_capture.push(key);
    }
    let cover = evidence.history.cover(suspect.created_at_us, key);
    if cover.after.is_some_and(|snapshot| suspect.xmin < snapshot) {
        facts.altered.push(key);
    } else if written_after(cover.until, suspect.xmin) {
        facts.updated_after_capture.push(key);
    } else {
        facts.unproven.push(key);
    }
}

fn gone(suspect: &Suspect, held: u64, place: Place, evidence: &Evidence, kind: KeyKind, facts: &mut Facts) {
    let key = suspect.handle.key(kind);
    let seen = evidence.sightings(suspect.handle);
    let faithful = seen.iter().any(|(_, sighting)| sighting.digest == held);
    match place {
        // A quarantined message without a row may be anybody's; it is a fault only if it is not what was sent.
        Place::Quarantine if faithful || (seen.is_empty() && !evidence.complete) => facts.foreign_messages += 1,
        _ if faithful => facts.deleted_after_capture.push(key),
        _ if !seen.is_empty() => facts.altered.push(key),
        _ if evidence.complete => facts.extra.push(key),
        _ => facts.unproven.push(key),
    }
}
