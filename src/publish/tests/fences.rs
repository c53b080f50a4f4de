//! K5: an echo of our own past is passed over, a living second producer is not.

use std::sync::{Arc, Mutex};

use super::*;
use crate::broker::memory::Fault;

const TRANSACTIONAL_ID: &str = "foodstream-shop.public.orders-food_orders_raw";

/// The error by which a publisher learns that it was fenced.
fn fence_of(publisher: &mut TestPublisher) -> Error {
    let error = publish(publisher, 90..=90).unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced, "{error:?}");
    error
}

#[test]
fn of_two_publishers_with_one_id_the_silenced_one_gives_up() {
    let broker = MemoryBroker::new();
    let (mut first, _) = open(&broker, options()).unwrap();
    publish(&mut first, 1..=1).unwrap();
    let (mut second, start) = open(&broker, options()).unwrap();
    assert_eq!(start.cursor, cursor(1));
    publish(&mut second, 2..=2).unwrap();
    fence_of(&mut first);
    let error = first.recover().unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced);
    assert!(error.to_string().contains("cdc.pipeline_id"), "{error}");
    assert!(error.to_string().contains("2025-11-18 10:02:00"), "{error}");
    // And it has not disturbed the living one.
    publish(&mut second, 3..=3).unwrap();
    assert_eq!(published(&broker), [1, 2, 3]);
}

#[test]
fn a_fence_that_shows_while_rows_are_sent_is_judged_like_one_at_the_commit() {
    let broker = MemoryBroker::new();
    let (mut first, _) = open(&broker, options()).unwrap();
    first.append(&rows(1..=1)).unwrap();
    let (mut second, _) = open(&broker, options()).unwrap();
    publish(&mut second, 1..=1).unwrap();
    assert_eq!(first.append(&rows(2..=2)).unwrap_err().kind(), Kind::Fenced);
    assert_eq!(first.recover().unwrap_err().kind(), Kind::Fenced);
    assert_eq!(published(&broker), [1]);
}

#[test]
fn the_echo_of_its_own_past_lets_a_single_producer_go_on() {
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, options()).unwrap();
    publish(&mut publisher, 1..=1).unwrap();
    publisher.append(&rows(2..=2)).unwrap();
    broker.expire_transaction(TRANSACTIONAL_ID);
    assert_eq!(publisher.commit(TEN, 770).unwrap_err().kind(), Kind::Fenced);
    assert_eq!(publisher.recover().unwrap().cursor, cursor(1));
    publish(&mut publisher, 2..=2).unwrap();
    assert_eq!(published(&broker), [1, 2]);
}

#[test]
fn an_echo_before_the_first_commit_of_a_process_is_an_echo_too() {
    let broker = MemoryBroker::new();
    let (mut before, _) = open(&broker, options()).unwrap();
    publish(&mut before, 1..=1).unwrap();
    drop(before);
    let (mut publisher, _) = open(&broker, options()).unwrap();
    publisher.append(&rows(2..=2)).unwrap();
    broker.expire_transaction(TRANSACTIONAL_ID);
    assert_eq!(publisher.commit(TEN, 770).unwrap_err().kind(), Kind::Fenced);
    assert_eq!(publisher.recover().unwrap().cursor, cursor(1), "the record is the former process's, and no news");
    publish(&mut publisher, 2..=2).unwrap();
    assert_eq!(published(&broker), [1, 2]);
}

/// Published and fenced by nobody else, as often.
fn fence_repeatedly(publisher: &mut TestPublisher, broker: &MemoryBroker, times: usize) {
    for round in 1..=times as i64 {
        publish(publisher, round..=round).unwrap();
        broker.expire_transaction(TRANSACTIONAL_ID);
        fence_of(publisher);
        if round < times as i64 {
            publisher.recover().unwrap();
        }
    }
}

#[test]
fn many_fences_within_a_minute_are_another_living_producer() {
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, options()).unwrap();
    fence_repeatedly(&mut publisher, &broker, MAX_FENCES);
    let error = publisher.recover().unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced);
    assert!(error.to_string().contains("fenced 5 times within 60 s"), "{error}");
    assert!(publisher.recover().is_err(), "and it stays so");
}

#[test]
fn fences_long_ago_do_not_count() {
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, options()).unwrap();
    for round in 1..=2 * MAX_FENCES as i64 {
        publish(&mut publisher, round..=round).unwrap();
        broker.expire_transaction(TRANSACTIONAL_ID);
        fence_of(&mut publisher);
        publisher.recover().unwrap();
        publisher.fences.iter_mut().for_each(|at| *at -= FENCE_WINDOW);
    }
    assert_eq!(published(&broker), (1..=2 * MAX_FENCES as i64).collect::<Vec<_>>());
}

#[test]
fn of_two_publishers_that_fence_each_other_the_one_with_the_last_record_goes_on() {
    let broker = MemoryBroker::new();
    let (mut first, _) = open(&broker, options()).unwrap();
    publish(&mut first, 1..=1).unwrap();
    let (mut second, _) = open(&broker, options()).unwrap();
    publish(&mut second, 2..=2).unwrap();
    // The start of the first one asks twice, and fences the second one twice.
    for id in 3..=4 {
        broker.expire_transaction(TRANSACTIONAL_ID);
        fence_of(&mut second);
        second.recover().unwrap();
        publish(&mut second, id..=id).unwrap();
    }
    fence_of(&mut first);
    assert_eq!(first.recover().unwrap_err().kind(), Kind::Fenced);
    publish(&mut second, 5..=5).unwrap();
    assert_eq!(published(&broker), [1, 2, 3, 4, 5]);
}

#[test]
fn a_fence_is_still_judged_after_a_failed_attempt_to_recover() {
    let broker = MemoryBroker::new();
    let (mut first, _) = open(&broker, options()).unwrap();
    publish(&mut first, 1..=1).unwrap();
    let (mut second, _) = open(&broker, options()).unwrap();
    publish(&mut second, 2..=2).unwrap();
    fence_of(&mut first);
    broker.inject(Fault::ReadTimesOut);
    assert!(first.recover().unwrap_err().is_retriable());
    assert_eq!(first.recover().unwrap_err().kind(), Kind::Fenced);
    publish(&mut second, 3..=3).unwrap();
}

#[test]
fn a_record_that_another_writes_during_the_recovery_is_seen() {
    let broker = MemoryBroker::new();
    let other = Arc::new(Mutex::new(None::<TestPublisher>));
    let writes = other.clone();
    // The other publishes between the look at the cursor and the new instance's init.
    let (mut first, _) = open_with(&broker, options(), move || {
        if let Some(publisher) = writes.lock().unwrap().as_mut() {
            publish(publisher, 2..=2).unwrap();
        }
    })
    .unwrap();
    publish(&mut first, 1..=1).unwrap();
    *other.lock().unwrap() = Some(open(&broker, options()).unwrap().0);
    fence_of(&mut first);
    assert_eq!(first.recover().unwrap_err().kind(), Kind::Fenced);
    // The other one was disturbed once, and goes on.
    let mut second = other.lock().unwrap().take().unwrap();
    fence_of(&mut second);
    assert_eq!(second.recover().unwrap().cursor, cursor(2));
    publish(&mut second, 3..=3).unwrap();
    assert_eq!(published(&broker), [1, 2, 3]);
}
