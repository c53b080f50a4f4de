//! The clock of a column: UTC for `timestamptz`, local time of `cdc.timezone` for `timestamp`.
//!
//! Two directions with different duties. The horizon goes from UTC to the column's clock and must never promise too
//! much: in the hour that a zone repeats it stands still (`ColumnClock::horizon`). Values go from the column to UTC
//! for the message, as PostgreSQL's own `AT TIME ZONE` would move them (`LocalToUtc`): a repeated time is taken in
//! its second, standard-time meaning, a skipped one with the offset before the gap. So a comparison made in SQL agrees.

use chrono::offset::{LocalResult, Offset, TimeZone};
use chrono::{DateTime, NaiveDateTime};
use chrono_tz::Tz;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_HOUR: i64 = 3_600 * MICROS_PER_SECOND;
/// No zone ever set its clocks back by more than a day.
const LONGEST_FALL_BACK_US: i64 = 25 * MICROS_PER_HOUR;
/// An instant this much before a local time lies before any change of offset that could have made it: offsets reach
/// to 16 hours in the database's history.
const BEFORE_ANY_GAP_US: i64 = 16 * MICROS_PER_HOUR;

/// The clock of the timestamp column, and how finely the column keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnClock {
    /// `None` where the column's clock is UTC.
    zone: Option<Tz>,
    /// Smallest step of the column in microseconds: 1 for precision 6.
    unit_us: i64,
}

impl ColumnClock {
    /// `precision` is the number of fractional digits the column keeps, 0 to 6.
    pub fn new(has_zone: bool, timezone: Tz, precision: u8) -> Self {
        let zone = if has_zone { None } else { local_zone(timezone) };
        ColumnClock { zone, unit_us: 10_i64.pow(6 - u32::from(precision.min(6))) }
    }

    /// The largest value of the column such that no row written at or after the instant `utc_us` lies below it.
    ///
    /// Before clocks are set back, that is the time they will be set back to: rows of the repeated hour wait until
    /// it is over and are then read in one go. A column that rounds moves a value by up to half its unit (H5).
    pub fn horizon(&self, utc_us: i64) -> i64 {
        let local_us = match self.zone {
            None => utc_us,
            Some(zone) => lowest_local_from(zone, utc_us),
        };
        if self.unit_us == 1 { local_us } else { local_us.div_euclid(self.unit_us) * self.unit_us - self.unit_us / 2 }
    }

    /// What a clock of this column shows at the instant.
    pub fn show(&self, utc_us: i64) -> i64 {
        self.zone.map_or(utc_us, |zone| utc_us.saturating_add(offset_at(zone, utc_us)))
    }

    /// The earliest instant whose horizon can have been `column_us`.
    pub fn earliest_instant(&self, column_us: i64) -> i64 {
        match self.zone {
            None => column_us,
            Some(zone) => match local_offset(zone, column_us) {
                LocalResult::Single(offset) => column_us.saturating_sub(offset),
                LocalResult::Ambiguous(first, second) => column_us.saturating_sub(first.max(second)),
                LocalResult::None => column_us.saturating_sub(offset_at(zone, column_us - BEFORE_ANY_GAP_US)),
            },
        }
    }
}

/// Moves values of `timestamp` columns into UTC, remembering the offset of the last quarter of an hour.
#[derive(Clone, Debug)]
pub struct LocalToUtc {
    zone: Option<Tz>,
    /// Start of the remembered quarter and its offset; neighbouring rows nearly always share it.
    memo: Option<(i64, i64)>,
}

const MEMO_US: i64 = MICROS_PER_HOUR / 4;

impl LocalToUtc {
    pub fn new(timezone: Tz) -> Self {
        LocalToUtc { zone: local_zone(timezone), memo: None }
    }

    #[inline]
    pub fn convert(&mut self, local_us: i64) -> i64 {
        let Some(zone) = self.zone else { return local_us };
        let start = local_us.div_euclid(MEMO_US) * MEMO_US;
        match self.memo {
            Some((known, offset)) if known == start => local_us - offset,
            _ => self.look_up(zone, start, local_us),
        }
    }

    fn look_up(&mut self, zone: Tz, start: i64, local_us: i64) -> i64 {
        // One offset at both ends, and no doubt at either: no change lies in between.
        if let (LocalResult::Single(first), LocalResult::Single(last)) =
            (local_offset(zone, start), local_offset(zone, start + MEMO_US))
            && first == last
        {
            self.memo = Some((start, first));
            return local_us - first;
        }
        let offset = match local_offset(zone, local_us) {
            LocalResult::Single(offset) => offset,
            LocalResult::Ambiguous(first, second) => first.min(second),
            LocalResult::None => offset_at(zone, local_us - BEFORE_ANY_GAP_US),
        };
        local_us - offset
    }
}

fn local_zone(timezone: Tz) -> Option<Tz> {
    (!matches!(timezone, Tz::UTC | Tz::Etc__UTC | Tz::GMT | Tz::Etc__GMT | Tz::Zulu | Tz::Etc__Zulu | Tz::UCT))
        .then_some(timezone)
}

/// Offset from UTC in microseconds at an instant.
fn offset_at(zone: Tz, utc_us: i64) -> i64 {
    seconds(zone.offset_from_utc_datetime(&naive(utc_us)).fix().local_minus_utc())
}

/// Offset, or offsets, of a local time.
fn local_offset(zone: Tz, local_us: i64) -> LocalResult<i64> {
    zone.offset_from_local_datetime(&naive(local_us)).map(|offset| seconds(offset.fix().local_minus_utc()))
}

fn seconds(seconds: i32) -> i64 {
    i64::from(seconds) * MICROS_PER_SECOND
}

/// Beyond chrono's years no zone has rules of its own, so the nearest moment it knows serves.
fn naive(us: i64) -> NaiveDateTime {
    let bounded = us.clamp(
        DateTime::UNIX_EPOCH.timestamp_micros() - 4_000 * 365 * 24 * MICROS_PER_HOUR,
        8_000 * 365 * 24 * MICROS_PER_HOUR,
    );
    DateTime::from_timestamp_micros(bounded).unwrap_or(DateTime::UNIX_EPOCH).naive_utc()
}

/// The lowest local time that the zone's clock shows at `utc_us` or later.
fn lowest_local_from(zone: Tz, utc_us: i64) -> i64 {
    let offset = offset_at(zone, utc_us);
    let local_us = utc_us.saturating_add(offset);
    let later = utc_us.saturating_add(LONGEST_FALL_BACK_US);
    if offset_at(zone, later) >= offset {
        return local_us;
    }
    // Clocks are set back within the day: find the instant.
    let (mut before, mut after) = (utc_us, later);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if offset_at(zone, middle) < offset { after = middle } else { before = middle }
    }
    local_us.min(after.saturating_add(offset_at(zone, after)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::position::parse_timestamp_us;

    const NEW_YORK: Tz = Tz::America__New_York;

    fn us(text: &str) -> i64 {
        parse_timestamp_us(text).unwrap()
    }

    #[test]
    fn the_horizon_stands_still_while_an_hour_is_about_to_be_repeated() {
        let clock = ColumnClock::new(false, NEW_YORK, 6);
        // In 2025 New York sets its clocks from 02:00 back to 01:00 at 06:00 UTC on 2 November.
        for (utc, horizon) in [
            ("2025-11-02 04:59:59", "2025-11-02 00:59:59"),
            ("2025-11-02 05:00:01", "2025-11-02 01:00:00"),
            ("2025-11-02 05:59:59.999999", "2025-11-02 01:00:00"),
            ("2025-11-02 06:00:00", "2025-11-02 01:00:00"),
            ("2025-11-02 06:30:00", "2025-11-02 01:30:00"),
            ("2025-11-02 07:30:00", "2025-11-02 02:30:00"),
            ("2025-07-01 12:00:00", "2025-07-01 08:00:00"),
        ] {
            assert_eq!(clock.horizon(us(utc)), us(horizon), "{utc}");
        }
        assert_eq!(clock.show(us("2025-11-02 05:30:00")), us("2025-11-02 01:30:00"));
        assert_eq!(clock.earliest_instant(us("2025-11-02 01:00:00")), us("2025-11-02 05:00:00"));
    }

    #[test]
    fn the_horizon_never_goes_back_and_never_passes_a_later_local_time() {
        let clock = ColumnClock::new(false, NEW_YORK, 6);
        for day in ["2025-11-02 00:00:00", "2025-03-09 00:00:00"] {
            let mut last = i64::MIN;
            for minute in 0..1_440 {
                let now = us(day) + minute * 60 * MICROS_PER_SECOND;
                let horizon = clock.horizon(now);
                assert!(horizon >= last);
                last = horizon;
                for later in 0..180 {
                    assert!(clock.show(now + later * 60 * MICROS_PER_SECOND) >= horizon);
                }
            }
        }
    }

    #[test]
    fn a_column_that_rounds_keeps_the_horizon_below_every_value_it_can_round_to() {
        for (precision, unit) in [(0, 1_000_000_i64), (3, 1_000), (5, 10), (6, 1)] {
            let clock = ColumnClock::new(true, Tz::UTC, precision);
            for written in (0..2_500_000).step_by(1_237).map(|step| us("2025-11-18 10:00:00") + step) {
                let rounded = (written + unit / 2).div_euclid(unit) * unit;
                assert!(rounded >= clock.horizon(written), "a row written at the horizon must not lie below it");
            }
        }
    }

    #[test]
    fn utc_and_timestamptz_need_no_conversion() {
        let now = us("2025-11-02 05:30:00");
        assert_eq!(ColumnClock::new(true, NEW_YORK, 6).horizon(now), now);
        assert_eq!(ColumnClock::new(false, Tz::UTC, 6).horizon(now), now);
        assert_eq!(LocalToUtc::new(Tz::UTC).convert(now), now);
    }

    #[test]
    fn repeated_and_skipped_times_are_read_as_postgresql_reads_them() {
        let mut zone = LocalToUtc::new(NEW_YORK);
        for (local, utc) in [
            ("2025-11-02 00:30:00", "2025-11-02 04:30:00"),
            ("2025-11-02 01:30:00", "2025-11-02 06:30:00"),
            ("2025-11-02 01:00:00", "2025-11-02 06:00:00"),
            ("2025-11-02 02:00:00", "2025-11-02 07:00:00"),
            ("2025-03-09 01:59:59", "2025-03-09 06:59:59"),
            ("2025-03-09 02:30:00", "2025-03-09 07:30:00"),
            ("2025-03-09 03:00:00", "2025-03-09 07:00:00"),
        ] {
            assert_eq!(zone.convert(us(local)), us(utc), "{local}");
        }
        let mut kolkata = LocalToUtc::new(Tz::Asia__Kolkata);
        assert_eq!(kolkata.convert(us("2025-11-18 00:10:00")), us("2025-11-17 18:40:00"));
        assert_eq!(kolkata.convert(us("2025-11-18 00:10:00.000001")), us("2025-11-17 18:40:00.000001"));
    }
}
