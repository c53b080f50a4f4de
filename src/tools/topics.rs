//! Topics: which there are, creating one with the configured numbers, and what one looks like.

use std::collections::BTreeMap;

use super::connect_kafka;
use crate::broker::kafka::PartitionLag;
use crate::broker::{Bounds, Cluster, TopicDescription, TopicSpec};
use crate::config::Settings;
use crate::error::{Error, Kind, Result};

/// Names and partition counts, Kafka's internal topics left out. Blocks.
pub fn topics_list(settings: &Settings) -> Result<Vec<(String, usize)>> {
    connect_kafka(settings)?.topics()
}

/// Creates the topic with `kafka.num_partitions`, `kafka.replication_factor` and `kafka.topic_config` if it is
/// missing; the second part says whether it was. Blocks.
pub fn topics_create(settings: &Settings, topic: Option<&str>) -> Result<(TopicDescription, bool)> {
    let kafka = settings.require_kafka()?;
    let mut cluster = connect_kafka(settings)?;
    let name = topic.unwrap_or(&kafka.topic).to_owned();
    let missing = cluster.describe(&name)?.is_none();
    let spec = TopicSpec {
        name,
        partitions: kafka.num_partitions,
        replication_factor: kafka.replication_factor,
        config: kafka.topic_config.clone(),
    };
    Ok((cluster.ensure_topic(&spec)?, missing))
}

/// One topic, as the cluster sees it.
#[derive(Clone, Debug)]
pub struct TopicDetails {
    pub topic: TopicDescription,
    pub bounds: Vec<Bounds>,
    /// What the configured consumer group has published, for lag.
    pub group: Vec<PartitionLag>,
    /// Effective settings, by name.
    pub config: BTreeMap<String, String>,
}

/// Describes a topic.  Blocks.
///
/// # Errors
/// `Broker` when it does not exist.
pub fn topics_describe(settings: &Settings, topic: Option<&str>) -> Result<TopicDetails> {
    let kafka = settings.require_kafka()?;
    let name = topic.unwrap_or(&kafka.topic);
    let mut cluster = connect_kafka(settings)?;
    let Some(topic) = cluster.describe(name)? else {
        return Err(Error::new(
            Kind::Broker,
            format!("kafka at `{}` has no topic `{name}`; `foodstream topics create` makes it", kafka.brokers),
        ));
    };
    Ok(TopicDetails {
        topic,
        bounds: cluster.bounds(name)?,
        group: cluster.group_lag(&kafka.consumer_group, name)?,
        config: cluster.topic_config(name)?,
    })
}
