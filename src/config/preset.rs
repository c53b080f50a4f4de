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

/// The section that names the columns.
pub(super) const COLUMNS: &str = "schema";
/// Sections that speak of the columns.
const OF_COLUMNS: [&str; 3] = [COLUMNS, "validation", "aggregate"];

impl Preset {
    /// Its rules and totals are of its own columns: beside a `schema` of the user's they do not count.
    pub(super) fn layer(
        self,
        environment: &BTreeMap<String, String>,
        own_columns: bool,
    ) -> Result<Option<Node>, Problem> {
        let text = match self {
            Preset::Orders => return Ok(None),
            Preset::Purchases => include_str!("../../configs/purchases.yml"),
        };
        let mut node = yaml::parse(&Source { file: None, text: text.to_owned() }, environment)?;
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
        let overrides = Overrides { preset: Preset::Purchases, ..Overrides::default() };
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
