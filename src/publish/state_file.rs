//! The state file: the documents' copy of the cursor, one line, `2025-11-18 12:30:45.123456|42`.
//!
//! It is replaced, never changed: a temporary file beside it, synced, renamed over it, the folder synced. Forms
//! that other programs wrote are adopted where their meaning is certain; anything else is an error that says how
//! to go on, since a wrong position loses rows or repeats them.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::model::position::parse_timestamp_us;
use crate::model::{Cursor, Key};

/// More than any position takes; a longer file is not a state file.
const MOST_BYTES: u64 = 256;

/// A timestamp to the second; anything shorter is refused.
const SHORTEST: &str = "2025-11-18 12:30:45";

#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        StateFile { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The position, or `None` when there is no file.
    pub fn read(&self) -> Result<Option<Cursor>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("cannot be opened", error)),
        };
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| self.failed("cannot be read", error))?;
        match parse(&bytes) {
            Ok(cursor) => Ok(Some(cursor)),
            Err(reason) => Err(Error::new(
                Kind::DataLoss,
                format!(
                    "the state file `{}` holds no position: {reason}; give one with `--start-from '2025-11-18 \
                     12:30:45.123456|42'`, or remove the file to go on from the cursor record in Kafka",
                    self.path.display()
                ),
            )),
        }
    }

    /// Replaces the file; after `Ok` the new content survives a power cut.
    pub fn write(&self, cursor: &Cursor) -> Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder).map_err(|error| self.failed("its folder cannot be created", error))?;
        self.replace(folder, &cursor.to_string()).map_err(|error| self.failed("cannot be written", error))
    }

    fn replace(&self, folder: &Path, line: &str) -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".last_processed_").suffix(".tmp").tempfile_in(folder)?;
        // Readers of the documents run under other users; a temporary file would be private.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        }
        file.write_all(line.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    }

    fn failed(&self, what: &str, error: std::io::Error) -> Error {
        Error::new(Kind::Lake, format!("the state file `{}` {what}", self.path.display())).because(error)
    }
}

/// `ts|key`, a bare timestamp, or its ISO form; the error is the reason.
fn parse(bytes: &[u8]) -> Result<Cursor, String> {
    if bytes.len() as u64 > MOST_BYTES {
        return Err("it is longer than a position".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.lines().count() > 1 {
        return Err("it has more than one line".to_owned());
    }
    parse_position(text)
}

/// Reads a position as the state file and `--start-from` write it.
pub fn parse_position(text: &str) -> Result<Cursor, String> {
    let (timestamp, key) = match text.trim().split_once('|') {
        Some((timestamp, key)) => (timestamp, Some(key)),
        None => (text.trim(), None),
    };
    // Shorter texts parse as well, but are what a torn write leaves of a longer one.
    let timestamp_us = Some(timestamp.trim())
        .filter(|timestamp| timestamp.trim_start_matches('-').len() >= SHORTEST.len())
        .and_then(parse_timestamp_us)
        .ok_or_else(|| format!("`{timestamp}` is no timestamp without zone, such as 2025-11-18 12:30:45.123456"))?;
    let key = match key {
        Some(key) => Some(key.trim().parse::<Key>()?),
        None => None,
    };
    Ok(Cursor { timestamp_us, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_US: i64 = 1_763_467_200_000_000;

    fn file_with(content: &[u8]) -> (tempfile::TempDir, StateFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last_processed_timestamp.txt");
        fs::write(&path, content).unwrap();
        (folder, StateFile::new(path))
    }

    #[test]
    fn the_file_holds_exactly_the_documents_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::new(folder.path().join("made/on/demand/state.txt"));
        file.write(&Cursor { timestamp_us: NOON_US, key: Some(Key::Int(10)) }).unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "2025-11-18 12:00:00.000000|10");
        assert_eq!(file.read().unwrap(), Some(Cursor { timestamp_us: NOON_US, key: Some(Key::Int(10)) }));
        let left: Vec<_> = fs::read_dir(file.path().parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file stays");
    }

    #[test]
    fn the_documents_other_forms_are_adopted() {
        let bare = Cursor { timestamp_us: NOON_US, key: None };
        for text in ["2025-11-18 12:00:00", "2025-11-18T12:00:00.000000\n", "  2025-11-18 12:00:00.000 \n"] {
            let (_folder, file) = file_with(text.as_bytes());
            assert_eq!(file.read().unwrap(), Some(bare), "{text:?}");
        }
    }

    #[test]
    fn an_absent_file_is_no_position() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(StateFile::new(folder.path().join("none.txt")).read().unwrap(), None);
    }

    #[test]
    fn torn_empty_and_foreign_files_stop_and_offer_a_way_on() {
        let contents: [&[u8]; 10] = [
            b"",
            b"\n",
            b"2025-11-18 12:0",
            b"2025-11-18",
            b"2025-11-18 12:00:00.000000|",
            b"2025-11-18 12:00:00.000000|4x",
            b"2025-11-18 12:00:00+05:30|42",
            b"{\"offset\": 3}",
            b"2025-11-18 12:00:00|1\n2025-11-18 12:00:00|2",
            b"\xff\xfe2025",
        ];
        for content in contents {
            let (_folder, file) = file_with(content);
            let error = file.read().unwrap_err();
            assert!(error.to_string().contains("--start-from"), "{content:?}: {error}");
            assert!(error.to_string().contains("last_processed_timestamp.txt"), "{error}");
        }
        let (_folder, file) = file_with(&[b'1'; 1000]);
        assert!(file.read().is_err());
    }
}
