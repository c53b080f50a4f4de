//! From a commit to what the console shows of it: this batch's parts, whole days, running totals, first events.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, RecordBatch};
use arrow::datatypes::{Decimal128Type, TimestampMicrosecondType, i256};
use chrono::DateTime;
use serde_json::{Value, json};

use super::console::{BatchView, CategoryLine, DayLine};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::model::{Group, Totals, decimal};
use crate::pipeline::ingest::Observed;

const CURRENCY: &str = "currency";
const CATEGORY: &str = "product_category";
const TOTAL: &str = "total_amount";
/// Columns of BATCH DETAILS in the lake; the last is shown as `event_time`.
const DETAILS: [&str; 4] = ["event_id", "customer_id", CATEGORY, TOTAL];
/// What a group without a value shows, as Spark would.
const NULL: &str = "null";

/// Where the purchase pipeline's columns stand in the configured totals and rows.
pub struct View {
    currency: usize,
    category: usize,
    timestamp: String,
}

impl View {
    /// # Errors
    /// `Config` where the configured totals lack the sums that the tables show.
    pub fn new(settings: &Settings) -> Result<Self> {
        let definition = &settings.aggregate.definition;
        let position = |column: &str| definition.group_by.iter().position(|known| known == column);
        let sums = definition.sum.iter().any(|column| column == TOTAL);
        match (position(CURRENCY), position(CATEGORY), sums) {
            (Some(currency), Some(category), true) => {
                Ok(View { currency, category, timestamp: settings.cdc.timestamp_column.clone() })
            }
            _ => Err(Error::config(format!(
                "`purchases run` shows the sums of `{TOTAL}` by `{CURRENCY}` and `{CATEGORY}`; name the two under \
                 `aggregate.group_by` and the first under `aggregate.sum`, or run it with `--output none`"
            ))),
        }
    }

    pub fn of(&self, commit: &Observed<'_>) -> Result<BatchView> {
        let by_currency = [self.currency];
        let (part, whole) = (commit.part.by(&by_currency)?, &commit.head.totals);
        let running = whole.running(&by_currency)?;
        let mut days = Vec::new();
        for (period, values, group) in part.iter() {
            let after = running.iter().find(|line| line.period == period && &line.values == values);
            let after = after.ok_or_else(|| Error::bug("a commit touched a day that its log does not have"))?;
            days.push(DayLine {
                date: period.to_string(),
                currency: word(&values[0]),
                daily: sum(group),
                running: sum(&after.running),
                day_total: sum(&after.group),
                count: group.rows,
            });
        }
        let everything = whole.fold(|_, values| Some(values.get(self.currency).cloned().flatten()))?;
        Ok(BatchView {
            number: commit.head.number,
            committed_at: commit.committed_at,
            days,
            events: self.events(commit.sample)?,
            accepted: commit.counts.accepted,
            rejected: commit.counts.rejected,
            categories: self.categories(commit.part)?,
            running: everything.iter().map(|(currency, group)| (word(currency), sum(group))).collect(),
        })
    }

    /// The largest first.
    fn categories(&self, part: &Totals) -> Result<Vec<CategoryLine>> {
        let folded = part.fold(|_, values| {
            let value = |column: usize| values.get(column).cloned().flatten();
            Some((value(self.currency), value(self.category)))
        })?;
        let line = |((currency, category), group): (&(Option<String>, Option<String>), &Group)| CategoryLine {
            category: word(category),
            currency: word(currency),
            total: sum(group),
            count: group.rows,
        };
        let mut lines: Vec<CategoryLine> = folded.iter().map(line).collect();
        let larger = |left: &CategoryLine, right: &CategoryLine| decimal::compare(&right.total, &left.total);
        lines.sort_by(|left, right| {
            left.currency.cmp(&right.currency).then(larger(left, right).unwrap_or(Ordering::Equal))
        });
        Ok(lines)
    }

    fn events(&self, sample: &[RecordBatch]) -> Result<Vec<[String; 5]>> {
        let mut events = Vec::new();
        for batch in sample {
            let find = |name: &str| {
                let column = batch.column_by_name(name);
                column.ok_or_else(|| Error::bug(format!("the lake has no column `{name}` to show")))
            };
            let [id, customer, category, total] = DETAILS;
            let columns = [find(id)?, find(customer)?, find(category)?, find(total)?, find(&self.timestamp)?];
            events.extend((0..batch.num_rows()).map(|row| columns.map(|column| cell(column, row))));
        }
        Ok(events)
    }
}

fn word(value: &Option<String>) -> String {
    value.clone().unwrap_or_else(|| NULL.to_owned())
}

fn sum(group: &Group) -> String {
    group.sum(TOTAL).unwrap_or_default().to_owned()
}

/// Text, money and moments, which is what the shown columns are; another type shows nothing of a value.
fn cell(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return NULL.to_owned();
    }
    if let Some(text) = column.as_string_opt::<i32>() {
        return text.value(row).to_owned();
    }
    if let Some(money) = column.as_primitive_opt::<Decimal128Type>() {
        return amount(money, row);
    }
    let moment = column.as_primitive_opt::<TimestampMicrosecondType>();
    let moment = moment.and_then(|column| DateTime::from_timestamp_micros(column.value(row)));
    moment.map(|moment| moment.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}

fn amount(money: &Decimal128Array, row: usize) -> String {
    decimal::format(i256::from_i128(money.value(row)), usize::try_from(money.scale()).unwrap_or_default())
}

impl BatchView {
    /// One object on one line; money is text, so that no reader rounds it.
    pub fn to_json(&self) -> String {
        let days = self.days.iter().map(|day| {
            json!({
                "date": day.date, "currency": day.currency, "daily_total": day.daily, "day_total": day.day_total,
                "running_total": day.running, "transaction_count": day.count,
            })
        });
        let categories = self.categories.iter().map(|line| {
            json!({
                "product_category": line.category, "currency": line.currency, "category_total": line.total,
                "transaction_count": line.count,
            })
        });
        let running: serde_json::Map<String, Value> =
            self.running.iter().map(|(currency, total)| (currency.clone(), json!(total))).collect();
        json!({
            "batch": self.number, "timestamp": self.committed_at.to_rfc3339(), "accepted": self.accepted,
            "rejected": self.rejected, "days": days.collect::<Vec<_>>(),
            "categories": categories.collect::<Vec<_>>(), "running_totals": running,
        })
        .to_string()
    }
}
