//! Failures of either side: what is certain stays, what is unclear is read back (K5).

use super::*;
use crate::broker::memory::Fault;
use crate::failpoints::armed;
use crate::pipeline::monitor::Service;

const TRANSACTIONAL_ID: &str = "foodstream-shop";

#[tokio::test]
async fn a_source_that_fails_loses_and_repeats_nothing() {
    for after_rows in [0, 5, 10] {
        let bench = Bench::new(205);
        let table = bench.table.clone();
        let mut replicate = bench.open(move |page| {
            if page % 3 == 2 && page < 12 {
                table.fail_next(after_rows, away());
            }
        });
        let done = replicate.run(ONCE).await.unwrap();
        assert_eq!(bench.published(), all(205));
        assert_eq!(done.rows, 205);
    }
}

#[tokio::test]
async fn a_source_that_is_away_leaves_no_transaction_open() {
    let bench = Bench::new(205);
    let (table, broker) = (bench.table.clone(), bench.broker.clone());
    let mut replicate = bench.open(move |page| match page {
        2 => table.fail_next(5, away()),
        3 => assert_eq!(published(&broker), all(10), "the page before it is published before anything is waited for"),
        _ => {}
    });
    replicate.run(ONCE).await.unwrap();
    assert_eq!(bench.published(), all(205));
}

#[tokio::test]
async fn a_source_that_cannot_be_waited_for_ends_the_run_after_what_was_read() {
    let bench = Bench::new(205);
    let table = bench.table.clone();
    let mut replicate = bench.open(move |page| {
        if page == 2 {
            table.fail_next(5, Error::new(Kind::Source, "permission denied for table orders"));
        }
    });
    let error = replicate.run(ONCE).await.unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
    assert_eq!(bench.published(), all(10));
    assert_eq!(replicate.run(ONCE).await.unwrap().rows, 195, "and the next call goes on behind it");
    assert_eq!(bench.published(), all(205));
}

#[tokio::test]
async fn both_sides_failing_at_once_lose_and_repeat_nothing() {
    for fault in [Fault::CommitAnswerLost, Fault::CommitRequestLost] {
        let bench = Bench::new(205);
        let (table, broker) = (bench.table.clone(), bench.broker.clone());
        let mut replicate = bench.open(move |page| {
            if page == 2 {
                table.fail_next(5, away());
                broker.inject(fault);
            }
        });
        assert_eq!(replicate.run(ONCE).await.unwrap().rows, 205, "{fault:?}");
        assert_eq!(bench.published(), all(205), "{fault:?}");
    }
}

#[tokio::test]
async fn a_broker_that_fails_loses_and_repeats_nothing_and_every_row_is_counted() {
    for fault in [Fault::CommitAnswerLost, Fault::CommitRequestLost, Fault::CommitRefused] {
        for rows in [5, 10, 250] {
            let bench = Bench::new(rows);
            let mut replicate = bench.open(|_| {});
            bench.broker.inject(fault);
            bench.broker.inject(fault);
            let done = replicate.run(ONCE).await.unwrap();
            assert_eq!(bench.published(), all(rows), "{fault:?}");
            assert_eq!(done.rows, rows as u64, "{fault:?}");
            let kafka = bench.options.monitor.sight().services[&Service::Kafka].up;
            assert_eq!(kafka, Some(true), "{fault:?}: what answered again is shown so without a further row");
            let records = bench.cursor_records();
            assert_eq!(records.last().unwrap()["rows_published"], rows, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_broker_that_goes_away_while_rows_are_sent_is_waited_for() {
    let bench = Bench::new(205);
    let broker = bench.broker.clone();
    let mut replicate = bench.open(move |page| {
        broker.set_reachable(page % 4 != 2);
        if page == 3 {
            broker.expire_transaction(TRANSACTIONAL_ID);
        }
    });
    let broker = bench.broker.clone();
    let over = Stop::new();
    let returns = over.clone();
    // Comes back by itself: while recovering no page is asked for.
    let healer = std::thread::spawn(move || {
        while !returns.wait(Duration::from_millis(5)) {
            broker.set_reachable(true);
        }
    });
    let done = replicate.run(ONCE).await;
    over.request();
    healer.join().unwrap();
    assert_eq!(done.unwrap().rows, 205);
    assert_eq!(bench.published(), all(205));
}

#[tokio::test]
async fn a_broker_that_never_commits_makes_a_bounded_run_give_up_although_the_table_answers() {
    let mut bench = Bench::new(5);
    bench.options.retry.start_timeout = Duration::from_millis(20);
    let mut replicate = bench.open(|_| {});
    for _ in 0..10_000 {
        bench.broker.inject(Fault::CommitRefused);
    }
    for bounds in [ONCE, Bounds { timeout: Some(PATIENCE), ..FOREVER }] {
        let error = replicate.run(bounds).await.unwrap_err();
        assert_eq!(error.exit_code(), 75);
    }
    assert!(bench.published().is_empty());
}

#[tokio::test]
async fn a_broker_that_stays_away_makes_a_single_poll_give_up() {
    let mut bench = Bench::new(5);
    bench.options.retry.start_timeout = Duration::from_millis(20);
    let mut replicate = bench.open(|_| {});
    bench.broker.set_reachable(false);
    assert_eq!(replicate.poll().await.unwrap_err().exit_code(), 75);
    bench.broker.set_reachable(true);
    assert_eq!(replicate.poll().await.unwrap(), 5, "and the next one publishes what this one could not");
}

#[tokio::test]
async fn a_single_poll_that_met_a_failure_publishes_a_page_all_the_same() {
    let bench = Bench::new(45);
    let mut replicate = bench.open(|_| {});
    // After a failed page a smaller one is asked for.
    for after_rows in [0, 5] {
        bench.table.fail_next(after_rows, away());
        assert_eq!(replicate.poll().await.unwrap(), 5, "after {after_rows} rows");
    }
    for fault in [Fault::CommitAnswerLost, Fault::CommitRequestLost] {
        bench.broker.inject(fault);
        assert_eq!(replicate.poll().await.unwrap(), 10, "{fault:?}");
    }
    assert_eq!(bench.published(), all(30));
}

#[tokio::test]
async fn a_table_that_never_answers_makes_a_bounded_run_give_up() {
    let mut bench = Bench::new(5);
    bench.options.retry.start_timeout = Duration::from_millis(20);
    let table = bench.table.clone();
    let mut replicate = bench.open(move |_| table.fail_next(0, away()));
    assert_eq!(replicate.run(ONCE).await.unwrap_err().exit_code(), 75);
}

#[tokio::test]
async fn an_echo_of_its_own_past_is_passed_over_and_another_living_producer_is_not() {
    let bench = Bench::new(205);
    let broker = bench.broker.clone();
    let mut replicate = bench.open(move |page| {
        if page == 3 {
            broker.expire_transaction(TRANSACTIONAL_ID);
        }
    });
    assert_eq!(replicate.run(ONCE).await.unwrap().rows, 205);
    assert_eq!(bench.published(), all(205));
    // Another one takes over and publishes.
    bench.insert(206..=210);
    let mut other = bench.open(|_| {});
    other.run(ONCE).await.unwrap();
    bench.insert(211..=212);
    let error = replicate.run(ONCE).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced);
    other.run(ONCE).await.unwrap();
    assert_eq!(bench.published(), all(212));
}

#[tokio::test]
async fn a_state_file_that_cannot_be_written_ends_the_run_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(25);
    let path = folder.path().join("state.txt");
    bench.state_file = Some(path.clone());
    let mut replicate = bench.open(|_| {});
    std::fs::create_dir_all(path.join("in the way")).unwrap();
    let error = replicate.run(ONCE).await.unwrap_err();
    assert!(error.to_string().contains("state.txt"), "{error:?}");
    assert_eq!(bench.published(), all(25), "the transaction itself was committed");
    std::fs::remove_dir_all(&path).unwrap();
    bench.insert(26..=30);
    assert_eq!(replicate.run(ONCE).await.unwrap().rows, 5 + 25, "rows are counted when they are known");
    assert_eq!(bench.published(), all(30));
}

#[tokio::test]
async fn after_an_error_the_next_call_reads_the_position_back() {
    let bench = Bench::new(205);
    let table = bench.table.clone();
    let mut replicate = bench.open(move |page| {
        if page == 3 {
            // The pages before it are in the open transaction, or on their way.
            table.fail_next(0, Error::new(Kind::Source, "permission denied for table orders"));
        }
    });
    bench.broker.inject(Fault::CommitRequestLost);
    replicate.run(ONCE).await.unwrap_err();
    replicate.run(ONCE).await.unwrap();
    assert_eq!(bench.published(), all(205));
    assert_eq!(replicate.progress().rows, 205);
}

#[tokio::test]
async fn a_page_that_is_too_much_for_the_server_is_asked_for_in_smaller_ones() {
    let bench = Bench::new(505);
    let (table, server) = (bench.table.clone(), bench.server.clone());
    // A statement's time-out, after more than seven rows.
    let mut replicate = bench.open(move |_| {
        if server.lock().unwrap().limits.last().is_some_and(|&limit| limit > 7) {
            table.fail_next(7, away());
        }
    });
    assert_eq!(replicate.run(ONCE).await.unwrap().rows, 505);
    assert_eq!(bench.published(), all(505));
    let limits = bench.limits();
    assert_eq!(limits[..4], [10, 5, 10, 5], "{limits:?}");
}

#[tokio::test]
async fn a_stop_after_any_page_was_read_loses_and_repeats_nothing() {
    for pages in [0, 1, 3, 7] {
        let bench = Bench::new(205);
        let mut replicate = bench.open(|_| {});
        let stop = armed(failpoints::PUBLISH_PAGE_READ, pages);
        assert!(replicate.run(ONCE).await.is_err(), "there were no {pages} pages");
        drop(stop);
        drop(replicate);
        let published = bench.published().len() as u64;
        assert_eq!(bench.open(|_| {}).run(ONCE).await.unwrap().rows, 205 - published);
        assert_eq!(bench.published(), all(205));
    }
}
