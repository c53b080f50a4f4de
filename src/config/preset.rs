//! Configurations that ship with the program and lie below the user's file: a pipeline whose messages are known
//! needs no columns and rules written again.
//!
//! The preset is the annotated file in `configs/` itself, so that what it shows and what holds cannot differ. Its
//! values count as defaults: nobody wrote them.

use std::collections::BTreeMap;

use super::node::{Node, Origin, Value};
use super::problem::{Problem, Source};
use super::yaml;

/// What lies below the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// Nothing: the orders pipeline's own defaults are those of each key.
    #[default]
    Orders,
    /// The purchase-event pipeline.
    Purchases,
}

impl Preset {
    pub(super) fn layer(self, environment: &BTreeMap<String, String>) -> Result<Option<Node>, Problem> {
        let text = match self {
            Preset::Orders => return Ok(None),
            Preset::Purchases => include_str!("../../configs/purchases.yml"),
        };
        let mut node = yaml::parse(&Source { file: None, text: text.to_owned() }, environment)?;
        unplace(&mut node);
        Ok(Some(node))
    }
}

/// Lines of the shipped file mean nothing in a report about the user's.
fn unplace(node: &mut Node) {
    node.origin = Origin::Default;
    match &mut node.value {
        Value::Map(entries) => {
            for entry in entries {
                entry.key_origin = Origin::Default;
                unplace(&mut entry.node);
            }
        }
        Value::List(items) => items.iter_mut().for_each(unplace),
        _ => {}
    }
}
