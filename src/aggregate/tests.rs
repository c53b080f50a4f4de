use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use chrono::{DateTime, NaiveDate};

use super::*;
use crate::config::Aggregate;
use crate::error::Kind;
use crate::model::{Measure, Period};

fn dated<const N: usize>(day: u32, columns: [(&str, ArrayRef); N]) -> DatedBatch {
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    DatedBatch { date: NaiveDate::from_ymd_opt(2025, 11, day).unwrap(), rows }
}

fn decimals(units: &[Option<i128>], precision: u8, scale: i8) -> ArrayRef {
    Arc::new(Decimal128Array::from(units.to_vec()).with_precision_and_scale(precision, scale).unwrap())
}

fn words(words: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(words.to_vec()))
}

fn list(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|column| (*column).to_owned()).collect()
}

fn summing(group_by: &[&str], sum: &[&str]) -> Aggregation {
    Aggregation { group_by: list(group_by), sum: list(sum), ..Aggregation::default() }
}

fn bound(definition: Aggregation, max_groups: u32, batch: &DatedBatch, zone: Tz) -> Result<Aggregator> {
    let settings = Aggregate { definition, max_groups, topic: None };
    Aggregator::new(&settings, &batch.rows.schema(), "created_at", zone)
}

fn totals(definition: Aggregation, batches: &[DatedBatch]) -> Totals {
    bound(definition, 1_000, &batches[0], Tz::UTC).unwrap().of(batches).unwrap()
}

/// Period, values, rows and the sum of `amount`, a line each.
fn shown(totals: &Totals) -> Vec<String> {
    let line = |(period, values, group): (Period, &Vec<Option<String>>, &Group)| {
        let values: Vec<&str> = values.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
        format!("{period} {} {} {}", values.join(","), group.rows, group.sum("amount").unwrap_or("-"))
    };
    totals.iter().map(line).collect()
}

#[test]
fn sums_are_exact_by_day_over_several_batches() {
    let amounts = |units: &[Option<i128>]| [("amount", decimals(units, 10, 2))];
    let batches = [
        dated(18, amounts(&[Some(35_000), None, Some(-1)])),
        dated(19, amounts(&[None])),
        dated(18, amounts(&[Some(1)])),
    ];
    assert_eq!(shown(&totals(summing(&[], &["amount"]), &batches)), ["2025-11-18  4 350.00", "2025-11-19  1 0.00"]);
    let empty = dated(20, amounts(&[]));
    assert!(totals(summing(&[], &["amount"]), &[empty]).is_empty(), "no rows make no group");
}

#[test]
fn sums_past_128_bits_are_still_exact() {
    let batches = [dated(18, [("amount", decimals(&[Some(10i128.pow(38) - 1); 4], 38, 1))])];
    let expected = format!("2025-11-18  4 3{}.6", "9".repeat(37));
    assert_eq!(shown(&totals(summing(&[], &["amount"]), &batches)), [expected]);
}

#[test]
fn groups_are_told_apart_by_every_column_and_a_null_is_a_group_of_its_own() {
    let batch = |units: [i128; 4]| {
        let amounts = units.map(Some);
        dated(
            18,
            [
                ("currency", words(&[Some("USD"), None, Some("USD"), Some("")])),
                ("new", Arc::new(BooleanArray::from(vec![Some(true), Some(true), None, Some(true)])) as ArrayRef),
                ("city", Arc::new(Int32Array::from(vec![7, 7, 7, 7]))),
                ("day", Arc::new(Date32Array::from(vec![Some(0), Some(0), Some(0), None]))),
                ("amount", decimals(&amounts, 10, 2)),
            ],
        )
    };
    let found =
        totals(summing(&["currency", "new", "city", "day"], &["amount"]), &[batch([1, 2, 4, 8]), batch([16; 4])]);
    let expected = [
        "2025-11-18 NULL,true,7,1970-01-01 2 0.18",
        "2025-11-18 ,true,7,NULL 2 0.24",
        "2025-11-18 USD,NULL,7,1970-01-01 2 0.20",
        "2025-11-18 USD,true,7,1970-01-01 2 0.17",
    ];
    assert_eq!(shown(&found), expected);
    assert_eq!(found.by(&[2]).unwrap().rows(), 8);
}

#[test]
fn the_values_of_two_columns_never_run_together() {
    let batch = dated(
        18,
        [
            ("a", words(&[Some("x"), Some("xy"), Some("y"), Some("x")])),
            ("b", words(&[Some("yz"), Some("z"), Some("x"), Some("y")])),
        ],
    );
    assert_eq!(totals(summing(&["a", "b"], &[]), &[batch]).iter().count(), 4);
}

#[test]
fn extremes_and_averages_leave_nulls_out() {
    let definition = Aggregation {
        min: list(&["amount", "pieces"]),
        max: list(&["amount"]),
        avg: list(&["pieces"]),
        ..Aggregation::default()
    };
    let pieces = Arc::new(Int32Array::from(vec![Some(-3), None, Some(8)])) as ArrayRef;
    let batch = dated(18, [("amount", decimals(&[None, Some(-250), Some(100)], 10, 2)), ("pieces", pieces)]);
    let nulls = Arc::new(Int32Array::from(vec![None])) as ArrayRef;
    let empty = dated(19, [("amount", decimals(&[None], 10, 2)), ("pieces", nulls)]);
    let found = totals(definition, &[batch, empty]);
    let groups: Vec<&Group> = found.iter().map(|(_, _, group)| group).collect();
    let text = |text: &str| Some(text.to_owned());
    let amount = Measure { min: text("-2.50"), max: text("1.00"), ..Measure::default() };
    assert_eq!(groups[0].columns["amount"], amount);
    let pieces = Measure { sum: text("5"), count: Some(2), min: text("-3"), max: None };
    assert_eq!((&groups[0].columns["pieces"], pieces.average()), (&pieces, text("2.50")));
    assert_eq!(groups[1].columns["amount"], Measure::default());
    assert_eq!(groups[1].columns["pieces"].average(), None);
}

#[test]
fn hours_are_those_of_the_zones_wall_clock() {
    let instants =
        ["2025-11-18T09:29:59Z", "2025-11-18T09:30:00Z", "2025-11-18T10:29:59.999999Z", "2025-11-18T10:30:00Z"];
    let us = instants.map(|text| DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros());
    let created = Arc::new(TimestampMicrosecondArray::from(us.to_vec()).with_timezone("UTC")) as ArrayRef;
    let batch = dated(18, [("created_at", created), ("amount", decimals(&[Some(1); 4], 10, 2))]);
    let hourly = Aggregation { every: Every::Hour, ..summing(&[], &["amount"]) };
    let by =
        |zone| shown(&bound(hourly.clone(), 1_000, &batch, zone).unwrap().of(std::slice::from_ref(&batch)).unwrap());
    assert_eq!(
        by(Tz::Asia__Kolkata),
        ["2025-11-18T08:30:00Z  1 0.01", "2025-11-18T09:30:00Z  2 0.02", "2025-11-18T10:30:00Z  1 0.01"]
    );
    assert_eq!(by(Tz::UTC), ["2025-11-18T09:00:00Z  2 0.02", "2025-11-18T10:00:00Z  2 0.02"]);
}

#[test]
fn more_groups_than_wanted_are_an_error_that_names_the_columns() {
    let batch = |words_: &[Option<&str>]| dated(18, [("order", words(words_)), ("item", words(words_))]);
    let batches = [batch(&[Some("a"), Some("b")]), batch(&[Some("b"), Some("c")])];
    let of = |max| bound(summing(&["order", "item"], &[]), max, &batches[0], Tz::UTC).unwrap().of(&batches);
    assert_eq!(of(3).unwrap().rows(), 4);
    let error = of(2).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    let text = error.to_string();
    for words in ["`order`, `item`", "more than 2 groups of 2025-11-18", "aggregate.max_groups"] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn columns_that_cannot_be_summed_or_grouped_are_refused() {
    let doubles = Arc::new(Float64Array::from(vec![0.1])) as ArrayRef;
    let batch = dated(18, [("amount", doubles)]);
    for (definition, list) in [
        (summing(&[], &["amount"]), "sum"),
        (summing(&["amount"], &[]), "group_by"),
        (summing(&["nothing"], &[]), "group_by"),
        (Aggregation { every: Every::Hour, ..Aggregation::default() }, "every"),
    ] {
        let error = bound(definition, 1, &batch, Tz::UTC).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains(&format!("`aggregate.{list}`")), "{error}");
    }
}

#[test]
fn a_batch_of_another_schema_is_a_bug_not_a_panic() {
    let batch = dated(18, [("amount", decimals(&[], 10, 2))]);
    let aggregator = bound(summing(&[], &["amount"]), 1, &batch, Tz::UTC).unwrap();
    let other = [dated(18, [("amount", Arc::new(Float64Array::from(vec![1.0])) as ArrayRef)])];
    assert_eq!(aggregator.of(&other).unwrap_err().kind(), Kind::Bug);
}

#[test]
fn two_million_rows_of_ten_categories_are_counted_once_each() {
    const ROWS: usize = 8_192;
    let names: Vec<String> = (0..10).map(|n| format!("Category number {n}")).collect();
    let picked: Vec<Option<&str>> = (0..ROWS).map(|row| Some(names[row * 7 % 10].as_str())).collect();
    let units: Vec<Option<i128>> = (0..ROWS).map(|row| Some(row as i128)).collect();
    let batch = dated(18, [("category", words(&picked)), ("amount", decimals(&units, 10, 2))]);
    let batches = vec![batch; 2_000_000usize.div_ceil(ROWS)];
    let found = totals(summing(&["category"], &["amount"]), &batches);
    assert_eq!(found.rows(), (batches.len() * ROWS) as u64);
    assert_eq!(found.iter().count(), 10);
    let sum = batches.len() * ROWS * (ROWS - 1) / 2;
    assert_eq!(found.sums().unwrap()["amount"], format!("{}.{:02}", sum / 100, sum % 100));
}
