use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use proptest::prelude::*;

use super::*;
use crate::model::{Column, DataType, Schema};

fn schema(types: &[(&str, DataType)]) -> Schema {
    Schema::new(
        types.iter().map(|&(name, data_type)| Column { name: name.into(), data_type, nullable: true }).collect(),
    )
}

fn forms_of(schema: &Schema, zone: Tz, is_local: impl Fn(&str) -> bool) -> Forms {
    let form = |column: &Column| {
        let form = form_of(&column.data_type.to_arrow(), is_local(&column.name), zone).unwrap();
        (column.name.clone(), form)
    };
    Forms::of(schema.columns.iter().map(form).collect())
}

fn source_digest(forms: &Forms, values: &[Option<&str>]) -> u64 {
    let mut canon = Canon::default();
    for ((_, form), value) in forms.columns.iter().zip(values) {
        canon.source(*form, value.map(str::as_bytes));
    }
    forms.digest(&canon)
}

fn lake_digest(forms: &Forms, columns: Vec<(&str, ArrayRef)>) -> u64 {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut canon = Canon::default();
    LakeColumns::new(&batch, forms).unwrap().canon(0, &mut canon);
    forms.digest(&canon)
}

fn json_digest(forms: &Forms, text: &str) -> u64 {
    message_digest(forms, Some(text.as_bytes()), &mut Canon::default())
}

#[test]
fn the_three_sides_agree_on_a_row_and_differ_on_any_change() {
    let types = [
        ("id", DataType::BigInt),
        ("amount", DataType::Decimal { precision: 10, scale: 2 }),
        ("ratio", DataType::Double),
        ("flag", DataType::Boolean),
        ("note", DataType::String),
        ("day", DataType::Date),
        ("created_at", DataType::Timestamp),
        ("missing", DataType::String),
    ];
    let forms = forms_of(&schema(&types), chrono_tz::Asia::Kolkata, |name| name == "created_at");
    let row = [
        Some("7"),
        Some("350.10"),
        Some("1e-07"),
        Some("true"),
        Some("a\"\u{e9}"),
        Some("2025-11-18"),
        Some("2025-11-18 15:30:00.000001"),
        None,
    ];
    let source = source_digest(&forms, &row);
    let utc = 1_763_460_000_000_001i64;
    let lake = |amount: i128, moment: i64| {
        lake_digest(
            &forms,
            vec![
                ("id", Arc::new(Int64Array::from(vec![7]))),
                ("amount", Arc::new(Decimal128Array::from(vec![amount]).with_precision_and_scale(10, 2).unwrap())),
                ("ratio", Arc::new(Float64Array::from(vec![1e-7]))),
                ("flag", Arc::new(BooleanArray::from(vec![true]))),
                ("note", Arc::new(StringArray::from(vec!["a\"\u{e9}"]))),
                ("day", Arc::new(Date32Array::from(vec![20_410]))),
                ("created_at", Arc::new(TimestampMicrosecondArray::from(vec![moment]).with_timezone("UTC"))),
            ],
        )
    };
    assert_eq!(source, lake(35_010, utc));
    assert_ne!(source, lake(35_011, utc), "a cent");
    assert_ne!(source, lake(35_010, utc + 1), "a microsecond");
    let json = r#"{"id":7,"amount":350.10, "ratio":1e-7,"flag":true,"note":"a\"\u00e9","day":"2025-11-18",
        "created_at":"2025-11-18T10:00:00.000001Z","unknown":{"a":[1,"}"]}}"#;
    assert_eq!(source, json_digest(&forms, json));
    for change in [("350.10", "350.1000001"), ("true", "false"), ("000001Z", "000002Z"), ("\"a", "\"b"), ("7,", "8,")] {
        assert_ne!(source, json_digest(&forms, &json.replacen(change.0, change.1, 1)), "{change:?}");
    }
    for (index, value) in [(0, Some("8")), (1, None), (4, Some("")), (7, Some(""))] {
        let mut changed = row;
        changed[index] = value;
        assert_ne!(source, source_digest(&forms, &changed), "column {index}");
    }
}

#[test]
fn a_json_document_is_its_text_and_its_null_is_null() {
    let forms = Forms::of(vec![("doc".into(), Form::Json)]);
    let lake = |text: Option<&str>| lake_digest(&forms, vec![("doc", Arc::new(StringArray::from(vec![text])))]);
    for (source, json, text) in [
        (Some(" {\"a\":  1} "), "{\"a\":  1}", Some("{\"a\":  1}")),
        (Some("\"a\\u00e9\""), "\"a\\u00e9\"", Some("\"a\\u00e9\"")),
        (Some("null"), "null", None),
        (None, "null", None),
        (Some("1.50"), "1.50", Some("1.50")),
    ] {
        let digest = source_digest(&forms, &[source]);
        assert_eq!(digest, lake(text), "{source:?}");
        assert_eq!(digest, json_digest(&forms, &format!("{{\"doc\": {json} }}")), "{source:?}");
    }
    assert_ne!(source_digest(&forms, &[Some("1.50")]), lake(Some("1.5")));
    assert_ne!(source_digest(&forms, &[Some("\"null\"")]), lake(None));
}

#[test]
fn numbers_have_one_form() {
    for (text, form) in [
        ("350.00", "350"),
        ("-0.00", "0"),
        ("0", "0"),
        ("+007.50", "7.5"),
        ("1e3", "1000"),
        ("1.25E-3", "0.00125"),
        ("12345e-2", "123.45"),
        ("0.0e9", "0"),
        ("-.5", "-0.5"),
        ("100", "100"),
        ("0.1e1", "1"),
        ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
    ] {
        let mut out = Vec::new();
        assert!(plain_number(text.as_bytes(), &mut out), "{text}");
        assert_eq!(String::from_utf8(out).unwrap(), form, "{text}");
    }
    for text in ["", "-", ".", "NaN", "1.2.3", "1e", "1e999", "0x1", "1 "] {
        assert!(!plain_number(text.as_bytes(), &mut Vec::new()), "{text}");
    }
}

#[test]
fn moments_are_read_exactly_and_others_left_alone() {
    let second = 1_763_460_000_000_000;
    assert_eq!(parse_moment(b"2025-11-18 10:00:00"), Some((second, None)));
    assert_eq!(parse_moment(b"2025-11-18 10:00:00.5+00"), Some((second + 500_000, Some(0))));
    assert_eq!(parse_moment(b"2025-11-18T10:00:00.000001Z"), Some((second + 1, Some(0))));
    assert_eq!(parse_moment(b"2025-11-18T10:00:00-05:30"), Some((second, Some(-19_800_000_000))));
    assert_eq!(parse_moment(b"1969-12-31 23:59:59.999999"), Some((-1, None)));
    for text in ["infinity", "0044-03-15 00:00:00 BC", "2025-02-30 00:00:00", "2025-11-18", "10000-01-01 00:00:00"] {
        assert_eq!(parse_moment(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn a_skipped_hour_stands_for_the_instant_that_follows_it() {
    let zone = chrono_tz::Europe::Berlin;
    let at = |text: &str| parse_moment(text.as_bytes()).unwrap().0;
    assert_eq!(existing_local(zone, at("2025-03-30 02:30:00")), at("2025-03-30 03:30:00"));
    assert_eq!(existing_local(zone, at("2025-03-30 01:30:00")), at("2025-03-30 01:30:00"));
    assert_eq!(
        existing_local(zone, at("2025-10-26 02:30:00")),
        at("2025-10-26 02:30:00"),
        "both of an hour shown twice"
    );
    assert_eq!(local_micros(zone, at("2025-10-26 00:30:00")), at("2025-10-26 02:30:00"));
    assert_eq!(local_micros(zone, at("2025-10-26 01:30:00")), at("2025-10-26 02:30:00"));
}

#[test]
fn what_is_no_object_is_compared_by_its_bytes() {
    let forms = forms_of(&schema(&[("id", DataType::BigInt)]), Tz::UTC, |_| false);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let bad = ["", "{", "{\"id\":1}x", "[1]", "{\"id\":1,\"id\":1}", "{\"id\":1,}", &deep, "\u{0}"];
    for text in bad {
        assert_eq!(json_digest(&forms, text), json_digest(&forms, text));
        assert_ne!(json_digest(&forms, text), json_digest(&forms, "{\"id\":1}"), "{text:.20}");
    }
    assert_ne!(message_digest(&forms, None, &mut Canon::default()), json_digest(&forms, ""));
    assert_eq!(json_digest(&forms, " { } "), json_digest(&forms, "{\"other\":[{}, 1]}"));
}

proptest! {
    #[test]
    fn any_bytes_are_taken_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let forms = forms_of(&Schema::orders(), Tz::UTC, |_| true);
        message_digest(&forms, Some(&bytes), &mut Canon::default());
        parse_moment(&bytes);
        plain_number(&bytes, &mut Vec::new());
    }

    #[test]
    fn any_object_gives_its_members_back(
        texts in proptest::collection::btree_map(".*", ".*", 0..6), number in any::<i64>()
    ) {
        let mut object = serde_json::Map::new();
        for (name, text) in &texts {
            object.insert(name.clone(), serde_json::json!([text, {"deep": text}]));
            object.insert(format!("{name} text"), serde_json::json!(text));
            object.insert(format!("{name} number"), serde_json::json!(number));
        }
        let value = serde_json::Value::Object(object);
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let members = super::json::members(text.as_bytes()).unwrap();
            prop_assert_eq!(members.len(), value.as_object().unwrap().len());
            for (name, token) in members {
                prop_assert_eq!(&serde_json::from_slice::<serde_json::Value>(token).unwrap(), &value[std::str::from_utf8(&name).unwrap()]);
            }
        }
    }
}
