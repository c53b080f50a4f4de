//! Writing messages: one JSON object per row, straight into the batch's buffer.
//!
//! Keys come in column order without spaces. A number keeps every digit the source had; a timestamp is RFC 3339
//! in UTC with a fraction only when it is not zero. What JSON or RFC 3339 cannot hold (NaN, `infinity`, years
//! before 1 or after 9999) is written as the string PostgreSQL shows, so that the consumer can put it aside
//! with a reason instead of receiving a broken document. Nothing here allocates per row.
//! `postgres::codec` decides which writer serves a column; `wire`'s decoder reads the result.

use std::fmt;
use std::io::Write;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// PostgreSQL's own extremes: `infinity` and `-infinity` of both timestamp types.
pub const TIMESTAMP_INFINITY: i64 = i64::MAX;
pub const TIMESTAMP_MINUS_INFINITY: i64 = i64::MIN;
/// The same for dates, in days.
pub const DATE_INFINITY: i32 = i32::MAX;
pub const DATE_MINUS_INFINITY: i32 = i32::MIN;

/// The fixed parts of a table's messages, escaped once.
#[derive(Clone)]
pub struct RowEncoder {
    /// `{"name":` for the first column, `,"name":` for the others.
    prefixes: Vec<Box<[u8]>>,
}

impl RowEncoder {
    pub fn new<S: AsRef<str>>(names: &[S]) -> Self {
        let prefixes = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let mut prefix = vec![if index == 0 { b'{' } else { b',' }];
                string(&mut prefix, name.as_ref().as_bytes());
                prefix.push(b':');
                prefix.into_boxed_slice()
            })
            .collect();
        RowEncoder { prefixes }
    }

    /// Opens the column `index`; columns are written in order, from 0 to the last.
    #[inline]
    pub fn column(&self, out: &mut Vec<u8>, index: usize) {
        out.extend_from_slice(&self.prefixes[index]);
    }

    /// Closes the object.
    #[inline]
    pub fn finish(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.prefixes.is_empty() { b"{}" } else { b"}" });
    }
}

impl fmt::Debug for RowEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowEncoder({} columns)", self.prefixes.len())
    }
}

#[inline]
pub fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}

#[inline]
pub fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

#[inline]
pub fn integer(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The shortest digits that read back as the same double; what is not finite becomes a string.
pub fn double(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        serde_json::to_writer(out, &value).expect("a finite number into memory cannot fail");
    } else {
        not_finite(out, value.is_nan(), value < 0.0);
    }
}

/// As `double`, with the digits of a single-precision number: 0.1, and not 0.10000000149011612.
///
/// The digits are PostgreSQL's. Its shortest text never names the very middle between two single-precision numbers,
/// which only reads back by rounding to even: whoever reads it as a double would see a third number.
pub fn float(out: &mut Vec<u8>, value: f32) {
    if !value.is_finite() {
        return not_finite(out, value.is_nan(), value < 0.0);
    }
    let start = out.len();
    serde_json::to_writer(&mut *out, &value).expect("a finite number into memory cannot fail");
    if is_halfway(&out[start..], value) {
        write_finer(out, start, value);
    }
}

/// One digit more than the shortest, or as many as it takes.
#[cold]
fn write_finer(out: &mut Vec<u8>, start: usize, value: f32) {
    let shortest = format!("{value:e}");
    let mut digits = shortest.bytes().take_while(|&byte| byte != b'e').filter(u8::is_ascii_digit).count();
    while is_halfway(&out[start..], value) {
        digits += 1;
        out.truncate(start);
        write!(out, "{value:.*e}", digits - 1).expect("text into memory cannot fail");
    }
}

fn is_halfway(text: &[u8], value: f32) -> bool {
    let read = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    let (exact, up, down) = (f64::from(value), f64::from(value.next_up()), f64::from(value.next_down()));
    read.is_some_and(|read| read == (exact + up) / 2.0 || read == (exact + down) / 2.0)
}

/// `"NaN"`, `"Infinity"` or `"-Infinity"`, for doubles and for numerics.
pub fn not_finite(out: &mut Vec<u8>, is_nan: bool, is_negative: bool) {
    out.extend_from_slice(match (is_nan, is_negative) {
        (true, _) => b"\"NaN\"".as_slice(),
        (false, false) => b"\"Infinity\"",
        (false, true) => b"\"-Infinity\"",
    });
}

/// `unscaled / 10^scale`, with exactly `scale` digits after the point.
pub fn decimal(out: &mut Vec<u8>, unscaled: i128, scale: u8) {
    if unscaled < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(unscaled.unsigned_abs()).as_bytes();
    let scale = usize::from(scale);
    let whole = digits.len().saturating_sub(scale);
    out.extend_from_slice(if whole == 0 { b"0" } else { &digits[..whole] });
    if scale > 0 {
        out.push(b'.');
        out.resize(out.len() + scale.saturating_sub(digits.len()), b'0');
        out.extend_from_slice(&digits[whole..]);
    }
}

/// An instant, microseconds since 1970 in UTC, quoted: `"2025-11-18T10:00:00.5Z"`.
/// Outside the years 1 to 9999 the text is PostgreSQL's.
#[inline]
pub fn timestamp(out: &mut Vec<u8>, utc_us: i64) {
    out.push(b'"');
    if timestamp_is_plain(utc_us) {
        date_digits(out, civil_from_days(utc_us.div_euclid(MICROS_PER_DAY)));
        out.push(b'T');
        time_digits(out, utc_us.rem_euclid(MICROS_PER_DAY));
        out.push(b'Z');
    } else {
        timestamp_text(out, utc_us);
    }
    out.push(b'"');
}

/// True for the years 1 to 9999, which RFC 3339 can write.
#[inline]
pub fn timestamp_is_plain(us: i64) -> bool {
    const YEAR_1: i64 = -62_135_596_800 * MICROS_PER_SECOND;
    const YEAR_10000: i64 = 253_402_300_800 * MICROS_PER_SECOND;
    (YEAR_1..YEAR_10000).contains(&us)
}

/// A timestamp in PostgreSQL's ISO form, unquoted and without zone: `2025-11-18 10:00:00.5`,
/// `0044-03-15 00:00:00 BC`, `infinity`. Also the form of the literals in our statements.
pub fn timestamp_text(out: &mut Vec<u8>, us: i64) {
    match us {
        TIMESTAMP_INFINITY => out.extend_from_slice(b"infinity"),
        TIMESTAMP_MINUS_INFINITY => out.extend_from_slice(b"-infinity"),
        _ => moment_text(out, us.div_euclid(MICROS_PER_DAY), us.rem_euclid(MICROS_PER_DAY)),
    }
}

/// The finite case of `timestamp_text`, by days since 1970 and microseconds of the day: PostgreSQL's last thirty
/// years do not fit 64 bits of microseconds since 1970.
pub fn moment_text(out: &mut Vec<u8>, days: i64, us_of_day: i64) {
    let before_christ = era_date(out, days);
    out.push(b' ');
    time_digits(out, us_of_day);
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// A date, days since 1970, quoted, in PostgreSQL's ISO form.
pub fn date(out: &mut Vec<u8>, days: i32) {
    out.push(b'"');
    match days {
        DATE_INFINITY => out.extend_from_slice(b"infinity"),
        DATE_MINUS_INFINITY => out.extend_from_slice(b"-infinity"),
        _ => {
            if era_date(out, i64::from(days)) {
                out.extend_from_slice(b" BC");
            }
        }
    }
    out.push(b'"');
}

/// Writes the date and says whether it lies before Christ, where year 0 is 1 BC.
fn era_date(out: &mut Vec<u8>, days: i64) -> bool {
    let (year, month, day) = civil_from_days(days);
    let before_christ = year <= 0;
    date_digits(out, (if before_christ { 1 - year } else { year }, month, day));
    before_christ
}

/// Days since 1970-01-01 to the proleptic Gregorian date.
/// Source of the algorithm: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
#[inline]
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = (if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 }) as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[inline]
fn date_digits(out: &mut Vec<u8>, (year, month, day): (i64, u32, u32)) {
    if year >= 10_000 {
        integer(out, year);
    } else {
        out.extend_from_slice(&two((year / 100) as u32));
        out.extend_from_slice(&two((year % 100) as u32));
    }
    let (month, day) = (two(month), two(day));
    out.extend_from_slice(&[b'-', month[0], month[1], b'-', day[0], day[1]]);
}

/// `10:00:00`, and the fraction without its trailing zeros when there is one.
#[inline]
fn time_digits(out: &mut Vec<u8>, us_of_day: i64) {
    let seconds = (us_of_day / MICROS_PER_SECOND) as u32;
    let (hour, minute, second) = (two(seconds / 3_600), two(seconds / 60 % 60), two(seconds % 60));
    out.extend_from_slice(&[hour[0], hour[1], b':', minute[0], minute[1], b':', second[0], second[1]]);
    let fraction = (us_of_day % MICROS_PER_SECOND) as u32;
    if fraction != 0 {
        let (high, middle, low) = (two(fraction / 10_000), two(fraction / 100 % 100), two(fraction % 100));
        let digits = [b'.', high[0], high[1], middle[0], middle[1], low[0], low[1]];
        let used = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        out.extend_from_slice(&digits[..used]);
    }
}

#[inline]
fn two(value: u32) -> [u8; 2] {
    [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]
}

/// A uuid, quoted, in the usual hyphenated lower case.
pub fn uuid(out: &mut Vec<u8>, bytes: [u8; 16]) {
    out.push(b'"');
    uuid_text(out, bytes);
    out.push(b'"');
}

pub fn uuid_text(out: &mut Vec<u8>, bytes: [u8; 16]) {
    let mut buffer = uuid::Uuid::encode_buffer();
    let text = uuid::Uuid::from_bytes(bytes).hyphenated().encode_lower(&mut buffer);
    out.extend_from_slice(text.as_bytes());
}

/// JSON text that the source already holds, as it came.
#[inline]
pub fn raw_json(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
}

/// A string with the escapes JSON requires and no others; UTF-8 passes untouched.
#[inline]
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    loop {
        let plain = plain_prefix(rest);
        out.extend_from_slice(&rest[..plain]);
        match rest.get(plain) {
            None => break,
            Some(byte) => escape(out, *byte),
        }
        rest = &rest[plain + 1..];
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        other => {
            let (high, low) = (HEX[usize::from(other >> 4)], HEX[usize::from(other & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    }
}

/// Length of the longest prefix without a byte that needs an escape, eight bytes at a time:
/// order columns are too short for the set-up that wider vector code costs.
#[inline]
fn plain_prefix(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut chunks = text.chunks_exact(8);
    let mut length = 0;
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("chunks_exact gives eight bytes"));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let quote = zero_bytes(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_bytes(word ^ (ONES * u64::from(b'\\')));
        let found = control | quote | backslash;
        if found != 0 {
            // A borrow can only mark bytes above a true hit, so the lowest mark is exact.
            return length + (found.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    let tail = chunks.remainder();
    length + tail.iter().position(|byte| needs_escape(*byte)).unwrap_or(tail.len())
}

#[inline]
fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_row_is_one_object_in_column_order_without_spaces() {
        let encoder = RowEncoder::new(&["order_id", "na\"me", "amount"]);
        let row = text(|out| {
            encoder.column(out, 0);
            integer(out, 1);
            encoder.column(out, 1);
            null(out);
            encoder.column(out, 2);
            decimal(out, 35_000, 2);
            encoder.finish(out);
        });
        assert_eq!(row, r#"{"order_id":1,"na\"me":null,"amount":350.00}"#);
        assert_eq!(text(|out| RowEncoder::new::<&str>(&[]).finish(out)), "{}");
    }

    #[test]
    fn decimals_keep_their_scale_at_every_size() {
        for (unscaled, scale, expected) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-5, 2, "-0.05"),
            (12_345, 2, "123.45"),
            (-100, 2, "-1.00"),
            (7, 0, "7"),
            (i128::MIN, 38, "-1.70141183460469231731687303715884105728"),
        ] {
            assert_eq!(text(|out| decimal(out, unscaled, scale)), expected);
        }
    }

    #[test]
    fn timestamps_show_a_fraction_only_when_there_is_one() {
        let at = |us| text(|out| timestamp(out, us));
        let ten_o_clock = 1_763_460_000_000_000;
        assert_eq!(at(ten_o_clock), "\"2025-11-18T10:00:00Z\"");
        assert_eq!(at(ten_o_clock + 500_000), "\"2025-11-18T10:00:00.5Z\"");
        assert_eq!(at(ten_o_clock + 1), "\"2025-11-18T10:00:00.000001Z\"");
        assert_eq!(at(ten_o_clock + 120), "\"2025-11-18T10:00:00.00012Z\"");
        assert_eq!(at(-1), "\"1969-12-31T23:59:59.999999Z\"");
    }

    #[test]
    fn what_rfc_3339_cannot_hold_is_shown_as_postgresql_does() {
        let at = |us| text(|out| timestamp(out, us));
        assert_eq!(at(i64::MAX), "\"infinity\"");
        assert_eq!(at(i64::MIN), "\"-infinity\"");
        assert_eq!(at(253_402_300_799_999_999), "\"9999-12-31T23:59:59.999999Z\"");
        assert_eq!(at(253_402_300_800_000_000), "\"10000-01-01 00:00:00\"");
        assert_eq!(at(-62_135_596_800_000_000), "\"0001-01-01T00:00:00Z\"");
        assert_eq!(at(-62_135_596_800_000_001), "\"0001-12-31 23:59:59.999999 BC\"");
        assert_eq!(text(|out| date(out, i32::MAX)), "\"infinity\"");
        assert_eq!(text(|out| date(out, i32::MIN)), "\"-infinity\"");
        assert_eq!(text(|out| date(out, -719_163)), "\"0001-12-31 BC\"");
    }

    #[test]
    fn dates_agree_with_chrono_over_the_whole_common_range() {
        let first = chrono::NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
        let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        for step in 0..365_000_i64 {
            let day = first + chrono::Duration::days(step * 10 + step % 7);
            if day.format("%Y").to_string().len() > 4 {
                break;
            }
            let days = (day - epoch).num_days() as i32;
            assert_eq!(text(|out| date(out, days)), format!("\"{}\"", day.format("%Y-%m-%d")));
        }
    }

    #[test]
    fn floats_are_shortest_and_never_break_the_document() {
        assert_eq!(text(|out| double(out, 0.1)), "0.1");
        assert_eq!(text(|out| float(out, 0.1)), "0.1");
        assert_eq!(text(|out| double(out, f64::NAN)), "\"NaN\"");
        assert_eq!(text(|out| double(out, f64::INFINITY)), "\"Infinity\"");
        assert_eq!(text(|out| float(out, f32::NEG_INFINITY)), "\"-Infinity\"");
        for value in [f64::MAX, f64::MIN_POSITIVE, 5e-324, -0.0, 1e300, 2f64.powi(53) + 2.0] {
            let written = text(|out| double(out, value));
            assert_eq!(written.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{written}");
        }
    }

    #[test]
    fn single_precision_has_postgresqls_digits_where_the_shortest_lie_halfway() {
        // `SELECT x::real::text`
        for (value, postgresql) in [
            (-77_271_664.0_f32, "-7.7271664e+07"),
            (41_645_768.0, "4.1645768e+07"),
            (110_215_456.0, "1.10215456e+08"),
            (16_777_216.0, "1.6777216e+07"),
            (f32::MAX, "3.4028235e+38"),
            (f32::from_bits(1), "1e-45"),
            (-0.0, "-0"),
        ] {
            let written = text(|out| float(out, value));
            let (read, expected): (f64, f64) = (written.parse().unwrap(), postgresql.parse().unwrap());
            assert_eq!(read.to_bits(), expected.to_bits(), "{written} for {postgresql}");
        }
        let mut bits = 12_345_u32;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(bits);
            if value.is_finite() {
                let written = text(|out| float(out, value));
                assert_eq!(written.parse::<f32>().unwrap().to_bits(), bits, "{written}");
                assert!(!is_halfway(written.as_bytes(), value), "{written}");
            }
        }
    }

    #[test]
    fn strings_read_back_as_they_were_whatever_the_position_of_the_escape() {
        let mut samples = vec!["".to_owned(), "plain".to_owned(), "ünïcödé 🍛 \u{7f} \u{2028}".to_owned()];
        for special in (0u8..0x20).chain([b'"', b'\\', b'/', 0x7f]) {
            for position in 0..18 {
                let mut sample = "abcdefghijklmnopq".to_owned();
                sample.insert(position.min(17), special as char);
                samples.push(sample);
            }
        }
        samples.push("\"\\\n\"\\\u{1}\"\\\"".to_owned());
        for sample in samples {
            let written = text(|out| string(out, sample.as_bytes()));
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), sample, "{written}");
        }
        assert_eq!(text(|out| string(out, "a/é\u{7f}".as_bytes())), "\"a/é\u{7f}\"", "nothing more is escaped");
        assert_eq!(text(|out| string(out, b"\x1f")), "\"\\u001f\"");
    }

    #[test]
    fn a_uuid_is_hyphenated_lower_case() {
        let bytes = [0xA0, 0xEE, 0xBC, 0x99, 0x9C, 0x0B, 0x4E, 0xF8, 0xBB, 0x6D, 0x6B, 0xB9, 0xBD, 0x38, 0x0A, 0x11];
        assert_eq!(text(|out| uuid(out, bytes)), "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"");
    }
}
