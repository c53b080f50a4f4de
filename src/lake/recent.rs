//! The values of one column in the newest commits: what was accepted lately, as the log and its files say.
//!
//! Only the footers and this column are read of each file, from the newest commit backwards, so the cost follows what
//! is asked for and not the size of the lake.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::filter;
use arrow::datatypes::DataType;

use super::RecentValues;
use super::commit_log::Log;
use super::read::{LakeReader, ReadOptions};
use crate::config;
use crate::error::{Error, Kind, Result};

/// Hands over what `wanted` says, beginning with commit `head`, which exists.
pub(crate) fn recent_values(
    log: &Log,
    settings: &config::Lake,
    head: u64,
    wanted: &RecentValues,
    see: &mut dyn FnMut(u64, &dyn Array),
) -> Result<()> {
    let columns = [Some(&wanted.column), wanted.only.as_ref().map(|(column, _)| column)];
    let columns: Vec<String> = columns.into_iter().flatten().cloned().collect();
    let mut seen = 0;
    // Commit 0 has no files.
    for number in (wanted.after.unwrap_or(0) + 1..=head).rev() {
        if seen >= wanted.at_least {
            break;
        }
        let Some((record, _)) = log.read(number)? else {
            // The log has no gaps, so its older records were put away; a snapshot stands for their positions.
            tracing::warn!(
                target: "foodstream::lake",
                "the log begins after commit {number}: values of `{}` accepted up to there are not known",
                wanted.column
            );
            break;
        };
        let options = ReadOptions { columns: Some(columns.clone()), ..ReadOptions::default() };
        for batch in LakeReader::of_commit(settings, &record)?.batches(options) {
            let batch = batch.map_err(|error| {
                let asked = format!("commit {number} is needed for validation.unique_column");
                Error::new(error.kind(), format!("{asked}; lower validation.unique_horizon to do without it"))
                    .because(error)
            })?;
            let values = match &wanted.only {
                None => batch.column(0).clone(),
                Some((column, word)) => matching(batch.column(0), batch.column(1), column, word)?,
            };
            seen += (values.len() - values.null_count()) as u64;
            see(number, &values);
        }
    }
    Ok(())
}

fn matching(values: &ArrayRef, tags: &ArrayRef, column: &str, word: &str) -> Result<ArrayRef> {
    if *tags.data_type() != DataType::Utf8 {
        return Err(Error::new(Kind::Schema, format!("`{column}` is {} in the lake, not text", tags.data_type())));
    }
    let mask: BooleanArray = tags.as_string::<i32>().iter().map(|tag| Some(tag == Some(word))).collect();
    filter(values, &mask).map_err(|error| Error::bug("values could not be picked").because(error))
}
