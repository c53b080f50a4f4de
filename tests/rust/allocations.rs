//! No stage allocates by row: memory is taken by chunk and by column, and taken again.
//!
//! The rows and the stages are those of `make bench-stages`, which tells how long each takes; that depends on the
//! machine, and this does not. One more allocation a row is an error here before it is a slower figure there.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use foodstream::consume::CHUNK_MESSAGES;

use super::orders::{INVALID_EVERY, KINDS, Kind};
use super::stages::{self, Input};

thread_local! {
    /// Of one thread: other tests run beside.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count() {
    // Not where the thread is being taken down.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

#[allow(unsafe_code, reason = "the trait is unsafe; every call is handed to the system's allocator as it came")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Twice as many are of one day still, so that a file more is not in the difference.
const ROWS: usize = CHUNK_MESSAGES;

type Pass<'i> = Box<dyn FnMut() -> usize + 'i>;

/// Allocations of a second pass, when buffers that are kept have grown.
fn allocations(kind: Kind, rows: usize, stage: impl for<'i> Fn(&'i Input) -> Pass<'i>) -> u64 {
    let input = Input::new(kind, rows);
    let mut pass = stage(&input);
    pass();
    let before = ALLOCATIONS.get();
    pass();
    ALLOCATIONS.get() - before
}

/// Of twice as many rows over those of once as many, so that what a pass takes as a whole is not in it.
fn assert_few(name: &str, a_thousand_rows: [f64; 2], stage: impl for<'i> Fn(&'i Input) -> Pass<'i>) {
    for (kind, allowed) in KINDS.into_iter().zip(a_thousand_rows) {
        let more = allocations(kind, 2 * ROWS, &stage).saturating_sub(allocations(kind, ROWS, &stage));
        let found = more as f64 * 1_000.0 / ROWS as f64;
        assert!(found <= allowed, "{name}, {}: {found:.1} allocations a thousand rows", kind.name());
    }
}

#[test]
fn a_row_of_copy_is_cut_without_an_allocation() {
    assert_few("copy_decode", [0.0; 2], |input| Box::new(stages::copy_decode(input)));
}

#[test]
fn a_row_is_encoded_without_an_allocation() {
    assert_few("json_encode", [0.0; 2], |input| Box::new(stages::json_encode(input)));
}

#[test]
fn messages_become_columns_with_allocations_by_chunk() {
    assert_few("json_decode", [10.0; 2], |input| Box::new(stages::json_decode(input)));
}

#[test]
fn only_a_rejected_row_is_validated_with_allocations_of_its_own() {
    let rejected = 1_000.0 / INVALID_EVERY as f64;
    assert_few("validate", [10.0 + 5.0 * rejected; 2], |input| Box::new(stages::validate(input)));
}

#[test]
fn totals_are_summed_with_allocations_by_batch() {
    assert_few("totals", [1.0; 2], |input| Box::new(stages::totals(input)));
}

#[test]
fn a_parquet_file_is_written_with_allocations_by_page() {
    assert_few("parquet", [10.0, 75.0], |input| Box::new(stages::parquet(input, None)));
}
