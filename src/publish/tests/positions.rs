//! K6: the state file, positions without a cursor record, and the at-least-once mode.

use super::*;

#[test]
fn the_state_file_follows_each_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lastprocess").join("last_processed_timestamp.txt");
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, with_state_file(&path)).unwrap();
    assert!(!path.exists(), "a first start has published nothing yet");
    for last in [10, 11, 25] {
        publish(&mut publisher, last..=last).unwrap();
        assert_eq!(state(&path), cursor(last).to_string());
    }
    // An older one, which a zombie wrote late, is tolerated.
    state_file::write(&path, cursor(11)).unwrap();
    let (_, start) = open(&broker, with_state_file(&path)).unwrap();
    assert_eq!((start.cursor, start.origin), (cursor(25), StartOrigin::CursorTopic));
}

#[test]
fn a_state_file_that_cannot_be_written_stops_with_its_name_after_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.txt");
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, with_state_file(&path)).unwrap();
    std::fs::create_dir_all(path.join("in the way")).unwrap();
    let error = publish(&mut publisher, 1..=1).unwrap_err();
    assert!(error.to_string().contains("state.txt") && !error.is_retriable(), "{error:?}");
    std::fs::remove_dir_all(&path).unwrap();
    assert_eq!(publisher.recover().unwrap().cursor, cursor(1), "the record is the truth");
}

#[test]
fn an_older_pipelines_state_file_is_adopted() {
    for (line, expected) in [
        ("2025-11-18 10:07:00.000000|7", cursor(7)),
        ("2025-11-18 10:07:00", Cursor { key: None, ..cursor(7) }),
        ("2025-11-18T10:07:00Z", Cursor { key: None, ..cursor(7) }),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.txt");
        std::fs::write(&path, line).unwrap();
        let broker = MemoryBroker::new();
        let (mut publisher, start) = open(&broker, with_state_file(&path)).unwrap();
        assert_eq!((start.cursor, start.origin, start.first), (expected, StartOrigin::StateFile, expected));
        // From now on the record is the truth, also if the file is lost.
        publish(&mut publisher, 8..=8).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (_, again) = open(&broker, with_state_file(&path)).unwrap();
        assert_eq!((again.cursor, again.origin, again.first), (cursor(8), StartOrigin::CursorTopic, expected));
    }
}

#[test]
fn a_torn_state_file_stops_a_first_start_and_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.txt");
    std::fs::write(&path, "2025-11-").unwrap();
    let broker = MemoryBroker::new();
    let error = refused(&broker, with_state_file(&path));
    assert!(error.to_string().contains("--start-from"), "{error}");
    std::fs::remove_file(&path).unwrap();
    let (mut publisher, _) = open(&broker, with_state_file(&path)).unwrap();
    publish(&mut publisher, 1..=1).unwrap();
    std::fs::write(&path, "").unwrap();
    refused(&broker, with_state_file(&path));
    let (_, start) = open(&broker, PublisherOptions { adopt: true, ..with_state_file(&path) }).unwrap();
    assert_eq!(start.cursor, cursor(1));
    assert_eq!(state(&path), cursor(1).to_string(), "replaced, so that the next start needs no flag");
}

#[test]
fn a_topic_with_messages_and_no_cursor_wants_a_state_file_that_covers_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.txt");
    let broker = MemoryBroker::new();
    topic_with(&broker, 1..=9);
    let error = refused(&broker, with_state_file(&path));
    assert_eq!(error.kind(), Kind::DataLoss);
    assert!(error.to_string().contains("2025-11-18 10:09:00.000000|9"), "{error}");
    assert!(error.to_string().contains("--adopt"), "{error}");
    state_file::write(&path, cursor(8)).unwrap();
    assert_eq!(refused(&broker, with_state_file(&path)).kind(), Kind::DataLoss);
    assert!(cursor_records(&broker).is_empty(), "a refused start publishes no position");
    state_file::write(&path, cursor(9)).unwrap();
    let (_, start) = open(&broker, with_state_file(&path)).unwrap();
    assert_eq!((start.cursor, start.origin), (cursor(9), StartOrigin::StateFile));
}

#[test]
fn the_tail_is_compared_on_the_columns_own_clock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.txt");
    let broker = MemoryBroker::new();
    topic_with(&broker, 1..=9);
    // 10:09 UTC is 15:39 in Kolkata.
    let kolkata = || PublisherOptions { zone: "Asia/Kolkata".to_owned(), ..with_state_file(&path) };
    std::fs::write(&path, "2025-11-18 15:38:59.999999|9").unwrap();
    assert!(refused(&broker, kolkata()).to_string().contains("2025-11-18 15:39:00.000000|9"));
    std::fs::write(&path, "2025-11-18 15:39:00.000000|9").unwrap();
    open(&broker, kolkata()).unwrap();
}

#[test]
fn adopt_and_start_from_accept_a_position_knowingly() {
    let broker = MemoryBroker::new();
    topic_with(&broker, 1..=9);
    let (_, start) = open(&broker, PublisherOptions { adopt: true, ..options() }).unwrap();
    assert_eq!((start.cursor, start.origin), (options().default_start, StartOrigin::Default));
    let broker = MemoryBroker::new();
    topic_with(&broker, 1..=9);
    let named = PublisherOptions { start_from: Some(cursor(5)), ..options() };
    let (mut publisher, start) = open(&broker, named).unwrap();
    assert_eq!((start.cursor, start.origin, start.first), (cursor(5), StartOrigin::Flag, cursor(5)));
    publish(&mut publisher, 6..=10).unwrap();
    // The flag was for that start alone.
    assert_eq!(publisher.recover().unwrap().cursor, cursor(10));
}

#[test]
fn a_named_start_leaves_a_state_file_that_agrees_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.txt");
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, with_state_file(&path)).unwrap();
    publish(&mut publisher, 1..=20).unwrap();
    // Back to 5, and stopped before a row was published.
    open(&broker, PublisherOptions { start_from: Some(cursor(5)), ..with_state_file(&path) }).unwrap();
    let (_, start) = open(&broker, with_state_file(&path)).unwrap();
    assert_eq!((start.cursor, start.rows_published), (cursor(5), 20));
    assert_eq!((start.horizon_us, start.snapshot_xmin), (None, None), "nothing of what was read before binds it");
}

#[test]
fn a_state_file_ahead_of_the_cursor_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.txt");
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, with_state_file(&path)).unwrap();
    publish(&mut publisher, 1..=3).unwrap();
    for ahead in [cursor(4), Cursor { key: None, ..cursor(3) }] {
        state_file::write(&path, ahead).unwrap();
        let error = refused(&broker, with_state_file(&path));
        assert_eq!(error.kind(), Kind::DataLoss);
        assert!(error.to_string().contains(&ahead.to_string()) && error.to_string().contains("--adopt"), "{error}");
    }
    let (_, start) = open(&broker, PublisherOptions { adopt: true, ..with_state_file(&path) }).unwrap();
    assert_eq!(start.cursor, cursor(3));
    open(&broker, with_state_file(&path)).unwrap();
}

#[test]
fn the_tail_is_found_behind_a_long_aborted_transaction() {
    let broker = MemoryBroker::new();
    topic_with(&broker, 1..=9);
    let mut producer = broker.producer("another");
    producer.init(Duration::ZERO).unwrap();
    producer.begin().unwrap();
    for partition in 0..3 {
        for _ in 0..1_500 {
            producer.send_one(TOPIC, partition, b"", b"{}").unwrap();
        }
    }
    producer.abort(Duration::ZERO).unwrap();
    let error = refused(&broker, options());
    assert!(error.to_string().contains("2025-11-18 10:09:00.000000|9"), "{error}");
}

#[test]
fn a_topic_of_something_else_is_refused() {
    let broker = MemoryBroker::new();
    broker.create_topic(&options().topic);
    for value in [&b"{\"id\":1}"[..], b"not json", b"{\"order_id\":1,\"created_at\":null}"] {
        broker.append(TOPIC, 0, None, Some(value)).unwrap();
    }
    let error = refused(&broker, options());
    assert!(error.to_string().contains("created_at") && error.to_string().contains("--start-from"), "{error}");
    open(&broker, PublisherOptions { adopt: true, ..options() }).unwrap();
}

fn at_least_once(path: &Path) -> PublisherOptions {
    PublisherOptions { exactly_once: false, ..with_state_file(path) }
}

#[test]
fn without_transactions_the_state_file_alone_holds_the_position() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.txt");
    let broker = MemoryBroker::new();
    let without_file = PublisherOptions { exactly_once: false, ..options() };
    assert_eq!(refused(&broker, without_file).kind(), Kind::Config);
    let (mut publisher, start) = open(&broker, at_least_once(&path)).unwrap();
    assert_eq!(start.origin, StartOrigin::Default);
    publish(&mut publisher, 1..=2).unwrap();
    assert_eq!(state(&path), cursor(2).to_string());
    assert_eq!(broker.cluster().describe(CURSOR_TOPIC).unwrap(), None);
    let (mut publisher, start) = open(&broker, at_least_once(&path)).unwrap();
    assert_eq!((start.cursor, start.origin), (cursor(2), StartOrigin::StateFile));
    publish(&mut publisher, 3..=3).unwrap();
    assert_eq!(published(&broker), [1, 2, 3]);
}

#[test]
fn without_transactions_a_failure_repeats_rows_and_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.txt");
    let broker = MemoryBroker::new();
    let named = PublisherOptions { start_from: Some(cursor(2)), ..at_least_once(&path) };
    let (mut publisher, _) = open(&broker, named).unwrap();
    broker.set_reachable(false);
    publish(&mut publisher, 3..=4).unwrap_err();
    broker.set_reachable(true);
    assert_eq!(publisher.recover().unwrap().cursor, cursor(2), "also before the first commit of a named start");
    publish(&mut publisher, 3..=4).unwrap();
    publisher.append(&rows(5..=5)).unwrap();
    drop(publisher);
    let (mut publisher, start) = open(&broker, at_least_once(&path)).unwrap();
    assert_eq!(start.cursor, cursor(4));
    publish(&mut publisher, 5..=5).unwrap();
    assert_eq!(published(&broker), [3, 4, 5, 5]);
}
