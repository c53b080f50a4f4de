//! Values of the raw configuration that are kept as their text.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};

// A scalar kept as its text, whatever it looks like: `1`, `true`, `0.10`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(extend("type" = ["string", "number", "boolean"]))]
pub(super) struct RawScalar(pub String);

impl<'de> Deserialize<'de> for RawScalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Our reader answers a request for an identifier with the text of any scalar; "any" would lose its digits.
        deserializer.deserialize_identifier(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = RawScalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, number or truth value")
    }

    fn visit_str<E>(self, value: &str) -> Result<RawScalar, E> {
        Ok(RawScalar(value.to_owned()))
    }
}

/// `startingOffsets` as text: unquoted, Spark's JSON form is a YAML mapping.
#[derive(Clone, Debug)]
pub(super) struct RawOffsets(pub String);

impl<'de> Deserialize<'de> for RawOffsets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OffsetsVisitor)
    }
}

struct OffsetsVisitor;

impl<'de> Visitor<'de> for OffsetsVisitor {
    type Value = RawOffsets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("earliest, latest, a time, or offsets by topic and partition")
    }

    fn visit_str<E>(self, value: &str) -> Result<RawOffsets, E> {
        Ok(RawOffsets(value.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<RawOffsets, A::Error> {
        let json = serde_json::Value::deserialize(de::value::MapAccessDeserializer::new(entries))?;
        Ok(RawOffsets(json.to_string()))
    }
}
