//! The producer's lag: by the database's clock, and by what the last page saw.

use super::*;
use crate::capture::{HolderSight, SourceSight, WaitingRows};
use crate::model::{Cursor, Key};

const SECOND_US: i64 = 1_000_000;
/// What the server's clock shows when a test begins.
const CLOCK_US: i64 = 1_795_248_721 * SECOND_US;
/// Between two pages.
const INTERVAL: Duration = Duration::from_secs(5);

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

/// Rows so many seconds old, the first and the last.
fn rows(first: i64, last: i64) -> Option<(i64, i64)> {
    Some((cursor(first).timestamp_us, cursor(last).timestamp_us))
}

fn poll(monitor: &Monitor, holder_age: Option<u64>, rows: Option<(i64, i64)>, full: bool) -> bool {
    monitor.polled(PolledPage { polls: 1, source: Some(source(holder_age)), rows, full, interval: INTERVAL })
}

fn published(monitor: &Monitor, rows: u64, first: Cursor, last: Cursor) {
    let (first_us, position) = (first.timestamp_us, last);
    monitor.published(PublishedRows { rows, first_us, position, pending_us: None, figures: figures() });
}

fn counted(monitor: &Monitor, seconds: u64) -> Option<WaitingRows> {
    let later = SystemClock.instant() + Duration::from_secs(seconds);
    monitor.sight().producer.unwrap().waiting(later).map(|waiting| waiting.counted)
}

#[test]
fn an_idle_producer_has_no_lag_however_old_its_last_row_is() {
    let monitor = Monitor::default();
    assert_eq!(lag_after(&monitor, 0), None, "nothing is known yet");
    monitor.stands_at(cursor(86_400));
    assert_eq!(lag_after(&monitor, 0), None, "the table was not looked at yet");
    assert!(!poll(&monitor, None, None, false));
    assert_eq!(lag_after(&monitor, 0), Some(0.0));
    assert_eq!(lag_after(&monitor, 5), Some(0.0), "the next page is not late");
    assert_eq!(counted(&monitor, 5), Some(WaitingRows::default()));
}

#[test]
fn while_a_page_does_not_come_rows_may_wait_since_the_last_one() {
    let monitor = Monitor::default();
    poll(&monitor, None, None, false);
    assert!(near(lag_after(&monitor, 60), 60.0), "it hangs");
    assert!(near(lag_after(&monitor, 3_600), 3_600.0));
    assert_eq!(counted(&monitor, 60), None, "how many came is not known");
    poll(&monitor, None, None, false);
    assert_eq!(lag_after(&monitor, 0), Some(0.0));
}

#[test]
fn rows_that_were_read_and_not_published_wait_until_they_are() {
    let monitor = Monitor::default();
    poll(&monitor, None, rows(10, 9), false);
    assert!(near(lag_after(&monitor, 0), 10.0));
    assert!(near(lag_after(&monitor, 50), 60.0), "kafka is away");
    published(&monitor, 5, cursor(10), cursor(9));
    assert_eq!(lag_after(&monitor, 5), Some(0.0));
}

#[test]
fn rows_that_were_read_and_are_read_again_after_a_failure_wait_meanwhile() {
    let monitor = Monitor::default();
    monitor.stands_at(cursor(30));
    poll(&monitor, None, rows(10, 9), false);
    monitor.stands_at(cursor(30));
    assert!(near(lag_after(&monitor, 0), 10.0), "no older row lies behind the position");
    monitor.stands_at(cursor(30));
    assert!(near(lag_after(&monitor, 0), 10.0), "nor does the next try bring one");
    poll(&monitor, None, None, false);
    assert_eq!(lag_after(&monitor, 0), Some(0.0), "they were deleted meanwhile");
    poll(&monitor, None, rows(10, 9), false);
    monitor.stands_at(cursor(10));
    assert!(near(lag_after(&monitor, 0), 10.0), "some are published, and the others come behind the position");
    poll(&monitor, None, rows(10, 9), false);
    published(&monitor, 5, cursor(10), cursor(9));
    monitor.stands_at(cursor(9));
    assert_eq!(lag_after(&monitor, 0), Some(0.0), "nothing was read beyond it");
}

#[test]
fn a_backlog_is_as_old_as_the_position() {
    let monitor = Monitor::default();
    monitor.look();
    assert!(poll(&monitor, None, rows(7_300, 7_200), true), "somebody looks, and more waits");
    published(&monitor, 1_000, cursor(7_300), cursor(7_200));
    assert!(near(lag_after(&monitor, 0), 7_200.0));
    let waiting = WaitingRows { rows: 10_000, rows_at_least: true, ..WaitingRows::default() };
    monitor.counted(waiting);
    assert_eq!(counted(&monitor, 0), Some(waiting));
    assert_eq!(counted(&monitor, 60), None);
    assert!(near(lag_after(&monitor, 60), 7_260.0));
}

#[test]
fn nothing_is_counted_while_nobody_looks() {
    let monitor = Monitor::default();
    assert!(!poll(&monitor, None, rows(20, 10), true));
}

#[test]
fn rows_held_back_count_from_the_oldest_of_them() {
    let monitor = Monitor::default();
    monitor.look();
    poll(&monitor, None, None, false);
    assert!(poll(&monitor, Some(30), None, false));
    assert_eq!((lag_after(&monitor, 0), counted(&monitor, 0)), (None, None), "held, and not counted yet");
    let oldest_held_us = Some(cursor(25).timestamp_us);
    monitor.counted(WaitingRows { rows: 3, held: 3, oldest_held_us, ..WaitingRows::default() });
    assert!(near(lag_after(&monitor, 0), 25.0));
    assert!(!poll(&monitor, None, None, false));
    assert_eq!(lag_after(&monitor, 0), Some(0.0));
}

#[test]
fn a_database_that_is_away_leaves_the_lag_unknown() {
    let monitor = Monitor::default();
    poll(&monitor, None, None, false);
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
    poll(&monitor, None, None, false);
    monitor.stands_at(cursor(60));
    let position = monitor.sight().producer.unwrap().position_utc().unwrap();
    assert_eq!(position.timestamp_micros(), CLOCK_US - 60 * SECOND_US);
}
