//! A function for each batch: the same rows under the same id, however often it begins anew (C5).

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::*;
use crate::broker::memory::Fault;
use crate::lake::{Plan, Planned};
use crate::pipeline::batches::{Batches, Handed};

type TestBatches = Batches<Driven, MemoryCluster>;

/// What a function saw of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    id: String,
    ranges: Vec<OffsetRange>,
    ids: Vec<i64>,
}

impl Seen {
    fn of(handed: &Handed) -> Seen {
        let rows = handed.batch.accepted.iter().map(|dated| dated.rows.column(0).as_primitive::<Int64Type>());
        let mut ids: Vec<i64> = rows.flat_map(|column| column.values().to_vec()).collect();
        ids.sort_unstable();
        let id = handed.batch.plan.clone().expect("every batch for a function is planned");
        Seen { id, ranges: handed.batch.ranges.clone(), ids }
    }
}

fn broken() -> Error {
    Error::new(Kind::Source, "the function's own database is away")
}

impl Bench {
    fn batches(&self, script: impl FnMut(&Poll) + Send + 'static) -> TestBatches {
        Batches::new(self.open(script))
    }

    /// All there is, by a worker that leaves afterwards.
    fn each_available(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let each = |handed: &Handed| {
            seen.push(Seen::of(handed));
            Ok(())
        };
        self.batches(|_| {}).for_each(AVAILABLE_NOW, each).unwrap();
        seen
    }

    /// A worker that dies with its first batch in the function's hands.
    fn die_at_first(&self) -> Seen {
        let mut batches = self.batches(|_| {});
        batches.begin_each(AVAILABLE_NOW).unwrap();
        Seen::of(&batches.next_each().unwrap().unwrap())
    }

    fn committed(&self) -> Vec<Seen> {
        let commits = self.lake.commits().into_iter().filter(|batch| batch.counts.input > 0);
        commits.map(|batch| Seen::of(&Handed { serial: 0, id: 0, batch })).collect()
    }
}

#[test]
fn a_batch_that_was_begun_comes_again_exactly_though_more_has_arrived() {
    let mut bench = Bench::new(2).with_limit(7);
    bench.append(0, 1..=4);
    bench.append(1, 11..=13);
    let begun = bench.die_at_first();
    assert_eq!(begun.ids, [1, 2, 3, 4, 11, 12, 13]);
    assert!(bench.lake.ids().is_empty());

    // Smaller limits must not cut it, and what arrives behind it must not join it.
    bench.append(0, 5..=6);
    bench.append(1, 14..=14);
    bench.options.limits.max_messages = 2;
    let seen = bench.each_available();
    assert_eq!(seen[0], begun);
    assert_eq!(seen.iter().map(|seen| seen.ids.len()).collect::<Vec<_>>(), [7, 2, 1]);
    assert_eq!(bench.committed(), seen, "committed under the ids the function was given");
    assert_eq!(bench.lake.ids(), [1, 2, 3, 4, 5, 6, 11, 12, 13, 14]);
    assert!(bench.lake.plans_left().is_empty());
}

#[test]
fn a_plan_ends_past_the_control_records_it_ended_past() {
    let bench = Bench::new(1);
    bench.commit(0, 1..=2);
    bench.abort(0, 3..=5);
    bench.commit(0, 6..=6);
    let begun = bench.die_at_first();
    assert_eq!((&begun.ids[..], &begun.ranges[..]), (&[1, 2, 6][..], &[range(0, 0, 9)][..]));
    bench.commit(0, 7..=7);
    let seen = bench.each_available();
    assert_eq!(seen[0], begun);
    assert_eq!(seen[1].ranges, [range(0, 9, 11)]);
}

#[test]
fn the_functions_error_is_returned_and_the_next_call_begins_with_the_same_batch() {
    let bench = Bench::new(1).with_limit(2);
    bench.append(0, 1..=6);
    let mut batches = bench.batches(|_| {});
    let mut seen = Vec::new();
    for failing in [2, 2, 99] {
        let mut calls = 0;
        let result = batches.for_each(AVAILABLE_NOW, |handed| {
            seen.push(Seen::of(handed));
            calls += 1;
            if calls == failing { Err(broken()) } else { Ok(()) }
        });
        match failing {
            99 => assert_eq!(result.unwrap().counts.input, 2),
            _ => assert_eq!(result.unwrap_err().to_string(), broken().to_string()),
        }
    }
    let ids: Vec<_> = seen.iter().map(|seen| seen.ids[0]).collect();
    assert_eq!(ids, [1, 3, 3, 5, 5]);
    assert_eq!((&seen[1], &seen[3]), (&seen[2], &seen[4]));
    assert_eq!(bench.lake.ids(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_commit_that_fails_lets_the_batch_come_again_under_its_id() {
    let bench = Bench::new(1).with_limit(2);
    bench.append(0, 1..=4);
    let mut batches = bench.batches(|_| {});
    bench.lake.fail_next_commit(Error::new(Kind::Lake, "no space left on device"));
    let mut seen = Vec::new();
    let mut each = |handed: &Handed| {
        seen.push(Seen::of(handed));
        Ok(())
    };
    assert_eq!(batches.for_each(AVAILABLE_NOW, &mut each).unwrap_err().kind(), Kind::Lake);
    batches.for_each(AVAILABLE_NOW, &mut each).unwrap();
    assert_eq!((seen.len(), &seen[0]), (3, &seen[1]));
    assert_eq!(bench.lake.ids(), [1, 2, 3, 4]);
}

#[test]
fn a_plan_that_a_plain_run_overtook_is_dropped_and_its_rows_do_not_come_again() {
    let bench = Bench::new(1).with_limit(3);
    bench.append(0, 1..=4);
    let begun = bench.die_at_first();
    bench.append(0, 5..=5);
    bench.ingest_all();
    assert_eq!(bench.lake.ids(), [1, 2, 3, 4, 5]);
    bench.append(0, 6..=6);
    let seen = bench.each_available();
    assert_eq!((seen.len(), &seen[0].ids[..]), (1, &[6][..]));
    assert_ne!(seen[0].id, begun.id);
    assert!(bench.lake.plans_left().is_empty());
}

#[test]
fn a_plain_run_after_a_function_begins_where_the_log_stands() {
    let bench = Bench::new(1).with_limit(2);
    bench.append(0, 1..=6);
    let mut batches = bench.batches(|_| {});
    let once = Bounds { max_batches: Some(1), ..AVAILABLE_NOW };
    assert_eq!(batches.for_each(once, |_| Ok(())).unwrap().counts.input, 2);
    assert!(batches.for_each(once, |_| Err(broken())).is_err());
    batches.ingest.run(AVAILABLE_NOW).unwrap();
    let mut called = false;
    let each = |_: &Handed| {
        called = true;
        Ok(())
    };
    batches.for_each(AVAILABLE_NOW, each).unwrap();
    assert!(!called, "its rows are in the lake");
    assert_eq!(bench.lake.ids(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_plan_whose_partitions_were_dealt_to_two_workers_is_replayed_whole_by_either() {
    let bench = Bench::new(2);
    bench.append(0, 1..=3);
    bench.append(1, 11..=13);
    let begun = bench.die_at_first();
    bench.append(0, 4..=4);
    bench.append(1, 14..=14);

    // Joins first and holds one of the two partitions, so the worker under test holds the other.
    let mut other = bench.broker.consumer(GROUP, TOPIC);
    let mut void = MessageBatch::default();
    let mut batches = bench.batches(move |_| match &other.poll(&mut void, 0, 0, Duration::ZERO).unwrap()[..] {
        [Event::Revoked] => other.assign(&[]).unwrap(),
        [Event::Assigned(own)] => {
            let own: Vec<_> = own.iter().map(|&partition| PartitionOffset { partition, offset: 0 }).collect();
            other.assign(&own).unwrap();
        }
        _ => {}
    });
    let mut seen = Vec::new();
    let two = Bounds { max_batches: Some(2), ..FOREVER };
    let each = |handed: &Handed| {
        seen.push(Seen::of(handed));
        Ok(())
    };
    batches.for_each(two, each).unwrap();
    assert_eq!(seen[0], begun);
    assert_eq!(seen[1].ranges.len(), 1, "of its own partition only: {:?}", seen[1]);
    assert_eq!(bench.lake.ids().len(), 7);
}

#[test]
fn a_sleeper_and_its_heir_hold_the_same_batch_and_one_of_them_commits_it() {
    let bench = Bench::new(1).with_limit(3);
    bench.append(0, 1..=3);
    let mut sleeper = bench.batches(|_| {});
    sleeper.begin_each(FOREVER).unwrap();
    let asleep = sleeper.next_each().unwrap().unwrap();
    bench.append(0, 4..=5);
    // The partition goes to another worker while the sleeper's function runs; only the lake tells them apart.
    let member = bench.broker.consumer("a group of its own", TOPIC);
    let mut heir = Batches::new(bench.try_open_as(member, |_| {}).unwrap());
    let mut seen = Vec::new();
    let each = |handed: &Handed| {
        seen.push(Seen::of(handed));
        Ok(())
    };
    heir.for_each(Bounds { max_batches: Some(1), ..FOREVER }, each).unwrap();
    assert_eq!(seen, [Seen::of(&asleep)]);
    assert_eq!(sleeper.commit(asleep.serial).unwrap(), Some(false), "the heir was faster");
    let next = sleeper.next_each().unwrap().unwrap();
    assert_eq!(Seen::of(&next).ids, [4, 5]);
    assert_eq!(sleeper.commit(next.serial).unwrap(), Some(true));
    assert_eq!(bench.lake.ids(), [1, 2, 3, 4, 5]);
}

#[test]
fn offsets_that_another_worker_planned_meanwhile_are_taken_from_its_plan() {
    let bench = Bench::new(1);
    bench.append(0, 1..=4);
    let mut planned: Option<Plan> = None;
    let mut lake = bench.lake.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    // After this worker has looked for plans, one that lost the partition without knowing writes its own.
    let mut batches = bench.batches(move |poll| {
        if planned.is_none() && poll.at >= Duration::from_secs(1) {
            let Planned::Done(plan) = lake.plan(&[range(0, 0, 2)]).unwrap() else { panic!("nothing was planned") };
            planned = Some(plan.clone());
            sender.send(plan).unwrap();
        }
    });
    let mut seen = Vec::new();
    let each = |handed: &Handed| {
        seen.push(Seen::of(handed));
        Ok(())
    };
    batches.for_each(Bounds { max_batches: Some(2), ..FOREVER }, each).unwrap();
    assert_eq!(seen[0].id, receiver.recv().unwrap().id);
    assert_eq!(seen.iter().map(|seen| &seen.ids[..]).collect::<Vec<_>>(), [[1, 2], [3, 4]]);
}

#[test]
fn a_function_under_rebalances_and_errors_sees_each_offset_under_one_id_only() {
    let bench = Bench::new(4).with_limit(5);
    for partition in 0..4 {
        bench.append(partition, i64::from(partition) * 100 + 1..=i64::from(partition) * 100 + 40);
        bench.abort(partition, 900..=903);
        bench.commit(partition, i64::from(partition) * 100 + 41..=i64::from(partition) * 100 + 60);
    }
    let seen: Mutex<Vec<Seen>> = Mutex::default();
    let work = |seed: usize| {
        let parts = Parts {
            consumer: bench.broker.consumer(GROUP, TOPIC),
            cluster: bench.broker.cluster(),
            lake: bench.lake.clone(),
            validator: validator(&Validation::default()),
            totals: totals(),
            clock: Arc::new(crate::clock::SystemClock) as Arc<dyn Clock>,
        };
        let mut options = bench.options.clone();
        (options.once_wait, options.trigger) = (PATIENCE, Duration::from_millis(20));
        let mut batches = Batches::new(Ingest::open(parts, options, true, Stop::new()).unwrap());
        let mut calls = seed;
        let each = |handed: &Handed, calls: &mut usize| {
            seen.lock().unwrap().push(Seen::of(handed));
            *calls += 1;
            if calls.is_multiple_of(3) { Err(broken()) } else { Ok(()) }
        };
        let begun = Instant::now();
        while batches.for_each(AVAILABLE_NOW, |handed| each(handed, &mut calls)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the loop does not end");
            bench.broker.rebalance(GROUP);
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|seed| drop(scope.spawn(move || work(seed)))));

    let expected: Vec<i64> = (0..4).flat_map(|partition| partition * 100 + 1..=partition * 100 + 60).collect();
    assert_eq!(bench.lake.ids(), expected);
    let seen = seen.into_inner().unwrap();
    let mut by_id: BTreeMap<&str, &Seen> = BTreeMap::new();
    let mut id_of: BTreeMap<i64, &str> = BTreeMap::new();
    for batch in &seen {
        assert_eq!(*by_id.entry(&batch.id).or_insert(batch), batch, "an id has one batch");
        for &row in &batch.ids {
            assert_eq!(*id_of.entry(row).or_insert(&batch.id), batch.id, "a row has one id");
        }
    }
    assert!(seen.len() > by_id.len(), "nothing came twice, so nothing was tried");
    assert!(bench.committed().iter().all(|batch| by_id[&*batch.id] == batch));
}

#[test]
fn control_records_alone_are_committed_without_a_call() {
    let bench = Bench::new(1);
    bench.abort(0, 1..=3);
    assert!(bench.each_available().is_empty());
    assert_eq!((bench.commits(), bench.positions()), (vec![(vec![range(0, 0, 4)], 0)], vec![4]));
}

#[test]
fn a_stop_calls_the_function_no_more_and_still_commits_what_it_holds() {
    let bench = Bench::new(1).with_limit(2);
    bench.append(0, 1..=6);
    let stop = bench.stop.clone();
    let mut batches = bench.batches(|_| {});
    let each = |_: &Handed| {
        stop.request();
        Ok(())
    };
    let done = batches.for_each(FOREVER, each).unwrap();
    assert_eq!((done.batches, bench.lake.ids()), (1, vec![1, 2]));
}

#[test]
fn when_the_time_is_over_the_open_batch_is_handed_out_first() {
    let bench = Bench::new(1);
    bench.append(0, 1..=3);
    let mut batches = bench.batches(|_| {});
    let done = batches.for_each(Bounds { timeout: Some(Duration::from_secs(1)), ..FOREVER }, |_| Ok(())).unwrap();
    assert_eq!((done.batches, bench.lake.ids()), (1, vec![1, 2, 3]));
    let none = batches.for_each(Bounds { timeout: Some(Duration::ZERO), ..FOREVER }, |_| Ok(())).unwrap();
    assert_eq!(none.batches, 0);
}

#[test]
fn a_replay_waits_for_a_broker_that_is_away() {
    let mut bench = Bench::new(1);
    bench.append(0, 1..=3);
    let begun = bench.die_at_first();
    bench.options.retry.start_timeout = PATIENCE;
    bench.broker.inject(Fault::ReadTimesOut);
    assert_eq!(bench.each_available(), [begun]);
    assert_eq!(bench.lake.ids(), [1, 2, 3]);
}

#[test]
fn planned_offsets_that_were_deleted_stop_or_are_recorded_as_lost() {
    for fail_on_data_loss in [true, false] {
        let mut bench = Bench::new(1);
        bench.append(0, 1..=5);
        let begun = bench.die_at_first();
        bench.append(0, 6..=9);
        bench.broker.delete_records(TOPIC, 0, 3).unwrap();
        bench.options.fail_on_data_loss = fail_on_data_loss;
        if fail_on_data_loss {
            let error = bench.batches(|_| {}).for_each(AVAILABLE_NOW, |_| Ok(())).unwrap_err();
            assert_eq!(error.kind(), Kind::DataLoss);
            assert!(error.to_string().contains("[0, 3)"), "{error}");
            continue;
        }
        let seen = bench.each_available();
        assert_eq!((&seen[0].id, &seen[0].ranges, &seen[0].ids[..]), (&begun.id, &begun.ranges, &[4, 5][..]));
        assert_eq!(bench.lake.commits()[0].lost, [range(0, 0, 3)]);
        assert_eq!(bench.lake.ids(), [4, 5, 6, 7, 8, 9]);
    }
}
