//! The order in which a commit reaches the disk (L2, L4): what a power cut leaves, which no kill of a process shows.

use std::ops::Range;

use super::*;
use crate::failpoints::{self, armed};
use crate::lake::durable::trace;

/// What a writer did, by paths below the test's folder.
struct Steps(Vec<(&'static str, String)>);

impl Steps {
    fn of(place: &Place, work: impl FnOnce()) -> Steps {
        trace::take();
        work();
        let below = |path: PathBuf| path.strip_prefix(place.folder.path()).unwrap().to_str().unwrap().to_owned();
        Steps(trace::take().into_iter().map(|(step, path)| (step, below(path))).collect())
    }

    /// Places of the steps of this kind whose path begins so.
    fn all(&self, step: &str, path: &str) -> Vec<usize> {
        let found = self.0.iter().enumerate().filter(|(_, (kind, at))| *kind == step && at.starts_with(path));
        found.map(|(place, _)| place).collect()
    }

    /// From the first to the last of them.
    fn span(&self, step: &str, path: &str) -> Range<usize> {
        let all = self.all(step, path);
        assert!(!all.is_empty(), "no {step} of {path} in {:#?}", self.0);
        all[0]..all[all.len() - 1]
    }

    /// That each of these exact paths was synced after a place and before another.
    fn assert_synced(&self, paths: &[&str], after: usize, before: usize, why: &str) {
        for path in paths {
            let synced = (after..before).any(|at| self.0.get(at) == Some(&("sync", (*path).to_owned())));
            assert!(synced, "{path} was not synced between steps {after} and {before}, {why}: {:#?}", self.0);
        }
    }
}

const DAYS: [&str; 2] = ["lake/date=2025-11-18", "lake/date=2025-11-19"];
const INGESTED: &str = "lake_quarantine/date=2025-11-19";
const RECORDS: &str = "checkpoint/commits/0000000000000000";

#[test]
fn a_commit_reaches_the_disk_step_by_step_before_its_record_and_behind_it() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    let staging = format!("lake_staging/{}", lake.staging_name());
    let steps = Steps::of(&place, || {
        commit(&mut lake, &batch(0, 0, 100));
    });
    let record = steps.span("link", RECORDS).start;
    let renames = steps.span("move", "lake");
    assert_eq!(steps.all("move", "lake").len(), 3, "two days and the rejects: {:#?}", steps.0);
    assert!(record < renames.start, "nothing is visible before its record");

    let files: Vec<_> = steps.all("sync", &format!("{staging}/"));
    assert_eq!(files.len(), 3, "each staged file: {:#?}", steps.0);
    let last_file = files[files.len() - 1];
    assert!(last_file < record);
    steps.assert_synced(&[&staging], last_file, record, "so the record could name files that a power cut takes");
    for folder in [DAYS[0], DAYS[1], INGESTED] {
        let made = steps.span("make", folder).start;
        steps.assert_synced(&[folder], made, record, "so a full disk would show behind the commit");
    }
    for root in ["lake", "lake_quarantine"] {
        let made = steps.span("make", &format!("{root}/")).end;
        steps.assert_synced(&[root], made, record, "so the new folders could vanish");
    }
    let temporary = steps.span("sync", "checkpoint/commits/temporary-").start;
    assert!(last_file < temporary && temporary < record, "the record is whole before it has its number");
    steps.assert_synced(&[RECORDS], record, renames.start, "so files could be visible whose record is lost");
    let end = steps.0.len();
    let touched = [&staging, DAYS[0], DAYS[1], INGESTED];
    steps.assert_synced(&touched, renames.end, end, "so the next record could be built on renames that are undone");
}

#[test]
fn a_worker_syncs_what_it_builds_on_though_another_has_done_it() {
    let place = Place::new();
    let (mut left, head) = place.founded();
    let mut right = place.open();
    let staging = format!("lake_staging/{}", left.staging_name());
    let staged = left.stage(batch(0, 0, 100)).unwrap();
    // All names are final; whether they are on the disk, only the dead writer could have said.
    let stop = armed(failpoints::LAKE_ALL_RENAMED, 0);
    assert!(left.commit(&staged, &head).is_err());
    drop(stop);
    let steps = Steps::of(&place, || {
        commit(&mut right, &batch(1, 0, 50));
    });
    let record = steps.span("link", RECORDS).start;
    let touched = ["checkpoint/commits", RECORDS, DAYS[0], DAYS[1], INGESTED, &staging];
    steps.assert_synced(&touched, 0, record, "so a record could follow one that a power cut takes back");
}

#[test]
fn a_date_folder_is_synced_into_its_root_once_by_each_worker_and_again_when_it_is_another() {
    let place = Place::new();
    let (mut left, _) = place.founded();
    let mut right = place.open();
    let syncs = |lake: &mut LocalLake, from: i64| {
        let steps = Steps::of(&place, || {
            commit(lake, &batch(0, from, from + 100));
        });
        let record = steps.span("link", RECORDS).start;
        steps.0[..record].iter().filter(|step| **step == ("sync", "lake".to_owned())).count()
    };
    assert_eq!(syncs(&mut left, 0), 1);
    assert_eq!(syncs(&mut left, 100), 0, "its entries are down");
    assert_eq!(syncs(&mut right, 200), 1, "only its maker could say that they are");
    let day = place.path(DAYS[0]);
    std::fs::remove_dir_all(&day).unwrap();
    // It may well get the number that is free now.
    std::fs::create_dir(&day).unwrap();
    assert_eq!(syncs(&mut right, 300), 1, "another folder of the name");
}

#[test]
fn recovery_makes_durable_what_a_dead_writer_left() {
    let place = Place::new();
    let (mut dead, head) = place.founded();
    let staged = dead.stage(batch(0, 0, 100)).unwrap();
    let stop = armed(failpoints::LAKE_RECORD_LINKED, 0);
    assert!(dead.commit(&staged, &head).is_err());
    drop(stop);
    drop(dead);
    let steps = Steps::of(&place, || drop(place.open()));
    // The last renames into the lake: those before are of the probe at the start.
    let renames = steps.all("move", "lake/date=")[0]..steps.span("move", "lake").end;
    steps.assert_synced(
        &["checkpoint/commits", RECORDS],
        0,
        renames.start,
        "so the record could vanish under its files",
    );
    steps.assert_synced(&[DAYS[0], DAYS[1], INGESTED], renames.end, steps.0.len(), "as the record says");
}

#[test]
fn the_first_record_of_a_lake_is_on_the_disk_with_the_folders_it_lies_in() {
    let place = Place::new();
    let mut lake = place.open();
    let steps = Steps::of(&place, || {
        lake.found("orders", "topic-id", &starts(&[0])).unwrap();
    });
    let record = steps.span("link", RECORDS).start;
    steps.assert_synced(&[RECORDS, "checkpoint/commits"], 0, record, "so commit 0 could lie in a folder that vanishes");
    steps.assert_synced(&[RECORDS], record, steps.0.len(), "so a lake could be read into that was never founded");
}
