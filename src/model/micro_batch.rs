//! A validated micro-batch with the positions its commit will publish.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::i256;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::position::OffsetRange;
use crate::error::{Error, Kind, Result};

/// Accepted rows of one partition date, in the lake's schema (the `date` column is in the path only).
#[derive(Clone, Debug)]
pub struct DatedBatch {
    pub date: NaiveDate,
    pub rows: RecordBatch,
}

/// Every message of the ranges is counted once: `input == accepted + rejected`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub input: u64,
    pub accepted: u64,
    pub rejected: u64,
}

/// Rows and exact sums by day. Sums are decimal text by column (`"amount": "18457.50"`), so that no reader
/// of the record can round them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub days: BTreeMap<NaiveDate, DayTotal>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayTotal {
    pub rows: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sums: BTreeMap<String, String>,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.input += other.input;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
    }
}

impl Totals {
    /// Adds another batch's totals, day by day and column by column, exactly. A sum keeps the larger scale of its
    /// two parts. On an error (text that is no decimal, or a sum past 76 digits) nothing is changed.
    pub fn add(&mut self, other: &Totals) -> Result<()> {
        let mut sums = Vec::with_capacity(other.days.len());
        for (&date, day) in &other.days {
            let mut sum = self.days.get(&date).cloned().unwrap_or_default();
            sum.rows += day.rows;
            for (column, text) in &day.sums {
                let total = match sum.sums.get(column) {
                    Some(known) => add_decimals(known, text),
                    None => parse_decimal(text).map(|_| text.clone()),
                };
                let total = total.ok_or_else(|| unsummable(date, column))?;
                sum.sums.insert(column.clone(), total);
            }
            sums.push((date, sum));
        }
        self.days.extend(sums);
        Ok(())
    }
}

fn unsummable(date: NaiveDate, column: &str) -> Error {
    Error::new(Kind::Lake, format!("the total of `{column}` on {date} is not decimal text that can be added up"))
}

/// Longest decimal text whose digits a sum may have: what 256 bits hold for certain.
const MAX_SUM_DIGITS: usize = 76;

/// The digits of a decimal text as an integer, and how many of them follow the point.
fn parse_decimal(text: &str) -> Option<(i256, usize)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let length = whole.len() + fraction.len();
    if whole.is_empty() || digits.ends_with('.') || length > MAX_SUM_DIGITS || !is_plain(whole) || !is_plain(fraction) {
        return None;
    }
    Some((i256::from_string(&format!("{sign}{whole}{fraction}"))?, fraction.len()))
}

fn add_decimals(left: &str, right: &str) -> Option<String> {
    let ((left, left_scale), (right, right_scale)) = (parse_decimal(left)?, parse_decimal(right)?);
    let scale = left_scale.max(right_scale);
    let widen = |units: i256, by: usize| units.checked_mul(i256::from_i128(10).checked_pow(by as u32)?);
    let sum = widen(left, scale - left_scale)?.checked_add(widen(right, scale - right_scale)?)?;
    let text = format_decimal(sum, scale);
    // What is written must be readable again.
    parse_decimal(&text).map(|_| text)
}

/// `units` with a point before the last `scale` digits: (1845750, 2) is `18457.50`.
pub fn format_decimal(units: i256, scale: usize) -> String {
    let text = units.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    if scale == 0 {
        return text;
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// What one commit makes durable at once.
#[derive(Clone, Debug, Default)]
pub struct MicroBatch {
    /// One range a partition, sorted by partition; `to` is past control and aborted records, so a range may
    /// be wider than its messages and may hold none.
    pub ranges: Vec<OffsetRange>,
    pub accepted: Vec<DatedBatch>,
    /// Batches of the quarantine schema (see `validate`).
    pub rejected: Vec<RecordBatch>,
    pub counts: Counts,
    /// This batch's part of the totals.
    pub totals: Totals,
    /// Offsets inside the ranges that the broker had deleted before they were read; only with
    /// `failOnDataLoss: false`, and recorded in the commit.
    pub lost: Vec<OffsetRange>,
    /// Id of the durable plan that has exactly these ranges, if somebody acts on the rows before the commit.
    pub plan: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(number: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2025, 11, number).unwrap()
    }

    fn totals(rows: &[(u32, u64, &str)]) -> Totals {
        let mut totals = Totals::default();
        for &(number, rows, amount) in rows {
            let sums = [("amount".to_owned(), amount.to_owned())].into();
            totals.days.insert(day(number), DayTotal { rows, sums });
        }
        totals
    }

    #[test]
    fn totals_add_up_exactly_by_day() {
        let mut sum = totals(&[(18, 2, "18457.50"), (19, 1, "-0.05")]);
        sum.add(&totals(&[(19, 1, "0.10"), (20, 3, "7.00")])).unwrap();
        assert_eq!(sum, totals(&[(18, 2, "18457.50"), (19, 2, "0.05"), (20, 3, "7.00")]));
    }

    #[test]
    fn sums_align_their_scales_and_carry_past_128_bits() {
        let wide = "99999999999999999999999999999999999999.99";
        for (left, right, sum) in [
            ("0.1", "0.200", "0.300"),
            ("1", "-1.00", "0.00"),
            ("-0.01", "-0.02", "-0.03"),
            ("0.99", "0.01", "1.00"),
            (wide, "0.01", "100000000000000000000000000000000000000.00"),
        ] {
            assert_eq!(add_decimals(left, right).as_deref(), Some(sum), "{left} + {right}");
        }
    }

    #[test]
    fn a_broken_total_changes_nothing() {
        for broken in ["", "1.", ".5", "1e3", "NaN", "1,0", "--1", "+1", "1.2.3", " 1"] {
            let mut sum = totals(&[(18, 1, "1.00"), (19, 1, "2.00")]);
            let before = sum.clone();
            assert!(sum.add(&totals(&[(18, 1, "1.00"), (19, 1, broken)])).is_err(), "`{broken}`");
            assert_eq!(sum, before);
            let error = sum.add(&totals(&[(20, 1, broken)])).unwrap_err();
            assert!(error.to_string().contains("`amount` on 2025-11-20"), "{error}");
        }
        let full = "9".repeat(MAX_SUM_DIGITS);
        assert!(add_decimals(&full, "1").is_none());
    }
}
