//! Exact totals by day, for the commit record: rows, and the sum of the money column.
//!
//! Sums are made of whole units in 128 bits, spilling into 256, so that neither order nor number of rows can round or
//! overflow them. They cover what the lake holds, tagged rows included; a null adds nothing. No I/O.
//! Above: `pipeline::ingest`, which adds a batch's totals to the lake's (`model::Totals::add`).

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType as ArrowType, Decimal128Type, SchemaRef, i256};

use crate::error::{Error, Result};
use crate::model::micro_batch::format_decimal;
use crate::model::{DatedBatch, Totals};

/// The orders table's money: summed where the schema has it as a decimal.
const SUM_COLUMN: &str = "amount";

/// Which columns of the lake are summed.
#[derive(Clone, Debug)]
pub struct DailyTotals {
    sums: Vec<SumColumn>,
}

#[derive(Clone, Debug)]
struct SumColumn {
    name: String,
    index: usize,
    scale: usize,
}

impl DailyTotals {
    /// Sums `amount` if it is a decimal; other types have no exact sum.
    pub fn new(lake_schema: &SchemaRef) -> Self {
        let sums = lake_schema.fields().iter().enumerate().filter(|(_, field)| field.name() == SUM_COLUMN);
        let sums = sums.filter_map(|(index, field)| match field.data_type() {
            ArrowType::Decimal128(_, scale) => {
                Some(SumColumn { name: field.name().clone(), index, scale: usize::try_from(*scale).ok()? })
            }
            _ => None,
        });
        DailyTotals { sums: sums.collect() }
    }

    /// Totals of these batches alone; several batches of one day add up. A day whose values are all null sums to zero.
    pub fn of(&self, batches: &[DatedBatch]) -> Result<Totals> {
        let mut totals = Totals::default();
        for batch in batches {
            let mut of_batch = Totals::default();
            let day = of_batch.days.entry(batch.date).or_default();
            day.rows = batch.rows.num_rows() as u64;
            for column in &self.sums {
                day.sums.insert(column.name.clone(), column.sum(batch)?);
            }
            totals.add(&of_batch)?;
        }
        Ok(totals)
    }
}

impl SumColumn {
    fn sum(&self, batch: &DatedBatch) -> Result<String> {
        let array = batch.rows.columns().get(self.index).and_then(|array| array.as_primitive_opt::<Decimal128Type>());
        let array = array.ok_or_else(|| Error::bug(format!("a lake batch has no decimal column `{}`", self.name)))?;
        let (mut wide, mut narrow) = (i256::ZERO, 0i128);
        let mut add = |units: i128| match narrow.checked_add(units) {
            Some(sum) => narrow = sum,
            None => {
                // A batch has fewer than 2^32 rows: 256 bits cannot overflow.
                wide = wide.wrapping_add(i256::from_i128(narrow));
                narrow = units;
            }
        };
        if array.null_count() == 0 {
            array.values().iter().copied().for_each(&mut add);
        } else {
            array.iter().flatten().for_each(&mut add);
        }
        Ok(format_decimal(wide.wrapping_add(i256::from_i128(narrow)), self.scale))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Decimal128Array, Float64Array, RecordBatch};
    use chrono::NaiveDate;

    use super::*;

    fn dated(day: u32, amounts: ArrayRef) -> DatedBatch {
        let rows = RecordBatch::try_from_iter([("amount", amounts)]).unwrap();
        DatedBatch { date: NaiveDate::from_ymd_opt(2025, 11, day).unwrap(), rows }
    }

    fn decimals(day: u32, units: &[Option<i128>], precision: u8, scale: i8) -> DatedBatch {
        let array = Decimal128Array::from(units.to_vec()).with_precision_and_scale(precision, scale).unwrap();
        dated(day, Arc::new(array))
    }

    fn shown(totals: &Totals) -> Vec<(String, u64, Option<&str>)> {
        let day = |(date, day): (&NaiveDate, _)| {
            let day: &crate::model::DayTotal = day;
            (date.to_string(), day.rows, day.sums.get("amount").map(String::as_str))
        };
        totals.days.iter().map(day).collect()
    }

    #[test]
    fn sums_are_exact_by_day_over_several_batches() {
        let batches = [
            decimals(18, &[Some(35_000), None, Some(-1)], 10, 2),
            decimals(19, &[None], 10, 2),
            decimals(18, &[Some(1)], 10, 2),
        ];
        let totals = DailyTotals::new(&batches[0].rows.schema()).of(&batches).unwrap();
        let expected = [("2025-11-18".to_owned(), 4, Some("350.00")), ("2025-11-19".to_owned(), 1, Some("0.00"))];
        assert_eq!(shown(&totals), expected);
    }

    #[test]
    fn sums_past_128_bits_are_still_exact() {
        let largest = Some(10i128.pow(38) - 1);
        let batches = [decimals(18, &[largest; 4], 38, 1)];
        let totals = DailyTotals::new(&batches[0].rows.schema()).of(&batches).unwrap();
        let sum = format!("3{}.6", "9".repeat(37));
        assert_eq!(shown(&totals), [("2025-11-18".to_owned(), 4, Some(sum.as_str()))]);
    }

    #[test]
    fn doubles_are_counted_but_not_summed() {
        let batches = [dated(18, Arc::new(Float64Array::from(vec![0.1, 0.2])))];
        let totals = DailyTotals::new(&batches[0].rows.schema()).of(&batches).unwrap();
        assert_eq!(shown(&totals), [("2025-11-18".to_owned(), 2, None)]);
    }

    #[test]
    fn a_batch_of_another_schema_is_a_bug_not_a_panic() {
        let schema = decimals(18, &[], 10, 2).rows.schema();
        let other = [dated(18, Arc::new(Float64Array::from(vec![1.0])))];
        assert_eq!(DailyTotals::new(&schema).of(&other).unwrap_err().kind(), crate::error::Kind::Bug);
    }
}
