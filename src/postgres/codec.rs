//! Values of the binary COPY format, turned into message text.
//!
//! Guarantee: the digits, microseconds and bytes are the ones PostgreSQL holds; a value whose bytes do not fit its
//! type is an error, never a guess, since it means that the column is not what the catalogue said.

use std::fmt;

use super::{POSTGRES_EPOCH_DAYS, from_postgres_us};
use crate::wire::encode;

/// How a column arrives in the binary format and leaves in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    /// Text of any kind, enums included.
    Text,
    Uuid,
    Json,
    Jsonb,
    Date,
    /// Without time zone: local time that `to_utc` moves.
    Timestamp,
    TimestampTz,
}

/// The bytes of a value do not fit the column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub Codec);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server's bytes are no {:?}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl Codec {
    /// Writes one value; `to_utc` turns local microseconds into UTC for `Timestamp`.
    #[inline]
    pub fn write(
        self,
        out: &mut Vec<u8>,
        value: Option<&[u8]>,
        to_utc: &mut impl FnMut(i64) -> i64,
    ) -> Result<(), Malformed> {
        let Some(bytes) = value else {
            encode::null(out);
            return Ok(());
        };
        match self {
            Codec::Int4 => encode::integer(out, i64::from(i32::from_be_bytes(self.array(bytes)?))),
            Codec::Int8 => encode::integer(out, i64::from_be_bytes(self.array(bytes)?)),
            Codec::Int2 => encode::integer(out, i64::from(i16::from_be_bytes(self.array(bytes)?))),
            Codec::Text => encode::string(out, bytes),
            Codec::Numeric => return numeric(out, bytes),
            Codec::Timestamp => {
                let local_us = self.timestamp(out, bytes)?;
                if let Some(us) = local_us {
                    encode::timestamp(out, if encode::timestamp_is_plain(us) { to_utc(us) } else { us });
                }
            }
            Codec::TimestampTz => {
                if let Some(us) = self.timestamp(out, bytes)? {
                    encode::timestamp(out, us);
                }
            }
            Codec::Bool => match bytes {
                [value @ (0 | 1)] => encode::boolean(out, *value == 1),
                _ => return Err(Malformed(self)),
            },
            Codec::Float4 => encode::float(out, f32::from_be_bytes(self.array(bytes)?)),
            Codec::Float8 => encode::double(out, f64::from_be_bytes(self.array(bytes)?)),
            Codec::Uuid => encode::uuid(out, self.array(bytes)?),
            Codec::Json => encode::raw_json(out, bytes),
            Codec::Jsonb => match bytes.split_first() {
                Some((1, text)) => encode::raw_json(out, text),
                _ => return Err(Malformed(self)),
            },
            Codec::Date => {
                let days = i32::from_be_bytes(self.array(bytes)?);
                let finite = days != i32::MAX && days != i32::MIN;
                encode::date(out, if finite { days.saturating_add(POSTGRES_EPOCH_DAYS) } else { days });
            }
        }
        Ok(())
    }

    /// An integer of any width.
    #[inline]
    pub fn integer(self, bytes: &[u8]) -> Result<i64, Malformed> {
        match self {
            Codec::Int2 => Ok(i64::from(i16::from_be_bytes(self.array(bytes)?))),
            Codec::Int4 => Ok(i64::from(i32::from_be_bytes(self.array(bytes)?))),
            Codec::Int8 => Ok(i64::from_be_bytes(self.array(bytes)?)),
            _ => Err(Malformed(self)),
        }
    }

    /// A timestamp as it stands in the column, microseconds since 1970 on the column's own clock.
    #[inline]
    pub fn timestamp_us(self, bytes: &[u8]) -> Result<i64, Malformed> {
        match self {
            Codec::Timestamp | Codec::TimestampTz => Ok(from_postgres_us(i64::from_be_bytes(self.array(bytes)?))),
            _ => Err(Malformed(self)),
        }
    }

    #[inline]
    pub fn uuid(self, bytes: &[u8]) -> Result<[u8; 16], Malformed> {
        self.array(bytes)
    }

    /// Microseconds since 1970, or `None` after writing a value that they cannot count (the years around 294,260).
    #[inline]
    fn timestamp(self, out: &mut Vec<u8>, bytes: &[u8]) -> Result<Option<i64>, Malformed> {
        const DAY_US: i64 = 86_400_000_000;
        let raw = i64::from_be_bytes(self.array(bytes)?);
        let moved = from_postgres_us(raw);
        if moved == i64::MAX && raw != i64::MAX {
            out.push(b'"');
            encode::moment_text(out, raw.div_euclid(DAY_US) + i64::from(POSTGRES_EPOCH_DAYS), raw.rem_euclid(DAY_US));
            out.push(b'"');
            return Ok(None);
        }
        Ok(Some(moved))
    }

    #[inline]
    fn array<const N: usize>(self, bytes: &[u8]) -> Result<[u8; N], Malformed> {
        bytes.try_into().map_err(|_| Malformed(self))
    }
}

const NUMERIC_POSITIVE: u16 = 0x0000;
const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xC000;
const NUMERIC_INFINITY: u16 = 0xD000;
const NUMERIC_MINUS_INFINITY: u16 = 0xF000;

/// A numeric with its own display scale: groups of four digits, `weight` counting the groups before the point.
/// Source of the layout: PostgreSQL's `numeric_send`.
fn numeric(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Malformed> {
    let malformed = Malformed(Codec::Numeric);
    let word = |index: usize| -> Option<u16> {
        Some(u16::from_be_bytes(bytes.get(index * 2..index * 2 + 2)?.try_into().ok()?))
    };
    let header = (word(0), word(1), word(2), word(3));
    let (Some(count), Some(weight), Some(sign), Some(scale)) = header else { return Err(malformed) };
    if bytes.len() != 8 + usize::from(count) * 2 || scale > 0x3fff {
        return Err(malformed);
    }
    match sign {
        NUMERIC_POSITIVE => {}
        NUMERIC_NEGATIVE => out.push(b'-'),
        NUMERIC_NAN | NUMERIC_INFINITY | NUMERIC_MINUS_INFINITY => {
            encode::not_finite(out, sign == NUMERIC_NAN, sign == NUMERIC_MINUS_INFINITY);
            return Ok(());
        }
        _ => return Err(malformed),
    }
    let weight = i32::from(weight as i16);
    // The group that stands for 10000^power; absent ones are zero.
    let group = |power: i32| -> Result<u16, Malformed> {
        let index = weight - power;
        if index < 0 || index >= i32::from(count) {
            return Ok(0);
        }
        word(4 + index as usize).filter(|digits| *digits < 10_000).ok_or(malformed)
    };
    if weight < 0 {
        out.push(b'0');
    } else {
        encode::integer(out, i64::from(group(weight)?));
        for power in (0..weight).rev() {
            out.extend_from_slice(&four(group(power)?));
        }
    }
    if scale > 0 {
        out.push(b'.');
        let mut left = usize::from(scale);
        let mut power = -1;
        while left > 0 {
            let used = left.min(4);
            out.extend_from_slice(&four(group(power)?)[..used]);
            left -= used;
            power -= 1;
        }
    }
    Ok(())
}

#[inline]
fn four(group: u16) -> [u8; 4] {
    let digit = |divisor: u16| b'0' + (group / divisor % 10) as u8;
    [digit(1_000), digit(100), digit(10), digit(1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(codec: Codec, bytes: &[u8]) -> Result<String, Malformed> {
        let mut out = Vec::new();
        codec.write(&mut out, Some(bytes), &mut |local| local - 3_600_000_000)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn numeric_bytes(weight: i16, sign: u16, scale: u16, groups: &[u16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [groups.len() as u16, weight as u16, sign, scale].iter().chain(groups) {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn numerics_keep_every_digit_of_their_scale() {
        for (bytes, expected) in [
            (numeric_bytes(0, 0, 2, &[350]), "350.00"),
            (numeric_bytes(0, 0, 0, &[]), "0"),
            (numeric_bytes(0, 0, 2, &[]), "0.00"),
            (numeric_bytes(-1, NUMERIC_NEGATIVE, 4, &[1]), "-0.0001"),
            (numeric_bytes(-2, 0, 5, &[1000]), "0.00001"),
            (numeric_bytes(1, 0, 3, &[12, 3456, 7890]), "123456.789"),
            (numeric_bytes(2, 0, 0, &[1]), "100000000"),
            (numeric_bytes(0, NUMERIC_NAN, 0, &[]), "\"NaN\""),
            (numeric_bytes(0, NUMERIC_INFINITY, 0, &[]), "\"Infinity\""),
            (numeric_bytes(0, NUMERIC_MINUS_INFINITY, 0, &[]), "\"-Infinity\""),
        ] {
            assert_eq!(write(Codec::Numeric, &bytes).unwrap(), expected);
        }
    }

    #[test]
    fn bytes_that_do_not_fit_the_type_are_an_error() {
        let mut torn = numeric_bytes(0, 0, 2, &[350]);
        torn.pop();
        for (codec, bytes) in [
            (Codec::Numeric, torn),
            (Codec::Numeric, numeric_bytes(0, 0, 0, &[10_000])),
            (Codec::Numeric, numeric_bytes(0, 0x1234, 0, &[1])),
            (Codec::Numeric, vec![0, 9]),
            (Codec::Int4, vec![0; 8]),
            (Codec::Int8, vec![0; 4]),
            (Codec::Bool, vec![2]),
            (Codec::Uuid, vec![0; 15]),
            (Codec::Jsonb, vec![2, b'{', b'}']),
            (Codec::Jsonb, vec![]),
            (Codec::Timestamp, vec![0; 7]),
        ] {
            assert_eq!(write(codec, &bytes), Err(Malformed(codec)));
        }
    }

    #[test]
    fn a_timestamp_without_zone_is_moved_and_one_with_zone_is_not() {
        let ten_o_clock = (1_763_460_000_000_000_i64 - super::super::POSTGRES_EPOCH_US).to_be_bytes();
        assert_eq!(write(Codec::Timestamp, &ten_o_clock).unwrap(), "\"2025-11-18T09:00:00Z\"");
        assert_eq!(write(Codec::TimestampTz, &ten_o_clock).unwrap(), "\"2025-11-18T10:00:00Z\"");
        assert_eq!(write(Codec::Timestamp, &i64::MAX.to_be_bytes()).unwrap(), "\"infinity\"");
        let last = (9_223_371_331_199_999_999_i64).to_be_bytes();
        assert_eq!(write(Codec::TimestampTz, &last).unwrap(), "\"294276-12-31 23:59:59.999999\"");
    }

    #[test]
    fn null_is_null_for_every_type() {
        let mut out = Vec::new();
        Codec::Int8.write(&mut out, None, &mut |us| us).unwrap();
        Codec::Text.write(&mut out, None, &mut |us| us).unwrap();
        assert_eq!(out, b"nullnull");
    }
}
