//! Exact arithmetic on decimal text: the one place that adds, compares and divides totals.
//!
//! Totals travel as text (`18457.50`), so that no reader of a record rounds them. 256 bits hold the sum of 10^38
//! values of the widest column; what would not fit is refused and never wrapped.

use std::cmp::Ordering;

use arrow::datatypes::i256;

/// Digits of the widest number that 256 bits surely hold.
pub const MAX_DIGITS: usize = 76;

/// Digits that an average has behind those of its column: enough to tell cents apart, few enough to read.
pub const AVERAGE_EXTRA_SCALE: usize = 2;

/// The digits of a plain decimal text as an integer, and how many of them follow the point. `None` for anything
/// else: no exponent, no plus, no blank, a digit on both sides of a point.
pub fn parse(text: &str) -> Option<(i256, usize)> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let fits = !whole.is_empty() && !digits.ends_with('.') && whole.len() + fraction.len() <= MAX_DIGITS;
    if !fits || !is_plain(whole) || !is_plain(fraction) {
        return None;
    }
    let units = i256::from_string(&format!("{whole}{fraction}"))?;
    let units = if digits.len() < text.len() { units.checked_neg()? } else { units };
    Some((units, fraction.len()))
}

/// The units of `text` at a scale not below its own; `None` where they do not fit.
pub fn units_at(text: &str, scale: usize) -> Option<i256> {
    let (units, own) = parse(text)?;
    widen(units, scale.checked_sub(own)?)
}

fn widen(units: i256, digits: usize) -> Option<i256> {
    units.checked_mul(i256::from_i128(10).checked_pow(u32::try_from(digits).ok()?)?)
}

fn aligned(left: &str, right: &str) -> Option<(i256, i256, usize)> {
    let ((left, left_scale), (right, right_scale)) = (parse(left)?, parse(right)?);
    let scale = left_scale.max(right_scale);
    Some((widen(left, scale - left_scale)?, widen(right, scale - right_scale)?, scale))
}

/// The exact sum, with the larger scale of the two. `None`: no decimal text, or more than 76 digits.
pub fn add(left: &str, right: &str) -> Option<String> {
    let (left, right, scale) = aligned(left, right)?;
    let text = format(left.checked_add(right)?, scale);
    // What is written must be readable again.
    parse(&text).map(|_| text)
}

/// Compares by value: `1.0` equals `1.00`.
pub fn compare(left: &str, right: &str) -> Option<Ordering> {
    let (left, right, _) = aligned(left, right)?;
    Some(left.cmp(&right))
}

/// `sum / count` with two digits more than the sum has, rounded half away from zero (as PostgreSQL rounds a
/// numeric). `None` for no values, or for text that is no decimal.
pub fn average(sum: &str, count: u64) -> Option<String> {
    let (units, scale) = parse(sum)?;
    let ten = i256::from_i128(10);
    let count = (count > 0).then(|| i256::from_i128(i128::from(count)))?;
    let magnitude = if units.is_negative() { units.checked_neg()? } else { units };
    let mut quotient = magnitude.checked_div(count)?;
    let mut rest = magnitude.checked_rem(count)?;
    for _ in 0..AVERAGE_EXTRA_SCALE {
        rest = rest.checked_mul(ten)?;
        quotient = quotient.checked_mul(ten)?.checked_add(rest.checked_div(count)?)?;
        rest = rest.checked_rem(count)?;
    }
    if rest.checked_add(rest)? >= count {
        quotient = quotient.checked_add(i256::ONE)?;
    }
    let signed = if units.is_negative() { quotient.checked_neg()? } else { quotient };
    Some(format(signed, scale + AVERAGE_EXTRA_SCALE))
}

/// `units` with a point before the last `scale` digits: (1845750, 2) is `18457.50`.
pub fn format(units: i256, scale: usize) -> String {
    let text = units.to_string();
    if scale == 0 {
        return text;
    }
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_align_their_scales_and_carry_past_128_bits() {
        let wide = "99999999999999999999999999999999999999.99";
        for (left, right, sum) in [
            ("0", "350.00", "350.00"),
            ("0.1", "0.200", "0.300"),
            ("1", "-1.00", "0.00"),
            ("-0.01", "-0.02", "-0.03"),
            ("-0.05", "0.02", "-0.03"),
            ("0.99", "0.01", "1.00"),
            ("1.00", "2", "3.00"),
            (wide, "0.01", "100000000000000000000000000000000000000.00"),
        ] {
            assert_eq!(add(left, right).as_deref(), Some(sum), "{left} + {right}");
        }
        assert!(add(&"9".repeat(MAX_DIGITS), "1").is_none());
    }

    #[test]
    fn only_plain_decimal_text_is_a_number() {
        for broken in ["", "-", "1.", ".5", "-.5", "1e3", "NaN", "1,0", "--1", "-+1", "+1", "1.2.3", " 1", "1 "] {
            assert_eq!(add(broken, "1"), None, "`{broken}`");
            assert_eq!(compare(broken, "1"), None, "`{broken}`");
            assert_eq!(average(broken, 1), None, "`{broken}`");
        }
    }

    #[test]
    fn numbers_compare_by_value_and_not_as_text() {
        for (left, right, order) in [
            ("9", "10", Ordering::Less),
            ("-9", "-10", Ordering::Greater),
            ("1.0", "1.00", Ordering::Equal),
            ("0.1", "0.09", Ordering::Greater),
        ] {
            assert_eq!(compare(left, right), Some(order), "{left} {right}");
        }
    }

    #[test]
    fn an_average_has_two_digits_more_and_rounds_half_away_from_zero() {
        for (sum, count, shown) in [
            ("10.00", 3, "3.3333"),
            ("20.00", 3, "6.6667"),
            ("-20.00", 3, "-6.6667"),
            ("0.01", 200, "0.0001"),
            ("-0.01", 200, "-0.0001"),
            ("0.01", 201, "0.0000"),
            ("7", 2, "3.50"),
            ("1.00", 1, "1.0000"),
        ] {
            assert_eq!(average(sum, count).as_deref(), Some(shown), "{sum} / {count}");
        }
        assert_eq!(average("1.00", 0), None, "no values have no average");
        let largest = "9".repeat(38);
        assert_eq!(average(&largest, 1), Some(format!("{largest}.00")));
    }

    #[test]
    fn units_are_given_at_a_wider_scale_and_never_at_a_narrower_one() {
        assert_eq!(units_at("1.5", 3), Some(i256::from_i128(1500)));
        assert_eq!(units_at("1.55", 1), None);
    }
}
