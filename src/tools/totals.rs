//! The totals of a lake as an Arrow table, from the commit log alone.
//!
//! ```text
//! date (or period) · the group columns · rows · sum_x … · min_x … · max_x … · avg_x … · running_sum_x …
//! ```
//! Amounts are decimals: `decimal(38, s)`, and `decimal(76, s)` for a column in which one value needs it.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Decimal256Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, Field, Schema as ArrowSchema, i256};
use chrono::{DateTime, Utc};

use crate::config::Settings;
use crate::error::{Error, Result};
use crate::lake::TotalsLog;
use crate::model::schema::UTC;
use crate::model::totals::Running;
use crate::model::{Aggregation, DataType, Every, Group, Measure, Period, Schema, Totals, decimal};

/// What is wanted of the totals.
#[derive(Clone, Debug, Default)]
pub struct TotalsOptions {
    /// Group columns to keep apart; the others are folded. `None`: all.
    pub by: Option<Vec<String>>,
    /// With the running sums of each group, over its periods.
    pub running: bool,
}

#[derive(Clone, Debug)]
pub struct TotalsTable {
    /// The commit it stands at; `None` for a lake that has not been founded.
    pub commit: Option<u64>,
    pub committed_at: Option<DateTime<Utc>>,
    pub rows: RecordBatch,
}

/// Reads the log of the configured lake; connects to nothing and writes nothing.
///
/// # Errors
/// `Config`: no checkpoint, or `by` names no group column. `Lake`, `DataLoss`: a damaged log.
pub fn totals_table(settings: &Settings, options: &TotalsOptions) -> Result<TotalsTable> {
    let log = TotalsLog::read(settings.require_checkpoint()?)?;
    let (commit, committed_at) = (log.as_ref().map(|log| log.number), log.as_ref().map(|log| log.committed_at));
    let (definition, columns, totals) = match log {
        Some(log) => (log.definition, log.columns, log.totals),
        None => {
            let schema = settings.schema.clone().unwrap_or_else(Schema::orders);
            let columns = schema.columns.into_iter().map(|column| (column.name, column.data_type)).collect();
            (settings.aggregate.definition.clone(), columns, Totals::default())
        }
    };
    let rows = table(&definition, &columns, &totals, options)?;
    Ok(TotalsTable { commit, committed_at, rows })
}

fn table(
    definition: &Aggregation,
    columns: &[(String, DataType)],
    totals: &Totals,
    options: &TotalsOptions,
) -> Result<RecordBatch> {
    let by = options.by.as_ref().unwrap_or(&definition.group_by);
    let positions = definition.positions(by).map_err(|column| no_group_column(definition, column))?;
    let rows = totals.running(&positions)?;
    let mut table = Table::default();
    table.periods(definition.every, &rows);
    for (place, name) in by.iter().enumerate() {
        let values = rows.iter().map(|row| row.values.get(place).cloned().flatten());
        table.push(name.clone(), Arc::new(values.collect::<StringArray>()));
    }
    let counts = rows.iter().map(|row| i64::try_from(row.group.rows).unwrap_or(i64::MAX));
    table.push("rows".to_owned(), Arc::new(Int64Array::from_iter_values(counts)));
    let scale = |column: &str| match columns.iter().find(|(name, _)| name == column) {
        Some((_, DataType::Decimal { scale, .. })) => usize::from(*scale),
        _ => 0,
    };
    let parts: [(&str, &[String], Part); 4] = [
        ("sum", &definition.sum, |measure| measure.sum.clone()),
        ("min", &definition.min, |measure| measure.min.clone()),
        ("max", &definition.max, |measure| measure.max.clone()),
        ("avg", &definition.avg, Measure::average),
    ];
    for (word, listed, part) in parts {
        for column in listed {
            let scale = scale(column) + if word == "avg" { decimal::AVERAGE_EXTRA_SCALE } else { 0 };
            table.decimals(format!("{word}_{column}"), scale, rows.iter().map(|row| of(&row.group, column, part)))?;
        }
    }
    for column in definition.sum.iter().filter(|_| options.running) {
        let sums = rows.iter().map(|row| row.running.sum(column).map(str::to_owned));
        table.decimals(format!("running_sum_{column}"), scale(column), sums)?;
    }
    table.finish()
}

type Part = fn(&Measure) -> Option<String>;

fn of(group: &Group, column: &str, part: Part) -> Option<String> {
    group.columns.get(column).and_then(part)
}

fn no_group_column(definition: &Aggregation, column: &str) -> Error {
    let known: Vec<String> = definition.group_by.iter().map(|column| format!("`{column}`")).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Error::config(format!("totals are not grouped by `{column}`; `aggregate.group_by` of this lake has {known}"))
}

#[derive(Default)]
struct Table {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Table {
    fn push(&mut self, name: String, array: ArrayRef) {
        self.fields.push(Field::new(name, array.data_type().clone(), true));
        self.arrays.push(array);
    }

    fn periods(&mut self, every: Every, rows: &[Running]) {
        match every {
            Every::Day => {
                let days = rows.iter().map(|row| match row.period {
                    Period::Day(date) => date.to_epoch_days(),
                    Period::Hour(start) => start.date_naive().to_epoch_days(),
                });
                self.push("date".to_owned(), Arc::new(Date32Array::from_iter_values(days)));
            }
            Every::Hour => {
                let starts = rows.iter().map(|row| match row.period {
                    Period::Day(date) => i64::from(date.to_epoch_days()) * 86_400_000_000,
                    Period::Hour(start) => start.timestamp_micros(),
                });
                let starts = TimestampMicrosecondArray::from_iter_values(starts).with_timezone(UTC);
                self.push("period".to_owned(), Arc::new(starts));
            }
        }
    }

    fn decimals(&mut self, name: String, scale: usize, texts: impl Iterator<Item = Option<String>>) -> Result<()> {
        let unreadable = |text: &str| Error::bug(format!("`{name}` cannot show the total {text}"));
        let units = texts
            .map(|text| text.map(|text| decimal::units_at(&text, scale).ok_or_else(|| unreadable(&text))).transpose());
        let units = units.collect::<Result<Vec<Option<i256>>>>()?;
        let bound = i256::from_i128(10i128.pow(u32::from(DECIMAL128_MAX_PRECISION)));
        let narrow = units.iter().flatten().all(|&units| units < bound && -units < bound);
        let scale = i8::try_from(scale).map_err(|_| unreadable("scale"))?;
        let array: ArrayRef = if narrow {
            let units = units.into_iter().map(|units| units.and_then(i256::to_i128));
            let array = units.collect::<Decimal128Array>().with_precision_and_scale(DECIMAL128_MAX_PRECISION, scale);
            Arc::new(array.map_err(|error| unreadable("type").because(error))?)
        } else {
            let array = units.into_iter().collect::<Decimal256Array>();
            let array = array.with_precision_and_scale(DECIMAL256_MAX_PRECISION, scale);
            Arc::new(array.map_err(|error| unreadable("type").because(error))?)
        };
        self.push(name, array);
        Ok(())
    }

    fn finish(self) -> Result<RecordBatch> {
        let schema = Arc::new(ArrowSchema::new(self.fields));
        RecordBatch::try_new(schema, self.arrays).map_err(|error| Error::bug("a table of totals").because(error))
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;

    use super::*;

    fn measured(rows: u64, sum: &str, max: Option<&str>) -> Group {
        let owned = |text: &str| text.to_owned();
        let measure = Measure { sum: Some(owned(sum)), count: Some(rows), min: None, max: max.map(owned) };
        Group { rows, columns: [("amount".to_owned(), measure)].into() }
    }

    fn definition() -> Aggregation {
        let amount = || vec!["amount".to_owned()];
        let group_by = vec!["currency".to_owned(), "city".to_owned()];
        Aggregation { group_by, sum: amount(), max: amount(), avg: amount(), ..Aggregation::default() }
    }

    fn shown(totals: &Totals, by: Option<&[&str]>, running: bool) -> Vec<String> {
        let by = by.map(|by| by.iter().map(|column| (*column).to_owned()).collect());
        let columns = [("amount".to_owned(), DataType::Decimal { precision: 10, scale: 2 })];
        let rows = table(&definition(), &columns, totals, &TotalsOptions { by, running }).unwrap();
        let text = pretty_format_batches(&[rows]).unwrap().to_string();
        let cells = |line: &str| line.split('|').map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned();
        text.lines().filter(|line| line.starts_with('|')).map(cells).collect()
    }

    fn totals() -> Totals {
        let mut totals = Totals::default();
        let mut put = |day: &str, currency: Option<&str>, city: &str, group: Group| {
            let values = vec![currency.map(str::to_owned), Some(city.to_owned())];
            totals.insert(day.parse().unwrap(), values, group);
        };
        put("2025-11-18", Some("USD"), "A", measured(2, "10.00", Some("9.00")));
        put("2025-11-18", Some("USD"), "B", measured(1, "-1.00", Some("-1.00")));
        put("2025-11-18", None, "A", measured(1, "0.00", None));
        put("2025-11-19", Some("USD"), "A", measured(3, "0.01", Some("0.01")));
        totals
    }

    #[test]
    fn a_table_has_the_groups_with_their_measures_and_running_sums() {
        assert_eq!(
            shown(&totals(), None, true),
            [
                "date currency city rows sum_amount max_amount avg_amount running_sum_amount",
                "2025-11-18  A 1 0.00  0.0000 0.00",
                "2025-11-18 USD A 2 10.00 9.00 5.0000 10.00",
                "2025-11-18 USD B 1 -1.00 -1.00 -1.0000 -1.00",
                "2025-11-19 USD A 3 0.01 0.01 0.0033 10.01",
            ]
        );
        assert_eq!(
            shown(&totals(), Some(&["currency"]), true)[2..],
            ["2025-11-18 USD 3 9.00 9.00 3.0000 9.00", "2025-11-19 USD 3 0.01 0.01 0.0033 9.01"]
        );
        assert_eq!(
            shown(&totals(), Some(&[]), false)[1..],
            ["2025-11-18 4 9.00 9.00 2.2500", "2025-11-19 3 0.01 0.01 0.0033",]
        );
    }

    #[test]
    fn a_sum_past_128_bits_is_shown_whole() {
        let mut totals = Totals::default();
        let wide = format!("1{}.00", "0".repeat(40));
        totals.insert("2025-11-18".parse().unwrap(), vec![None, None], measured(1, &wide, None));
        assert!(shown(&totals, Some(&[]), false)[1].contains(&format!("1 {wide} ")));
    }

    #[test]
    fn a_column_that_is_not_grouped_by_is_named() {
        let options = TotalsOptions { by: Some(vec!["town".to_owned()]), running: false };
        let error = table(&definition(), &[], &Totals::default(), &options).unwrap_err();
        assert!(error.to_string().contains("`town`") && error.to_string().contains("`currency`, `city`"), "{error}");
    }
}
