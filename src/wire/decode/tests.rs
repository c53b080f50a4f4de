use arrow::array::{Array, AsArray};
use arrow::datatypes::{Date32Type, Decimal128Type, Float64Type, Int16Type, Int64Type, TimestampMicrosecondType};

use super::*;
use crate::model::{Column, DataType, Message};

pub(super) fn batch(values: &[Option<&[u8]>]) -> MessageBatch {
    let mut batch = MessageBatch::default();
    for (offset, value) in values.iter().enumerate() {
        let offset = offset as i64;
        batch.push(Message { partition: 0, offset, timestamp_ms: 0, key: Some(b"7"), value: *value });
    }
    batch
}

fn decode(schema: &Schema, values: &[&str]) -> Decoded {
    let values: Vec<_> = values.iter().map(|value| Some(value.as_bytes())).collect();
    Decoder::new(schema).unwrap().decode(&batch(&values)).unwrap()
}

pub(super) fn one_column(data_type: DataType) -> Schema {
    Schema::new(vec![Column { name: "v".to_owned(), data_type, nullable: true }])
}

/// Decodes `{"v":<value>}`: the column and the fault, if any.
fn decode_value(data_type: DataType, value: &str) -> Result<(RecordBatch, Option<Reason>), Reason> {
    let decoded = decode(&one_column(data_type), &[&format!("{{\"v\":{value}}}")]);
    if let Some(&(_, reason)) = decoded.unreadable.first() {
        assert_eq!(decoded.rows.num_rows(), 0);
        return Err(reason);
    }
    assert!(decoded.faults.len() <= 1);
    let fault = decoded.faults.first().map(|fault| fault.reason);
    assert!(fault.is_none() || decoded.rows.column(0).is_null(0), "a faulty value is null");
    Ok((decoded.rows, fault))
}

fn fault_of(data_type: DataType, value: &str) -> Reason {
    decode_value(data_type, value).unwrap().1.unwrap_or_else(|| panic!("{value} was accepted as {data_type}"))
}

fn unreadable(value: &[u8]) -> Reason {
    let decoded = Decoder::new(&Schema::orders()).unwrap().decode(&batch(&[Some(value)])).unwrap();
    assert!(decoded.origin.is_empty() && decoded.faults.is_empty());
    decoded.unreadable[0].1
}

const ORDER: &str = "{\"order_id\":1,\"customer_name\":\"Alice Smith\",\"restaurant_name\":\"Spice Garden\",\
    \"item\":\"Butter Chicken\",\"amount\":350.00,\"order_status\":\"DELIVERED\",\
    \"created_at\":\"2025-11-18T10:00:00Z\"}";

/// 2025-11-18 10:00:00 UTC.
const TEN_O_CLOCK: i64 = 1_763_460_000_000_000;

#[test]
fn any_layout_of_an_order_gives_the_same_row() {
    let layouts = [
        ORDER,
        "{ \"created_at\" : \"2025-11-18 15:30:00.000000+05:30\", \"amount\" : 3.5e2, \"order_id\":1,\r\n\
           \"order_status\":\"DELIVERED\",\t\"item\":\"Butter\\u0020Chicken\", \"customer_name\":\"Alice Smith\",\
           \"restaurant_name\":\"Spice Garden\" } \n",
        "{\"extra\":[{\"order_id\":9},null,\"}\"],\"order_id\":1,\"customer_name\":\"Alice Smith\",\"more\":{},\
           \"restaurant_name\":\"Spice Garden\",\"\\u0069tem\":\"Butter Chicken\",\"amount\":350,\
           \"order_status\":\"DELIVERED\",\"created_at\":\"2025-11-18T10:00:00.0000000Z\",\"last\":-1.5E-3}",
    ];
    let decoded = decode(&Schema::orders(), &layouts);
    assert_eq!((decoded.origin, decoded.unknown_keys), (vec![0, 1, 2], 3));
    assert!(decoded.faults.is_empty() && decoded.unreadable.is_empty());
    assert_eq!(decoded.rows.schema(), Schema::orders().to_arrow());
    for row in 0..3 {
        assert_eq!(decoded.rows.column(0).as_primitive::<Int64Type>().value(row), 1);
        let texts = [(1, "Alice Smith"), (2, "Spice Garden"), (3, "Butter Chicken"), (5, "DELIVERED")];
        for (column, text) in texts {
            assert_eq!(decoded.rows.column(column).as_string::<i32>().value(row), text);
        }
        assert_eq!(decoded.rows.column(4).as_primitive::<Decimal128Type>().value(row), 35_000);
        assert_eq!(decoded.rows.column(6).as_primitive::<TimestampMicrosecondType>().value(row), TEN_O_CLOCK);
    }
}

#[test]
fn missing_and_null_values_are_null_without_a_fault() {
    let decoded = decode(&Schema::orders(), &["{}", "{\"item\":null,\"order_id\":5}", " { \"x\" : 1 } "]);
    assert_eq!((decoded.rows.num_rows(), decoded.unknown_keys), (3, 1));
    assert!(decoded.faults.is_empty() && decoded.unreadable.is_empty());
    assert_eq!(decoded.rows.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [None, Some(5), None]);
    assert!((1..7).all(|column| decoded.rows.column(column).null_count() == 3));
}

#[test]
fn unreadable_messages_leave_their_neighbours_alone() {
    let torn = &ORDER.as_bytes()[..ORDER.len() - 1];
    let values = [None, Some(ORDER.as_bytes()), Some(torn), Some(b""), Some(ORDER.as_bytes()), Some(b"[1]")];
    let mut decoder = Decoder::new(&Schema::orders()).unwrap();
    for _ in 0..2 {
        let decoded = decoder.decode(&batch(&values)).unwrap();
        assert_eq!(decoded.origin, [1, 4]);
        let expected =
            [(0, Reason::Tombstone), (2, Reason::NotJson), (3, Reason::EmptyMessage), (5, Reason::NotObject)];
        assert_eq!(decoded.unreadable, expected);
        assert_eq!(
            decoded.rows.column(3).as_string::<i32>().iter().flatten().collect::<Vec<_>>(),
            ["Butter Chicken"; 2]
        );
        assert!(decoded.rows.columns().iter().all(|column| column.null_count() == 0));
    }
}

#[test]
fn every_cut_of_a_message_is_not_json() {
    for end in 1..ORDER.len() {
        assert_eq!(unreadable(&ORDER.as_bytes()[..end]), Reason::NotJson, "cut at {end}");
    }
}

#[test]
fn poison_messages_are_named_by_their_reason() {
    let deep_open = format!("{{\"x\":{}", "[".repeat(10_000));
    let deep_objects = format!("{{\"x\":{}1{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let in_column = format!("{{\"order_id\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let top = "[".repeat(10_000);
    for deep in [&deep_open, &deep_objects, &in_column, &top] {
        assert_eq!(unreadable(deep.as_bytes()), Reason::TooDeep);
    }
    for text in ["null", "1", "\"{}\"", "[{\"order_id\":1}]", " true "] {
        assert_eq!(unreadable(text.as_bytes()), Reason::NotObject, "{text}");
    }
    for bytes in [&b"\xff\xfe"[..], b"{\"item\":\"\xc3\"}", b"{\"item\":\"\xed\xa0\x80\"}", b"{\"x\":\"\xc0\xaf\"}"] {
        assert_eq!(unreadable(bytes), Reason::NotUtf8);
    }
    let broken = [
        " ",
        "\u{feff}{}",
        "{",
        "}",
        "{}}",
        "{} {}",
        "{},",
        "{,}",
        "{\"order_id\"}",
        "{\"order_id\":}",
        "{\"order_id\":1,}",
        "{\"order_id\":1 \"item\":\"x\"}",
        "{order_id:1}",
        "{'order_id':1}",
        "{\"order_id\":01}",
        "{\"order_id\":+1}",
        "{\"order_id\":-}",
        "{\"amount\":1.}",
        "{\"amount\":.5}",
        "{\"amount\":1e}",
        "{\"amount\":NaN}",
        "{\"amount\":Infinity}",
        "{\"amount\":0x10}",
        "{\"item\":\"a\nb\"}",
        "{\"item\":\"\\x\"}",
        "{\"item\":\"\\u12g4\"}",
        "{\"item\":\"\\ud800\"}",
        "{\"item\":\"\\ud800\\u0041\"}",
        "{\"item\":\"\\udc00x\"}",
        "{\"item\":\"\\ud800\\",
        "{\"item\":\"\\u00",
        "{\"\\ud800\":1}",
        "{\"created_at\":\"\\udfff\"}",
        "{\"item\":nul}",
        "{\"x\":tru}",
        "{\"x\":[1,]}",
        "{\"x\":[1}",
        "{\"x\":{]}",
        "{\"x\":{\"a\"}}",
        "{\"x\":{\"a\":1,}}",
        "{\"item\":\"abc}",
        "{\"item\":\"\0\"}",
        "{\"order_id\":1}\0",
        "{\"order_id\":1}//",
        "Obj{}",
    ];
    for text in broken {
        assert_eq!(unreadable(text.as_bytes()), Reason::NotJson, "{text}");
    }
}

#[test]
fn nesting_up_to_the_limit_is_walked_through() {
    let limit = MAX_DEPTH as usize;
    let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let decoded = decode(&Schema::orders(), &[&nested(limit), &nested(limit + 1)]);
    assert_eq!(decoded.origin, [0]);
    assert_eq!(decoded.unreadable, [(1, Reason::TooDeep)]);
    let mixed = "{\"x\":{\"a\":[{},[],{\"b\":[{\"c\":null}]}],\"d\":\"]}\\\"\"},\"order_id\":3}";
    assert_eq!(decode(&Schema::orders(), &[mixed]).rows.column(0).as_primitive::<Int64Type>().value(0), 3);
}

#[test]
fn a_key_that_comes_twice_is_a_fault_of_its_column() {
    let text = "{\"order_id\":1,\"item\":\"a\",\"amount\":\"x\",\"item\":\"b\",\"item\":\"c\",\"amount\":2}";
    let decoded = decode(&Schema::orders(), &[ORDER, text, ORDER]);
    let fault = |column, reason| Fault { row: 1, column: Some(column), reason };
    let duplicate = Reason::DuplicateKey;
    assert_eq!(decoded.faults, [fault(4, Reason::WrongType), fault(3, duplicate), fault(4, duplicate)]);
    assert_eq!(decoded.rows.num_rows(), 3);
    let items = decoded.rows.column(3).as_string::<i32>();
    assert_eq!(items.iter().collect::<Vec<_>>(), [Some("Butter Chicken"), None, Some("Butter Chicken")]);
    assert!(decoded.rows.column(4).is_null(1));
}

#[test]
fn decimals_are_exact_or_a_fault() {
    let money = DataType::Decimal { precision: 10, scale: 2 };
    let long_zero = format!("1.{}", "0".repeat(131_072));
    let long_tail = format!("1.{}1", "0".repeat(131_072));
    let exact: [(&str, i128); 16] = [
        ("350.00", 35_000),
        ("350", 35_000),
        ("3.5e2", 35_000),
        ("35000E-2", 35_000),
        ("0.1", 10),
        ("-0.01", -1),
        ("-0", 0),
        ("0.000", 0),
        ("0e999999999999999999999", 0),
        ("1.2300000000000000000000000000", 123),
        ("99999999.99", 9_999_999_999),
        ("-99999999.99", -9_999_999_999),
        ("0.0000000012e9", 120),
        ("120000000000000000000000000000000000000000e-40", 1_200),
        (&long_zero, 100),
        ("7e0", 700),
    ];
    for (text, units) in exact {
        let (rows, fault) = decode_value(money, text).unwrap();
        assert_eq!(fault, None, "{text}");
        assert_eq!(rows.column(0).as_primitive::<Decimal128Type>().value(0), units, "{text}");
    }
    let out =
        ["0.001", "100000000.00", "-100000000", "1e400", "1e-400", "1.005", "1e999999999999999999999999", &long_tail];
    for text in out {
        assert_eq!(fault_of(money, text), Reason::OutOfRange, "{text}");
    }
    for text in ["\"350.00\"", "true", "[1]", "{\"a\":1}", "\"NaN\""] {
        assert_eq!(fault_of(money, text), Reason::WrongType, "{text}");
    }
    let widest = DataType::Decimal { precision: 38, scale: 0 };
    let (rows, _) = decode_value(widest, &"9".repeat(38)).unwrap();
    assert_eq!(rows.column(0).as_primitive::<Decimal128Type>().value(0), 10i128.pow(38) - 1);
    assert_eq!(fault_of(widest, &format!("1{}", "0".repeat(38))), Reason::OutOfRange);
    let (rows, _) =
        decode_value(DataType::Decimal { precision: 38, scale: 38 }, &format!("-0.{}", "9".repeat(38))).unwrap();
    assert_eq!(rows.column(0).as_primitive::<Decimal128Type>().value(0), 1 - 10i128.pow(38));
}

#[test]
fn integers_are_whole_or_a_fault() {
    for value in [9_007_199_254_740_993, i64::MAX, i64::MIN, 0, -1] {
        let (rows, fault) = decode_value(DataType::BigInt, &value.to_string()).unwrap();
        assert_eq!((rows.column(0).as_primitive::<Int64Type>().value(0), fault), (value, None));
    }
    let big = ["9223372036854775808", "-9223372036854775809", "1e400", "99999999999999999999999", "1.5e300"];
    for text in big {
        assert_eq!(fault_of(DataType::BigInt, text), Reason::OutOfRange, "{text}");
    }
    for text in ["1.0", "1e3", "1.5", "\"1\"", "false", "{}"] {
        assert_eq!(fault_of(DataType::BigInt, text), Reason::WrongType, "{text}");
    }
    assert_eq!(fault_of(DataType::Int, "2147483648"), Reason::OutOfRange);
    assert_eq!(fault_of(DataType::SmallInt, "-32769"), Reason::OutOfRange);
    let (rows, _) = decode_value(DataType::SmallInt, "-32768").unwrap();
    assert_eq!(rows.column(0).as_primitive::<Int16Type>().value(0), i16::MIN);
}

#[test]
fn doubles_are_the_nearest_or_a_fault() {
    for text in ["0.1", "-0.0", "1e308", "5e-324", "179769313486231570000e288", "9007199254740993", "2.5"] {
        let (rows, fault) = decode_value(DataType::Double, text).unwrap();
        let read = rows.column(0).as_primitive::<Float64Type>().value(0);
        assert_eq!((read.to_bits(), fault), (text.parse::<f64>().unwrap().to_bits(), None), "{text}");
    }
    for text in ["1e400", "-1e400", "1e-400"] {
        assert_eq!(fault_of(DataType::Double, text), Reason::OutOfRange, "{text}");
    }
    assert_eq!(fault_of(DataType::Double, "\"NaN\""), Reason::WrongType);
}

#[test]
fn instants_are_microseconds_in_utc_or_a_fault() {
    let exact = [
        ("2025-11-18T10:00:00Z", TEN_O_CLOCK),
        ("2025-11-18t10:00:00z", TEN_O_CLOCK),
        ("2025-11-18 10:00:00Z", TEN_O_CLOCK),
        ("2025-11-18T10:00:00.123456Z", TEN_O_CLOCK + 123_456),
        ("2025-11-18T10:00:00.5Z", TEN_O_CLOCK + 500_000),
        ("2025-11-18T10:00:00.000001000Z", TEN_O_CLOCK + 1),
        ("2025-11-18T15:30:00+05:30", TEN_O_CLOCK),
        ("2025-11-17T23:15:00-10:45", TEN_O_CLOCK),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        ("2024-02-29T00:00:00-00:00", 1_709_164_800_000_000),
        ("2025-11-18T10:00:00\\u005a", TEN_O_CLOCK),
    ];
    for (text, micros) in exact {
        let (rows, fault) = decode_value(DataType::Timestamp, &format!("\"{text}\"")).unwrap();
        let read = rows.column(0).as_primitive::<TimestampMicrosecondType>().value(0);
        assert_eq!((read, fault), (micros, None), "{text}");
    }
    let wrong = [
        "",
        "2025-11-18",
        "2025-11-18T10:00:00",
        "2025-11-18T10:00Z",
        "2025-02-29T00:00:00Z",
        "2025-13-01T00:00:00Z",
        "2025-11-18T24:00:00Z",
        "2025-11-18T10:60:00Z",
        "2025-11-18T10:00:61Z",
        "2025-11-18T10:00:00.Z",
        "2025-11-18T10:00:00+0530",
        "2025-11-18T10:00:00+24:00",
        "2025-11-18T10:00:00ZZ",
        "0000-01-01T00:00:00Z",
        "12025-11-18T10:00:00Z",
        "infinity",
        "-infinity",
        "0044-03-15 BC",
        "2025-11-18T10:00:00 Z",
        "\u{e9}025-11-18T10",
        "\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000T10:00:00Z",
    ];
    for text in wrong {
        assert_eq!(fault_of(DataType::TimestampTz, &format!("\"{text}\"")), Reason::Unparseable, "{text}");
    }
    for text in ["2025-11-18T10:00:00.1234567Z", "2016-12-31T23:59:60Z"] {
        assert_eq!(fault_of(DataType::Timestamp, &format!("\"{text}\"")), Reason::OutOfRange, "{text}");
    }
    assert_eq!(fault_of(DataType::Timestamp, "1763460000"), Reason::WrongType);
}

#[test]
fn dates_booleans_texts_and_json_keep_their_values() {
    let (rows, _) = decode_value(DataType::Date, "\"2025-11-18\"").unwrap();
    assert_eq!(rows.column(0).as_primitive::<Date32Type>().value(0), 20_410);
    assert_eq!(fault_of(DataType::Date, "\"2025-11-18T00:00:00Z\""), Reason::Unparseable);
    assert_eq!(fault_of(DataType::Date, "\"2025-11-31\""), Reason::Unparseable);
    let (rows, _) = decode_value(DataType::Boolean, "true").unwrap();
    assert!(rows.column(0).as_boolean().value(0));
    assert_eq!(fault_of(DataType::Boolean, "1"), Reason::WrongType);
    let long = "long \u{1f35b} text, ".repeat(70_000);
    let texts = [
        ("\"\"", ""),
        ("\"\\u0000\\b\\f\\n\\r\\t\\/\\\\\\\"\"", "\0\u{8}\u{c}\n\r\t/\\\""),
        ("\"\\uD83C\\uDF5B \\u00e9\u{e9}\"", "\u{1f35b} \u{e9}\u{e9}"),
        ("\"\u{10ffff}\u{7f}\"", "\u{10ffff}\u{7f}"),
        (&format!("\"{long}\""), &long),
    ];
    for (json, text) in texts {
        let (rows, fault) = decode_value(DataType::String, json).unwrap();
        assert_eq!((rows.column(0).as_string::<i32>().value(0), fault), (text, None));
    }
    assert_eq!(fault_of(DataType::String, "12"), Reason::WrongType);
    for json in ["{\"a\": [1, 2.50, \"\\ud800\"]}", "\"text\"", "12e400", "true", "[ ]"] {
        let (rows, fault) = decode_value(DataType::Json, &format!(" {json} ")).unwrap();
        assert_eq!((rows.column(0).as_string::<i32>().value(0), fault), (json, None));
    }
    assert!(decode_value(DataType::Json, "null").unwrap().0.column(0).is_null(0));
}

#[test]
fn column_names_are_matched_as_json_text_of_any_form() {
    let name = "na\"me \u{e9}\\";
    let schema = Schema::new(vec![Column { name: name.to_owned(), data_type: DataType::Int, nullable: true }]);
    let decoded = decode(&schema, &["{\"na\\\"me \u{e9}\\\\\":1}", "{\"na\\u0022me \\u00E9\\\\\" : 1}"]);
    assert_eq!((decoded.rows.column(0).null_count(), decoded.unknown_keys), (0, 0));
}

#[test]
fn impossible_schemas_are_refused() {
    let mut twice = one_column(DataType::Int);
    twice.columns.push(twice.columns[0].clone());
    assert_eq!(Decoder::new(&twice).err().unwrap().kind(), Kind::Config);
    let column = |index: u32| Column { name: index.to_string(), data_type: DataType::Int, nullable: true };
    let wide = Schema::new((0..70_000).map(column).collect());
    assert_eq!(Decoder::new(&wide).err().unwrap().kind(), Kind::Config);
    assert_eq!(decode(&Schema::default(), &["{}", "{\"a\":1}", "x"]).rows.num_rows(), 2);
}

#[test]
fn a_key_is_a_columns_only_if_every_letter_is_whatever_its_length() {
    for length in 1..=40 {
        let name: String = ('a'..='z').cycle().take(length).collect();
        let schema = Schema::new(vec![Column { name: name.clone(), data_type: DataType::Int, nullable: true }]);
        let unknown = |key: &str| decode(&schema, &[&format!("{{\"{key}\":1}}")]).unknown_keys;
        assert_eq!(unknown(&name), 0);
        for at in 0..length {
            let mut other = name.clone().into_bytes();
            other[at] = b'_';
            assert_eq!(unknown(std::str::from_utf8(&other).unwrap()), 1, "{length} letters, another at {at}");
        }
    }
}

#[test]
fn only_the_message_that_is_not_utf8_is_put_aside() {
    let mut values = vec![Some(ORDER.as_bytes()); 3 * CHECKED_AT_ONCE];
    values[CHECKED_AT_ONCE + 1] = Some(b"{\"item\":\"\xc3\"}");
    let decoded = Decoder::new(&Schema::orders()).unwrap().decode(&batch(&values)).unwrap();
    assert_eq!(decoded.unreadable, [(CHECKED_AT_ONCE as u32 + 1, Reason::NotUtf8)]);
    assert_eq!(decoded.origin.len(), values.len() - 1);
}

#[test]
fn a_character_that_is_cut_by_the_end_of_a_value_is_not_utf8() {
    let whole: [(&[u8], &[u8]); 3] = [(b"1\xc3", b"\xa9{}"), (b"2", b"{}\xc3"), (b"\xa9", b"{}")];
    let mut batch = MessageBatch::default();
    for (offset, (key, value)) in (0..).zip(whole) {
        batch.push(Message { partition: 0, offset, timestamp_ms: 0, key: Some(key), value: Some(value) });
    }
    assert!(std::str::from_utf8(batch.bytes_of(0..3)).is_ok(), "together they are");
    let decoded = Decoder::new(&Schema::orders()).unwrap().decode(&batch).unwrap();
    assert_eq!(decoded.unreadable, [(0, Reason::NotUtf8), (1, Reason::NotUtf8)]);
}

#[test]
fn a_text_is_read_up_to_its_quote_wherever_that_stands() {
    let text_of = |value: &str| {
        let (rows, fault) = decode_value(DataType::String, value)?;
        assert_eq!(fault, None);
        Ok::<_, Reason>(rows.column(0).as_string::<i32>().value(0).to_owned())
    };
    for length in 0..50 {
        let text = "é~ ".chars().cycle().take(length).collect::<String>();
        assert_eq!(text_of(&format!("\"{text}\"")), Ok(text.clone()));
        for (at, _) in text.char_indices() {
            let (before, after) = text.split_at(at);
            assert_eq!(text_of(&format!("\"{before}\\\\\\\"{after}\"")), Ok(format!("{before}\\\"{after}")));
            for control in ['\0', '\t', '\u{1f}'] {
                assert_eq!(text_of(&format!("\"{before}{control}{after}\"")), Err(Reason::NotJson));
            }
        }
    }
}
