//! The consumer's lag: of each partition by its own messages, and of all by the one that is worst off.

use super::*;
use crate::lake::Head;
use crate::model::{Counts, Message, MessageBatch, PartitionOffset, Totals};

/// Messages and their age: partition and seconds.
type Ages<'a> = &'a [(i32, i64)];

fn head(number: u64, positions: &[i64]) -> Head {
    let input = positions.iter().sum::<i64>() as u64;
    Head {
        number,
        hash: String::new(),
        positions: (0..).zip(positions.iter().copied()).collect(),
        topic: "orders".to_owned(),
        topic_id: "id".to_owned(),
        counts: Counts { input, accepted: input, rejected: 0 },
        totals: Totals::default(),
    }
}

fn offsets(offsets: &[i64]) -> Vec<PartitionOffset> {
    (0..).zip(offsets).map(|(partition, &offset)| PartitionOffset { partition, offset }).collect()
}

/// A look at as many assigned partitions as there are ends.
fn stand(monitor: &Monitor, head: &Head, ends: &[i64]) {
    let assigned = (0..).take(ends.len()).collect();
    monitor.standing(Standing { head, assigned, ends: offsets(ends), open: 0 });
}

/// A commit of messages that were published when their rows were.
fn commit(monitor: &Monitor, head: &Head, messages: Ages<'_>) {
    let at = SystemClock.now();
    let mut batch = MessageBatch::default();
    for &(partition, age) in messages {
        let timestamp_ms = (at - TimeDelta::seconds(age)).timestamp_millis();
        batch.push(Message { partition, offset: 0, timestamp_ms, key: None, value: None });
    }
    let mut sampled = Sampled::default();
    sampled.add_messages(&batch);
    sampled.created_us.offer(batch.len(), |at| Some(batch.get(at).timestamp_ms * 1_000));
    let rows = messages.len() as u64;
    let counts = Counts { input: rows, accepted: rows, rejected: 0 };
    let (sampled, rejects, figures) = (&sampled, Rejects::default(), figures());
    monitor.committed(CommittedBatch { head, at, counts, files: 1, bytes: 10, sampled, rejects, figures });
}

fn behind_after(monitor: &Monitor, seconds: u64) -> Option<u64> {
    monitor.sight().consumer.unwrap().behind(SystemClock.instant() + Duration::from_secs(seconds))
}

#[test]
fn an_idle_consumer_has_no_lag_and_an_old_last_row_does_not_make_one() {
    let monitor = Monitor::default();
    stand(&monitor, &head(1, &[0]), &[0]);
    commit(&monitor, &head(2, &[5]), &[(0, 3_600)]);
    stand(&monitor, &head(2, &[5]), &[5]);
    assert_eq!((lag_after(&monitor, 0), behind_after(&monitor, 0)), (Some(0.0), Some(0)));
    // After an hour a message comes: it waits since now, not for an hour.
    stand(&monitor, &head(2, &[5]), &[6]);
    assert!(near(lag_after(&monitor, 0), 0.0));
    assert!(near(lag_after(&monitor, 7), 7.0));
}

#[test]
fn a_loop_that_hangs_has_left_messages_unread_since_its_last_look() {
    let monitor = Monitor::default();
    stand(&monitor, &head(1, &[5, 5]), &[5, 5]);
    assert_eq!(lag_after(&monitor, 1), Some(0.0));
    assert!(near(lag_after(&monitor, 3_600), 3_600.0));
    assert_eq!(behind_after(&monitor, 3_600), None, "how many came is not known");
    let sight = monitor.sight().consumer.unwrap();
    let (now, later) = (SystemClock.instant(), SystemClock.instant() + Duration::from_secs(60));
    assert_eq!((sight.lag_of(0, now), sight.lag_of(0, later)), (Some(0), None));
    stand(&monitor, &head(1, &[5, 5]), &[5, 9]);
    assert_eq!(behind_after(&monitor, 3_600), Some(4), "these wait for certain");
    stand(&monitor, &head(2, &[5, 9]), &[5, 9]);
    assert_eq!((lag_after(&monitor, 0), behind_after(&monitor, 0)), (Some(0.0), Some(0)));
}

#[test]
fn while_kafka_is_away_messages_may_wait_since_the_last_look_before() {
    let monitor = Monitor::default();
    let away = Error::new(crate::error::Kind::Broker, "no broker answers");
    stand(&monitor, &head(1, &[5, 5]), &[5, 5]);
    monitor.failed(Service::Kafka, &away);
    let (begun, outage) = (SystemClock.instant(), Duration::from_millis(20));
    while SystemClock.instant() - begun < outage {
        std::thread::yield_now();
    }
    // The loop turns all the while, and the client repeats what it heard last.
    stand(&monitor, &head(1, &[5, 5]), &[5, 5]);
    assert!(lag_after(&monitor, 60).unwrap() >= 60.0 + outage.as_secs_f64());
    assert_eq!(behind_after(&monitor, 60), None, "how many came is not known");
    monitor.answered(Service::Kafka);
    stand(&monitor, &head(1, &[5, 5]), &[5, 9]);
    assert_eq!(behind_after(&monitor, 0), Some(4));
    assert!(lag_after(&monitor, 0).unwrap() >= outage.as_secs_f64(), "they may have come as it began");
    stand(&monitor, &head(2, &[5, 9]), &[5, 9]);
    assert_eq!((lag_after(&monitor, 0), behind_after(&monitor, 0)), (Some(0.0), Some(0)));
}

#[test]
fn nothing_is_said_of_the_lag_until_each_partitions_end_is_known() {
    let monitor = Monitor::default();
    let (assigned, ends) = (vec![0, 1], offsets(&[5]));
    monitor.standing(Standing { head: &head(1, &[5, 5]), assigned, ends, open: 0 });
    assert_eq!((lag_after(&monitor, 0), behind_after(&monitor, 0)), (None, None));
    stand(&monitor, &head(1, &[5, 5]), &[]);
    assert_eq!((lag_after(&monitor, 0), behind_after(&monitor, 0)), (None, None), "nor without a partition");
}

#[test]
fn a_partition_that_keeps_up_hides_none_that_does_not() {
    let monitor = Monitor::default();
    stand(&monitor, &head(0, &[0, 0]), &[1_000, 100]);
    commit(&monitor, &head(1, &[10, 100]), &[(0, 7_200), (1, 2)]);
    stand(&monitor, &head(1, &[10, 100]), &[1_000, 100]);
    assert!(near(lag_after(&monitor, 0), 7_200.0), "{:?}", lag_after(&monitor, 0));
    commit(&monitor, &head(2, &[20, 110]), &[(0, 7_000), (1, 1)]);
    stand(&monitor, &head(2, &[20, 110]), &[1_000, 110]);
    assert!(near(lag_after(&monitor, 0), 7_000.0), "{:?}", lag_after(&monitor, 0));
    let sight = monitor.sight().consumer.unwrap();
    let age = |partition| (SystemClock.now() - sight.newest_of(partition).unwrap()).num_seconds();
    assert_eq!((age(0), age(1)), (7_000, 1));
}

#[test]
fn a_partition_far_behind_makes_none_late_that_has_a_new_message() {
    let monitor = Monitor::default();
    // The one partition idles, then gets a message; the other comes from far behind to the end meanwhile.
    stand(&monitor, &head(0, &[5, 0]), &[5, 10]);
    stand(&monitor, &head(0, &[5, 0]), &[6, 10]);
    commit(&monitor, &head(1, &[5, 10]), &[(1, 7_200)]);
    assert!(near(lag_after(&monitor, 0), 0.0), "{:?}", lag_after(&monitor, 0));
    assert!(near(lag_after(&monitor, 3), 3.0));
}

#[test]
fn how_old_a_partition_is_of_which_nothing_was_read_yet_is_not_known() {
    let monitor = Monitor::default();
    stand(&monitor, &head(0, &[0, 0]), &[1_000, 100]);
    commit(&monitor, &head(1, &[0, 50]), &[(1, 2)]);
    assert_eq!(lag_after(&monitor, 0), None, "the other one may be hours behind");
}

#[test]
fn a_partition_that_the_lake_does_not_know_yet_is_read_from_where_it_began() {
    let monitor = Monitor::default();
    let begin = |partition, offset| monitor.begins_at([PartitionOffset { partition, offset }]);
    begin(1, 3);
    stand(&monitor, &head(1, &[5]), &[5, 10]);
    assert_eq!(behind_after(&monitor, 0), Some(7));
    commit(&monitor, &head(2, &[5, 10]), &[(1, 1)]);
    assert_eq!(behind_after(&monitor, 0), Some(0));
    begin(2, 0);
    stand(&monitor, &head(2, &[5, 10]), &[5, 10, 0]);
    assert_eq!((lag_after(&monitor, 0), behind_after(&monitor, 0)), (Some(0.0), Some(0)), "an empty one is no backlog");
}

#[test]
fn totals_are_kept_only_while_somebody_looks() {
    let monitor = Monitor::default();
    let kept = |monitor: &Monitor| monitor.sight().consumer.unwrap().head.map(|head| head.number);
    stand(&monitor, &head(1, &[5]), &[5]);
    assert_eq!(kept(&monitor), None);
    monitor.look();
    stand(&monitor, &head(2, &[6]), &[6]);
    assert_eq!(kept(&monitor), Some(2));
}

#[test]
fn a_consumer_far_behind_is_as_old_as_its_newest_row() {
    let monitor = Monitor::default();
    stand(&monitor, &head(0, &[0]), &[10_000_000]);
    assert_eq!(lag_after(&monitor, 0), None, "how old they are shows in the first commit");
    commit(&monitor, &head(1, &[1_000]), &[(0, 7_200); 1_000]);
    let sight = monitor.sight();
    assert_eq!(behind_after(&monitor, 0), Some(9_999_000));
    assert!(near(lag_after(&monitor, 0), 7_200.0));
    let found = sight.latencies[SOURCE_TO_READABLE].quantiles(SystemClock.instant()).unwrap();
    assert_eq!(found.rows, 1_000);
    assert!((found.p50 - 7_200.0).abs() < 7_200.0 * 0.09, "{found:?}");
    commit(&monitor, &head(2, &[10_000]), &[(0, 400 * 86_400); 9_000]);
    let found = monitor.sight().latencies[SOURCE_TO_READABLE].quantiles(SystemClock.instant()).unwrap();
    assert!((found.p50 / (400.0 * 86_400.0) - 1.0).abs() < 0.09, "rows of last year: {found:?}");
}

#[test]
fn rates_and_durations_come_from_the_batches() {
    let monitor = Monitor::default();
    commit(&monitor, &head(1, &[100]), &[(0, 1); 100]);
    commit(&monitor, &head(2, &[200]), &[(0, 1); 100]);
    let sight = monitor.sight();
    assert_eq!((sight.rows, sight.batches), (200, 2));
    assert!((sight.processed_per_second().unwrap() - 2_000.0).abs() < 1.0);
    assert_eq!(sight.durations[3], 2, "50 ms lie in the bucket that ends there");
    assert_eq!(sight.phases["commit"], Duration::from_millis(60));
}
