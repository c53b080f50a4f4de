//! Exact totals by period and group of the rows of a batch, for the commit record.
//!
//! ```text
//! DatedBatch ─groups→ a group's number for each row ─measures→ rows, sums, counts, extremes by number ─→ Totals
//! ```
//! Sums are made of whole units in 128 bits, spilling into 256, so that neither order nor number of rows can round or
//! overflow them. They cover what the lake holds, tagged rows included; a null adds nothing and is a group of its
//! own. Work is column by column, and nothing is allocated for a row that brings no new group. No I/O.
//! Above: `pipeline::ingest`, which adds a batch's totals to the lake's (`model::Totals::after`), and `cli`, which
//! makes a lost log's totals anew.

mod groups;
mod measures;

use arrow::datatypes::{DataType as ArrowType, SchemaRef};
use chrono_tz::Tz;

use self::groups::{GroupColumn, Groups};
use self::measures::{MeasureColumn, Sums};
use crate::config;
use crate::error::{Error, Result};
use crate::model::{Aggregation, DatedBatch, Every, Group, Totals};

/// An aggregation, bound to the columns of a lake.
#[derive(Clone, Debug)]
pub struct Aggregator {
    definition: Aggregation,
    max_groups: usize,
    groups: Vec<GroupColumn>,
    measures: Vec<MeasureColumn>,
    /// Where the hour comes from; the day is the batch's own.
    hours: Option<(usize, Tz)>,
}

impl Aggregator {
    /// # Errors
    /// `Config`: a column that the lake does not have, or of a type that cannot be grouped or summed exactly.
    pub fn new(
        settings: &config::Aggregate,
        lake_schema: &SchemaRef,
        timestamp_column: &str,
        zone: Tz,
    ) -> Result<Aggregator> {
        let definition = settings.definition.clone();
        let find = |list: &str, name: &str| {
            let found = lake_schema.column_with_name(name).map(|(index, field)| (index, field.data_type().clone()));
            found.ok_or_else(|| {
                Error::config(format!("`aggregate.{list}` names `{name}`, which is no column of the lake"))
            })
        };
        let groups = definition.group_by.iter().map(|name| {
            let (index, data_type) = find("group_by", name)?;
            GroupColumn::new(index, &data_type).ok_or_else(|| unfit("group_by", name, &data_type))
        });
        let measures = definition.columns().into_iter().map(|name| {
            let (index, data_type) = find("sum", name)?;
            MeasureColumn::new(name, index, &data_type, &definition).ok_or_else(|| unfit("sum", name, &data_type))
        });
        let hours = match definition.every {
            Every::Day => None,
            Every::Hour => Some((find("every", timestamp_column)?.0, zone)),
        };
        Ok(Aggregator {
            groups: groups.collect::<Result<_>>()?,
            measures: measures.collect::<Result<_>>()?,
            max_groups: settings.max_groups as usize,
            definition,
            hours,
        })
    }

    /// Totals of these batches alone.
    ///
    /// # Errors
    /// `Config`: more groups of a period than `aggregate.max_groups`. `Bug`: batches of another schema.
    pub fn of(&self, batches: &[DatedBatch]) -> Result<Totals> {
        let mut groups = Groups::new(&self.groups, self.hours);
        let mut sums: Vec<Sums<'_>> = self.measures.iter().map(Sums::new).collect();
        let mut rows: Vec<u64> = Vec::new();
        let mut numbers: Vec<u32> = Vec::new();
        for batch in batches {
            groups.number(batch, &mut numbers)?;
            self.refuse_too_many(&groups)?;
            rows.resize(groups.len(), 0);
            numbers.iter().for_each(|&number| rows[number as usize] += 1);
            for sum in &mut sums {
                sum.add(&batch.rows, &numbers, groups.len())?;
            }
        }
        let mut totals = Totals::default();
        for (number, (period, values)) in groups.into_keys().into_iter().enumerate() {
            let columns = sums.iter().map(|sum| (sum.column().to_owned(), sum.measure(number))).collect();
            totals.insert(period, values, Group { rows: rows[number], columns });
        }
        Ok(totals)
    }

    /// Ahead of the lake's own check, so that a column of unique values fills no memory first.
    fn refuse_too_many(&self, groups: &Groups<'_>) -> Result<()> {
        match groups.fullest() {
            Some((period, count)) if count > self.max_groups => {
                Err(self.definition.too_many_groups(period, self.max_groups))
            }
            _ => Ok(()),
        }
    }
}

fn unfit(list: &str, name: &str, data_type: &ArrowType) -> Error {
    Error::config(format!("`aggregate.{list}` cannot take column `{name}` of type {data_type}"))
}

#[cfg(test)]
mod tests;
