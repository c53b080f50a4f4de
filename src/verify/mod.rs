//! Verify: is every row of the table, up to the cursor, in the lake or in quarantine, once and unaltered?
//!
//! Without a table the messages are counted instead (`counts`). Guarantees: rows are compared by key and content,
//! independently of the pipeline's codec; beside living producer and consumer nothing is called a fault that is only on
//! its way; nothing is written and no position is moved.
//! Reads through `postgres`, `broker` and `lake`; `cli` and `python` show the report.
//!
//! ```text
//! state file → cursor → ends → log, files → table        each is read after whatever it may be behind
//!                canon: three sides, one form
//! ledger (lake, quarantine, messages on their way) ─ reconcile ─▶ suspects ─ judge ─▶ facts ─ checks ─▶ report
//! ```

mod ask;
mod canon;
mod checks;
mod counts;
mod facts;
mod judge;
mod ledger;
mod read_broker;
mod read_lake;
mod read_source;
mod reconcile;
mod render;
mod report;
mod run;

pub use facts::{Facts, Offenders, PartitionLag};
pub use report::{Check, Report, Section, Status};
pub use run::{VerifyOptions, verify};

#[cfg(test)]
mod tests;
