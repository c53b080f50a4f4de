//! Each row of the table against the ledger, and what is left over in the ledger at the end.
//!
//! Guarantee: a row whose content is held exactly once costs one search and leaves nothing behind. Every other row
//! is either settled here (before the start, above the cursor, repeated) or becomes a suspect; no suspect is called
//! a fault before `judge` has looked at the evidence.

use super::facts::Facts;
use super::ledger::{Handle, Holding, KeyKind, Ledger, Place};
use crate::model::{Cursor, Key};

/// A timestamp this far ahead of the server's clock is no clock skew of a client any more.
pub(super) const FUTURE_TOLERANCE_US: i64 = 60 * 1_000_000;

/// `created_at` of a row, on the column's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Null,
    Infinite,
    At(i64),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableRow {
    pub key: Key,
    pub created_at: Moment,
    /// Full transaction id of the tuple.
    pub xmin: u64,
    pub digest: u64,
}

/// What the pipeline has taken responsibility for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Rows up to here are not the pipeline's.
    pub start: Option<Cursor>,
    /// Rows up to here are published; `None` before anything was.
    pub cursor: Option<Cursor>,
    /// The server's clock, on the column's clock.
    pub now_us: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// In scope, held nowhere.
    Absent,
    /// Held, with this other content.
    Differs { held: u64 },
    /// Held, and the table has no such key any more.
    Gone { held: u64, place: Place },
}

/// A key that the evidence must explain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect {
    pub handle: Handle,
    pub doubt: Doubt,
    pub created_at_us: i64,
    pub xmin: u64,
}

#[derive(Debug)]
pub(super) struct Reconciler {
    kind: KeyKind,
    scope: Scope,
    ledger: Ledger,
    pub facts: Facts,
    pub suspects: Vec<Suspect>,
}

pub(super) fn reached(position: Cursor, timestamp_us: i64, key: Key) -> bool {
    timestamp_us < position.timestamp_us
        || (timestamp_us == position.timestamp_us && position.key.is_none_or(|last| key <= last))
}

impl Reconciler {
    pub fn new(kind: KeyKind, scope: Scope, ledger: Ledger, facts: Facts) -> Self {
        Reconciler { kind, scope, ledger, facts, suspects: Vec::new() }
    }

    pub fn row(&mut self, row: TableRow) {
        self.facts.table_rows += 1;
        let in_scope = self.count_position(&row);
        let handle = Handle::new(row.key);
        let held = self.ledger.take(handle);
        let created_at_us = match row.created_at {
            Moment::At(us) => us,
            Moment::Null | Moment::Infinite => i64::MAX,
        };
        let suspect = |doubt| Suspect { handle, doubt, created_at_us, xmin: row.xmin };
        if held.is_empty() {
            if in_scope {
                self.suspects.push(suspect(Doubt::Absent));
            }
            return;
        }
        let lake = held.iter().filter(|holding| holding.place == Place::Lake).count();
        let exact = held.iter().filter(|holding| holding.digest == row.digest).count();
        if lake > 1 || exact > 1 {
            self.facts.duplicate.push(row.key);
            return;
        }
        let first = held[0];
        match held.iter().find(|holding| holding.digest == row.digest) {
            Some(home) if lake == 0 || home.place == Place::Lake => {
                let home = home.place;
                self.facts.foreign_messages += held.len() as u64 - 1;
                self.count_held(home);
            }
            _ => self.suspects.push(suspect(Doubt::Differs { held: first.digest })),
        }
    }

    /// Counts the row by its timestamp; true when the pipeline answers for it.
    fn count_position(&mut self, row: &TableRow) -> bool {
        let us = match row.created_at {
            Moment::Null => {
                self.facts.null_created_at.push(row.key);
                return false;
            }
            Moment::Infinite => {
                self.facts.infinite_created_at.push(row.key);
                return false;
            }
            Moment::At(us) => us,
        };
        if self.scope.start.is_some_and(|start| reached(start, us, row.key)) {
            self.facts.rows_before_start += 1;
            return false;
        }
        if self.scope.cursor.is_some_and(|cursor| reached(cursor, us, row.key)) {
            self.facts.rows_in_scope += 1;
            return true;
        }
        if us > self.scope.now_us.saturating_add(FUTURE_TOLERANCE_US) {
            self.facts.future_created_at.push(row.key);
        } else {
            self.facts.not_yet_published += 1;
        }
        false
    }

    fn count_held(&mut self, place: Place) {
        match place {
            Place::Lake => self.facts.held_in_lake += 1,
            Place::Quarantine => self.facts.held_in_quarantine += 1,
            Place::Topic => self.facts.published_not_yet_consumed += 1,
        }
    }

    /// After the last row: what the ledger still holds becomes suspect.
    pub fn finish(mut self) -> (Facts, Vec<Suspect>) {
        let (facts, suspects, kind) = (&mut self.facts, &mut self.suspects, self.kind);
        for group in self.ledger.unseen() {
            let Holding { handle, place, digest } = group[0];
            let lake = group.iter().filter(|holding| holding.place == Place::Lake).count();
            if lake > 1 {
                facts.duplicate.push(handle.key(kind));
            }
            if place == Place::Topic {
                facts.foreign_messages += group.len() as u64;
            } else {
                let doubt = Doubt::Gone { held: digest, place };
                suspects.push(Suspect { handle, doubt, created_at_us: i64::MAX, xmin: 0 });
            }
        }
        (self.facts, self.suspects)
    }
}
