//! Reads typed structs out of a located tree; every refusal is a `Problem` at the node it concerns.
//!
//! The target's type decides: `5432` read as text is text, text from the environment read as a number is a
//! number, and a quoted number where a number is wanted is a wrong type.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};

use super::node::{Entry, Node, Origin, Value, clip, join};
use super::problem::Problem;
use super::{names, secrets};

pub(super) fn read<T: DeserializeOwned>(root: &Node) -> Result<T, Problem> {
    T::deserialize(NodeReader { node: root, path: String::new() }).map_err(|fault| *fault.0)
}

#[derive(Debug)]
pub(super) struct Fault(Box<Problem>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.fact)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault(Box::new(Problem::new(Origin::Default, message.to_string())))
    }

    fn missing_field(field: &'static str) -> Self {
        Fault(Box::new(Problem::new(Origin::Default, format!("`{field}` is missing")).key(field)))
    }
}

struct NodeReader<'n> {
    node: &'n Node,
    path: String,
}

impl<'n> NodeReader<'n> {
    fn child(&self, entry: &'n Entry) -> NodeReader<'n> {
        let path = join(&self.path, &entry.key);
        NodeReader { node: &entry.node, path }
    }

    fn problem(&self, fact: String) -> Problem {
        Problem::new(self.node.origin.clone(), fact).key(&self.path)
    }

    fn wrong(&self, wanted: &str, help: &str) -> Fault {
        let fact = match secrets::is_secret(&self.path) {
            true => format!("`{}` must be {wanted}", self.path),
            false => format!("`{}` must be {wanted}, not {}", self.path, self.node.shown()),
        };
        let mut problem = self.problem(fact);
        problem.help = (!help.is_empty()).then(|| help.to_owned());
        Fault(Box::new(problem))
    }

    /// Where a list or mapping is wanted, a scalar is often several lines that lost their shape: none is repeated.
    fn wrong_shape(&self, wanted: &str, help: &str) -> Fault {
        let found = match &self.node.value {
            Value::Text(_) | Value::Untyped { .. } => "text".to_owned(),
            _ => self.node.shown(),
        };
        let fact = format!("`{}` must be {wanted}, not {found}", self.path);
        Fault(Box::new(self.problem(fact).help(help)))
    }

    /// A fault without a place came from a visitor: it lies here.
    fn here<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|mut fault| {
            if fault.0.origin == Origin::Default {
                fault.0.origin = self.node.origin.clone();
                let key = fault.0.key.take();
                fault.0.key = Some(key.map_or_else(|| self.path.clone(), |key| format!("{}.{key}", self.path)));
            }
            fault
        })
    }

    /// A list or mapping given as text (environment, flag) is JSON.
    fn unfolded(&self) -> Option<Node> {
        let Value::Untyped { text, .. } = &self.node.value else { return None };
        let json: serde_json::Value = serde_json::from_str(text).ok()?;
        (json.is_array() || json.is_object()).then(|| Node::from_json(&json, &self.node.origin))
    }

    fn whole(&self) -> Result<i64, Fault> {
        let whole = match &self.node.value {
            Value::Number { whole: Some(whole), .. } => Some(*whole),
            Value::Untyped { text, .. } => text.trim().parse().ok(),
            _ => None,
        };
        let quoted = matches!(&self.node.value, Value::Text(text) if text.trim().parse::<i128>().is_ok());
        let help = if quoted { "remove the quotes" } else { "" };
        let whole = whole.ok_or_else(|| self.wrong("a whole number", help))?;
        i64::try_from(whole).map_err(|_| self.wrong("a number of at most 19 digits", ""))
    }

    fn fraction(&self) -> Result<f64, Fault> {
        let value = match &self.node.value {
            Value::Number { text, whole } => whole.map(|whole| whole as f64).or_else(|| text.parse().ok()),
            Value::Untyped { text, .. } => text.trim().parse().ok(),
            _ => None,
        };
        let quoted = matches!(&self.node.value, Value::Text(text) if text.trim().parse::<f64>().is_ok());
        let help = if quoted { "remove the quotes" } else { "" };
        value.filter(|value: &f64| value.is_finite()).ok_or_else(|| self.wrong("a number", help))
    }

    fn truth(&self) -> Result<bool, Fault> {
        let word = match &self.node.value {
            Value::Bool(truth) => return Ok(*truth),
            // Unquoted `yes` and `no` are booleans to most YAML readers; from the environment, so are 1 and 0.
            Value::Text(text) | Value::Untyped { text, .. } => text.trim().to_ascii_lowercase(),
            _ => String::new(),
        };
        match word.as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            "1" if matches!(self.node.value, Value::Untyped { .. }) => Ok(true),
            "0" if matches!(self.node.value, Value::Untyped { .. }) => Ok(false),
            _ => Err(self.wrong("true or false", "")),
        }
    }

    fn text(&self) -> Result<&'n str, Fault> {
        match &self.node.value {
            Value::Text(text) | Value::Untyped { text, .. } | Value::Number { text, .. } => Ok(text),
            Value::Bool(_) => Err(self.wrong("text", "put it in quotes")),
            _ => Err(self.wrong("text", "")),
        }
    }

    fn visit_list<'de, V: Visitor<'de>>(&self, items: &[Node], visitor: V) -> Result<V::Value, Fault> {
        let readers = items.iter().enumerate().map(|(index, node)| Item(node, format!("{}[{index}]", self.path)));
        self.here(visitor.visit_seq(SeqDeserializer::new(readers)))
    }

    fn visit_entries<'de, V: Visitor<'de>>(&self, entries: &'n [Entry], visitor: V) -> Result<V::Value, Fault> {
        let readers = entries.iter().map(|entry| {
            let child = self.child(entry);
            (entry.key.as_str(), Item(child.node, child.path))
        });
        self.here(visitor.visit_map(MapDeserializer::new(readers)))
    }

    fn refuse_unknown(&self, entries: &[Entry], known: &'static [&'static str]) -> Result<(), Fault> {
        let Some(entry) = entries.iter().find(|entry| !known.contains(&entry.key.as_str())) else { return Ok(()) };
        let path = join(&self.path, &entry.key);
        let problem = Problem::new(entry.key_origin.clone(), format!("`{}` is not a known key", clip(&path)))
            .help(names::suggestion(&self.path, &entry.key, known))
            .key(path)
            .about_key();
        Err(Fault(Box::new(problem)))
    }
}

/// A child on its way into serde's sequence and map helpers.
struct Item<'n>(&'n Node, String);

impl<'de, 'n> IntoDeserializer<'de, Fault> for Item<'n> {
    type Deserializer = NodeReader<'n>;

    fn into_deserializer(self) -> NodeReader<'n> {
        NodeReader { node: self.0, path: self.1 }
    }
}

macro_rules! whole_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.here(visitor.visit_i64(self.whole()?))
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeReader<'_> {
    type Error = Fault;

    whole_numbers! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
    deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if let Some(unfolded) = self.unfolded() {
            return NodeReader { node: &unfolded, path: self.path.clone() }.deserialize_any(visitor);
        }
        match &self.node.value {
            Value::Null => self.here(visitor.visit_unit()),
            Value::Bool(truth) => self.here(visitor.visit_bool(*truth)),
            Value::Number { whole: Some(_), .. } => self.here(visitor.visit_i64(self.whole()?)),
            Value::Number { .. } => self.here(visitor.visit_f64(self.fraction()?)),
            Value::Text(text) | Value::Untyped { text, .. } => self.here(visitor.visit_str(text)),
            Value::List(items) => self.visit_list(items, visitor),
            Value::Map(entries) => self.visit_entries(entries, visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(visitor.visit_bool(self.truth()?))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(visitor.visit_f64(self.fraction()?))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(visitor.visit_str(self.text()?))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let unfolded = self.unfolded();
        match &unfolded.as_ref().unwrap_or(self.node).value {
            Value::List(items) => self.visit_list(items, visitor),
            _ => Err(self.wrong_shape("a list", "write each item on a line of its own after `- `")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let unfolded = self.unfolded();
        match &unfolded.as_ref().unwrap_or(self.node).value {
            Value::Map(entries) => {
                NodeReader { node: self.node, path: self.path.clone() }.visit_entries(entries, visitor)
            }
            _ => Err(self.wrong_shape("a mapping", "write its keys below it, indented")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let unfolded = self.unfolded();
        if let Value::Map(entries) = &unfolded.as_ref().unwrap_or(self.node).value {
            self.refuse_unknown(entries, fields)?;
        }
        drop(unfolded);
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let word = match self.node.value {
            // `format: off` and the like: YAML's own words may be ours.
            Value::Bool(_) => self.node.text().unwrap_or_default(),
            _ => self.text()?,
        };
        let Some(variant) = variants.iter().find(|variant| variant.eq_ignore_ascii_case(word.trim())) else {
            let help = match names::nearest(word, variants.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => String::new(),
            };
            let wanted =
                if variants.len() == 1 { variants[0].to_owned() } else { format!("one of {}", variants.join(", ")) };
            return Err(self.wrong(&wanted, &help));
        };
        let variant: StrDeserializer<'_, Fault> = (*variant).into_deserializer();
        self.here(visitor.visit_enum(variant))
    }

    /// The text of any scalar, whatever its type (`raw::RawScalar`).
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let text = self.node.text().ok_or_else(|| self.wrong("a single value", ""))?;
        self.here(visitor.visit_str(text))
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct ignored_any
    }
}
