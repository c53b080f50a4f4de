//! Dates and instants from their RFC 3339 text.

use chrono::{Datelike, NaiveDate};

use crate::model::Reason;

pub const MICROS_PER_SECOND: i64 = 1_000_000;
pub const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Finest fraction that the lake's microseconds hold.
const FRACTION_DIGITS: usize = 6;

/// The last date that was read: rows come in the order of time, so the next one has it too.
#[derive(Clone, Debug)]
pub(super) struct DayMemo {
    text: [u8; 10],
    days: i32,
}

impl Default for DayMemo {
    /// A true pair from the start, so that no text can match an empty memo.
    fn default() -> Self {
        DayMemo { text: *b"1970-01-01", days: 0 }
    }
}

impl DayMemo {
    #[inline]
    fn days(&mut self, text: &[u8; 10]) -> Result<i32, Reason> {
        if *text != self.text {
            self.days = parse_date(text)?;
            self.text = *text;
        }
        Ok(self.days)
    }
}

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub(super) fn date(text: &[u8], memo: &mut DayMemo) -> Result<i32, Reason> {
    memo.days(text.try_into().map_err(|_| Reason::Unparseable)?)
}

fn parse_date(text: &[u8; 10]) -> Result<i32, Reason> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *text else { return Err(Reason::Unparseable) };
    let two = |tens, ones| two_digits(tens, ones).ok_or(Reason::Unparseable);
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    // PostgreSQL's calendar goes from 1 BC to 1 AD: its text never says year zero.
    let date = NaiveDate::from_ymd_opt(year as i32, two(m1, m2)?, two(d1, d2)?).filter(|_| year > 0);
    let date = date.ok_or(Reason::Unparseable)?;
    Ok(date.num_days_from_ce() - EPOCH_DAYS_FROM_CE)
}

/// 1970-01-01, counted from the first day of the common era.
const EPOCH_DAYS_FROM_CE: i32 = 719_163;

#[inline]
fn two_digits(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// Microseconds since the epoch of `2025-11-18T10:00:00[.123456](Z|±05:30)`; a space may stand for the `T`.
/// Text without a zone names no instant and does not parse.
#[inline]
pub(super) fn timestamp(text: &[u8], memo: &mut DayMemo) -> Result<i64, Reason> {
    let (day, rest) = text.split_first_chunk::<10>().ok_or(Reason::Unparseable)?;
    let (clock, rest) = rest.split_first_chunk::<9>().ok_or(Reason::Unparseable)?;
    let [b'T' | b't' | b' ', h1, h2, b':', m1, m2, b':', s1, s2] = *clock else { return Err(Reason::Unparseable) };
    let days = memo.days(day)?;
    let hour = two_digits(h1, h2).filter(|&hour| hour < 24).ok_or(Reason::Unparseable)?;
    let minute = two_digits(m1, m2).filter(|&minute| minute < 60).ok_or(Reason::Unparseable)?;
    let second = two_digits(s1, s2).filter(|&second| second <= 60).ok_or(Reason::Unparseable)?;
    if second == 60 {
        // A leap second is a valid time that microseconds since the epoch cannot name.
        return Err(Reason::OutOfRange);
    }
    let (fraction_us, zone) = fraction(rest)?;
    let offset_minutes = zone_offset(zone)?;
    let seconds = i64::from(hour * 3600 + minute * 60 + second) - offset_minutes * 60;
    Ok(i64::from(days) * MICROS_PER_DAY + seconds * MICROS_PER_SECOND + fraction_us)
}

/// Microseconds of the fraction, if there is one, and what follows.
#[inline(always)]
fn fraction(rest: &[u8]) -> Result<(i64, &[u8]), Reason> {
    let Some(rest) = rest.strip_prefix(b".") else { return Ok((0, rest)) };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return Err(Reason::Unparseable);
    }
    let (digits, rest) = rest.split_at(length);
    let (kept, cut) = digits.split_at(length.min(FRACTION_DIGITS));
    if cut.iter().any(|&digit| digit != b'0') {
        return Err(Reason::OutOfRange);
    }
    let value = kept.iter().fold(0, |value, &digit| value * 10 + i64::from(digit - b'0'));
    Ok((value * 10i64.pow((FRACTION_DIGITS - kept.len()) as u32), rest))
}

/// Minutes east of UTC.
#[inline]
fn zone_offset(zone: &[u8]) -> Result<i64, Reason> {
    match *zone {
        [b'Z' | b'z'] => Ok(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let hours = two_digits(h1, h2).filter(|&hours| hours < 24).ok_or(Reason::Unparseable)?;
            let minutes = two_digits(m1, m2).filter(|&minutes| minutes < 60).ok_or(Reason::Unparseable)?;
            let east = i64::from(hours * 60 + minutes);
            Ok(if sign == b'-' { -east } else { east })
        }
        _ => Err(Reason::Unparseable),
    }
}

/// Reads an instant from a whole text, for bounds that stand in a configuration.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    timestamp(text.trim().as_bytes(), &mut DayMemo::default()).ok()
}

/// Reads a day from a whole text, for bounds that stand in a configuration.
pub fn parse_day(text: &str) -> Option<i32> {
    date(text.trim().as_bytes(), &mut DayMemo::default()).ok()
}
