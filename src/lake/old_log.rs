//! What can still be read of a log that is to be written anew: where reading began.
//!
//! Only the first record says so, and for a partition without a file nothing else does. Whatever is damaged, or of
//! another lake or topic, is passed over: a log is rebuilt because of such.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::commit_log::Log;
use super::parquet::Footer;
use crate::error::Result;

#[derive(Default)]
pub(crate) struct OldLog {
    /// `None`: the first record is gone or damaged.
    pub starts: Option<BTreeMap<i32, i64>>,
    /// Every partition that a record or the newest snapshot names.
    pub partitions: BTreeSet<i32>,
}

impl OldLog {
    /// `file`: the footer of any file of the lake, which tells what lake it is.
    pub fn read(checkpoint: &Path, file: &Footer) -> Result<OldLog> {
        let mut old = OldLog::default();
        let Some(log) = Log::find(checkpoint)? else { return Ok(old) };
        let ours = |lake: &str, topic_id: &str| lake == file.lake && topic_id == file.topic_id;
        for number in log.numbers().unwrap_or_default() {
            let Ok(Some((record, _))) = log.read(number) else { continue };
            if !ours(&record.lake, &record.topic_id) {
                continue;
            }
            old.partitions.extend(record.ranges.iter().map(|range| range.partition));
            if number == 0 {
                old.starts = Some(record.ranges.iter().map(|range| (range.partition, range.from)).collect());
                // Partitions that came later began at their earliest message, as they will again.
                return Ok(old);
            }
        }
        if let Ok(Some(snapshot)) = log.newest_snapshot()
            && ours(&snapshot.lake, &snapshot.topic_id)
        {
            old.partitions.extend(snapshot.positions.iter().map(|position| position.partition));
        }
        Ok(old)
    }
}
