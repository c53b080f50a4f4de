//! A message whose id is in the lake is rejected, and no message is rejected for itself, whatever moves meanwhile.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use proptest::prelude::*;

use super::*;
use crate::broker::memory::Fault;
use crate::clock::SystemClock;
use crate::config::Unique;
use crate::model::Message;

/// A bench whose validator accepts each order id once.
fn bench(partitions: i32, horizon: u64) -> Bench {
    let mut bench = Bench::new(partitions);
    bench.validation.unique = Some(Unique { column: "order_id".to_owned(), horizon });
    bench
}

fn send(bench: &Bench, partition: i32, ids: &[i64]) {
    for &id in ids {
        append(&bench.broker, partition, id..=id);
    }
}

/// Ids of the rejected orders, in the order of the commits; all for being repetitions.
fn rejected(lake: &MemoryLake) -> Vec<i64> {
    let mut ids = Vec::new();
    for batch in lake.commits().iter().flat_map(|batch| &batch.rejected) {
        let reasons = batch.column_by_name("reasons").unwrap().as_string::<i32>();
        assert!(reasons.iter().all(|reason| reason == Some("duplicate_id:order_id")), "{reasons:?}");
        ids.extend(batch.column_by_name("order_id").unwrap().as_primitive::<Int64Type>().values());
    }
    ids
}

/// What another worker commits: these orders of a partition, from an offset on.
fn foreign(partition: i32, from: i64, ids: &[i64]) -> MicroBatch {
    let mut messages = MessageBatch::default();
    for (index, &id) in ids.iter().enumerate() {
        let (offset, value) = (from + index as i64, order(id));
        messages.push(Message { partition, offset, timestamp_ms: 0, key: None, value: Some(value.as_bytes()) });
    }
    let validated = validator(&Validation::default()).validate(&messages).unwrap();
    let ranges = vec![range(partition, from, from + ids.len() as i64)];
    MicroBatch { ranges, accepted: validated.accepted, counts: validated.counts, ..MicroBatch::default() }
}

/// A process that was killed: nothing more is committed, and the group does without it.
fn bury(mut ingest: TestIngest) {
    ingest.close().unwrap();
}

#[test]
fn a_repetition_is_found_within_a_batch_across_batches_and_across_runs() {
    let bench = bench(1, 1_000).with_limit(2);
    send(&bench, 0, &[1, 1, 2, 1, 3, 2]);
    let done = bench.ingest_all();
    assert_eq!((bench.lake.ids(), rejected(&bench.lake)), (vec![1, 2, 3], vec![1, 1, 2]));
    assert_eq!(done.counts, Counts { input: 6, accepted: 3, rejected: 3 });
    send(&bench, 0, &[3, 4, 1]);
    bench.ingest_all();
    assert_eq!((bench.lake.ids(), rejected(&bench.lake)), (vec![1, 2, 3, 4], vec![1, 1, 2, 3, 1]));
}

#[test]
fn an_invalid_message_does_not_take_the_id_from_a_later_valid_one() {
    let bench = bench(1, 1_000);
    bench.broker.append(TOPIC, 0, None, Some(order_of(1, "-5.00").as_bytes())).unwrap();
    send(&bench, 0, &[1]);
    let done = bench.ingest_all();
    assert_eq!((done.counts.rejected, bench.lake.ids()), (1, vec![1]));
}

#[test]
fn a_kill_neither_forgets_what_is_committed_nor_remembers_what_is_not() {
    let bench = bench(1, 1_000).with_limit(3);
    send(&bench, 0, &[1, 2, 1, 3, 4, 2]);
    let mut killed = bench.open(|_| {});
    let targets = killed.targets(AVAILABLE_NOW).unwrap().unwrap();
    let batch = killed.next_batch(Some(&targets), None).unwrap().unwrap();
    assert!(killed.commit(batch).unwrap());
    let batch = killed.next_batch(Some(&targets), None).unwrap().unwrap();
    assert_eq!((batch.counts.accepted, batch.counts.rejected), (2, 1));
    bury(killed);
    bench.ingest_all();
    assert_eq!((bench.lake.ids(), rejected(&bench.lake)), (vec![1, 2, 3, 4], vec![1, 2]));
}

#[test]
fn a_batch_that_comes_again_has_the_same_verdicts() {
    // A horizon of one: each commit puts the one before it out of mind, and the verdicts must not depend on how often.
    let bench = bench(1, 1).with_limit(4);
    send(&bench, 0, &[1, 2, 3, 4, 1, 2, 5, 5]);
    let mut ingest = bench.open(|_| {});
    let targets = ingest.targets(AVAILABLE_NOW).unwrap().unwrap();
    let first = ingest.next_batch(Some(&targets), None).unwrap().unwrap();
    ingest.commit(first).unwrap();
    for _ in 0..3 {
        let batch = ingest.next_batch(Some(&targets), None).unwrap().unwrap();
        assert_eq!((batch.counts.accepted, batch.counts.rejected), (1, 3));
    }
    bury(ingest);
    bench.ingest_all();
    assert_eq!((bench.lake.ids(), rejected(&bench.lake)), (vec![1, 2, 3, 4, 5], vec![1, 2, 5]));
}

#[test]
fn a_rebalance_rejects_no_message_for_itself() {
    let bench = bench(1, 1_000);
    send(&bench, 0, &[1, 2, 3, 2]);
    let (broker, stop) = (bench.broker.clone(), bench.stop.clone());
    let mut rebalanced = false;
    let mut ingest = bench.open(move |poll| {
        if !rebalanced && poll.at >= Duration::from_secs(2) {
            rebalanced = true;
            broker.rebalance(GROUP);
        }
        if poll.at >= Duration::from_secs(4) {
            stop.request();
        }
    });
    ingest.run(FOREVER).unwrap();
    assert_eq!(bench.commits(), [(vec![range(0, 0, 4)], 4)]);
    assert_eq!((bench.lake.ids(), rejected(&bench.lake)), (vec![1, 2, 3], vec![2]));
}

#[test]
fn after_a_lost_race_the_winners_ids_are_known_and_the_losers_are_not() {
    let bench = bench(2, 1_000).with_limit(4);
    // The winner read the first three; of what the loser gathered, 3 and 4 come again, behind the winner's end.
    send(&bench, 0, &[1, 2, 9, 3, 4, 1, 9]);
    bench.lake.before_next_commit(|lake| lake.commit_foreign_batch(foreign(0, 0, &[1, 2, 9])));
    bench.ingest_all();
    assert_eq!((bench.lake.ids(), rejected(&bench.lake)), (vec![1, 2, 3, 4, 9], vec![1, 9]));
    assert_eq!(bench.lake.left_behind(), 0);
}

#[test]
fn another_workers_ids_are_known_once_a_commit_of_ours_comes_behind_theirs() {
    let bench = bench(2, 1_000).with_limit(2);
    // Joins first, so partition 0 is its own.
    let mut other = bench.broker.consumer(GROUP, TOPIC);
    let mut void = MessageBatch::default();
    send(&bench, 0, &[70, 71]);
    send(&bench, 1, &[1, 2, 70, 1, 71, 3]);
    bench.lake.before_next_commit(|lake| lake.commit_foreign_batch(foreign(0, 0, &[70, 71])));
    let (stop, lake) = (bench.stop.clone(), bench.lake.clone());
    let mut ingest = bench.open(move |_| {
        if other.poll(&mut void, 0, 0, Duration::ZERO).unwrap() == [Event::Revoked] {
            other.assign(&[]).unwrap();
        }
        if lake.head_now().positions.get(&1) == Some(&6) {
            stop.request();
        }
    });
    ingest.run(FOREVER).unwrap();
    // The second batch may have been gathered before the first was committed; the third cannot.
    let ids = bench.lake.ids();
    assert!(ids == [1, 2, 3, 70, 71] || ids == [1, 2, 3, 70, 70, 71], "{ids:?}");
    assert!(rejected(&bench.lake).contains(&71) && rejected(&bench.lake).contains(&1));
}

#[test]
fn a_failed_commit_forgets_its_ids_and_one_whose_answer_was_lost_keeps_them() {
    for lost_answer in [false, true] {
        let bench = bench(1, 1_000).with_limit(2);
        send(&bench, 0, &[1, 2, 1, 3, 3, 4]);
        let mut ingest = bench.open(|_| {});
        let error = Error::new(Kind::Lake, "no space left on device");
        match lost_answer {
            true => bench.lake.lose_next_answer(error),
            false => bench.lake.fail_next_commit(error),
        }
        assert_eq!(ingest.run(AVAILABLE_NOW).unwrap_err().kind(), Kind::Lake);
        ingest.run(AVAILABLE_NOW).unwrap();
        assert_eq!((bench.lake.ids(), rejected(&bench.lake)), (vec![1, 2, 3, 4], vec![1, 3]));
    }
}

#[test]
fn where_invalid_rows_stay_in_the_lake_they_claim_nothing_after_a_restart_either() {
    let mut bench = bench(1, 1_000);
    bench.validation.drop_invalid_rows = false;
    bench.broker.append(TOPIC, 0, None, Some(order_of(1, "-5.00").as_bytes())).unwrap();
    send(&bench, 0, &[2]);
    bench.ingest_all();
    send(&bench, 0, &[1, 2]);
    bench.ingest_all();
    let last = bench.lake.commits().pop().unwrap();
    let errors = last.accepted[0].rows.column_by_name("validation_errors").unwrap().as_string::<i32>();
    assert_eq!(errors.iter().collect::<Vec<_>>(), [None, Some("duplicate_id:order_id")]);
}

#[test]
fn two_workers_accept_each_id_once_while_partitions_move_between_them() {
    let bench = bench(4, 100_000).with_limit(7);
    let mut repeats = Vec::new();
    for partition in 0..4 {
        for step in 0..60 {
            let id = i64::from(partition) * 1_000 + step;
            send(&bench, partition, &[id]);
            if step % 3 == 0 {
                let again = id - step / 2;
                send(&bench, partition, &[again]);
                repeats.push(again);
            }
        }
    }
    let work = |bench: &Bench| {
        let parts = Parts {
            consumer: bench.broker.consumer(GROUP, TOPIC),
            cluster: bench.broker.cluster(),
            lake: bench.lake.clone(),
            validator: validator(&bench.validation),
            totals: totals(),
            clock: Arc::new(SystemClock) as Arc<dyn Clock>,
        };
        let mut options = bench.options.clone();
        options.once_wait = PATIENCE;
        let mut ingest = Ingest::open(parts, options, true, Stop::new()).unwrap();
        ingest.run(AVAILABLE_NOW).unwrap();
        ingest.close().unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| work(&bench));
        scope.spawn(|| work(&bench));
        for _ in 0..20 {
            bench.broker.rebalance(GROUP);
            std::thread::yield_now();
        }
    });
    let expected: Vec<i64> = (0..4).flat_map(|partition| partition * 1_000..partition * 1_000 + 60).collect();
    assert_eq!(bench.lake.ids(), expected);
    let mut found = rejected(&bench.lake);
    found.sort_unstable();
    repeats.sort_unstable();
    assert_eq!(found, repeats);
}

/// What happens to a run.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Nothing,
    CommitFails,
    AnswerLost,
    RaceLost,
    PollsBreak,
    Rebalance,
    KilledWithABatch,
}

fn trouble() -> impl Strategy<Value = Trouble> {
    use Trouble::{AnswerLost, CommitFails, KilledWithABatch, Nothing, PollsBreak, RaceLost, Rebalance};
    prop::sample::select(vec![Nothing, CommitFails, AnswerLost, RaceLost, PollsBreak, Rebalance, KilledWithABatch])
}

/// One run, in a new process or in the old one's next call, with its trouble; it may end early.
fn troubled_run(bench: &Bench, trouble: Trouble) {
    let broker = bench.broker.clone();
    let mut polls = 0;
    let mut ingest = bench.open(move |_| {
        polls += 1;
        match trouble {
            Trouble::Rebalance if polls % 5 == 3 && polls < 20 => broker.rebalance(GROUP),
            Trouble::PollsBreak if polls % 4 == 2 => broker.inject(Fault::PollBreaks),
            _ => {}
        }
    });
    ingest.options.retry.start_timeout = PATIENCE;
    let error = || Error::new(Kind::Lake, "no space left on device");
    match trouble {
        Trouble::CommitFails => bench.lake.fail_next_commit(error()),
        Trouble::AnswerLost => bench.lake.lose_next_answer(error()),
        Trouble::RaceLost => bench.lake.before_next_commit(|lake| {
            // The other worker comes one message far.
            let position = lake.head_now().positions[&0];
            lake.commit_foreign(&[range(0, position, position)]);
        }),
        Trouble::KilledWithABatch => {
            let targets = ingest.targets(AVAILABLE_NOW).unwrap().unwrap();
            let _ = ingest.next_batch(Some(&targets), None).unwrap();
            return bury(ingest);
        }
        _ => {}
    }
    // A failure that an earlier round had no commit for may come in this one.
    while ingest.run(AVAILABLE_NOW).is_err() {}
    ingest.close().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_first_of_each_id_is_accepted_and_all_others_are_not(
        rounds in prop::collection::vec((prop::collection::vec(0_i64..20, 0..12), trouble()), 1..8),
        limit in 1_u64..6,
    ) {
        let bench = bench(1, 1_000).with_limit(limit);
        let (mut first, mut others) = (BTreeSet::new(), Vec::new());
        for (ids, trouble) in rounds {
            send(&bench, 0, &ids);
            others.extend(ids.into_iter().filter(|&id| !first.insert(id)));
            troubled_run(&bench, trouble);
        }
        troubled_run(&bench, Trouble::Nothing);
        prop_assert_eq!(bench.lake.ids(), first.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(rejected(&bench.lake), others);
    }
}
