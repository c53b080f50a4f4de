//! A number for each row: that of its group, in the order in which groups appear.
//!
//! ```text
//! period ─▶ number ─┐
//! column 1 ─▶ code ─┴▶ number of the pair ─┐
//! column 2 ─▶ code ────────────────────────┴▶ …  the last one is the group's
//! ```
//! A code stands for a distinct value of a column, 0 for null. Tables hold codes and numbers only; a group's values
//! are made into text once, at its first row.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType as ArrowType, Date32Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use chrono::{DateTime, NaiveDate};
use chrono_tz::Tz;
use foldhash::fast::RandomState;

use crate::error::{Error, Result};
use crate::model::local_time::LocalTime;
use crate::model::{DatedBatch, Period, Values};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Boolean,
    Int16,
    Int32,
    Int64,
    Date,
}

/// A column that rows are grouped by.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupColumn {
    index: usize,
    kind: Kind,
}

impl GroupColumn {
    /// `None` for a type that cannot be grouped by.
    pub fn new(index: usize, data_type: &ArrowType) -> Option<GroupColumn> {
        let kind = match data_type {
            ArrowType::Utf8 => Kind::Text,
            ArrowType::Boolean => Kind::Boolean,
            ArrowType::Int16 => Kind::Int16,
            ArrowType::Int32 => Kind::Int32,
            ArrowType::Int64 => Kind::Int64,
            ArrowType::Date32 => Kind::Date,
            _ => return None,
        };
        Some(GroupColumn { index, kind })
    }
}

/// A group column of one batch.
#[derive(Clone, Copy)]
enum Cells<'b> {
    Text(&'b StringArray),
    Boolean(&'b BooleanArray),
    Int16(&'b PrimitiveArray<Int16Type>),
    Int32(&'b PrimitiveArray<Int32Type>),
    Int64(&'b PrimitiveArray<Int64Type>),
    Date(&'b PrimitiveArray<Date32Type>),
}

impl<'b> Cells<'b> {
    fn of(batch: &'b RecordBatch, column: GroupColumn) -> Result<Cells<'b>> {
        let array = batch.columns().get(column.index);
        let cells = array.and_then(|array| match column.kind {
            Kind::Text => array.as_string_opt().map(Cells::Text),
            Kind::Boolean => array.as_boolean_opt().map(Cells::Boolean),
            Kind::Int16 => array.as_primitive_opt().map(Cells::Int16),
            Kind::Int32 => array.as_primitive_opt().map(Cells::Int32),
            Kind::Int64 => array.as_primitive_opt().map(Cells::Int64),
            Kind::Date => array.as_primitive_opt().map(Cells::Date),
        });
        cells.ok_or_else(|| Error::bug(format!("a lake batch has no column {} to group by", column.index)))
    }

    /// The value as records and tables show it.
    fn text(self, row: usize) -> Option<String> {
        fn number<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize) -> Option<String>
        where
            T::Native: ToString,
        {
            array.is_valid(row).then(|| array.value(row).to_string())
        }
        match self {
            Cells::Text(array) => array.is_valid(row).then(|| array.value(row).to_owned()),
            Cells::Boolean(array) => array.is_valid(row).then(|| array.value(row).to_string()),
            Cells::Int16(array) => number(array, row),
            Cells::Int32(array) => number(array, row),
            Cells::Int64(array) => number(array, row),
            Cells::Date(array) => array.is_valid(row).then(|| day(array.value(row)).to_string()),
        }
    }
}

fn day(since_epoch: i32) -> NaiveDate {
    NaiveDate::from_epoch_days(since_epoch).unwrap_or_default()
}

/// Short keys, a lookup or two a row; `max_groups` bounds what a hostile choice of values could do.
type Table<K, V> = HashMap<K, V, RandomState>;

/// Codes of one column's distinct values.
#[derive(Default)]
struct Codes {
    texts: Table<Box<str>, u32>,
    numbers: Table<i64, u32>,
}

impl Codes {
    fn of_text(&mut self, text: &str) -> u32 {
        if let Some(&code) = self.texts.get(text) {
            return code;
        }
        let code = self.texts.len() as u32 + 1;
        self.texts.insert(text.into(), code);
        code
    }

    fn of_number(&mut self, number: i64) -> u32 {
        let next = self.numbers.len() as u32 + 1;
        *self.numbers.entry(number).or_insert(next)
    }
}

/// Numbers of distinct pairs: what stands before a column, and its code.
#[derive(Default)]
struct Pairs {
    numbers: Table<(u32, u32), u32>,
    last: Option<((u32, u32), u32)>,
}

impl Pairs {
    /// The pair's number, and whether it is new.
    #[inline]
    fn number(&mut self, before: u32, code: u32) -> (u32, bool) {
        let pair = (before, code);
        // Rows come in runs where a topic is in order of time.
        if let Some((known, number)) = self.last
            && known == pair
        {
            return (number, false);
        }
        let next = self.numbers.len() as u32;
        let number = *self.numbers.entry(pair).or_insert(next);
        self.last = Some((pair, number));
        (number, number == next)
    }
}

/// The groups of several batches.
pub(super) struct Groups<'a> {
    columns: &'a [GroupColumn],
    hours: Option<(usize, LocalTime)>,
    /// Numbers of periods, by day or by the hour's start in microseconds.
    periods: Pairs,
    levels: Vec<(Codes, Pairs)>,
    keys: Vec<(Period, Values)>,
    counts: Table<Period, usize>,
    fullest: Option<(Period, usize)>,
}

impl<'a> Groups<'a> {
    pub fn new(columns: &'a [GroupColumn], hours: Option<(usize, Tz)>) -> Groups<'a> {
        Groups {
            columns,
            hours: hours.map(|(index, zone)| (index, LocalTime::new(zone))),
            periods: Pairs::default(),
            levels: columns.iter().map(|_| Default::default()).collect(),
            keys: Vec::new(),
            counts: Table::default(),
            fullest: None,
        }
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The period with the most groups.
    pub fn fullest(&self) -> Option<(Period, usize)> {
        self.fullest
    }

    /// Periods and values, by number.
    pub fn into_keys(self) -> Vec<(Period, Values)> {
        self.keys
    }

    /// Sets `numbers` to the group of each row.
    pub fn number(&mut self, batch: &DatedBatch, numbers: &mut Vec<u32>) -> Result<()> {
        let mut fresh = self.number_periods(batch, numbers)?;
        let cells = self.columns.iter().map(|&column| Cells::of(&batch.rows, column)).collect::<Result<Vec<_>>>()?;
        for (cells, (codes, pairs)) in cells.iter().zip(&mut self.levels) {
            fresh = number_column(*cells, codes, pairs, numbers);
        }
        for row in fresh {
            let period = match &mut self.hours {
                None => Period::Day(batch.date),
                Some((index, time)) => {
                    let start = time.hour_start_us(instants(&batch.rows, *index)?.value(row));
                    Period::Hour(DateTime::from_timestamp_micros(start).unwrap_or_default())
                }
            };
            self.keys.push((period, cells.iter().map(|cells| cells.text(row)).collect()));
            let count = self.counts.entry(period).or_default();
            *count += 1;
            if self.fullest.is_none_or(|(_, most)| *count > most) {
                self.fullest = Some((period, *count));
            }
        }
        Ok(())
    }

    /// Returns the first rows of new periods.
    fn number_periods(&mut self, batch: &DatedBatch, numbers: &mut Vec<u32>) -> Result<Vec<usize>> {
        let rows = batch.rows.num_rows();
        numbers.clear();
        let Some((index, time)) = &mut self.hours else {
            if rows == 0 {
                return Ok(Vec::new());
            }
            let (number, new) = self.periods.number(0, batch.date.to_epoch_days() as u32);
            numbers.resize(rows, number);
            return Ok(if new { vec![0] } else { Vec::new() });
        };
        let mut fresh = Vec::new();
        for (row, &instant) in instants(&batch.rows, *index)?.values().iter().enumerate() {
            let start = time.hour_start_us(instant);
            // Seconds fit 64 bits as two halves.
            let seconds = start.div_euclid(1_000_000);
            let (number, new) = self.periods.number((seconds >> 32) as u32, seconds as u32);
            numbers.push(number);
            if new {
                fresh.push(row);
            }
        }
        Ok(fresh)
    }
}

fn instants(batch: &RecordBatch, index: usize) -> Result<&PrimitiveArray<TimestampMicrosecondType>> {
    let array = batch.columns().get(index).and_then(|array| array.as_primitive_opt());
    array.ok_or_else(|| Error::bug("a lake batch has no timestamps to group by hour"))
}

/// Puts the column's codes behind the numbers that rows have so far. Returns the first rows of new pairs.
fn number_column(cells: Cells<'_>, codes: &mut Codes, pairs: &mut Pairs, numbers: &mut [u32]) -> Vec<usize> {
    let mut fresh = Vec::new();
    let mut put = |row: usize, code: u32| {
        let (number, new) = pairs.number(numbers[row], code);
        numbers[row] = number;
        if new {
            fresh.push(row);
        }
    };
    fn each<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, codes: &mut Codes, mut put: impl FnMut(usize, u32))
    where
        T::Native: Into<i64>,
    {
        for (row, &value) in array.values().iter().enumerate() {
            put(row, if array.is_valid(row) { codes.of_number(value.into()) } else { 0 });
        }
    }
    match cells {
        Cells::Text(array) => {
            for row in 0..array.len() {
                put(row, if array.is_valid(row) { codes.of_text(array.value(row)) } else { 0 });
            }
        }
        Cells::Boolean(array) => {
            for row in 0..array.len() {
                put(row, if array.is_valid(row) { 1 + u32::from(array.value(row)) } else { 0 });
            }
        }
        Cells::Int16(array) => each(array, codes, put),
        Cells::Int32(array) => each(array, codes, put),
        Cells::Int64(array) => each(array, codes, put),
        Cells::Date(array) => each(array, codes, put),
    }
    fresh
}
