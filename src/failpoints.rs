//! Named points at which a test stops the program, as a kill or a full disk would.
//!
//! Without the feature `failpoints` and outside unit tests, `reach` is empty and disappears. With the feature
//! the crate `fail` decides by name, from the environment variable `FAILPOINTS` (see `from_environment`):
//! `lake::linked=return` makes the step fail, `lake::linked=return(kill)` ends the process there without
//! running another instruction of ours, `pause` and `sleep` hold it. Unit tests arm one point of their own
//! thread with `armed`, so that they run side by side.

use crate::error::Result;

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

#[cfg(any(test, feature = "failpoints"))]
fn stopped(point: &str) -> crate::error::Error {
    crate::error::Error::new(crate::error::Kind::Lake, format!("stopped at failpoint `{point}`"))
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

/// Arms the points that `FAILPOINTS` names, for the rest of the process. Called once, by the command line.
#[cfg(feature = "failpoints")]
pub fn from_environment() {
    std::mem::forget(fail::FailScenario::setup());
}

/// Arms the points that `FAILPOINTS` names, for the rest of the process. Called once, by the command line.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn from_environment() {}

#[cfg(test)]
pub use local::armed;

#[cfg(test)]
mod local {
    use std::cell::Cell;

    use super::{Result, stopped};

    thread_local! {
        /// The armed point and how many passes are still let through.
        static ARMED: Cell<Option<(&'static str, u32)>> = const { Cell::new(None) };
    }

    /// Disarms when dropped.
    pub struct Armed(());

    /// Makes this thread fail at `point` after letting `passes` of them through.
    pub fn armed(point: &'static str, passes: u32) -> Armed {
        ARMED.set(Some((point, passes)));
        Armed(())
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            ARMED.set(None);
        }
    }

    pub(super) fn check(point: &'static str) -> Result<()> {
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
