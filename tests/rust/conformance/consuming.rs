//! The contract of `GroupConsumer`.

use std::time::{Duration, Instant};

use foodstream::broker::{Event, GroupConsumer, TransactionalProducer};
use foodstream::error::{Error, Kind};
use foodstream::model::{MessageBatch, PartitionOffset};

use super::{
    Harness, Member, PATIENCE, committed, end, joined, new_producer, numbered, publish, rows, topic, wait_for,
};

fn at(partition: i32, offset: i64) -> PartitionOffset {
    PartitionOffset { partition, offset }
}

/// Polls until an error comes.
fn error_of<C: GroupConsumer>(member: &mut Member<C>) -> Error {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "no error within {PATIENCE:?}; seen: {:?}", member.seen);
        if let Err(error) = member.poll() {
            return error;
        }
    }
}

pub fn nothing_is_read_before_positions_are_assigned<H: Harness>(harness: &H) {
    let topic = topic(harness, 2);
    publish(&mut new_producer(harness), &topic.name, &numbered(0..20));
    let mut consumer = harness.consumer(&harness.fresh("group"), &topic.name);
    let mut batch = MessageBatch::default();
    let begun = Instant::now();
    let assigned = loop {
        assert!(begun.elapsed() < PATIENCE, "no assignment");
        let events = consumer.poll(&mut batch, 100, 1 << 20, Duration::from_millis(50)).unwrap();
        if let Some(Event::Assigned(partitions)) = events.first() {
            break partitions.clone();
        }
    };
    let mut sorted = assigned;
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 1]);
    for _ in 0..3 {
        consumer.poll(&mut batch, 100, 1 << 20, Duration::from_millis(50)).unwrap();
    }
    assert!(batch.is_empty(), "read without positions");
    consumer.assign(&[at(0, 0), at(1, 0)]).unwrap();
    wait_for("the records", || {
        consumer.poll(&mut batch, 100, 1 << 20, Duration::from_millis(50)).unwrap();
        batch.len() == 20
    });
}

pub fn reading_starts_at_the_assigned_offsets<H: Harness>(harness: &H) {
    let topic = topic(harness, 2);
    for partition in 0..2 {
        for number in 0..10 {
            harness.append(&topic.name, partition, None, Some(format!("{partition}-{number}").as_bytes()));
        }
    }
    let mut member = joined(harness, &topic.name, &[(0, 3), (1, 10)]);
    member.poll_to_ends(&[(0, 10), (1, 10)]);
    assert_eq!(member.seen_offsets(0), (3..10).collect::<Vec<_>>());
    assert_eq!(member.seen_offsets(1), [0_i64; 0]);
    assert_eq!(member.seen[0].value_text(), "0-3");
    harness.append(&topic.name, 1, Some(b"key"), Some(b"late"));
    member.poll_to_ends(&[(1, 11)]);
    let last = member.seen.last().unwrap();
    assert_eq!((last.offset, last.key.as_deref(), last.value_text()), (10, Some(&b"key"[..]), "late"));
    assert_eq!(last, committed(harness, &topic.name, 1).last().unwrap(), "also its time");
}

pub fn the_end_lies_past_control_and_aborted_records<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let mut producer = new_producer(harness);
    publish(&mut producer, &topic.name, &numbered(0..3));
    producer.begin().unwrap();
    producer.send(&topic.name, &numbered(3..5)).unwrap();
    wait_for("the rows to be aborted", || end(harness, &topic.name, 0) == 6);
    producer.abort(PATIENCE).unwrap();
    let mut member = joined(harness, &topic.name, &[]);
    member.poll_to_ends(&[(0, 7)]);
    assert_eq!(member.seen_offsets(0), [0, 1, 2]);
    let mut at_the_end = joined(harness, &topic.name, &[(0, 6)]);
    at_the_end.poll_to_ends(&[(0, 7)]);
    assert!(at_the_end.seen.is_empty());
}

pub fn the_end_lies_before_an_open_transaction<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let mut producer = new_producer(harness);
    publish(&mut producer, &topic.name, &numbered(0..2));
    producer.begin().unwrap();
    producer.send(&topic.name, &numbered(2..3)).unwrap();
    wait_for("the open record", || end(harness, &topic.name, 0) == 4);
    // Committed behind the open one: it has to wait.
    publish(&mut new_producer(harness), &topic.name, &numbered(3..4));
    let mut member = joined(harness, &topic.name, &[]);
    member.poll_to_ends(&[(0, 3)]);
    assert_eq!(member.seen_offsets(0), [0, 1]);
    producer.commit(PATIENCE).unwrap();
    let end = end(harness, &topic.name, 0);
    member.poll_to_ends(&[(0, end)]);
    assert_eq!(member.seen_offsets(0), [0, 1, 3, 4]);
}

pub fn each_end_is_reported_again_after_it_moved<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let mut member = joined(harness, &topic.name, &[]);
    member.poll_to_ends(&[(0, 0)]);
    let mut producer = new_producer(harness);
    for round in 1..=3 {
        publish(&mut producer, &topic.name, &numbered(0..1));
        member.poll_to_ends(&[(0, 2 * round)]);
    }
    // Only a control record: no message comes with this end.
    producer.begin().unwrap();
    producer.send(&topic.name, &numbered(0..1)).unwrap();
    wait_for("the row to be aborted", || end(harness, &topic.name, 0) == 7);
    producer.abort(PATIENCE).unwrap();
    member.poll_to_ends(&[(0, 8)]);
    assert_eq!(member.seen_offsets(0), [0, 2, 4]);
    member.consumer.seek(&[at(0, 8)]).unwrap();
    member.ends.clear();
    member.poll_to_ends(&[(0, 8)]);
}

pub fn a_poll_keeps_its_limits<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let kilobyte = "x".repeat(1_000);
    publish(&mut new_producer(harness), &topic.name, &rows((0..100).map(|key| (key.to_string(), &kilobyte))));
    let mut member = joined(harness, &topic.name, &[]);
    wait_for("ten records, three at a time", || {
        member.poll_at_most(3).unwrap();
        member.seen.len() >= 10
    });
    let mut batch = MessageBatch::default();
    wait_for("records by bytes", || {
        let before = batch.len();
        member.consumer.poll(&mut batch, 100, 5_000, Duration::from_millis(50)).unwrap();
        assert!(batch.len() - before <= 10, "{} records of a kilobyte for 5 kB", batch.len() - before);
        batch.len() >= 20
    });
    // What was left out is not lost.
    let read = member.seen.len() + batch.len();
    member.poll_to_ends(&[(0, 101)]);
    assert_eq!(member.seen.len() + batch.len(), 100);
    assert_eq!(member.seen.last().unwrap().offset, 99);
    assert!(read < 100);
}

pub fn a_seek_hands_out_nothing_from_before_it<H: Harness>(harness: &H) {
    let topic = topic(harness, 2);
    for number in 0..300 {
        for partition in 0..2 {
            harness.append(&topic.name, partition, None, Some(format!("{number}").as_bytes()));
        }
    }
    let mut member = joined(harness, &topic.name, &[]);
    for (back, forward) in [(0, 200), (10, 290), (0, 150)] {
        member.consumer.seek(&[at(0, forward), at(1, forward)]).unwrap();
        member.seen.clear();
        member.poll_until("records after the seek", |member| !member.seen.is_empty());
        let early = member.seen.iter().find(|seen| seen.offset < forward);
        assert!(early.is_none(), "{early:?} came after a seek to {forward}");
        member.consumer.seek(&[at(0, back), at(1, back)]).unwrap();
        member.seen.clear();
        member.ends.clear();
        member.poll_to_ends(&[(0, 300), (1, 300)]);
        for partition in 0..2 {
            assert_eq!(member.seen_offsets(partition), (back..300).collect::<Vec<_>>());
        }
    }
}

pub fn nulls_are_not_empty_bytes<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    let records = [(None, Some("value")), (Some(""), Some("")), (Some("key"), None), (None, None)];
    for (key, value) in records {
        harness.append(&topic.name, 0, key.map(str::as_bytes), value.map(str::as_bytes));
    }
    let mut member = joined(harness, &topic.name, &[]);
    member.poll_to_ends(&[(0, 4)]);
    assert_eq!(member.seen, committed(harness, &topic.name, 0));
    let text = |bytes: &Option<Vec<u8>>| bytes.clone().map(|bytes| String::from_utf8(bytes).unwrap());
    let seen: Vec<_> = member.seen.iter().map(|seen| (text(&seen.key), text(&seen.value))).collect();
    assert_eq!(seen, records.map(|(key, value)| (key.map(str::to_owned), value.map(str::to_owned))));
}

pub fn deleted_offsets_are_a_loss_and_not_a_reset<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    for number in 0..10 {
        harness.append(&topic.name, 0, None, Some(format!("{number}").as_bytes()));
    }
    harness.delete_records(&topic.name, 0, 6);
    let mut member = joined(harness, &topic.name, &[(0, 2)]);
    let error = error_of(&mut member);
    assert_eq!((error.kind(), error.is_retriable()), (Kind::DataLoss, false), "{error:?}");
    assert!(error.to_string().contains(&topic.name), "{error}");
    assert!(error.to_string().contains("[2, 6)"), "{error}");
    assert!(member.seen.is_empty());
    member.consumer.seek(&[at(0, 6)]).unwrap();
    member.poll_to_ends(&[(0, 10)]);
    assert_eq!(member.seen_offsets(0), [6, 7, 8, 9]);
}

pub fn offsets_past_the_end_are_a_loss_and_not_a_reset<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    harness.append(&topic.name, 0, None, Some(b"0"));
    let mut member = joined(harness, &topic.name, &[(0, 7)]);
    let error = error_of(&mut member);
    assert_eq!((error.kind(), error.is_retriable()), (Kind::DataLoss, false), "{error:?}");
    assert!(error.to_string().contains("[1, 7)"), "{error}");
    assert!(member.seen.is_empty());
}

/// Polls both until each has a share and the shares make up the topic.
fn share<C: GroupConsumer>(one: &mut Member<C>, other: &mut Member<C>, partitions: usize) {
    wait_for("two shares", || {
        one.poll().unwrap();
        other.poll().unwrap();
        match (&one.assigned, &other.assigned) {
            (Some(one), Some(other)) => !one.is_empty() && !other.is_empty() && one.len() + other.len() == partitions,
            _ => false,
        }
    });
}

pub fn members_share_the_partitions_without_overlap<H: Harness>(harness: &H) {
    let topic = topic(harness, 4);
    let group = harness.fresh("group");
    let mut first = Member::new(harness.consumer(&group, &topic.name));
    first.poll_until("the whole topic", |member| member.assigned.as_ref().is_some_and(|all| all.len() == 4));
    let mut second = Member::new(harness.consumer(&group, &topic.name));
    share(&mut first, &mut second, 4);
    assert_eq!(first.revocations, 1, "everybody lets go before anybody is given");
    let mut all = [first.assigned.clone().unwrap(), second.assigned.clone().unwrap()].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    for number in 0..40 {
        harness.append(&topic.name, number % 4, None, Some(b"shared"));
    }
    wait_for("the end of both shares", || {
        first.poll().unwrap();
        second.poll().unwrap();
        first.seen.len() + second.seen.len() >= 40
    });
    for partition in 0..4 {
        let (owner, other) = match first.assigned.as_ref().unwrap().contains(&partition) {
            true => (&first, &second),
            false => (&second, &first),
        };
        assert_eq!(owner.seen_offsets(partition), (0..10).collect::<Vec<_>>());
        assert_eq!(other.seen_offsets(partition), [0_i64; 0]);
    }
}

pub fn who_leaves_gives_its_partitions_to_the_others<H: Harness>(harness: &H) {
    let topic = topic(harness, 2);
    let group = harness.fresh("group");
    let mut first = Member::new(harness.consumer(&group, &topic.name));
    let mut second = Member::new(harness.consumer(&group, &topic.name));
    share(&mut first, &mut second, 2);
    first.consumer.close();
    second.poll_until("the whole topic", |member| member.assigned.as_ref().is_some_and(|all| all.len() == 2));
    harness.append(&topic.name, 0, None, Some(b"0"));
    harness.append(&topic.name, 1, None, Some(b"1"));
    second.poll_to_ends(&[(0, 1), (1, 1)]);
    assert_eq!(second.seen.len(), 2);
}

pub fn published_offsets_are_no_positions<H: Harness>(harness: &H) {
    let topic = topic(harness, 1);
    for _ in 0..5 {
        harness.append(&topic.name, 0, None, Some(b"again"));
    }
    let group = harness.fresh("group");
    let mut first = Member::new(harness.consumer(&group, &topic.name));
    first.poll_to_ends(&[(0, 5)]);
    first.consumer.publish_offsets(&[at(0, 5)]).unwrap();
    first.consumer.close();
    let mut second = Member::new(harness.consumer(&group, &topic.name)).starting_at([(0, 1)]);
    second.poll_to_ends(&[(0, 5)]);
    assert_eq!(second.seen_offsets(0), [1, 2, 3, 4]);
}
