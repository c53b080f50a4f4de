//! Properties: no bytes make the decoder panic, and what is written as JSON is read back as it was.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Date32Type, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;

use super::tests::batch;
use super::*;
use crate::model::{Column, DataType};

fn schema() -> Schema {
    let column = |(name, data_type): (&str, DataType)| Column { name: name.to_owned(), data_type, nullable: true };
    let types = [
        ("id", DataType::BigInt),
        ("small", DataType::Int),
        ("amount", DataType::Decimal { precision: 20, scale: 4 }),
        ("text", DataType::String),
        ("yes", DataType::Boolean),
        ("at", DataType::Timestamp),
        ("day", DataType::Date),
        ("ratio", DataType::Double),
    ];
    Schema::new(types.into_iter().map(column).collect())
}

#[derive(Clone, Debug)]
struct Row {
    id: Option<i64>,
    small: Option<i32>,
    amount: Option<i64>,
    text: Option<String>,
    yes: Option<bool>,
    at: Option<i64>,
    day: Option<i32>,
    ratio: Option<f64>,
}

/// Instants of the years 1 to 9999.
const INSTANTS: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

prop_compose! {
    fn row()(
        id in any::<Option<i64>>(),
        small in any::<Option<i32>>(),
        amount in any::<Option<i64>>(),
        text in proptest::option::of("(?s).{0,40}"),
        yes in any::<Option<bool>>(),
        at in proptest::option::of(INSTANTS),
        day in proptest::option::of(-719_162..2_932_896),
        ratio in proptest::option::of(proptest::num::f64::NORMAL | proptest::num::f64::ZERO),
    ) -> Row {
        Row { id, small, amount, text, yes, at, day, ratio }
    }
}

/// The JSON text of each member, null left out when `sparse`.
fn members(row: &Row, sparse: bool) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or_else(|| "null".to_owned());
    let quoted = |text: String| serde_json::Value::from(text).to_string();
    let amount = row.amount.map(|units| {
        let size = units.unsigned_abs();
        format!("{}{}.{:04}", if units < 0 { "-" } else { "" }, size / 10_000, size % 10_000)
    });
    let at = row.at.map(|micros| {
        let instant = chrono::DateTime::from_timestamp_micros(micros).unwrap();
        quoted(instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    });
    let day = row.day.map(|days| quoted(chrono::NaiveDate::from_epoch_days(days).unwrap().to_string()));
    let values = [
        ("id", text(row.id.map(|value| value.to_string()))),
        ("small", text(row.small.map(|value| value.to_string()))),
        ("amount", text(amount)),
        ("text", text(row.text.clone().map(quoted))),
        ("yes", text(row.yes.map(|value| value.to_string()))),
        ("at", text(at)),
        ("day", text(day)),
        ("ratio", text(row.ratio.map(|value| format!("{value:e}")))),
    ];
    let kept = values.into_iter().filter(|(_, value)| !sparse || value != "null");
    kept.map(|(name, value)| format!("\"{name}\":{value}")).collect()
}

fn assert_row(rows: &RecordBatch, index: usize, row: &Row) {
    macro_rules! read {
        ($column:expr, $type:ty) => {{
            let array = rows.column($column).as_primitive::<$type>();
            array.is_valid(index).then(|| array.value(index))
        }};
    }
    assert_eq!(read!(0, Int64Type), row.id);
    assert_eq!(read!(1, Int32Type), row.small);
    assert_eq!(read!(2, Decimal128Type), row.amount.map(i128::from));
    let text = rows.column(3).as_string::<i32>();
    assert_eq!(text.is_valid(index).then(|| text.value(index)), row.text.as_deref());
    let yes = rows.column(4).as_boolean();
    assert_eq!(yes.is_valid(index).then(|| yes.value(index)), row.yes);
    assert_eq!(read!(5, TimestampMicrosecondType), row.at);
    assert_eq!(read!(6, Date32Type), row.day);
    let ratio = rows.column(7).as_primitive::<arrow::datatypes::Float64Type>();
    assert_eq!(ratio.is_valid(index).then(|| ratio.value(index).to_bits()), row.ratio.map(f64::to_bits));
}

proptest! {
    #[test]
    fn rows_written_as_json_are_read_back(
        rows in proptest::collection::vec((row(), any::<bool>(), any::<proptest::sample::Index>(), "[ \t\r\n]{0,2}"), 1..20),
    ) {
        let messages: Vec<String> = rows
            .iter()
            .map(|(row, sparse, turn, space)| {
                let mut members = members(row, *sparse);
                members.push("\"unknown\":[{\"id\":1}]".to_owned());
                let by = turn.index(members.len());
                members.rotate_left(by);
                format!("{space}{{{space}{}{space}}}", members.join(&format!("{space},{space}")))
            })
            .collect();
        let values: Vec<_> = messages.iter().map(|message| Some(message.as_bytes())).collect();
        let decoded = Decoder::new(&schema()).unwrap().decode(&batch(&values)).unwrap();
        prop_assert!(decoded.faults.is_empty() && decoded.unreadable.is_empty(), "{:?}", decoded.faults);
        prop_assert_eq!(decoded.unknown_keys, rows.len() as u64);
        for (index, (row, ..)) in rows.iter().enumerate() {
            assert_row(&decoded.rows, index, row);
        }
    }

    #[test]
    fn random_bytes_are_a_row_or_a_reason(messages in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
        check_any_bytes(&messages);
    }

    /// A wrong byte, a cut or a doubled part in a good message reaches deeper than random bytes do.
    #[test]
    fn damaged_messages_are_a_row_or_a_reason(
        row in row(),
        at in any::<proptest::sample::Index>(),
        other in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let whole = format!("{{{}}}", members(&row, false).join(",")).into_bytes();
        let (at, other) = (at.index(whole.len()), other.index(whole.len()));
        let mut changed = whole.clone();
        changed[at] = byte;
        let mut cut = whole.clone();
        cut.drain(at.min(other)..at.max(other));
        let mut doubled = whole.clone();
        doubled.splice(at..at, whole[at.min(other)..at.max(other)].iter().copied());
        check_any_bytes(&[whole, changed, cut, doubled]);
    }
}

/// Every message is accounted for, and the verdict on whether it is JSON agrees with another parser's.
fn check_any_bytes(messages: &[Vec<u8>]) {
    let values: Vec<_> = messages.iter().map(|message| Some(message.as_slice())).collect();
    let decoded = Decoder::new(&schema()).unwrap().decode(&batch(&values)).unwrap();
    assert_eq!(decoded.rows.num_rows(), decoded.origin.len());
    let mut seen: Vec<u32> =
        decoded.origin.iter().copied().chain(decoded.unreadable.iter().map(|found| found.0)).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..messages.len() as u32).collect::<Vec<_>>());
    for &index in &decoded.origin {
        let message = &messages[index as usize];
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(message).is_ok(), "{message:?}");
    }
    for (index, reason) in &decoded.unreadable {
        let parsed = serde_json::from_slice::<serde_json::Value>(&messages[*index as usize]);
        assert!(parsed.is_err() || *reason == Reason::NotObject, "{reason}");
    }
}
