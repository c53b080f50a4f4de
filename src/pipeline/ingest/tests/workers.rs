//! Several workers over one log, rebalances, and batches in a caller's hands (L6, C5's ground).

use super::*;
use crate::broker::{self, TopicDescription};
use crate::clock::SystemClock;

#[test]
fn a_batch_that_another_worker_committed_first_is_dropped_and_reading_goes_on_behind_it() {
    let bench = Bench::new(2).with_limit(4);
    bench.append(0, 1..=10);
    bench.append(1, 11..=12);
    bench.lake.before_next_commit(|lake| lake.commit_foreign(&[range(0, 0, 6)]));
    bench.ingest_all();
    let ids: Vec<_> = bench.lake.ids().into_iter().filter(|&id| id <= 10).collect();
    assert_eq!(ids, [7, 8, 9, 10], "the first six are the other worker's, and only its");
    assert_eq!(bench.positions(), [10, 2]);
    assert_eq!(bench.lake.left_behind(), 0, "what was staged in vain is gone");
    bench.check_totals();
}

#[test]
fn a_commit_to_other_partitions_only_moves_the_number() {
    let bench = Bench::new(2);
    bench.append(0, 4..=4);
    bench.append(1, 1..=3);
    // Joins first, so partition 0 is its own.
    let mut other = bench.broker.consumer(GROUP, TOPIC);
    let mut void = MessageBatch::default();
    bench.lake.before_next_commit(|lake| lake.commit_foreign(&[range(0, 0, 1)]));
    let (stop, lake) = (bench.stop.clone(), bench.lake.clone());
    let mut ingest = bench.open(move |_| {
        if other.poll(&mut void, 0, 0, Duration::ZERO).unwrap() == [Event::Revoked] {
            other.assign(&[]).unwrap();
        }
        if lake.commits().len() == 2 {
            stop.request();
        }
    });
    let done = ingest.run(FOREVER).unwrap();
    assert_eq!(bench.commits(), [(vec![range(0, 0, 1)], 0), (vec![range(1, 0, 3)], 3)]);
    assert_eq!((done.commit, done.batches), (Some(2), 1));
    assert_eq!(bench.lake.left_behind(), 0);
}

#[test]
fn a_revocation_drops_the_open_batch_and_its_messages_come_again() {
    let bench = Bench::new(1);
    bench.append(0, 1..=3);
    let (broker, stop) = (bench.broker.clone(), bench.stop.clone());
    let mut rebalanced = false;
    let mut ingest = bench.open(move |poll| {
        if !rebalanced && poll.at >= Duration::from_secs(2) {
            rebalanced = true;
            broker.rebalance(GROUP);
            append(&broker, 0, 4..=4);
        }
        if poll.at >= Duration::from_secs(4) {
            stop.request();
        }
    });
    let done = ingest.run(FOREVER).unwrap();
    assert_eq!(bench.commits(), [(vec![range(0, 0, 4)], 4)]);
    assert_eq!(bench.lake.ids(), [1, 2, 3, 4]);
    assert_eq!(done.counts.input, 4, "what was dropped is not counted");
    bench.check_totals();
}

#[test]
fn a_stop_after_a_revocation_commits_nothing_of_the_lost_partitions() {
    let bench = Bench::new(1);
    bench.append(0, 1..=3);
    let mut other = bench.broker.consumer(GROUP, TOPIC);
    let mut void = MessageBatch::default();
    let (stop, lake) = (bench.stop.clone(), bench.lake.clone());
    let mut told = false;
    let mut ingest = bench.open(move |poll| {
        if poll.at >= Duration::from_secs(1) {
            // The other one takes over, commits, and only then this one is stopped.
            if let [Event::Assigned(partitions)] = &other.poll(&mut void, 0, 0, Duration::ZERO).unwrap()[..]
                && !partitions.is_empty()
            {
                lake.commit_foreign(&[range(0, 0, 3)]);
                told = true;
            }
        }
        if told || poll.at >= Duration::from_secs(3) {
            stop.request();
        }
    });
    ingest.run(FOREVER).unwrap();
    assert!(bench.lake.ids().is_empty(), "{:?}", bench.commits());
}

#[test]
fn two_workers_bring_each_message_once() {
    let bench = Bench::new(4).with_limit(7);
    for partition in 0..4 {
        bench.append(partition, i64::from(partition) * 100 + 1..=i64::from(partition) * 100 + 50);
        bench.abort(partition, 900..=903);
        bench.commit(partition, i64::from(partition) * 100 + 51..=i64::from(partition) * 100 + 100);
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
        // Rebalances while they work.
        for _ in 0..20 {
            bench.broker.rebalance(GROUP);
            std::thread::yield_now();
        }
    });
    let expected: Vec<i64> = (0..4).flat_map(|partition| partition * 100 + 1..=partition * 100 + 100).collect();
    assert_eq!(bench.lake.ids(), expected);
    bench.check_totals();
    assert_eq!(bench.positions(), [106, 106, 106, 106]);
    let mut at = BTreeMap::new();
    for ranges in bench.commits().into_iter().map(|commit| commit.0) {
        for range in ranges {
            assert_eq!(at.insert(range.partition, range.to).unwrap_or(0), range.from, "ranges follow each other");
        }
    }
}

fn next(ingest: &mut TestIngest, targets: &Targets) -> Option<MicroBatch> {
    ingest.next_batch(Some(targets), None).unwrap()
}

#[test]
fn a_batch_in_a_callers_hands_is_in_the_lake_once_it_is_committed() {
    let bench = Bench::new(1).with_limit(2);
    bench.commit(0, 1..=4);
    let mut ingest = bench.open(|_| {});
    let targets = ingest.targets(AVAILABLE_NOW).unwrap().unwrap();
    let first = next(&mut ingest, &targets).unwrap();
    assert_eq!(first.ranges, [range(0, 0, 2)]);
    assert!(bench.lake.ids().is_empty());
    assert!(ingest.commit(first).unwrap());
    let second = next(&mut ingest, &targets).unwrap();
    assert!(ingest.commit(second).unwrap());
    assert!(next(&mut ingest, &targets).is_none());
    assert_eq!((bench.lake.ids(), bench.positions()), (vec![1, 2, 3, 4], vec![5]));
}

#[test]
fn a_batch_that_was_not_committed_comes_again() {
    let bench = Bench::new(1).with_limit(2);
    bench.broker.add_partitions(TOPIC, 2).unwrap();
    let mut ingest = bench.open(|_| {});
    // Not known to the log: nothing but the loop itself remembers where it stood.
    bench.broker.add_partitions(TOPIC, 3).unwrap();
    bench.append(2, 1..=5);
    let targets = ingest.targets(AVAILABLE_NOW).unwrap().unwrap();
    for _ in 0..3 {
        let batch = next(&mut ingest, &targets).unwrap();
        assert_eq!(batch.ranges, [range(2, 0, 2)], "dropped, so read again");
    }
    let void = next(&mut ingest, &targets).unwrap();
    bench.broker.set_reachable(false);
    assert!(ingest.commit(void).unwrap_err().is_retriable());
    bench.broker.set_reachable(true);
    assert_eq!(next(&mut ingest, &targets).unwrap().ranges, [range(2, 0, 2)]);
    ingest.run(AVAILABLE_NOW).unwrap();
    assert_eq!(bench.lake.ids(), [1, 2, 3, 4, 5]);
    bench.check_totals();
}

#[test]
fn a_batch_that_another_worker_overtook_is_not_committed() {
    let bench = Bench::new(1).with_limit(2);
    bench.append(0, 1..=4);
    let mut ingest = bench.open(|_| {});
    let targets = ingest.targets(AVAILABLE_NOW).unwrap().unwrap();
    let batch = next(&mut ingest, &targets).unwrap();
    bench.lake.commit_foreign(&[range(0, 0, 3)]);
    assert!(!ingest.commit(batch).unwrap());
    let batch = next(&mut ingest, &targets).unwrap();
    assert_eq!(batch.ranges, [range(0, 3, 4)]);
    assert!(ingest.commit(batch).unwrap());
    assert_eq!(bench.lake.ids(), [4]);
}

/// A cluster that tells of the newest partition only from the second question on.
struct Lagging(MemoryCluster, u32);

impl Cluster for Lagging {
    fn describe(&mut self, topic: &str) -> Result<Option<TopicDescription>> {
        self.0.describe(topic)
    }

    fn ensure_topic(&mut self, spec: &TopicSpec) -> Result<TopicDescription> {
        self.0.ensure_topic(spec)
    }

    fn topic_config(&mut self, topic: &str) -> Result<BTreeMap<String, String>> {
        self.0.topic_config(topic)
    }

    fn bounds(&mut self, topic: &str) -> Result<Vec<broker::Bounds>> {
        let mut bounds = self.0.bounds(topic)?;
        self.1 += 1;
        if self.1 == 1 {
            bounds.pop();
        }
        Ok(bounds)
    }

    fn offsets_at(&mut self, topic: &str, timestamp_ms: i64) -> Result<Vec<PartitionOffset>> {
        self.0.offsets_at(topic, timestamp_ms)
    }

    fn read_committed(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
        until: i64,
        timeout: Duration,
        each: &mut dyn FnMut(crate::model::Message<'_>) -> Result<()>,
    ) -> Result<()> {
        self.0.read_committed(topic, partition, from, until, timeout, each)
    }
}

#[test]
fn an_assigned_partition_whose_bounds_are_not_known_yet_is_asked_for_again() {
    let mut bench = Bench::new(1);
    bench.options.retry.start_timeout = PATIENCE;
    bench.append(0, 1..=2);
    bench.ingest_all();
    bench.broker.add_partitions(TOPIC, 2).unwrap();
    bench.append(1, 3..=4);
    let cluster = Lagging(bench.broker.cluster(), 0);
    let mut ingest = bench.try_open_with(bench.broker.consumer(GROUP, TOPIC), cluster, |_| {}).unwrap();
    ingest.run(Bounds { timeout: Some(Duration::from_secs(20)), ..FOREVER }).unwrap();
    assert_eq!(bench.lake.ids(), [1, 2, 3, 4]);
}
