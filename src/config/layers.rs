//! Layers on top of each other: preset, file, environment, arguments, flags; the later one wins, key by key.
//!
//! Before a layer is laid on, its keys get their own names (aliases), and `jdbc_url` becomes the host, port and
//! database it stands for. So a contradiction within a layer is an error, and across layers it is precedence.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::names::{self, ALIASES};
use super::node::{Entry, Node, Origin, Value, join};
use super::preset::{self, Preset};
use super::problem::{Problem, Source};
use crate::error::{Error, Result};

/// `FOODSTREAM__KAFKA__BROKERS` sets `kafka.brokers`.
pub(super) const ENVIRONMENT_PREFIX: &str = "FOODSTREAM__";
/// What `foodstream local up` writes, below the real environment.
const LOCAL_ENVIRONMENT: &str = ".foodstream/env";

/// What stands above the file. Nothing here is read from the process unless `from_process` does it.
#[derive(Clone, Default)]
pub struct Overrides {
    /// `--preset`: what lies below the file, in place of what the file says.
    pub preset: Option<Preset>,
    /// The one pipeline that the caller serves: its preset is the default, and another one an error.
    pub made_for: Option<Preset>,
    /// For `${NAME}` and `FOODSTREAM__…`.
    pub environment: BTreeMap<String, String>,
    /// Nested sections, such as Python's `overrides=`; above the environment.
    pub tree: Option<serde_json::Value>,
    /// `section.key=value`, in order; above everything but `table`. An empty value goes back to the default.
    pub set: Vec<String>,
    /// `--table`.
    pub table: Option<String>,
}

/// Names only: any value may be a secret.
impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set: Vec<&str> = self.set.iter().map(|pair| pair.split('=').next().unwrap_or_default()).collect();
        f.debug_struct("Overrides")
            .field("environment", &self.environment.len())
            .field("tree", &self.tree.is_some())
            .field("set", &set)
            .field("table", &self.table)
            .finish()
    }
}

impl Overrides {
    /// The real environment over `.foodstream/env` of `working_dir`, where the local stack left its addresses.
    pub fn from_process(working_dir: &Path) -> Result<Self> {
        let path = working_dir.join(LOCAL_ENVIRONMENT);
        let mut environment = match std::fs::read_to_string(&path) {
            Ok(text) => environment_file(&text)
                .map_err(|line| Error::config(format!("{}:{line}: expected NAME=value", path.display())))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(Error::config(format!("cannot read {}", path.display())).because(error)),
        };
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(environment.insert(name, value)),
                Err(_) if name.starts_with(ENVIRONMENT_PREFIX) => {
                    return Err(Error::config(format!("environment variable {name} is not UTF-8")));
                }
                Err(_) => {}
            }
        }
        Ok(Overrides { environment, ..Overrides::default() })
    }
}

impl Overrides {
    /// Lays the tree over another one, key by key, where a program has both.
    pub fn over(mut self, below: serde_json::Value) -> Self {
        self.tree = Some(merged(below, self.tree.take().unwrap_or_default()));
        self
    }
}

fn merged(below: serde_json::Value, above: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match (below, above) {
        (below, Value::Null) => below,
        (Value::Object(mut below), Value::Object(above)) => {
            for (key, value) in above {
                let beneath = below.remove(&key).unwrap_or_default();
                below.insert(key, merged(beneath, value));
            }
            Value::Object(below)
        }
        (_, above) => above,
    }
}

/// `NAME=value` a line, as shells and Docker write it; the number of the first line that is not.
fn environment_file(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut environment = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=').ok_or(index + 1)?;
        let value = value.trim();
        let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        environment.insert(name.trim().to_owned(), unquoted.unwrap_or(value).to_owned());
    }
    Ok(environment)
}

/// The whole configuration as one tree with canonical keys.
pub(super) fn stack(file: Option<Node>, overrides: &Overrides, source: &Source) -> Result<Node, Problem> {
    let mut root = Node::map(Origin::Default);
    let tree = overrides.tree.as_ref().map(|tree| Node::from_json(tree, &Origin::Argument));
    if let Some(tree) = &tree
        && !matches!(tree.value, Value::Map(_))
    {
        return Err(Problem::new(Origin::Argument, format!("expected sections, not {}", tree.shown())));
    }
    let written = [file, Some(environment_layer(&overrides.environment)), tree, Some(flag_layer(overrides)?)];
    let own_columns = written.iter().flatten().any(|layer| layer.entry(preset::COLUMNS).is_some());
    let preset = preset::chosen(&written, overrides.made_for)?;
    let layers = std::iter::once(preset.layer(&overrides.environment, own_columns)?).chain(written);
    for layer in layers.flatten() {
        lay(&mut root, canonical(layer, source)?, "");
    }
    if root.entry(preset::KEY).is_none_or(|entry| entry.node.is_null()) {
        root.insert(&[preset::KEY.to_owned()], Node::untyped(preset.name(), Origin::Default));
    }
    Ok(root)
}

fn environment_layer(environment: &BTreeMap<String, String>) -> Node {
    let mut root = Node::map(Origin::Default);
    for (name, value) in environment {
        // An empty variable counts as unset, as in `${NAME:-default}`: container platforms pass empty ones on.
        let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX).filter(|_| !value.is_empty()) else { continue };
        let mut path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        if let [section, key, foreign] = &mut path[..]
            && names::holds_foreign_names(section, key)
            && foreign != "log_level"
        {
            // A shell's variable holds no dots, and `log_level` is librdkafka's one name with an underscore.
            *foreign = foreign.replace('_', ".");
        }
        let node = given(&path, value, Origin::Environment(name.clone()));
        root.insert(&path, node);
    }
    root
}

/// A whole section given as JSON takes part in aliases and merging like one that is written out.
fn given(path: &[String], text: &str, origin: Origin) -> Node {
    let section = (path.len() == 1).then(|| serde_json::from_str(text).ok()).flatten();
    match section {
        Some(json @ serde_json::Value::Object(_)) => Node::from_json(&json, &origin),
        _ => Node::untyped(text, origin),
    }
}

fn flag_layer(overrides: &Overrides) -> Result<Node, Problem> {
    let mut root = Node::map(Origin::Default);
    for pair in &overrides.set {
        let (path, value) = pair.split_once('=').unwrap_or((pair, ""));
        let flag = Origin::Flag(format!("--set {path}"));
        let malformed =
            || Problem::new(flag.clone(), "expected section.key=value").help("such as --set cdc.batch_limit=500");
        if !pair.contains('=') || path.split('.').any(str::is_empty) {
            return Err(malformed());
        }
        let mut steps: Vec<String> = path.split('.').map(str::to_owned).collect();
        if steps.len() > 3 && names::holds_foreign_names(&steps[0], &steps[1]) {
            let foreign = steps.split_off(2).join(".");
            steps.push(foreign);
        }
        let node = given(&steps, value, flag);
        root.insert(&steps, node);
    }
    if let Some(preset) = overrides.preset {
        let origin = Origin::Flag("--preset".to_owned());
        root.insert(&[preset::KEY.to_owned()], Node { value: Value::Text(preset.name().to_owned()), origin });
    }
    if let Some(table) = &overrides.table {
        let path = ["postgres".to_owned(), "table".to_owned()];
        root.insert(&path, Node { value: Value::Text(table.clone()), origin: Origin::Flag("--table".to_owned()) });
    }
    Ok(root)
}

/// The same layer under canonical keys.
fn canonical(mut root: Node, source: &Source) -> Result<Node, Problem> {
    let mut moved: Vec<(&str, Entry)> = Vec::new();
    for section in root.entries_mut().into_iter().flatten() {
        let Some(entries) = section.node.entries_mut() else { continue };
        let mut kept = Vec::with_capacity(entries.len());
        for mut entry in entries.drain(..) {
            match alias_of(&section.key, &entry) {
                Some((target, key)) if target == section.key => {
                    entry.key = key.to_owned();
                    add(&mut kept, &section.key, entry, source)?;
                }
                Some((target, key)) => {
                    entry.key = key.to_owned();
                    moved.push((target, entry));
                }
                None => add(&mut kept, &section.key, entry, source)?,
            }
        }
        *entries = kept;
    }
    for (target, entry) in moved {
        if !root.entries().iter().any(|section| section.key == target && matches!(section.node.value, Value::Map(_))) {
            root.insert(&[target.to_owned()], Node::map(entry.node.origin.clone()));
        }
        let sections = root.entries_mut().expect("a layer is a map");
        let section = sections.iter_mut().find(|section| section.key == target).expect("inserted above");
        add(section.node.entries_mut().expect("a map, see above"), target, entry, source)?;
    }
    super::jdbc::unfold(&mut root, source)?;
    Ok(root)
}

fn alias_of(section: &str, entry: &Entry) -> Option<(&'static str, &'static str)> {
    let from_environment = matches!(entry.key_origin, Origin::Environment(_));
    let same = |alias: &str| alias == entry.key || (from_environment && alias.eq_ignore_ascii_case(&entry.key));
    ALIASES.iter().find(|alias| alias.0 == section && same(alias.1)).map(|alias| (alias.2, alias.3))
}

/// Adds an entry whose key may already stand there under another name.
fn add(entries: &mut Vec<Entry>, section: &str, entry: Entry, source: &Source) -> Result<(), Problem> {
    let Some(other) = entries.iter().find(|other| other.key == entry.key) else {
        entries.push(entry);
        return Ok(());
    };
    if other.node.text().is_some() && other.node.text() == entry.node.text() {
        return Ok(());
    }
    let key = format!("{section}.{}", entry.key);
    Err(Problem::new(entry.key_origin, format!("`{key}` is given twice, with different values"))
        .help(format!("the other one is at {}: remove one", source.place(&other.key_origin)))
        .key(key))
}

/// Keys that answer the same question: the upper layer's answer removes the lower one's.
const RIVALS: &[(&str, &str)] = &[("postgres.password", "postgres.password_file")];

fn lay(lower: &mut Node, upper: Node, path: &str) {
    let (Some(entries), Value::Map(new)) = (lower.entries_mut(), upper.value) else {
        unreachable!("both are maps: checked by the callers");
    };
    for entry in new {
        let path = join(path, &entry.key);
        for (left, right) in RIVALS {
            let rival = if path == *left {
                right
            } else if path == *right {
                left
            } else {
                continue;
            };
            entries.retain(|other| rival.rsplit('.').next() != Some(&other.key) || is_new(other, &entry));
        }
        match entries.iter_mut().find(|other| other.key == entry.key) {
            Some(other) if both_maps(&other.node, &entry.node) => lay(&mut other.node, entry.node, &path),
            Some(other) => *other = entry,
            None => entries.push(entry),
        }
    }
}

fn both_maps(left: &Node, right: &Node) -> bool {
    matches!((&left.value, &right.value), (Value::Map(_), Value::Map(_)))
}

/// Whether both come from the same layer, so that neither outranks the other.
fn is_new(other: &Entry, entry: &Entry) -> bool {
    other.key_origin.rank() == entry.key_origin.rank()
}
