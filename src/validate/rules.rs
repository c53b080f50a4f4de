//! The configuration's rules, turned into tests of columns; mistakes in them are found here, before any row.

use regex::Regex;

use super::checks::{ColumnCheck, Limits, Test};
use super::recent::Recent;
use super::total::{Part, TotalCheck};
use crate::config::settings::{Rule, Validation};
use crate::error::{Error, Location, Result};
use crate::model::{Column, DataType, Reason, Schema};
use crate::wire::decode::{MICROS_PER_DAY, Number, parse_day, parse_timestamp};

/// The lake's folders say `date=YYYY-MM-DD`; readers put the folder's value over a column of the same name.
const PARTITION_NAME: &str = "date";

/// Below this likeness a name is no help to someone who mistyped another.
const SUGGESTION_LIKENESS: f64 = 0.75;

/// Instants whose local day has a four-digit year in every zone of the world: 0001-01-02 to 9999-12-30.
const FIRST_INSTANT_US: i64 = -719_161 * MICROS_PER_DAY;
const LAST_INSTANT_US: i64 = 2_932_896 * MICROS_PER_DAY - 1;

/// Where the partition column stands.
pub(super) fn timestamp_index(schema: &Schema, name: &str) -> Result<usize> {
    const KEY: &str = "cdc.timestamp_column";
    if let Some(column) = schema.columns.iter().find(|column| column.name.eq_ignore_ascii_case(PARTITION_NAME)) {
        let message = format!(
            "the column `{}` would be hidden by the lake's `{PARTITION_NAME}=` folders; leave it out of `schema`, \
             or rename it in a view",
            column.name
        );
        return Err(located("schema", message));
    }
    let index = schema.index_of(name).ok_or_else(|| located(KEY, unknown_column(schema, name)))?;
    match schema.columns[index].data_type {
        DataType::Timestamp | DataType::TimestampTz => Ok(index),
        other => Err(located(KEY, format!("`{name}` is {other}; the lake is divided by a timestamp or timestamptz"))),
    }
}

/// The schema's own demands, the documents' six rules for the columns that exist, then `validation.rules`.
pub(super) fn compile(schema: &Schema, validation: &Validation, timestamp_index: usize) -> Result<Vec<ColumnCheck>> {
    let mut plan = Plan {
        schema,
        not_null: schema.columns.iter().map(|column| !column.nullable).collect(),
        not_empty: vec![false; schema.columns.len()],
        checks: Vec::new(),
    };
    plan.partition_rule(timestamp_index);
    plan.document_rules(validation)?;
    for (number, rule) in validation.rules.iter().enumerate() {
        plan.configured_rule(rule, &format!("validation.rules[{number}]"))?;
    }
    Ok(plan.finish())
}

/// The check of `validation.total`.
pub(super) fn total(schema: &Schema, validation: &Validation) -> Result<Option<TotalCheck>> {
    const KEY: &str = "validation.total";
    let Some(rule) = &validation.total else { return Ok(None) };
    let part = |name: &str, column: &str| {
        let key = format!("{KEY}.{name}");
        let (index, column) = column_of(schema, column, &key)?;
        Part::new(index, column.data_type).ok_or_else(|| {
            let message =
                format!("`{}` is {}; totals are made of integers and decimals", column.name, column.data_type);
            located(&key, message)
        })
    };
    let discount = rule.discount_percentage.as_ref().map(|column| part("discount_percentage", column)).transpose()?;
    let (total, quantity) = (part("total", &rule.total)?, part("quantity", &rule.quantity)?);
    let check = TotalCheck::new(total, quantity, part("unit_price", &rule.unit_price)?, discount);
    check.map(Some).map_err(|digits| {
        located(
            KEY,
            format!("products of these columns may have {digits} digits, 76 can be compared; narrow their types"),
        )
    })
}

/// The memory of `validation.unique_column`.
pub(super) fn recent(schema: &Schema, validation: &Validation) -> Result<Option<Recent>> {
    const KEY: &str = "validation.unique_column";
    let Some(unique) = &validation.unique else { return Ok(None) };
    let (index, column) = column_of(schema, &unique.column, KEY)?;
    match column.data_type {
        DataType::SmallInt | DataType::Int | DataType::BigInt | DataType::String => {
            Ok(Some(Recent::new(index, unique.horizon)))
        }
        other => Err(located(KEY, format!("`{}` is {other}; ids are integers or strings", column.name))),
    }
}

fn column_of<'s>(schema: &'s Schema, name: &str, key: &str) -> Result<(u16, &'s Column)> {
    let index = schema.index_of(name).ok_or_else(|| located(key, unknown_column(schema, name)))?;
    // `Decoder::new` has refused schemas of more columns.
    Ok((index as u16, &schema.columns[index]))
}

struct Plan<'a> {
    schema: &'a Schema,
    not_null: Vec<bool>,
    not_empty: Vec<bool>,
    checks: Vec<ColumnCheck>,
}

impl Plan<'_> {
    fn test(&mut self, column: usize, test: Test) {
        // `Decoder::new` has refused schemas of more columns.
        self.checks.push(ColumnCheck { column: column as u16, test });
    }

    fn partition_rule(&mut self, column: usize) {
        self.not_null[column] = true;
        let (low, high) = (FIRST_INSTANT_US.into(), LAST_INSTANT_US.into());
        let (below, above) = (Reason::OutOfRange, Reason::OutOfRange);
        self.test(column, Test::Units(Limits { low, low_excluded: false, below, high, above }));
    }

    fn document_rules(&mut self, validation: &Validation) -> Result<()> {
        if let Some(column) = self.schema.index_of("order_id") {
            // Said by name, this outranks the schema's `nullable: false`.
            self.not_null[column] = !validation.allow_null_order_id;
        }
        for name in ["customer_name", "restaurant_name", "item", "order_status"] {
            if let Some(column) = self.schema.index_of(name) {
                let is_text = self.schema.columns[column].data_type == DataType::String;
                self.not_null[column] = true;
                self.not_empty[column] = is_text;
            }
        }
        if let Some(column) = self.schema.index_of("amount") {
            self.not_null[column] = true;
            if !validation.allow_negative_amount {
                let test = sign_test(&self.schema.columns[column], validation.allow_zero_amount)?;
                self.test(column, test);
            }
        }
        if let Some(column) = self.schema.index_of("order_status").filter(|_| validation.check_status) {
            let data_type = self.schema.columns[column].data_type;
            if data_type != DataType::String {
                let message = format!("`order_status` is {data_type}, not a string; set this to false");
                return Err(located("validation.check_status", message));
            }
            self.test(column, Test::Status);
        }
        Ok(())
    }

    fn configured_rule(&mut self, rule: &Rule, key: &str) -> Result<()> {
        let index = self.schema.index_of(&rule.column);
        let index =
            index.ok_or_else(|| located(&format!("{key}.column"), unknown_column(self.schema, &rule.column)))?;
        let column = &self.schema.columns[index];
        let before = self.checks.len();
        if let Some(limits) = limits_test(column, rule, key)? {
            self.test(index, limits);
        }
        if let Some(values) = &rule.one_of {
            self.test(index, one_of_test(column, values, &format!("{key}.one_of"))?);
        }
        if let Some(pattern) = &rule.matches {
            let key = format!("{key}.matches");
            text_only(column, &key)?;
            let pattern = Regex::new(pattern)
                .map_err(|error| located(&key, format!("`{pattern}` is no regular expression")).because(error))?;
            self.test(index, Test::Matches(pattern));
        }
        if let Some(limit) = rule.max_length {
            text_only(column, &format!("{key}.max_length"))?;
            self.test(index, Test::MaxLength(usize::try_from(limit).unwrap_or(usize::MAX)));
        }
        if rule.not_empty {
            text_only(column, &format!("{key}.not_empty"))?;
        }
        if self.checks.len() == before && !rule.not_null && !rule.not_empty {
            return Err(located(
                key,
                format!("the rule for `{}` says nothing; give it a test or remove it", rule.column),
            ));
        }
        self.not_null[index] |= rule.not_null;
        self.not_empty[index] |= rule.not_empty;
        Ok(())
    }

    fn finish(mut self) -> Vec<ColumnCheck> {
        for column in 0..self.schema.columns.len() {
            if self.not_empty[column] {
                self.test(column, Test::NotEmpty);
            } else if self.not_null[column] {
                self.test(column, Test::NotNull);
            }
        }
        self.checks
    }
}

fn located(key: &str, message: String) -> Error {
    Error::config(message).at(Location { key: Some(key.to_owned()), ..Location::default() })
}

fn unknown_column(schema: &Schema, name: &str) -> String {
    let likeness = |column: &&Column| strsim::jaro_winkler(&column.name, name);
    let nearest = schema.columns.iter().max_by(|left, right| likeness(left).total_cmp(&likeness(right)));
    match nearest.filter(|column| likeness(column) >= SUGGESTION_LIKENESS) {
        Some(column) => format!("the schema has no column `{name}`; did you mean `{}`?", column.name),
        None => format!("the schema has no column `{name}`"),
    }
}

fn text_only(column: &Column, key: &str) -> Result<()> {
    match column.data_type {
        DataType::String => Ok(()),
        other => Err(located(key, format!("`{}` is {other}; this test is for string columns", column.name))),
    }
}

/// `amount` above zero, or not below it.
fn sign_test(column: &Column, allow_zero: bool) -> Result<Test> {
    let below = if allow_zero { Reason::Negative } else { Reason::NotPositive };
    let (low_excluded, above) = (!allow_zero, Reason::TooLarge);
    match column.data_type {
        DataType::SmallInt | DataType::Int | DataType::BigInt | DataType::Decimal { .. } => {
            Ok(Test::Units(Limits { low: 0, low_excluded, below, high: i128::MAX, above }))
        }
        DataType::Double => Ok(Test::Double(Limits { low: 0.0, low_excluded, below, high: f64::INFINITY, above })),
        other => {
            let message =
                format!("`amount` is {other}, which has no sign to check; make it a number, or set this to true");
            Err(located("validation.allow_negative_amount", message))
        }
    }
}

fn limits_test(column: &Column, rule: &Rule, key: &str) -> Result<Option<Test>> {
    if rule.min.is_none() && rule.max.is_none() && rule.exclusive_min.is_none() {
        return Ok(None);
    }
    let (below, above) = (Reason::TooSmall, Reason::TooLarge);
    let given = |name: &str, text: &Option<String>| text.clone().map(|text| (format!("{key}.{name}"), text));
    let (min, max) = (given("min", &rule.min), given("max", &rule.max));
    let exclusive_min = given("exclusive_min", &rule.exclusive_min);
    let contradiction =
        || located(key, format!("no value of `{}` can be above its minimum and below its maximum", column.name));
    if column.data_type == DataType::Double {
        let bound = |given: Option<(String, String)>, default| match given {
            Some((key, text)) => double_bound(column, &key, &text),
            None => Ok(default),
        };
        let (least, most) = (bound(min, f64::NEG_INFINITY)?, bound(max, f64::INFINITY)?);
        let excluded = bound(exclusive_min, f64::NEG_INFINITY)?;
        let low_excluded = rule.exclusive_min.is_some() && excluded >= least;
        let low = least.max(excluded);
        if low > most || (low_excluded && low == most) {
            return Err(contradiction());
        }
        return Ok(Some(Test::Double(Limits { low, low_excluded, below, high: most, above })));
    }
    let bound = |given: Option<(String, String)>, default, pick: fn(Bound) -> i128| match given {
        Some((key, text)) => unit_bound(column, &key, &text).map(pick),
        None => Ok(default),
    };
    let least = bound(min, i128::MIN, |bound| bound.ceiling)?;
    let excluded = bound(exclusive_min, i128::MIN, |bound| bound.floor.saturating_add(1))?;
    let high = bound(max, i128::MAX, |bound| bound.floor)?;
    let low = least.max(excluded);
    if low > high {
        return Err(contradiction());
    }
    Ok(Some(Test::Units(Limits { low, low_excluded: false, below, high, above })))
}

fn one_of_test(column: &Column, values: &[String], key: &str) -> Result<Test> {
    if values.is_empty() {
        return Err(located(key, format!("the list for `{}` is empty; no value could pass", column.name)));
    }
    match column.data_type {
        DataType::String => Ok(Test::OneOfWords(values.to_vec())),
        DataType::Double | DataType::Boolean | DataType::Json => {
            let message = format!(
                "`{}` is {}; this test is for text, whole numbers, decimals and times",
                column.name, column.data_type
            );
            Err(located(key, message))
        }
        _ => {
            let exact = |text: &String| {
                let bound = unit_bound(column, key, text)?;
                let is_exact = bound.floor == bound.ceiling;
                is_exact.then_some(bound.floor).ok_or_else(|| no_value(column, key, text))
            };
            values.iter().map(exact).collect::<Result<_>>().map(Test::OneOfUnits)
        }
    }
}

/// A bound in whole units of its column: the nearest ones not above and not below it.
#[derive(Clone, Copy)]
struct Bound {
    floor: i128,
    ceiling: i128,
}

fn unit_bound(column: &Column, key: &str, text: &str) -> Result<Bound> {
    let exactly = |units: i128| Bound { floor: units, ceiling: units };
    let bound = match column.data_type {
        DataType::SmallInt | DataType::Int | DataType::BigInt => number_bound(text, 0),
        DataType::Decimal { scale, .. } => number_bound(text, scale),
        DataType::Timestamp | DataType::TimestampTz => parse_timestamp(text).map(|micros| exactly(micros.into())),
        DataType::Date => parse_day(text).map(|days| exactly(days.into())),
        DataType::String | DataType::Boolean | DataType::Json | DataType::Double => {
            let message = format!("`{}` is {}; this test is for numbers and times", column.name, column.data_type);
            return Err(located(key, message));
        }
    };
    bound.ok_or_else(|| no_value(column, key, text))
}

fn number_bound(text: &str, scale: u8) -> Option<Bound> {
    let number = Number::parse(text)?;
    Some(match number.scaled(scale) {
        Some(scaled) => {
            let (cut_below, cut_above) =
                (scaled.inexact && number.is_negative(), scaled.inexact && !number.is_negative());
            Bound { floor: scaled.units - i128::from(cut_below), ceiling: scaled.units + i128::from(cut_above) }
        }
        // Past every value that a column can hold.
        None if number.is_negative() => Bound { floor: i128::MIN, ceiling: i128::MIN },
        None => Bound { floor: i128::MAX, ceiling: i128::MAX },
    })
}

fn double_bound(column: &Column, key: &str, text: &str) -> Result<f64> {
    Number::parse(text).and_then(|number| number.as_f64()).ok_or_else(|| no_value(column, key, text))
}

fn no_value(column: &Column, key: &str, text: &str) -> Error {
    let form = match column.data_type {
        DataType::Timestamp | DataType::TimestampTz => ", such as 2025-11-18T10:00:00Z",
        DataType::Date => ", such as 2025-11-18",
        _ => "",
    };
    located(key, format!("`{text}` is no value of `{}`, which is {}{form}", column.name, column.data_type))
}
