//! Numbers as they were written, turned into integers, decimals and doubles without rounding.
//!
//! Decimals never pass through a float: digits go straight to the 128-bit integer that Arrow stores.

use super::scan::Scanner;
use crate::model::Reason;
use crate::model::schema::MAX_DECIMAL_PRECISION;

/// As many digits as any of which fit 64 bits.
pub(super) const MAX_PLAIN_DIGITS: usize = 19;

/// A number of JSON's grammar, split at its marks.
#[derive(Clone, Copy, Debug)]
pub struct Number<'a> {
    pub(super) text: &'a [u8],
    pub(super) negative: bool,
    pub(super) integer: &'a [u8],
    pub(super) fraction: &'a [u8],
    /// Value of all digits of integer and fraction; meaningful up to `MAX_PLAIN_DIGITS` of them.
    pub(super) mantissa: u64,
    pub(super) exponent: Option<i64>,
}

/// A number times a power of ten, cut to an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// Cut towards zero.
    pub units: i128,
    /// Something other than zeros was cut.
    pub inexact: bool,
}

impl<'a> Number<'a> {
    /// Reads a whole text as one number, for bounds that stand in a configuration.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner::new(text.trim().as_bytes());
        let number = scanner.number().ok()??;
        scanner.end().ok()?;
        Some(number)
    }

    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The number times `10^scale`; `None` when that has more than 38 digits.
    pub fn scaled(&self, scale: u8) -> Option<Scaled> {
        let digit_count = self.integer.len() + self.fraction.len();
        let digits = self.integer.iter().chain(self.fraction);
        let zeros = digits.clone().take_while(|&&digit| digit == b'0').count();
        let significant = (digit_count - zeros) as i64;
        if significant == 0 {
            return Some(Scaled { units: 0, inexact: false });
        }
        let shift = (self.exponent.unwrap_or(0) - self.fraction.len() as i64) + i64::from(scale);
        let wanted = significant + shift;
        if wanted > i64::from(MAX_DECIMAL_PRECISION) {
            return None;
        }
        let kept = wanted.clamp(0, significant) as usize;
        let mut digits = digits.skip(zeros);
        let mut units = 0i128;
        for digit in digits.by_ref().take(kept) {
            units = units * 10 + i128::from(digit - b'0');
        }
        if shift > 0 {
            units *= 10i128.pow(shift as u32);
        }
        let inexact = digits.any(|&digit| digit != b'0');
        Some(Scaled { units: if self.negative { -units } else { units }, inexact })
    }

    /// The unscaled value of a `decimal(precision, scale)`. A digit that it cannot hold is a fault: never rounded.
    #[inline]
    pub(super) fn decimal(&self, precision: u8, scale: u8) -> Result<i128, Reason> {
        let limit = 10i128.pow(u32::from(precision));
        let digit_count = self.integer.len() + self.fraction.len();
        let missing = usize::from(scale).checked_sub(self.fraction.len());
        let units = match (self.exponent, missing) {
            (None, Some(missing)) if digit_count + missing <= MAX_PLAIN_DIGITS => {
                // At most 19 digits in all: the product fits 64 bits.
                let units = i128::from(self.mantissa * 10u64.pow(missing as u32));
                if self.negative { -units } else { units }
            }
            _ => match self.scaled(scale) {
                Some(Scaled { units, inexact: false }) => units,
                _ => return Err(Reason::OutOfRange),
            },
        };
        if -limit < units && units < limit { Ok(units) } else { Err(Reason::OutOfRange) }
    }

    /// A whole number written as one. `1.0` and `1e3` are of the wrong type for an integer column: whoever
    /// writes them has another column type in mind.
    #[inline]
    pub(super) fn integer(&self) -> Result<i64, Reason> {
        if self.exponent.is_some() || !self.fraction.is_empty() {
            let far = self.as_f64().is_none_or(|value| value.abs() >= i64::MAX as f64);
            return Err(if far { Reason::OutOfRange } else { Reason::WrongType });
        }
        if self.integer.len() > MAX_PLAIN_DIGITS {
            return Err(Reason::OutOfRange);
        }
        let value = i128::from(self.mantissa);
        i64::try_from(if self.negative { -value } else { value }).map_err(|_| Reason::OutOfRange)
    }

    /// The nearest double. What overflows, or underflows to nothing, does not fit.
    pub(super) fn double(&self) -> Result<f64, Reason> {
        self.as_f64().ok_or(Reason::OutOfRange)
    }

    pub fn as_f64(&self) -> Option<f64> {
        let value: f64 = std::str::from_utf8(self.text).ok()?.parse().ok()?;
        let vanished = value == 0.0 && self.integer.iter().chain(self.fraction).any(|&digit| digit != b'0');
        (value.is_finite() && !vanished).then_some(value)
    }
}
