//! One growing column: values as Arrow lays them out, and the rows that are null.
//!
//! Every row pushes exactly one value into every column, in any order of columns; a row that turns out to be
//! unreadable is taken back with `truncate`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, PrimitiveArray, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowPrimitiveType, Int16Type, Int32Type, Int64Type};

use super::number::Number;
use super::scan::{RawString, Scanner, unescape};
use super::time::{self, DayMemo};
use crate::error::{Error, Result};
use crate::model::schema::UTC;
use crate::model::{DataType, Reason};

pub(super) struct ColumnBuilder {
    values: Values,
    rows: usize,
    /// Indices of null rows, rising: nulls are rare, and rows without one cost nothing.
    nulls: Vec<usize>,
    /// Text of strings with escapes, before it is read as a date or a time.
    scratch: Vec<u8>,
}

enum Values {
    SmallInt(Vec<i16>),
    Int(Vec<i32>),
    BigInt(Vec<i64>),
    Decimal { units: Vec<i128>, precision: u8, scale: u8 },
    Double(Vec<f64>),
    Boolean(Vec<bool>),
    String(Text),
    Json(Text),
    Timestamp { micros: Vec<i64>, memo: DayMemo },
    Date { days: Vec<i32>, memo: DayMemo },
}

/// Most texts of a row have at most as many bytes.
const SHORT: usize = 16;

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// As Arrow has them: 0, then where each row's text ends. Filled by `reserve`.
    offsets: Vec<i32>,
    /// Bytes of the last batch: the next one is likely to need as many.
    expected_bytes: usize,
}

impl Text {
    fn reserve(&mut self, rows: usize) {
        self.offsets.reserve(rows + 1);
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        // A little more than last time: outgrown by a few bytes, all of it would have to move.
        self.bytes.reserve(self.expected_bytes + self.expected_bytes / 8 + SHORT);
    }

    /// Copies a text that stands at the beginning of `rest`, `length` bytes long. A copy of a known size costs less than
    /// the call of one that takes any; what it copies beyond the text is cut off again.
    #[inline]
    fn push(&mut self, rest: &[u8], length: usize) {
        match rest.first_chunk::<SHORT>() {
            Some(more) if length <= SHORT => {
                let end = self.bytes.len() + length;
                self.bytes.extend_from_slice(more);
                self.bytes.truncate(end);
            }
            _ => self.bytes.extend_from_slice(&rest[..length]),
        }
    }

    #[inline]
    fn close_row(&mut self) {
        // `decode` admits no batch whose bytes exceed an `i32`, and no text grows by being unescaped.
        self.offsets.push(self.bytes.len() as i32);
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.bytes.truncate(self.offsets.last().map_or(0, |&end| end as usize));
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let bytes = std::mem::take(&mut self.bytes);
        self.expected_bytes = bytes.len();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::take(&mut self.offsets)));
        let array = StringArray::try_new(offsets, Buffer::from_vec(bytes), nulls)
            .map_err(|error| Error::bug("decoded text is not what it was checked to be").because(error))?;
        Ok(Arc::new(array))
    }
}

/// Calls the same code on the vector of whichever type the column has; `Text` stands apart.
macro_rules! each_vector {
    ($values:expr, $vector:ident => $plain:expr, $text:ident => $of_text:expr) => {
        match $values {
            Values::SmallInt($vector) => $plain,
            Values::Int($vector) => $plain,
            Values::BigInt($vector) => $plain,
            Values::Decimal { units: $vector, .. } => $plain,
            Values::Double($vector) => $plain,
            Values::Boolean($vector) => $plain,
            Values::Timestamp { micros: $vector, .. } => $plain,
            Values::Date { days: $vector, .. } => $plain,
            Values::String($text) | Values::Json($text) => $of_text,
        }
    };
}

impl ColumnBuilder {
    pub(super) fn new(data_type: DataType) -> Self {
        let values = match data_type {
            DataType::SmallInt => Values::SmallInt(Vec::new()),
            DataType::Int => Values::Int(Vec::new()),
            DataType::BigInt => Values::BigInt(Vec::new()),
            DataType::Decimal { precision, scale } => Values::Decimal { units: Vec::new(), precision, scale },
            DataType::Double => Values::Double(Vec::new()),
            DataType::Boolean => Values::Boolean(Vec::new()),
            DataType::String => Values::String(Text::default()),
            DataType::Json => Values::Json(Text::default()),
            DataType::Timestamp | DataType::TimestampTz => {
                Values::Timestamp { micros: Vec::new(), memo: DayMemo::default() }
            }
            DataType::Date => Values::Date { days: Vec::new(), memo: DayMemo::default() },
        };
        ColumnBuilder { values, rows: 0, nulls: Vec::new(), scratch: Vec::new() }
    }

    pub(super) fn reserve(&mut self, rows: usize) {
        each_vector!(&mut self.values, vector => vector.reserve(rows), text => text.reserve(rows));
    }

    #[inline]
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Reads the value that comes next as this column's row. A value that the column cannot hold becomes null and
    /// its reason is returned; an error means that the message is no JSON, and the row must be taken back.
    #[inline]
    pub(super) fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<Option<Reason>, Reason> {
        scanner.skip_space();
        if scanner.peek() == Some(b'n') {
            scanner.literal(b"null")?;
            self.push_null();
            return Ok(None);
        }
        match self.values.read(scanner, &mut self.scratch)? {
            Ok(()) => {
                self.rows += 1;
                Ok(None)
            }
            Err(reason) => {
                self.push_null();
                Ok(Some(reason))
            }
        }
    }

    pub(super) fn push_null(&mut self) {
        self.nulls.push(self.rows);
        self.rows += 1;
        each_vector!(&mut self.values, vector => vector.push(Default::default()), text => text.close_row());
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = rows;
        while self.nulls.pop_if(|null| *null >= rows).is_some() {}
        each_vector!(&mut self.values, vector => vector.truncate(rows), text => text.truncate(rows));
    }

    /// Hands the column over and starts anew.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        let nulls = null_buffer(self.rows, &self.nulls);
        self.nulls.clear();
        self.rows = 0;
        Ok(match &mut self.values {
            Values::SmallInt(values) => primitive::<Int16Type>(values, nulls),
            Values::Int(values) => primitive::<Int32Type>(values, nulls),
            Values::BigInt(values) => primitive::<Int64Type>(values, nulls),
            Values::Decimal { units, precision, scale } => Arc::new(
                Decimal128Array::new(std::mem::take(units).into(), nulls)
                    .with_precision_and_scale(*precision, *scale as i8)
                    .map_err(|error| Error::bug("the schema holds an impossible decimal type").because(error))?,
            ),
            Values::Double(values) => Arc::new(Float64Array::new(std::mem::take(values).into(), nulls)),
            Values::Boolean(values) => Arc::new(BooleanArray::new(BooleanBuffer::from(std::mem::take(values)), nulls)),
            Values::String(text) | Values::Json(text) => text.finish(nulls)?,
            Values::Timestamp { micros, .. } => {
                Arc::new(TimestampMicrosecondArray::new(std::mem::take(micros).into(), nulls).with_timezone(UTC))
            }
            Values::Date { days, .. } => Arc::new(Date32Array::new(std::mem::take(days).into(), nulls)),
        })
    }
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef
where
    PrimitiveArray<T>: Array,
{
    Arc::new(PrimitiveArray::<T>::new(std::mem::take(values).into(), nulls))
}

fn null_buffer(rows: usize, nulls: &[usize]) -> Option<NullBuffer> {
    if nulls.is_empty() {
        return None;
    }
    let mut valid = vec![true; rows];
    for &null in nulls {
        valid[null] = false;
    }
    Some(NullBuffer::from(valid))
}

/// What came of one value: pushed, or not held by the column. The outer error is the message's.
type Held = Result<Result<(), Reason>, Reason>;

impl Values {
    #[inline]
    fn read(&mut self, scanner: &mut Scanner<'_>, scratch: &mut Vec<u8>) -> Held {
        match self {
            Values::SmallInt(values) => push_number(scanner, values, |number| narrow(number.integer()?)),
            Values::Int(values) => push_number(scanner, values, |number| narrow(number.integer()?)),
            Values::BigInt(values) => push_number(scanner, values, |number| number.integer()),
            Values::Decimal { units, precision, scale } => {
                push_number(scanner, units, |number| number.decimal(*precision, *scale))
            }
            Values::Double(values) => push_number(scanner, values, |number| number.double()),
            Values::Boolean(values) => push_boolean(scanner, values),
            Values::String(text) => push_string(scanner, text),
            Values::Json(text) => {
                text.bytes.extend_from_slice(scanner.skip_value()?);
                text.close_row();
                Ok(Ok(()))
            }
            Values::Timestamp { micros, memo } => {
                push_parsed(scanner, scratch, micros, |text| time::timestamp(text, memo))
            }
            Values::Date { days, memo } => push_parsed(scanner, scratch, days, |text| time::date(text, memo)),
        }
    }
}

fn narrow<T: TryFrom<i64>>(value: i64) -> Result<T, Reason> {
    T::try_from(value).map_err(|_| Reason::OutOfRange)
}

fn wrong_type(scanner: &mut Scanner<'_>) -> Held {
    scanner.skip_value()?;
    Ok(Err(Reason::WrongType))
}

#[inline]
fn push_number<T>(
    scanner: &mut Scanner<'_>,
    values: &mut Vec<T>,
    convert: impl FnOnce(Number<'_>) -> Result<T, Reason>,
) -> Held {
    match scanner.number()? {
        Some(number) => Ok(convert(number).map(|value| values.push(value))),
        None => wrong_type(scanner),
    }
}

fn push_boolean(scanner: &mut Scanner<'_>, values: &mut Vec<bool>) -> Held {
    let value = match scanner.peek() {
        Some(b't') => scanner.literal(b"true").map(|()| true)?,
        Some(b'f') => scanner.literal(b"false").map(|()| false)?,
        _ => return wrong_type(scanner),
    };
    values.push(value);
    Ok(Ok(()))
}

#[inline]
fn push_string(scanner: &mut Scanner<'_>, text: &mut Text) -> Held {
    if scanner.peek() != Some(b'"') {
        return wrong_type(scanner);
    }
    let from_quote = scanner.rest();
    let RawString { bytes, escaped } = scanner.string()?;
    if escaped {
        unescape(bytes, &mut text.bytes)?;
    } else {
        text.push(&from_quote[1..], bytes.len());
    }
    text.close_row();
    Ok(Ok(()))
}

#[inline]
fn push_parsed<T>(
    scanner: &mut Scanner<'_>,
    scratch: &mut Vec<u8>,
    values: &mut Vec<T>,
    parse: impl FnOnce(&[u8]) -> Result<T, Reason>,
) -> Held {
    if scanner.peek() != Some(b'"') {
        return wrong_type(scanner);
    }
    let RawString { mut bytes, escaped } = scanner.string()?;
    if escaped {
        scratch.clear();
        unescape(bytes, scratch)?;
        bytes = scratch;
    }
    Ok(parse(bytes).map(|value| values.push(value)))
}
