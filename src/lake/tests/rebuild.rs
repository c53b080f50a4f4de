//! A log rebuilt from the files says what the lost one said.

use std::fs;

use super::super::{Gap, RebuildReport, rebuild_log};
use super::*;
use crate::error::Kind;
use crate::failpoints::{self, armed};

/// Rebuilds with totals by day, as the batches of these tests bring them.
pub(super) fn rebuild(place: &Place) -> crate::error::Result<RebuildReport> {
    let by_day = |batches: &[DatedBatch]| {
        let days = batches.iter().map(|batch| (batch.date, worth(batch.rows.num_rows() as u64)));
        Ok(Totals::of_days(days))
    };
    rebuild_log(&place.options, &by_day)
}

/// Two partitions interleaved, every commit with files in both roots.
fn several_commits() -> (Place, Head) {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    for step in 0..3 {
        commit(&mut lake, &batch(0, step * 100, step * 100 + 100));
        commit(&mut lake, &batch(1, step * 10, step * 10 + 10));
    }
    let head = lake.head().unwrap().unwrap();
    (place, head)
}

#[test]
fn a_lost_log_is_rebuilt_with_the_same_positions_counts_and_totals() {
    let (place, before) = several_commits();
    let ids = place.ids();
    fs::remove_dir_all(place.path("checkpoint")).unwrap();
    let report = rebuild(&place).unwrap();
    assert_eq!((report.commits, report.files), (7, 18));
    assert!(report.gaps.is_empty() && report.set_aside.is_none());
    let mut lake = place.open();
    let head = lake.head().unwrap().unwrap();
    assert_eq!((&head.positions, head.counts, &head.totals), (&before.positions, before.counts, &before.totals));
    assert_eq!(report.positions, before.positions);
    assert!(place.report().is_sound());
    assert_eq!(place.ids(), ids);
    assert_eq!(commit(&mut lake, &batch(0, 300, 400)).number, 7);
}

#[test]
fn a_rebuilt_log_has_the_totals_that_are_configured_now() {
    let (mut place, before) = several_commits();
    place.options.aggregate.definition.group_by = vec!["order_status".into()];
    let error = place.refused();
    assert!(error.to_string().contains("`aggregate.group_by` is [order_status]"), "{error}");
    assert!(error.to_string().contains("rebuild-log"), "{error}");
    let by_status = |batches: &[DatedBatch]| {
        let mut totals = Totals::default();
        for batch in batches {
            for row in batch.rows.column(5).as_string::<i32>() {
                let mut one = Totals::default();
                one.insert(Period::Day(batch.date), vec![row.map(str::to_owned)], worth(1));
                totals.add(&one)?;
            }
        }
        Ok(totals)
    };
    rebuild_log(&place.options, &by_status).unwrap();
    let head = place.open().head().unwrap().unwrap();
    assert_eq!(head.totals.by(&[]).unwrap(), before.totals);
    assert_eq!(head.totals.iter().count(), 14, "seven words on two days");
    let wrong = rebuild_log(&place.options, &|_| Ok(Totals::default())).unwrap_err();
    assert!(wrong.to_string().contains("do not count the rows"), "{wrong}");
}

#[test]
fn a_damaged_log_is_set_aside_and_kept() {
    let (place, before) = several_commits();
    flip(&place.record(3), 50);
    let report = rebuild(&place).unwrap();
    let aside = report.set_aside.unwrap();
    assert!(aside.join("commits/0000000000000000").join(format!("{:020}.json", 3)).is_file());
    assert_eq!(place.open().head().unwrap().unwrap().positions, before.positions);
}

#[test]
fn commits_without_files_are_reported_as_gaps() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    commit(&mut lake, &batch(0, 0, 100));
    let range = OffsetRange { partition: 0, from: 100, to: 103 };
    commit(&mut lake, &MicroBatch { ranges: vec![range], ..MicroBatch::default() });
    commit(&mut lake, &batch(0, 103, 200));
    drop(lake);
    fs::remove_dir_all(place.path("checkpoint")).unwrap();
    let report = rebuild(&place).unwrap();
    assert_eq!(report.gaps, [Gap { partition: 0, from: 100, to: 103 }]);
    assert_eq!(place.open().head().unwrap().unwrap().positions[&0], 200);
}

#[test]
fn a_commit_cut_between_its_renames_is_completed_from_staging() {
    let place = Place::new();
    let (mut lake, head) = place.founded();
    let staged = lake.stage(batch(0, 0, 100)).unwrap();
    let stop = armed(failpoints::LAKE_RENAMED, 0);
    assert!(lake.commit(&staged, &head).is_err());
    drop(stop);
    drop(lake);
    fs::remove_dir_all(place.path("checkpoint")).unwrap();
    assert_eq!(rebuild(&place).unwrap().files, 3);
    drop(place.open());
    assert_eq!(place.ids(), (ids_of(0, 0, 100), ids_of(0, 0, 100)));
    assert_eq!(place.rejected_rows(), 10);
    assert!(place.report().is_sound());
}

#[test]
fn a_missing_file_is_a_loss_that_names_its_offsets_and_changes_nothing() {
    let (place, _) = several_commits();
    let report = place.report();
    let file = report.log.files.iter().find(|file| file.commit == 1 && !file.quarantine).unwrap();
    fs::remove_file(place.path("lake").join(&file.name)).unwrap();
    let error = rebuild(&place).unwrap_err();
    assert_eq!(error.kind(), Kind::DataLoss);
    assert!(error.to_string().contains("partition 0 offsets 0 to 100"), "{error}");
    assert!(place.record(6).is_file());
}

#[test]
fn what_cannot_be_one_history_is_refused() {
    let (place, _) = several_commits();
    let lake = place.open();
    assert!(rebuild(&place).unwrap_err().to_string().contains("a writer is at work"));
    drop(lake);

    let (other, _) = several_commits();
    let theirs = LakeReader::open(&other.path("lake"), None).unwrap().files()[0].name.clone();
    let planted = place.path("lake").join(&theirs);
    fs::copy(other.path("lake").join(&theirs), &planted).unwrap();
    assert!(rebuild(&place).unwrap_err().to_string().contains("a log names one of each"));
    fs::remove_file(planted).unwrap();

    let mut changed = place.options.clone();
    changed.lake_schema = quarantine_schema();
    assert_eq!(rebuild_log(&changed, &|_| Ok(Totals::default())).unwrap_err().kind(), Kind::Schema);

    let empty = Place::new();
    assert!(rebuild(&empty).unwrap_err().to_string().contains("no files to rebuild"));
    rebuild(&place).unwrap();
}

/// Partition 1 begins at 50 and brings no file; partition 0 begins at 3, of which five offsets had none.
fn begun_at_offsets() -> Place {
    let place = Place::new();
    let mut lake = place.open();
    lake.found("orders", "topic-id", &starts(&[3, 50])).unwrap();
    let passed = [(0, 3, 8), (1, 50, 57)].map(|(partition, from, to)| OffsetRange { partition, from, to });
    commit(&mut lake, &MicroBatch { ranges: passed.to_vec(), ..MicroBatch::default() });
    commit(&mut lake, &batch(0, 8, 108));
    place
}

#[test]
fn a_partition_without_a_file_begins_where_the_old_log_began_it() {
    let place = begun_at_offsets();
    flip(&place.record(2), 50);
    let report = rebuild(&place).unwrap();
    assert_eq!(place.open().head().unwrap().unwrap().positions, [(0, 108), (1, 50)].into());
    assert_eq!(report.gaps, [Gap { partition: 0, from: 3, to: 8 }]);
    assert!(report.starts_known && report.forgotten.is_empty());
}

#[test]
fn without_the_old_logs_first_record_the_partitions_whose_starts_are_lost_are_named() {
    let place = begun_at_offsets();
    flip(&place.record(0), 50);
    let report = rebuild(&place).unwrap();
    assert_eq!((report.starts_known, report.forgotten), (false, vec![1]));
    assert_eq!(place.open().head().unwrap().unwrap().positions, [(0, 108)].into());
}

#[test]
fn a_log_of_another_lake_tells_no_starts() {
    let (place, other) = (begun_at_offsets(), begun_at_offsets());
    fs::remove_dir_all(place.path("checkpoint/commits")).unwrap();
    fs::rename(other.path("checkpoint/commits"), place.path("checkpoint/commits")).unwrap();
    let report = rebuild(&place).unwrap();
    assert_eq!((report.starts_known, report.forgotten), (false, vec![]));
}
