//! docs/RELIABILITY.md names a guard and tests for every rule, docs/OPERATIONS.md tests for every fault: they must be
//! there, so that the pages cannot drift.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// How many rules each letter has; `V` stands alone.
const RULES: [(char, usize); 4] = [('H', 10), ('K', 7), ('C', 5), ('L', 9)];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Rows of a page's tables, cell by cell, without heads and rules.
fn tables(page: &str) -> Vec<Vec<String>> {
    let page = fs::read_to_string(root().join("docs").join(page)).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let cells = rows.map(|row| row.split(" | ").map(str::to_owned).collect::<Vec<_>>());
    cells.filter(|row| row.last().is_some_and(|last| last.contains('`'))).collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
}

/// Names of all tests: functions that follow a test attribute, and pytest's.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut paths = Vec::new();
    files(&root().join("src"), "rs", &mut paths);
    files(&root().join("tests/rust"), "rs", &mut paths);
    for path in &paths {
        let mut marked = false;
        for line in fs::read_to_string(path).unwrap().lines().map(str::trim) {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            match function.and_then(|rest| rest.split_once('(')) {
                Some((name, _)) if std::mem::take(&mut marked) => {
                    names.insert(name.to_owned());
                }
                Some(_) => {}
                None => marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test"),
            }
        }
    }
    paths.clear();
    files(&root().join("tests/python"), "py", &mut paths);
    for path in &paths {
        let text = fs::read_to_string(path).unwrap();
        let functions = text.lines().filter_map(|line| line.strip_prefix("def ")?.split_once('('));
        names.extend(functions.map(|(name, _)| name.to_owned()).filter(|name| name.starts_with("test_")));
    }
    names
}

#[test]
fn every_rule_has_a_guard_and_tests_that_exist() {
    let rules: Vec<String> = RULES
        .iter()
        .flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}")))
        .chain(["V".to_owned()])
        .collect();
    let tables = tables("RELIABILITY.md");
    for rule in &rules {
        let rows: Vec<_> = tables.iter().filter(|row| row[0] == *rule).collect();
        let [row] = rows[..] else { panic!("{rule} has {} rows", rows.len()) };
        let [_, why, guard, named] = &row[..] else { panic!("{rule} has {} cells", row.len()) };
        assert!(!why.is_empty() && !quoted(named).is_empty(), "{rule}");
        for path in quoted(guard) {
            assert!(root().join(path).is_file(), "{rule}: {path} is no file");
        }
    }
}

#[test]
fn every_test_that_the_pages_name_exists() {
    let tests = tests();
    for page in ["RELIABILITY.md", "OPERATIONS.md"] {
        let tables = tables(page);
        assert!(tables.len() > 20, "{page} has tables of another form");
        for row in &tables {
            for name in quoted(row.last().unwrap()) {
                assert!(tests.contains(name), "{page}, {}: no test is called {name}", row[0]);
            }
        }
    }
}
