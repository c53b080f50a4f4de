//! Where publishing starts: the cursor read back from Kafka, or what may stand in for it (protocols K2, K3, K6).

use std::time::Duration;

use crate::broker::{Cluster, TopicDescription, TopicSpec};
use crate::error::{Error, Kind, Lost, Result};
use crate::model::position::format_timestamp_us;
use crate::model::{Cursor, Key};

use super::cursor::CursorRecord;
use super::{PublisherOptions, state_file};

/// Small segments keep the part of the topic that a start must read small.
const CURSOR_SEGMENT_BYTES: &str = "1048576";
/// How many of a partition's last offsets are read first when no cursor record exists (K6). Rows are published in
/// order of position, so the highest of a partition is its last; the margin covers control records. Where all of
/// them are control or aborted records, more are read.
const TAIL_OFFSETS: i64 = 1_000;
/// How much more: an aborted transaction of 100,000 rows is passed at the second step.
const TAIL_GROWTH: i64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOrigin {
    /// The last cursor record.
    CursorTopic,
    /// An older pipeline's state file, adopted.
    StateFile,
    /// `cdc.default_start_timestamp`.
    Default,
    /// `--start-from`.
    Flag,
}

impl std::fmt::Display for StartOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            StartOrigin::CursorTopic => "the last cursor record",
            StartOrigin::StateFile => "the state file, adopted",
            StartOrigin::Default => "cdc.default_start_timestamp",
            StartOrigin::Flag => "--start-from",
        })
    }
}

/// Where reading the table starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub cursor: Cursor,
    /// The horizon of the last transaction, microseconds on the column's clock.
    pub horizon_us: Option<i64>,
    /// `pg_snapshot_xmin` of the last transaction's last page.
    pub snapshot_xmin: Option<u64>,
    pub rows_published: u64,
    pub origin: StartOrigin,
    /// The pipeline's very first position.
    pub first: Cursor,
}

/// The cursor topic as it must be: one partition, compacted and nothing else.
pub(super) fn cursor_topic(options: &PublisherOptions) -> TopicSpec {
    let config = [("cleanup.policy", "compact"), ("segment.bytes", CURSOR_SEGMENT_BYTES)];
    TopicSpec {
        name: options.cursor_topic.clone(),
        partitions: 1,
        replication_factor: options.topic.replication_factor,
        config: config.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

/// A topic with another policy would lose the cursor after its retention.
///
/// # Errors
/// `Broker`, not retriable, where the policy is another.
pub fn check_cursor_topic(cluster: &mut impl Cluster, name: &str) -> Result<()> {
    let config = cluster.topic_config(name)?;
    let policy = config.get("cleanup.policy").map(String::as_str).unwrap_or_default();
    if policy == "compact" {
        return Ok(());
    }
    Err(Error::new(
        Kind::Broker,
        format!(
            "topic {name} has cleanup.policy={policy}, so its records would be deleted in time, and the position with \
             them; set it to exactly `compact`, or name another topic with cdc.cursor_topic"
        ),
    ))
}

/// The last cursor record, read under read_committed up to the end that readers of uncommitted records see.
pub(super) fn read_back(
    cluster: &mut impl Cluster,
    options: &PublisherOptions,
    timeout: Duration,
) -> Result<Option<CursorRecord>> {
    let bounds = cluster.bounds(&options.cursor_topic)?;
    let Some(bound) = bounds.first() else { return Ok(None) };
    if bound.end == bound.earliest {
        return Ok(None);
    }
    // The last record counts, so only it is understood: an older one may be of a version that is gone.
    let mut last: Option<Vec<u8>> = None;
    cluster.read_committed(&options.cursor_topic, 0, bound.earliest, bound.end, timeout, &mut |message| {
        if let Some(value) = message.value {
            let kept = last.get_or_insert_default();
            kept.clear();
            kept.extend_from_slice(value);
        }
        Ok(())
    })?;
    let Some(last) = last else { return Ok(None) };
    let record = CursorRecord::parse(&last)?;
    check_record(&record, options)?;
    Ok(Some(record))
}

fn check_record(record: &CursorRecord, options: &PublisherOptions) -> Result<()> {
    if record.pipeline_id != options.pipeline_id {
        return Err(Error::new(
            Kind::Broker,
            format!(
                "topic {} belongs to pipeline `{}`, not to `{}`; a pipeline needs a cursor topic of its own",
                options.cursor_topic, record.pipeline_id, options.pipeline_id
            ),
        ));
    }
    if record.zone != options.zone {
        return Err(Error::new(
            Kind::Source,
            format!(
                "the position was written with cdc.timezone {}, the configuration now says {}: the same timestamp would \
                 mean another moment; set it back, or start a new pipeline_id with --start-from",
                record.zone, options.zone
            ),
        ));
    }
    if let (Some(then), Some(now)) = (&record.system_identifier, &options.system_identifier)
        && then != now
    {
        return Err(Error::data_loss(
            Lost::rows_behind(record.cursor()?),
            format!(
                "the database is another one (system identifier {now} instead of {then}): rows after {} may never have \
                 been published from it; give it a new cdc.pipeline_id and a position with --start-from",
                record.timestamp
            ),
        ));
    }
    if let (Some(then), Some(now)) = (record.timeline, options.timeline)
        && then != now
    {
        tracing::warn!(
            target: "foodstream::producer",
            "the database's timeline changed from {then} to {now} (a failover or a restore); run `foodstream verify`"
        );
    }
    Ok(())
}

/// The position to start from, with or without a cursor record (K6).
pub(super) fn resolve(
    cluster: &mut impl Cluster,
    options: &PublisherOptions,
    record: Option<&CursorRecord>,
    topic: Option<&TopicDescription>,
) -> Result<Start> {
    let file = || options.state_file.as_deref().map_or(Ok(None), state_file::read);
    if let Some(cursor) = options.start_from {
        return Ok(fresh(cursor, StartOrigin::Flag));
    }
    if let Some(record) = record {
        let cursor = record.cursor()?;
        let again = match topic {
            None if record.rows_published > 0 => cluster.describe_known(&options.topic.name)?,
            known => known.cloned(),
        };
        check_topic(options, record, again.as_ref())?;
        check_state_file(options, cursor)?;
        return Ok(Start {
            cursor,
            horizon_us: record.horizon_us()?,
            snapshot_xmin: record.snapshot_xmin,
            rows_published: record.rows_published,
            origin: StartOrigin::CursorTopic,
            first: record.start_cursor()?,
        });
    }
    let adopted = file()?;
    let start = match adopted {
        Some(cursor) => fresh(cursor, StartOrigin::StateFile),
        None => fresh(options.default_start, StartOrigin::Default),
    };
    // Without transactions rows after the state file's position are repeated by design: at least once.
    if options.exactly_once
        && topic.is_some()
        && let Some(highest) = highest_published(cluster, options)?
        && position_below(start.cursor, highest)
        && !options.adopt
    {
        let place =
            if adopted.is_some() { "the state file stands at" } else { "there is no state file, and the start is" };
        return Err(Error::data_loss(
            Lost::rows(start.cursor, highest),
            format!(
                "topic {} already holds rows up to {highest}, but there is no cursor record and {place} {}: starting \
                 there would publish rows again; name the position with --start-from, or accept that with --adopt",
                options.topic.name, start.cursor
            ),
        ));
    }
    Ok(start)
}

/// What was published to a topic that is gone is gone with it, unless somebody had read it.
fn check_topic(options: &PublisherOptions, record: &CursorRecord, topic: Option<&TopicDescription>) -> Result<()> {
    let what = match (topic, &record.topic_id) {
        _ if options.adopt || record.rows_published == 0 => return Ok(()),
        (None, _) => "deleted".to_owned(),
        (Some(now), Some(then)) if now.id != *then => {
            format!("deleted and created anew (id {} instead of {then})", now.id)
        }
        _ => return Ok(()),
    };
    let (first, last) = (&record.start, record.cursor()?);
    Err(Error::data_loss(
        Lost { topic: Some(options.topic.name.clone()), ..Lost::rows(first, last) },
        format!(
            "topic {} was {what} after {} rows had been published to it, those behind {first} up to {last}: what no \
             consumer had read of them is gone; go on behind them with --adopt, or publish them again with \
             --start-from, for a lake that holds none of them",
            options.topic.name, record.rows_published,
        ),
    ))
}

/// A state file ahead of the cursor was not written by this pipeline's last transaction.
fn check_state_file(options: &PublisherOptions, cursor: Cursor) -> Result<()> {
    let Some(path) = options.state_file.as_deref() else { return Ok(()) };
    let written = match state_file::read(path) {
        Ok(written) => written,
        Err(error) if options.adopt => {
            tracing::warn!(target: "foodstream::producer", "{}; it is replaced", error.report());
            None
        }
        Err(error) => return Err(error),
    };
    let Some(written) = written else { return Ok(()) };
    if !position_below(cursor, written) || options.adopt {
        return Ok(());
    }
    Err(Error::data_loss(
        Lost::rows(cursor, written),
        format!(
            "the state file {} stands at {written}, ahead of the published cursor {cursor}: the cursor topic lost \
             transactions, or the file belongs to another pipeline; rows in between may be unpublished. Start at the \
             cursor with --adopt, or name the position with --start-from",
            path.display()
        ),
    ))
}

fn fresh(cursor: Cursor, origin: StartOrigin) -> Start {
    Start { cursor, horizon_us: None, snapshot_xmin: None, rows_published: 0, origin, first: cursor }
}

/// `a` leaves rows unread that `b` counts as read. A position without a key includes all rows of its timestamp.
fn position_below(a: Cursor, b: Cursor) -> bool {
    match (a.timestamp_us.cmp(&b.timestamp_us), a.key, b.key) {
        (std::cmp::Ordering::Less, _, _) => true,
        (std::cmp::Ordering::Greater, _, _) | (_, None, _) => false,
        (_, Some(_), None) => true,
        (_, Some(a), Some(b)) => a < b,
    }
}

/// The highest position among the last messages of each partition; `None` for a topic without messages.
fn highest_published(cluster: &mut impl Cluster, options: &PublisherOptions) -> Result<Option<Cursor>> {
    let topic = &options.topic.name;
    let mut highest: Option<Cursor> = None;
    let mut unreadable = 0_u64;
    for bound in cluster.bounds(topic)? {
        let mut tail = TAIL_OFFSETS;
        let mut seen = 0_u64;
        let mut until = bound.end;
        while seen == 0 && until > bound.earliest {
            let from = bound.earliest.max(bound.end - tail);
            cluster.read_committed(topic, bound.partition, from, until, options.timeout, &mut |message| {
                seen += 1;
                match message.value.and_then(|value| position_in(value, options)) {
                    Some(position) if highest.is_none_or(|known| position_below(known, position)) => {
                        highest = Some(position)
                    }
                    Some(_) => {}
                    None => unreadable += 1,
                }
                Ok(())
            })?;
            until = from;
            tail = tail.saturating_mul(TAIL_GROWTH);
        }
    }
    if highest.is_none() && unreadable > 0 && !options.adopt {
        return Err(Error::new(
            Kind::Broker,
            format!(
                "topic {topic} holds messages without `{}` and `{}`, and there is no cursor record: this is not a topic \
                 of this pipeline, or its position is lost; name the position with --start-from",
                options.timestamp_column, options.key_column
            ),
        ));
    }
    Ok(highest)
}

/// The row's position on the column's own clock, from a message.
fn position_in(value: &[u8], options: &PublisherOptions) -> Option<Cursor> {
    let row: serde_json::Value = serde_json::from_slice(value).ok()?;
    let instant = chrono::DateTime::parse_from_rfc3339(row.get(&options.timestamp_column)?.as_str()?).ok()?;
    let zone: chrono_tz::Tz = options.zone.parse().ok()?;
    let timestamp_us = instant.with_timezone(&zone).naive_local().and_utc().timestamp_micros();
    let key: Key = match row.get(&options.key_column)? {
        serde_json::Value::Number(number) => Key::Int(number.as_i64()?),
        serde_json::Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    Some(Cursor { timestamp_us, key: Some(key) })
}

/// What a start found, for the log.
pub(super) fn describe(start: &Start) -> String {
    // The position is the one just before the configured start, whose own rows are still to be read.
    let configured = format_timestamp_us(start.cursor.timestamp_us + 1);
    match start.origin {
        StartOrigin::CursorTopic => {
            format!("going on at {}, {} rows published so far", start.cursor, start.rows_published)
        }
        StartOrigin::StateFile => format!("no cursor record; adopting the state file's {}", start.cursor),
        StartOrigin::Default => format!("first start, at cdc.default_start_timestamp {configured}"),
        StartOrigin::Flag => format!("starting at {} as asked", start.cursor),
    }
}
