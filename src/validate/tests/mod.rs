mod repeats;
mod totals;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMillisecondType};
use chrono_tz::Tz;

use super::*;
use crate::config::settings::Rule;
use crate::error::Kind;
use crate::model::{Column, DataType, Message};

fn defaults() -> Validation {
    Validation::default()
}

fn validator(validation: &Validation) -> Validator {
    Validator::compile(&Schema::orders(), validation, "created_at", Tz::UTC, "food").unwrap()
}

fn messages(values: &[impl AsRef<[u8]>]) -> MessageBatch {
    let mut batch = MessageBatch::default();
    for (index, value) in values.iter().enumerate() {
        let (offset, timestamp_ms) = (100 + index as i64, 1_763_460_000_000);
        batch.push(Message { partition: 2, offset, timestamp_ms, key: Some(b"k"), value: Some(value.as_ref()) });
    }
    batch
}

/// A good order with some members replaced.
fn order(id: i64, changes: &[(&str, &str)]) -> String {
    let id = id.to_string();
    let mut members = [
        ("order_id", id.as_str()),
        ("customer_name", "\"Alice Smith\""),
        ("restaurant_name", "\"Spice Garden\""),
        ("item", "\"Butter Chicken\""),
        ("amount", "350.00"),
        ("order_status", "\"DELIVERED\""),
        ("created_at", "\"2025-11-18T10:00:00Z\""),
    ];
    for change in changes {
        members.iter_mut().find(|member| member.0 == change.0).unwrap().1 = change.1;
    }
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn all_messages_are_shown_with_what_is_wrong_with_each() {
    let good = order(1, &[]);
    let bad = order(2, &[("amount", "-1")]);
    let shown = validator(&defaults()).show(&messages(&[good.as_str(), "{broken", bad.as_str()])).unwrap();
    assert_eq!(shown.num_rows(), 3);
    let reasons = shown.column_by_name("reasons").unwrap().as_string::<i32>();
    assert_eq!(reasons.iter().collect::<Vec<_>>(), [None, Some("not_json"), Some("not_positive:amount")]);
    let offsets = shown.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
    assert_eq!(offsets.values(), &[100, 101, 102]);
    let order_ids = shown.column_by_name("order_id").unwrap().as_primitive::<Int64Type>();
    assert_eq!(order_ids.iter().collect::<Vec<_>>(), [Some(1), None, Some(2)]);
    let tagging = Validation { drop_invalid_rows: false, ..defaults() };
    let shown = validator(&tagging).show(&messages(&[bad.as_str()])).unwrap();
    assert_eq!(shown.column_by_name("reasons").unwrap().as_string::<i32>().value(0), "not_positive:amount");
}

/// The reasons of one order, or `None` if it is accepted.
fn reasons(validation: &Validation, changes: &[(&str, &str)]) -> Option<String> {
    let validated = validator(validation).validate(&messages(&[order(1, changes)])).unwrap();
    validated.rejected.map(|rejected| reasons_of(&rejected)[0].clone())
}

fn reasons_of(rejected: &RecordBatch) -> Vec<String> {
    let column = rejected.column_by_name("reasons").unwrap().as_string::<i32>();
    column.iter().map(|text| text.unwrap().to_owned()).collect()
}

fn ids(rows: &RecordBatch) -> Vec<i64> {
    rows.column(0).as_primitive::<Int64Type>().values().to_vec()
}

fn dates(validated: &Validated) -> Vec<(String, Vec<i64>)> {
    validated.accepted.iter().map(|batch| (batch.date.to_string(), ids(&batch.rows))).collect()
}

#[test]
fn a_good_batch_of_one_day_is_shared_and_not_copied() {
    let values: Vec<_> = (1..=5).map(|id| order(id, &[])).collect();
    let mut validator = validator(&defaults());
    let validated = validator.validate(&messages(&values)).unwrap();
    assert_eq!(validated.counts, Counts { input: 5, accepted: 5, rejected: 0 });
    assert!(validated.rejected.is_none());
    assert_eq!(dates(&validated), [("2025-11-18".to_owned(), vec![1, 2, 3, 4, 5])]);
    assert_eq!(validated.accepted[0].rows.schema(), validator.lake_schema());
    assert_eq!(validator.lake_schema(), Schema::orders().to_arrow());
    let nothing = validator.validate(&MessageBatch::default()).unwrap();
    assert!(nothing.accepted.is_empty() && nothing.rejected.is_none() && nothing.counts == Counts::default());
}

#[test]
fn each_of_the_documents_rules_has_its_reason() {
    let cases: [(&str, &str, &str); 14] = [
        ("order_id", "null", "null:order_id"),
        ("amount", "0.00", "not_positive:amount"),
        ("amount", "-0.01", "not_positive:amount"),
        ("amount", "null", "null:amount"),
        ("amount", "\"350.00\"", "wrong_type:amount"),
        ("amount", "350.001", "out_of_range:amount"),
        ("customer_name", "\"\"", "empty:customer_name"),
        ("restaurant_name", "\" \\t\\u00a0\"", "empty:restaurant_name"),
        ("item", "null", "null:item"),
        ("order_status", "\"\"", "empty:order_status"),
        ("order_status", "\"delivered\"", "unknown_status:order_status"),
        ("order_status", "\" PLACED\"", "unknown_status:order_status"),
        ("created_at", "null", "null:created_at"),
        ("created_at", "\"yesterday\"", "unparseable:created_at"),
    ];
    for (column, value, expected) in cases {
        assert_eq!(reasons(&defaults(), &[(column, value)]).as_deref(), Some(expected), "{column} = {value}");
    }
    let many = [("item", "\"\""), ("amount", "-5"), ("order_id", "1.5"), ("created_at", "7")];
    let all = "wrong_type:order_id,empty:item,not_positive:amount,wrong_type:created_at";
    assert_eq!(reasons(&defaults(), &many).as_deref(), Some(all));
    for status in ["PLACED", "PREPARING", "DELIVERED", "CANCELLED"] {
        assert_eq!(reasons(&defaults(), &[("order_status", &format!("\"{status}\""))]), None);
    }
}

#[test]
fn the_switches_loosen_their_own_rule_only() {
    let zero = [("amount", "0")];
    let negative = [("amount", "-1")];
    let guide = Validation { allow_zero_amount: true, ..defaults() };
    assert_eq!(reasons(&guide, &zero), None);
    assert_eq!(reasons(&guide, &negative).as_deref(), Some("negative:amount"));
    let refunds = Validation { allow_negative_amount: true, ..defaults() };
    assert_eq!((reasons(&refunds, &zero), reasons(&refunds, &negative)), (None, None));
    assert_eq!(reasons(&refunds, &[("amount", "null")]).as_deref(), Some("null:amount"));
    let anonymous = Validation { allow_null_order_id: true, ..defaults() };
    assert_eq!(reasons(&anonymous, &[("order_id", "null")]), None);
    assert_eq!(reasons(&anonymous, &[("order_id", "\"x\"")]).as_deref(), Some("wrong_type:order_id"));
    let free = Validation { check_status: false, ..defaults() };
    assert_eq!(reasons(&free, &[("order_status", "\"LOST\"")]), None);
    assert_eq!(reasons(&free, &[("order_status", "\" \"")]).as_deref(), Some("empty:order_status"));
}

#[test]
fn rejects_keep_bytes_position_reasons_and_what_parsed() {
    let bad = order(2, &[("amount", "1e400"), ("item", "\"\"")]);
    let mut batch = messages(&[order(1, &[]).as_bytes(), b"\xff{", bad.as_bytes(), order(4, &[]).as_bytes(), b"[]"]);
    batch.push(Message { partition: 0, offset: 7, timestamp_ms: -1, key: None, value: None });
    let mut validator = validator(&defaults());
    let validated = validator.validate(&batch).unwrap();
    assert_eq!(validated.counts, Counts { input: 6, accepted: 2, rejected: 4 });
    assert_eq!(dates(&validated), [("2025-11-18".to_owned(), vec![1, 4])]);
    let rejected = validated.rejected.unwrap();
    assert_eq!(rejected.schema(), validator.quarantine_schema());
    assert_eq!(reasons_of(&rejected), ["not_utf8", "empty:item,out_of_range:amount", "not_object", "tombstone"]);
    let column = |name: &str| rejected.column_by_name(name).unwrap();
    let raw: Vec<_> = column("raw_value").as_binary::<i32>().iter().collect();
    assert_eq!(raw, [Some(&b"\xff{"[..]), Some(bad.as_bytes()), Some(b"[]"), None]);
    let keys: Vec<_> = column("raw_key").as_binary::<i32>().iter().collect();
    assert_eq!(keys, [Some(&b"k"[..]), Some(b"k"), Some(b"k"), None]);
    assert_eq!(column("topic").as_string::<i32>().value(3), "food");
    assert_eq!(column("partition").as_primitive::<Int32Type>().values().to_vec(), [2, 2, 2, 0]);
    assert_eq!(column("offset").as_primitive::<Int64Type>().values().to_vec(), [101, 102, 104, 7]);
    let timestamps = column("timestamp").as_primitive::<TimestampMillisecondType>();
    assert_eq!((timestamps.value(0), timestamps.is_null(3)), (1_763_460_000_000, true));
    let order_ids: Vec<_> = column("order_id").as_primitive::<Int64Type>().iter().collect();
    assert_eq!(order_ids, [None, Some(2), None, None]);
    assert!(column("amount").as_primitive::<Decimal128Type>().is_null(1));
    assert_eq!(column("customer_name").as_string::<i32>().value(1), "Alice Smith");
}

#[test]
fn rows_are_divided_by_the_local_day() {
    let at = |id, text: &str| order(id, &[("created_at", &format!("\"{text}\""))]);
    let values = [
        at(1, "2025-11-18T18:29:59.999999Z"),
        at(2, "2025-11-18T18:30:00Z"),
        at(3, "2025-11-18T23:00:00Z"),
        at(4, "2025-11-17T20:00:00Z"),
        at(5, "2025-11-19T00:00:00Z"),
        at(6, "2025-11-18T09:00:00Z"),
    ];
    let utc = validator(&defaults()).validate(&messages(&values)).unwrap();
    let expected = [("2025-11-17", vec![4]), ("2025-11-18", vec![1, 2, 3, 6]), ("2025-11-19", vec![5])];
    assert_eq!(dates(&utc), expected.map(|(date, ids)| (date.to_owned(), ids)));
    let mut kolkata =
        Validator::compile(&Schema::orders(), &defaults(), "created_at", Tz::Asia__Kolkata, "food").unwrap();
    let local = kolkata.validate(&messages(&values)).unwrap();
    let expected = [("2025-11-18", vec![1, 4, 6]), ("2025-11-19", vec![2, 3, 5])];
    assert_eq!(dates(&local), expected.map(|(date, ids)| (date.to_owned(), ids)));
}

#[test]
fn a_sparse_day_between_many_rows_keeps_its_rows() {
    let late = |id: i64| if id % 40 == 0 { "\"2025-11-20T01:00:00Z\"" } else { "\"2025-11-18T10:00:00Z\"" };
    let values: Vec<_> = (0..200)
        .map(|id| order(id, &[("created_at", late(id)), ("amount", if id == 7 { "0" } else { "1" })]))
        .collect();
    let validated = validator(&defaults()).validate(&messages(&values)).unwrap();
    let (sparse, dense): (Vec<i64>, Vec<i64>) = (0..200).filter(|&id| id != 7).partition(|id| id % 40 == 0);
    assert_eq!(dates(&validated), [("2025-11-18".to_owned(), dense), ("2025-11-20".to_owned(), sparse)]);
}

#[test]
fn days_without_four_digit_years_in_every_zone_are_out_of_range() {
    for text in ["0001-01-01T23:59:59Z", "9999-12-31T00:00:00Z", "9999-12-31T23:59:59-10:00"] {
        let found = reasons(&defaults(), &[("created_at", &format!("\"{text}\""))]);
        assert_eq!(found.as_deref(), Some("out_of_range:created_at"), "{text}");
    }
    assert_eq!(reasons(&defaults(), &[("created_at", "\"0001-01-02T00:00:00Z\"")]), None);
}

#[test]
fn kept_invalid_rows_are_tagged_and_lost_values_still_go_to_quarantine() {
    let keep = Validation { drop_invalid_rows: false, ..defaults() };
    let values = [
        order(1, &[]),
        order(2, &[("amount", "0"), ("item", "\"\"")]),
        order(3, &[("amount", "0.001")]),
        order(4, &[("created_at", "null"), ("item", "null")]),
        "{".to_owned(),
    ];
    let mut validator = validator(&keep);
    let validated = validator.validate(&messages(&values)).unwrap();
    assert_eq!(validated.counts, Counts { input: 5, accepted: 2, rejected: 3 });
    let rows = &validated.accepted[0].rows;
    assert_eq!((rows.schema(), ids(rows)), (validator.lake_schema(), vec![1, 2]));
    let status: Vec<_> = rows.column_by_name("validation_status").unwrap().as_string::<i32>().iter().collect();
    assert_eq!(status, [Some("SUCCESS"), Some("FAILED")]);
    let errors: Vec<_> = rows.column_by_name("validation_errors").unwrap().as_string::<i32>().iter().collect();
    assert_eq!(errors, [None, Some("empty:item,not_positive:amount")]);
    let rejected = reasons_of(&validated.rejected.unwrap());
    assert_eq!(rejected, ["out_of_range:amount", "null:item,null:created_at", "not_json"]);
}

fn schema_of(columns: &[(&str, DataType, bool)]) -> Schema {
    let mut all: Vec<_> = columns.to_vec();
    all.push(("at", DataType::TimestampTz, false));
    let column = |(name, data_type, nullable): (&str, _, _)| Column { name: name.to_owned(), data_type, nullable };
    Schema::new(all.into_iter().map(column).collect())
}

fn compile(schema: &Schema, rules: Vec<Rule>) -> Result<Validator> {
    Validator::compile(schema, &Validation { rules, ..defaults() }, "at", Tz::UTC, "food")
}

/// Reasons for `{"v":<value>,…}` under one rule for `v`.
fn under(data_type: DataType, rule: Rule, value: &str) -> Option<String> {
    let rule = Rule { column: "v".to_owned(), ..rule };
    let mut validator = compile(&schema_of(&[("v", data_type, true)]), vec![rule]).unwrap();
    let message = format!("{{\"v\":{value},\"at\":\"2025-11-18T10:00:00Z\"}}");
    validator.validate(&messages(&[message])).unwrap().rejected.map(|rejected| reasons_of(&rejected)[0].clone())
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn configured_bounds_are_exact_whatever_their_digits() {
    let money = DataType::Decimal { precision: 10, scale: 2 };
    let rule = |min: &str, max: &str| Rule { min: some(min), max: some(max), ..Rule::default() };
    let cases = [
        (money, rule("0.001", "1e3"), "0.00", Some("too_small:v")),
        (money, rule("0.001", "1e3"), "0.01", None),
        (money, rule("-0.019", "1"), "-0.02", Some("too_small:v")),
        (money, rule("-0.019", "1"), "-0.01", None),
        (money, rule("0", "9.999"), "10.00", Some("too_large:v")),
        (money, rule("0", "9.999"), "9.99", None),
        (money, rule("0", "1e99"), "99999999.99", None),
        (DataType::BigInt, rule("9007199254740993", "9223372036854775807"), "9007199254740992", Some("too_small:v")),
        (DataType::SmallInt, rule("-5", "5"), "6", Some("too_large:v")),
        (DataType::Int, rule("1.5", "2.5"), "1", Some("too_small:v")),
        (DataType::Double, rule("0.1", "0.3"), "0.30000000000000004", Some("too_large:v")),
        (DataType::Double, rule("0.1", "0.3"), "0.1", None),
        (DataType::Date, rule("2025-01-01", "2025-12-31"), "\"2026-01-01\"", Some("too_large:v")),
        (
            DataType::Timestamp,
            rule("2025-01-01T00:00:00Z", "2025-12-31T00:00:00+05:30"),
            "\"2025-12-30T19:00:00Z\"",
            Some("too_large:v"),
        ),
        (money, rule("1", "2"), "null", None),
    ];
    for (data_type, rule, value, expected) in cases {
        let shown = format!("{value} in {:?}..{:?}", rule.min, rule.max);
        assert_eq!(under(data_type, rule, value).as_deref(), expected, "{shown}");
    }
    for (data_type, value) in [(money, "1.00"), (DataType::Double, "1"), (DataType::Int, "1")] {
        let above = || Rule { exclusive_min: some("1"), ..Rule::default() };
        assert_eq!(under(data_type, above(), value).as_deref(), Some("too_small:v"));
        assert_eq!(under(data_type, above(), "2"), None);
    }
}

#[test]
fn configured_tests_of_text_and_sets_apply() {
    let one_of = |values: &[&str]| Rule {
        one_of: Some(values.iter().map(|&value| value.to_owned()).collect()),
        ..Rule::default()
    };
    let matches = || Rule { matches: some("^[A-Z]{2}[0-9]+$"), ..Rule::default() };
    let long = || Rule { max_length: Some(3), ..Rule::default() };
    let filled = || Rule { not_empty: true, ..Rule::default() };
    let text = DataType::String;
    let money = DataType::Decimal { precision: 6, scale: 2 };
    let cases = [
        (text, one_of(&["a", "b"]), "\"c\"", Some("not_one_of:v")),
        (text, one_of(&["a", "b"]), "\"b\"", None),
        (text, one_of(&["a"]), "null", None),
        (money, one_of(&["1.50", "2"]), "1.5", None),
        (money, one_of(&["1.50", "2"]), "1.51", Some("not_one_of:v")),
        (DataType::Date, one_of(&["2025-11-18"]), "\"2025-11-19\"", Some("not_one_of:v")),
        (text, matches(), "\"AB12\"", None),
        (text, matches(), "\"xAB12\"", Some("no_match:v")),
        (text, long(), "\"\u{e9}\u{1f35b}x\"", None),
        (text, long(), "\"abcd\"", Some("too_long:v")),
        (text, filled(), "\" \"", Some("empty:v")),
        (text, filled(), "null", Some("null:v")),
        (DataType::Boolean, Rule { not_null: true, ..Rule::default() }, "null", Some("null:v")),
    ];
    for (data_type, rule, value, expected) in cases {
        assert_eq!(under(data_type, rule, value).as_deref(), expected, "{value}");
    }
}

#[test]
fn the_schemas_own_not_null_is_a_rule() {
    let schema = schema_of(&[("v", DataType::Int, false), ("order_id", DataType::Int, true)]);
    let mut validator = compile(&schema, vec![]).unwrap();
    let rejected = validator.validate(&messages(&["{\"at\":\"2025-11-18T10:00:00Z\"}"])).unwrap().rejected.unwrap();
    assert_eq!(reasons_of(&rejected), ["null:v,null:order_id"]);
}

#[test]
fn mistaken_rules_are_configuration_errors_with_their_key() {
    let schema = schema_of(&[
        ("total", DataType::Decimal { precision: 6, scale: 2 }, true),
        ("note", DataType::String, true),
        ("ok", DataType::Boolean, true),
    ]);
    let rule = |column: &str| Rule { column: column.to_owned(), ..Rule::default() };
    let cases = [
        (Rule { not_null: true, ..rule("totl") }, "validation.rules[1].column", "did you mean `total`?"),
        (Rule { not_null: true, ..rule("zzz") }, "validation.rules[1].column", "the schema has no column `zzz`"),
        (
            Rule { min: some("cheap"), ..rule("total") },
            "validation.rules[1].min",
            "`cheap` is no value of `total`, which is decimal(6,2)",
        ),
        (Rule { max: some("1"), ..rule("note") }, "validation.rules[1].max", "`note` is string"),
        (
            Rule { exclusive_min: some("2025-11-18"), ..rule("at") },
            "validation.rules[1].exclusive_min",
            "such as 2025-11-18T10:00:00Z",
        ),
        (Rule { min: some("2"), max: some("1"), ..rule("total") }, "validation.rules[1]", "no value of `total`"),
        (Rule { matches: some("("), ..rule("note") }, "validation.rules[1].matches", "no regular expression"),
        (Rule { matches: some("x"), ..rule("total") }, "validation.rules[1].matches", "string columns"),
        (Rule { not_empty: true, ..rule("ok") }, "validation.rules[1].not_empty", "string columns"),
        (Rule { one_of: Some(vec![]), ..rule("note") }, "validation.rules[1].one_of", "empty"),
        (
            Rule { one_of: Some(vec!["1.005".to_owned()]), ..rule("total") },
            "validation.rules[1].one_of",
            "no value of `total`",
        ),
        (Rule { one_of: Some(vec!["true".to_owned()]), ..rule("ok") }, "validation.rules[1].one_of", "`ok` is boolean"),
        (rule("note"), "validation.rules[1]", "says nothing"),
    ];
    for (mistaken, key, words) in cases {
        let good = Rule { not_null: true, ..rule("note") };
        let error = compile(&schema, vec![good, mistaken]).err().unwrap();
        assert_eq!((error.kind(), error.location().unwrap().key.as_deref()), (Kind::Config, Some(key)));
        assert!(error.report().contains(words), "{}", error.report());
    }
}

#[test]
fn schemas_that_cannot_be_divided_or_checked_are_refused() {
    let text = ("note", DataType::String, true);
    let cases = [
        (schema_of(&[("Date", DataType::Date, true)]), "at", "schema"),
        (schema_of(&[text]), "created", "cdc.timestamp_column"),
        (schema_of(&[text]), "note", "cdc.timestamp_column"),
        (schema_of(&[("amount", DataType::String, true)]), "at", "validation.allow_negative_amount"),
        (schema_of(&[("order_status", DataType::Int, true)]), "at", "validation.check_status"),
    ];
    for (schema, timestamp, key) in cases {
        let error = Validator::compile(&schema, &defaults(), timestamp, Tz::UTC, "food").err().unwrap();
        assert_eq!((error.kind(), error.location().unwrap().key.as_deref()), (Kind::Config, Some(key)));
    }
    let clash = schema_of(&[("validation_status", DataType::String, true)]);
    let keep = Validation { drop_invalid_rows: false, ..defaults() };
    assert!(Validator::compile(&clash, &keep, "at", Tz::UTC, "food").is_err());
    assert!(compile(&clash, vec![]).is_ok());
}

#[test]
fn quarantine_names_of_the_table_give_way_to_the_fixed_ones() {
    let schema = schema_of(&[
        ("offset", DataType::Int, true),
        ("column_offset", DataType::Int, true),
        ("topic", DataType::Int, true),
    ]);
    let validator = compile(&schema, vec![]).unwrap();
    let names: Vec<_> = validator.quarantine_schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names[7..], ["column_column_offset", "column_offset", "column_topic", "at"]);
}
