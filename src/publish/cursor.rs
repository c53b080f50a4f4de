//! The cursor record: how far a pipeline has published, written in the same transaction as the rows.
//!
//! One JSON object a commit in the pipeline's own compacted topic, keyed by the pipeline id. The last committed
//! one counts; it is the truth of the capture side, the state file is a copy.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::broker::Cluster;
use crate::error::{Error, Kind, Result};
use crate::model::position::{format_timestamp_us, parse_timestamp_us};
use crate::model::{Cursor, Key};

/// The form of the record. A reader refuses one it does not know, rather than guess a position.
pub const VERSION: u32 = 1;

/// What a commit says about its pipeline. Timestamps are microseconds on the timestamp column's own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorRecord {
    pub pipeline_id: String,
    pub cursor: Cursor,
    /// The configured zone of the column's clock.
    pub zone: String,
    /// W: rows below it and above the cursor did not exist. `None` when no poll has been made yet.
    pub horizon_us: Option<i64>,
    /// Of the snapshot that read the last rows: older row versions were seen.
    pub snapshot_xmin: u64,
    pub rows_published: u64,
    /// Where the pipeline began; rows up to it were never meant to be published.
    pub start: Cursor,
    /// The process that wrote it.
    pub writer: String,
    /// Of the PostgreSQL cluster, where the role may read it.
    pub system_identifier: Option<String>,
    pub timeline: Option<u32>,
}

/// The JSON form. Field order is the order of the text.
#[derive(Serialize, Deserialize)]
struct Form {
    version: u32,
    pipeline_id: String,
    timestamp: String,
    key: KeyForm,
    zone: String,
    horizon: Option<String>,
    snapshot_xmin: u64,
    rows_published: u64,
    start: PositionForm,
    writer: String,
    #[serde(default)]
    system_identifier: Option<String>,
    #[serde(default)]
    timeline: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct PositionForm {
    timestamp: String,
    key: KeyForm,
}

/// A number, a uuid as text, or null where a timestamp stands alone.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum KeyForm {
    Int(i64),
    Text(String),
    None,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl From<Option<Key>> for KeyForm {
    fn from(key: Option<Key>) -> Self {
        match key {
            Some(Key::Int(value)) => KeyForm::Int(value),
            Some(key @ Key::Uuid(_)) => KeyForm::Text(key.to_string()),
            None => KeyForm::None,
        }
    }
}

fn position(timestamp: &str, key: KeyForm) -> Result<Cursor, String> {
    let timestamp_us = parse_timestamp_us(timestamp).ok_or_else(|| format!("`{timestamp}` is no timestamp"))?;
    let key = match key {
        KeyForm::Int(value) => Some(Key::Int(value)),
        KeyForm::Text(text) => Some(text.parse()?),
        KeyForm::None => None,
    };
    Ok(Cursor { timestamp_us, key })
}

impl CursorRecord {
    pub fn to_json(&self) -> Vec<u8> {
        let form = Form {
            version: VERSION,
            pipeline_id: self.pipeline_id.clone(),
            timestamp: format_timestamp_us(self.cursor.timestamp_us),
            key: self.cursor.key.into(),
            zone: self.zone.clone(),
            horizon: self.horizon_us.map(format_timestamp_us),
            snapshot_xmin: self.snapshot_xmin,
            rows_published: self.rows_published,
            start: PositionForm {
                timestamp: format_timestamp_us(self.start.timestamp_us),
                key: self.start.key.into(),
            },
            writer: self.writer.clone(),
            system_identifier: self.system_identifier.clone(),
            timeline: self.timeline,
        };
        serde_json::to_vec(&form).expect("strings, numbers and nulls always serialise")
    }

    /// The error is the reason, without the place.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let version = serde_json::from_slice::<VersionOnly>(bytes).map_err(|error| error.to_string())?.version;
        if version != VERSION {
            return Err(format!("it has form {version}, this program knows form {VERSION}: use the newer program"));
        }
        let form: Form = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let horizon_us = match &form.horizon {
            Some(text) => Some(parse_timestamp_us(text).ok_or_else(|| format!("`{text}` is no timestamp"))?),
            None => None,
        };
        Ok(CursorRecord {
            cursor: position(&form.timestamp, form.key)?,
            start: position(&form.start.timestamp, form.start.key)?,
            pipeline_id: form.pipeline_id,
            zone: form.zone,
            horizon_us,
            snapshot_xmin: form.snapshot_xmin,
            rows_published: form.rows_published,
            writer: form.writer,
            system_identifier: form.system_identifier,
            timeline: form.timeline,
        })
    }
}

/// The last committed record of a pipeline with its offset, read up to the READ_UNCOMMITTED end, so that a
/// transaction still open is waited for (a read_committed end would lie before it). `None` without topic or record.
pub fn read_cursor<C: Cluster>(
    cluster: &mut C,
    topic: &str,
    pipeline_id: &str,
    timeout: Duration,
) -> Result<Option<(CursorRecord, i64)>> {
    if cluster.describe(topic)?.is_none() {
        return Ok(None);
    }
    let Some(bounds) = cluster.bounds(topic)?.first().copied() else { return Ok(None) };
    let mut last: Option<(Vec<u8>, i64)> = None;
    cluster.read_committed(topic, 0, bounds.earliest, bounds.end, timeout, &mut |message| {
        if message.key == Some(pipeline_id.as_bytes()) {
            last = message.value.map(|value| (value.to_vec(), message.offset));
        }
        Ok(())
    })?;
    let Some((value, offset)) = last else { return Ok(None) };
    let unreadable = |reason: String| {
        Error::new(
            Kind::DataLoss,
            format!(
                "the cursor record of pipeline `{pipeline_id}` (topic `{topic}`, offset {offset}) cannot be read: \
                 {reason}; `--start-from` gives a position by hand"
            ),
        )
    };
    let record = CursorRecord::from_json(&value).map_err(unreadable)?;
    if record.pipeline_id != pipeline_id {
        return Err(unreadable(format!("it is of pipeline `{}`", record.pipeline_id)));
    }
    Ok(Some((record, offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: Option<Key>) -> CursorRecord {
        CursorRecord {
            pipeline_id: "shop.public.orders-food_orders_raw".to_owned(),
            cursor: Cursor { timestamp_us: 1_763_467_200_000_000, key },
            zone: "Asia/Kolkata".to_owned(),
            horizon_us: Some(1_763_467_200_123_456),
            snapshot_xmin: u64::from(u32::MAX) + 7,
            rows_published: 10,
            start: Cursor { timestamp_us: 0, key: None },
            writer: "6d1b0c9e-0000-4000-8000-000000000001".to_owned(),
            system_identifier: Some("7432123456789012345".to_owned()),
            timeline: Some(2),
        }
    }

    #[test]
    fn a_record_survives_its_json_form() {
        let uuid = "00000000-0000-4000-8000-00000000000a".parse().unwrap();
        for key in [Some(Key::Int(i64::MIN)), Some(Key::Int(i64::MAX)), Some(uuid), None] {
            let record = record(key);
            assert_eq!(CursorRecord::from_json(&record.to_json()).unwrap(), record);
        }
        let bare = CursorRecord { horizon_us: None, system_identifier: None, timeline: None, ..record(None) };
        assert_eq!(CursorRecord::from_json(&bare.to_json()).unwrap(), bare);
    }

    #[test]
    fn the_json_form_is_the_documented_one() {
        let text = String::from_utf8(record(Some(Key::Int(10))).to_json()).unwrap();
        assert_eq!(
            text,
            "{\"version\":1,\"pipeline_id\":\"shop.public.orders-food_orders_raw\",\
             \"timestamp\":\"2025-11-18 12:00:00.000000\",\"key\":10,\"zone\":\"Asia/Kolkata\",\
             \"horizon\":\"2025-11-18 12:00:00.123456\",\"snapshot_xmin\":4294967302,\"rows_published\":10,\
             \"start\":{\"timestamp\":\"1970-01-01 00:00:00.000000\",\"key\":null},\
             \"writer\":\"6d1b0c9e-0000-4000-8000-000000000001\",\"system_identifier\":\"7432123456789012345\",\
             \"timeline\":2}"
        );
    }

    #[test]
    fn microseconds_before_1970_and_before_christ_survive() {
        for timestamp_us in [-1, -62_200_000_000_000_001, -200_000_000_000_000_123] {
            let record = CursorRecord { cursor: Cursor { timestamp_us, key: None }, ..record(None) };
            assert_eq!(CursorRecord::from_json(&record.to_json()).unwrap().cursor.timestamp_us, timestamp_us);
        }
    }

    #[test]
    fn a_newer_form_and_damaged_text_are_refused() {
        assert!(CursorRecord::from_json(br#"{"version":2}"#).unwrap_err().contains("form 2"));
        assert!(CursorRecord::from_json(b"{\"version\":1,").is_err());
        assert!(CursorRecord::from_json(b"").is_err());
        let text = String::from_utf8(record(None).to_json()).unwrap().replace("12:00:00.000000", "noon");
        assert!(CursorRecord::from_json(text.as_bytes()).unwrap_err().contains("no timestamp"));
    }
}
