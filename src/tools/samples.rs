//! Sample order files without Kafka and without a log, for trying readers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use crate::config::Compression;
use crate::error::{Error, Result};
use crate::generate::{self, Order, Plan};
use crate::lake::sample::write_samples;
use crate::model::schema::UTC;
use crate::model::{DatedBatch, Schema};

/// Orders are spread over as many days, so that there are partitions to look at.
const DAYS: i64 = 3;

/// Writes `count` orders of the three days up to `now` and returns the files' paths.
///
/// # Errors
/// `Lake` when `folder` holds a lake's files, or cannot be written.
pub fn create_parquet_sample(
    folder: &Path,
    count: u64,
    seed: u64,
    compression: Compression,
    now: DateTime<Utc>,
) -> Result<Vec<PathBuf>> {
    write_samples(folder, compression, &batches(count, seed, now)?)
}

/// The orders by day, in the order schema.
fn batches(count: u64, seed: u64, now: DateTime<Utc>) -> Result<Vec<DatedBatch>> {
    let mut days: BTreeMap<NaiveDate, Vec<(i64, DateTime<Utc>, Order)>> = BTreeMap::new();
    let step = TimeDelta::days(DAYS) / i32::try_from(count.max(1)).unwrap_or(i32::MAX);
    for (number, order) in (1i64..).zip(generate::orders(Plan { seed, count, first: 1, invalid_share: 0.0 })) {
        let back = i32::try_from(count as i64 - number).unwrap_or(i32::MAX);
        let created_at = now - step * back;
        days.entry(created_at.date_naive()).or_default().push((number, created_at, order));
    }
    days.into_iter().map(|(date, orders)| Ok(DatedBatch { date, rows: record_batch(&orders)? })).collect()
}

fn record_batch(orders: &[(i64, DateTime<Utc>, Order)]) -> Result<RecordBatch> {
    let unfit = |error| Error::bug("sample orders do not fit the order schema").because(error);
    let text = |pick: fn(&Order) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(orders.iter().map(|(.., order)| pick(order))))
    };
    let amounts = Decimal128Array::from_iter_values(orders.iter().map(|(.., order)| i128::from(order.amount_cents)));
    let moments = orders.iter().map(|(_, created_at, _)| created_at.timestamp_micros());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(orders.iter().map(|(number, ..)| *number))),
        text(|order| &order.customer_name),
        text(|order| order.restaurant_name),
        text(|order| order.item),
        Arc::new(amounts.with_precision_and_scale(10, 2).map_err(unfit)?),
        text(|order| order.order_status),
        Arc::new(TimestampMicrosecondArray::from_iter_values(moments).with_timezone(UTC)),
    ];
    RecordBatch::try_new(Schema::orders().to_arrow(), columns).map_err(unfit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::read::{LakeReader, ReadOptions};

    #[test]
    fn the_samples_are_read_back_whole_over_several_days() {
        let folder = tempfile::tempdir().unwrap();
        let now = DateTime::from_timestamp(1_763_467_200, 0).unwrap();
        let root = folder.path().join("samples");
        let paths = create_parquet_sample(&root, 50, 7, Compression::Zstd(1), now).unwrap();
        assert!((DAYS as usize..=DAYS as usize + 1).contains(&paths.len()), "{paths:?}");
        let reader = LakeReader::open(&root, None).unwrap();
        let rows: usize = reader.batches(ReadOptions::default()).map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(rows, 50);
        assert_eq!(reader.partitions().last().unwrap().date, now.date_naive());
    }

    #[test]
    fn one_order_is_of_now_and_a_lake_is_left_alone() {
        let now = DateTime::from_timestamp(1_763_467_200, 0).unwrap();
        let one = batches(1, 7, now).unwrap();
        assert_eq!((one.len(), one[0].date), (1, now.date_naive()));
        let folder = tempfile::tempdir().unwrap();
        let date = folder.path().join("date=2025-11-18");
        std::fs::create_dir(&date).unwrap();
        let name = format!("part-{:020}-0badcafe-0.parquet", 0);
        std::fs::write(date.join(name), b"x").unwrap();
        assert!(create_parquet_sample(folder.path(), 5, 7, Compression::None, now).is_err());
    }
}
