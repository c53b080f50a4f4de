use arrow::array::StringArray;
use chrono::DateTime;
use std::sync::Arc;

use super::*;
use crate::aggregate::Aggregator;
use crate::clock::ManualClock;
use crate::config::{Overrides, Settings};
use crate::lake::{Committed, Lake, LakeOptions, LocalLake};
use crate::model::{Counts, MicroBatch, OffsetRange, PartitionOffset};

const PURCHASES: &str = r#"
kafka: {brokers: "localhost:9092", topic: purchasing_events}
cdc: {timestamp_column: timestamp}
streaming: {checkpoint_location: FOLDER/checkpoint}
datalake: {path: FOLDER/lake}
validation:
  total: {total: total_amount, quantity: quantity, unit_price: unit_price, discount_percentage: discount_percentage}
  unique_column: event_id
  rules:
    - {column: customer_id, not_empty: true}
    - {column: quantity, not_null: true, min: 1, max: 100}
    - {column: unit_price, not_null: true, exclusive_min: 0}
    - {column: total_amount, not_null: true, min: 0}
    - {column: discount_percentage, min: 0, max: 100}
    - {column: currency, not_empty: true, one_of: [USD, EUR]}
schema:
  - {name: event_id, type: string, nullable: false}
  - {name: timestamp, type: timestamptz, nullable: false}
  - {name: customer_id, type: string}
  - {name: customer_segment, type: string}
  - {name: product_id, type: string}
  - {name: product_category, type: string}
  - {name: product_name, type: string}
  - {name: quantity, type: int}
  - {name: unit_price, type: "decimal(12,2)"}
  - {name: total_amount, type: "decimal(12,2)"}
  - {name: currency, type: string}
  - {name: payment_method, type: string}
  - {name: order_source, type: string}
  - {name: location, type: json}
  - {name: discount_percentage, type: "decimal(5,2)"}
  - {name: is_new_customer, type: boolean}
  - {name: device_type, type: string}
"#;

fn settings(folder: &str, more: &[&str]) -> Settings {
    let set = more.iter().map(|&pair| pair.to_owned()).collect();
    let overrides = Overrides { set, ..Overrides::default() };
    Settings::from_yaml(&PURCHASES.replace("FOLDER", folder), None, &overrides).unwrap()
}

/// The document's event with one member replaced, or left out where it is empty.
fn event(id: u32, changed: (&str, &str)) -> String {
    let id = format!("\"purchase_1705315845123_{id}\"");
    let members = [
        ("event_id", id.as_str()),
        ("timestamp", "\"2024-01-15T10:30:45.123Z\""),
        ("customer_id", "\"customer_1234\""),
        ("customer_segment", "\"Premium\""),
        ("product_id", "\"product_electronics_567\""),
        ("product_category", "\"Electronics\""),
        ("product_name", "\"Electronics Item 42\""),
        ("quantity", "2"),
        ("unit_price", "149.99"),
        ("total_amount", "284.98"),
        ("currency", "\"USD\""),
        ("payment_method", "\"Credit Card\""),
        ("order_source", "\"Mobile App\""),
        ("location", "{\"country\": \"US\", \"city\": \"New York\"}"),
        ("discount_percentage", "5.0"),
        ("is_new_customer", "false"),
        ("device_type", "\"Mobile\""),
    ];
    let value = |member: &(&'static str, &str)| if member.0 == changed.0 { changed.1 } else { member.1 }.to_owned();
    let members: Vec<_> = members
        .iter()
        .map(|member| (member.0, value(member)))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn chunks(values: &[String]) -> MessageChunks {
    let mut chunks = MessageChunks::default();
    values.iter().for_each(|value| chunks.push(Some(value.as_bytes())));
    chunks
}

fn counted(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|&(name, rows)| (name.to_owned(), rows)).collect()
}

const NONE: (&str, &str) = ("", "");

#[test]
fn each_fault_of_a_purchase_has_its_reason() {
    let settings = settings("x", &[]);
    for ((column, value), expected) in [
        (("event_id", ""), "null:event_id"),
        (("timestamp", ""), "null:timestamp"),
        (("customer_id", ""), "null:customer_id"),
        (("customer_id", "\" \""), "empty:customer_id"),
        (("quantity", ""), "null:quantity"),
        (("quantity", "0"), "too_small:quantity"),
        (("quantity", "101"), "too_large:quantity"),
        (("quantity", "\"2\""), "wrong_type:quantity"),
        (("unit_price", "-149.99"), "too_small:unit_price"),
        (("total_amount", "284.99"), "total_mismatch:total_amount"),
        (("total_amount", "284.985"), "out_of_range:total_amount"),
        (("discount_percentage", "101"), "too_large:discount_percentage"),
        (("currency", "\"XXX\""), "not_one_of:currency"),
        (("timestamp", "\"15.01.2024\""), "unparseable:timestamp"),
        (("is_new_customer", "\"no\""), "wrong_type:is_new_customer"),
    ] {
        let judged = judge(&settings, &chunks(&[event(1, (column, value))])).unwrap();
        assert_eq!(judged.reasons.by_reason_and_column, counted(&[(expected, 1)]), "{column} = {value}");
    }
    assert!(judge(&settings, &chunks(&[event(1, NONE)])).unwrap().is_clean());
}

#[test]
fn messages_at_hand_are_counted_by_reason_and_kept_apart() {
    let settings = settings("x", &[]);
    let mut values: Vec<String> = (0..10_000).map(|id| event(id, NONE)).collect();
    values.push(event(0, NONE));
    values.push(event(9_999, NONE));
    values.push(event(10_000, ("quantity", "0")));
    values.push("{\"event_id\":\"a\",\"quantity\":0}".to_owned());
    values.push("nonsense".to_owned());
    let mut chunks = chunks(&values);
    chunks.push(None);
    for _ in 0..2 {
        // The second time nothing is left of the first.
        let judged = judge(&settings, &chunks).unwrap();
        assert_eq!(judged.counts, Counts { input: 10_006, accepted: 10_000, rejected: 6 });
        let codes = [("duplicate_id", 2), ("not_json", 1), ("null", 1), ("too_small", 2), ("tombstone", 1)];
        assert_eq!(judged.reasons.by_reason, counted(&codes));
        assert_eq!(judged.reasons.by_reason_and_column["duplicate_id:event_id"], 2);
        assert_eq!(judged.reasons.by_reason_and_column["null:customer_id"], 1);
        assert_eq!(judged.reasons.by_reason_and_column["tombstone"], 1);
        let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        assert_eq!((rows(&judged.accepted), rows(&judged.rejected), judged.is_clean()), (10_000, 6, false));
    }
}

#[test]
fn rows_that_are_kept_with_a_fault_are_counted_as_tagged() {
    let settings = settings("x", &["validation.drop_invalid_rows=false"]);
    let judged = judge(&settings, &chunks(&[event(1, NONE), event(1, NONE)])).unwrap();
    assert_eq!((judged.counts.accepted, judged.tagged, judged.is_clean()), (2, 1, false));
    assert_eq!(judged.reasons.by_reason, counted(&[("duplicate_id", 1)]));
}

#[test]
fn neither_topic_nor_lake_is_needed_to_judge() {
    let text = PURCHASES.replace("kafka: {", "retry: {start_timeout_sec: 1}\n# {").replace("datalake: {", "# {");
    let settings = Settings::from_yaml(&text, None, &Overrides::default()).unwrap();
    assert!(settings.kafka.is_none() && settings.lake.is_none());
    assert!(judge(&settings, &chunks(&[event(1, NONE)])).unwrap().is_clean());
}

/// Writes these messages into the lake of the settings, as offsets from `from` on.
fn consume(settings: &Settings, from: i64, values: &[String]) {
    let options = LakeOptions {
        settings: settings.lake.clone().unwrap(),
        checkpoint: settings.streaming.checkpoint_location.clone().unwrap(),
        lake_schema: validator(settings).unwrap().lake_schema(),
        quarantine_schema: validator(settings).unwrap().quarantine_schema(),
        schema_text: settings.schema.clone().unwrap(),
        drop_invalid_rows: settings.validation.drop_invalid_rows,
        aggregate: settings.aggregate.clone(),
        clock: Arc::new(ManualClock::new(DateTime::from_timestamp(1_763_546_400 + from, 0).unwrap())),
    };
    let mut lake = LocalLake::open(options).unwrap();
    let head = lake.found("purchasing_events", "id", &[PartitionOffset { partition: 0, offset: 0 }]).unwrap();
    let mut validator = validator(settings).unwrap();
    let mut messages = crate::model::MessageBatch::default();
    for (offset, value) in (from..).zip(values) {
        let value = Some(value.as_bytes());
        messages.push(crate::model::Message { partition: 0, offset, timestamp_ms: 0, key: None, value });
    }
    let validated = validator.validate(&messages).unwrap();
    let schema = validator.lake_schema();
    let totals = Aggregator::new(&settings.aggregate, &schema, &settings.cdc.timestamp_column, chrono_tz::UTC).unwrap();
    let batch = MicroBatch {
        totals: totals.of(&validated.accepted).unwrap(),
        ranges: vec![OffsetRange { partition: 0, from, to: from + values.len() as i64 }],
        accepted: validated.accepted,
        rejected: validated.rejected.into_iter().collect(),
        counts: validated.counts,
        ..MicroBatch::default()
    };
    let staged = lake.stage(batch).unwrap();
    assert!(matches!(lake.commit(&staged, &head).unwrap(), Committed::Done(_)));
}

#[test]
fn a_lake_tells_what_it_consumed_and_why_it_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().to_str().unwrap(), &[]);
    assert_eq!(quality_of_lake(&settings).unwrap(), QualityReport::default());
    let early = ("timestamp", "\"2024-01-14T23:59:59.999999Z\"");
    consume(&settings, 0, &[event(1, NONE), event(1, NONE), event(2, early), "{".to_owned()]);
    consume(&settings, 4, &[event(3, ("quantity", "0")), event(4, ("timestamp", "\"2024-01-16T00:00:00Z\""))]);
    let report = quality_of_lake(&settings).unwrap();
    assert_eq!(report.counts, Counts { input: 6, accepted: 3, rejected: 3 });
    assert_eq!(report.reasons.by_reason, counted(&[("duplicate_id", 1), ("not_json", 1), ("too_small", 1)]));
    assert_eq!(report.commits, 2);
    let text = |moment: Option<DateTime<chrono::Utc>>| moment.map(|moment| moment.to_rfc3339());
    assert_eq!(text(report.first_commit).as_deref(), Some("2025-11-19T10:00:00+00:00"));
    assert_eq!(text(report.last_commit).as_deref(), Some("2025-11-19T10:00:04+00:00"));
    assert_eq!(text(report.first_event).as_deref(), Some("2024-01-14T23:59:59.999999+00:00"));
    assert_eq!(text(report.last_event).as_deref(), Some("2024-01-16T00:00:00+00:00"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["input"], &json["by_reason"]["not_json"]), (&6.into(), &1.into()));
}

#[test]
fn a_lake_that_keeps_invalid_rows_counts_their_reasons_too() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().to_str().unwrap(), &["validation.drop_invalid_rows=false"]);
    consume(&settings, 0, &[event(1, NONE), event(1, NONE), "{".to_owned()]);
    let report = quality_of_lake(&settings).unwrap();
    assert_eq!((report.counts.accepted, report.counts.rejected, report.tagged), (2, 1, 1));
    assert_eq!(report.reasons.by_reason, counted(&[("duplicate_id", 1), ("not_json", 1)]));
}

#[test]
fn a_log_with_a_fault_is_no_base_for_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().to_str().unwrap(), &[]);
    consume(&settings, 0, &[event(1, NONE)]);
    let record = folder.path().join("checkpoint/commits/0000000000000000/00000000000000000001.json");
    std::fs::write(&record, "{}").unwrap();
    let error = quality_of_lake(&settings).unwrap_err();
    assert!(error.to_string().contains("foodstream verify"), "{error}");
}

#[test]
fn a_row_with_one_code_on_two_columns_counts_once_by_code() {
    let texts = StringArray::from(vec![Some("null:a,null:b,empty:c"), None, Some("null:a")]);
    let batch = RecordBatch::try_from_iter([("reasons", Arc::new(texts) as arrow::array::ArrayRef)]).unwrap();
    let mut tally = Tally::default();
    tally.add(&batch, "reasons").unwrap();
    let reasons = tally.reasons();
    assert_eq!((tally.rows(), &reasons.by_reason), (2, &counted(&[("null", 2), ("empty", 1)])));
    assert_eq!(reasons.by_reason_and_column, counted(&[("null:a", 2), ("null:b", 1), ("empty:c", 1)]));
}
