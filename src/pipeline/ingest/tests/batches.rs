//! What a micro-batch is: where it ends, what it covers, what it counts (C1, C2).

use super::*;

#[test]
fn a_batch_ends_by_its_records() {
    let bench = Bench::new(1).with_limit(3);
    bench.append(0, 1..=8);
    let done = bench.ingest_all();
    assert_eq!(bench.commits(), [(vec![range(0, 0, 3)], 3), (vec![range(0, 3, 6)], 3), (vec![range(0, 6, 8)], 2)]);
    assert_eq!(bench.lake.ids(), (1..=8).collect::<Vec<_>>());
    assert_eq!((done.batches, done.counts.input, done.commit), (3, 8, Some(3)));
    assert_eq!(done.positions, [PartitionOffset { partition: 0, offset: 8 }]);
}

#[test]
fn a_batch_ends_by_its_bytes() {
    let mut bench = Bench::new(1);
    bench.options.limits.max_bytes = 3 * order(1).len() as u64;
    bench.append(0, 1..=8);
    bench.ingest_all();
    let sizes: Vec<_> = bench.commits().iter().map(|commit| commit.1).collect();
    assert_eq!(sizes, [3, 3, 2]);
}

#[test]
fn a_batch_ends_one_trigger_after_the_one_before() {
    let mut bench = Bench::new(1);
    bench.options.settle = Duration::from_millis(100);
    bench.append(0, 1..=2);
    let (broker, lake, stop) = (bench.broker.clone(), bench.lake.clone(), bench.stop.clone());
    let mut late = vec![(Duration::from_secs(2), 4), (Duration::from_secs(1), 3)];
    let mut first = None;
    let mut ingest = bench.open(move |poll| {
        let commits = lake.commits().len();
        if commits > 0 && first.is_none() {
            first = Some(poll.at);
            assert!(poll.at < Duration::from_secs(1), "nothing was there before it: {:?}", poll.at);
        }
        if let Some(first) = first {
            let since = poll.at - first;
            assert!(commits < 2 || since >= Duration::from_millis(4_800), "committed after {since:?}");
            assert!(commits > 1 || since < Duration::from_secs(6), "no longer than the trigger and a poll: {since:?}");
            if let Some((_, id)) = late.pop_if(|(after, _)| since >= *after) {
                append(&broker, 0, id..=id);
            }
        }
        if commits > 1 {
            stop.request();
        }
    });
    let done = ingest.run(FOREVER).unwrap();
    assert_eq!(bench.commits(), [(vec![range(0, 0, 2)], 2), (vec![range(0, 2, 4)], 2)], "both late ones are in one");
    assert_eq!(done.counts.input, 4);
}

#[test]
fn after_a_pause_a_batch_waits_only_for_what_was_published_with_its_first_message() {
    let mut bench = Bench::new(1);
    bench.options.settle = Duration::from_millis(100);
    bench.append(0, 1..=1);
    let (broker, lake, stop) = (bench.broker.clone(), bench.lake.clone(), bench.stop.clone());
    let mut later = None;
    let mut ingest = bench.open(move |poll| match (lake.commits().len(), later) {
        (1, None) if poll.at >= Duration::from_secs(8) => {
            append(&broker, 0, 2..=3);
            later = Some(poll.at);
        }
        (2, Some(later)) => {
            assert!(poll.at - later < Duration::from_secs(1), "it waited {:?}", poll.at - later);
            stop.request();
        }
        _ => (),
    });
    ingest.run(FOREVER).unwrap();
    assert_eq!(bench.commits(), [(vec![range(0, 0, 1)], 1), (vec![range(0, 1, 3)], 2)]);
}

#[test]
fn what_a_full_batch_leaves_over_does_not_wait_for_a_trigger_after_it() {
    let mut bench = Bench::new(1).with_limit(3);
    bench.options.settle = Duration::from_millis(100);
    let (broker, lake, stop) = (bench.broker.clone(), bench.lake.clone(), bench.stop.clone());
    let mut published = None;
    let mut ingest = bench.open(move |poll| {
        let published = *published.get_or_insert_with(|| {
            append(&broker, 0, 1..=4);
            poll.at
        });
        if lake.commits().len() == 2 {
            assert!(poll.at - published < Duration::from_secs(1), "it waited {:?}", poll.at - published);
            stop.request();
        }
    });
    ingest.run(FOREVER).unwrap();
    assert_eq!(bench.commits(), [(vec![range(0, 0, 3)], 3), (vec![range(0, 3, 4)], 1)]);
}

#[test]
fn a_late_batch_does_not_put_off_those_after_it() {
    const LATE: Duration = Duration::from_millis(30);
    let mut bench = Bench::new(1);
    bench.options.settle = Duration::from_millis(100);
    let (broker, lake, clock, stop) =
        (bench.broker.clone(), bench.lake.clone(), bench.clock.clone(), bench.stop.clone());
    let (mut publish_at, mut waited) = (Duration::ZERO, Duration::ZERO);
    let mut ingest = bench.open(move |poll| {
        let commits = lake.commits().len();
        if poll.at >= publish_at {
            append(&broker, 0, 1..=1);
            publish_at += Duration::from_secs(5);
        }
        let since = publish_at.saturating_sub(poll.at);
        // Every wait takes longer than asked for, as on any busy machine.
        if poll.at > waited {
            clock.advance(LATE);
            waited = poll.at + LATE;
        }
        if commits == 40 {
            assert!(since > Duration::from_millis(4_500), "the last was committed {since:?} before the next poll");
            stop.request();
        }
    });
    ingest.run(FOREVER).unwrap();
    assert_eq!(bench.commits().len(), 40);
}

#[test]
fn one_late_poll_does_not_put_off_those_after_it() {
    const POLLS: [u64; 5] = [0, 5, 12, 15, 20];
    let mut bench = Bench::new(1);
    bench.options.settle = Duration::from_millis(100);
    let (broker, lake, stop) = (bench.broker.clone(), bench.lake.clone(), bench.stop.clone());
    let mut published = 0;
    let mut ingest = bench.open(move |poll| {
        if POLLS.get(published).is_some_and(|&due| poll.at >= Duration::from_secs(due)) {
            append(&broker, 0, 1..=1);
            published += 1;
        }
        if lake.commits().len() == POLLS.len() {
            assert!(poll.at < Duration::from_secs(21), "the last poll was committed at {:?}", poll.at);
            stop.request();
        }
    });
    ingest.run(FOREVER).unwrap();
    assert_eq!(bench.commits().len(), POLLS.len());
}

#[test]
fn a_full_batch_never_waits_for_the_trigger() {
    let bench = Bench::new(1).with_limit(2);
    bench.append(0, 1..=6);
    let begun = bench.clock.instant();
    bench.ingest_all();
    assert_eq!(bench.commits().len(), 3);
    assert!(bench.clock.instant().duration_since(begun) < Duration::from_secs(1));
}

#[test]
fn control_records_are_committed_at_idle_and_only_there() {
    let bench = Bench::new(1).with_limit(2);
    bench.commit(0, 1..=2);
    bench.commit(0, 3..=4);
    let mut aborted = Some(bench.begin(0, 5..=6));
    let (lake, stop) = (bench.lake.clone(), bench.stop.clone());
    let mut ingest = bench.open(move |poll| {
        if poll.idle > 10
            && let Some(mut producer) = aborted.take()
        {
            producer.abort(Duration::ZERO).unwrap();
        }
        if lake.commits().len() == 3 {
            stop.request();
        }
    });
    let done = ingest.run(FOREVER).unwrap();
    // The marker of the first transaction goes with the messages behind it, and only the aborted tail stands alone.
    let expected = [(vec![range(0, 0, 2)], 2), (vec![range(0, 2, 6)], 2), (vec![range(0, 6, 9)], 0)];
    assert_eq!(bench.commits(), expected);
    assert_eq!((done.batches, done.commit), (2, Some(3)), "an empty commit is no batch");
}

#[test]
fn the_expiry_of_an_idle_tail_is_no_loss() {
    let bench = Bench::new(1);
    bench.commit(0, 1..=2);
    bench.abort(0, 3..=9);
    bench.ingest_all();
    assert_eq!(bench.positions(), [11]);
    bench.broker.delete_records(TOPIC, 0, 11).unwrap();
    bench.commit(0, 10..=10);
    bench.ingest_all();
    assert_eq!(bench.lake.ids(), [1, 2, 10]);
}

#[test]
fn a_stop_commits_the_open_batch_with_the_control_record_behind_it() {
    let bench = Bench::new(1);
    bench.commit(0, 1..=2);
    let stop = bench.stop.clone();
    let mut ingest = bench.open(move |poll| {
        if poll.at >= Duration::from_secs(1) {
            stop.request();
        }
    });
    let done = ingest.run(FOREVER).unwrap();
    assert_eq!(bench.commits(), [(vec![range(0, 0, 3)], 2)]);
    assert_eq!(done.counts.input, 2);
    ingest.close().unwrap();
}

#[test]
fn a_stop_commits_control_records_that_were_only_passed_over() {
    let mut bench = Bench::new(2);
    bench.abort(0, 1..=3);
    // So it is not idle, and nothing but the stop ends the batch.
    bench.silent = Some(1);
    let (lake, stop) = (bench.lake.clone(), bench.stop.clone());
    let mut ingest = bench.open(move |poll| {
        if poll.at >= Duration::from_secs(1) {
            assert_eq!(lake.commits().len(), 0, "control records were committed while there may be more to read");
            stop.request();
        }
    });
    ingest.run(FOREVER).unwrap();
    assert_eq!(bench.commits(), [(vec![range(0, 0, 4)], 0)]);
    ingest.close().unwrap();
}

#[test]
fn the_time_of_a_run_that_is_over_commits_the_open_batch_too() {
    let bench = Bench::new(1);
    bench.append(0, 1..=2);
    let mut ingest = bench.open(|_| {});
    let done = ingest.run(Bounds { timeout: Some(Duration::from_secs(2)), ..FOREVER }).unwrap();
    assert_eq!((done.counts.input, done.seconds >= 2.0, done.seconds < 3.0), (2, true, true));
    assert_eq!(bench.lake.ids(), [1, 2]);
}

#[test]
fn a_number_of_batches_counts_those_with_messages() {
    let bench = Bench::new(1).with_limit(2);
    bench.commit(0, 1..=2);
    bench.commit(0, 3..=9);
    let mut ingest = bench.open(|_| {});
    let two = Bounds { max_batches: Some(2), ..FOREVER };
    let done = ingest.run(two).unwrap();
    assert_eq!((done.batches, bench.lake.ids()), (2, vec![1, 2, 3, 4]));
    // The next call goes on where this one ended.
    assert_eq!(ingest.run(two).unwrap().counts.input, 4);
    assert_eq!(bench.lake.ids(), (1..=8).collect::<Vec<_>>());
    assert_eq!(ingest.run(Bounds { max_batches: Some(0), ..FOREVER }).unwrap().batches, 0);
}

#[test]
fn what_comes_in_is_accepted_or_rejected() {
    let bench = Bench::new(2);
    bench.append(0, 1..=3);
    for value in ["{", "", "[]"] {
        bench.broker.append(TOPIC, 1, None, Some(value.as_bytes())).unwrap();
    }
    bench.broker.append(TOPIC, 1, None, None).unwrap();
    bench.broker.append(TOPIC, 1, None, Some(order_of(4, "-1.00").as_bytes())).unwrap();
    bench.broker.append(TOPIC, 1, None, Some(order_of(5, "12.34").as_bytes())).unwrap();
    let mut ingest = bench.open(|_| {});
    let done = ingest.run(AVAILABLE_NOW).unwrap();
    assert_eq!(done.counts, Counts { input: 9, accepted: 4, rejected: 5 });
    assert_eq!(bench.lake.ids(), [1, 2, 3, 5]);
    let head = bench.lake.head_now();
    assert_eq!(head.counts, done.counts);
    let day = head.totals.get("2025-11-18".parse().unwrap(), &[]).unwrap();
    assert_eq!((day.rows, day.sum("amount")), (4, Some("1062.34")));
    let rejected: usize = bench.lake.commits()[0].rejected.iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(rejected, 5);
    assert_eq!(bench.broker.group_offsets(GROUP), BTreeMap::from([(0, 3), (1, 6)]), "for lag tools");
    let report = ingest.reports().last().unwrap();
    assert_eq!((report["numInputRows"].as_u64(), report["sink"]["numRejectedRows"].as_u64()), (Some(9), Some(5)));
    assert_eq!(report["sources"][0]["endOffset"], serde_json::json!({"0": 3, "1": 6}));
}

#[test]
fn starts_are_resolved_once_and_committed_before_anything_is_read() {
    let explicit = |offsets: &[(i32, i64)]| StartingOffsets::Explicit(offsets.iter().copied().collect());
    for (starting_offsets, founded, read) in [
        (StartingOffsets::Earliest, [1, 0], 5..=10),
        (StartingOffsets::Latest, [4, 3], 10..=10),
        (StartingOffsets::TimestampMs(2_000), [3, 3], 7..=10),
        (explicit(&[(0, 2), (1, -1)]), [2, 3], 6..=10),
        (explicit(&[(0, -2)]), [1, 0], 5..=10),
    ] {
        let mut bench = Bench::new(2);
        bench.options.starting_offsets = starting_offsets.clone();
        bench.broker.set_time_ms(1_000);
        bench.append(0, 4..=6);
        bench.append(1, 21..=23);
        bench.broker.set_time_ms(2_000);
        bench.append(0, 7..=7);
        bench.broker.delete_records(TOPIC, 0, 1).unwrap();
        bench.open(|_| {}).close().unwrap();
        assert_eq!(bench.positions(), founded, "{starting_offsets:?}");
        bench.append(0, 10..=10);
        bench.ingest_all();
        let ids: Vec<_> = bench.lake.ids().into_iter().filter(|&id| id < 20).collect();
        assert_eq!(ids, [4, 5, 6, 7, 10].into_iter().filter(|id| read.contains(id)).collect::<Vec<_>>());
    }
}

#[test]
fn explicit_starts_that_the_topic_does_not_have_are_refused_and_found_no_lake() {
    for (offsets, words) in [((0, 9), "holds 0 to 3"), ((0, -3), "holds 0 to 3"), ((5, 0), "partition 5")] {
        let mut bench = Bench::new(1);
        bench.append(0, 1..=3);
        bench.options.starting_offsets = StartingOffsets::Explicit(BTreeMap::from([offsets]));
        let error = bench.failure();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains(words), "{error}");
        assert!(bench.lake.clone().head().unwrap().is_none());
    }
}

#[test]
fn partitions_that_appear_later_start_at_their_earliest_message() {
    let mut bench = Bench::new(1);
    bench.options.starting_offsets = StartingOffsets::Latest;
    bench.append(0, 1..=1);
    bench.ingest_all();
    bench.broker.add_partitions(TOPIC, 2).unwrap();
    bench.append(1, 2..=3);
    bench.append(0, 4..=4);
    bench.ingest_all();
    assert_eq!(bench.lake.ids(), [2, 3, 4]);
    assert_eq!(bench.positions(), [2, 2]);
}

#[test]
fn a_partition_that_appeared_later_is_seen_where_it_began_until_its_first_batch_is_committed() {
    let bench = Bench::new(1);
    bench.ingest_all();
    bench.broker.add_partitions(TOPIC, 2).unwrap();
    bench.append(1, 1..=3);
    let mut ingest = bench.open(|_| {});
    let targets = ingest.targets(AVAILABLE_NOW).unwrap().unwrap();
    let batch = ingest.next_batch(Some(&targets), None).unwrap().unwrap();
    assert_eq!(batch.ranges, [range(1, 0, 3)]);
    bench.clock.advance(Duration::from_secs(1));
    ingest.tell_standing();
    let seen = || bench.options.monitor.sight().consumer.unwrap().committed;
    assert_eq!(seen(), [(0, 0), (1, 0)].into());
    assert!(ingest.commit(batch).unwrap());
    assert_eq!(seen(), [(0, 0), (1, 3)].into());
    ingest.close().unwrap();
}
