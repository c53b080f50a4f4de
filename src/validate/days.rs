//! The local day of an instant, for partition folders.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

use crate::wire::decode::{MICROS_PER_DAY, MICROS_PER_SECOND};

/// Days since 1970-01-01 on one zone's wall clock.
#[derive(Clone, Debug)]
pub(super) struct LocalDays {
    zone: Tz,
    /// Instants from `start_us` to before `end_us` are all `offset_us` east of UTC.
    start_us: i64,
    end_us: i64,
    offset_us: i64,
}

impl LocalDays {
    pub(super) fn new(zone: Tz) -> Self {
        let everything = if zone == Tz::UTC { (i64::MIN, i64::MAX) } else { (0, 0) };
        LocalDays { zone, start_us: everything.0, end_us: everything.1, offset_us: 0 }
    }

    /// The day of an instant between the years 1 and 9999.
    #[inline]
    pub(super) fn day(&mut self, instant_us: i64) -> i32 {
        if !(self.start_us..self.end_us).contains(&instant_us) {
            return self.look_up(instant_us);
        }
        day_at(instant_us, self.offset_us)
    }

    /// Remembers the offset for the instant's whole UTC day if both its ends have the same one. That is safe: in the
    /// whole time-zone database no two changes of one zone lie closer than 344,400 seconds.
    fn look_up(&mut self, instant_us: i64) -> i32 {
        let start_us = instant_us.div_euclid(MICROS_PER_DAY) * MICROS_PER_DAY;
        let end_us = start_us + MICROS_PER_DAY;
        let offset_us = self.offset_us(start_us);
        if offset_us == self.offset_us(end_us - 1) {
            (self.start_us, self.end_us, self.offset_us) = (start_us, end_us, offset_us);
            return day_at(instant_us, offset_us);
        }
        day_at(instant_us, self.offset_us(instant_us))
    }

    fn offset_us(&self, instant_us: i64) -> i64 {
        let instant = DateTime::from_timestamp_micros(instant_us).unwrap_or_default();
        let offset = self.zone.offset_from_utc_datetime(&instant.naive_utc());
        i64::from(offset.fix().local_minus_utc()) * MICROS_PER_SECOND
    }
}

fn day_at(instant_us: i64, offset_us: i64) -> i32 {
    // In range for the years 1 to 9999, to which `rules` confines the partition column.
    (instant_us + offset_us).div_euclid(MICROS_PER_DAY) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day_by_chrono(zone: Tz, instant_us: i64) -> i32 {
        let local = DateTime::from_timestamp_micros(instant_us).unwrap().with_timezone(&zone).date_naive();
        local.to_epoch_days()
    }

    /// Steps of seven minutes over times in which these zones change, cross the date line, or skip a day.
    #[test]
    fn local_days_agree_with_the_calendar_across_changes() {
        let cases = [
            (Tz::UTC, "2025-12-31T20:00:00Z"),
            (Tz::Asia__Kolkata, "2025-11-17T12:00:00Z"),
            (Tz::America__New_York, "2025-11-01T20:00:00Z"),
            (Tz::America__St_Johns, "2006-10-28T20:00:00Z"),
            (Tz::Pacific__Apia, "2011-12-29T00:00:00Z"),
            (Tz::Africa__Cairo, "2010-08-10T00:00:00Z"),
            (Tz::Europe__Amsterdam, "1937-06-29T20:00:00Z"),
        ];
        for (zone, start) in cases {
            let start = DateTime::parse_from_rfc3339(start).unwrap().timestamp_micros();
            let mut days = LocalDays::new(zone);
            for step in 0..600 {
                let instant = start + step * 7 * 60 * MICROS_PER_SECOND + (step % 2) * 999_999;
                assert_eq!(days.day(instant), day_by_chrono(zone, instant), "{zone} {instant}");
            }
        }
    }
}
