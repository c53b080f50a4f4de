//! The commit log under damage, with gaps, with snapshots, and long.

use std::time::Duration;

use super::super::commit_log::{Log, SNAPSHOT_EVERY};
use super::super::record;
use super::*;
use crate::clock::{Clock, SystemClock};
use crate::error::Kind;

/// A log of `commits` empty commits after the founding one, written without syncs. Partition 0 ends at `commits`.
fn long_log(place: &Place, commits: u64) {
    drop(place.founded());
    lengthen(place, commits);
}

/// Empty commits up to number `last`, each one offset of partition 0.
fn lengthen(place: &Place, last: u64) {
    let log = Log::find(&place.options.checkpoint).unwrap().unwrap();
    let mut state = log.load().unwrap().unwrap();
    for number in state.head.number + 1..=last {
        let mut next = state.last.clone();
        let from = state.head.positions[&0];
        next.number = number;
        next.previous = Some(state.head.hash.clone());
        next.founding = None;
        next.ranges = vec![OffsetRange { partition: 0, from, to: from + 1 }];
        (next.files, next.quarantine, next.counts, next.totals) = Default::default();
        let bytes = record::seal(&next).unwrap();
        let path = log.record_path(number);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        state.apply(next, record::hash(&bytes), &path).unwrap();
    }
}

fn three_commits() -> Place {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    for number in 0..3 {
        commit(&mut lake, &batch(0, number * 10, number * 10 + 10));
    }
    place
}

#[test]
fn a_flipped_byte_anywhere_in_the_log_stops_and_names_the_record() {
    for number in 0..4 {
        let place = three_commits();
        flip(&place.record(number), 100);
        let error = place.refused();
        assert_eq!(error.kind(), Kind::Lake);
        assert!(error.to_string().contains(place.record(number).to_str().unwrap()), "{error}");
        assert!(error.to_string().contains("rebuild-log"), "{error}");
        let report = place.report();
        assert_eq!(report.log.faults[0].number, number);
        assert!(report.log.head.is_none() && !report.is_sound());
    }
}

#[test]
fn a_gap_stops_and_names_the_missing_records() {
    for number in 0..3 {
        let place = three_commits();
        std::fs::remove_file(place.record(number)).unwrap();
        let error = place.refused();
        assert_eq!(error.kind(), Kind::DataLoss);
        assert!(error.to_string().contains(&format!("lacks record {number}")), "{error}");
        assert!(error.to_string().contains(place.record(number).to_str().unwrap()), "{error}");
        assert!(place.report().log.faults.iter().any(|fault| fault.number == number));
        let by_log = LakeReader::open(&place.path("lake"), Some(&place.options.checkpoint));
        assert_eq!(by_log.is_err(), number > 0, "without its first records a log cannot name the files");
    }
}

#[test]
fn a_record_from_another_log_does_not_fit() {
    let (place, other) = (three_commits(), three_commits());
    std::fs::copy(other.record(2), place.record(2)).unwrap();
    let error = place.refused();
    assert!(error.to_string().contains("hash of the record before it"), "{error}");
}

#[test]
fn a_record_of_a_newer_version_is_refused_by_a_living_writer_too() {
    let place = Place::new();
    let (mut lake, head) = place.founded();
    commit(&mut lake, &batch(0, 0, 10));
    let mut newer: record::Record = record::unseal(&std::fs::read(place.record(1)).unwrap(), &place.record(1)).unwrap();
    newer.version = record::VERSION + 1;
    newer.number = 2;
    std::fs::write(place.record(2), record::seal(&newer).unwrap()).unwrap();
    for error in [lake.head().unwrap_err(), place.refused(), lake.found("orders", "topic-id", &[]).unwrap_err()] {
        assert!(error.to_string().contains("version 3"), "{error}");
    }
    assert_eq!(head.number, 0);
}

#[test]
fn a_torn_temporary_record_is_nothing_and_goes() {
    let place = three_commits();
    let torn = place.path("checkpoint/commits").join(format!("temporary-{}", uuid::Uuid::new_v4()));
    std::fs::write(&torn, "{\"version\":1,\"num").unwrap();
    assert_eq!(place.open().head().unwrap().unwrap().number, 3);
    assert!(!torn.exists());
}

#[test]
fn anything_else_among_the_records_is_named() {
    let place = three_commits();
    let stray = place.record(1).with_extension("json.bak");
    std::fs::write(&stray, "").unwrap();
    assert!(place.refused().to_string().contains(stray.to_str().unwrap()));
}

#[test]
fn ten_thousand_commits_open_within_a_second() {
    let place = Place::new();
    let commits = 10_000;
    long_log(&place, commits);
    // The first opening reads every record and folds them.
    drop(place.open());
    let clock = SystemClock;
    let started = clock.instant();
    let mut lake = place.open();
    let head = lake.head().unwrap().unwrap();
    let took = clock.instant() - started;
    assert_eq!((head.number, head.positions[&0]), (commits, commits as i64));
    assert!(took < Duration::from_secs(1), "{took:?}");
    // The next record begins a folder of its own, and the chain goes on.
    assert_eq!(commit(&mut lake, &batch(0, commits as i64, commits as i64 + 10)).number, commits + 1);
    assert!(place.path("checkpoint/commits/0000000000000001").is_dir());
    assert!(place.report().is_sound());
}

#[test]
fn snapshots_are_written_used_and_not_needed() {
    let place = Place::new();
    long_log(&place, SNAPSHOT_EVERY - 1);
    let mut lake = place.open();
    let end = SNAPSHOT_EVERY as i64 - 1;
    let head = commit(&mut lake, &batch(0, end, end + 10));
    let snapshot = place.path(&format!("checkpoint/snapshots/{SNAPSHOT_EVERY:020}.json"));
    assert!(snapshot.is_file());
    drop(lake);
    // Used: a damaged record below it is not read by a writer, but found by the report.
    flip(&place.record(5), 60);
    assert_eq!(place.open().head().unwrap(), Some(head.clone()));
    assert_eq!(place.report().log.faults[0].number, 5);
    flip(&place.record(5), 60);
    // Not needed: a damaged snapshot only costs time.
    flip(&snapshot, 60);
    assert_eq!(place.open().head().unwrap(), Some(head));
}

#[test]
fn a_log_that_ends_before_its_snapshot_has_lost_its_end() {
    let place = Place::new();
    long_log(&place, SNAPSHOT_EVERY);
    drop(place.open());
    std::fs::remove_file(place.record(SNAPSHOT_EVERY)).unwrap();
    let error = place.refused();
    assert_eq!(error.kind(), Kind::DataLoss);
    assert!(error.to_string().contains(&format!("lacks record {SNAPSHOT_EVERY}")), "{error}");
    assert!(!place.report().log.faults.is_empty());
}

#[test]
fn a_sleeper_cannot_found_a_second_history_in_a_folder_that_was_dropped() {
    let place = Place::new();
    let (mut sleeper, head) = place.founded();
    let staged = sleeper.stage(batch(0, 0, 10)).unwrap();
    std::fs::rename(place.path("checkpoint/commits/0000000000000000"), place.path("dropped")).unwrap();
    assert!(sleeper.commit(&staged, &head).is_err());
    assert!(!place.path("checkpoint/commits/0000000000000000").exists());
}

#[test]
fn a_log_that_lost_its_newest_records_is_refused_as_their_rows_would_come_twice() {
    for lost in [&[3][..], &[2, 3], &[1, 2, 3]] {
        let place = three_commits();
        let kept: Vec<_> = lost.iter().map(|&number| std::fs::read(place.record(number)).unwrap()).collect();
        lost.iter().for_each(|&number| std::fs::remove_file(place.record(number)).unwrap());
        let error = place.refused();
        assert_eq!(error.kind(), Kind::Lake);
        let text = error.to_string();
        let last = lost[0] - 1;
        assert!(text.contains(&format!("records after {last} are gone")), "{text}");
        assert!(text.contains(&format!("ends at {} of that partition", last * 10)), "{text}");
        assert!(text.contains("foodstream lake rebuild-log"), "{text}");
        // Nothing was changed: with its records the log is whole again.
        lost.iter().zip(&kept).for_each(|(&number, bytes)| std::fs::write(place.record(number), bytes).unwrap());
        assert_eq!(place.open().head().unwrap().unwrap().number, 3);
        assert!(place.report().is_sound());
    }
}

#[test]
fn a_lost_record_shows_in_its_rejects_alone_and_in_a_partition_that_the_log_does_not_know() {
    let only_rejects = |partition, from| MicroBatch {
        ranges: vec![OffsetRange { partition, from, to: from + 3 }],
        rejected: vec![rejects(3)],
        counts: Counts { input: 3, accepted: 0, rejected: 3 },
        ..MicroBatch::default()
    };
    // The new partition's offsets are lower than any position of the others.
    for (lost, words) in [(only_rejects(0, 30), "ends at 30 of"), (batch(2, 0, 10), "does not know that partition")] {
        let place = three_commits();
        commit(&mut place.open(), &lost);
        drop(place.open());
        std::fs::remove_file(place.record(4)).unwrap();
        let text = place.refused().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn behind_a_snapshot_a_lost_end_shows_too_and_a_whole_log_is_opened_without_its_old_records() {
    let place = Place::new();
    commit(&mut place.founded().0, &batch(0, 0, 10));
    lengthen(&place, SNAPSHOT_EVERY);
    // Folds the log.
    let mut lake = place.open();
    let end = SNAPSHOT_EVERY as i64 + 9;
    commit(&mut lake, &batch(0, end, end + 10));
    drop(lake);
    // Between the snapshot and the files of record 1.
    flip(&place.record(5), 60);
    drop(place.open());
    flip(&place.record(5), 60);
    std::fs::remove_file(place.record(SNAPSHOT_EVERY + 1)).unwrap();
    let text = place.refused().to_string();
    assert!(text.contains(&format!("records after {SNAPSHOT_EVERY} are gone")), "{text}");
}

#[test]
fn a_stray_copy_of_a_committed_file_does_not_stop_a_consumer() {
    let place = three_commits();
    let name = LakeReader::open(&place.path("lake"), None).unwrap().files()[0].name.clone();
    let copy = name.replace("-0.parquet", "-77.parquet");
    std::fs::copy(place.path("lake").join(&name), place.path("lake").join(&copy)).unwrap();
    assert_eq!(place.open().head().unwrap().unwrap().number, 3);
    assert_eq!(place.report().orphans, [place.path("lake").join(&copy)]);
}
