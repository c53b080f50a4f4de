//! A stop at every step of a commit, then recovery by another writer.

use super::*;
use crate::failpoints::{self, armed};

/// Stops the second of two commits at a point, recovers, and lets a consumer go on from the head.
fn stop_at(point: &'static str, passes: u32) {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    commit(&mut lake, &batch(0, 0, 100));
    let head = lake.head().unwrap().unwrap();
    let staged = lake.stage(batch(0, 100, 200)).unwrap();
    let stop = armed(point, passes);
    assert!(lake.commit(&staged, &head).is_err(), "{point} was not reached {passes} times");
    drop(stop);
    drop(lake);

    let mut lake = place.open();
    let position = lake.head().unwrap().unwrap().positions[&0];
    let linked = !matches!(
        point,
        failpoints::LAKE_STAGED
            | failpoints::LAKE_PREVIOUS_FINISHED
            | failpoints::LAKE_FOLDERS
            | failpoints::LAKE_RECORD_WRITTEN
    );
    assert_eq!(position, if linked { 200 } else { 100 }, "{point}");
    let committed: Vec<i64> =
        if linked { [ids_of(0, 0, 100), ids_of(0, 100, 200)].concat() } else { ids_of(0, 0, 100) };
    assert_eq!(place.ids(), (committed.clone(), committed), "{point}: recovery makes all or nothing visible");
    if position == 100 {
        commit(&mut lake, &batch(0, 100, 200));
    }
    let head = commit(&mut lake, &batch(0, 200, 300));

    let all = [ids_of(0, 0, 100), ids_of(0, 100, 200), ids_of(0, 200, 300)].concat();
    assert_eq!(place.ids(), (all.clone(), all), "{point}");
    assert_eq!(place.rejected_rows(), 30, "{point}");
    check_totals(&head.totals, 270);
    let report = place.report();
    assert!(report.is_sound() && report.unfinished.is_empty(), "{point}: {report:?}");
    assert_eq!(place.staging_folders(), 1, "{point}: the dead writer's folder is gone");
    drop(lake);
    assert_eq!(place.staging_folders(), 0, "a clean end leaves nothing");
    let commits: Vec<_> = std::fs::read_dir(place.path("checkpoint/commits")).unwrap().collect();
    assert_eq!(commits.len(), 1, "{point}: no temporary names stay");
}

#[test]
fn a_stop_at_any_step_of_a_commit_loses_and_repeats_nothing() {
    for point in failpoints::LAKE_COMMIT {
        stop_at(point, 0);
    }
}

#[test]
fn a_stop_between_any_two_renames_loses_and_repeats_nothing() {
    for renamed in 0..3 {
        stop_at(failpoints::LAKE_RENAMED, renamed);
    }
}

#[test]
fn a_stop_while_founding_leaves_a_lake_to_found_or_a_founded_one() {
    for point in [failpoints::LAKE_RECORD_WRITTEN, failpoints::LAKE_RECORD_LINKED, failpoints::LAKE_SIDE_FILE_WRITTEN] {
        let place = Place::new();
        let mut lake = place.open();
        let stop = armed(point, 0);
        assert!(lake.found("orders", "topic-id", &starts(&[5])).is_err(), "{point}");
        drop(stop);
        drop(lake);
        let mut lake = place.open();
        assert_eq!(lake.head().unwrap().is_some(), point != failpoints::LAKE_RECORD_WRITTEN, "{point}");
        let head = lake.found("orders", "topic-id", &starts(&[5])).unwrap();
        assert_eq!(head.positions(), starts(&[5]));
        assert!(place.path("checkpoint/metadata").is_file(), "{point}");
    }
}

#[test]
fn a_stop_during_recovery_is_recovered_from() {
    let place = Place::new();
    let (mut lake, head) = place.founded();
    let staged = lake.stage(batch(0, 0, 100)).unwrap();
    let stop = armed(failpoints::LAKE_COMMITTED, 0);
    assert!(lake.commit(&staged, &head).is_err());
    drop(stop);
    drop(lake);
    for renamed in 0..2 {
        let stop = armed(failpoints::LAKE_RENAMED, renamed);
        place.refused();
        drop(stop);
    }
    place.open();
    assert_eq!(place.ids().1, ids_of(0, 0, 100));
    assert_eq!(place.rejected_rows(), 10);
}

#[test]
fn a_rename_cut_in_two_steps_is_finished() {
    let place = Place::new();
    let (mut lake, head) = place.founded();
    let staged = lake.stage(batch(0, 0, 100)).unwrap();
    let stop = armed(failpoints::LAKE_COMMITTED, 0);
    assert!(lake.commit(&staged, &head).is_err());
    drop(stop);
    let file = &staged.files[0];
    let from = place.path("lake_staging").join(lake.staging_name()).join(&file.staged_name);
    std::fs::hard_link(&from, place.path("lake").join(&file.final_name)).unwrap();
    drop(lake);
    place.open();
    assert!(!from.exists());
    assert_eq!(place.ids().1, ids_of(0, 0, 100));
}

#[test]
fn a_committed_file_that_is_gone_or_another_stops_recovery_and_names_it() {
    for replace in [false, true] {
        let place = Place::new();
        let (mut lake, _) = place.founded();
        commit(&mut lake, &batch(0, 0, 100));
        drop(lake);
        let file = LakeReader::open(&place.path("lake"), None).unwrap().files()[1].name.clone();
        let path = place.path("lake").join(&file);
        if replace {
            // Within the rows: a damaged footer is found ahead of the checksum.
            flip(&path, 64);
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        let error = place.refused();
        assert!(error.to_string().contains(&file) && error.to_string().contains("commit 1"), "{error}");
        let report = place.report();
        assert_eq!((report.missing.len(), report.damaged.len()), (usize::from(!replace), usize::from(replace)));
    }
}

#[test]
fn a_batch_that_cannot_be_staged_leaves_no_file() {
    for written in 0..3 {
        let place = Place::new();
        let (mut lake, _) = place.founded();
        let stop = armed(failpoints::LAKE_FILE_WRITTEN, written);
        assert!(lake.stage(batch(0, 0, 100)).is_err(), "it has {written} files or fewer");
        drop(stop);
        let folder = place.path("lake_staging").join(lake.staging_name());
        let left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 1, "beside the lock: {left:?}");
        drop(lake);
        commit(&mut place.open(), &batch(0, 0, 100));
        assert_eq!(place.ids().1, ids_of(0, 0, 100));
    }
}

#[test]
fn a_file_that_has_the_final_name_already_is_never_replaced() {
    let place = Place::new();
    let (mut lake, head) = place.founded();
    let staged = lake.stage(batch(0, 0, 100)).unwrap();
    let planted = place.path("lake").join(&staged.files[0].final_name);
    std::fs::create_dir_all(planted.parent().unwrap()).unwrap();
    std::fs::write(&planted, "planted").unwrap();
    let error = lake.commit(&staged, &head).unwrap_err();
    assert!(error.to_string().contains(&staged.files[0].final_name), "{error}");
    assert_eq!(std::fs::read_to_string(&planted).unwrap(), "planted");
    // The commit stands, and goes through once a person has taken the file away.
    drop(lake);
    std::fs::remove_file(&planted).unwrap();
    assert_eq!(place.open().head().unwrap().unwrap().number, 1);
    assert_eq!(place.ids().1, ids_of(0, 0, 100));
}

#[test]
fn the_staging_of_the_living_and_of_other_lakes_is_left_alone() {
    let place = Place::new();
    let (mut living, head) = place.founded();
    let staged = living.stage(batch(0, 0, 100)).unwrap();
    let mut elsewhere = Place::new();
    elsewhere.options.settings.staging_path = place.path("lake_staging");
    let (mut other, _) = elsewhere.founded();
    other.stage(batch(0, 0, 100)).unwrap();
    drop(other);
    place.open();
    assert_eq!(place.staging_folders(), 2);
    assert!(matches!(living.commit(&staged, &head).unwrap(), Committed::Done(_)));
}

#[test]
fn a_writer_that_commits_and_dies_while_another_recovers_keeps_its_files() {
    let place = Place::new();
    let (mut dying, head) = place.founded();
    // It has read the log; the commit comes after that.
    let mut recovering = place.open();
    let staged = dying.stage(batch(0, 0, 100)).unwrap();
    let stop = armed(failpoints::LAKE_COMMITTED, 0);
    assert!(dying.commit(&staged, &head).is_err());
    drop(stop);
    drop(dying);
    let checkpoint = place.path("checkpoint").canonicalize().unwrap();
    recovering.bury_dead_writers(checkpoint.to_str().unwrap()).unwrap();
    assert_eq!(place.ids().1, ids_of(0, 0, 100));
    assert_eq!(place.staging_folders(), 1);
}
