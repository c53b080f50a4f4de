//! The one place where text becomes part of a statement.
//!
//! Identifiers are double-quoted, so any name the catalogue holds is safe; literals are made only from numbers,
//! timestamps and uuids, because COPY takes no parameters.

use crate::model::Key;
use crate::wire::encode;

/// First microsecond (since 1970) that PostgreSQL's timestamps hold: 4714-11-24 BC. Its last one lies past ours.
const FIRST_TIMESTAMP_US: i64 = -210_866_803_200_000_000;

/// `orders` becomes `"orders"`, `a"b` becomes `"a""b"`.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string constant that does not depend on `standard_conforming_strings`; for catalogue look-ups only.
pub fn quote_text(text: &str) -> String {
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// A typed constant of the timestamp column's own clock: `'2025-11-18 10:00:00'::timestamp`.
/// What lies before PostgreSQL's range becomes its negative infinity, which compares alike.
pub fn literal_timestamp(timestamp_us: i64, with_time_zone: bool) -> String {
    let timestamp_us = if timestamp_us < FIRST_TIMESTAMP_US { i64::MIN } else { timestamp_us };
    let mut text = Vec::with_capacity(32);
    encode::timestamp_text(&mut text, timestamp_us);
    let text = String::from_utf8(text).expect("timestamps are ASCII");
    let finite = timestamp_us != i64::MIN && timestamp_us != i64::MAX;
    match (with_time_zone, finite) {
        (false, _) => format!("'{text}'::timestamp"),
        (true, false) => format!("'{text}'::timestamptz"),
        // The zone stands before the era in PostgreSQL's input.
        (true, true) => match text.strip_suffix(" BC") {
            Some(date) => format!("'{date}+00 BC'::timestamptz"),
            None => format!("'{text}+00'::timestamptz"),
        },
    }
}

/// `'42'::bigint`, or a uuid constant. The sign stands inside the quotes: `-1::bigint` casts first and negates then.
pub fn literal_key(key: Key) -> String {
    match key {
        Key::Int(value) => format!("'{value}'::bigint"),
        Key::Uuid(_) => format!("'{key}'::uuid"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_cannot_leave_its_quotes() {
        assert_eq!(quote_identifier("orders"), "\"orders\"");
        assert_eq!(quote_identifier("o\"; drop table x; --"), "\"o\"\"; drop table x; --\"");
        assert_eq!(quote_text("o'; --"), "'o''; --'");
        assert_eq!(quote_text("a\\'b"), "E'a\\\\''b'");
    }

    #[test]
    fn literals_are_typed_and_bounded() {
        assert_eq!(literal_timestamp(1_763_460_000_123_456, false), "'2025-11-18 10:00:00.123456'::timestamp");
        assert_eq!(literal_timestamp(1_763_460_000_000_000, true), "'2025-11-18 10:00:00+00'::timestamptz");
        assert_eq!(literal_timestamp(-62_135_596_800_000_001, true), "'0001-12-31 23:59:59.999999+00 BC'::timestamptz");
        assert_eq!(literal_timestamp(i64::MIN + 1, false), "'-infinity'::timestamp");
        assert_eq!(literal_timestamp(i64::MAX, true), "'infinity'::timestamptz");
        assert_eq!(literal_key(Key::Int(-1)), "'-1'::bigint");
        assert_eq!(literal_key(Key::Uuid([0; 16])), "'00000000-0000-0000-0000-000000000000'::uuid");
    }
}
