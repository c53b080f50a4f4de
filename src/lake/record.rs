//! The commit record and the seal that every small file of the checkpoint carries.
//!
//! A sealed file is one line of JSON that ends with the CRC32C of all that stands before it, so a flipped byte
//! or a cut is found whatever it hit. A commit record carries the SHA-256 of the record before it as well: the
//! log is a chain, and a record taken from elsewhere does not fit.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};
use crate::model::{Aggregation, Counts, OffsetRange, Schema, Totals};

/// Version of every sealed file. A program that meets another one stops rather than guess. 2: totals by group.
pub(crate) const VERSION: u32 = 2;

/// One commit. `deny_unknown_fields`: a field this version does not know would be lost by the next totals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub version: u32,
    pub number: u64,
    /// The lake's uuid, drawn by commit 0 and repeated in the footer of every file.
    pub lake: String,
    pub writer: String,
    /// Id of the batch; that of its plan when it had one.
    pub batch: String,
    pub committed_at: DateTime<Utc>,
    /// SHA-256 of the previous record's bytes; absent in commit 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    pub topic: String,
    pub topic_id: String,
    pub ranges: Vec<OffsetRange>,
    /// Parts of the ranges that the broker had deleted before they were read; only with `failOnDataLoss: false`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<OffsetRange>,
    /// Files under the lake root.
    pub files: Vec<FileEntry>,
    /// Files under the quarantine root.
    pub quarantine: Vec<FileEntry>,
    /// Of this commit.
    pub counts: Counts,
    /// Whole totals, this commit included, of the groups it touched.
    pub totals: Totals,
    /// Of the whole log up to here.
    pub running: Running,
    /// Only in commit 0: what is fixed for the life of the lake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub founding: Option<Pin>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileEntry {
    /// `date=YYYY-MM-DD/part-….parquet` under its root; while staged it has the last part of this name.
    pub name: String,
    pub rows: u64,
    pub bytes: u64,
    /// Of the whole file, eight hexadecimal digits.
    pub crc32c: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Running {
    pub counts: Counts,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sums: BTreeMap<String, String>,
}

/// What the first commit fixes: another value later would change the meaning of rows already written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    pub columns: Vec<PinnedColumn>,
    pub drop_invalid_rows: bool,
    pub partition_timezone: String,
    pub aggregate: Aggregation,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinnedColumn {
    pub name: String,
    #[serde(rename = "type")]
    pub data_type: String,
    pub nullable: bool,
}

impl Pin {
    pub fn new(schema: &Schema, drop_invalid_rows: bool, zone: chrono_tz::Tz, aggregate: &Aggregation) -> Pin {
        let columns = schema.columns.iter().map(|column| PinnedColumn {
            name: column.name.clone(),
            data_type: column.data_type.to_string(),
            nullable: column.nullable,
        });
        Pin {
            columns: columns.collect(),
            drop_invalid_rows,
            partition_timezone: zone.name().to_owned(),
            aggregate: aggregate.clone(),
        }
    }

    /// Compares what is asked for now with what the lake was founded with.
    pub fn check(&self, now: &Pin, log: &Path) -> Result<()> {
        if let Some(change) = self.changed_column(now) {
            return Err(Error::new(
                Kind::Schema,
                format!(
                    "the schema differs from the one the lake was founded with: {change}; restore it, or name new \
                     folders for lake and checkpoint (pinned in {})",
                    log.display()
                ),
            ));
        }
        let settings = [
            ("validation.drop_invalid_rows", self.drop_invalid_rows.to_string(), now.drop_invalid_rows.to_string()),
            ("datalake.partition_timezone", self.partition_timezone.clone(), now.partition_timezone.clone()),
        ];
        match settings.into_iter().find(|(_, then, now)| then != now) {
            None => self.check_aggregate(&now.aggregate),
            Some((key, then, now)) => Err(Error::config(format!(
                "`{key}` is {now}, but the lake was founded with {then} and holds rows written so; set it back, or \
                 name new folders for lake and checkpoint"
            ))),
        }
    }

    /// Totals of another kind cannot be added to those of the log, but they can be made anew from the files.
    fn check_aggregate(&self, now: &Aggregation) -> Result<()> {
        let then = &self.aggregate;
        let list = |columns: &[String]| format!("[{}]", columns.join(", "));
        let settings = [
            ("every", then.every.to_string(), now.every.to_string()),
            ("group_by", list(&then.group_by), list(&now.group_by)),
            ("sum", list(&then.sum), list(&now.sum)),
            ("min", list(&then.min), list(&now.min)),
            ("max", list(&then.max), list(&now.max)),
            ("avg", list(&then.avg), list(&now.avg)),
        ];
        match settings.into_iter().find(|(_, then, now)| then != now) {
            None => Ok(()),
            Some((key, then, now)) => Err(Error::config(format!(
                "`aggregate.{key}` is {now}, but the lake was founded with {then}; set it back, or stop all consumers \
                 and run `foodstream lake rebuild-log`, which makes the totals anew from the files"
            ))),
        }
    }

    fn changed_column(&self, now: &Pin) -> Option<String> {
        let find = |pin: &Pin, name: &str| pin.columns.iter().position(|column| column.name == name);
        for (index, then) in self.columns.iter().enumerate() {
            let Some(at) = find(now, &then.name) else {
                return Some(format!("column `{}` ({}) is gone", then.name, then.data_type));
            };
            let column = &now.columns[at];
            if column.data_type != then.data_type {
                return Some(format!("column `{}` was {}, is {}", then.name, then.data_type, column.data_type));
            }
            if column.nullable != then.nullable {
                let words = |nullable| if nullable { "nullable" } else { "not null" };
                let (was, is) = (words(then.nullable), words(column.nullable));
                return Some(format!("column `{}` was {was}, is {is}", then.name));
            }
            if at != index && self.columns.len() == now.columns.len() {
                return Some(format!("column `{}` was number {}, is number {}", then.name, index + 1, at + 1));
            }
        }
        let new = now.columns.iter().find(|column| find(self, &column.name).is_none())?;
        Some(format!("column `{}` ({}) is new", new.name, new.data_type))
    }
}

/// Lowercase hexadecimal SHA-256.
pub(crate) fn hash(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

const SEAL_START: &str = ",\"crc32c\":\"";
/// `,"crc32c":"89abcdef"}` and the line's end.
const SEAL_LEN: usize = SEAL_START.len() + 8 + 3;

/// One line: the value's JSON, its last member the CRC32C of the JSON without that member.
pub(crate) fn seal(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value).map_err(|e| Error::bug("cannot write JSON").because(e))?;
    let crc = crc32c::crc32c(&bytes);
    debug_assert_eq!(bytes.last(), Some(&b'}'));
    bytes.pop();
    bytes.extend_from_slice(format!("{SEAL_START}{crc:08x}\"}}\n").as_bytes());
    Ok(bytes)
}

/// Reads what `seal` wrote; `path` is named in every error.
pub(crate) fn unseal<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T> {
    let damaged = |what: &str| {
        Error::new(
            Kind::Lake,
            format!(
                "{} is damaged: {what}; restore this one file from a backup, or stop all consumers and run `foodstream \
                 lake rebuild-log`",
                path.display()
            ),
        )
    };
    let at = bytes.len().checked_sub(SEAL_LEN).ok_or_else(|| damaged("it is too short"))?;
    let (content, seal) = bytes.split_at(at);
    let crc = crc32c::crc32c_append(crc32c::crc32c(content), b"}");
    if seal != format!("{SEAL_START}{crc:08x}\"}}\n").as_bytes() {
        return Err(damaged("its checksum does not match its bytes"));
    }
    let json = [content, b"}"].concat();
    let invalid = |e| damaged("its checksum holds, its content does not").because(e);
    let Versioned { version } = serde_json::from_slice(&json).map_err(invalid)?;
    if version != VERSION {
        return Err(Error::new(
            Kind::Lake,
            format!(
                "{} has version {version}, this program knows version {VERSION}; use the release that wrote it or a \
                 newer one, or stop all consumers and run `foodstream lake rebuild-log`",
                path.display()
            ),
        ));
    }
    serde_json::from_slice(&json).map_err(invalid)
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            version: VERSION,
            number: 3,
            lake: "l".into(),
            writer: "w".into(),
            batch: "b".into(),
            committed_at: DateTime::from_timestamp(1_763_460_000, 0).unwrap(),
            previous: Some("00".into()),
            topic: "t".into(),
            topic_id: "i".into(),
            ranges: vec![OffsetRange { partition: 0, from: 5, to: 9 }],
            lost: vec![],
            files: vec![],
            quarantine: vec![],
            counts: Counts::default(),
            totals: Totals::default(),
            running: Running::default(),
            founding: None,
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let path = Path::new("/checkpoint/commits/3.json");
        let bytes = seal(&record()).unwrap();
        assert_eq!(unseal::<Record>(&bytes, path).unwrap(), record());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let error = unseal::<Record>(&bad, path).unwrap_err();
                assert!(error.to_string().contains("commits/3.json"), "byte {at} bit {bit}");
            }
            assert!(unseal::<Record>(&bytes[..at], path).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        let bytes = seal(&Record { version: 7, ..record() }).unwrap();
        let error = unseal::<Record>(&bytes, Path::new("x")).unwrap_err();
        assert!(error.to_string().contains("version 7"), "{error}");
    }

    #[test]
    fn a_changed_schema_names_the_column() {
        let pin = |columns: &[(&str, &str, bool)]| Pin {
            columns: columns
                .iter()
                .map(|&(name, data_type, nullable)| PinnedColumn {
                    name: name.into(),
                    data_type: data_type.into(),
                    nullable,
                })
                .collect(),
            drop_invalid_rows: true,
            partition_timezone: "UTC".into(),
            aggregate: Aggregation::default(),
        };
        let then = pin(&[("id", "bigint", false), ("amount", "decimal(10,2)", true)]);
        let log = Path::new("log");
        assert!(then.check(&then.clone(), log).is_ok());
        for (now, words) in [
            (pin(&[("id", "bigint", false)]), "`amount` (decimal(10,2)) is gone"),
            (pin(&[("id", "bigint", false), ("amount", "double", true)]), "`amount` was decimal(10,2), is double"),
            (pin(&[("id", "bigint", true), ("amount", "decimal(10,2)", true)]), "`id` was not null, is nullable"),
            (pin(&[("amount", "decimal(10,2)", true), ("id", "bigint", false)]), "`id` was number 1, is number 2"),
            (
                pin(&[("id", "bigint", false), ("amount", "decimal(10,2)", true), ("x", "int", true)]),
                "`x` (int) is new",
            ),
        ] {
            let error = then.check(&now, log).unwrap_err();
            assert_eq!(error.kind(), Kind::Schema);
            assert!(error.to_string().contains(words), "{error}");
        }
        let kept = Pin { drop_invalid_rows: false, ..then.clone() };
        assert!(then.check(&kept, log).unwrap_err().to_string().contains("drop_invalid_rows"));
        let grouped = Aggregation { group_by: vec!["id".into()], ..Aggregation::default() };
        let error = then.check(&Pin { aggregate: grouped, ..then.clone() }, log).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        let text = error.to_string();
        assert!(text.contains("`aggregate.group_by` is [id]") && text.contains("rebuild-log"), "{text}");
    }
}
