//! The horizon W: rows below it are complete, because no open transaction can still write there.
//!
//! Pure judgement over facts that `postgres::activity` fetched; the rules are H1, H2, H3, H6 and H9 of the protocols
//! (docs/DESIGN.md). A timestamp alone would lose rows: `created_at` is the start of the writer's transaction, so a
//! long one commits behind any cursor that has moved on. All times here are UTC; `zone` moves W to the column's clock.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::error::{Error, Kind, Lost, Result};
use crate::model::position::format_timestamp_us;
use crate::postgres::{Activity, PreparedTransaction};

/// A holder younger than this is ordinary work; older, somebody should know why nothing moves.
const NAME_HOLDER_AFTER: Duration = Duration::from_secs(30);
/// A dump may hold W for hours: once a minute keeps it in sight without filling the log.
const NAME_HOLDER_EVERY: Duration = Duration::from_secs(60);

/// The settings that decide how far W stays behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HorizonRules {
    /// Covers the instant between taking a start time and showing it.
    pub begin_margin: Duration,
    /// With it, sessions that hide their transactions are met by this fixed delay instead of waiting (H6).
    pub late_commit_margin: Option<Duration>,
}

/// Who keeps W from following the server's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub who: Who,
    pub age: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Session {
        pid: i32,
        application: String,
    },
    /// A transaction prepared for two-phase commit.
    Prepared {
        gid: String,
    },
    /// Sessions whose transactions cannot be seen; one of them by its pid.
    Hidden {
        sessions: i64,
        pid: Option<i32>,
    },
}

impl Holder {
    pub fn pid(&self) -> Option<i32> {
        match &self.who {
            Who::Session { pid, .. } => Some(*pid),
            Who::Prepared { .. } => None,
            Who::Hidden { pid, .. } => *pid,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = self.age.as_secs_f64();
        match &self.who {
            Who::Session { pid, application } if application.is_empty() => {
                write!(f, "the transaction of pid {pid}, open for {age:.1} s")
            }
            Who::Session { pid, application } => {
                write!(f, "the transaction of pid {pid} ({application}), open for {age:.1} s")
            }
            Who::Prepared { gid } => write!(f, "the prepared transaction `{gid}`, prepared {age:.1} s ago"),
            Who::Hidden { sessions, pid } => {
                write!(f, "{sessions} session(s) whose transactions are hidden")?;
                pid.map_or(Ok(()), |pid| write!(f, ", among them pid {pid}"))
            }
        }
    }
}

/// One judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// UTC microseconds; `None` while not even a first W is known to be safe.
    pub w_us: Option<i64>,
    pub holder: Option<Holder>,
    /// What an operator should read now.
    pub warnings: Vec<String>,
}

/// What has to be remembered between polls.
#[derive(Clone, Debug)]
pub struct HorizonState {
    rules: HorizonRules,
    /// The last W used; W never decreases.
    last_w: Option<i64>,
    /// The highest W that rested on seen transactions and not on a fixed delay: nothing may start below it.
    seen_w: Option<i64>,
    /// For each prepared transaction the W of the last poll before it was first seen.
    prepared: HashMap<PreparedTransaction, Option<i64>>,
    weakness_said: bool,
    /// The last holder named, and when by the server's clock.
    named: Option<(Who, i64)>,
}

impl HorizonState {
    pub fn new(rules: HorizonRules) -> Self {
        HorizonState { rules, last_w: None, seen_w: None, prepared: HashMap::new(), weakness_said: false, named: None }
    }

    /// Takes up the W of the published cursor. It bounds the prepared transactions that are found (H2).
    pub fn restore(&mut self, w_us: i64) {
        self.last_w = Some(w_us);
        // Under a fixed delay the former run may have let transactions pass; their starts are no fault then.
        self.seen_w = if self.rules.late_commit_margin.is_none() { Some(w_us) } else { None };
    }

    #[cfg(test)]
    pub fn last_w_us(&self) -> Option<i64> {
        self.last_w
    }

    /// Judges the facts of one poll. On an error nothing is remembered.
    ///
    /// # Errors
    /// `Kind::DataLoss` when the clock, or a transaction's start, lies below a W already used: rows may have been
    /// written there unseen, and the message names the interval. `Kind::Source`, retriable, on a standby.
    pub fn advance(&mut self, activity: &Activity, prepared: &[PreparedTransaction]) -> Result<Horizon> {
        if activity.in_recovery {
            return Err(Error::new(
                Kind::Source,
                "the server is a standby now: it does not show the primary's open transactions, so no row is read \
                 until it is promoted or postgres.host leads to the primary",
            )
            .retriable());
        }
        self.refuse_start_below(activity.clock_us, self.last_w, "the server's clock")?;
        let mut warnings = Vec::new();
        let (open_bound, mut holder) = self.bound_of_sessions(activity, &mut warnings)?;
        let (prepared_bound, prepared_holder) = self.bound_of_prepared(activity.clock_us, prepared);
        let seen = activity.hidden == 0;
        let candidate = match (open_bound, prepared_bound) {
            (open, Bound::None) => open,
            (Some(open), Bound::At(w)) if w >= open => Some(open),
            (_, Bound::At(w)) => {
                holder = prepared_holder;
                Some(w)
            }
            (_, Bound::Unknown) => {
                holder = prepared_holder;
                None
            }
        };
        if let Some(candidate) = candidate {
            let w = self.last_w.map_or(candidate, |last| last.max(candidate));
            self.last_w = Some(w);
            if seen {
                // Not `w`: that may still stand where a fixed delay had put it.
                self.seen_w = self.seen_w.max(Some(candidate));
            }
        }
        warnings.extend(holder.as_ref().and_then(|holder| self.name_holder(holder, activity.clock_us)));
        Ok(Horizon { w_us: self.last_w, holder, warnings })
    }

    /// H1 and H6: the bound that open transactions set, `None` where hidden ones make it unknown.
    fn bound_of_sessions(
        &mut self,
        activity: &Activity,
        warnings: &mut Vec<String>,
    ) -> Result<(Option<i64>, Option<Holder>)> {
        let clock_us = activity.clock_us;
        if activity.hidden > 0 {
            let who = Who::Hidden { sessions: activity.hidden, pid: activity.hidden_pid };
            let holder = Some(Holder { who, age: Duration::ZERO });
            let said = std::mem::replace(&mut self.weakness_said, true);
            let Some(margin) = self.rules.late_commit_margin else {
                if !said {
                    warnings.push(format!(
                        "{} session(s) hide their transactions (pid {}): no further row is read until they show them; \
                         check pg_read_all_stats and track_activities, or set cdc.late_commit_margin_sec",
                        activity.hidden,
                        activity.hidden_pid.map_or("unknown".to_owned(), |pid| pid.to_string())
                    ));
                }
                return Ok((None, holder));
            };
            if !said {
                warnings.push(format!(
                    "{} session(s) hide their transactions: rows are read {} s late instead, and a transaction that \
                     stays open longer than that can lose its rows",
                    activity.hidden,
                    margin.as_secs_f64()
                ));
            }
            // What is visible counts all the same: the margin stands in for the hidden sessions only.
            let visible = activity.oldest.as_ref().map(|oldest| oldest.start_us - self.margin_us());
            let late = clock_us - micros(margin);
            return Ok((Some(visible.map_or(late, |start_us| late.min(start_us))), holder));
        }
        self.weakness_said = false;
        let Some(oldest) = &activity.oldest else { return Ok((Some(clock_us - self.margin_us()), None)) };
        let start_us = oldest.start_us.min(clock_us);
        let what = format!("the start of pid {} ({})", oldest.pid, oldest.application);
        self.refuse_start_below(start_us, self.seen_w, &what)?;
        let who = Who::Session { pid: oldest.pid, application: oldest.application.clone() };
        let holder = Holder { who, age: Duration::from_micros((clock_us - start_us) as u64) };
        Ok((Some(start_us - self.margin_us()), Some(holder)))
    }

    /// H2: the bound that prepared transactions set.
    fn bound_of_prepared(&mut self, clock_us: i64, present: &[PreparedTransaction]) -> (Bound, Option<Holder>) {
        self.prepared.retain(|known, _| present.contains(known));
        let mut lowest = (Bound::None, None);
        for transaction in present {
            let bound = *self.prepared.entry(transaction.clone()).or_insert(self.last_w);
            let bound = bound.map_or(Bound::Unknown, Bound::At);
            if bound.is_tighter_than(lowest.0) {
                let age = Duration::from_micros(clock_us.saturating_sub(transaction.prepared_us).max(0) as u64);
                lowest = (bound, Some(Holder { who: Who::Prepared { gid: transaction.gid.clone() }, age }));
            }
        }
        lowest
    }

    /// H3: time below a used W is time in which rows can have been written unseen.
    fn refuse_start_below(&self, start_us: i64, used_w: Option<i64>, what: &str) -> Result<()> {
        match used_w {
            Some(w) if start_us < w => {
                let (start, w) = (format_timestamp_us(start_us), format_timestamp_us(w));
                let text = format!(
                    "{what} is {start} UTC, before the horizon {w} UTC that was already used: rows with timestamps \
                     between the two may have been missed (was the clock set back, or the database replaced?); compare \
                     with `foodstream verify`, then wait until the clock has passed it, or name a position with \
                     --start-from"
                );
                Err(Error::data_loss(Lost::rows(start, w), text))
            }
            _ => Ok(()),
        }
    }

    /// H9: a warning for a holder that is old, and not more often than once a minute.
    fn name_holder(&mut self, holder: &Holder, clock_us: i64) -> Option<String> {
        if holder.age < NAME_HOLDER_AFTER {
            return None;
        }
        let said = |(who, named_us): &(Who, i64)| *who == holder.who && clock_us - named_us < micros(NAME_HOLDER_EVERY);
        if self.named.as_ref().is_some_and(said) {
            return None;
        }
        self.named = Some((holder.who.clone(), clock_us));
        Some(format!("{holder}, holds back newer rows; they all follow when it ends"))
    }

    fn margin_us(&self) -> i64 {
        micros(self.rules.begin_margin)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    None,
    At(i64),
    /// Found without any former W: nothing is known to be safe.
    Unknown,
}

impl Bound {
    fn is_tighter_than(self, other: Bound) -> bool {
        match (self, other) {
            (Bound::None, _) | (_, Bound::Unknown) => false,
            (Bound::Unknown, _) | (_, Bound::None) => true,
            (Bound::At(own), Bound::At(other)) => own < other,
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
#[path = "horizon_tests.rs"]
mod tests;
