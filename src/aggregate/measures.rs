//! Sums, counts and extremes of one column, by the number of the group.

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType as ArrowType, Decimal128Type, Int16Type, Int32Type, Int64Type, i256,
};

use crate::error::{Error, Result};
use crate::model::{Aggregation, Measure, decimal};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Decimal,
    Int16,
    Int32,
    Int64,
}

/// A column that is measured, and which parts of the measure are kept.
#[derive(Clone, Debug)]
pub(super) struct MeasureColumn {
    name: String,
    index: usize,
    kind: Kind,
    scale: usize,
    sum: bool,
    count: bool,
    min: bool,
    max: bool,
}

impl MeasureColumn {
    /// `None` for a type without exact sums.
    pub fn new(name: &str, index: usize, data_type: &ArrowType, definition: &Aggregation) -> Option<MeasureColumn> {
        let (kind, scale) = match data_type {
            ArrowType::Decimal128(_, scale) => (Kind::Decimal, usize::try_from(*scale).ok()?),
            ArrowType::Int16 => (Kind::Int16, 0),
            ArrowType::Int32 => (Kind::Int32, 0),
            ArrowType::Int64 => (Kind::Int64, 0),
            _ => return None,
        };
        let named = |list: &[String]| list.iter().any(|column| column == name);
        let average = named(&definition.avg);
        Some(MeasureColumn {
            name: name.to_owned(),
            index,
            kind,
            scale,
            sum: named(&definition.sum) || average,
            count: average,
            min: named(&definition.min),
            max: named(&definition.max),
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Sum {
    narrow: i128,
    wide: i256,
    count: u64,
    min: i128,
    max: i128,
}

impl Sum {
    const EMPTY: Sum = Sum { narrow: 0, wide: i256::ZERO, count: 0, min: i128::MAX, max: i128::MIN };

    #[inline]
    fn add(&mut self, units: i128) {
        match self.narrow.checked_add(units) {
            Some(sum) => self.narrow = sum,
            None => {
                // A batch has fewer than 2^32 rows: 256 bits cannot overflow.
                self.wide = self.wide.wrapping_add(i256::from_i128(self.narrow));
                self.narrow = units;
            }
        }
        self.count += 1;
        self.min = self.min.min(units);
        self.max = self.max.max(units);
    }
}

/// The measures of one column so far.
pub(super) struct Sums<'c> {
    column: &'c MeasureColumn,
    by_group: Vec<Sum>,
}

impl<'c> Sums<'c> {
    pub fn new(column: &'c MeasureColumn) -> Sums<'c> {
        Sums { column, by_group: Vec::new() }
    }

    pub fn column(&self) -> &str {
        &self.column.name
    }

    /// Takes in a batch whose rows belong to these groups.
    pub fn add(&mut self, batch: &RecordBatch, numbers: &[u32], groups: usize) -> Result<()> {
        self.by_group.resize(groups, Sum::EMPTY);
        let array = batch.columns().get(self.column.index);
        let added = array.and_then(|array| match self.column.kind {
            Kind::Decimal => array.as_primitive_opt::<Decimal128Type>().map(|array| self.add_all(array, numbers)),
            Kind::Int16 => array.as_primitive_opt::<Int16Type>().map(|array| self.add_all(array, numbers)),
            Kind::Int32 => array.as_primitive_opt::<Int32Type>().map(|array| self.add_all(array, numbers)),
            Kind::Int64 => array.as_primitive_opt::<Int64Type>().map(|array| self.add_all(array, numbers)),
        });
        added.ok_or_else(|| Error::bug(format!("a lake batch has no column `{}` of its type", self.column.name)))
    }

    fn add_all<T: ArrowPrimitiveType>(&mut self, array: &PrimitiveArray<T>, numbers: &[u32])
    where
        T::Native: Into<i128>,
    {
        let cells = array.values().iter().zip(numbers).enumerate();
        let every = array.null_count() == 0;
        for (row, (&value, &number)) in cells {
            if every || array.is_valid(row) {
                self.by_group[number as usize].add(value.into());
            }
        }
    }

    pub fn measure(&self, number: usize) -> Measure {
        let Sum { narrow, wide, count, min, max } = self.by_group.get(number).copied().unwrap_or(Sum::EMPTY);
        let text = |units: i256| decimal::format(units, self.column.scale);
        let column = self.column;
        let extreme = |kept: bool, units: i128| (kept && count > 0).then(|| text(i256::from_i128(units)));
        Measure {
            sum: column.sum.then(|| text(wide.wrapping_add(i256::from_i128(narrow)))),
            count: column.count.then_some(count),
            min: extreme(column.min, min),
            max: extreme(column.max, max),
        }
    }
}
