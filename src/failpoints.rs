//! Named points at which a test stops the program, as a kill or a full disk would.
//!
//! Without the feature `failpoints` and outside unit tests, `reach` is empty and disappears. With the feature
//! the crate `fail` decides by name, from the environment variable `FAILPOINTS` (see `from_environment`):
//! `lake::linked=return` makes the step fail, `lake::linked=return(kill)` ends the process there without
//! running another instruction of ours, `pause` and `sleep` hold it. Unit tests arm one point of their own
//! thread with `armed`, so that they run side by side.

use crate::error::Result;

/// Every earlier producer of the pipeline is fenced; where to go on is not known yet.
pub const PUBLISH_FENCED: &str = "publish::fenced";
/// The position was read back and judged; nothing follows it yet.
pub const PUBLISH_POSITION_KNOWN: &str = "publish::position_known";

/// Every point of a producer's start, in the order it passes them. Where the position is none of the cursor topic's,
/// those of a transaction follow, from the cursor record on.
pub const PUBLISH_START: [&str; 2] = [PUBLISH_FENCED, PUBLISH_POSITION_KNOWN];

/// Rows of a page are in memory.
pub const PUBLISH_PAGE_READ: &str = "publish::page_read";
/// They are in the send queue of an open transaction, some perhaps at the broker.
pub const PUBLISH_ROWS_QUEUED: &str = "publish::rows_queued";
/// The transaction is to end, and its cursor record does not exist yet.
pub const PUBLISH_ENDING: &str = "publish::ending";
/// The cursor record is in the send queue behind its rows.
pub const PUBLISH_CURSOR_QUEUED: &str = "publish::cursor_queued";
/// The broker holds rows and cursor, and was not told to commit.
pub const PUBLISH_DELIVERED: &str = "publish::delivered";
/// The transaction is committed; the state file stands at the one before.
pub const PUBLISH_COMMITTED: &str = "publish::committed";
/// The state file's new line is synced under a temporary name.
pub const PUBLISH_STATE_WRITTEN: &str = "publish::state_written";
/// The state file has its new line, its folder is not synced yet.
pub const PUBLISH_STATE_REPLACED: &str = "publish::state_replaced";

/// Every point of a published transaction, in the order it passes them.
pub const PUBLISH_TRANSACTION: [&str; 8] = [
    PUBLISH_PAGE_READ,
    PUBLISH_ROWS_QUEUED,
    PUBLISH_ENDING,
    PUBLISH_CURSOR_QUEUED,
    PUBLISH_DELIVERED,
    PUBLISH_COMMITTED,
    PUBLISH_STATE_WRITTEN,
    PUBLISH_STATE_REPLACED,
];

/// A micro-batch is closed and about to be handed to the lake.
pub const INGEST_GATHERED: &str = "ingest::gathered";
/// The lake has committed it; neither the loop nor the group's offsets know.
pub const INGEST_COMMITTED: &str = "ingest::committed";
/// The group's offsets were sent after it.
pub const INGEST_OFFSETS_SENT: &str = "ingest::offsets_sent";

/// Every point that the consumer's loop passes around a commit, in order; those of [`LAKE_COMMIT`] lie behind the first.
pub const INGEST_BATCH: [&str; 3] = [INGEST_GATHERED, INGEST_COMMITTED, INGEST_OFFSETS_SENT];

/// A commit's totals are in their topic, and the mark behind the log does not say so yet.
pub const TOTALS_SENT: &str = "totals::sent";

/// Reached once after each staged file; the others of its batch do not exist yet, and it may not be synced.
pub const LAKE_FILE_WRITTEN: &str = "lake::file_written";
/// Staged files are written and synced; nothing of the commit exists.
pub const LAKE_STAGED: &str = "lake::staged";
/// The renames of the record before are finished.
pub const LAKE_PREVIOUS_FINISHED: &str = "lake::previous_finished";
/// The date folders exist and are synced.
pub const LAKE_FOLDERS: &str = "lake::folders";
/// The record is synced under a temporary name.
pub const LAKE_RECORD_WRITTEN: &str = "lake::record_written";
/// The record has its number, its folder is not synced yet.
pub const LAKE_RECORD_LINKED: &str = "lake::record_linked";
/// The record is durable; no file has been renamed.
pub const LAKE_COMMITTED: &str = "lake::committed";
/// Reached once after each rename of a staged file.
pub const LAKE_RENAMED: &str = "lake::renamed";
/// All files are renamed, their folders not synced yet.
pub const LAKE_ALL_RENAMED: &str = "lake::all_renamed";
/// Everything of the commit is durable and visible.
pub const LAKE_PUBLISHED: &str = "lake::published";
/// A small file that is not a commit record (metadata, snapshot, plan) is synced under a temporary name.
pub const LAKE_SIDE_FILE_WRITTEN: &str = "lake::side_file_written";

/// Every point of a commit, in the order it passes them.
pub const LAKE_COMMIT: [&str; 9] = [
    LAKE_STAGED,
    LAKE_PREVIOUS_FINISHED,
    LAKE_FOLDERS,
    LAKE_RECORD_WRITTEN,
    LAKE_RECORD_LINKED,
    LAKE_COMMITTED,
    LAKE_RENAMED,
    LAKE_ALL_RENAMED,
    LAKE_PUBLISHED,
];

/// Every point there is, by what passes it.
pub const ALL: [&[&str]; 5] = [
    &PUBLISH_START,
    &PUBLISH_TRANSACTION,
    &INGEST_BATCH,
    &LAKE_COMMIT,
    &[LAKE_FILE_WRITTEN, LAKE_SIDE_FILE_WRITTEN, TOTALS_SENT],
];

#[cfg(any(test, feature = "failpoints"))]
fn stopped(point: &str) -> crate::error::Error {
    use crate::error::{Error, Kind};
    let kind = if point.starts_with("lake::") { Kind::Lake } else { Kind::Broker };
    Error::new(kind, format!("stopped at failpoint `{point}`"))
}

/// Passes the point, or fails there when a test has armed it.
#[cfg(feature = "failpoints")]
pub fn reach(point: &'static str) -> Result<()> {
    #[cfg(test)]
    local::check(point)?;
    fail::fail_point!(point, |word| {
        if word.as_deref() == Some("kill") {
            std::process::abort();
        }
        Err(stopped(point))
    });
    Ok(())
}

/// Passes the point, or fails there when a test has armed it.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(point: &'static str) -> Result<()> {
    #[cfg(test)]
    local::check(point)?;
    let _ = point;
    Ok(())
}

/// Arms the points that `FAILPOINTS` names, for the rest of the process. Called by the command line, which a program
/// may run more than once.
#[cfg(feature = "failpoints")]
pub fn from_environment() {
    static ARMED: std::sync::Once = std::sync::Once::new();
    ARMED.call_once(|| std::mem::forget(fail::FailScenario::setup()));
}

/// Arms nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn from_environment() {}

#[cfg(test)]
pub use local::{acting, armed};

#[cfg(test)]
mod local {
    use std::cell::{Cell, RefCell};

    use super::{Result, stopped};

    type Act = Box<dyn FnOnce()>;

    thread_local! {
        /// The armed point and how many passes are still let through.
        static ARMED: Cell<Option<(&'static str, u32)>> = const { Cell::new(None) };
        /// What somebody else does while this thread stands at a point.
        static ACTION: RefCell<Option<(&'static str, Act)>> = const { RefCell::new(None) };
    }

    /// Disarms when dropped.
    pub struct Armed(());

    /// Makes this thread fail at `point` after letting `passes` of them through.
    pub fn armed(point: &'static str, passes: u32) -> Armed {
        ARMED.set(Some((point, passes)));
        Armed(())
    }

    /// Does this when the thread passes `point` for the first time, and lets it through.
    pub fn acting(point: &'static str, act: impl FnOnce() + 'static) -> Armed {
        ACTION.set(Some((point, Box::new(act))));
        Armed(())
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            ARMED.set(None);
            ACTION.set(None);
        }
    }

    pub(super) fn check(point: &'static str) -> Result<()> {
        if let Some((_, act)) = ACTION.with_borrow_mut(|action| action.take_if(|(at, _)| *at == point)) {
            act();
        }
        match ARMED.get() {
            Some((armed, 0)) if armed == point => Err(stopped(point)),
            Some((armed, passes)) if armed == point => {
                ARMED.set(Some((armed, passes - 1)));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
