//! Configurations that ship with the program and lie below the user's file: a pipeline whose messages are known
//! needs no columns and rules written again.
//!
//! The preset is the annotated file in `configs/` itself, so that what it shows and what holds cannot differ. Its
//! values count as defaults: nobody wrote them.

use std::collections::BTreeMap;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::defaults;
use super::node::{Node, Origin, Value};
use super::problem::{Problem, Source};
use super::yaml;

// No `///` on it or its variants: they would become the description of the key, which stands in `raw`.
// What lies below the file. Orders: nothing, since that pipeline's defaults are those of each key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    #[default]
    Orders,
    Purchases,
}

/// The key that names it.
pub(super) const KEY: &str = "preset";

impl Preset {
    pub fn name(self) -> &'static str {
        match self {
            Preset::Orders => "orders",
            Preset::Purchases => "purchases",
        }
    }

    /// Where commands look for the configuration.
    pub fn file(self) -> &'static str {
        match self {
            Preset::Orders => defaults::CONFIG_FILE,
            Preset::Purchases => defaults::PURCHASES_CONFIG_FILE,
        }
    }

    /// The annotated file, to begin one's own from.
    pub fn shipped(self) -> &'static str {
        match self {
            Preset::Orders => include_str!("../../configs/orders_stream.yml"),
            Preset::Purchases => include_str!("../../configs/purchases.yml"),
        }
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Preset::Orders, Preset::Purchases].into_iter();
        let mut named = known.filter(|preset| preset.name().eq_ignore_ascii_case(text.trim()));
        named.next().ok_or_else(|| format!("unknown preset `{text}`; use orders or purchases"))
    }
}

/// The section that names the columns.
pub(super) const COLUMNS: &str = "schema";
/// Sections that speak of the columns.
const OF_COLUMNS: [&str; 3] = [COLUMNS, "validation", "aggregate"];

/// The preset in force: what the uppermost of the `written` layers names, else what the caller is made for, else
/// orders. A word that is no preset's is left to the reader, which says so with its place.
pub(super) fn chosen(written: &[Option<Node>], made_for: Option<Preset>) -> Result<Preset, Problem> {
    let mut entries = written.iter().rev().flatten().filter_map(|layer| layer.entry(KEY));
    let named = entries.find(|entry| !entry.node.is_null());
    let named = named.and_then(|entry| Some((entry, entry.node.text()?.parse::<Preset>().ok()?)));
    match (named, made_for) {
        (Some((entry, named)), Some(wanted)) if named != wanted => {
            let fact = format!("`{KEY}` is `{}`, but this is of the {} pipeline", named.name(), wanted.name());
            let problem = Problem::new(entry.node.origin.clone(), fact).key(KEY);
            Err(problem.help(format!("use a configuration of that pipeline, or remove `{KEY}`")))
        }
        (Some((_, named)), _) => Ok(named),
        (None, wanted) => Ok(wanted.unwrap_or_default()),
    }
}

impl Preset {
    /// Its rules and totals are of its own columns: beside a `schema` of the user's they do not count.
    pub(super) fn layer(
        self,
        environment: &BTreeMap<String, String>,
        own_columns: bool,
    ) -> Result<Option<Node>, Problem> {
        if self == Preset::Orders {
            return Ok(None);
        }
        let mut node = yaml::parse(&Source { file: None, text: self.shipped().to_owned() }, environment)?;
        unplace(&mut node);
        if let Value::Map(entries) = &mut node.value {
            entries.retain(|entry| !own_columns || !OF_COLUMNS.contains(&entry.key.as_str()));
        }
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

#[cfg(test)]
mod tests {
    use crate::config::{Overrides, Preset, Settings};

    fn load(yaml: &str) -> Settings {
        let overrides = Overrides { preset: Some(Preset::Purchases), ..Overrides::default() };
        Settings::from_yaml(yaml, None, &overrides).unwrap()
    }

    #[test]
    fn a_file_needs_only_what_differs() {
        let settings = load("kafka: {topic_name: other}\n");
        assert_eq!(settings.require_kafka().unwrap().topic, "other");
        assert_eq!(settings.schema.unwrap().columns.len(), 17);
        assert_eq!(settings.aggregate.definition.group_by, ["currency", "product_category"]);
        assert_eq!(settings.consumer.trigger_interval.as_secs(), 10);
    }

    #[test]
    fn rules_and_totals_go_with_the_columns_they_are_of() {
        let settings = load("schema:\n  - {name: timestamp, type: timestamptz}\n");
        assert!(settings.validation.rules.is_empty() && settings.validation.total.is_none());
        assert!(settings.aggregate.definition.group_by.is_empty());
    }

    #[test]
    fn the_documents_file_loads_and_what_spark_says_counts_before_the_preset() {
        let settings = load(
            r#"
kafka:
  bootstrap_servers: "localhost:9092"
  topic_name: "purchasing_events"
  consumer_group: "streaming_consumer_group"
  auto_offset_reset: "earliest"
producer:
  batch_size: 100
  linger_ms: 1000
  acks: "1"
  retries: 3
  event_interval_seconds: 1
  max_events: 1000
spark:
  app_name: "StreamingDataPipeline"
  master: "local[*]"
  checkpoint_location: "./checkpoints"
  output_mode: "complete"
  trigger_processing_time: "500 milliseconds"
logging:
  level: "INFO"
  format: "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
"#,
        );
        assert_eq!(settings.consumer.trigger_interval.as_millis(), 500);
        assert_eq!(settings.require_checkpoint().unwrap(), std::path::Path::new("./checkpoints"));
        assert_eq!((settings.events.rate, settings.events.max_events), (Some(1.0), Some(1000)));
        assert_eq!(settings.events.properties["batch.num.messages"], "100");
        let notes: Vec<String> = settings.notes().iter().map(|note| note.text.clone()).collect();
        for key in ["producer.acks: 1", "producer.retries", "spark.app_name", "spark.master", "spark.output_mode"] {
            assert!(notes.iter().any(|note| note.contains(key)), "{key}: {notes:?}");
        }
    }
}
