//! Commits that go through, races that are lost, writers that come back from the dead.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::error::Kind;
use crate::failpoints::{self, acting, armed};

#[test]
fn a_commit_makes_files_rejects_positions_and_totals_visible_together() {
    let place = Place::new();
    let (mut lake, founded) = place.founded();
    assert_eq!((founded.number, founded.positions()), (0, starts(&[0, 0])));
    let first = commit(&mut lake, &batch(0, 0, 100));
    let second = commit(&mut lake, &batch(1, 0, 50));
    assert_eq!((first.number, second.number), (1, 2));
    assert_eq!(second.positions(), starts(&[100, 50]));
    assert_eq!(second.counts, Counts { input: 150, accepted: 135, rejected: 15 });
    check_totals(&second.totals, 135);
    let expected = [ids_of(0, 0, 100), ids_of(1, 0, 50)].concat();
    assert_eq!(place.ids(), (expected.clone(), expected));
    assert_eq!(place.rejected_rows(), 15);
    assert!(place.report().is_sound());
    assert_eq!(place.open().head().unwrap(), Some(second));
}

#[test]
fn nothing_but_lake_files_is_under_the_roots_and_none_is_open_to_others() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    commit(&mut lake, &batch(0, 0, 100));
    for root in ["lake", "lake_quarantine"] {
        for folder in std::fs::read_dir(place.path(root)).unwrap() {
            let folder = folder.unwrap();
            assert!(folder.file_name().to_str().unwrap().starts_with("date=2025-11-"));
            for file in std::fs::read_dir(folder.path()).unwrap() {
                let file = file.unwrap();
                assert!(super::super::layout::is_part_name(file.file_name().to_str().unwrap()));
                assert_eq!(file.metadata().unwrap().permissions().mode() & 0o137, 0, "{:?}", file.path());
            }
        }
    }
    // The quarantine's date is the day of ingestion, by the clock.
    assert!(place.path("lake_quarantine/date=2025-11-19").is_dir());
}

#[test]
fn an_empty_commit_moves_positions_only() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    let moved = MicroBatch { ranges: vec![OffsetRange { partition: 1, from: 0, to: 7 }], ..MicroBatch::default() };
    let head = commit(&mut lake, &moved);
    assert_eq!((head.number, head.positions()), (1, starts(&[0, 7])));
    assert_eq!(place.open().head().unwrap(), Some(head));
}

#[test]
fn a_partition_that_appears_later_starts_anywhere() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    let head = commit(&mut lake, &batch(5, 40, 60));
    assert_eq!(head.positions[&5], 60);
}

#[test]
fn the_loser_of_a_race_learns_the_new_head_and_leaves_nothing() {
    let place = Place::new();
    let (mut winner, head) = place.founded();
    let mut loser = place.open();
    let staged = loser.stage(batch(0, 0, 100)).unwrap();
    let won = commit(&mut winner, &batch(0, 0, 60));
    assert_eq!(lost(loser.commit(&staged, &head).unwrap()), won);
    // Knowing the new head does not help: the ranges no longer start there.
    assert_eq!(lost(loser.commit(&staged, &won).unwrap()), won);
    loser.discard(staged).unwrap();
    drop(loser);
    assert_eq!(place.ids().1, ids_of(0, 0, 60));
    assert_eq!(place.staging_folders(), 1, "only the winner's");
}

#[test]
fn a_record_whose_link_was_made_and_answered_as_taken_is_ours() {
    let place = Place::new();
    let (mut lake, head) = place.founded();
    let staged = lake.stage(batch(0, 0, 100)).unwrap();
    // As a file server does that carries out a request, loses the answer, and is asked again.
    let commits = place.path("checkpoint/commits");
    let (temporary, record) = (commits.join(format!("temporary-{}", lake.staging_name())), place.record(1));
    let carried_out = acting(failpoints::LAKE_RECORD_WRITTEN, move || std::fs::hard_link(temporary, record).unwrap());
    let Committed::Done(head) = lake.commit(&staged, &head).unwrap() else { panic!("lost to itself") };
    drop(carried_out);
    assert_eq!((head.number, place.ids()), (1, (ids_of(0, 0, 100), ids_of(0, 0, 100))));
    commit(&mut lake, &batch(0, 100, 200));
    assert!(place.report().is_sound());
}

#[test]
fn where_only_others_moved_the_staged_files_are_committed_on_the_new_head() {
    let place = Place::new();
    let (mut left, head) = place.founded();
    let mut right = place.open();
    let staged = left.stage(batch(0, 0, 100)).unwrap();
    commit(&mut right, &batch(1, 0, 50));
    let new = lost(left.commit(&staged, &head).unwrap());
    let Committed::Done(done) = left.commit(&staged, &new).unwrap() else { panic!("lost twice") };
    assert_eq!((done.number, done.positions()), (2, starts(&[100, 50])));
    check_totals(&done.totals, 135);
    assert!(place.report().is_sound());
}

#[test]
fn two_that_found_at_once_share_one_lake() {
    let place = Place::new();
    let (mut left, mut right) = (place.open(), place.open());
    let first = left.found("orders", "topic-id", &starts(&[3])).unwrap();
    let second = right.found("orders", "topic-id", &starts(&[9])).unwrap();
    assert_eq!(first, second);
    assert_eq!(left.lake_uuid(), right.lake_uuid());
}

#[test]
fn another_worker_finishes_the_renames_before_it_builds_on_a_record() {
    let place = Place::new();
    let (mut left, head) = place.founded();
    let mut right = place.open();
    let staged = left.stage(batch(0, 0, 100)).unwrap();
    let stop = armed(failpoints::LAKE_COMMITTED, 0);
    assert!(left.commit(&staged, &head).is_err());
    drop(stop);
    let by_log_before = place.ids();
    assert_eq!(by_log_before, (ids_of(0, 0, 100), vec![]), "a reader of the log sees staged files of a commit");
    assert_eq!(place.report().unfinished.len(), 3);
    commit(&mut right, &batch(1, 0, 50));
    assert_eq!(place.ids().1, [ids_of(0, 0, 100), ids_of(1, 0, 50)].concat());
    assert!(place.report().is_sound() && place.report().unfinished.is_empty());
}

#[test]
fn a_zombie_whose_staging_was_swept_cannot_commit() {
    let place = Place::new();
    let (mut zombie, head) = place.founded();
    let staged = zombie.stage(batch(0, 0, 100)).unwrap();
    for file in &staged.files {
        std::fs::remove_file(place.path("lake_staging").join(zombie.staging_name()).join(&file.staged_name)).unwrap();
    }
    let error = zombie.commit(&staged, &head).unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
    assert_eq!(place.open().head().unwrap(), Some(head));
}

#[test]
fn after_an_error_the_instance_refuses_and_a_new_one_goes_on() {
    let place = Place::new();
    let (mut lake, head) = place.founded();
    let staged = lake.stage(batch(0, 0, 100)).unwrap();
    let stop = armed(failpoints::LAKE_FOLDERS, 0);
    assert!(lake.commit(&staged, &head).is_err());
    drop(stop);
    let error = lake.commit(&staged, &head).unwrap_err();
    assert!(error.to_string().contains("open the lake again"), "{error}");
    assert!(lake.head().is_err() && lake.stage(batch(0, 0, 100)).is_err());
    drop(lake);
    commit(&mut place.open(), &batch(0, 0, 100));
    assert_eq!(place.ids().1, ids_of(0, 0, 100));
}

#[test]
fn a_batch_that_does_not_add_up_is_a_bug_and_writes_nothing() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    let good = batch(0, 0, 100);
    let mut counts = good.clone();
    counts.counts.accepted += 1;
    let mut ranges = good.clone();
    ranges.ranges.push(OffsetRange { partition: 0, from: 100, to: 101 });
    let mut schema = good.clone();
    schema.accepted[0].rows = rejects(45);
    let mut year = good.clone();
    year.accepted[0].date = NaiveDate::from_ymd_opt(12025, 1, 1).unwrap();
    for bad in [counts, ranges, schema, year] {
        assert_eq!(lake.stage(bad).unwrap_err().kind(), Kind::Bug);
    }
    assert_eq!(std::fs::read_dir(place.path("lake_staging").join(lake.staging_name())).unwrap().count(), 1);
    commit(&mut lake, &good);
}

#[test]
fn files_are_cut_at_max_rows() {
    let mut place = Place::new();
    place.options.settings.max_rows_per_file = 20;
    let (mut lake, _) = place.founded();
    commit(&mut lake, &batch(0, 0, 100));
    let reader = LakeReader::open(&place.path("lake"), None).unwrap();
    let mut sizes: Vec<u64> = reader.files().iter().map(|file| file.rows).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 5, 20, 20, 20, 20]);
    assert_eq!(ids(&reader), ids_of(0, 0, 100));
}

#[test]
fn totals_follow_a_lost_race_and_late_days() {
    let place = Place::new();
    let (mut ours, head) = place.founded();
    let mut theirs = place.open();
    let staged = ours.stage(batch(0, 0, 100)).unwrap();
    commit(&mut theirs, &batch(1, 0, 50));
    let now = lost(ours.commit(&staged, &head).unwrap());
    let Committed::Done(done) = ours.commit(&staged, &now).unwrap() else { panic!("lost twice") };
    check_totals(&done.totals, 135);
    assert_eq!(done.totals.get(Period::Day(day("2025-11-18")), &[]), Some(&worth(45 + 22)));
    assert_eq!(theirs.head().unwrap().unwrap().totals, done.totals, "both read the same log");
    assert_eq!(place.open().head().unwrap().unwrap().totals, done.totals);
}

#[test]
fn a_period_with_more_groups_than_wanted_is_refused_before_its_commit() {
    let mut place = Place::new();
    place.options.aggregate.definition.group_by = vec!["item".into()];
    place.options.aggregate.max_groups = 2;
    let grouped = |from: i64, items: [&str; 2]| {
        let mut batch = batch(0, from, from + 2);
        let moved = std::mem::take(&mut batch.totals);
        for ((period, _, group), item) in moved.iter().zip(items) {
            batch.totals.insert(period, vec![Some(item.to_owned())], group.clone());
        }
        batch
    };
    let (mut lake, _) = place.founded();
    commit(&mut lake, &grouped(0, ["a", "a"]));
    commit(&mut lake, &grouped(2, ["b", "a"]));
    let head = lake.head().unwrap().unwrap();
    let staged = lake.stage(grouped(4, ["c", "a"])).unwrap();
    let error = lake.commit(&staged, &head).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Config);
    assert!(error.to_string().contains("more than 2 groups of 2025-11-18 by `item`"), "{error}");
    drop(lake);
    place.options.aggregate.max_groups = 3;
    let mut lake = place.open();
    assert_eq!(lake.head().unwrap().unwrap().number, 2);
    commit(&mut lake, &grouped(4, ["c", "a"]));
}

#[test]
fn a_batch_whose_totals_do_not_count_its_rows_is_refused() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    let mut wrong = batch(0, 0, 100);
    wrong.totals.insert(Period::Day(day("2025-11-20")), Vec::new(), worth(1));
    let error = lake.stage(wrong).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Bug);
    assert!(error.to_string().contains("91 in its totals"), "{error}");
    commit(&mut lake, &batch(0, 0, 100));
}
