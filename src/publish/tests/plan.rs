//! A plan fences nobody: what a living producer does between two looks is no contradiction.

use super::*;
use crate::broker::{Bounds, TopicDescription};
use crate::model::{Message, PartitionOffset};

/// The cluster of somebody who looks slowly: `then` happens behind the first look at the ends of a topic.
struct Slow {
    cluster: MemoryCluster,
    topic: &'static str,
    then: Option<Box<dyn FnOnce() + Send>>,
}

impl Cluster for Slow {
    fn describe(&mut self, topic: &str) -> Result<Option<TopicDescription>> {
        let found = self.cluster.describe(topic);
        if found.as_ref().is_ok_and(Option::is_none) && topic == self.topic {
            self.pass();
        }
        found
    }

    fn ensure_topic(&mut self, spec: &TopicSpec) -> Result<TopicDescription> {
        self.cluster.ensure_topic(spec)
    }

    fn topic_config(&mut self, topic: &str) -> Result<BTreeMap<String, String>> {
        self.cluster.topic_config(topic)
    }

    fn bounds(&mut self, topic: &str) -> Result<Vec<Bounds>> {
        let found = self.cluster.bounds(topic);
        if topic == self.topic {
            self.pass();
        }
        found
    }

    fn offsets_at(&mut self, topic: &str, timestamp_ms: i64) -> Result<Vec<PartitionOffset>> {
        self.cluster.offsets_at(topic, timestamp_ms)
    }

    fn read_committed(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
        until: i64,
        timeout: Duration,
        each: &mut dyn FnMut(Message<'_>) -> Result<()>,
    ) -> Result<()> {
        self.cluster.read_committed(topic, partition, from, until, timeout, each)
    }
}

impl Slow {
    fn pass(&mut self) {
        if let Some(then) = self.then.take() {
            then();
        }
    }
}

#[test]
fn a_commit_of_a_living_producer_between_two_looks_is_no_contradiction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.txt");
    let broker = MemoryBroker::new();
    let (mut living, _) = open(&broker, with_state_file(&path)).unwrap();
    publish(&mut living, 1..=2).unwrap();
    let then = Box::new(move || publish(&mut living, 3..=3).map(drop).unwrap());
    let mut cluster = Slow { cluster: broker.cluster(), topic: CURSOR_TOPIC, then: Some(then) };
    let found = plan(&mut cluster, &with_state_file(&path)).unwrap();
    assert_eq!((found.start.cursor, found.start.origin), (cursor(3), StartOrigin::CursorTopic));
}

#[test]
fn the_first_start_of_another_between_two_looks_is_no_contradiction() {
    let broker = MemoryBroker::new();
    let others = broker.clone();
    broker.create_topic(&options().topic);
    let then = Box::new(move || {
        let (mut first, _) = open(&others, options()).unwrap();
        publish(&mut first, 1..=2).unwrap();
    });
    let mut cluster = Slow { cluster: broker.cluster(), topic: CURSOR_TOPIC, then: Some(then) };
    let found = plan(&mut cluster, &options()).unwrap();
    assert_eq!((found.start.cursor, found.cursor_topic_missing), (cursor(2), false));
}

#[test]
fn a_contradiction_that_stays_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.txt");
    let broker = MemoryBroker::new();
    let (mut living, _) = open(&broker, with_state_file(&path)).unwrap();
    publish(&mut living, 1..=2).unwrap();
    state_file::write(&path, cursor(9)).unwrap();
    let error = plan(&mut broker.cluster(), &with_state_file(&path)).unwrap_err();
    assert_eq!(error.kind(), Kind::DataLoss);
    assert!(error.to_string().contains("state file"), "{error}");
}
