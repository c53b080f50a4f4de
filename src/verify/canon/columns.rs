//! The lake's side: Arrow columns, downcast once a batch.

use arrow::array::{
    Array, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int32Array, Int64Array,
    LargeStringArray, RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType as ArrowType, Date32Type, Decimal128Type, Float64Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};

use super::{Canon, Form, Forms};
use crate::error::{Error, Kind, Result};

enum Values<'a> {
    /// The file has no such column: null throughout.
    Absent,
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Decimal(&'a Decimal128Array, usize),
    Double(&'a Float64Array),
    Boolean(&'a BooleanArray),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Moment(&'a TimestampMicrosecondArray),
    Date(&'a Date32Array),
}

/// One batch of the lake, ready to be read row by row.
pub(in crate::verify) struct LakeColumns<'a> {
    values: Vec<(Form, Values<'a>)>,
    buffer: String,
}

impl<'a> LakeColumns<'a> {
    pub fn new(batch: &'a RecordBatch, forms: &Forms) -> Result<Self> {
        let values = forms.columns.iter().map(|(name, form)| match batch.column_by_name(name) {
            None => Ok((*form, Values::Absent)),
            Some(array) => Ok((*form, values(array.as_ref(), name)?)),
        });
        Ok(LakeColumns { values: values.collect::<Result<_>>()?, buffer: String::new() })
    }

    /// Puts the row's values into `canon`, in the order of the forms.
    pub fn canon(&mut self, row: usize, canon: &mut Canon) {
        canon.clear();
        for (form, values) in &self.values {
            value(values, *form, row, canon, &mut self.buffer);
        }
    }
}

fn values<'a>(array: &'a dyn Array, name: &str) -> Result<Values<'a>> {
    Ok(match array.data_type() {
        ArrowType::Int16 => Values::Int16(array.as_primitive::<Int16Type>()),
        ArrowType::Int32 => Values::Int32(array.as_primitive::<Int32Type>()),
        ArrowType::Int64 => Values::Int64(array.as_primitive::<Int64Type>()),
        ArrowType::Decimal128(_, scale) if *scale >= 0 => {
            Values::Decimal(array.as_primitive::<Decimal128Type>(), *scale as usize)
        }
        ArrowType::Float64 => Values::Double(array.as_primitive::<Float64Type>()),
        ArrowType::Boolean => Values::Boolean(array.as_boolean()),
        ArrowType::Utf8 => Values::Text(array.as_string()),
        ArrowType::LargeUtf8 => Values::LargeText(array.as_string()),
        ArrowType::Utf8View => Values::TextView(array.as_string_view()),
        ArrowType::Timestamp(TimeUnit::Microsecond, _) => {
            Values::Moment(array.as_primitive::<TimestampMicrosecondType>())
        }
        ArrowType::Date32 => Values::Date(array.as_primitive::<Date32Type>()),
        other => {
            return Err(Error::new(
                Kind::Schema,
                format!(
                    "column `{name}` of the lake has type {other}, which no schema of ours writes; the file is foreign"
                ),
            ));
        }
    })
}

fn value(values: &Values<'_>, form: Form, row: usize, canon: &mut Canon, buffer: &mut String) {
    use std::fmt::Write as _;
    macro_rules! present {
        ($array:expr) => {{
            if $array.is_null(row) {
                return canon.null();
            }
            $array.value(row)
        }};
    }
    buffer.clear();
    let written = match values {
        Values::Absent => return canon.null(),
        Values::Int16(array) => write!(buffer, "{}", present!(array)),
        Values::Int32(array) => write!(buffer, "{}", present!(array)),
        Values::Int64(array) => {
            let value = present!(array);
            return canon.value(itoa::Buffer::new().format(value).as_bytes());
        }
        Values::Decimal(array, scale) => {
            let value = present!(array);
            let divisor = 10i128.pow(*scale as u32);
            let (whole, fraction) = ((value / divisor).unsigned_abs(), (value % divisor).unsigned_abs());
            let sign = if value < 0 { "-" } else { "" };
            let written = write!(buffer, "{sign}{whole}.{fraction:0>scale$}");
            written.expect("writing to a string does not fail");
            return canon.number(buffer.as_bytes());
        }
        Values::Double(array) => return canon.double(present!(array)),
        Values::Boolean(array) => write!(buffer, "{}", present!(array)),
        Values::Text(array) => return canon.value(present!(array).as_bytes()),
        Values::LargeText(array) => return canon.value(present!(array).as_bytes()),
        Values::TextView(array) => return canon.value(present!(array).as_bytes()),
        Values::Moment(array) => return canon.instant(form, present!(array)),
        Values::Date(array) => {
            let days = present!(array);
            match chrono::NaiveDate::from_epoch_days(days) {
                Some(date) => write!(buffer, "{date}"),
                None => write!(buffer, "day {days}"),
            }
        }
    };
    written.expect("writing to a string does not fail");
    canon.value(buffer.as_bytes());
}
