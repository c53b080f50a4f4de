//! The cursor record: the pipeline's position as one JSON message in its own compacted topic.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::model::Cursor;
use crate::model::position::{format_timestamp_us, parse_timestamp_us};

/// Written by this version; a reader refuses a newer one rather than guess.
pub const VERSION: u32 = 1;

/// What a transaction says about itself. Timestamps are the column's own values, unconverted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorRecord {
    pub version: u32,
    pub pipeline_id: String,
    /// `2025-11-18 12:00:00.000000`
    pub timestamp: String,
    /// The key as text; null after an adopted position that had none.
    pub key: Option<String>,
    /// Zone of the timestamp column (`cdc.timezone`).
    pub zone: String,
    /// The horizon (W) the rows were read under.
    pub horizon: Option<String>,
    pub snapshot_xmin: Option<u64>,
    pub rows_published: u64,
    /// Where the pipeline first started: rows before it were never its business.
    pub start: String,
    /// The producer process that wrote this.
    pub writer: String,
    pub system_identifier: Option<String>,
    pub timeline: Option<u32>,
    /// The cluster's id of the data topic; versions before this field did not write it.
    #[serde(default)]
    pub topic_id: Option<String>,
}

impl CursorRecord {
    pub fn parse(value: &[u8]) -> Result<Self> {
        let record: CursorRecord = serde_json::from_slice(value).map_err(|error| {
            Error::new(Kind::Broker, "the cursor topic holds a record that is not a cursor").because(error)
        })?;
        if record.version > VERSION {
            return Err(Error::new(
                Kind::Broker,
                format!(
                    "the cursor record has version {}, this program knows up to {VERSION}: update it",
                    record.version
                ),
            ));
        }
        Ok(record)
    }

    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::bug("the cursor record did not serialise").because(error))
    }

    pub fn cursor(&self) -> Result<Cursor> {
        let timestamp_us = timestamp(&self.timestamp)?;
        let key = match &self.key {
            None => None,
            Some(text) => Some(text.parse().map_err(|error: String| Error::new(Kind::Broker, error))?),
        };
        Ok(Cursor { timestamp_us, key })
    }

    pub fn horizon_us(&self) -> Result<Option<i64>> {
        self.horizon.as_deref().map(timestamp).transpose()
    }

    pub fn start_cursor(&self) -> Result<Cursor> {
        super::state_file::parse(&self.start)
            .map_err(|error| Error::new(Kind::Broker, "the cursor record's start position").because(error))
    }

    pub(super) fn set_position(&mut self, cursor: Cursor) {
        self.timestamp = format_timestamp_us(cursor.timestamp_us);
        self.key = cursor.key.map(|key| key.to_string());
    }
}

fn timestamp(text: &str) -> Result<i64> {
    parse_timestamp_us(text)
        .ok_or_else(|| Error::new(Kind::Broker, format!("the cursor record holds `{text}` as a timestamp")))
}
