//! What a start would find and do, without doing it: for `--dry-run`.

use crate::broker::{Cluster, TopicDescription};
use crate::error::Result;

use super::PublisherOptions;
use super::start::{self, Start};

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
/// # Errors
/// The same as [`super::Publisher::open`] for what exists already.
pub fn plan(cluster: &mut impl Cluster, options: &PublisherOptions) -> Result<Found> {
    let topic = cluster.describe(&options.topic.name)?;
    let cursor_topic_missing = cluster.describe(&options.cursor_topic)?.is_none();
    let record = match options.exactly_once && !cursor_topic_missing {
        true => {
            start::check_cursor_topic(cluster, &options.cursor_topic)?;
            start::read_back(cluster, options, options.timeout)?
        }
        false => None,
    };
    let start = start::resolve(cluster, options, record.as_ref(), topic.as_ref())?;
    Ok(Found { topic, start, cursor_topic_missing })
}
