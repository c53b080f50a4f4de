//! The lake's contract, proven on a real file system: every stop, every damage, every refusal.

mod commit;
mod follow;
mod log;
mod open;
mod order;
mod plan;
mod read;
mod rebuild;
mod recent;
mod stops;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    AsArray, BinaryArray, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema, SchemaRef};
use chrono::{DateTime, NaiveDate};
use tempfile::TempDir;

use super::read::{DayRange, LakeReader, ReadOptions, Root};
use super::report::{LakeReport, lake_report};
use super::{Committed, Head, Lake, LakeOptions, LocalLake};
use crate::clock::ManualClock;
use crate::config::{Aggregate, Compression, Lake as Settings};
use crate::model::{Counts, DatedBatch, Group, MicroBatch, OffsetRange, PartitionOffset, Period, Schema, Totals};

/// A lake in a temporary folder.
struct Place {
    folder: TempDir,
    options: LakeOptions,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let settings = Settings {
            path: at("lake"),
            compression: Compression::Zstd(1),
            max_rows_per_file: 1 << 20,
            quarantine_path: at("lake_quarantine"),
            staging_path: at("lake_staging"),
            partition_timezone: chrono_tz::UTC,
        };
        let options = LakeOptions {
            settings,
            checkpoint: at("checkpoint"),
            lake_schema: Schema::orders().to_arrow(),
            quarantine_schema: quarantine_schema(),
            schema_text: Schema::orders(),
            drop_invalid_rows: true,
            aggregate: Aggregate::of(&Schema::orders()),
            clock: Arc::new(ManualClock::new(DateTime::from_timestamp(1_763_546_400, 0).unwrap())),
        };
        Place { folder, options }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self) -> LocalLake {
        LocalLake::open(self.options.clone()).unwrap()
    }

    fn refused(&self) -> crate::error::Error {
        LocalLake::open(self.options.clone()).err().expect("opening should have been refused")
    }

    /// Opened and founded with two partitions at 0.
    fn founded(&self) -> (LocalLake, Head) {
        let mut lake = self.open();
        let head = lake.found("orders", "topic-id", &starts(&[0, 0])).unwrap();
        (lake, head)
    }

    fn report(&self) -> LakeReport {
        lake_report(&self.options.settings, &self.options.checkpoint, true).unwrap()
    }

    fn record(&self, number: u64) -> PathBuf {
        self.path(&format!("checkpoint/commits/0000000000000000/{number:020}.json"))
    }

    /// Sorted ids, as a reader through the log and as one that lists the folder sees them.
    fn ids(&self) -> (Vec<i64>, Vec<i64>) {
        let by_log = LakeReader::with_settings(&self.options.settings, Some(&self.options.checkpoint), Root::Lake);
        let by_list = LakeReader::open(&self.options.settings.path, None);
        (ids(&by_log.unwrap()), ids(&by_list.unwrap()))
    }

    fn rejected_rows(&self) -> u64 {
        LakeReader::with_settings(&self.options.settings, None, Root::Quarantine).unwrap().rows()
    }

    fn staging_folders(&self) -> usize {
        std::fs::read_dir(&self.options.settings.staging_path).unwrap().count()
    }
}

fn ids(reader: &LakeReader) -> Vec<i64> {
    let options = ReadOptions { columns: Some(vec!["order_id".into()]), ..ReadOptions::default() };
    let mut ids: Vec<i64> = Vec::new();
    for batch in reader.batches(options) {
        ids.extend(batch.unwrap().column(0).as_primitive::<Int64Type>().values());
    }
    ids.sort_unstable();
    ids
}

fn starts(offsets: &[i64]) -> Vec<PartitionOffset> {
    (0..).zip(offsets).map(|(partition, &offset)| PartitionOffset { partition, offset }).collect()
}

fn quarantine_schema() -> SchemaRef {
    Arc::new(ArrowSchema::new(vec![
        Field::new("value", DataType::Binary, true),
        Field::new("reasons", DataType::Utf8, false),
    ]))
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// Orders with ids `ids`, amount 1.50 each.
fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.collect();
    let words = |stem: &str| StringArray::from_iter_values(ids.iter().map(|id| format!("{stem} {}", id % 7)));
    let amounts = Decimal128Array::from_iter_values(ids.iter().map(|_| 150)).with_precision_and_scale(10, 2).unwrap();
    let times = TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| 1_763_460_000_000_001 + id));
    RecordBatch::try_new(
        Schema::orders().to_arrow(),
        vec![
            Arc::new(Int64Array::from(ids.clone())),
            Arc::new(words("customer")),
            Arc::new(words("restaurant")),
            Arc::new(words("item")),
            Arc::new(amounts),
            Arc::new(words("status")),
            Arc::new(times.with_timezone("UTC")),
        ],
    )
    .unwrap()
}

fn rejects(count: usize) -> RecordBatch {
    let values = BinaryArray::from_iter_values((0..count).map(|n| format!("{{bad {n}")));
    let reasons = StringArray::from_iter_values((0..count).map(|_| "not_json"));
    RecordBatch::try_new(quarantine_schema(), vec![Arc::new(values), Arc::new(reasons)]).unwrap()
}

/// Messages `from..to` of one partition: the id of an order is its offset plus 1,000,000 a partition, every tenth
/// message is rejected, the others alternate between two days in halves.
fn batch(partition: i32, from: i64, to: i64) -> MicroBatch {
    let base = i64::from(partition) * 1_000_000;
    let rejected = ((to - from) / 10) as usize;
    let (first, last) = (base + from, base + to - rejected as i64);
    let middle = (first + last) / 2;
    let halves = [("2025-11-18", first..middle), ("2025-11-19", middle..last)];
    let mut batch = MicroBatch { ranges: vec![OffsetRange { partition, from, to }], ..MicroBatch::default() };
    for (date, range) in halves {
        let count = (range.end - range.start) as u64;
        batch.totals.insert(Period::Day(day(date)), Vec::new(), worth(count));
        batch.accepted.push(DatedBatch { date: day(date), rows: rows(range) });
    }
    if rejected > 0 {
        batch.rejected.push(rejects(rejected));
    }
    let (input, rejected) = ((to - from) as u64, rejected as u64);
    batch.counts = Counts { input, accepted: input - rejected, rejected };
    batch
}

/// So many orders of 1.50 each.
fn worth(rows: u64) -> Group {
    let cents = rows * 150;
    Group::of_sums(rows, &[("amount", &format!("{}.{:02}", cents / 100, cents % 100))])
}

/// Ids that `batch(partition, from, to)` accepts.
fn ids_of(partition: i32, from: i64, to: i64) -> Vec<i64> {
    let base = i64::from(partition) * 1_000_000;
    (base + from..base + to - (to - from) / 10).collect()
}

fn commit(lake: &mut LocalLake, batch: &MicroBatch) -> Head {
    let head = lake.head().unwrap().unwrap();
    let staged = lake.stage(batch.clone()).unwrap();
    match lake.commit(&staged, &head).unwrap() {
        Committed::Done(head) => head,
        Committed::Lost(head) => panic!("lost to {head:?}"),
    }
}

fn lost(committed: Committed) -> Head {
    match committed {
        Committed::Lost(head) => head,
        Committed::Done(head) => panic!("committed as {}", head.number),
    }
}

/// Sums over all days must equal rows × 1.50.
fn check_totals(totals: &Totals, rows: u64) {
    let whole = totals.fold(|_, _| Some(())).unwrap();
    assert_eq!(whole[&()], worth(rows));
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}
