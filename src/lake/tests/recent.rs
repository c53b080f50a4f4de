//! Recent values: the newest commits of the log, whole, through one column of their files.

use arrow::array::Array;

use super::super::RecentValues;
use super::*;
use crate::error::Kind;

fn wanted(after: Option<u64>, at_least: u64) -> RecentValues {
    RecentValues { column: "order_id".to_owned(), only: None, after, at_least }
}

/// Sorted ids by commit, in the order of the commits as they were handed over; and the newest commit's number.
fn recent(lake: &mut LocalLake, wanted: &RecentValues) -> (Vec<(u64, Vec<i64>)>, u64) {
    let mut found: Vec<(u64, Vec<i64>)> = Vec::new();
    let mut see = |number: u64, values: &dyn Array| {
        if found.last().is_none_or(|(last, _)| *last != number) {
            found.push((number, Vec::new()));
        }
        found.last_mut().unwrap().1.extend(values.as_primitive::<Int64Type>().values());
    };
    let through = lake.recent_values(wanted, &mut see).unwrap();
    found.iter_mut().for_each(|(_, ids)| ids.sort_unstable());
    (found, through)
}

/// Three commits of ten messages, nine of them accepted, over two days each; another worker's is the second.
fn three_commits() -> (Place, LocalLake) {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    commit(&mut lake, &batch(0, 0, 10));
    commit(&mut place.open(), &batch(1, 0, 10));
    commit(&mut lake, &batch(0, 10, 20));
    (place, lake)
}

#[test]
fn the_newest_commits_are_handed_over_whole_until_it_is_enough() {
    let (_place, mut lake) = three_commits();
    let (first, second, third) = (ids_of(0, 0, 10), ids_of(1, 0, 10), ids_of(0, 10, 20));
    let all = vec![(3, third.clone()), (2, second.clone()), (1, first)];
    assert_eq!(recent(&mut lake, &wanted(None, 1_000)), (all, 3));
    assert_eq!(recent(&mut lake, &wanted(None, 1)), (vec![(3, third.clone())], 3));
    assert_eq!(recent(&mut lake, &wanted(None, 9)), (vec![(3, third.clone())], 3));
    assert_eq!(recent(&mut lake, &wanted(None, 10)), (vec![(3, third.clone()), (2, second)], 3));
    assert_eq!(recent(&mut lake, &wanted(Some(2), 1_000)), (vec![(3, third)], 3));
    assert_eq!(recent(&mut lake, &wanted(Some(3), 1_000)), (vec![], 3));
}

#[test]
fn what_another_worker_has_just_committed_is_there() {
    let (place, mut lake) = three_commits();
    let mut other = place.open();
    commit(&mut other, &batch(1, 10, 20));
    assert_eq!(recent(&mut lake, &wanted(Some(3), 1_000)), (vec![(4, ids_of(1, 10, 20))], 4));
}

#[test]
fn a_lake_without_rows_gives_nothing() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    assert_eq!(recent(&mut lake, &wanted(None, 1_000)), (vec![], 0));
}

#[test]
fn a_commit_whose_files_are_not_renamed_yet_is_read_where_they_are_staged() {
    let (place, mut lake) = three_commits();
    let last = lake_report(&place.options.settings, &place.options.checkpoint, false).unwrap().log.files;
    for file in last.iter().filter(|file| file.commit == 3 && !file.quarantine) {
        let (folder, name) = file.name.split_once('/').unwrap();
        assert!(folder.starts_with("date="));
        let staged = place.options.settings.staging_path.join(lake.staging_name()).join(name);
        std::fs::rename(place.options.settings.path.join(&file.name), staged).unwrap();
    }
    assert_eq!(recent(&mut lake, &wanted(None, 1)), (vec![(3, ids_of(0, 10, 20))], 3));
}

#[test]
fn only_rows_with_the_word_are_handed_over() {
    let (_place, mut lake) = three_commits();
    let only = Some(("item".to_owned(), "item 3".to_owned()));
    let (found, _) = recent(&mut lake, &RecentValues { only, ..wanted(None, 1_000) });
    let with_word = |ids: Vec<i64>| ids.into_iter().filter(|id| id % 7 == 3).collect::<Vec<_>>();
    let expected = [(3, ids_of(0, 10, 20)), (2, ids_of(1, 0, 10)), (1, ids_of(0, 0, 10))];
    assert_eq!(found, expected.map(|(number, ids)| (number, with_word(ids))));
}

#[test]
fn a_file_that_is_gone_is_named_with_the_way_out() {
    let (place, mut lake) = three_commits();
    let file = LakeReader::with_settings(&place.options.settings, Some(&place.options.checkpoint), Root::Lake).unwrap();
    for file in file.files() {
        std::fs::remove_file(place.options.settings.path.join(&file.name)).unwrap();
    }
    let error = lake.recent_values(&wanted(None, 1), &mut |_, _| {}).unwrap_err();
    assert_eq!(error.kind(), Kind::Lake);
    assert!(error.report().contains("unique_horizon") && error.report().contains(".parquet"), "{}", error.report());
}
