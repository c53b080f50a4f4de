//! The contract of `Cluster`.

use std::collections::BTreeMap;
use std::time::Duration;

use foodstream::broker::{Cluster, TopicSpec, TransactionalProducer};
use foodstream::error::Kind;

use super::{Harness, PATIENCE, committed, committed_between, end, new_producer, numbered, publish, topic, wait_for};

pub fn a_missing_topic_is_described_as_none<H: Harness>(harness: &H) {
    let name = harness.fresh("missing");
    let mut cluster = harness.cluster();
    assert_eq!(cluster.describe(&name).unwrap(), None);
    assert_eq!(cluster.describe(&name).unwrap(), None, "and asking did not create it");
}

pub fn a_topic_is_made_once_and_with_its_settings<H: Harness>(harness: &H) {
    let config = BTreeMap::from([
        ("cleanup.policy".to_owned(), "compact".to_owned()),
        ("segment.bytes".to_owned(), "1048576".to_owned()),
    ]);
    let spec = TopicSpec { name: harness.fresh("settings"), partitions: 3, replication_factor: 1, config };
    let mut cluster = harness.cluster();
    let made = cluster.ensure_topic(&spec).unwrap();
    assert_eq!((made.name.as_str(), made.partitions), (spec.name.as_str(), 3));
    assert!(!made.id.is_empty());
    let other = TopicSpec { partitions: 1, config: BTreeMap::new(), ..spec.clone() };
    assert_eq!(cluster.ensure_topic(&other).unwrap(), made, "what is there stays as it is");
    assert_eq!(cluster.describe(&spec.name).unwrap(), Some(made));
    let effective = cluster.topic_config(&spec.name).unwrap();
    for (name, value) in &spec.config {
        assert_eq!(effective.get(name), Some(value));
    }
    assert_eq!(cluster.topic_config(&topic(harness, 1).name).unwrap()["cleanup.policy"], "delete");
}

pub fn a_topic_made_anew_has_another_id<H: Harness>(harness: &H) {
    let before = topic(harness, 1);
    harness.append(&before.name, 0, None, Some(b"old"));
    harness.delete_topic(&before.name);
    let mut cluster = harness.cluster();
    wait_for("the topic to be gone", || cluster.describe(&before.name).unwrap().is_none());
    let spec = TopicSpec { name: before.name.clone(), partitions: 1, replication_factor: 1, config: BTreeMap::new() };
    let after = cluster.ensure_topic(&spec).unwrap();
    assert_ne!(after.id, before.id);
    assert_eq!(end(harness, &after.name, 0), 0);
}

pub fn ends_count_uncommitted_records_and_control_records<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let mut producer = new_producer(harness);
    assert_eq!(end(harness, &topic.name, 0), 0);
    producer.begin().unwrap();
    producer.send(&topic.name, &numbered(0..3)).unwrap();
    wait_for("three uncommitted records", || end(harness, &topic.name, 0) == 3);
    producer.commit(PATIENCE).unwrap();
    wait_for("the control record", || end(harness, &topic.name, 0) == 4);
    producer.begin().unwrap();
    producer.send(&topic.name, &numbered(0..3)).unwrap();
    wait_for("three more", || end(harness, &topic.name, 0) == 7);
    producer.abort(PATIENCE).unwrap();
    wait_for("the control record of the abort", || end(harness, &topic.name, 0) == 8);
    harness.delete_records(&topic.name, 0, 2);
    let bounds = harness.cluster().bounds(&topic.name).unwrap();
    assert_eq!((bounds[0].partition, bounds[0].earliest, bounds[0].end), (0, 2, 8));
}

pub fn a_bounded_read_passes_control_records_and_keeps_its_bounds<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let mut producer = new_producer(harness);
    // Offsets 0..3 and a control record, an aborted 4..6 and its control record, 7..9 and a control record.
    publish(&mut producer, &topic.name, &numbered(0..3));
    producer.begin().unwrap();
    producer.send(&topic.name, &numbered(3..5)).unwrap();
    wait_for("the rows to be aborted", || end(harness, &topic.name, 0) == 6);
    producer.abort(PATIENCE).unwrap();
    publish(&mut producer, &topic.name, &numbered(5..7));
    assert_eq!(end(harness, &topic.name, 0), 10);
    let offsets = |from, until| -> Vec<i64> {
        committed_between(harness, &topic.name, 0, from, until).iter().map(|seen| seen.offset).collect()
    };
    assert_eq!(offsets(0, 10), [0, 1, 2, 7, 8]);
    assert_eq!(offsets(1, 8), [1, 2, 7]);
    assert_eq!(offsets(3, 7), [0_i64; 0]);
    assert_eq!(offsets(9, 10), [0_i64; 0], "only the last control record");
    assert_eq!(offsets(4, 4), [0_i64; 0]);
}

pub fn a_bounded_read_behind_an_open_transaction_times_out<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let mut producer = new_producer(harness);
    publish(&mut producer, &topic.name, &numbered(0..1));
    producer.begin().unwrap();
    producer.send(&topic.name, &numbered(1..2)).unwrap();
    wait_for("the open record", || end(harness, &topic.name, 0) == 3);
    let until = |until, timeout| harness.cluster().read_committed(&topic.name, 0, 0, until, timeout, &mut |_| Ok(()));
    let error = until(3, Duration::from_millis(300)).unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (Kind::Broker, true), "{error:?}");
    until(2, PATIENCE).unwrap();
    producer.commit(PATIENCE).unwrap();
    until(3, PATIENCE).unwrap();
}

pub fn offsets_are_found_by_time<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    for number in 0..3 {
        harness.append(&topic.name, 0, None, Some(format!("{number}").as_bytes()));
    }
    let mut cluster = harness.cluster();
    let mut at = |timestamp_ms| cluster.offsets_at(&topic.name, timestamp_ms).unwrap()[0].offset;
    let records = committed(harness, &topic.name, 0);
    assert_eq!(at(0), 0);
    assert_eq!(at(records[2].timestamp_ms + 3_600_000), 3, "the end where there is none");
    for record in &records {
        let expected = records.iter().find(|other| other.timestamp_ms >= record.timestamp_ms).unwrap();
        assert_eq!(at(record.timestamp_ms), expected.offset);
    }
}
