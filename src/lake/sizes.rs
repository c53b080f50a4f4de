//! How many files and bytes lie in the lake's folders, for people: from the folders, not from the log.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::NaiveDate;

use super::durable::failed;
use super::layout::{is_part_name, parse_date_folder};
use crate::error::Result;

/// Of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderSize {
    pub files: u64,
    pub bytes: u64,
}

/// Lists the root. A file that goes meanwhile is passed over; a root that is missing holds nothing.
pub fn partition_sizes(root: &Path) -> Result<BTreeMap<NaiveDate, FolderSize>> {
    let mut sizes = BTreeMap::new();
    let folders = match std::fs::read_dir(root) {
        Ok(folders) => folders,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(sizes),
        Err(error) => return Err(failed("list", root, error)),
    };
    for folder in folders {
        let folder = folder.map_err(|error| failed("list", root, error))?;
        let Some(date) = folder.file_name().to_str().and_then(parse_date_folder) else { continue };
        let path = folder.path();
        let size: &mut FolderSize = sizes.entry(date).or_default();
        for file in std::fs::read_dir(&path).map_err(|error| failed("list", &path, error))? {
            let file = file.map_err(|error| failed("list", &path, error))?;
            let is_part = file.file_name().to_str().is_some_and(is_part_name);
            if let (true, Ok(metadata)) = (is_part, file.metadata()) {
                size.files += 1;
                size.bytes += metadata.len();
            }
        }
    }
    Ok(sizes)
}
