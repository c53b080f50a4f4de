//! What a start would find and do, without doing it: for `--dry-run`.

use crate::broker::{Cluster, TopicDescription};
use crate::error::{Kind, Result};

use super::PublisherOptions;
use super::cursor::CursorRecord;
use super::start::{self, Start};

/// Looks at what others change meanwhile; whoever changes it more often cannot be planned beside.
const LOOKS: usize = 5;

/// What is there already.
#[derive(Clone, Debug)]
pub struct Found {
    /// The data topic; `None` when it would be created.
    pub topic: Option<TopicDescription>,
    /// Where reading would start.
    pub start: Start,
    /// The cursor topic would be created.
    pub cursor_topic_missing: bool,
}

/// Looks, checks, and changes nothing.
///
/// It fences nobody, so a living producer may commit between two of its looks, and what was read first does not fit what
/// was read last: a state file ahead of the cursor, rows on a topic without a cursor. So a contradiction counts only if
/// the cursor record is still the one it was found with.
///
/// # Errors
/// The same as [`super::Publisher::open`] for what exists already.
pub fn plan(cluster: &mut impl Cluster, options: &PublisherOptions) -> Result<Found> {
    let mut record = last_record(cluster, options)?;
    let mut found = find(cluster, options, record.as_ref());
    for _ in 1..LOOKS {
        if !found.as_ref().is_err_and(|error| error.kind() == Kind::DataLoss) {
            break;
        }
        let now = last_record(cluster, options)?;
        if now == record {
            break;
        }
        record = now;
        found = find(cluster, options, record.as_ref());
    }
    found
}

fn last_record(cluster: &mut impl Cluster, options: &PublisherOptions) -> Result<Option<CursorRecord>> {
    if !options.exactly_once || cluster.describe(&options.cursor_topic)?.is_none() {
        return Ok(None);
    }
    start::check_cursor_topic(cluster, &options.cursor_topic)?;
    start::read_back(cluster, options, options.timeout)
}

fn find(cluster: &mut impl Cluster, options: &PublisherOptions, record: Option<&CursorRecord>) -> Result<Found> {
    let topic = cluster.describe(&options.topic.name)?;
    let cursor_topic_missing = cluster.describe(&options.cursor_topic)?.is_none();
    let start = start::resolve(cluster, options, record, topic.as_ref())?;
    Ok(Found { topic, start, cursor_topic_missing })
}
