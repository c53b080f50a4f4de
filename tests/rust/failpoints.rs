//! The failpoints as they are listed. That a build that has them obeys the environment is shown by tests/torture, which
//! kills at each.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use foodstream::failpoints;

/// `pub const NAME: &str = "point";` of the module's own text: names with their points.
fn declared() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/failpoints.rs");
    let text = fs::read_to_string(path).unwrap();
    let constants = text.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = "));
    constants.map(|(name, point)| (name.to_owned(), point.trim_matches(['"', ';']).to_owned())).collect()
}

#[test]
fn every_failpoint_is_listed_once() {
    let listed: Vec<&str> = failpoints::ALL.concat();
    let distinct: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(distinct.len(), listed.len(), "{listed:?}");
    let declared = declared();
    assert_eq!(distinct, declared.iter().map(|(_, point)| point.as_str()).collect());
}

#[test]
fn every_failpoint_lies_on_somebodys_way_and_is_stopped_at_by_a_test() {
    let sources = super::layering::code();
    let outside = |file: &str| file != "failpoints.rs";
    let tests = |file: &str| file.contains("tests");
    for (name, _) in declared() {
        let named = |wanted: &dyn Fn(&str) -> bool| {
            sources.iter().any(|(file, code)| wanted(file) && code.contains(&format!("failpoints::{name}")))
        };
        assert!(named(&|file| outside(file) && !tests(file)), "nothing passes {name}");
    }
    // The lists, not the single names: a point that is added to one is stopped at without another word.
    for list in [
        "PUBLISH_START",
        "PUBLISH_TRANSACTION",
        "INGEST_BATCH",
        "LAKE_COMMIT",
        "LAKE_FILE_WRITTEN",
        "LAKE_SIDE_FILE_WRITTEN",
        "TOTALS_SENT",
    ] {
        let stopped = sources.iter().any(|(file, code)| tests(file) && code.contains(list) && code.contains("armed("));
        assert!(stopped, "no test stops at {list}");
    }
}
