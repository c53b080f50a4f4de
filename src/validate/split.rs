//! Accepted rows, divided by local day.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::error::ArrowError;
use chrono::NaiveDate;

use crate::error::{Error, Result};
use crate::model::DatedBatch;
use crate::model::local_time::LocalTime;

/// From this share of a batch's rows on (one in eight), copying runs through a mask beats picking rows one by one.
const DENSE_SHARE: usize = 8;

/// One batch a day, days rising, without the `rejected` rows (rising indices). Rows that already lie together are
/// shared, not copied. `instants_us` holds the partition column's values.
pub(super) fn by_day(
    rows: &RecordBatch,
    instants_us: &[i64],
    rejected: &[u32],
    days: &mut LocalTime,
) -> Result<Vec<DatedBatch>> {
    let mut groups: Vec<(i32, Vec<u32>)> = Vec::new();
    let mut group_of_day: BTreeMap<i32, usize> = BTreeMap::new();
    let mut current = 0;
    let mut rejected = rejected.iter().copied().peekable();
    for (row, &instant_us) in instants_us.iter().enumerate() {
        let row = row as u32;
        if rejected.next_if_eq(&row).is_some() {
            continue;
        }
        let day = days.day(instant_us);
        if groups.get(current).is_none_or(|group| group.0 != day) {
            current = *group_of_day.entry(day).or_insert(groups.len());
            if current == groups.len() {
                groups.push((day, Vec::new()));
            }
        }
        groups[current].1.push(row);
    }
    group_of_day
        .into_iter()
        .map(|(day, group)| {
            let date = NaiveDate::from_epoch_days(day).ok_or_else(|| Error::bug(format!("day {day} has no date")))?;
            let rows = pick(rows, std::mem::take(&mut groups[group].1))
                .map_err(|error| Error::bug("rows of a day could not be picked").because(error))?;
            Ok(DatedBatch { date, rows })
        })
        .collect()
}

/// The named rows, rising, at least one.
fn pick(rows: &RecordBatch, picked: Vec<u32>) -> Result<RecordBatch, ArrowError> {
    let (first, last) = (picked[0] as usize, picked[picked.len() - 1] as usize);
    if last - first + 1 == picked.len() {
        return Ok(rows.slice(first, picked.len()));
    }
    if picked.len() >= rows.num_rows() / DENSE_SHARE {
        let mut mask = vec![false; rows.num_rows()];
        for &row in &picked {
            mask[row as usize] = true;
        }
        return filter_record_batch(rows, &BooleanArray::from(mask));
    }
    take_record_batch(rows, &UInt32Array::from(picked))
}
