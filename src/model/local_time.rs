//! The local day and hour of an instant, for partition folders and totals.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_HOUR: i64 = 3_600 * MICROS_PER_SECOND;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// One zone's wall clock, which remembers the offset it used last.
#[derive(Clone, Debug)]
pub struct LocalTime {
    zone: Tz,
    /// Instants from `start_us` to before `end_us` are all `offset_us` east of UTC.
    start_us: i64,
    end_us: i64,
    offset_us: i64,
}

impl LocalTime {
    pub fn new(zone: Tz) -> Self {
        let everything = if zone == Tz::UTC { (i64::MIN, i64::MAX) } else { (0, 0) };
        LocalTime { zone, start_us: everything.0, end_us: everything.1, offset_us: 0 }
    }

    /// Days since 1970-01-01 of an instant between the years 1 and 9999.
    #[inline]
    pub fn day(&mut self, instant_us: i64) -> i32 {
        let offset_us = self.offset_at(instant_us);
        // In range for the years 1 to 9999, to which `validate` confines the partition column.
        (instant_us + offset_us).div_euclid(MICROS_PER_DAY) as i32
    }

    /// The instant at which the wall clock's hour began: whole hours of the clock, so that it lies at half past an
    /// hour of UTC in a zone that is half an hour off. An hour that comes twice when clocks go back is two.
    #[inline]
    pub fn hour_start_us(&mut self, instant_us: i64) -> i64 {
        let local_us = instant_us + self.offset_at(instant_us);
        instant_us - local_us.rem_euclid(MICROS_PER_HOUR)
    }

    #[inline]
    fn offset_at(&mut self, instant_us: i64) -> i64 {
        if !(self.start_us..self.end_us).contains(&instant_us) {
            return self.look_up(instant_us);
        }
        self.offset_us
    }

    /// Remembers the offset for the instant's whole UTC day if both its ends have the same one. That is safe: in the
    /// whole time-zone database no two changes of one zone lie closer than 344,400 seconds.
    fn look_up(&mut self, instant_us: i64) -> i64 {
        let start_us = instant_us.div_euclid(MICROS_PER_DAY) * MICROS_PER_DAY;
        let end_us = start_us + MICROS_PER_DAY;
        let offset_us = self.offset_us(start_us);
        if offset_us == self.offset_us(end_us - 1) {
            (self.start_us, self.end_us, self.offset_us) = (start_us, end_us, offset_us);
            return offset_us;
        }
        self.offset_us(instant_us)
    }

    fn offset_us(&self, instant_us: i64) -> i64 {
        let instant = DateTime::from_timestamp_micros(instant_us).unwrap_or_default();
        let offset = self.zone.offset_from_utc_datetime(&instant.naive_utc());
        i64::from(offset.fix().local_minus_utc()) * MICROS_PER_SECOND
    }
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
            let mut days = LocalTime::new(zone);
            for step in 0..600 {
                let instant = start + step * 7 * 60 * MICROS_PER_SECOND + (step % 2) * 999_999;
                assert_eq!(days.day(instant), day_by_chrono(zone, instant), "{zone} {instant}");
            }
        }
    }

    #[test]
    fn hours_begin_on_the_wall_clock_and_an_hour_that_comes_twice_is_two() {
        let us = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
        for (zone, instant, start) in [
            (Tz::UTC, "2025-11-18T10:59:59.999999Z", "2025-11-18T10:00:00Z"),
            (Tz::Asia__Kolkata, "2025-11-18T10:29:59Z", "2025-11-18T09:30:00Z"),
            (Tz::Asia__Kolkata, "2025-11-18T10:30:00Z", "2025-11-18T10:30:00Z"),
            (Tz::America__New_York, "2025-11-02T05:59:00Z", "2025-11-02T05:00:00Z"),
            (Tz::America__New_York, "2025-11-02T06:01:00Z", "2025-11-02T06:00:00Z"),
            (Tz::Asia__Kathmandu, "1969-12-31T23:59:59Z", "1969-12-31T23:30:00Z"),
        ] {
            assert_eq!(LocalTime::new(zone).hour_start_us(us(instant)), us(start), "{zone} {instant}");
        }
    }
}
