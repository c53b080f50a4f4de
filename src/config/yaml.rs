//! YAML text to a located tree, with `${NAME}` expanded: the only place that names serde-saphyr.
//!
//! The text is read twice. The first pass knows no properties and fixes shape, types and locations; the second
//! asks for each scalar that holds `${` as text, so that an expanded `007` or `1e5` keeps its digits (asked for
//! "anything", the crate would turn a password into a number). The crate's strict syntax expands unquoted
//! scalars only and leaves quoted ones as they are; one that is left is refused, since nobody writes it on purpose.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, Options};
use serde_saphyr::{Error as YamlError, Location, Spanned};

use super::node::{Entry, Node, Origin, Value, join};
use super::problem::{Problem, Source};
use super::secrets;

/// A configuration is a few kilobytes; a file beyond this is some other file.
pub(super) const MAX_FILE_BYTES: usize = 1024 * 1024;
/// A hundred times the keys that exist; small enough that an alias bomb ends within milliseconds.
const MAX_NODES: usize = 10_000;
/// The deepest documented key, an item of a rule's list, stands at six.
const MAX_DEPTH: usize = 16;
const MAX_ALIASES: usize = 100;

pub(super) fn parse(source: &Source, environment: &BTreeMap<String, String>) -> Result<Node, Problem> {
    if source.text.len() > MAX_FILE_BYTES {
        return Err(Problem::new(Origin::Default, format!("the file is larger than {MAX_FILE_BYTES} bytes"))
            .help("name the configuration file with --config"));
    }
    if source.text.trim_start_matches('\u{feff}').trim().is_empty() {
        return Err(Problem::new(Origin::Default, "the file is empty")
            .help("configs/orders_stream.yml shows every key with its default"));
    }
    let spanned: Spanned<RawNode> =
        serde_saphyr::from_str_with_options(&source.text, options()).map_err(|error| problem(source, &error))?;
    let mut root = located(spanned, &source.text);
    match root.value {
        Value::Map(_) => {}
        Value::Null => {
            return Err(Problem::new(Origin::Default, "the file holds only comments")
                .help("configs/orders_stream.yml shows every key with its default"));
        }
        _ => {
            return Err(Problem::new(root.origin.clone(), format!("expected sections, found {}", root.shown()))
                .help("write `postgres:`, `kafka:` and the like as keys at the margin"));
        }
    }
    if source.text.contains("${") {
        expand(source, environment, &mut root)?;
        refuse_leftovers(&root, "")?;
    }
    Ok(root)
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_depth: MAX_DEPTH,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_recorded_anchor_events: MAX_NODES,
            max_merge_keys: MAX_ALIASES,
            max_documents: 1,
            max_total_scalar_bytes: MAX_FILE_BYTES,
            max_total_property_interpolation_work: 4 * MAX_FILE_BYTES,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
        // `one_of: [yes, no]` are two words; keys that want a truth value accept the words themselves.
        strict_booleans: true,
        // A password that begins with `!` would lose its first word silently.
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// A scalar's value as the crate saw it, before its location is known.
enum RawNode {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<RawNode>>),
    Map(Vec<(Spanned<String>, Spanned<RawNode>)>),
}

impl<'de> Deserialize<'de> for RawNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawNode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<RawNode, E> {
        Ok(RawNode::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawNode, E> {
        Ok(RawNode::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawNode, E> {
        Ok(RawNode::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawNode, E> {
        Ok(RawNode::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawNode, E> {
        Ok(RawNode::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawNode, E> {
        Ok(RawNode::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawNode, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(RawNode::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawNode, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key()? {
            map.push((key, entries.next_value()?));
        }
        Ok(RawNode::Map(map))
    }
}

fn located(spanned: Spanned<RawNode>, text: &str) -> Node {
    let written = slice(&spanned.defined, text);
    let mut length =
        slice(&spanned.referenced, text).map_or(1, |word| word.lines().next().unwrap_or("").chars().count());
    let number = |parsed: String, whole: Option<i128>| Value::Number {
        // The slice is the number as written (`0.10`); a tagged or folded one falls back to its value.
        text: written
            .map(str::trim)
            .filter(|word| word.parse::<f64>().is_ok() || whole.is_some())
            .map_or(parsed, str::to_owned),
        whole,
    };
    let value = match spanned.value {
        RawNode::Null => Value::Null,
        RawNode::Bool(truth) => Value::Bool(truth),
        RawNode::Integer(whole) => number(whole.to_string(), Some(whole)),
        RawNode::Float(value) => number(value.to_string(), None),
        RawNode::Text(text) => Value::Text(text),
        RawNode::List(items) => {
            length = 1;
            Value::List(items.into_iter().map(|item| located(item, text)).collect())
        }
        RawNode::Map(entries) => {
            length = 1;
            let entry = |(key, node): (Spanned<String>, _)| {
                let length =
                    slice(&key.referenced, text).map_or(key.value.chars().count(), |word| word.chars().count());
                Entry { key_origin: origin(&key.referenced, length), key: key.value, node: located(node, text) }
            };
            Value::Map(entries.into_iter().map(entry).collect())
        }
    };
    Node { value, origin: origin(&spanned.referenced, length) }
}

fn origin(location: &Location, length: usize) -> Origin {
    if *location == Location::UNKNOWN {
        return Origin::Default;
    }
    Origin::File { line: location.line(), column: location.column(), length: length.max(1) }
}

fn slice<'t>(location: &Location, text: &'t str) -> Option<&'t str> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let length = usize::try_from(location.span().byte_len()?).ok()?;
    text.get(start..start.checked_add(length)?)
}

/// The second pass: every scalar with `${` again, as text, with the environment's values in it.
fn expand(source: &Source, environment: &BTreeMap<String, String>, root: &mut Node) -> Result<(), Problem> {
    let properties: HashMap<String, String> = environment.clone().into_iter().collect();
    let options = options().with_properties(properties);
    serde_saphyr::with_deserializer_from_str_with_options(&source.text, options, |deserializer| {
        Expand(&mut *root).deserialize(deserializer)
    })
    .map_err(|error| {
        let mut problem = problem(source, &error);
        problem.key = key_at(root, &problem.origin, "");
        problem
    })
}

/// The path of the value that was written at this place.
fn key_at(node: &Node, at: &Origin, path: &str) -> Option<String> {
    let place = |origin: &Origin| match origin {
        Origin::File { line, column, .. } => Some((*line, *column)),
        _ => None,
    };
    match &node.value {
        Value::Map(entries) => entries.iter().find_map(|entry| key_at(&entry.node, at, &join(path, &entry.key))),
        Value::List(items) => {
            items.iter().enumerate().find_map(|(index, item)| key_at(item, at, &format!("{path}[{index}]")))
        }
        _ => (place(&node.origin).is_some() && place(&node.origin) == place(at)).then(|| path.to_owned()),
    }
}

struct Expand<'n>(&'n mut Node);

impl<'de> DeserializeSeed<'de> for Expand<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match &mut self.0.value {
            Value::Map(_) => deserializer.deserialize_map(ExpandVisitor(self.0)),
            Value::List(_) => deserializer.deserialize_seq(ExpandVisitor(self.0)),
            Value::Text(raw) if raw.contains("${") => {
                let text = String::deserialize(deserializer)?;
                if text != *raw {
                    let raw = Some(std::mem::take(raw));
                    self.0.value = Value::Untyped { text, raw };
                }
                Ok(())
            }
            _ => IgnoredAny::deserialize(deserializer).map(|_| ()),
        }
    }
}

struct ExpandVisitor<'n>(&'n mut Node);

impl<'de> Visitor<'de> for ExpandVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the same document again")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if let Value::List(list) = &mut self.0.value {
            for item in list {
                items.next_element_seed(Expand(item))?;
            }
        }
        items.next_element::<IgnoredAny>()?.map_or(Ok(()), |_| Err(A::Error::custom(DIFFERENT)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        if let Value::Map(map) = &mut self.0.value {
            for entry in map {
                let key: Option<String> = entries.next_key()?;
                if key.as_deref() != Some(&entry.key) {
                    return Err(de::Error::custom(DIFFERENT));
                }
                entries.next_value_seed(Expand(&mut entry.node))?;
            }
        }
        entries.next_key::<IgnoredAny>()?.map_or(Ok(()), |_| Err(A::Error::custom(DIFFERENT)))
    }
}

/// Both passes read the same bytes with the same rules.
const DIFFERENT: &str = "the second pass over the file met another shape";

fn refuse_leftovers(node: &Node, path: &str) -> Result<(), Problem> {
    match &node.value {
        Value::Text(text) if text.contains("${") => Err(Problem::new(
            node.origin.clone(),
            format!("`{path}` still holds `${{`: only unquoted values are expanded"),
        )
        .key(path)
        .help("remove the quotes around it, and close the brace")),
        Value::List(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| refuse_leftovers(item, &format!("{path}[{index}]")))
        }
        Value::Map(entries) => {
            entries.iter().try_for_each(|entry| refuse_leftovers(&entry.node, &join(path, &entry.key)))
        }
        _ => Ok(()),
    }
}

/// The crate's error in this module's words; its own excerpts are never used, since they show the whole line.
fn problem(source: &Source, error: &YamlError) -> Problem {
    let error = error.without_snippet();
    if let YamlError::AliasError { error, .. } = error {
        return problem(source, error);
    }
    let location = error.location();
    let at = location.as_ref().map_or(Origin::Default, |location| {
        let length = slice(location, &source.text).map_or(1, |word| word.lines().next().unwrap_or("").chars().count());
        origin(location, length)
    });
    let (fact, help) = words(error);
    let mut problem = Problem::new(at, fact);
    problem.help = help;
    let Some(line) = location.map(|location| location.line()) else { return problem };
    if let Some(tabbed) = tab_near(&source.text, line) {
        let mut problem = Problem::new(Origin::File { line: tabbed, column: 1, length: 1 }, "a tab indents this line")
            .help("YAML indents with spaces only: replace the tab");
        problem.hidden = secrets::near(&source.text, tabbed);
        return problem;
    }
    let near_secret = secrets::near(&source.text, line);
    match error {
        // These stand on lines that were understood.
        YamlError::UnresolvedProperty { .. }
        | YamlError::PropertyRequiredButUnset { .. }
        | YamlError::PropertyRequiredButEmpty { .. } => return problem,
        YamlError::DuplicateMappingKey { key, .. } => {
            problem.key = key.as_ref().map(|key| secrets::safe_key(key).into_owned());
            return problem.about_key();
        }
        YamlError::Budget { .. } => {}
        _ if near_secret => {
            problem.fact = "not valid YAML at, or close to, a secret (the line is not shown)".to_owned();
            problem.help =
                Some("put the secret in single quotes, or take it from `${NAME}` or a `password_file`".to_owned());
        }
        _ => {}
    }
    problem.hidden = near_secret;
    problem
}

fn words(error: &YamlError) -> (String, Option<String>) {
    let set_it = |name: &str, hint: &str| {
        let way_out = format!("set it, or write `${{{name}:-default}}`");
        Some(if hint.is_empty() { way_out } else { hint.to_owned() })
    };
    match error {
        YamlError::UnresolvedProperty { name, .. } => {
            (format!("environment variable `{name}` is not set"), set_it(name, ""))
        }
        YamlError::PropertyRequiredButUnset { name, message, .. } => {
            (format!("environment variable `{name}` is not set"), set_it(name, message))
        }
        YamlError::PropertyRequiredButEmpty { name, message, .. } => {
            (format!("environment variable `{name}` is empty"), set_it(name, message))
        }
        YamlError::InvalidPropertyName { name, .. } => (
            format!("`{name}` is no variable reference"),
            Some("write `${NAME}`, `${NAME:-default}` or `${NAME:?message}`".to_owned()),
        ),
        YamlError::DuplicateMappingKey { key, .. } => (
            key.as_ref().map_or_else(
                || "a key stands twice".to_owned(),
                |key| format!("the key `{}` stands twice", secrets::safe_key(key)),
            ),
            Some("remove one of the two".to_owned()),
        ),
        YamlError::Budget { breach, .. } => {
            (budget_words(breach), Some("a configuration needs no more: is this the right file?".to_owned()))
        }
        YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => {
            ("its aliases unfold into too much".to_owned(), Some("write the values out".to_owned()))
        }
        YamlError::MultipleDocuments { .. } => (
            "a second document begins here".to_owned(),
            Some("one file holds one document: remove the `---`".to_owned()),
        ),
        YamlError::UnknownAnchor { .. } => {
            ("an alias names no anchor".to_owned(), Some("put a value that begins with `*` in quotes".to_owned()))
        }
        other => {
            let text = other.to_string();
            (format!("not valid YAML: {}", without_place(&text)), syntax_help(&text))
        }
    }
}

fn budget_words(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => format!("nested deeper than {MAX_DEPTH} levels"),
        BudgetBreach::Documents { .. } => "a second document begins here".to_owned(),
        _ => "it unfolds into too much for a configuration".to_owned(),
    }
}

/// The crate repeats the place at the end of its first line.
fn without_place(text: &str) -> &str {
    let line = text.lines().next().unwrap_or(text);
    line.rfind(" at line ").map_or(line, |end| &line[..end])
}

fn syntax_help(message: &str) -> Option<String> {
    let help = match message {
        m if m.contains("mapping values are not allowed") => {
            "each key needs a colon and a space after it, and the same indentation as its neighbours"
        }
        m if m.contains("flow mapping") || m.contains("flow sequence") => {
            "within braces or brackets `${NAME}` cannot stand: write one key a line"
        }
        _ => return None,
    };
    Some(help.to_owned())
}

/// The parser reports a tab where it notices it, which may be a line later.
fn tab_near(text: &str, line: u64) -> Option<u64> {
    let line = usize::try_from(line).ok()?;
    let indented_by_tab = |line: &str| {
        let lead = &line[..line.len() - line.trim_start().len()];
        lead.contains('\t') && !line.trim().is_empty() && !line.trim_start().starts_with('#')
    };
    let lines = text.lines().enumerate().skip(line.saturating_sub(2)).take(3);
    lines.filter(|(_, line)| indented_by_tab(line)).map(|(index, _)| index as u64 + 1).next()
}
