//! One test over one column: the faults it finds, by row.
//!
//! Every test but the two for null passes a null: whether a value must be there is a rule of its own.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType as ArrowType, Date32Type, Decimal128Type, Float64Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use regex::Regex;

use crate::model::{Fault, Reason};

/// The documents' four.
pub(super) const STATUSES: [&str; 4] = ["PLACED", "PREPARING", "DELIVERED", "CANCELLED"];

pub(super) struct ColumnCheck {
    pub(super) column: u16,
    pub(super) test: Test,
}

pub(super) enum Test {
    NotNull,
    /// Text that is not null, and not blank after trimming Unicode's white space.
    NotEmpty,
    /// One of `STATUSES`; blank is `NotEmpty`'s affair.
    Status,
    /// Whole units of the column: integers, a decimal's unscaled value, microseconds, days. Ends included.
    Units(Limits<i128>),
    Double(Limits<f64>),
    OneOfUnits(Vec<i128>),
    OneOfWords(Vec<String>),
    /// Found anywhere in the text.
    Matches(Regex),
    /// In characters.
    MaxLength(usize),
}

/// What lies outside, and what it is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits<T> {
    pub(super) low: T,
    /// Only above `low`, not at it.
    pub(super) low_excluded: bool,
    pub(super) below: Reason,
    pub(super) high: T,
    pub(super) above: Reason,
}

impl<T: PartialOrd> Limits<T> {
    #[inline]
    fn broken_by(&self, value: T) -> Option<Reason> {
        if value < self.low || (self.low_excluded && value == self.low) {
            Some(self.below)
        } else if value > self.high {
            Some(self.above)
        } else {
            None
        }
    }
}

impl ColumnCheck {
    pub(super) fn apply(&self, rows: &RecordBatch, faults: &mut Vec<Fault>) {
        let array = rows.column(usize::from(self.column));
        let found = |row: usize, reason| {
            faults.push(Fault { row: row as u32, column: Some(self.column), reason });
        };
        match &self.test {
            Test::NotNull => nulls(array, found),
            Test::NotEmpty => not_empty(array, found),
            Test::Status => {
                texts(array, Reason::UnknownStatus, |text| STATUSES.contains(&text) || is_blank(text), found)
            }
            Test::Units(limits) => units(array, |value| limits.broken_by(value), found),
            Test::Double(limits) => {
                let array = array.as_primitive::<Float64Type>();
                scan(array.values(), array.nulls(), |value| limits.broken_by(value), found);
            }
            Test::OneOfUnits(allowed) => {
                units(array, |value| (!allowed.contains(&value)).then_some(Reason::NotOneOf), found);
            }
            Test::OneOfWords(allowed) => {
                texts(array, Reason::NotOneOf, |text| allowed.iter().any(|word| word == text), found);
            }
            Test::Matches(pattern) => texts(array, Reason::NoMatch, |text| pattern.is_match(text), found),
            Test::MaxLength(limit) => {
                // No text has more characters than bytes.
                texts(array, Reason::TooLong, |text| text.len() <= *limit || text.chars().count() <= *limit, found);
            }
        }
    }
}

fn nulls(array: &ArrayRef, mut found: impl FnMut(usize, Reason)) {
    let Some(nulls) = array.nulls() else { return };
    for row in (!nulls.inner()).set_indices() {
        found(row, Reason::Null);
    }
}

fn not_empty(array: &ArrayRef, mut found: impl FnMut(usize, Reason)) {
    nulls(array, &mut found);
    texts(array, Reason::Empty, |text| !is_blank(text), found);
}

#[inline]
fn is_blank(text: &str) -> bool {
    match text.as_bytes().first() {
        Some(first) if first.is_ascii_graphic() => false,
        _ => text.trim().is_empty(),
    }
}

fn texts(array: &ArrayRef, reason: Reason, passes: impl Fn(&str) -> bool, mut found: impl FnMut(usize, Reason)) {
    let texts = array.as_string::<i32>();
    for row in 0..texts.len() {
        if !passes(texts.value(row)) && texts.is_valid(row) {
            found(row, reason);
        }
    }
}

fn scan<T: Copy>(
    values: &[T],
    nulls: Option<&NullBuffer>,
    breaks: impl Fn(T) -> Option<Reason>,
    mut found: impl FnMut(usize, Reason),
) {
    for (row, &value) in values.iter().enumerate() {
        if let Some(reason) = breaks(value)
            && nulls.is_none_or(|nulls| nulls.is_valid(row))
        {
            found(row, reason);
        }
    }
}

fn units(array: &ArrayRef, breaks: impl Fn(i128) -> Option<Reason>, found: impl FnMut(usize, Reason)) {
    macro_rules! scan_as {
        ($type:ty) => {{
            let array = array.as_primitive::<$type>();
            scan(array.values(), array.nulls(), |value| breaks(i128::from(value)), found)
        }};
    }
    match array.data_type() {
        ArrowType::Int16 => scan_as!(Int16Type),
        ArrowType::Int32 => scan_as!(Int32Type),
        ArrowType::Int64 => scan_as!(Int64Type),
        ArrowType::Date32 => scan_as!(Date32Type),
        ArrowType::Timestamp(..) => scan_as!(TimestampMicrosecondType),
        // `rules` builds tests of units for these types only.
        _ => scan_as!(Decimal128Type),
    }
}
