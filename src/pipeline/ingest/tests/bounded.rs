//! Where a bounded run ends, and how it waits (C3).

use super::*;

#[test]
fn a_bounded_run_ends_at_the_ends_of_its_start_past_an_aborted_tail() {
    let bench = Bench::new(2);
    bench.commit(0, 1..=3);
    bench.abort(0, 4..=6);
    bench.abort(1, 7..=7);
    let begun = bench.clock.instant();
    let done = bench.ingest_all();
    assert_eq!(bench.positions(), [8, 2]);
    assert_eq!((done.counts.input, bench.lake.ids()), (3, vec![1, 2, 3]));
    assert!(bench.clock.instant().duration_since(begun) < Duration::from_secs(5), "without waiting for a trigger");
    assert_eq!(bench.ingest_all().commit, done.commit, "and again nothing");
}

#[test]
fn a_bounded_run_over_an_empty_topic_ends_at_once() {
    let bench = Bench::new(3);
    let done = bench.ingest_all();
    assert_eq!((done.batches, done.commit), (0, Some(0)));
}

#[test]
fn what_flows_in_behind_the_ends_is_for_the_next_run() {
    let bench = Bench::new(1).with_limit(4);
    bench.append(0, 1..=10);
    let broker = bench.broker.clone();
    let mut next = 11;
    let mut ingest = bench.open(move |_| {
        append(&broker, 0, next..=next);
        next += 1;
    });
    ingest.run(AVAILABLE_NOW).unwrap();
    ingest.close().unwrap();
    let read = bench.lake.ids().len() as i64;
    assert!((10..=12).contains(&read), "{read} messages in batches of 4 for 10");
    bench.ingest_all();
    assert_eq!(bench.lake.ids(), (1..=bench.positions()[0]).collect::<Vec<_>>());
}

#[test]
fn an_open_transaction_is_waited_for() {
    let bench = Bench::new(1);
    bench.append(0, 1..=2);
    let mut open = Some(bench.begin(0, 3..=4));
    let mut ingest = bench.open(move |poll| {
        if poll.at >= Duration::from_secs(30)
            && let Some(mut producer) = open.take()
        {
            producer.commit(Duration::ZERO).unwrap();
        }
    });
    ingest.run(AVAILABLE_NOW).unwrap();
    assert_eq!(bench.lake.ids(), [1, 2, 3, 4]);
    assert_eq!(bench.positions(), [5]);
}

#[test]
fn an_open_transaction_that_stays_open_is_exit_75_and_named() {
    let bench = Bench::new(2);
    bench.append(0, 1..=2);
    let mut open = bench.begin(0, 3..=4);
    let begun = bench.clock.instant();
    let error = bench.failure();
    assert_eq!(error.exit_code(), 75);
    assert!(error.to_string().contains("food_orders_raw/0 stands at 2 of 4"), "{error}");
    assert!(error.to_string().contains("open transaction"), "{error}");
    let waited = bench.clock.instant().duration_since(begun);
    assert!((90..100).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(bench.lake.ids(), [1, 2], "what could be read is in the lake");
    open.commit(Duration::ZERO).unwrap();
    bench.ingest_all();
    assert_eq!(bench.lake.ids(), [1, 2, 3, 4]);
}

#[test]
fn traffic_behind_the_ends_does_not_hide_that_nothing_comes_nearer() {
    let bench = Bench::new(2).with_limit(100);
    bench.append(1, 1..=2);
    let _open = bench.begin(0, 3..=4);
    let (broker, clock) = (bench.broker.clone(), bench.clock.clone());
    let mut next = 5;
    let mut ingest = bench.open(move |poll| {
        clock.advance(Duration::from_millis(100));
        append(&broker, 1, next..=next);
        next += 1;
        assert!(poll.at < Duration::from_secs(120), "still waiting");
    });
    let error = ingest.run(AVAILABLE_NOW).unwrap_err();
    assert!(error.to_string().contains("food_orders_raw/0 stands at 0 of 2"), "{error}");
    let commits = bench.commits().len();
    assert!(commits < 40, "{commits} commits in 90 s: what flows in behind the ends waits for its trigger");
}

#[test]
fn a_partition_that_another_member_holds_is_waited_for_and_then_named() {
    let bench = Bench::new(2);
    bench.append(0, 1..=2);
    bench.append(1, 3..=4);
    // Holds half of the topic and commits nothing.
    let mut silent = bench.broker.consumer(GROUP, TOPIC);
    let mut void = MessageBatch::default();
    let mut ingest = bench.open(move |_| {
        let events = silent.poll(&mut void, 0, 0, Duration::ZERO).unwrap();
        if events == [Event::Revoked] {
            silent.assign(&[]).unwrap();
        }
    });
    let waits = bench.waits.clone();
    let error = ingest.run(AVAILABLE_NOW).unwrap_err();
    assert_eq!(error.exit_code(), 75);
    assert!(error.to_string().contains("another member"), "{error}");
    assert_eq!(bench.lake.ids().len(), 2, "its own half is in the lake");
    let idle = waits.lock().unwrap().iter().filter(|wait| wait.is_zero()).count();
    assert_eq!(idle, 0, "waiting is not spinning");
}

#[test]
fn another_workers_commits_end_a_bounded_run_too() {
    let bench = Bench::new(2);
    bench.append(0, 1..=2);
    bench.append(1, 3..=4);
    let mut silent = bench.broker.consumer(GROUP, TOPIC);
    let mut void = MessageBatch::default();
    let lake = bench.lake.clone();
    let (mut held, mut foreign) = (Vec::new(), false);
    let mut ingest = bench.open(move |poll| {
        for event in silent.poll(&mut void, 0, 0, Duration::ZERO).unwrap() {
            match event {
                Event::Assigned(partitions) => held = partitions,
                _ => silent.assign(&[]).unwrap(),
            }
        }
        if !foreign && poll.at >= Duration::from_secs(10) && held.len() == 1 {
            foreign = true;
            lake.commit_foreign(&[range(held[0], 0, 2)]);
        }
    });
    ingest.run(AVAILABLE_NOW).unwrap();
    assert_eq!(bench.positions(), [2, 2]);
    assert_eq!(ingest.progress().commit, Some(2));
}

#[test]
fn a_stop_ends_a_bounded_run_without_an_error() {
    let bench = Bench::new(1);
    bench.append(0, 1..=2);
    let _open = bench.begin(0, 3..=4);
    let stop = bench.stop.clone();
    let mut ingest = bench.open(move |poll| {
        if poll.at >= Duration::from_secs(7) {
            stop.request();
        }
    });
    ingest.run(AVAILABLE_NOW).unwrap();
    assert_eq!(bench.lake.ids(), [1, 2]);
    assert_eq!(ingest.run(AVAILABLE_NOW).unwrap().batches, 0, "and none that begins after it");
}

#[test]
fn a_partition_that_came_later_and_expired_whole_is_not_waited_for() {
    let bench = Bench::new(1);
    bench.append(0, 1..=2);
    bench.ingest_all();
    bench.broker.add_partitions(TOPIC, 2).unwrap();
    bench.append(1, 3..=9);
    bench.broker.delete_records(TOPIC, 1, 7).unwrap();
    bench.append(0, 10..=10);
    let done = bench.ingest_all();
    assert_eq!((done.counts.input, bench.lake.ids()), (1, vec![1, 2, 10]));
    bench.append(1, 11..=12);
    bench.ingest_all();
    assert_eq!((bench.lake.ids(), bench.positions()), (vec![1, 2, 10, 11, 12], vec![3, 9]));
}
