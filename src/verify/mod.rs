//! Verify: is every row of the table, up to the cursor, in the lake or in quarantine, once and unaltered?
//!
//! Guarantees: rows are compared by key and content, independently of the pipeline's codec; beside living producer
//! and consumer nothing is called a fault that is only on its way; nothing is written and no position is moved.
//! Reads through `postgres`, `broker` and `lake`; `cli` and `python` show the report.
#![allow(dead_code)]

mod canon;
mod checks;
mod facts;
mod judge;
mod ledger;
mod reconcile;
mod render;
mod report;

pub use facts::{Facts, Offenders, PartitionLag};
pub use report::{Check, Report, Section, Status};

#[cfg(test)]
mod tests;
