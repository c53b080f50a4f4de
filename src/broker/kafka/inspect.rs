//! What `doctor` asks of a cluster beyond the pipeline's own questions: copies, members of a group, a broker's settings.
//! Joins no group and moves no position.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::admin::KafkaCluster;
use super::config;
use super::native::{Failure, SettingsOf};
use crate::error::{Error, Result};

/// The copies of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionCopies {
    pub partition: i32,
    pub replicas: usize,
    pub in_sync: usize,
    /// A broker leads it: it can be read and written.
    pub led: bool,
}

/// How long the broker keeps a transaction of the producer open without hearing of it.
pub fn transaction_timeout() -> Duration {
    Duration::from_millis(config::TRANSACTION_TIMEOUT_MS.parse().expect("the constant is a number"))
}

impl KafkaCluster {
    /// Where the copies of a topic's partitions are, in their order.
    pub fn copies(&mut self, topic: &str) -> Result<Vec<PartitionCopies>> {
        let answer = self.handle.client().fetch_metadata(Some(topic), self.timeout);
        let metadata = answer.map_err(|error| self.wrapped(&format!("asking about topic `{topic}`"), &error))?;
        let partitions = metadata.topics().iter().find(|found| found.name() == topic).map(|found| found.partitions());
        let mut copies: Vec<PartitionCopies> = partitions
            .into_iter()
            .flatten()
            .map(|partition| PartitionCopies {
                partition: partition.id(),
                replicas: partition.replicas().len(),
                in_sync: partition.isr().len(),
                led: partition.leader() >= 0,
            })
            .collect();
        copies.sort_unstable_by_key(|copy| copy.partition);
        Ok(copies)
    }

    /// How many consumers are in a group at this moment; none where nobody knows the group.
    pub fn group_members(&mut self, group: &str) -> Result<usize> {
        let answer = self.handle.client().fetch_group_list(Some(group), self.timeout);
        let list = answer.map_err(|error| self.wrapped(&format!("asking about group `{group}`"), &error))?;
        let known = list.groups().iter().find(|found| found.name() == group);
        Ok(known.map_or(0, |found| found.members().len()))
    }

    /// The effective settings of one broker, by name; a secret's value is empty.
    pub fn broker_config(&mut self, id: i32) -> Result<BTreeMap<String, String>> {
        let settings = self.handle.settings(&SettingsOf::Broker(id), self.timeout);
        let settings =
            settings.map_err(|failure| self.failed(&format!("reading the settings of broker {id}"), &failure))?;
        Ok(settings.into_iter().collect())
    }

    fn wrapped(&self, doing: &str, error: &KafkaError) -> Error {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        self.failed(doing, &Failure { code, text: error.to_string() })
    }
}
