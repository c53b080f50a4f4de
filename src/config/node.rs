//! The configuration as a tree in which every value knows where it came from.
//!
//! Each layer (file, environment, flags, arguments) becomes such a tree; `layers` puts them on top of each
//! other, `de` reads typed structs out of the result. Scalars keep their text, so that `1.10` stays `1.10`
//! where a text or an exact decimal is wanted.

use std::fmt;

use serde_json::Value as Json;

use super::secrets;

/// Where a value was written. Lines and columns count from one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody wrote it.
    #[default]
    Default,
    File {
        line: u64,
        column: u64,
        /// Characters to underline.
        length: usize,
    },
    Environment(String),
    /// `--set kafka.brokers`, `--table`.
    Flag(String),
    /// The tree that a caller passed (Python's `overrides=`).
    Argument,
}

impl Origin {
    /// The layer's place among the others: of two, the greater one's answer counts.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File { .. } => 1,
            Origin::Environment(_) => 2,
            Origin::Argument => 3,
            Origin::Flag(_) => 4,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Value,
    pub origin: Origin,
}

#[derive(Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// `whole` is absent where the text is no integer.
    Number {
        text: String,
        whole: Option<i128>,
    },
    Text(String),
    /// Text whose type the reader decides: from the environment, a flag, or an expanded `${…}`, whose own
    /// text is `raw` and the only one ever shown.
    Untyped {
        text: String,
        raw: Option<String>,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// Values may be secrets, so only their shape is printed.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Map(entries) => f.debug_map().entries(entries.iter().map(|e| (&e.key, &e.node.value))).finish(),
            Value::List(items) => f.debug_list().entries(items.iter().map(|item| &item.value)).finish(),
            Value::Null => f.write_str("null"),
            _ => f.write_str("…"),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_origin: Origin,
    pub node: Node,
}

impl Node {
    pub fn map(origin: Origin) -> Self {
        Node { value: Value::Map(Vec::new()), origin }
    }

    pub fn untyped(text: impl Into<String>, origin: Origin) -> Self {
        Node { value: Value::Untyped { text: text.into(), raw: None }, origin }
    }

    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Untyped { text, .. } => text.is_empty(),
            _ => false,
        }
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn entries_mut(&mut self) -> Option<&mut Vec<Entry>> {
        match &mut self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Number { text, .. } | Value::Text(text) | Value::Untyped { text, .. } => Some(text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            _ => None,
        }
    }

    /// The node at `section.key`, `schema[2].type`, or the nearest one above it that was written.
    pub fn locate(&self, path: &str) -> &Node {
        let mut node = self;
        for step in steps(path) {
            let next = match (&node.value, step) {
                (Value::Map(_), Step::Key(key)) => node.entry(key).map(|entry| &entry.node),
                (Value::List(items), Step::Index(index)) => items.get(index),
                _ => None,
            };
            match next {
                Some(found) => node = found,
                None => break,
            }
        }
        node
    }

    pub fn find(&self, section: &str, key: &str) -> Option<&Node> {
        let node = &self.entry(section)?.node.entry(key)?.node;
        (!node.is_null()).then_some(node)
    }

    /// Puts `node` at `path`, creating the maps between; what stood there is replaced.
    pub fn insert(&mut self, path: &[String], node: Node) {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if self.entries_mut().is_none() {
            *self = Node::map(node.origin.clone());
        }
        let entries = self.entries_mut().expect("made a map above");
        let at = entries.iter().position(|entry| &entry.key == first).unwrap_or_else(|| {
            let origin = node.origin.clone();
            entries.push(Entry { key: first.clone(), key_origin: origin.clone(), node: Node::map(origin) });
            entries.len() - 1
        });
        entries[at].node.insert(rest, node);
    }

    /// What an error may say about the value: never more than `raw` of an expanded one, and nothing of a text that
    /// swallowed the line of a secret (`password:x`, with no space, is one).
    pub fn shown(&self) -> String {
        match &self.value {
            Value::Untyped { raw: Some(raw), .. } => format!("`{}`", clip(raw)),
            Value::Map(_) => "a mapping".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Null => "empty".to_owned(),
            Value::Text(text) | Value::Untyped { text, .. } if secrets::mentioned(text) => {
                "a text not shown".to_owned()
            }
            Value::Text(text) => format!("the text \"{}\"", clip(text)),
            Value::Number { text, .. } | Value::Untyped { text, .. } => format!("`{}`", clip(text)),
            Value::Bool(truth) => format!("`{truth}`"),
        }
    }

    pub fn from_json(value: &Json, origin: &Origin) -> Self {
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => Value::Number {
                text: number.to_string(),
                whole: number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(|item| Node::from_json(item, origin)).collect()),
            Json::Object(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        key_origin: origin.clone(),
                        node: Node::from_json(value, origin),
                    })
                    .collect(),
            ),
        };
        Node { value, origin: origin.clone() }
    }
}

/// Longest piece of a value that an error repeats.
const SHOWN_CHARS: usize = 60;

/// Bounded, without credentials in an address, and without characters that a terminal would obey.
pub(super) fn clip(text: &str) -> String {
    let text = secrets::without_user_info(text);
    let mut shown: String =
        text.chars().take(SHOWN_CHARS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// `section.key`, fit to be shown.
pub(super) fn join(path: &str, key: &str) -> String {
    let key = &*secrets::safe_key(key);
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split(['.', '[']).filter(|step| !step.is_empty()).map(|step| match step.strip_suffix(']') {
        Some(index) => Step::Index(index.parse().unwrap_or(usize::MAX)),
        None => Step::Key(step),
    })
}
