//! Names and places: which file lies where, which names are ours, and what else lies around.
//!
//! Paths are made from typed dates and numbers only, so no value of a row can leave the root. Foreign readers
//! fail on, or count, anything else under the root, so a root with other files is refused before it is used.

use std::path::Path;

use chrono::{Datelike, NaiveDate};

use super::durable::Dir;
use crate::error::{Error, Kind, Result};

pub(crate) const COMMITS: &str = "commits";
pub(crate) const SNAPSHOTS: &str = "snapshots";
pub(crate) const PLANS: &str = "plans";
pub(crate) const METADATA: &str = "metadata";

/// Records of one folder. A folder is the unit that may be dropped when a snapshot is newer (protocol L7), and
/// ten thousand names are listed in a few milliseconds.
pub(crate) const RECORDS_PER_FOLDER: u64 = 10_000;

/// How many names an error message shows.
const NAMES_SHOWN: usize = 3;

const DATE_PREFIX: &str = "date=";
const PARQUET_SUFFIX: &str = ".parquet";

/// `date=2025-11-18`. Years of other than four digits have no name that readers understand; validation sends
/// such rows to quarantine.
pub(crate) fn date_folder(date: NaiveDate) -> Result<String> {
    if !(1..=9999).contains(&date.year()) {
        return Err(Error::bug(format!("a row of {date} reached the lake, whose folders name years 0001 to 9999")));
    }
    Ok(format!("{DATE_PREFIX}{}", date.format("%Y-%m-%d")))
}

/// The date of a folder name; only the form that `date_folder` writes.
pub(crate) fn parse_date_folder(name: &str) -> Option<NaiveDate> {
    let text = name.strip_prefix(DATE_PREFIX)?;
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    (date.format("%Y-%m-%d").to_string() == text && text.len() == 10).then_some(date)
}

/// `part-<first offset>-<uuid8>-<n>.parquet`.
pub(crate) fn part_name(first_offset: i64, set: &str, number: usize) -> String {
    format!("part-{:020}-{}-{number}{PARQUET_SUFFIX}", first_offset.max(0), &set[..8])
}

pub(crate) fn is_part_name(name: &str) -> bool {
    let fields = || {
        let rest = name.strip_prefix("part-")?.strip_suffix(PARQUET_SUFFIX)?;
        let (offset, rest) = rest.split_once('-')?;
        let (set, number) = rest.split_once('-')?;
        Some((offset, set, number))
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    fields().is_some_and(|(offset, set, number)| {
        offset.len() == 20 && digits(offset) && set.len() == 8 && is_lower_hex(set) && digits(number)
    })
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Splits `date=…/part-….parquet` into folder and file, only where both are ours.
pub(crate) fn split_final_name(name: &str) -> Option<(&str, &str)> {
    let (folder, file) = name.split_once('/')?;
    (parse_date_folder(folder).is_some() && is_part_name(file)).then_some((folder, file))
}

/// The folder of record `number`, named so that folder and last four digits make the number.
pub(crate) fn record_folder(number: u64) -> String {
    format!("{:016}", number / RECORDS_PER_FOLDER)
}

pub(crate) fn record_name(number: u64) -> String {
    format!("{number:020}.json")
}

pub(crate) fn parse_record_folder(name: &str) -> Option<u64> {
    (name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok())?
}

pub(crate) fn parse_record_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// What lies under a lake or quarantine root.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// `date=…/part-….parquet`, sorted.
    pub files: Vec<String>,
    /// Everything else, sorted.
    pub foreign: Vec<String>,
}

/// Lists a root by name; nothing is opened. Folders that vanish meanwhile count as empty.
pub(crate) fn survey(root: &Dir) -> Result<Survey> {
    let mut found = Survey::default();
    for name in root.names()? {
        if parse_date_folder(&name).is_none() {
            found.foreign.push(name);
            continue;
        }
        let Some(folder) = root.child(&name)? else { continue };
        for file in folder.names()? {
            let path = format!("{name}/{file}");
            if is_part_name(&file) { found.files.push(path) } else { found.foreign.push(path) }
        }
    }
    Ok(found)
}

/// `a, b, c and 12 more`.
pub(crate) fn first_few(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn by_spark(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    matches!(file, "_spark_metadata" | "_SUCCESS" | "_temporary") || file.ends_with(".crc") || spark_part(file)
}

/// Spark's `part-00000-<uuid>-c000.snappy.parquet`.
fn spark_part(file: &str) -> bool {
    file.starts_with("part-") && file.contains("-c0") && file.ends_with(PARQUET_SUFFIX)
}

/// Refuses a root that holds anything but our own files.
pub(crate) fn refuse_foreign(root: &Dir, survey: &Survey, key: &str) -> Result<()> {
    if survey.foreign.is_empty() {
        return Ok(());
    }
    let (path, names) = (root.path().display(), first_few(&survey.foreign));
    if survey.foreign.iter().any(|name| by_spark(name)) {
        return Err(Error::config(format!(
            "{path} was written by Spark ({names}); its files have no commit log, so name a new folder in `{key}`"
        )));
    }
    Err(Error::new(
        Kind::Lake,
        format!("{path} holds files that are not the lake's ({names}); move them away or name a new folder in `{key}`"),
    ))
}

/// Refuses a checkpoint folder that Spark's streaming wrote: its `commits` and `metadata` bear our names.
pub(crate) fn refuse_spark_checkpoint(checkpoint: &Path) -> Result<()> {
    let by_spark = ["offsets", "sources", "state", "_spark_metadata"]
        .into_iter()
        .find(|name| checkpoint.join(name).is_dir())
        .map(str::to_owned)
        .or_else(|| spark_commit(&checkpoint.join(COMMITS)))
        .or_else(|| spark_metadata(&checkpoint.join(METADATA)));
    match by_spark {
        None => Ok(()),
        Some(name) => Err(Error::config(format!(
            "{} was written by Spark (found `{name}`); its offsets cannot be taken over, so name a new folder in \
             `streaming.checkpoint_location`",
            checkpoint.display()
        ))),
    }
}

/// Spark names its commits `0`, `1`, … without folders or endings.
fn spark_commit(commits: &Path) -> Option<String> {
    let entries = std::fs::read_dir(commits).ok()?;
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).find_map(|name| {
        let bare = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".crc")).unwrap_or(&name);
        (bare.len() < 16 && !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| format!("{COMMITS}/{name}"))
    })
}

fn spark_metadata(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let value: serde_json::Value = serde_json::from_str(text.lines().next()?).ok()?;
    (value.get("id").is_some() && value.get("version").is_none()).then(|| METADATA.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_written_form_of_a_date_is_read_back() {
        let date = NaiveDate::from_ymd_opt(2025, 3, 9).unwrap();
        assert_eq!(date_folder(date).unwrap(), "date=2025-03-09");
        assert_eq!(parse_date_folder("date=2025-03-09"), Some(date));
        for bad in ["date=2025-3-9", "date=..", "date=2024-13-01", "date=%2e%2e%2f", "date=+2025-03-09", "2025-03-09"] {
            assert_eq!(parse_date_folder(bad), None, "{bad}");
        }
        assert!(date_folder(NaiveDate::from_ymd_opt(12025, 1, 1).unwrap()).is_err());
    }

    #[test]
    fn part_names_are_told_from_other_writers() {
        let name = part_name(42, "0123abcd-0000", 7);
        assert_eq!(name, "part-00000000000000000042-0123abcd-7.parquet");
        assert!(is_part_name(&name));
        assert_eq!(split_final_name(&format!("date=2025-11-18/{name}")), Some(("date=2025-11-18", name.as_str())));
        for bad in
            ["part-00000-3f1b-c000.snappy.parquet", "part-42-0123abcd-0.parquet", "x.parquet", ".part", "_SUCCESS"]
        {
            assert!(!is_part_name(bad), "{bad}");
        }
        assert_eq!(split_final_name(&format!("../{name}")), None);
    }

    #[test]
    fn folder_and_last_digits_make_the_number() {
        assert_eq!(record_folder(120_003), "0000000000000012");
        assert_eq!(record_name(120_003), "00000000000000120003.json");
        assert_eq!(parse_record_name(&record_name(120_003)), Some(120_003));
        assert_eq!(parse_record_name("0.json"), None);
        assert_eq!(parse_record_folder("12"), None);
    }

    #[test]
    fn a_spark_checkpoint_is_recognised_by_each_of_its_marks() {
        for (path, text) in [("offsets/0", "v1"), ("commits/0", "v1"), ("metadata", "{\"id\":\"6d1e\"}")] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
            let error = refuse_spark_checkpoint(folder.path()).unwrap_err();
            assert!(
                error.to_string().contains("written by Spark") && error.to_string().contains("new folder"),
                "{path}"
            );
        }
        assert!(refuse_spark_checkpoint(tempfile::tempdir().unwrap().path()).is_ok());
    }
}
