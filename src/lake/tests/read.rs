//! Reading back: exact values and types, projection, dates, samples.

use std::sync::atomic::{AtomicBool, Ordering};

use ::parquet::basic::{Encoding, LogicalType, TimeUnit};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use arrow::compute::concat_batches;

use super::super::durable::{Dir, trace};
use super::super::parquet;
use super::super::sample::write_samples;
use super::super::staging::Staging;
use super::*;
use crate::error::Kind;

fn one_commit() -> Place {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    commit(&mut lake, &batch(0, 0, 100));
    place
}

#[test]
fn values_come_back_exactly_with_the_types_readers_expect() {
    let place = one_commit();
    let reader = LakeReader::open(&place.path("lake"), None).unwrap();
    let batches: Vec<RecordBatch> = reader.batches(ReadOptions::default()).map(Result::unwrap).collect();
    assert_eq!(concat_batches(&batches[0].schema(), &batches).unwrap(), rows(0..90));

    let path = place.path("lake").join(&reader.files()[0].name);
    let file = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let schema = file.metadata().file_metadata().schema_descr();
    let logical = |index: usize| schema.column(index).logical_type_ref().cloned();
    assert_eq!(logical(4), Some(LogicalType::decimal(2, 10)));
    assert_eq!(logical(6), Some(LogicalType::timestamp(true, TimeUnit::MICROS)));
    assert_eq!(logical(1), Some(LogicalType::String));
    let group = file.metadata().row_group(0);
    for (column, delta) in [(0, true), (1, false), (4, true), (6, true)] {
        let encodings: Vec<Encoding> = group.column(column).encodings().collect();
        assert_eq!(encodings.contains(&Encoding::DELTA_BINARY_PACKED), delta, "column {column}: {encodings:?}");
        assert_eq!(group.column(column).dictionary_page_offset().is_none(), delta, "column {column}");
    }
    assert_eq!(file.metadata().file_metadata().created_by(), Some(concat!("foodstream ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn texts_that_repeat_have_a_dictionary_and_others_lie_in_small_pages() {
    const ROWS: usize = 20_000;
    for (distinct, in_dictionary) in [(5_000, ROWS), (ROWS, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("texts.parquet");
        let schema: SchemaRef = Arc::new(ArrowSchema::new(vec![Field::new("text", DataType::Utf8, false)]));
        let texts = StringArray::from_iter_values((0..ROWS).map(|row| format!("{:080}", row % distinct)));
        let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(texts)]).unwrap();
        let properties = parquet::properties(&schema, Compression::Zstd(1)).unwrap();
        parquet::write(std::fs::File::create(&path).unwrap(), &path, &schema, &properties, None, vec![rows]).unwrap();

        let file = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let pages = file.get_row_group(0).unwrap().get_column_page_reader(0).unwrap().map(Result::unwrap);
        let mut found = 0;
        for page in pages.filter(|page| page.is_data_page()) {
            assert!(page.buffer().len() <= 256 << 10, "a page of {} bytes", page.buffer().len());
            found += if page.encoding() == Encoding::RLE_DICTIONARY { page.num_values() as usize } else { 0 };
        }
        assert_eq!(found, in_dictionary, "rows in the dictionary, of {distinct} distinct texts");
    }
}

#[test]
fn wide_decimals_and_every_other_type_survive() {
    use crate::model::{Column, DataType as Type};
    let types = [
        Type::SmallInt,
        Type::Int,
        Type::BigInt,
        Type::Decimal { precision: 9, scale: 9 },
        Type::Decimal { precision: 18, scale: 0 },
        Type::Decimal { precision: 38, scale: 10 },
        Type::Double,
        Type::Boolean,
        Type::Json,
        Type::TimestampTz,
        Type::Date,
    ];
    let columns = types.iter().map(|&data_type| Column { name: data_type.to_string(), data_type, nullable: true });
    let schema = Schema::new(columns.collect()).to_arrow();
    let text = |index: usize| match types[index] {
        Type::Decimal { precision: 9, .. } => ["0.999999999", "-0.999999999"],
        Type::Decimal { precision: 18, .. } => ["999999999999999999", "-999999999999999999"],
        Type::Decimal { .. } => ["9999999999999999999999999999.9999999999", "-9999999999999999999999999999.9999999999"],
        Type::SmallInt => ["32767", "-32768"],
        Type::Int => ["2147483647", "-2147483648"],
        Type::BigInt => ["9223372036854775807", "-9223372036854775808"],
        Type::Double => ["1.7976931348623157e308", "-0.1"],
        Type::Boolean => ["true", "false"],
        Type::TimestampTz => ["9999-12-31T23:59:59.999999", "0001-01-01T00:00:00.000001"],
        Type::Date => ["9999-12-31", "0001-01-01"],
        _ => ["{\"a\":\"\u{10ffff}\"}", ""],
    };
    let arrays = (0..types.len()).map(|index| {
        let [one, two] = text(index);
        let strings = StringArray::from(vec![Some(one), None, Some(two)]);
        // Arrow parses an instant of zone "UTC" only with a time-zone database, so the zone is put on afterwards.
        let DataType::Timestamp(unit, Some(_)) = schema.field(index).data_type() else {
            return arrow::compute::cast(&strings, schema.field(index).data_type()).unwrap();
        };
        let local = arrow::compute::cast(&strings, &DataType::Timestamp(*unit, None)).unwrap();
        let local = local.as_primitive::<arrow::datatypes::TimestampMicrosecondType>().clone();
        Arc::new(local.with_timezone("UTC"))
    });
    let rows = RecordBatch::try_new(schema.clone(), arrays.collect()).unwrap();
    assert!(rows.columns().iter().all(|column| column.null_count() == 1));
    let place = Place::new();
    let dated = DatedBatch { date: day("2025-11-18"), rows: rows.clone() };
    write_samples(&place.path("samples"), Compression::Zstd(1), &[dated]).unwrap();
    let reader = LakeReader::open(&place.path("samples"), None).unwrap();
    assert_eq!(reader.batches(ReadOptions::default()).next().unwrap().unwrap(), rows);
}

#[test]
fn columns_dates_and_the_date_column_are_as_asked_for() {
    let place = one_commit();
    let reader = LakeReader::open(&place.path("lake"), Some(&place.options.checkpoint)).unwrap();
    let options = ReadOptions {
        columns: Some(vec!["amount".into(), "date".into(), "order_id".into()]),
        days: DayRange::only(day("2025-11-19")),
        date_column: true,
        batch_rows: 10,
    };
    let schema = reader.schema(&options).unwrap().unwrap();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["amount", "date", "order_id"]);
    let batches: Vec<RecordBatch> = reader.batches(options).map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [10, 10, 10, 10, 5]);
    assert_eq!(batches[0].schema(), schema);
    assert_eq!(batches[0].column(2).as_primitive::<Int64Type>().value(0), 45);
    let date = batches[0].column(1).as_primitive::<arrow::datatypes::Date32Type>().value_as_date(0);
    assert_eq!(date, Some(day("2025-11-19")));

    let unknown = ReadOptions { columns: Some(vec!["tip".into()]), ..ReadOptions::default() };
    let mut batches = reader.batches(unknown);
    let error = batches.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Schema);
    assert!(error.to_string().contains("no column `tip`") && error.to_string().contains("order_id"), "{error}");
    assert!(batches.next().is_none(), "the first error ends it");
}

#[test]
fn partitions_are_counted() {
    let place = one_commit();
    let reader = LakeReader::open(&place.path("lake"), None).unwrap();
    let days: Vec<_> = reader.partitions().into_iter().map(|day| (day.date, day.files, day.rows)).collect();
    assert_eq!(days, [(day("2025-11-18"), 1, 45), (day("2025-11-19"), 1, 45)]);
    assert_eq!(reader.rows(), 90);
    let on_disk: u64 =
        reader.files().iter().map(|file| std::fs::metadata(place.path("lake").join(&file.name)).unwrap().len()).sum();
    assert_eq!(reader.bytes(), on_disk);
}

#[test]
fn the_lake_is_read_as_it_was_after_a_commit() {
    let place = Place::new();
    let (mut lake, _) = place.founded();
    for first in [0, 100, 200] {
        commit(&mut lake, &batch(0, first, first + 100));
    }
    let (settings, checkpoint) = (&place.options.settings, place.options.checkpoint.as_path());
    let rows = |root, commit| LakeReader::at_commit(settings, checkpoint, root, commit).map(|reader| reader.rows());
    let counts: Vec<u64> = (0..=3).map(|commit| rows(Root::Lake, commit).unwrap()).collect();
    assert_eq!(counts, [0, 90, 180, 270]);
    assert_eq!(rows(Root::Quarantine, 2).unwrap(), 20);
    let error = rows(Root::Lake, 4).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("the last one is 3")), (Kind::Config, true), "{error}");
    let nowhere = LakeReader::at_commit(settings, &place.path("nowhere"), Root::Lake, 0).unwrap_err();
    assert!(nowhere.to_string().contains("not been founded"), "{nowhere}");
}

#[test]
fn a_range_of_days_may_be_open_on_either_side() {
    let range = |first: Option<&str>, last: Option<&str>| DayRange { first: first.map(day), last: last.map(day) };
    let kept = |range: DayRange| ["2025-11-17", "2025-11-18", "2025-11-19"].map(|name| range.contains(day(name)));
    assert_eq!(kept(DayRange::default()), [true, true, true]);
    assert_eq!(kept(range(Some("2025-11-18"), None)), [false, true, true]);
    assert_eq!(kept(range(None, Some("2025-11-18"))), [true, true, false]);
    assert_eq!(kept(DayRange::only(day("2025-11-18"))), [false, true, false]);
}

#[test]
fn a_lake_that_does_not_exist_yet_is_empty_and_is_not_created() {
    let place = Place::new();
    let reader = LakeReader::open(&place.path("lake"), Some(&place.path("checkpoint"))).unwrap();
    assert_eq!((reader.rows(), reader.batches(ReadOptions::default()).count()), (0, 0));
    assert!(reader.schema(&ReadOptions::default()).unwrap().is_none());
    assert!(place.report().is_sound());
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 0);
}

#[test]
fn half_a_file_is_an_error_that_names_it() {
    let place = one_commit();
    let reader = LakeReader::open(&place.path("lake"), Some(&place.options.checkpoint)).unwrap();
    let name = reader.files()[0].name.clone();
    let path = place.path("lake").join(&name);
    let bytes = std::fs::read(&path).unwrap();
    for cut in [0, 4, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let by_log = reader.batches(ReadOptions::default()).next().unwrap().unwrap_err();
        assert!(by_log.to_string().contains(&name), "{by_log}");
        let by_list = LakeReader::open(&place.path("lake"), None).unwrap_err();
        assert!(by_list.to_string().contains(&name), "{by_list}");
    }
}

#[test]
fn a_sweep_between_two_samples_leaves_their_staging_alone_and_takes_what_a_kill_left() {
    let place = Place::new();
    let root = || Dir::create_all(&place.path("lake_staging")).unwrap();
    let sweeper = Staging::claim(root(), "a lake").unwrap();
    let swept = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&swept);
    trace::after_next("move", move |_| {
        seen.store(sweeper.dead_writers("a lake").unwrap().is_empty(), Ordering::Relaxed);
    });
    let samples = ["2025-11-18", "2025-11-19"].map(|date| DatedBatch { date: day(date), rows: rows(0..5) });
    assert_eq!(write_samples(&place.path("lake"), Compression::Snappy, &samples).unwrap().len(), 2);
    assert!(swept.load(Ordering::Relaxed));
    assert!(!place.path("lake_staging").exists());
    // As a kill leaves it.
    let folder = root().make("0b0f2a52-7f7b-4a6e-9d0c-6f6f3b1f2c11").unwrap();
    folder.write_new("lock", b"").unwrap();
    folder.write_new("sample-0b0f2a52-0.parquet", b"x").unwrap();
    let sweeper = Staging::claim(root(), "a lake").unwrap();
    for dead in sweeper.dead_writers("a lake").unwrap() {
        sweeper.delete(dead).unwrap();
    }
    assert_eq!(root().names().unwrap(), [sweeper.writer()]);
}

#[test]
fn samples_and_lakes_do_not_mix() {
    let place = one_commit();
    let sample = [DatedBatch { date: day("2025-11-18"), rows: rows(0..5) }];
    let error = write_samples(&place.path("lake"), Compression::Snappy, &sample).unwrap_err();
    assert!(error.to_string().contains("is a lake"), "{error}");
    let other = Place::new();
    let paths = write_samples(&other.path("lake"), Compression::Lz4, &sample).unwrap();
    assert_eq!(ids(&LakeReader::open(&other.path("lake"), None).unwrap()), [0, 1, 2, 3, 4]);
    assert!(!other.path("lake_staging").exists());
    let name = paths[0].file_name().unwrap().to_str().unwrap().to_owned();
    assert!(other.refused().to_string().contains(&name));
}
