//! The figures, and that they stay right while a side is idle, away or far behind.

use std::time::Duration;

use chrono::TimeDelta;

use super::*;
use crate::capture::{HolderSight, SourceSight, WaitingRows};
use crate::lake::Head;
use crate::model::{Counts, Cursor, Key, PartitionOffset, Totals};

const SECOND_US: i64 = 1_000_000;
/// What the server's clock shows when a test begins.
const CLOCK_US: i64 = 1_795_248_721 * SECOND_US;

fn source(holder_age: Option<u64>) -> SourceSight {
    SourceSight {
        clock_utc_us: CLOCK_US,
        // The column keeps local time, an hour ahead.
        clock_column_us: CLOCK_US + 3_600 * SECOND_US,
        at: SystemClock.instant(),
        horizon_us: CLOCK_US + 3_600 * SECOND_US - SECOND_US,
        holder: holder_age.map(|age| HolderSight {
            text: "the transaction of pid 7".to_owned(),
            pid: Some(7),
            age: Duration::from_secs(age),
        }),
    }
}

fn cursor(seconds_before: i64) -> Cursor {
    let timestamp_us = CLOCK_US + 3_600 * SECOND_US - seconds_before * SECOND_US;
    Cursor { timestamp_us, key: Some(Key::Int(1)) }
}

fn figures() -> BatchFigures {
    let phases = vec![("read", Duration::from_millis(20)), ("commit", Duration::from_millis(30))];
    BatchFigures { finished: SystemClock.now(), duration: Duration::from_millis(50), phases }
}

fn published(monitor: &Monitor, rows: u64, first: Cursor, last: Cursor) {
    let (first_us, position) = (first.timestamp_us, last);
    monitor.published(PublishedRows { rows, first_us, position, pending_us: None, figures: figures() });
}

fn lag_after(monitor: &Monitor, seconds: u64) -> Option<f64> {
    let later = Duration::from_secs(seconds);
    let now = SystemClock.now() + TimeDelta::from_std(later).unwrap();
    monitor.sight().lag(now, SystemClock.instant() + later)
}

fn near(value: Option<f64>, wanted: f64) -> bool {
    value.is_some_and(|value| (value - wanted).abs() < 0.5)
}

#[test]
fn an_idle_producer_has_no_lag_however_long_it_idles() {
    let monitor = Monitor::default();
    assert_eq!(lag_after(&monitor, 0), None, "nothing is known yet");
    assert!(!monitor.polled(1, Some(source(None)), None, false));
    assert_eq!(lag_after(&monitor, 0), Some(0.0));
    assert_eq!(lag_after(&monitor, 3_600), Some(0.0));
}

#[test]
fn rows_that_were_read_and_not_published_wait_until_they_are() {
    let monitor = Monitor::default();
    let rows = Some((cursor(10).timestamp_us, cursor(9).timestamp_us));
    monitor.polled(1, Some(source(None)), rows, false);
    assert!(near(lag_after(&monitor, 0), 10.0));
    assert!(near(lag_after(&monitor, 50), 60.0), "kafka is away");
    published(&monitor, 5, cursor(10), cursor(9));
    assert_eq!(lag_after(&monitor, 50), Some(0.0));
}

#[test]
fn a_backlog_is_as_old_as_the_position() {
    let monitor = Monitor::default();
    let rows = Some((cursor(7_300).timestamp_us, cursor(7_200).timestamp_us));
    monitor.look();
    assert!(monitor.polled(1, Some(source(None)), rows, true), "somebody looks, and more waits");
    published(&monitor, 1_000, cursor(7_300), cursor(7_200));
    assert!(near(lag_after(&monitor, 0), 7_200.0));
    let counted = WaitingRows { rows: 10_000, rows_at_least: true, ..WaitingRows::default() };
    monitor.counted(counted);
    assert_eq!(monitor.sight().producer.unwrap().waiting.unwrap().counted, counted);
}

#[test]
fn nothing_is_counted_while_nobody_looks() {
    let monitor = Monitor::default();
    let rows = Some((cursor(20).timestamp_us, cursor(10).timestamp_us));
    assert!(!monitor.polled(1, Some(source(None)), rows, true));
}

#[test]
fn rows_held_back_count_from_the_oldest_of_them() {
    let monitor = Monitor::default();
    monitor.look();
    assert!(monitor.polled(1, Some(source(Some(30))), None, false));
    assert_eq!(lag_after(&monitor, 0), None, "held, and not counted yet");
    let oldest_held_us = Some(cursor(25).timestamp_us);
    monitor.counted(WaitingRows { rows: 3, held: 3, oldest_held_us, ..WaitingRows::default() });
    assert!(near(lag_after(&monitor, 0), 25.0));
    assert!(!monitor.polled(2, Some(source(None)), None, false));
    assert_eq!(lag_after(&monitor, 0), Some(0.0));
}

#[test]
fn a_database_that_is_away_leaves_the_lag_unknown() {
    let monitor = Monitor::default();
    monitor.polled(1, Some(source(None)), None, false);
    monitor.failed(Service::Postgres, &Error::new(crate::error::Kind::Source, "no answer"));
    assert_eq!(lag_after(&monitor, 0), None);
    monitor.answered(Service::Postgres);
    assert_eq!(lag_after(&monitor, 0), Some(0.0));
    let service = monitor.sight().services[&Service::Postgres].clone();
    assert_eq!((service.up, service.error, service.errors), (Some(true), None, 1));
}

#[test]
fn positions_of_the_column_are_shown_as_utc() {
    let monitor = Monitor::default();
    monitor.polled(1, Some(source(None)), None, false);
    monitor.stands_at(cursor(60));
    let position = monitor.sight().producer.unwrap().position_utc().unwrap();
    assert_eq!(position.timestamp_micros(), CLOCK_US - 60 * SECOND_US);
}

fn head(number: u64, offset: i64) -> Head {
    Head {
        number,
        hash: String::new(),
        positions: [(0, offset)].into(),
        topic: "orders".to_owned(),
        topic_id: "id".to_owned(),
        counts: Counts { input: offset as u64, accepted: offset as u64, rejected: 0 },
        totals: Totals::default(),
    }
}

fn stand(monitor: &Monitor, head: &Head, end: i64) {
    let ends = vec![PartitionOffset { partition: 0, offset: end }];
    monitor.standing(Standing { head, assigned: vec![0], ends, open: 0 });
}

fn commit(monitor: &Monitor, head: &Head, rows: u64, seconds_old: i64) {
    let at = SystemClock.now();
    let created = at - TimeDelta::seconds(seconds_old);
    let sampled = Sampled {
        published_ms: vec![created.timestamp_millis()],
        created_us: vec![created.timestamp_micros()],
        event_us: Some((created.timestamp_micros(), created.timestamp_micros())),
    };
    let counts = Counts { input: rows, accepted: rows, rejected: 0 };
    let (sampled, rejects, figures) = (&sampled, Rejects::default(), figures());
    monitor.committed(CommittedBatch { head, at, counts, files: 1, bytes: 10, sampled, rejects, figures });
}

#[test]
fn an_idle_consumer_has_no_lag_and_an_old_last_row_does_not_make_one() {
    let monitor = Monitor::default();
    stand(&monitor, &head(1, 5), 5);
    assert_eq!(lag_after(&monitor, 0), Some(0.0));
    assert_eq!(lag_after(&monitor, 3_600), Some(0.0));
    // After an hour a message comes: it waits since now, not for an hour.
    stand(&monitor, &head(1, 5), 6);
    assert!(near(lag_after(&monitor, 0), 0.0));
    assert!(near(lag_after(&monitor, 7), 7.0));
}

#[test]
fn nothing_is_said_of_the_lag_until_each_partitions_end_is_known() {
    let monitor = Monitor::default();
    let ends = vec![PartitionOffset { partition: 0, offset: 5 }];
    monitor.standing(Standing { head: &head(1, 5), assigned: vec![0, 1], ends, open: 0 });
    assert_eq!(monitor.sight().consumer.unwrap().behind(), None);
}

#[test]
fn totals_are_kept_only_while_somebody_looks() {
    let monitor = Monitor::default();
    let kept = |monitor: &Monitor| monitor.sight().consumer.unwrap().head.map(|head| head.number);
    stand(&monitor, &head(1, 5), 5);
    assert_eq!(kept(&monitor), None);
    monitor.look();
    stand(&monitor, &head(2, 6), 6);
    assert_eq!(kept(&monitor), Some(2));
}

#[test]
fn a_consumer_far_behind_is_as_old_as_its_newest_row() {
    let monitor = Monitor::default();
    stand(&monitor, &head(0, 0), 10_000_000);
    assert_eq!(lag_after(&monitor, 0), None, "how old they are shows in the first commit");
    commit(&monitor, &head(1, 1_000), 1_000, 7_200);
    let sight = monitor.sight();
    assert_eq!(sight.consumer.as_ref().unwrap().behind(), Some(9_999_000));
    assert!(near(lag_after(&monitor, 0), 7_200.0));
    let found = sight.latencies[SOURCE_TO_READABLE].quantiles(SystemClock.instant()).unwrap();
    assert_eq!(found.rows, 1_000);
    assert!((found.p50 - 7_200.0).abs() < 7_200.0 * 0.09, "{found:?}");
    commit(&monitor, &head(2, 10_000), 9_000, 400 * 86_400);
    let found = monitor.sight().latencies[SOURCE_TO_READABLE].quantiles(SystemClock.instant()).unwrap();
    assert!((found.p50 / (400.0 * 86_400.0) - 1.0).abs() < 0.09, "rows of last year: {found:?}");
}

#[test]
fn rates_and_durations_come_from_the_batches() {
    let monitor = Monitor::default();
    commit(&monitor, &head(1, 100), 100, 1);
    commit(&monitor, &head(2, 200), 100, 1);
    let sight = monitor.sight();
    assert_eq!((sight.rows, sight.batches), (200, 2));
    assert!((sight.processed_per_second().unwrap() - 2_000.0).abs() < 1.0);
    assert_eq!(sight.durations[3], 2, "50 ms lie in the bucket that ends there");
    assert_eq!(sight.phases["commit"], Duration::from_millis(60));
}

#[test]
fn quantiles_forget_what_is_older_than_the_window() {
    let start = SystemClock.instant();
    let mut latency = Latency::new(start);
    latency.add(start, 99, std::iter::repeat_n(1.0, 99));
    latency.add(start, 1, std::iter::once(100.0));
    let found = latency.quantiles(start).unwrap();
    assert!((found.p50 - 1.0).abs() < 0.09 && (found.p99 - 1.0).abs() < 0.09, "{found:?}");
    latency.add(start + Duration::from_secs(200), 100, std::iter::once(10.0));
    let later = latency.quantiles(start + Duration::from_secs(310)).unwrap();
    assert_eq!(later.rows, 100);
    assert!((later.p50 - 10.0).abs() < 0.9, "{later:?}");
    assert_eq!(latency.quantiles(start + Duration::from_secs(600)), None);
    assert_eq!(latency.count, 200, "the sums go on");
}

#[test]
fn a_sample_of_a_reject_shows_no_letter_and_no_digit_of_it() {
    assert_eq!(
        rejects::masked("{\"Name\":\"Zoë 7\", \"pan\": 4111}\n".as_bytes()),
        "{\"Xxxx\":\"Xxx 9\", \"xxx\": 9999} "
    );
    let long = rejects::masked("9".repeat(5_000).as_bytes());
    assert_eq!(long.chars().count(), 300);
}
