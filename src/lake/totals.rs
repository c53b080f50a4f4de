//! Exact addition of daily totals, as decimal text.
//!
//! Sums travel as text so that no reader of a record rounds them; 256 bits hold the sum of 10^38 values of the
//! widest column, so an overflow is an error and never a wrapped number.

use std::collections::BTreeMap;

use arrow::datatypes::i256;

use crate::error::{Error, Result};
use crate::model::{DayTotal, Totals};

/// Digits of the widest number that 256 bits surely hold.
const MAX_DIGITS: usize = 76;

/// Adds `part` to `whole`.
pub(crate) fn add_day(whole: &mut DayTotal, part: &DayTotal) -> Result<()> {
    whole.rows += part.rows;
    add_sums(&mut whole.sums, &part.sums)
}

pub(crate) fn add_sums(whole: &mut BTreeMap<String, String>, part: &BTreeMap<String, String>) -> Result<()> {
    for (column, value) in part {
        let sum = match whole.get(column) {
            Some(before) => add(before, value),
            None => add("0", value),
        };
        let sum = sum.ok_or_else(|| Error::bug(format!("the sum of `{column}` cannot take `{value}`")))?;
        whole.insert(column.clone(), sum);
    }
    Ok(())
}

/// The totals that a commit of `part` leaves for the days it touches.
pub(crate) fn touched_days(before: &Totals, part: &Totals) -> Result<Totals> {
    let mut touched = Totals::default();
    for (date, added) in &part.days {
        let mut day = before.days.get(date).cloned().unwrap_or_default();
        add_day(&mut day, added)?;
        touched.days.insert(*date, day);
    }
    Ok(touched)
}

/// `None`: not plain decimals, or wider than 76 digits. The scale is the wider one of both.
fn add(left: &str, right: &str) -> Option<String> {
    let (left, left_scale) = parse(left)?;
    let (right, right_scale) = parse(right)?;
    let scale = left_scale.max(right_scale);
    let sum = rescale(left, scale - left_scale)?.checked_add(rescale(right, scale - right_scale)?)?;
    Some(format(sum, scale))
}

fn parse(text: &str) -> Option<(i256, usize)> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let fits = !whole.is_empty() && whole.len() + fraction.len() <= MAX_DIGITS;
    (fits && plain(whole) && plain(fraction))
        .then(|| i256::from_string(&format!("{sign}{whole}{fraction}")))?
        .map(|value| (value, fraction.len()))
}

fn rescale(value: i256, by: usize) -> Option<i256> {
    let ten = i256::from_i128(10);
    (0..by).try_fold(value, |value, _| value.checked_mul(ten))
}

fn format(value: i256, scale: usize) -> String {
    let text = value.to_string();
    if scale == 0 {
        return text;
    }
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_across_signs_scales_and_widths() {
        for (left, right, sum) in [
            ("0", "350.00", "350.00"),
            ("0.10", "0.20", "0.30"),
            ("-0.05", "0.02", "-0.03"),
            ("-1", "1", "0"),
            ("1.5", "2.25", "3.75"),
            ("99999999999999999999999999999999999999.99", "0.01", "100000000000000000000000000000000000000.00"),
        ] {
            assert_eq!(add(left, right).as_deref(), Some(sum), "{left} + {right}");
        }
        for bad in ["", "-", "1e3", "NaN", "1.2.3", "+1", " 1", ".5"] {
            assert_eq!(add("0", bad), None, "{bad}");
        }
        let widest = "9".repeat(MAX_DIGITS);
        assert_eq!(add(&widest, &format!("{widest}9")), None);
    }
}
