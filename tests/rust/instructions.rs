//! How many instructions each stage takes a row: a count is the same in every run, where a time is not.
//!
//! callgrind counts the passes of one test of this file. The code is that of the tests, unoptimised, so a count does not
//! say how fast a release is; it grows where the work does, by a look more at each byte or a call more for each value, and
//! that shows here before it is a slower figure in `make bench-stages`.

use std::fs;
use std::io::{ErrorKind, Write};
use std::process::Command;

use super::orders::KINDS;
use super::stages::{self, Input};

const ROWS: usize = 1_024;

/// By stage, of a narrow and of a wide order.
const COUNTED: [(&str, [u64; 2]); 6] = [
    ("copy_decode", [6_957, 6_957]),
    ("json_encode", [19_568, 27_396]),
    ("json_decode", [27_365, 33_910]),
    ("validate", [31_189, 37_848]),
    ("totals", [382, 382]),
    ("parquet", [11_119, 29_061]),
];
/// Where they were counted: others give others.
const ARCHITECTURE: &str = "x86_64";
const COMPILER: &str = "rustc 1.95.";
/// Two runs differ by a thousandth, by what is hashed with a random seed.
const ALLOWED_PERCENT: u64 = 10;

/// What is counted is what this thread does below here.
#[inline(never)]
fn counted(pass: &mut dyn FnMut() -> usize) -> usize {
    pass()
}

#[test]
fn every_stage_hands_on_its_rows() {
    for kind in KINDS {
        let input = Input::new(kind, ROWS);
        let (rows, valid) = (input.rows, input.valid_rows());
        let check = |stage: &str, rows: usize, pass: &mut dyn FnMut() -> usize| {
            // Buffers that are kept have grown after the first pass.
            for found in [pass(), counted(pass)] {
                assert_eq!(found, rows, "{stage}, {}", kind.name());
            }
        };
        check("copy_decode", rows, &mut stages::copy_decode(&input));
        check("json_encode", rows, &mut stages::json_encode(&input));
        check("json_decode", rows, &mut stages::json_decode(&input));
        check("validate", valid, &mut stages::validate(&input));
        check("totals", valid, &mut stages::totals(&input));
        check("parquet", valid, &mut stages::parquet(&input, None));
    }
}

#[test]
fn no_stage_takes_more_instructions_than_were_counted() {
    if let Err(reason) = can_be_compared() {
        // Past the harness, which would keep it to itself.
        writeln!(std::io::stderr(), "instructions are not counted: {reason}").unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pass = "rust::instructions::counted";
    // Counts only within a pass, and writes a file after each.
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--callgrind-out-file=counts"])
        .args([format!("--toggle-collect={pass}"), format!("--dump-after={pass}")])
        .arg(std::env::current_exe().unwrap())
        .args(["instructions::every_stage_hands_on_its_rows", "--exact", "--test-threads", "1"])
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = [String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr)].concat();
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
    let mut number = 0;
    let mut wrong = Vec::new();
    for (which, kind) in KINDS.iter().enumerate() {
        for (stage, were) in COUNTED.map(|(stage, counts)| (stage, counts[which])) {
            number += 1;
            let found =
                total(&fs::read_to_string(folder.path().join(format!("counts.{number}"))).unwrap()) / ROWS as u64;
            // A pass that was not seen would be cheap; what became so much cheaper has a new figure.
            if found * 100 > were * (100 + ALLOWED_PERCENT) || found * 2 < were {
                wrong.push(format!("{stage}, {}: {found} instructions a row, {were} were counted", kind.name()));
            }
        }
    }
    assert!(!folder.path().join(format!("counts.{}", number + 1)).exists(), "a pass is not in the list");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn can_be_compared() -> Result<(), String> {
    let compiler = Command::new("rustc").arg("--version").output().map_err(|error| format!("rustc: {error}"))?;
    let compiler = String::from_utf8_lossy(&compiler.stdout).trim().to_owned();
    if std::env::consts::ARCH != ARCHITECTURE || !compiler.starts_with(COMPILER) {
        return Err(format!(
            "the figures are of {ARCHITECTURE} and {COMPILER}x, this is {} and {compiler}",
            std::env::consts::ARCH
        ));
    }
    match Command::new("valgrind").arg("--version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => Err("valgrind is not installed".to_owned()),
        other => other.map(drop).map_err(|error| format!("valgrind: {error}")),
    }
}

fn total(counts: &str) -> u64 {
    counts.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a line with the total").parse().unwrap()
}
