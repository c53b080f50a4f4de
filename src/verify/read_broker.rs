//! Kafka's side: the cursor's history, the ends, the messages on their way, and those of suspect keys.
//!
//! Everything is read under read_committed at offsets given as numbers, without a group: no position moves. A range
//! that a still open transaction holds back is read as far as it goes, and said to be incomplete.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::canon::{Canon, Forms, message_digest};
use super::judge::{History, Mark, Sighting, Sightings};
use super::ledger::{Handle, Holding, KeyKind, Place};
use crate::broker::{Bounds, Cluster, TopicDescription};
use crate::error::{Kind, Result};
use crate::model::Message;
use crate::publish::CursorRecord;

/// A producer's transaction lasts a second by default; one that is still open after this is held by something else.
const OPEN_TRANSACTION_PATIENCE: Duration = Duration::from_secs(10);
/// The cursor topic.
#[derive(Debug, Default)]
pub(super) struct CursorPicture {
    pub last: Option<CursorRecord>,
    pub history: History,
    /// The topic was read to its end.
    pub complete: bool,
}

/// The data topic.
#[derive(Debug, Default)]
pub(super) struct TopicPicture {
    pub topic: Option<TopicDescription>,
    pub bounds: Vec<Bounds>,
}

impl TopicPicture {
    pub fn has_messages(&self) -> bool {
        self.bounds.iter().any(|bound| bound.end > bound.earliest)
    }
}

/// Reads a range as far as it goes; false when an open transaction, the broker's silence, or the deletion of old
/// messages meanwhile, ended it early.
fn read_range(
    cluster: &mut dyn Cluster,
    topic: &str,
    partition: i32,
    (from, until): (i64, i64),
    each: &mut dyn FnMut(Message<'_>) -> Result<()>,
) -> Result<bool> {
    match cluster.read_committed(topic, partition, from, until, OPEN_TRANSACTION_PATIENCE, each) {
        Ok(()) => Ok(true),
        Err(error) if error.is_retriable() || error.kind() == Kind::DataLoss => {
            tracing::debug!(target: "foodstream::verify", partition, error = %error.report(), "read in part");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The cursor, with what is left of its history. A transaction of fewer than `page_rows` rows
/// held one page only.
pub(super) fn cursor_picture(cluster: &mut dyn Cluster, topic: &str, page_rows: u64) -> Result<CursorPicture> {
    if cluster.describe(topic)?.is_none() {
        return Ok(CursorPicture { complete: true, ..CursorPicture::default() });
    }
    let mut picture = CursorPicture { complete: true, ..CursorPicture::default() };
    let mut marks: Vec<Mark> = Vec::new();
    let mut rows_before = None;
    let bounds = cluster.bounds(topic)?;
    let Some(bound) = bounds.iter().find(|bound| bound.partition == 0) else { return Ok(picture) };
    let mut last = None;
    let mut each = |message: Message<'_>| -> Result<()> {
        let Some(value) = message.value else { return Ok(()) };
        let record = CursorRecord::parse(value)?;
        let rows = record.rows_published;
        let since: Option<u64> = rows_before.map(|before: u64| rows.saturating_sub(before));
        marks.push(Mark {
            offset: message.offset,
            position: record.cursor()?,
            snapshot_xmin: record.snapshot_xmin,
            one_page: since.unwrap_or(rows) < page_rows,
        });
        rows_before = Some(rows);
        last = Some(record);
        Ok(())
    };
    picture.complete = read_range(cluster, topic, 0, (bound.earliest, bound.end), &mut each)?;
    picture.last = last;
    picture.history = History::new(marks);
    Ok(picture)
}

pub(super) fn topic_picture(cluster: &mut dyn Cluster, topic: &str) -> Result<TopicPicture> {
    let Some(description) = cluster.describe(topic)? else { return Ok(TopicPicture::default()) };
    Ok(TopicPicture { topic: Some(description), bounds: cluster.bounds(topic)? })
}

/// Messages between the lake's positions and the ends.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub holdings: Vec<Holding>,
    pub count: u64,
    /// Messages without a key of this table.
    pub foreign: u64,
    pub complete: bool,
}

/// `ranges`: partition to (position, end). Without forms the messages are only counted.
pub(super) fn waiting(
    cluster: &mut dyn Cluster,
    topic: &str,
    ranges: &BTreeMap<i32, (i64, i64)>,
    forms: Option<(&Forms, KeyKind)>,
) -> Result<Waiting> {
    let mut waiting = Waiting { complete: true, ..Waiting::default() };
    let mut canon = Canon::default();
    for (&partition, &range) in ranges {
        let mut each = |message: Message<'_>| -> Result<()> {
            waiting.count += 1;
            let Some((forms, kind)) = forms else { return Ok(()) };
            match message.key.and_then(|key| kind.parse(key)) {
                None => waiting.foreign += 1,
                Some(key) => {
                    let digest = message_digest(forms, message.value, &mut canon);
                    waiting.holdings.push(Holding { handle: Handle::new(key), place: Place::Topic, digest });
                }
            }
            Ok(())
        };
        let whole = read_range(cluster, topic, partition, range, &mut each)?;
        waiting.complete &= whole;
    }
    Ok(waiting)
}

/// What `sightings` found.
#[derive(Debug, Default)]
pub(super) struct Sighted {
    pub sightings: Sightings,
    pub bounds: Vec<Bounds>,
    /// Every range was read to its end.
    pub complete: bool,
}

/// Every retained message of the suspects (sorted), up to the given offsets.
pub(super) fn sightings(
    cluster: &mut dyn Cluster,
    topic: &str,
    until: &HashMap<i32, i64>,
    suspects: &[Handle],
    forms: &Forms,
    kind: KeyKind,
) -> Result<Sighted> {
    let bounds = cluster.bounds(topic)?;
    let mut found = Vec::new();
    let mut canon = Canon::default();
    let mut complete = true;
    for bound in &bounds {
        let until = until.get(&bound.partition).copied().unwrap_or(bound.earliest);
        let mut each = |message: Message<'_>| -> Result<()> {
            let handle = message.key.and_then(|key| kind.parse(key)).map(Handle::new);
            if let Some(handle) = handle.filter(|handle| suspects.binary_search(handle).is_ok()) {
                let digest = message_digest(forms, message.value, &mut canon);
                let sighting = Sighting { partition: message.partition, offset: message.offset, digest };
                found.push((handle, sighting));
            }
            Ok(())
        };
        complete &= read_range(cluster, topic, bound.partition, (bound.earliest, until), &mut each)?;
    }
    Ok(Sighted { sightings: Sightings::new(found), bounds, complete })
}
