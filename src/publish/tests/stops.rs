//! A stop at every step of a start and of a transaction, and what the next start finds.

use super::*;
use crate::failpoints::{PUBLISH_START, PUBLISH_TRANSACTION, armed};

/// The points that a start passes which publishes its first position.
const FIRST_POSITION: [&str; 5] = [
    failpoints::PUBLISH_FENCED,
    failpoints::PUBLISH_POSITION_KNOWN,
    failpoints::PUBLISH_CURSOR_QUEUED,
    failpoints::PUBLISH_DELIVERED,
    failpoints::PUBLISH_COMMITTED,
];

fn is_committed_at(point: &str) -> bool {
    let order = |point| PUBLISH_TRANSACTION.iter().position(|&known| known == point);
    order(point) >= order(failpoints::PUBLISH_COMMITTED)
}

#[test]
fn a_stop_at_any_step_of_a_transaction_publishes_its_rows_once() {
    // The page is read by whoever calls the publisher; `replicate` stops there.
    for point in PUBLISH_TRANSACTION.into_iter().filter(|&point| point != failpoints::PUBLISH_PAGE_READ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.txt");
        let broker = MemoryBroker::new();
        let (mut publisher, _) = open(&broker, with_state_file(&path)).unwrap();
        publish(&mut publisher, 1..=2).unwrap();
        let stop = armed(point, 0);
        assert!(publish(&mut publisher, 3..=4).is_err(), "{point} was not reached");
        drop(stop);
        drop(publisher);

        let last = if is_committed_at(point) { 4 } else { 2 };
        let replaced = point == failpoints::PUBLISH_STATE_REPLACED;
        assert_eq!(state(&path), cursor(if replaced { 4 } else { 2 }).to_string(), "{point}: the file follows");
        let (mut publisher, start) = open(&broker, with_state_file(&path)).unwrap();
        assert_eq!((start.cursor, start.rows_published), (cursor(last), last as u64), "{point}");
        assert_eq!(start.origin, StartOrigin::CursorTopic, "{point}");
        assert_eq!(published(&broker), (1..=last).collect::<Vec<_>>(), "{point}: all of it or nothing");
        assert_eq!(state(&path), cursor(last).to_string(), "{point}: the file has caught up");
        publish(&mut publisher, last + 1..=5).unwrap();
        assert_eq!(published(&broker), [1, 2, 3, 4, 5], "{point}");
    }
}

#[test]
fn a_stop_between_the_pages_of_a_transaction_publishes_none_of_them() {
    for pages in 0..3 {
        let broker = MemoryBroker::new();
        let (mut publisher, _) = open(&broker, options()).unwrap();
        let stop = armed(failpoints::PUBLISH_ROWS_QUEUED, pages);
        let appended = (1..=3).map_while(|id| publisher.append(&rows(id..=id)).ok()).count();
        assert_eq!(appended, pages as usize);
        drop(stop);
        drop(publisher);
        let (mut publisher, start) = open(&broker, options()).unwrap();
        assert_eq!(start.cursor, options().default_start);
        publish(&mut publisher, 1..=3).unwrap();
        assert_eq!(published(&broker), [1, 2, 3]);
    }
}

#[test]
fn after_a_stop_that_the_process_survives_the_position_is_read_back() {
    for point in [failpoints::PUBLISH_ROWS_QUEUED, failpoints::PUBLISH_DELIVERED, failpoints::PUBLISH_COMMITTED] {
        let broker = MemoryBroker::new();
        let (mut publisher, _) = open(&broker, options()).unwrap();
        let stop = armed(point, 0);
        publish(&mut publisher, 1..=2).unwrap_err();
        drop(stop);
        let start = publisher.recover().unwrap();
        let next = if is_committed_at(point) { 3 } else { 1 };
        assert_eq!(start.rows_published, next as u64 - 1, "{point}");
        publish(&mut publisher, next..=4).unwrap();
        assert_eq!(published(&broker), [1, 2, 3, 4], "{point}");
    }
}

#[test]
fn a_first_start_cut_at_any_step_is_a_first_start_or_a_later_one_and_starts_at_the_same_position() {
    for point in FIRST_POSITION {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.txt");
        state_file::write(&path, cursor(7)).unwrap();
        let broker = MemoryBroker::new();
        let stop = armed(point, 0);
        refused(&broker, with_state_file(&path));
        drop(stop);
        assert_eq!(state(&path), cursor(7).to_string(), "{point}");
        let (mut publisher, start) = open(&broker, with_state_file(&path)).unwrap();
        let recorded = point == failpoints::PUBLISH_COMMITTED;
        let origin = if recorded { StartOrigin::CursorTopic } else { StartOrigin::StateFile };
        assert_eq!((start.cursor, start.origin, start.first), (cursor(7), origin, cursor(7)), "{point}");
        publish(&mut publisher, 8..=9).unwrap();
        assert_eq!(published(&broker), [8, 9], "{point}");
    }
}

#[test]
fn a_start_cut_after_its_fence_lets_the_living_producer_go_on() {
    for point in PUBLISH_START {
        let broker = MemoryBroker::new();
        let (mut living, _) = open(&broker, options()).unwrap();
        publish(&mut living, 1..=2).unwrap();
        let stop = armed(point, 0);
        refused(&broker, options());
        drop(stop);
        assert_eq!(publish(&mut living, 3..=4).unwrap_err().kind(), Kind::Fenced, "{point}");
        assert_eq!(living.recover().unwrap().cursor, cursor(2), "{point}: nobody else has published");
        publish(&mut living, 3..=4).unwrap();
        assert_eq!(published(&broker), [1, 2, 3, 4], "{point}");
    }
}
