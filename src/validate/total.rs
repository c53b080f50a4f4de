//! The computed total: quantity × unit price × (1 − discount / 100), compared in whole units of its columns.
//!
//! With unscaled values `q`, `p`, `t` and `f = 100·10^sd − d`, the exact total is `q·p·f / 10^(sq + sp + sd + 2)`. It
//! is not divided out: `t` is the exact value rounded half away from zero just where twice their distance, measured in
//! units of `t`, is below one, or is one with `t` on the far side from zero. So no digit is lost and no row allocates.
//! `rules` finds the columns and their widths; above: `Validator`.

use std::ops::{Mul, Sub};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType as ArrowType, Decimal128Type, Int16Type, Int32Type, Int64Type, i256};

use crate::model::{DataType, Fault, Reason};

/// Digits that 128 and 256 bits hold for certain.
const NARROW_DIGITS: u32 = 38;
const WIDE_DIGITS: u32 = 76;
/// The difference of two numbers, doubled, has one digit more than the longer.
const SPARE_DIGITS: u32 = 1;
/// A percentage has two digits more than the share it stands for.
const PERCENT_DIGITS: u32 = 2;

pub(super) struct TotalCheck {
    total: u16,
    quantity: u16,
    unit_price: u16,
    discount: Option<u16>,
    /// 100 % in the discount's units.
    hundred: i128,
    /// The product is multiplied by 10 to this, where the total has more digits than it …
    raise: u32,
    /// … or the total is, where it has fewer.
    shift: u32,
    wide: bool,
}

/// Number of a column, with the digits it may have and those of them behind the point.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) column: u16,
    digits: u32,
    scale: u32,
}

impl Part {
    /// `None` for a type that is neither integer nor decimal.
    pub(super) fn new(column: u16, data_type: DataType) -> Option<Part> {
        let (digits, scale) = match data_type {
            DataType::SmallInt => (5, 0),
            DataType::Int => (10, 0),
            DataType::BigInt => (19, 0),
            DataType::Decimal { precision, scale } => (u32::from(precision), u32::from(scale)),
            _ => return None,
        };
        Some(Part { column, digits, scale })
    }
}

impl TotalCheck {
    /// `Err(digits)`: products of these columns may be wider than 256 bits.
    pub(super) fn new(total: Part, quantity: Part, unit_price: Part, discount: Option<Part>) -> Result<Self, u32> {
        // Of `f`: up to 100 % and the discount itself apart.
        let factor = discount.map_or(0, |part| (part.scale + PERCENT_DIGITS).max(part.digits) + 1);
        let scale = quantity.scale + unit_price.scale + discount.map_or(0, |part| part.scale + PERCENT_DIGITS);
        let (raise, shift) = (total.scale.saturating_sub(scale), scale.saturating_sub(total.scale));
        let product = quantity.digits + unit_price.digits + factor + raise;
        let digits = product.max(total.digits + shift) + SPARE_DIGITS;
        if digits > WIDE_DIGITS {
            return Err(digits);
        }
        Ok(TotalCheck {
            total: total.column,
            quantity: quantity.column,
            unit_price: unit_price.column,
            discount: discount.map(|part| part.column),
            hundred: discount.map_or(1, |part| 10_i128.pow(part.scale + PERCENT_DIGITS)),
            raise,
            shift,
            wide: digits > NARROW_DIGITS,
        })
    }

    fn parts(&self) -> impl Iterator<Item = u16> + '_ {
        [self.total, self.quantity, self.unit_price].into_iter().chain(self.discount)
    }

    /// Adds the rows whose total is another. `faults` are sorted by row: a row with a faulty part is not judged.
    pub(super) fn apply(&self, rows: &RecordBatch, faults: &mut Vec<Fault>) {
        let mut found = match self.wide {
            false => self.scan::<i128>(rows, 10_i128.pow(self.raise), 10_i128.pow(self.shift), |units| units),
            true => {
                let ten = i256::from_i128(10);
                self.scan::<i256>(rows, ten.wrapping_pow(self.raise), ten.wrapping_pow(self.shift), i256::from_i128)
            }
        };
        let known = &faults[..];
        found.retain(|&row| {
            let of_row = &known[known.partition_point(|fault| fault.row < row)..];
            let mut of_row = of_row.iter().take_while(|fault| fault.row == row);
            !of_row.any(|fault| fault.column.is_none_or(|column| self.parts().any(|part| part == column)))
        });
        faults.extend(found.into_iter().map(|row| Fault {
            row,
            column: Some(self.total),
            reason: Reason::TotalMismatch,
        }));
    }

    fn scan<T>(&self, rows: &RecordBatch, raise: T, shift: T, number: impl Fn(i128) -> T) -> Vec<u32>
    where
        T: Copy + PartialOrd + Mul<Output = T> + Sub<Output = T>,
    {
        let column = |index: u16| Units::of(rows.column(usize::from(index)));
        let (total, quantity, unit_price) = (column(self.total), column(self.quantity), column(self.unit_price));
        let discount = self.discount.map(column);
        let nulls = self.parts().map(|part| rows.column(usize::from(part)).nulls());
        let nulls = nulls.fold(None, |all, nulls| NullBuffer::union(all.as_ref(), nulls));
        let mut found = Vec::new();
        for row in 0..rows.num_rows() {
            let factor = discount.as_ref().map_or(1, |discount| self.hundred - discount.at(row));
            let product = number(quantity.at(row)) * number(unit_price.at(row)) * number(factor) * raise;
            let is_right = rounds_to(product, number(total.at(row)), shift, number(0), number(2));
            if !is_right && nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                found.push(row as u32);
            }
        }
        found
    }
}

/// `exact / unit` rounded half away from zero is `rounded`.
#[inline]
fn rounds_to<T>(exact: T, rounded: T, unit: T, zero: T, two: T) -> bool
where
    T: Copy + PartialOrd + Mul<Output = T> + Sub<Output = T>,
{
    let doubled = (exact - rounded * unit) * two;
    if exact < zero { zero - unit < doubled && doubled <= unit } else { zero - unit <= doubled && doubled < unit }
}

/// A column's values in whole units. What stands in the place of a null counts for nothing.
enum Units<'a> {
    Small(&'a [i16]),
    Int(&'a [i32]),
    Big(&'a [i64]),
    Decimal(&'a [i128]),
}

impl<'a> Units<'a> {
    fn of(array: &'a ArrayRef) -> Self {
        match array.data_type() {
            ArrowType::Int16 => Units::Small(array.as_primitive::<Int16Type>().values()),
            ArrowType::Int32 => Units::Int(array.as_primitive::<Int32Type>().values()),
            ArrowType::Int64 => Units::Big(array.as_primitive::<Int64Type>().values()),
            // `rules` takes integers and decimals only.
            _ => Units::Decimal(array.as_primitive::<Decimal128Type>().values()),
        }
    }

    #[inline]
    fn at(&self, row: usize) -> i128 {
        match self {
            Units::Small(values) => values[row].into(),
            Units::Int(values) => values[row].into(),
            Units::Big(values) => values[row].into(),
            Units::Decimal(values) => values[row],
        }
    }
}
