//! Where a run ends: at the server's clock of its start (K7), at a number of rows, at a time, at a stop.

use super::*;
use crate::broker::memory::Fault;

#[tokio::test]
async fn a_bounded_run_ends_when_the_horizon_has_passed_the_clock_of_its_start() {
    let bench = Bench::new(3);
    let goal = TEN + 1_000;
    bench.server.lock().unwrap().clock_us = goal;
    bench.table.set_horizon(TEN + 100);
    let table = bench.table.clone();
    let mut replicate = bench.open(move |page| match page {
        // Somebody who held the horizon commits late, in front of it; the horizon moves on, but not far enough.
        3 => {
            insert(&table, 150..=150);
            table.set_horizon(goal);
        }
        // A row of the very moment of the start belongs to the run.
        6 => {
            insert(&table, 1_000..=1_000);
            table.set_horizon(goal + 1);
        }
        _ => {}
    });
    let done = replicate.run(ONCE).await.unwrap();
    assert_eq!(bench.published(), [1, 2, 3, 150, 1_000]);
    assert_eq!((done.rows, done.polls), (5, 6));
}

#[tokio::test]
async fn a_horizon_that_stays_back_is_exit_75_and_names_who_holds_it() {
    let mut bench = Bench::new(3);
    bench.options.once_wait = Duration::from_secs(90);
    bench.table.set_horizon(TEN + 3);
    bench.server.lock().unwrap().holder = Some("pid 4711 (psql), idle in transaction for 95 s".to_owned());
    let clock = manual_clock();
    let ticking = clock.clone();
    let mut replicate = bench.open_at(move |_| ticking.advance(Duration::from_secs(10)), clock);
    let error = replicate.run(ONCE).await.unwrap_err();
    assert_eq!(error.exit_code(), 75);
    assert!(error.to_string().contains("pid 4711") && error.to_string().contains("after 90 s"), "{error}");
    assert_eq!(bench.published(), [1, 2], "everything below it is published");
    assert_eq!(bench.limits().len(), 10);
}

#[tokio::test]
async fn a_number_of_rows_is_kept_exactly_also_when_commits_fail() {
    for fault in [None, Some(Fault::CommitAnswerLost), Some(Fault::CommitRequestLost), Some(Fault::CommitRefused)] {
        for max_rows in [0, 1, 10, 137] {
            let bench = Bench::new(300);
            let mut replicate = bench.open(|_| {});
            fault.into_iter().for_each(|fault| bench.broker.inject(fault));
            let bounds = Bounds { max_rows: Some(max_rows), ..FOREVER };
            let done = replicate.run(bounds).await.unwrap();
            assert_eq!(done.rows, max_rows, "{fault:?}");
            assert_eq!(bench.published(), all(max_rows as i64), "{fault:?}");
            let more = replicate.run(Bounds { max_rows: Some(5), ..FOREVER }).await.unwrap();
            assert_eq!((more.rows, bench.published()), (5, all(max_rows as i64 + 5)), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_time_limit_does_not_wait_for_the_next_poll() {
    let mut bench = Bench::new(3);
    bench.options.poll_interval = PATIENCE * 2;
    let mut replicate = bench.open(|_| {});
    let begun = Instant::now();
    let done = replicate.run(Bounds { timeout: Some(Duration::from_millis(20)), ..FOREVER }).await.unwrap();
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!((done.rows, bench.published()), (3, all(3)));
}

#[tokio::test]
async fn a_stop_in_the_middle_commits_what_was_handed_on_and_the_next_run_goes_on() {
    for at in [1, 2, 3, 7] {
        let bench = Bench::new(505);
        let stop = bench.stop.clone();
        let mut replicate = bench.open(move |page| {
            if page == at {
                stop.request();
            }
        });
        let done = replicate.run(ONCE).await.unwrap();
        let published = bench.published();
        assert_eq!(published, all(published.len() as i64), "page {at}");
        assert_eq!(done.rows, published.len() as u64, "page {at}");
        drop(replicate);
        let again = Bench { stop: Stop::new(), ..bench };
        let rest = again.open(|_| {}).run(ONCE).await.unwrap();
        assert_eq!(again.published(), all(505));
        assert_eq!(done.rows + rest.rows, 505);
    }
}

#[tokio::test]
async fn a_stop_ends_a_single_poll_that_waits_for_a_server() {
    let bench = Bench::new(5);
    let (table, stop) = (bench.table.clone(), bench.stop.clone());
    let mut replicate = bench.open(move |page| {
        assert_eq!(page, 1, "nothing is asked for after a stop");
        table.fail_next(0, away());
        stop.request();
    });
    assert_eq!(replicate.poll().await.unwrap(), 0);
    assert!(bench.published().is_empty());
}

#[tokio::test]
async fn a_stop_ends_the_waiting_for_a_server_and_for_a_broker() {
    let bench = Bench::new(3);
    bench.server.lock().unwrap().clock_failures = usize::MAX;
    let stop = bench.stop.clone();
    let mut replicate = bench.open(|_| {});
    let (done, ()) = tokio::join!(replicate.run(ONCE), async {
        tokio::task::yield_now().await;
        stop.request();
    });
    assert_eq!(done.unwrap().rows, 0);
    let bench = Bench::new(3);
    let (broker, stop) = (bench.broker.clone(), bench.stop.clone());
    let mut replicate = bench.open(move |page| {
        broker.set_reachable(false);
        if page == 2 {
            stop.request();
        }
    });
    let stop = bench.stop.clone();
    let (done, ()) = tokio::join!(replicate.run(FOREVER), async {
        tokio::task::yield_now().await;
        stop.request();
    });
    assert_eq!(done.unwrap().rows, 0);
}
