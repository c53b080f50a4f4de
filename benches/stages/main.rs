//! How long each stage takes, by row and by byte: `cargo bench -p foodstream-stages`, or with a filter behind `--`, as
//! in `-- wide/json_decode` (`--profile-time 10` runs one without statistics, for a profiler).
//!
//! The input is made in memory from a formula: 65,536 orders in the consumer's chunks, narrow and wide; what is
//! counted as bytes is their JSON, for every stage. Before a stage is timed, one pass of it must give the rows that
//! it should. See `stages` for what each of them is, `peer` for arrow-json.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use foodstream::model::Schema;
use foodstream_stages::orders::KINDS;
use foodstream_stages::stages::Input;
use foodstream_stages::{peer, stages};

/// Eight of the consumer's chunks.
const ROWS: usize = 65_536;

fn all(criterion: &mut Criterion) {
    for kind in KINDS {
        let input = Input::new(kind, ROWS);
        let (rows, valid) = (input.rows, input.valid_rows());
        let mut group = group(criterion, kind.name(), &input);
        time(&mut group, "copy_decode", rows, stages::copy_decode(&input));
        time(&mut group, "json_encode", rows, stages::json_encode(&input));
        time(&mut group, "json_decode", rows, stages::json_decode(&input));
        time(&mut group, "json_decode/arrow-json", rows, peer::arrow_json_of_joined(&input.messages));
        time(&mut group, "json_decode/arrow-json by message", rows, peer::arrow_json_of_messages(&input.messages));
        time(&mut group, "validate", valid, stages::validate(&input));
        time(&mut group, "totals", valid, stages::totals(&input));
        time(&mut group, "totals/by_group", valid, stages::totals_by_group(&input));
        time(&mut group, "parquet", valid, stages::parquet(&input, None));
        for (index, column) in Schema::orders().columns.iter().enumerate() {
            time(&mut group, &format!("parquet/{}", column.name), valid, stages::parquet(&input, Some(index)));
        }
        group.finish();
    }
}

fn group<'c>(criterion: &'c mut Criterion, name: &str, input: &Input) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::ElementsAndBytes { elements: input.rows as u64, bytes: input.json_bytes });
    // A pass takes milliseconds: as many in each sample, and the samples need no trend.
    group.sampling_mode(SamplingMode::Flat);
    group.sample_size(40).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    group
}

fn time(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, rows: usize, mut pass: impl FnMut() -> usize) {
    assert_eq!(pass(), rows, "{name} lost or made rows");
    group.bench_function(name, |bencher| bencher.iter(|| black_box(pass())));
}

criterion_group!(benches, all);
criterion_main!(benches);
