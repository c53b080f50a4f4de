//! What breaks: offsets and topics that go away, brokers that stay away, polls and commits that fail.

use super::*;
use crate::broker::memory::Fault;

#[test]
fn deleted_offsets_stop_and_the_interval_is_named() {
    let bench = Bench::new(1);
    bench.append(0, 1..=3);
    bench.ingest_all();
    bench.append(0, 4..=9);
    bench.broker.delete_records(TOPIC, 0, 7).unwrap();
    let error = bench.failure();
    assert_eq!((error.kind(), error.exit_code()), (Kind::DataLoss, 1));
    assert!(error.to_string().contains("[3, 7)") && error.to_string().contains("failOnDataLoss"), "{error}");
    assert_eq!(bench.positions(), [3], "nothing was touched");
}

#[test]
fn an_accepted_loss_is_recorded_in_the_commit() {
    let mut bench = Bench::new(1);
    bench.append(0, 1..=3);
    bench.ingest_all();
    bench.append(0, 4..=9);
    bench.broker.delete_records(TOPIC, 0, 7).unwrap();
    bench.options.fail_on_data_loss = false;
    bench.ingest_all();
    assert_eq!(bench.lake.ids(), [1, 2, 3, 8, 9]);
    let last = bench.lake.commits().pop().unwrap();
    assert_eq!(last.lost, [range(0, 3, 7)]);
    assert_eq!(last.ranges, [range(0, 3, 9)], "the log has no gap");
}

/// A run that reads three messages, one a poll, and finds the rest deleted under it.
fn delete_while_reading(fail_on_data_loss: bool) -> (Bench, Result<Ingested>) {
    let mut bench = Bench::new(1);
    bench.options.fail_on_data_loss = fail_on_data_loss;
    bench.options.limits.max_bytes = u64::MAX;
    bench.append(0, 1..=3);
    let broker = bench.broker.clone();
    let mut deleted = false;
    let mut ingest = bench.open(move |poll| {
        if !deleted && poll.at >= Duration::from_secs(1) {
            deleted = true;
            append(&broker, 0, 4..=9);
            broker.delete_records(TOPIC, 0, 6).unwrap();
        }
    });
    let result = ingest.run(Bounds { timeout: Some(Duration::from_secs(4)), ..FOREVER });
    ingest.close().unwrap();
    (bench, result)
}

#[test]
fn what_was_read_before_a_gap_is_not_lost_with_it() {
    let (bench, result) = delete_while_reading(true);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::DataLoss);
    assert!(error.to_string().contains("[3, 6)"), "{error}");
    assert_eq!((bench.lake.ids(), bench.positions()), (vec![1, 2, 3], vec![3]));
    let (bench, result) = delete_while_reading(false);
    assert_eq!(result.unwrap().counts.input, 6);
    assert_eq!(bench.lake.ids(), [1, 2, 3, 7, 8, 9]);
    assert_eq!(bench.lake.commits().pop().unwrap().lost, [range(0, 3, 6)]);
}

#[test]
fn a_topic_that_ends_before_the_lake_stops_whatever_the_configuration_says() {
    for fail_on_data_loss in [true, false] {
        let mut bench = Bench::new(1);
        bench.append(0, 1..=3);
        bench.ingest_all();
        bench.options.fail_on_data_loss = fail_on_data_loss;
        bench.lake.commit_foreign(&[range(0, 3, 8)]);
        bench.append(0, 4..=4);
        let error = bench.failure();
        assert_eq!(error.kind(), Kind::DataLoss);
        assert!(error.to_string().contains("[4, 8)"), "{error}");
    }
}

#[test]
fn a_topic_made_anew_is_another_topic() {
    let bench = Bench::new(1);
    bench.append(0, 1..=3);
    bench.ingest_all();
    bench.broker.create_topic(&bench.options.topic);
    bench.append(0, 11..=19);
    let error = bench.failure();
    assert_eq!(error.kind(), Kind::DataLoss);
    assert!(error.to_string().contains("0 from 3"), "{error}");
    assert_eq!(bench.lake.ids(), [1, 2, 3]);
}

#[test]
fn another_topic_on_an_old_checkpoint_is_a_changed_setting_and_no_loss() {
    let mut bench = Bench::new(1);
    bench.append(0, 1..=3);
    bench.ingest_all();
    bench.options.topic.name = "food_orders_v2".to_owned();
    bench.broker.create_topic(&bench.options.topic);
    let error = bench.failure();
    assert_eq!(error.kind(), Kind::Config);
    let text = error.to_string();
    assert!(text.starts_with("kafka.topic is food_orders_v2, but the lake was made from food_orders_raw"), "{text}");
    assert!(text.contains("checkpoint_location"), "{text}");
    assert_eq!(bench.lake.ids(), [1, 2, 3]);
}

/// Replaces the topic by one that has the offsets read so far and more, while a batch is open.
fn recreate_under_a_run(stop_it: bool) -> (Bench, Result<Ingested>) {
    let bench = Bench::new(1);
    bench.append(0, 1..=3);
    let (broker, topic, stop) = (bench.broker.clone(), bench.options.topic.clone(), bench.stop.clone());
    let mut made_anew = false;
    let mut ingest = bench.open(move |poll| {
        if !made_anew && poll.at >= Duration::from_secs(1) {
            made_anew = true;
            broker.create_topic(&topic);
            append(&broker, 0, 101..=109);
            if stop_it {
                stop.request();
            }
        }
    });
    let result = ingest.run(Bounds { timeout: Some(Duration::from_secs(20)), ..FOREVER });
    (bench, result)
}

#[test]
fn the_topic_is_compared_before_each_commit_also_on_a_stop() {
    for stop_it in [false, true] {
        let (bench, result) = recreate_under_a_run(stop_it);
        assert_eq!(result.unwrap_err().kind(), Kind::DataLoss);
        assert!(bench.lake.commits().is_empty(), "{:?}", bench.commits());
    }
}

#[test]
fn a_poll_that_breaks_off_loses_no_message() {
    let bench = Bench::new(1).with_limit(4);
    bench.append(0, 1..=10);
    let broker = bench.broker.clone();
    let mut polls = 0;
    let mut ingest = bench.open(move |_| {
        polls += 1;
        if polls % 3 == 2 {
            broker.inject(Fault::PollBreaks);
        }
    });
    ingest.options.retry.start_timeout = PATIENCE;
    ingest.run(AVAILABLE_NOW).unwrap();
    assert_eq!(bench.lake.ids(), (1..=10).collect::<Vec<_>>());
    assert_eq!(bench.positions(), [10]);
}

#[test]
fn a_streaming_run_waits_for_a_broker_and_a_bounded_one_gives_up() {
    for streaming in [true, false] {
        let bench = Bench::new(1);
        bench.append(0, 1..=3);
        let (broker, stop) = (bench.broker.clone(), bench.stop.clone());
        let begun = Instant::now();
        let mut away = None;
        let mut ingest = bench.open(move |poll| {
            // From the end of the trigger on: the comparison before the commit finds nobody.
            if away.is_none() && poll.at >= Duration::from_millis(4_900) {
                broker.set_reachable(false);
                let (broker, stop) = (broker.clone(), stop.clone());
                away = Some(std::thread::spawn(move || {
                    let waited = Stop::new().wait(Duration::from_millis(100));
                    assert!(!waited);
                    broker.set_reachable(true);
                    stop.wait(PATIENCE);
                }));
            }
        });
        // The loop is unbounded by itself; the test ends it by the number of batches.
        let timeout = (!streaming).then_some(PATIENCE);
        let result = ingest.run(Bounds { max_batches: Some(1), timeout, ..FOREVER });
        bench.stop.request();
        match streaming {
            true => {
                assert_eq!(result.unwrap().counts.input, 3);
                assert!(begun.elapsed() >= Duration::from_millis(90));
            }
            false => assert_eq!(result.unwrap_err().exit_code(), 75),
        }
    }
}

#[test]
fn a_stop_while_the_broker_is_away_still_commits_what_was_read() {
    let bench = Bench::new(1);
    bench.append(0, 1..=3);
    let (broker, stop) = (bench.broker.clone(), bench.stop.clone());
    let mut ingest = bench.open(move |poll| {
        if poll.at >= Duration::from_secs(1) {
            broker.set_reachable(false);
            stop.request();
        }
    });
    ingest.run(FOREVER).unwrap();
    assert_eq!(bench.lake.ids(), [1, 2, 3]);
}

#[test]
fn a_failed_commit_stops_and_a_later_run_goes_on_from_the_log() {
    let bench = Bench::new(1).with_limit(2);
    bench.append(0, 1..=9);
    let mut ingest = bench.open(|_| {});
    bench.lake.fail_next_commit(Error::new(Kind::Lake, "no space left on device"));
    let error = ingest.run(AVAILABLE_NOW).unwrap_err();
    assert_eq!(error.kind(), Kind::Lake);
    assert!(bench.lake.ids().is_empty());
    ingest.run(AVAILABLE_NOW).unwrap();
    assert_eq!(bench.lake.ids(), (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_bounded_start_gives_up_on_a_broker_that_is_away_and_founds_nothing() {
    let bench = Bench::new(1);
    bench.broker.set_reachable(false);
    assert_eq!(bench.failure().exit_code(), 75);
    assert!(bench.lake.clone().head().unwrap().is_none());
}

#[test]
fn a_missing_topic_is_made_with_the_configured_partitions() {
    let mut bench = Bench::new(1);
    bench.broker.delete_topic(TOPIC);
    bench.options.topic.partitions = 4;
    bench.ingest_all();
    assert_eq!(bench.broker.cluster().describe(TOPIC).unwrap().unwrap().partitions, 4);
    assert_eq!(bench.positions(), [0, 0, 0, 0]);
}

/// A minute over three messages, with a broker that is there for some of the polls.
fn run_while(is_reachable: impl Fn(u32) -> bool + Send + 'static) -> Result<Ingested> {
    let mut bench = Bench::new(1);
    // Shorter than the pause after a failure: a second one would come too late if the first still counted.
    bench.options.retry.start_timeout = Duration::from_millis(50);
    bench.append(0, 1..=3);
    let (broker, mut polls) = (bench.broker.clone(), 0);
    let mut ingest = bench.open(move |_| {
        polls += 1;
        broker.set_reachable(is_reachable(polls));
    });
    ingest.run(Bounds { timeout: Some(Duration::from_secs(60)), ..FOREVER })
}

#[test]
fn a_failure_is_forgotten_once_the_broker_answers_though_no_message_comes() {
    let done = run_while(|poll| !matches!(poll, 20 | 30 | 40)).unwrap();
    assert_eq!(done.counts.input, 3);
}

#[test]
fn a_broker_that_stays_away_from_an_idle_topic_is_given_up_on() {
    let error = run_while(|poll| poll < 20).unwrap_err();
    assert_eq!(error.exit_code(), 75);
}
