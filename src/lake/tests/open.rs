//! What opening refuses, and how it says so.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::error::Kind;
use crate::model::Column;

fn write(path: PathBuf, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_root_or_checkpoint_of_sparks_is_refused_with_the_advice_to_name_a_new_folder() {
    for mark in [
        "lake/_spark_metadata/0",
        "lake/_SUCCESS",
        "lake/date=2025-11-18/part-00000-3f1b2c-c000.snappy.parquet",
        "checkpoint/offsets/0",
        "checkpoint/commits/0",
        "checkpoint/sources/0/0",
    ] {
        let place = Place::new();
        write(place.path(mark), "v1");
        let error = place.refused();
        assert_eq!(error.kind(), Kind::Config, "{mark}");
        assert!(error.to_string().contains("written by Spark") && error.to_string().contains("new folder"), "{error}");
    }
}

#[test]
fn foreign_files_under_either_root_are_refused_naming_the_first_few() {
    for root in ["lake", "lake_quarantine"] {
        let place = Place::new();
        for name in ["a.csv", "b.csv", "c.csv", "d.csv", "date=2025-11-18/.hidden"] {
            write(place.path(root).join(name), "");
        }
        let error = place.refused();
        assert_eq!(error.kind(), Kind::Lake);
        assert!(error.to_string().contains("`a.csv`, `b.csv`, `c.csv` and 2 more"), "{error}");
    }
}

#[test]
fn a_link_in_place_of_a_date_folder_is_refused_and_nothing_is_written_through_it() {
    let place = Place::new();
    let (mut lake, head) = place.founded();
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, place.path("lake/date=2025-11-18")).unwrap();
    let staged = lake.stage(batch(0, 0, 100)).unwrap();
    let error = lake.commit(&staged, &head).unwrap_err();
    assert!(error.to_string().contains("is a link"), "{error}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!place.record(1).exists(), "refused before the commit");
    assert!(place.refused().to_string().contains("is a link"));
}

#[test]
fn folders_inside_each_other_are_refused_before_any_is_created() {
    let mut place = Place::new();
    place.options.settings.quarantine_path = place.path("lake/rejected");
    let error = place.refused();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("datalake.quarantine_path") && error.to_string().contains("inside each other"));
    let mut place = Place::new();
    place.options.checkpoint = place.path("lake/../lake");
    assert_eq!(place.refused().kind(), Kind::Config);
    assert!(!place.path("lake").exists());
}

#[test]
fn staging_on_another_file_system_is_refused_naming_both() {
    let mut place = Place::new();
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
    if fs::metadata(other.path()).unwrap().dev() == fs::metadata(place.folder.path()).unwrap().dev() {
        return;
    }
    place.options.settings.staging_path = other.path().join("staging");
    let error = place.refused();
    assert_eq!(error.kind(), Kind::Config);
    let text = error.to_string();
    assert!(text.contains("different file systems") && text.contains("/dev/shm"), "{text}");
    assert!(text.contains(place.path("lake").to_str().unwrap()), "{text}");
    assert_eq!(fs::read_dir(place.path("lake")).unwrap().count(), 0);
}

#[test]
fn opening_leaves_no_probe_behind() {
    let place = Place::new();
    let (lake, _) = place.founded();
    drop(lake);
    let mut names: Vec<_> =
        fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["checkpoint", "lake", "lake_quarantine", "lake_staging"]);
    assert_eq!(fs::read_dir(place.path("checkpoint/commits")).unwrap().count(), 1);
    assert_eq!(place.staging_folders(), 0);
}

#[test]
fn a_changed_schema_is_refused_naming_the_column() {
    let mut place = Place::new();
    drop(place.founded());
    place.options.schema_text.columns.push(Column {
        name: "tip".into(),
        data_type: crate::model::DataType::Double,
        nullable: true,
    });
    let error = place.refused();
    assert_eq!(error.kind(), Kind::Schema);
    assert!(error.to_string().contains("column `tip` (double) is new"), "{error}");
}

#[test]
fn settings_that_give_rows_another_meaning_are_pinned() {
    let mut place = Place::new();
    drop(place.founded());
    place.options.drop_invalid_rows = false;
    let error = place.refused();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("validation.drop_invalid_rows"), "{error}");
    place.options.drop_invalid_rows = true;
    place.options.settings.partition_timezone = chrono_tz::Asia::Kolkata;
    assert!(place.refused().to_string().contains("datalake.partition_timezone"));
}

#[test]
fn an_empty_log_over_a_lake_stops_and_names_rebuild_log() {
    for lost in ["checkpoint", "checkpoint/commits"] {
        let place = Place::new();
        let (mut lake, _) = place.founded();
        commit(&mut lake, &batch(0, 0, 100));
        drop(lake);
        fs::remove_dir_all(place.path(lost)).unwrap();
        let error = place.refused();
        assert_eq!(error.kind(), Kind::Lake);
        assert!(error.to_string().contains("foodstream lake rebuild-log"), "{error}");
    }
    // Also without a single file: the metadata tells.
    let place = Place::new();
    drop(place.founded());
    fs::remove_dir_all(place.path("checkpoint/commits")).unwrap();
    assert!(place.refused().to_string().contains("foodstream lake rebuild-log"));
}

#[test]
fn files_of_another_lake_are_refused() {
    let (place, other) = (Place::new(), Place::new());
    for place in [&place, &other] {
        commit(&mut place.founded().0, &batch(0, 0, 100));
    }
    let theirs = LakeReader::open(&other.path("lake"), None).unwrap().files()[0].name.clone();
    let target = theirs.replace("2025-11-18", "2025-11-17");
    fs::create_dir_all(place.path("lake/date=2025-11-17")).unwrap();
    fs::copy(other.path("lake").join(&theirs), place.path("lake").join(&target)).unwrap();
    let error = place.refused();
    assert!(error.to_string().contains(&target) && error.to_string().contains("was written for lake"), "{error}");
    assert_eq!(place.report().orphans, [place.path("lake").join(&target)]);
}

#[test]
fn metadata_of_another_lake_is_refused_and_a_lost_copy_is_written_again() {
    let (place, other) = (Place::new(), Place::new());
    drop((place.founded(), other.founded()));
    let metadata = place.path("checkpoint/metadata");
    let before = fs::read(&metadata).unwrap();
    fs::copy(other.path("checkpoint/metadata"), &metadata).unwrap();
    assert!(place.refused().to_string().contains("came from elsewhere"));
    fs::remove_file(&metadata).unwrap();
    drop(place.open());
    assert_eq!(fs::read(&metadata).unwrap(), before);
}
