//! Plans: offset ranges made durable before a user's function sees them (protocol C5).
//!
//! A function called before the commit may have effects of its own. After a crash it must see exactly the same
//! rows under the same id, so the ranges are written first. A plan whose ranges no longer start at the log's
//! positions has been overtaken, by its own commit or by another worker, and is dropped.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Head;
use super::durable::{self, Dir};
use super::layout::PLANS;
use super::record::{self, VERSION};
use super::state::continues;
use crate::error::Result;
use crate::model::OffsetRange;

/// Ranges that a batch will have, whatever happens, and the id it will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub id: String,
    pub ranges: Vec<OffsetRange>,
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

/// Writes a new plan durably.
pub(crate) fn write(checkpoint: &Dir, writer: &str, lake: &str, head: &Head, ranges: &[OffsetRange]) -> Result<Plan> {
    let plans = match checkpoint.child(PLANS)? {
        Some(plans) => plans,
        None => checkpoint.make_durable(PLANS)?,
    };
    let id = Uuid::new_v4().hyphenated().to_string();
    let (lake, topic_id) = (lake.to_owned(), head.topic_id.clone());
    let bytes = record::seal(&PlanFile { version: VERSION, id: id.clone(), lake, topic_id, ranges: ranges.to_vec() })?;
    let temporary = format!("{}{writer}", super::commit_log::TEMPORARY);
    durable::put_if_absent(&plans, &temporary, &plans, &file_name(&id), &bytes, durable::SIDE_FILE)?;
    Ok(Plan { id, ranges: ranges.to_vec() })
}

/// The plans that start at the head, oldest names first; overtaken ones are removed on the way.
pub(crate) fn pending(checkpoint: &Dir, lake: &str, head: &Head) -> Result<Vec<Plan>> {
    let Some(plans) = checkpoint.child(PLANS)? else { return Ok(Vec::new()) };
    let mut pending = Vec::new();
    for name in plans.names()? {
        if id_of(&name).is_none() {
            continue;
        }
        // Another worker may have dropped it since the listing.
        let Some(bytes) = plans.read(&name)? else { continue };
        let plan: PlanFile = record::unseal(&bytes, &plans.join(&name))?;
        let ours = plan.lake == lake && plan.topic_id == head.topic_id;
        if ours && continues(head, &plan.ranges) && !plan.ranges.iter().all(|range| range.from == range.to) {
            pending.push(Plan { id: plan.id, ranges: plan.ranges });
        } else {
            tracing::debug!(target: "foodstream::lake", plan = plan.id, "dropped a plan that was overtaken");
            plans.remove(&name)?;
        }
    }
    Ok(pending)
}

/// Removes a plan that has been committed. Failing does no harm: it is overtaken.
pub(crate) fn remove(checkpoint: &Dir, id: &str) {
    if let Ok(Some(plans)) = checkpoint.child(PLANS) {
        let _ = plans.remove(&file_name(id));
    }
}

fn file_name(id: &str) -> String {
    format!("{id}.json")
}

fn id_of(name: &str) -> Option<&str> {
    name.strip_suffix(".json").filter(|id| Uuid::try_parse(id).is_ok())
}
