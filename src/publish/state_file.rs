//! The documents' state file: `2025-11-18 12:30:45.123456|42`, one line, replaced as a whole.
//!
//! A copy for people and scripts. The cursor record is the truth; this file is read only when there is none.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::failpoints::{self, reach};
use crate::model::Cursor;
use crate::model::position::parse_timestamp_us;

/// Every program that writes such a file writes at least `2025-11-18 12:30:45`; less is what a crash left of it.
const WHOLE_SECONDS: usize = 19;

/// Reads a position in the documents' form, or the older ones: a bare timestamp, ISO or not.
///
/// With a key, every row up to that pair is done; without one, every row up to and including the timestamp.
pub fn parse(text: &str) -> Result<Cursor> {
    let line = text.trim();
    let (stamp, key) = match line.split_once('|') {
        Some((stamp, key)) => (stamp, Some(key.trim())),
        None => (line.strip_suffix('Z').unwrap_or(line), None),
    };
    let unreadable = || {
        Error::new(
            Kind::Source,
            format!(
                "`{}` is no position; write `2025-11-18 12:30:45.123456|42` or a timestamp",
                line.chars().take(60).collect::<String>()
            ),
        )
    };
    let timestamp_us = parse_timestamp_us(stamp).ok_or_else(unreadable)?;
    let key = match key {
        None => None,
        Some(key) => Some(key.parse().map_err(|_| unreadable())?),
    };
    Ok(Cursor { timestamp_us, key })
}

/// `None` when there is no file. An empty or torn file is an error: it must not be taken for a first start.
pub fn read(path: &Path) -> Result<Option<Cursor>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(
                Error::new(Kind::Source, format!("cannot read the state file {}", path.display())).because(error)
            );
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    let place = || {
        format!(
            "the state file {} does not hold a position; restore it, delete it to go on at the published \
             cursor (where there is none, at cdc.default_start_timestamp), or name the position with --start-from",
            path.display()
        )
    };
    if text.is_empty() {
        return Err(Error::new(Kind::Source, format!("{} (it is empty)", place())));
    }
    if text.len() < WHOLE_SECONDS {
        return Err(Error::new(Kind::Source, format!("{} (`{text}` is cut off)", place())));
    }
    parse(text).map(Some).map_err(|error| Error::new(Kind::Source, place()).because(error))
}

/// Replaces the file: a reader sees the old line or the new one, also after a power cut.
pub fn write(path: &Path, cursor: Cursor) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::Source, format!("cannot write the state file {}", path.display())).because(error)
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    writeln!(file, "{cursor}").map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    reach(failpoints::PUBLISH_STATE_WRITTEN)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    reach(failpoints::PUBLISH_STATE_REPLACED)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Key;

    #[test]
    fn the_documents_form_is_written_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state").join("last_processed_timestamp.txt");
        let cursor = Cursor { timestamp_us: 1_763_467_200_000_000, key: Some(Key::Int(10)) };
        write(&path, cursor).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().trim_end(), "2025-11-18 12:00:00.000000|10");
        assert_eq!(read(&path).unwrap(), Some(cursor));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn bare_timestamps_are_adopted_without_a_key() {
        let expected = Cursor { timestamp_us: 1_763_467_200_000_000, key: None };
        for text in ["2025-11-18 12:00:00", "2025-11-18T12:00:00\n", "2025-11-18T12:00:00.000Z"] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_torn_or_empty_file_stops_and_offers_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.txt");
        assert_eq!(read(&path).unwrap(), None);
        for text in [
            "",
            "\n",
            "2025-11-",
            "2025-11-1",
            "2025-11-18",
            "2025-11-18 12:30",
            "2025-11-18 12:00:0",
            "2025-11-18 12:00:00|",
            "garbage|1",
            "\u{0}\u{0}",
        ] {
            fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains("--start-from"), "{text:?}: {error}");
        }
    }
}
