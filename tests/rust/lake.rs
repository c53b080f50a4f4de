//! The lake under several writers and under SIGKILL, through its public face only.
//!
//! Writers here are threads with a `LocalLake` of their own, or processes that the test kills. Readers poll all
//! the time, by the log and by listing, as any foreign reader would.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{
    AsArray, BinaryArray, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema};
use foodstream::clock::SystemClock;
use foodstream::config::{Aggregate, Compression, Lake as Settings};
use foodstream::lake::read::{LakeReader, ReadOptions, Root};
use foodstream::lake::report::lake_report;
use foodstream::lake::{Committed, Head, Lake, LakeOptions, LocalLake};
use foodstream::model::{Counts, DatedBatch, Group, Measure, MicroBatch, OffsetRange, PartitionOffset, Period, Schema};

/// Set for the processes that are to be killed; its value is their lake's folder.
const CHILD: &str = "FOODSTREAM_TEST_LAKE_CHILD";
const KILLS: usize = 25;
/// Of the choice of instants; a failing run replays with the same number.
const SEED: u64 = 20_251_118;
const BATCH: i64 = 40;
const PARTITIONS: i32 = 4;

fn options(folder: &Path) -> LakeOptions {
    LakeOptions {
        settings: Settings {
            path: folder.join("lake"),
            compression: Compression::Zstd(1),
            max_rows_per_file: 1 << 20,
            quarantine_path: folder.join("lake_quarantine"),
            staging_path: folder.join("lake_staging"),
            partition_timezone: chrono_tz::UTC,
        },
        checkpoint: folder.join("checkpoint"),
        lake_schema: Schema::orders().to_arrow(),
        quarantine_schema: Arc::new(ArrowSchema::new(vec![Field::new("value", DataType::Binary, true)])),
        schema_text: Schema::orders(),
        drop_invalid_rows: true,
        aggregate: Aggregate::of(&Schema::orders()),
        clock: Arc::new(SystemClock),
    }
}

fn starts() -> Vec<PartitionOffset> {
    (0..PARTITIONS).map(|partition| PartitionOffset { partition, offset: 0 }).collect()
}

/// One order a message, its id made of partition and offset; every batch has a reject and two days.
fn batch(partition: i32, from: i64, to: i64) -> MicroBatch {
    let base = i64::from(partition) * 1_000_000_000;
    let mut batch = MicroBatch { ranges: vec![OffsetRange { partition, from, to }], ..MicroBatch::default() };
    let last = to - 1;
    let middle = (from + last) / 2;
    for (date, range) in [("2025-11-18", from..middle), ("2025-11-19", middle..last)] {
        let ids: Vec<i64> = range.map(|offset| base + offset).collect();
        let date = date.parse().unwrap();
        let sum = format!("{}.25", ids.len() / 4 * 3);
        let amount = Measure { sum: Some(sum), ..Measure::default() };
        let group = Group { rows: ids.len() as u64, columns: [("amount".to_owned(), amount)].into() };
        batch.totals.insert(Period::Day(date), Vec::new(), group);
        batch.accepted.push(DatedBatch { date, rows: orders(ids) });
    }
    let reject = Arc::new(BinaryArray::from_iter_values([format!("{partition}/{last}")]));
    batch.rejected.push(RecordBatch::try_new(options(Path::new("")).quarantine_schema, vec![reject]).unwrap());
    let input = (to - from) as u64;
    batch.counts = Counts { input, accepted: input - 1, rejected: 1 };
    batch
}

fn orders(ids: Vec<i64>) -> RecordBatch {
    let text = |stem: &str| Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("{stem} {}", id % 9))));
    let amounts = Decimal128Array::from_iter_values(ids.iter().map(|&id| i128::from(id)));
    let times = TimestampMicrosecondArray::from_iter_values(ids.iter().map(|&id| 1_763_460_000_000_000 + id));
    RecordBatch::try_new(
        Schema::orders().to_arrow(),
        vec![
            Arc::new(Int64Array::from(ids.clone())),
            text("customer"),
            text("restaurant"),
            text("item"),
            Arc::new(amounts.with_precision_and_scale(10, 2).unwrap()),
            text("status"),
            Arc::new(times.with_timezone("UTC")),
        ],
    )
    .unwrap()
}

fn ids(reader: &LakeReader) -> Vec<i64> {
    let columns = Some(vec!["order_id".to_owned()]);
    let mut ids = Vec::new();
    for batch in reader.batches(ReadOptions { columns, ..ReadOptions::default() }) {
        ids.extend(batch.unwrap().column(0).as_primitive::<Int64Type>().values());
    }
    ids.sort_unstable();
    ids
}

fn expected_ids(head: &Head) -> Vec<i64> {
    let offsets = head.positions.iter().flat_map(|(&partition, &end)| (0..end).map(move |offset| (partition, offset)));
    offsets
        .filter(|(_, offset)| (offset + 1) % BATCH != 0)
        .map(|(partition, offset)| i64::from(partition) * 1_000_000_000 + offset)
        .collect()
}

/// Everything the head claims is there once, for both kinds of reader, and the totals are the sum of the batches.
fn check(folder: &Path, head: &Head) {
    let options = options(folder);
    let expected = expected_ids(head);
    let by_log = LakeReader::with_settings(&options.settings, Some(&options.checkpoint), Root::Lake).unwrap();
    assert_eq!(ids(&by_log), expected);
    assert_eq!(ids(&LakeReader::open(&options.settings.path, None).unwrap()), expected);
    let rejected = LakeReader::with_settings(&options.settings, None, Root::Quarantine).unwrap().rows();
    let batches = head.positions.values().map(|&end| (end / BATCH) as u64).sum::<u64>();
    assert_eq!(rejected, batches);
    assert_eq!(head.counts, Counts { input: batches * BATCH as u64, accepted: batches * (BATCH as u64 - 1), rejected });
    assert_eq!(head.totals.rows(), head.counts.accepted);
    let cents = |group: &Group| group.sum("amount").unwrap().replace('.', "").parse::<u64>().unwrap();
    let one = batch(0, 0, BATCH).totals;
    for (period, values, group) in head.totals.iter() {
        assert_eq!(cents(group), cents(one.get(period, values).unwrap()) * batches);
    }
    let report = lake_report(&options.settings, &options.checkpoint, true).unwrap();
    assert!(report.log.faults.is_empty() && report.missing.is_empty() && report.damaged.is_empty(), "{report:?}");
    assert!(report.orphans.is_empty() && report.foreign.is_empty(), "{report:?}");
}

/// Commits batches of its partition until `end`; counts the races it lost.
fn work(folder: &Path, partition: i32, end: i64) -> usize {
    let mut lake = LocalLake::open(options(folder)).unwrap();
    let mut head = lake.found("orders", "topic-id", &starts()).unwrap();
    let mut lost = 0;
    while head.positions[&partition] < end {
        let from = head.positions[&partition];
        let staged = lake.stage(batch(partition, from, from + BATCH)).unwrap();
        loop {
            match lake.commit(&staged, &head).unwrap() {
                Committed::Done(new) => {
                    head = new;
                    break;
                }
                Committed::Lost(new) => {
                    lost += 1;
                    head = new;
                    if head.positions[&partition] != from {
                        lake.discard(staged).unwrap();
                        break;
                    }
                }
            }
        }
    }
    lost
}

/// Polls both views while `running`: every visible file opens, no row vanishes, none is there twice.
fn watch(folder: &Path, running: &AtomicBool) {
    let options = options(folder);
    let mut seen: HashSet<i64> = HashSet::new();
    while running.load(Ordering::Relaxed) {
        let by_log = LakeReader::with_settings(&options.settings, Some(&options.checkpoint), Root::Lake).unwrap();
        let visible = ids(&by_log);
        assert!(visible.windows(2).all(|pair| pair[0] < pair[1]), "a row is there twice");
        assert_eq!(visible.len() % (BATCH as usize - 1), 0, "a commit was seen in part");
        let visible: HashSet<i64> = visible.into_iter().collect();
        assert!(seen.is_subset(&visible), "a row vanished");
        seen = visible;
        let listed = ids(&LakeReader::open(&options.settings.path, None).unwrap());
        assert!(listed.windows(2).all(|pair| pair[0] < pair[1]), "a listed row is there twice");
    }
}

fn run_workers(partition_of: impl Fn(i32) -> i32 + Sync, end: i64) -> (tempfile::TempDir, usize) {
    let folder = tempfile::tempdir().unwrap();
    let running = AtomicBool::new(true);
    let lost = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(folder.path(), &running));
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let (path, partition) = (folder.path(), partition_of(worker));
                scope.spawn(move || work(path, partition, end))
            })
            .collect();
        let lost: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        running.store(false, Ordering::Relaxed);
        watcher.join().unwrap();
        lost.into_iter().map(Result::unwrap).sum()
    });
    (folder, lost)
}

#[test]
fn four_committing_workers_share_one_log_and_exact_totals() {
    let end = 10 * BATCH;
    let (folder, _) = run_workers(|worker| worker, end);
    let head = LocalLake::open(options(folder.path())).unwrap().head().unwrap().unwrap();
    assert_eq!(head.number, 40);
    assert!(head.positions.values().all(|&position| position == end));
    check(folder.path(), &head);
}

#[test]
fn four_workers_that_fight_for_one_partition_commit_every_message_once() {
    let end = 30 * BATCH;
    let (folder, lost) = run_workers(|_| 0, end);
    let head = LocalLake::open(options(folder.path())).unwrap().head().unwrap().unwrap();
    assert_eq!((head.number, head.positions[&0]), (30, end));
    assert!(lost > 0, "no race took place, so this test proved nothing");
    check(folder.path(), &head);
}

/// A process that commits until it is killed and says each step on its standard output.
#[test]
fn child_that_commits_until_killed() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let mut out = std::io::stdout().lock();
    let mut say = |word: &str| writeln!(out, "{word}").and_then(|()| out.flush());
    let mut lake = LocalLake::open(options(&folder)).unwrap();
    let mut head = lake.found("orders", "topic-id", &starts()).unwrap();
    while say("stage").is_ok() {
        let from = head.positions[&0];
        let staged = lake.stage(batch(0, from, from + BATCH)).unwrap();
        if say("commit").is_err() {
            return;
        }
        match lake.commit(&staged, &head).unwrap() {
            Committed::Done(new) => head = new,
            Committed::Lost(new) => panic!("alone, but lost to {new:?}"),
        }
    }
}

#[test]
fn a_writer_killed_at_any_instant_loses_and_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = SEED;
    let mut cut_short = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_commits_until_killed", "--nocapture", "--test-threads=1"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut steps = lines.filter(|line| line.ends_with("stage") || line.ends_with("commit"));
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        steps.nth((random >> 60) as usize).expect("the writer ended by itself");
        // Some hundred microseconds more or less, so that the kill falls into different steps.
        (0..(random >> 40) & 0x3_ffff).for_each(|turn| {
            std::hint::black_box(turn);
        });
        child.kill().unwrap();
        child.wait().unwrap();

        let left = std::fs::read_dir(folder.path().join("lake_staging")).unwrap();
        let staged: usize = left.map(|writer| std::fs::read_dir(writer.unwrap().path()).unwrap().count()).sum();
        cut_short += usize::from(staged > 1);
        if kill % 2 == 0 {
            // Every second time the next child recovers.
            let head = LocalLake::open(options(folder.path())).unwrap().head().unwrap();
            check(folder.path(), &head.expect("founded before the first step"));
        }
    }
    assert!(cut_short > 0, "no kill fell between staging and the last rename, so this test proved nothing");
}
