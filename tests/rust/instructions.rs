//! Every stage hands on the rows that it should. `tests/python/test_instructions.py` runs this under callgrind, which
//! counts the instructions of each pass.

use super::orders::KINDS;
use super::stages::{self, Input};

const ROWS: usize = 1_024;

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
