//! Where each effective value came from, kept beside the settings for later errors and for `config show`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{Node, Origin, Value, join};
use super::problem::{Problem, Source};

#[derive(Clone, Debug, Default)]
pub(super) struct Provenance {
    pub source: Arc<Source>,
    /// Dotted key to origin, for every value that somebody wrote; sections included.
    pub origins: BTreeMap<String, Origin>,
    /// Sections that are there but lack something, by name: an error only for the command that needs them.
    pub unfinished: BTreeMap<&'static str, Problem>,
    pub notes: Vec<Note>,
}

/// Something a user may want to know about a configuration that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub level: NoteLevel,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteLevel {
    /// Accepted for the sake of existing files, without effect.
    NoEffect,
    /// The same of a key that its author expects to act, so it is said where nobody asked for more.
    Info,
    Warning,
}

impl Provenance {
    pub fn new(source: Arc<Source>, root: &Node) -> Self {
        let mut origins = BTreeMap::new();
        collect(root, "", &mut origins);
        Provenance { source, origins, ..Provenance::default() }
    }

    /// Of these keys the one whose answer counted: written in the uppermost layer, the first named of one layer.
    pub fn uppermost(&self, keys: &[&str]) -> Origin {
        let written = keys.iter().filter_map(|key| self.origins.get(*key));
        written.rev().max_by_key(|origin| origin.rank()).cloned().unwrap_or_default()
    }

    /// The first of these keys that was written.
    pub fn origin(&self, keys: &[&str]) -> Origin {
        keys.iter().find_map(|key| self.origins.get(*key)).cloned().unwrap_or_default()
    }
}

fn collect(node: &Node, path: &str, origins: &mut BTreeMap<String, Origin>) {
    let Value::Map(entries) = &node.value else { return };
    for entry in entries.iter().filter(|entry| !entry.node.is_null()) {
        let path = join(path, &entry.key);
        collect(&entry.node, &path, origins);
        origins.insert(path, entry.key_origin.clone());
    }
}
