//! Capture: rows of a table, in an order that loses none, with the position that follows them.
//!
//! `poll` reads pages below a horizon that no open transaction can still write behind (`horizon`); a source
//! that reads the database's log can stand behind the same trait. `history` refuses a database that has gone back.
//! Below: `postgres`. Above: `pipeline`.

mod examine;
mod history;
pub mod horizon;
pub mod memory;
mod newest;
mod plan;
mod poll;
mod preflight;
mod sight;
mod zone;

use std::future::Future;

pub use examine::{Examination, Nulls, examine};
pub use horizon::{Holder, Who};
pub use newest::newest_rows;
pub use plan::schema_of_table;
pub use poll::{APPLICATION_NAME, PollOptions, PollSource};
pub use preflight::{Concern, Preflight, PreflightColumn, Subject, hidden_transactions};
pub use sight::{HolderSight, SourceSight, WaitingRows};

use crate::error::Result;
use crate::model::{ChangeBatch, Cursor};

/// What a page was.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Rows appended to the batch.
    pub rows: usize,
    /// The page was cut by its limit: more rows may wait below the same horizon.
    pub full: bool,
    /// The horizon this page was read under, microseconds on the column's own clock.
    pub horizon_us: i64,
    /// `pg_snapshot_xmin` of the snapshot the page was read in: older tuples were visible to it.
    pub snapshot_xmin: u64,
}

/// Rows of one table in the order of their positions.
///
/// # Contract
/// - **Order.** Positions rise strictly, within a batch and from batch to batch. `batch.end` is the position
///   of the last row; a source started at that position goes on with the row after it.
/// - **Completeness.** When a page of a position range has been handed over, no row of that range can appear
///   later, for rows whose timestamp is not earlier than their transaction's start.
/// - **Nothing is remembered.** The source keeps no position of its own across restarts: it starts where the
///   published cursor says. `Ok` from `next_page` promises nothing about durability.
/// - **Failure.** After an error the batch holds whole rows only, and the source may be polled again from the
///   last position it handed over; `Error::is_retriable` says whether that can help.
pub trait Source: Send {
    /// The position after which the next page starts; set before the first page and after each failure.
    fn seek(&mut self, position: Cursor);

    /// Appends up to `limit` rows to `batch` and moves on. An empty page is `Ok` with `rows == 0`.
    fn next_page(&mut self, limit: u32, batch: &mut ChangeBatch) -> impl Future<Output = Result<Page>> + Send;
}
