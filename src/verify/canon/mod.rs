//! One canonical form of a row, reached from three sides without the pipeline's own codec: the server's text of
//! each column, Arrow values of the lake, and the JSON of a message.
//!
//! Guarantee: two sides agree exactly when the values are equal as their lake type sees them; `1.50` and `1.5` are
//! one number, two microseconds are two moments, an empty text is not null. A row becomes one 64-bit digest under a
//! key drawn for the run, so that nobody can prepare two rows that look alike.
//! Neighbours: `ledger` keeps the digests, `read_source`, `read_lake` and `read_broker` feed them.

mod columns;
mod json;

use std::hash::{BuildHasher, Hasher, RandomState};

use arrow::datatypes::DataType as ArrowType;
use chrono::{NaiveDate, Offset, TimeZone};
use chrono_tz::Tz;

pub(super) use columns::LakeColumns;
pub(super) use json::message_digest;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// Exponents beyond this are kept as text: no decimal of the lake reaches 38 digits.
const MAX_EXPONENT: i32 = 400;

/// How a column's values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Integers and decimals: digits without trailing zeros.
    Number,
    Double,
    Boolean,
    Text,
    /// JSON text without the spaces around it; its `null` is null.
    Json,
    Date,
    /// The source shows local time of this zone, the lake an instant.
    Local(Tz),
    Instant,
}

/// The columns that are compared: those of the lake, in its order.
#[derive(Clone, Debug)]
pub(super) struct Forms {
    pub columns: Vec<(String, Form)>,
    state: RandomState,
}

/// The form that an Arrow type of the lake asks for; `None` for a type no lake of ours has. `local`: the table's
/// column shows local time of `zone`. Arrow has one type for text and JSON, so JSON is for the caller to say.
pub(super) fn form_of(data_type: &ArrowType, local: bool, zone: Tz) -> Option<Form> {
    Some(match data_type {
        ArrowType::Int16 | ArrowType::Int32 | ArrowType::Int64 | ArrowType::Decimal128(..) => Form::Number,
        ArrowType::Float64 => Form::Double,
        ArrowType::Boolean => Form::Boolean,
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => Form::Text,
        ArrowType::Date32 => Form::Date,
        ArrowType::Timestamp(..) if local => Form::Local(zone),
        ArrowType::Timestamp(..) => Form::Instant,
        _ => return None,
    })
}

impl Forms {
    pub fn of(columns: Vec<(String, Form)>) -> Forms {
        Forms { columns, state: RandomState::new() }
    }

    /// The digest of a row whose values `canon` has put into `row`.
    pub fn digest(&self, row: &Canon) -> u64 {
        self.digest_bytes(&row.bytes)
    }

    pub fn digest_bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

/// The canonical bytes of one row; reused from row to row.
#[derive(Debug, Default)]
pub(super) struct Canon {
    bytes: Vec<u8>,
    scratch: Vec<u8>,
}

impl Canon {
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    pub fn null(&mut self) {
        self.bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    }

    /// The length goes first, so that no two rows share their bytes.
    pub fn value(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(value);
    }

    fn moment(&mut self, micros: i64) {
        self.value(&micros.to_le_bytes());
    }

    fn double(&mut self, value: f64) {
        let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        self.value(&bits.to_le_bytes());
    }

    fn number(&mut self, text: &[u8]) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        if plain_number(text, &mut scratch) {
            self.value(&scratch);
        } else {
            self.value(text);
        }
        self.scratch = scratch;
    }

    /// A value as the server writes it.
    pub fn source(&mut self, form: Form, text: Option<&[u8]>) {
        let Some(text) = text else { return self.null() };
        match form {
            Form::Number => self.number(text),
            Form::Double => self.double_text(text),
            Form::Boolean | Form::Text | Form::Date => self.value(text),
            Form::Json => match text.trim_ascii() {
                b"null" => self.null(),
                document => self.value(document),
            },
            Form::Local(zone) => match parse_moment(text) {
                Some((micros, None)) => self.moment(existing_local(zone, micros)),
                _ => self.value(text),
            },
            Form::Instant => match parse_moment(text) {
                Some((micros, offset)) => self.moment(micros - offset.unwrap_or(0)),
                None => self.value(text),
            },
        }
    }

    /// An instant of the lake or of a message, in microseconds of UTC.
    fn instant(&mut self, form: Form, utc_us: i64) {
        match form {
            Form::Local(zone) => self.moment(local_micros(zone, utc_us)),
            _ => self.moment(utc_us),
        }
    }

    fn double_text(&mut self, text: &[u8]) {
        match std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()) {
            Some(value) => self.double(value),
            None => self.value(text),
        }
    }
}

/// What a clock of the zone shows at an instant. This direction is a function, the other is not.
pub(super) fn local_micros(zone: Tz, utc_us: i64) -> i64 {
    if zone == Tz::UTC {
        return utc_us;
    }
    match chrono::DateTime::from_timestamp_micros(utc_us) {
        Some(moment) => {
            let offset = zone.offset_from_utc_datetime(&moment.naive_utc()).fix().local_minus_utc();
            utc_us + i64::from(offset) * MICROS_PER_SECOND
        }
        None => utc_us,
    }
}

/// A local time that the zone skipped (the hour lost in spring) stands for the instant that the offset before the
/// gap gives; its clock then shows a later time. Every other local time stands for itself.
fn existing_local(zone: Tz, local_us: i64) -> i64 {
    if zone == Tz::UTC {
        return local_us;
    }
    let Some(local) = chrono::DateTime::from_timestamp_micros(local_us).map(|moment| moment.naive_utc()) else {
        return local_us;
    };
    if zone.offset_from_local_datetime(&local) != chrono::LocalResult::None {
        return local_us;
    }
    // Offsets reach to 16 hours in the history of zones: this instant lies before the gap, and near it.
    let before = zone.offset_from_utc_datetime(&(local - chrono::TimeDelta::hours(16))).fix().local_minus_utc();
    local_micros(zone, local_us - i64::from(before) * MICROS_PER_SECOND)
}

/// Writes a decimal number without exponent, leading plus, needless zeros; false when it is not one.
fn plain_number(text: &[u8], out: &mut Vec<u8>) -> bool {
    let (negative, rest) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let mut exponent = 0i32;
    let mut mantissa = rest;
    if let Some(at) = rest.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        let Some(value) = std::str::from_utf8(&rest[at + 1..]).ok().and_then(|text| text.parse::<i32>().ok()) else {
            return false;
        };
        if value.abs() > MAX_EXPONENT {
            return false;
        }
        (mantissa, exponent) = (&rest[..at], value);
    }
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let whole = &mantissa[..point.unwrap_or(mantissa.len())];
    let fraction = point.map_or(&[][..], |at| &mantissa[at + 1..]);
    if whole.len() + fraction.len() == 0 || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return false;
    }
    let start = out.len();
    if negative {
        out.push(b'-');
    }
    let digits = whole.len() as i32 + exponent;
    let all = || whole.iter().chain(fraction).copied();
    let before = all().take(digits.max(0) as usize).skip_while(|digit| *digit == b'0');
    out.extend(before);
    let nonzero = out.len() > start + usize::from(negative);
    let padding = (digits - (whole.len() + fraction.len()) as i32).max(0) as usize;
    if nonzero {
        out.resize(out.len() + padding, b'0');
    } else {
        out.push(b'0');
    }
    let point_at = out.len();
    out.push(b'.');
    out.resize(out.len() + (-digits).max(0) as usize, b'0');
    out.extend(all().skip(digits.max(0) as usize));
    let kept = out[point_at..].iter().rposition(|byte| *byte != b'0').expect("the point itself is not a zero");
    out.truncate(point_at + if kept == 0 { 0 } else { kept + 1 });
    if out[start..] == *b"-0" {
        out.remove(start);
    }
    true
}

/// Microseconds and, where one is written, the offset in microseconds, of `2025-11-18 10:00:00[.5][+05:30|Z]`, with a
/// space or a T, for the years 1 to 9999; anything else (infinity, BC) is `None`.
pub(super) fn parse_moment(text: &[u8]) -> Option<(i64, Option<i64>)> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let is = |at: usize, bytes: &[u8]| text.get(at).is_some_and(|byte| bytes.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b" Tt") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(number(0..4)? as i32, number(5..7)? as u32, number(8..10)? as u32)?;
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut fraction = 0;
    if is(at, b".") {
        let digits = text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > 6 {
            return None;
        }
        fraction = number(at + 1..at + 1 + digits)? * 10i64.pow(6 - digits as u32);
        at += 1 + digits;
    }
    let days = i64::from(date.to_epoch_days());
    let micros = days * MICROS_PER_DAY + ((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + fraction;
    let offset = match text.get(at..)? {
        [] => None,
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let minutes = match rest.len() {
                2 => 0,
                5 if rest[2] == b':' => number(at + 4..at + 6)?,
                _ => return None,
            };
            let seconds = (number(at + 1..at + 3)? * 60 + minutes) * 60;
            Some(if *sign == b'-' { -seconds } else { seconds } * MICROS_PER_SECOND)
        }
        _ => return None,
    };
    Some((micros, offset))
}

#[cfg(test)]
mod tests;
