//! K1 to K3: rows and cursor in one transaction, and its outcome read back.

use super::*;
use crate::broker::memory::Fault;

#[test]
fn rows_and_cursor_become_visible_together() {
    let broker = MemoryBroker::new();
    let (mut publisher, start) = open(&broker, options()).unwrap();
    assert_eq!((start.origin, start.cursor), (StartOrigin::Default, options().default_start));
    publisher.append(&rows(1..=2)).unwrap();
    publisher.append(&rows(3..=3)).unwrap();
    let info = publisher.commit(TEN + 5, 771).unwrap();
    assert_eq!((info.cursor, info.rows, info.rows_published), (cursor(3), 3, 3));
    assert_eq!(published(&broker), [1, 2, 3]);
    let record = cursor_records(&broker).pop().unwrap();
    assert_eq!(record["timestamp"], "2025-11-18 10:03:00.000000");
    assert_eq!(record["key"], "3");
    assert_eq!(record["horizon"], "2025-11-18 10:00:00.000005");
    assert_eq!(record["snapshot_xmin"], 771);
    assert_eq!(record["rows_published"], 3);
    assert_eq!(record["zone"], "UTC");
    assert_eq!(record["start"], "1970-01-01 00:00:00.000000");
    assert_eq!(record["system_identifier"], "7300000000000000001");
    publisher.append(&rows(4..=4)).unwrap();
    assert_eq!(cursor_records(&broker).len(), 2, "nothing is visible before its commit");
}

#[test]
fn a_restart_goes_on_after_the_last_commit_and_past_its_control_record() {
    let broker = MemoryBroker::new();
    for round in 0..3 {
        let (mut publisher, start) = open(&broker, options()).unwrap();
        let expected = if round == 0 { options().default_start } else { cursor(round * 10) };
        assert_eq!((start.cursor, start.rows_published), (expected, round as u64 * 10));
        publish(&mut publisher, round * 10 + 1..=round * 10 + 10).unwrap();
    }
    let (_, start) = open(&broker, options()).unwrap();
    assert_eq!(start.first, options().default_start);
    assert_eq!(start.horizon_us, Some(TEN));
    assert_eq!(published(&broker), (1..=30).collect::<Vec<_>>());
}

#[test]
fn what_a_killed_producer_left_open_is_not_published_and_does_not_hold_the_next_one() {
    let broker = MemoryBroker::new();
    let (mut killed, _) = open(&broker, options()).unwrap();
    publish(&mut killed, 1..=2).unwrap();
    killed.append(&rows(3..=4)).unwrap();
    drop(killed);
    let (mut publisher, start) = open(&broker, options()).unwrap();
    assert_eq!(start.cursor, cursor(2));
    publish(&mut publisher, 3..=4).unwrap();
    assert_eq!(published(&broker), [1, 2, 3, 4]);
}

#[test]
fn what_the_one_before_publishes_up_to_its_fence_is_read_back() {
    let broker = MemoryBroker::new();
    let (mut before, _) = open(&broker, options()).unwrap();
    publish(&mut before, 1..=2).unwrap();
    // At the last moment before the successor's init: a position read any earlier would be the one before this.
    let mut living = Some(before);
    let last_words = move || {
        if let Some(mut publisher) = living.take() {
            publish(&mut publisher, 3..=4).unwrap();
        }
    };
    let (mut publisher, start) = open_with(&broker, options(), last_words).unwrap();
    assert_eq!((start.cursor, start.rows_published), (cursor(4), 4));
    publish(&mut publisher, 5..=5).unwrap();
    assert_eq!(published(&broker), [1, 2, 3, 4, 5]);
}

/// Publishes four rows, loses the outcome of the second transaction in some way, and goes on where `recover` says.
fn lose_an_outcome(fault: Fault) -> (MemoryBroker, Start, CommitInfo) {
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, options()).unwrap();
    publish(&mut publisher, 1..=2).unwrap();
    broker.inject(fault);
    let error = publish(&mut publisher, 3..=4).unwrap_err();
    assert!(error.is_retriable(), "{error:?}");
    let start = publisher.recover().unwrap();
    let next = start.cursor.key.map_or(0, |key| key.to_string().parse::<i64>().unwrap()) + 1;
    let info = publish(&mut publisher, next..=5).unwrap();
    (broker, start, info)
}

#[test]
fn a_commit_whose_answer_was_lost_is_found_again_and_no_row_comes_twice() {
    let (broker, start, info) = lose_an_outcome(Fault::CommitAnswerLost);
    assert_eq!((start.cursor, start.rows_published, start.origin), (cursor(4), 4, StartOrigin::CursorTopic));
    assert_eq!(published(&broker), [1, 2, 3, 4, 5]);
    assert_eq!(info.rows_published, 5);
}

#[test]
fn a_commit_whose_request_was_lost_is_published_again_and_no_row_comes_twice() {
    for fault in [Fault::CommitRequestLost, Fault::CommitRefused] {
        let (broker, start, info) = lose_an_outcome(fault);
        assert_eq!((start.cursor, start.rows_published), (cursor(2), 2), "{fault:?}");
        assert_eq!(published(&broker), [1, 2, 3, 4, 5], "{fault:?}");
        assert_eq!(info.rows_published, 5);
    }
}

#[test]
fn an_aborted_transaction_is_not_published_and_the_same_producer_goes_on() {
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, options()).unwrap();
    publisher.append(&rows(1..=2)).unwrap();
    publisher.abort();
    publish(&mut publisher, 1..=1).unwrap();
    assert_eq!(published(&broker), [1]);
}

#[test]
fn a_broker_that_is_away_is_waited_for_by_recovering_again() {
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, options()).unwrap();
    publish(&mut publisher, 1..=1).unwrap();
    broker.set_reachable(false);
    let error = publish(&mut publisher, 2..=2).unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (Kind::Broker, true));
    for _ in 0..2 {
        assert!(publisher.recover().unwrap_err().is_retriable());
    }
    broker.set_reachable(true);
    assert_eq!(publisher.recover().unwrap().cursor, cursor(1));
    publish(&mut publisher, 2..=2).unwrap();
    assert_eq!(published(&broker), [1, 2]);
}

#[test]
fn a_read_back_that_times_out_is_exit_75() {
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, options()).unwrap();
    publish(&mut publisher, 1..=1).unwrap();
    broker.inject(Fault::ReadTimesOut);
    assert_eq!(refused(&broker, options()).exit_code(), 75);
}

#[test]
fn a_cursor_topic_with_another_policy_is_refused() {
    for policy in ["delete", "compact,delete", ""] {
        let broker = MemoryBroker::new();
        let config = BTreeMap::from([("cleanup.policy".to_owned(), policy.to_owned())]);
        let name = CURSOR_TOPIC.to_owned();
        broker.create_topic(&TopicSpec { name, partitions: 1, replication_factor: 1, config });
        let error = refused(&broker, options());
        assert_eq!((error.kind(), error.is_retriable()), (Kind::Broker, false));
        assert!(error.to_string().contains(&format!("cleanup.policy={policy}")), "{error}");
    }
}

#[test]
fn the_cursor_topic_is_made_as_it_must_be() {
    let broker = MemoryBroker::new();
    open(&broker, options()).unwrap();
    let mut cluster = broker.cluster();
    assert_eq!(cluster.describe(CURSOR_TOPIC).unwrap().unwrap().partitions, 1);
    let config = cluster.topic_config(CURSOR_TOPIC).unwrap();
    assert_eq!((config["cleanup.policy"].as_str(), config["segment.bytes"].as_str()), ("compact", "1048576"));
    assert_eq!(cluster.describe(TOPIC).unwrap().unwrap().partitions, 3);
}

#[test]
fn a_cursor_topic_of_another_pipeline_or_of_a_newer_program_is_refused() {
    let broker = MemoryBroker::new();
    open(&broker, options()).unwrap();
    let other = PublisherOptions { pipeline_id: "another".to_owned(), ..options() };
    assert!(refused(&broker, other).to_string().contains("belongs to pipeline"));
    let good = cursor_records(&broker).pop().unwrap();
    let mut record = good.clone();
    record["version"] = serde_json::json!(cursor::VERSION + 1);
    for (value, words) in [(record.to_string(), "update it"), ("{".to_owned(), "not a cursor")] {
        broker.append(CURSOR_TOPIC, 0, None, Some(value.as_bytes())).unwrap();
        let error = refused(&broker, options());
        assert!(error.to_string().contains(words), "{error}");
    }
    // Only the last one counts.
    broker.append(CURSOR_TOPIC, 0, None, Some(good.to_string().as_bytes())).unwrap();
    open(&broker, options()).unwrap();
}

#[test]
fn another_zone_or_another_database_stops() {
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, options()).unwrap();
    publish(&mut publisher, 1..=1).unwrap();
    let error = refused(&broker, PublisherOptions { zone: "Asia/Kolkata".to_owned(), ..options() });
    assert_eq!(error.kind(), Kind::Source);
    assert!(error.to_string().contains("UTC") && error.to_string().contains("Asia/Kolkata"), "{error}");
    let error = refused(&broker, PublisherOptions { system_identifier: Some("8".to_owned()), ..options() });
    assert_eq!(error.kind(), Kind::DataLoss);
    assert!(error.to_string().contains("2025-11-18 10:01:00.000000"), "{error}");
    // A failover changes the timeline without loss; without the right to read the identifier nothing is compared.
    open(&broker, PublisherOptions { timeline: Some(2), ..options() }).unwrap();
    let (_, start) = open(&broker, PublisherOptions { system_identifier: None, timeline: None, ..options() }).unwrap();
    assert_eq!(start.cursor, cursor(1));
}

#[test]
fn a_topic_that_rows_were_published_to_and_that_is_another_now_stops_until_that_is_accepted() {
    for made_anew in [true, false] {
        let broker = MemoryBroker::new();
        let (mut publisher, _) = open(&broker, options()).unwrap();
        publish(&mut publisher, 1..=3).unwrap();
        if made_anew {
            broker.create_topic(&options().topic);
        } else {
            broker.delete_topic(TOPIC);
        }
        // Under a living producer too, as soon as it has to ask.
        for error in [publisher.recover().unwrap_err(), refused(&broker, options())] {
            assert_eq!((error.kind(), error.exit_code()), (Kind::DataLoss, 1));
            let text = error.to_string();
            assert!(text.contains("deleted") && text.contains("created anew") == made_anew, "{text}");
            assert!(text.contains("1970-01-01 00:00:00.000000 up to 2025-11-18 10:03:00.000000|3"), "{text}");
            assert!(text.contains("--adopt") && text.contains("--start-from"), "{text}");
        }
        assert_eq!(broker.cluster().describe(TOPIC).unwrap().is_some(), made_anew, "it is not made without a word");
        let (_, start) = open(&broker, PublisherOptions { adopt: true, ..options() }).unwrap();
        assert_eq!(start.cursor, cursor(3));
        // Accepted before a row was published, and accepted for good.
        let (mut publisher, _) = open(&broker, options()).unwrap();
        publish(&mut publisher, 4..=4).unwrap();
        assert_eq!(published(&broker), [4]);
    }
}

#[test]
fn a_topic_made_anew_before_anything_was_published_to_it_is_no_loss() {
    let broker = MemoryBroker::new();
    open(&broker, options()).unwrap();
    broker.create_topic(&options().topic);
    let (mut publisher, _) = open(&broker, options()).unwrap();
    publish(&mut publisher, 1..=1).unwrap();
    assert_eq!(published(&broker), [1]);
}

#[test]
fn a_record_that_names_no_topic_is_taken_for_what_it_says() {
    let broker = MemoryBroker::new();
    let (mut publisher, _) = open(&broker, options()).unwrap();
    publish(&mut publisher, 1..=1).unwrap();
    let mut record = cursor_records(&broker).pop().unwrap();
    record.as_object_mut().unwrap().remove("topic_id").unwrap();
    broker.append(CURSOR_TOPIC, 0, None, Some(record.to_string().as_bytes())).unwrap();
    let (mut publisher, start) = open(&broker, options()).unwrap();
    assert_eq!(start.cursor, cursor(1));
    publish(&mut publisher, 2..=2).unwrap();
    broker.create_topic(&options().topic);
    assert_eq!(refused(&broker, options()).kind(), Kind::DataLoss, "the next record names it");
}
