//! The `datalake` section, and the folders that must not lie within each other.

use std::path::{Component, Path, PathBuf};

use chrono_tz::Tz;

use super::{Checked, Resolver, narrowed};
use crate::config::raw::RawLake;
use crate::config::settings::{Compression, Lake, Streaming};
use crate::config::{defaults, parse};

impl Resolver<'_> {
    pub(super) fn lake(&mut self, raw: Option<&RawLake>, cdc_timezone: Tz) -> Checked<Option<Lake>> {
        let Some(raw) = raw else { return Ok(None) };
        let compression = match &raw.compression {
            Some(text) => parse::compression(text).map_err(|words| self.wrong("datalake.compression", &words))?,
            None => Compression::Zstd(defaults::ZSTD_LEVEL),
        };
        let timezone = match &raw.partition_timezone {
            Some(text) => parse::timezone(text).map_err(|words| self.wrong("datalake.partition_timezone", &words))?,
            None => cdc_timezone,
        };
        let path = self.path("datalake.path", raw.path.as_ref())?;
        let quarantine = self.path("datalake.quarantine_path", raw.quarantine_path.as_ref())?;
        let staging = self.path("datalake.staging_path", raw.staging_path.as_ref())?;
        if path.as_deref().is_some_and(|path| path.to_string_lossy().contains("://")) {
            return Err(self.wrong("datalake.path", "is no folder; object storage is not supported"));
        }
        if !self.finished("datalake", &[("path", path.is_some())]) {
            return Ok(None);
        }
        let Some(path) = path else { unreachable!("checked by `finished`") };
        if path.file_name().is_none() {
            return Err(self.wrong("datalake.path", "names no folder that could have siblings"));
        }
        Ok(Some(Lake {
            compression,
            max_rows_per_file: raw.max_rows_per_file.map_or(defaults::MAX_ROWS_PER_FILE, narrowed),
            quarantine_path: quarantine.unwrap_or_else(|| sibling(&path, "_quarantine")),
            staging_path: staging.unwrap_or_else(|| sibling(&path, "_staging")),
            partition_timezone: timezone,
            path,
        }))
    }

    /// Readers of the lake stumble over anything else under its root, and workers over each other's folders.
    pub(super) fn check_folders(&self, lake: Option<&Lake>, streaming: &Streaming) -> Checked<()> {
        let Some(lake) = lake else { return Ok(()) };
        let mut others = vec![
            ("datalake.quarantine_path", lake.quarantine_path.as_path()),
            ("datalake.staging_path", lake.staging_path.as_path()),
        ];
        others.extend(streaming.checkpoint_location.as_deref().map(|path| ("streaming.checkpoint_location", path)));
        others
            .extend(streaming.state_file.as_deref().map(|path| ("streaming.last_processed_timestamp_location", path)));
        let root = tidy(&lake.path);
        for (key, path) in &others {
            if tidy(path).starts_with(&root) {
                let fact =
                    format!("`{key}` lies within `datalake.path`, where readers expect Parquet files and nothing else");
                return Err(self.problem(key, fact).help("name a folder beside it"));
            }
        }
        let folders = &others[..others.len().min(3)];
        for (index, (key, path)) in folders.iter().enumerate() {
            if let Some((other, _)) = folders[..index].iter().find(|(_, other)| tidy(other) == tidy(path)) {
                return Err(self.problem(key, format!("`{key}` and `{other}` are the same folder")).help("name two"));
            }
        }
        Ok(())
    }
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    path.with_file_name(name)
}

/// Without `.` and `..`, as far as the text alone tells; symbolic links are judged where folders are opened.
fn tidy(path: &Path) -> PathBuf {
    let mut tidied = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if tidied.file_name().is_some() => drop(tidied.pop()),
            other => tidied.push(other),
        }
    }
    tidied
}
