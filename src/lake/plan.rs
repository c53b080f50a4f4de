//! Plans: offset ranges made durable before a user's function sees their rows (protocol C5).
//!
//! A function called before the commit may have effects of its own. After a crash it must see exactly the same
//! rows under the same id, so the ranges are written first. From then on the plan is the only way to commit its
//! offsets for whoever plans: a second plan that shares a partition is not written before the first is done, also
//! when it is another worker's. One whose ranges no longer start at the log's positions has been overtaken, by its
//! own commit or by a worker that plans nothing, and is dropped.
//!
//! ```text
//! <checkpoint>/plans/<plan id>.json     the ranges, sealed
//! <checkpoint>/plans/lock               flock, held while the folder is compared with the log: milliseconds
//! ```

use std::fs::File;
use std::io::ErrorKind;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Head;
use super::durable::{self, Dir, failed};
use super::layout::PLANS;
use super::record::{self, VERSION};
use super::state::continues;
use crate::error::{Error, Result};
use crate::model::OffsetRange;

const LOCK: &str = "lock";

/// Ranges that a batch will have, whatever happens, and the id it will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub id: String,
    pub ranges: Vec<OffsetRange>,
}

impl Plan {
    /// Whether it covers offsets of any of these partitions.
    pub fn touches(&self, partitions: impl IntoIterator<Item = i32>) -> bool {
        partitions.into_iter().any(|partition| self.ranges.iter().any(|range| range.partition == partition))
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    version: u32,
    id: String,
    lake: String,
    topic_id: String,
    ranges: Vec<OffsetRange>,
}

/// The folder of plans while nobody else reads or writes it. The log has to be read after this is taken: whatever
/// plan is found then was written at that head or before it, so one that does not start there is overtaken.
pub(crate) struct Plans {
    dir: Dir,
    /// Holds the lock by living.
    _lock: File,
}

impl Plans {
    /// `None`: no function was ever called over this lake.
    pub fn find(checkpoint: &Dir) -> Result<Option<Plans>> {
        checkpoint.child(PLANS)?.map(Plans::lock).transpose()
    }

    pub fn find_or_make(checkpoint: &Dir) -> Result<Plans> {
        match Plans::find(checkpoint)? {
            Some(plans) => Ok(plans),
            None => Plans::lock(checkpoint.make_durable(PLANS)?),
        }
    }

    /// Waits for other workers; the kernel gives back what a dead one held.
    fn lock(dir: Dir) -> Result<Plans> {
        let lock = match dir.open_file(LOCK)? {
            Some(file) => file,
            None => match dir.create(LOCK) {
                Ok(file) => file,
                // Another worker made it between the two calls.
                Err(error) => dir.open_file(LOCK)?.ok_or(error)?,
            },
        };
        while let Err(error) = lock.lock() {
            if error.kind() != ErrorKind::Interrupted {
                return Err(failed("lock", &dir.join(LOCK), error));
            }
        }
        Ok(Plans { dir, _lock: lock })
    }

    /// Writes a new plan durably.
    pub fn write(&self, writer: &str, lake: &str, head: &Head, ranges: &[OffsetRange]) -> Result<Plan> {
        let plan = Plan { id: Uuid::new_v4().hyphenated().to_string(), ranges: ranges.to_vec() };
        let bytes = record::seal(&PlanFile {
            version: VERSION,
            id: plan.id.clone(),
            lake: lake.to_owned(),
            topic_id: head.topic_id.clone(),
            ranges: plan.ranges.clone(),
        })?;
        let temporary = format!("{}{writer}", super::commit_log::TEMPORARY);
        match durable::put_if_absent(
            &self.dir,
            &temporary,
            &self.dir,
            &file_name(&plan.id),
            &bytes,
            durable::SIDE_FILE,
        )? {
            true => Ok(plan),
            false => Err(Error::bug("a fresh uuid names a plan that exists")),
        }
    }

    /// The plans that start at the head, in the order of their names; overtaken ones are removed on the way.
    pub fn pending(&self, lake: &str, head: &Head) -> Result<Vec<Plan>> {
        let mut pending = Vec::new();
        for name in self.dir.names()? {
            if id_of(&name).is_none() {
                continue;
            }
            // Its commit may have removed it since the listing.
            let Some(bytes) = self.dir.read(&name)? else { continue };
            let plan: PlanFile = record::unseal(&bytes, &self.dir.join(&name))?;
            let ours = plan.lake == lake && plan.topic_id == head.topic_id;
            if ours && continues(head, &plan.ranges) && plan.ranges.iter().any(|range| range.from < range.to) {
                pending.push(Plan { id: plan.id, ranges: plan.ranges });
            } else {
                tracing::debug!(target: "foodstream::lake", plan = plan.id, "dropped a plan that was overtaken");
                self.dir.remove(&name)?;
            }
        }
        Ok(pending)
    }
}

/// Removes the plan of a batch that has been committed, if it had one. Failing does no harm: it is overtaken.
pub(crate) fn remove(checkpoint: &Dir, batch: &str) {
    if let Ok(Some(plans)) = checkpoint.child(PLANS) {
        let _ = plans.remove(&file_name(batch));
    }
}

fn file_name(id: &str) -> String {
    format!("{id}.json")
}

fn id_of(name: &str) -> Option<&str> {
    name.strip_suffix(".json").filter(|id| Uuid::try_parse(id).is_ok())
}
