//! The contract of `TransactionalProducer`.

use std::time::Duration;

use foodstream::broker::{Cluster, Outcome, TransactionalProducer};
use foodstream::error::Kind;

use super::{Harness, PATIENCE, all_values, committed, end, new_producer, numbered, publish, rows, topic, wait_for};

pub fn committed_records_are_read_in_the_order_of_sending<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let mut producer = new_producer(harness);
    publish(&mut producer, &topic.name, &numbered(0..50));
    publish(&mut producer, &topic.name, &numbered(50..100));
    let values: Vec<_> = committed(harness, &topic.name, 0).iter().map(|seen| seen.value_text().to_owned()).collect();
    assert_eq!(values, (0..100).map(|number| format!("value {number}")).collect::<Vec<_>>());
}

pub fn rows_with_one_key_go_to_one_partition<H: Harness>(harness: &H) {
    let topic = topic(harness, 3);
    let mut producer = new_producer(harness);
    let pairs = |round: usize| rows((0..20).map(move |key| (format!("key {key}"), format!("{round}"))));
    publish(&mut producer, &topic.name, &pairs(1));
    publish(&mut producer, &topic.name, &pairs(2));
    // A producer of another process must agree, or the order of a key is lost at a restart.
    publish(&mut new_producer(harness), &topic.name, &pairs(3));
    let mut used = 0;
    for partition in 0..3 {
        let records = committed(harness, &topic.name, partition);
        used += usize::from(!records.is_empty());
        for record in &records {
            let of_key: Vec<_> = records.iter().filter(|other| other.key == record.key).collect();
            let rounds: Vec<_> = of_key.iter().map(|seen| seen.value_text()).collect();
            assert_eq!(rounds, ["1", "2", "3"], "{record:?}");
        }
    }
    assert!(used > 1, "20 keys went to one of three partitions");
}

pub fn an_aborted_transaction_is_never_read<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let mut producer = new_producer(harness);
    producer.begin().unwrap();
    producer.send(&topic.name, &numbered(0..10)).unwrap();
    producer.abort(PATIENCE).unwrap();
    publish(&mut producer, &topic.name, &numbered(10..11));
    assert_eq!(all_values(harness, &topic), ["value 10"]);
}

pub fn the_same_instance_goes_on_after_an_abort<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let mut producer = new_producer(harness);
    for round in 0..3 {
        producer.begin().unwrap();
        producer.send(&topic.name, &numbered(0..1)).unwrap();
        producer.abort(PATIENCE).unwrap();
        publish(&mut producer, &topic.name, &rows([("k", format!("round {round}"))]));
    }
    assert_eq!(all_values(harness, &topic), ["round 0", "round 1", "round 2"]);
}

pub fn records_of_all_topics_of_a_transaction_become_visible_together<H: Harness>(harness: &H) {
    let (data, cursor) = (topic(harness, 2), topic(harness, 1));
    let mut producer = new_producer(harness);
    producer.begin().unwrap();
    producer.send(&data.name, &numbered(0..20)).unwrap();
    producer.send_one(&cursor.name, 0, b"pipeline", b"position 20").unwrap();
    wait_for("the cursor at the broker", || end(harness, &cursor.name, 0) > 0);
    let mut nothing = |message: foodstream::model::Message<'_>| panic!("visible before the commit: {message:?}");
    let open = harness.cluster().read_committed(&cursor.name, 0, 0, 1, Duration::from_millis(200), &mut nothing);
    assert!(open.unwrap_err().is_retriable());
    producer.commit(PATIENCE).unwrap();
    assert_eq!(all_values(harness, &cursor), ["position 20"]);
    assert_eq!(all_values(harness, &data).len(), 20);
    assert_eq!(committed(harness, &cursor.name, 0)[0].key.as_deref(), Some(&b"pipeline"[..]));
}

pub fn init_fences_the_producer_before<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let id = harness.fresh("fenced");
    let mut first = harness.producer(&id);
    first.init(PATIENCE).unwrap();
    first.begin().unwrap();
    first.send(&topic.name, &numbered(0..10)).unwrap();
    wait_for("the rows at the broker", || end(harness, &topic.name, 0) > 0);
    let mut second = harness.producer(&id);
    second.init(PATIENCE).unwrap();
    let uncommitted = first.commit(PATIENCE).unwrap_err();
    assert_eq!(uncommitted.outcome, Outcome::Fenced, "{:?}", uncommitted.error);
    assert_eq!(uncommitted.error.kind(), Kind::Fenced);
    publish(&mut second, &topic.name, &numbered(10..11));
    assert_eq!(all_values(harness, &topic), ["value 10"]);
}

pub fn init_ends_what_the_producer_before_left_open<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let id = harness.fresh("left-open");
    let mut first = harness.producer(&id);
    first.init(PATIENCE).unwrap();
    first.begin().unwrap();
    first.send(&topic.name, &numbered(0..10)).unwrap();
    wait_for("the rows at the broker", || end(harness, &topic.name, 0) > 0);
    drop(first);
    harness.producer(&id).init(PATIENCE).unwrap();
    assert_eq!(all_values(harness, &topic), [""; 0], "and the end can be read");
}

pub fn a_fenced_producer_cannot_publish_any_more<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let id = harness.fresh("zombie");
    let mut zombie = harness.producer(&id);
    zombie.init(PATIENCE).unwrap();
    publish(&mut zombie, &topic.name, &numbered(0..1));
    let mut living = harness.producer(&id);
    living.init(PATIENCE).unwrap();
    // The fence may show at any of the three calls, but never as a success.
    let fenced = zombie
        .begin()
        .and_then(|()| zombie.send(&topic.name, &numbered(1..2)))
        .and_then(|()| zombie.commit(PATIENCE).map_err(|uncommitted| uncommitted.error));
    assert_eq!(fenced.unwrap_err().kind(), Kind::Fenced);
    publish(&mut living, &topic.name, &numbered(2..3));
    assert_eq!(all_values(harness, &topic), ["value 0", "value 2"]);
}
