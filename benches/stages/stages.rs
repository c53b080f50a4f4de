//! The stages that a row passes, each with its input ready in memory: one call is one pass over all rows.
//!
//! ```text
//! COPY stream ─copy_decode→ fields ─json_encode→ messages ─json_decode→ columns
//!                                                  ─validate→ rows by day ─┬totals→ sums
//!                                                                          └parquet→ synced files
//! ```
//! Each calls what a running pipeline calls, with the same sizes: messages come in the consumer's chunks, files get
//! all rows of a day. `validate` decodes as well, since rules are applied to columns and rows are split once.

use std::path::Path;
use std::sync::Arc;

use foodstream::aggregate::Aggregator;
use foodstream::clock::SystemClock;
use foodstream::config::{Aggregate, Compression, Lake as LakeSettings, Validation, defaults};
use foodstream::consume::CHUNK_MESSAGES;
use foodstream::lake::{Lake, LakeOptions, LocalLake};
use foodstream::model::{
    Aggregation, ChangeBatch, Counts, Cursor, DatedBatch, Every, Key, Message, MessageBatch, MicroBatch, OffsetRange,
    Operation, PartitionOffset, Schema, Totals,
};
use foodstream::postgres::{Codec, CopyDecoder};
use foodstream::validate::Validator;
use foodstream::wire::decode::Decoder;
use foodstream::wire::encode::{self, RowEncoder};
use tempfile::TempDir;

use super::orders::{Copied, INVALID_EVERY, Kind, WIDTH, copied};

const TOPIC: &str = "food_orders_raw";
const TIMESTAMP_COLUMN: &str = "created_at";
/// Of `db/orders.sql`: serial, varchar × 3, numeric, varchar, timestamp.
const CODECS: [Codec; WIDTH] =
    [Codec::Int4, Codec::Text, Codec::Text, Codec::Text, Codec::Numeric, Codec::Text, Codec::Timestamp];

/// What all stages of one kind of rows start from.
pub struct Input {
    pub rows: usize,
    pub copied: Copied,
    /// In the consumer's chunks.
    pub messages: Vec<MessageBatch>,
    /// Of the messages' values.
    pub json_bytes: u64,
    /// What `validate` makes of the messages.
    accepted: Vec<DatedBatch>,
}

impl Input {
    pub fn new(kind: Kind, rows: usize) -> Input {
        let copied = copied(kind, rows);
        let mut changes = ChangeBatch::default();
        encode_rows(&copied, &RowEncoder::new(&column_names()), &mut changes);
        let mut messages: Vec<MessageBatch> = Vec::new();
        for (offset, (_, key, value)) in changes.iter().enumerate() {
            if offset % CHUNK_MESSAGES == 0 {
                messages.push(MessageBatch::default());
            }
            let message =
                Message { partition: 0, offset: offset as i64, timestamp_ms: 0, key: Some(key), value: Some(value) };
            messages.last_mut().expect("one was pushed for the first message").push(message);
        }
        let json_bytes = changes.iter().map(|(_, _, value)| value.len() as u64).sum();
        let mut validator = validator();
        let validated = messages.iter().flat_map(|chunk| validator.validate(chunk).expect("valid settings").accepted);
        let accepted = validated.collect();
        Input { rows, copied, messages, json_bytes, accepted }
    }

    /// Rows that break no rule.
    pub fn valid_rows(&self) -> usize {
        self.rows - self.rows / INVALID_EVERY as usize
    }
}

fn column_names() -> Vec<String> {
    Schema::orders().columns.into_iter().map(|column| column.name).collect()
}

/// The COPY stream into rows of fields, row by row as the server sends it.
pub fn copy_decode(input: &Input) -> impl FnMut() -> usize {
    move || {
        let mut decoder = CopyDecoder::default();
        let mut bytes = 0;
        let mut rows = 0;
        for piece in input.copied.pieces() {
            let cut = decoder.push(piece, &mut |row| {
                bytes += (0..row.len()).filter_map(|index| row.get(index)).map(<[u8]>::len).sum::<usize>();
                Ok(())
            });
            rows += cut.expect("a well-formed stream");
        }
        decoder.finish().expect("a whole stream");
        std::hint::black_box(bytes);
        rows as usize
    }
}

/// Fields of COPY into messages, as `capture` does it: position, key, value.
pub fn json_encode(input: &Input) -> impl FnMut() -> usize {
    let encoder = RowEncoder::new(&column_names());
    let mut batch = ChangeBatch::default();
    move || {
        batch.clear();
        encode_rows(&input.copied, &encoder, &mut batch);
        batch.len()
    }
}

fn encode_rows(copied: &Copied, encoder: &RowEncoder, batch: &mut ChangeBatch) {
    for places in &copied.rows {
        let field = |index: usize| &copied.stream[places[index].clone()];
        let position = CODECS[0].integer(field(0)).and_then(|key| {
            let timestamp_us = CODECS[WIDTH - 1].timestamp_us(field(WIDTH - 1))?;
            Ok((key, Cursor { timestamp_us, key: Some(Key::Int(key)) }))
        });
        let (key, cursor) = position.expect("well-formed rows");
        let row = batch.push_with(Operation::Insert, |out| {
            encode::integer(out, key);
            let key_end = out.len();
            let written = CODECS.iter().enumerate().try_for_each(|(index, codec)| {
                encoder.column(out, index);
                codec.write(out, Some(field(index)), &mut |local_us| local_us)
            });
            encoder.finish(out);
            written.map(|()| key_end)
        });
        row.expect("well-formed rows");
        batch.end = Some(cursor);
    }
}

/// Messages into columns.
pub fn json_decode(input: &Input) -> impl FnMut() -> usize {
    let mut decoder = Decoder::new(&Schema::orders()).expect("the shipped schema");
    move || {
        // Kept to the end of the pass, as the open batch keeps them.
        let decoded: Vec<_> = input.messages.iter().map(|chunk| decoder.decode(chunk).expect("small chunks")).collect();
        decoded.iter().map(|chunk| chunk.rows.num_rows()).sum()
    }
}

/// Messages into accepted rows by day and rejects: decodes, applies the documents' rules, splits.
pub fn validate(input: &Input) -> impl FnMut() -> usize {
    let mut validator = validator();
    move || {
        let validated: Vec<_> =
            input.messages.iter().map(|chunk| validator.validate(chunk).expect("valid settings")).collect();
        validated.iter().map(|chunk| chunk.counts.accepted as usize).sum()
    }
}

fn validator() -> Validator {
    Validator::compile(&Schema::orders(), &Validation::default(), TIMESTAMP_COLUMN, chrono_tz::UTC, TOPIC)
        .expect("the shipped schema and rules")
}

/// Rows and the sum of amounts by day, as without any configuration.
pub fn totals(input: &Input) -> impl FnMut() -> usize {
    let aggregator = aggregator(Aggregate::of(&Schema::orders()));
    move || aggregator.of(&input.accepted).expect("few groups").rows() as usize
}

/// The same by hour and restaurant.
pub fn totals_by_group(input: &Input) -> impl FnMut() -> usize {
    let whole = Aggregate::of(&Schema::orders());
    let group_by = vec!["restaurant_name".to_owned()];
    let definition = Aggregation { group_by, every: Every::Hour, ..whole.definition.clone() };
    let aggregator = aggregator(Aggregate { definition, ..whole });
    move || aggregator.of(&input.accepted).expect("few groups").rows() as usize
}

fn aggregator(settings: Aggregate) -> Aggregator {
    Aggregator::new(&settings, &Schema::orders().to_arrow(), TIMESTAMP_COLUMN, chrono_tz::UTC)
        .expect("columns of the schema")
}

/// Rows of a batch into staged files, compressed and synced; `column` leaves out all others.
pub fn parquet(input: &Input, column: Option<usize>) -> impl FnMut() -> usize + use<> {
    let accepted: Vec<_> = input.accepted.iter().map(|batch| projected(batch, column)).collect();
    let totals = aggregator(Aggregate::of(&Schema::orders())).of(&input.accepted).expect("few groups");
    let mut lake = EmptyLake::open(&accepted[0]);
    let batch = micro_batch(accepted, totals);
    move || lake.stage_and_discard(&batch)
}

fn projected(batch: &DatedBatch, column: Option<usize>) -> DatedBatch {
    let rows = match column {
        Some(index) => batch.rows.project(&[index]).expect("a column of the schema"),
        None => batch.rows.clone(),
    };
    DatedBatch { date: batch.date, rows }
}

fn micro_batch(accepted: Vec<DatedBatch>, totals: Totals) -> MicroBatch {
    let rows = totals.rows();
    let ranges = vec![OffsetRange { partition: 0, from: 0, to: rows as i64 }];
    let counts = Counts { input: rows, accepted: rows, rejected: 0 };
    MicroBatch { ranges, accepted, counts, totals, ..MicroBatch::default() }
}

struct EmptyLake {
    lake: LocalLake,
    /// Removed with everything in it, after the lake.
    _folder: TempDir,
}

impl EmptyLake {
    /// In memory where the system has a place for that, so that the disk is not what is measured.
    fn open(like: &DatedBatch) -> EmptyLake {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let folder = folder.expect("a writable folder for temporary files");
        let settings = LakeSettings {
            path: folder.path().join("lake"),
            compression: Compression::Zstd(defaults::ZSTD_LEVEL),
            max_rows_per_file: defaults::MAX_ROWS_PER_FILE,
            quarantine_path: folder.path().join("lake_quarantine"),
            staging_path: folder.path().join("lake_staging"),
            partition_timezone: chrono_tz::UTC,
        };
        let options = LakeOptions {
            settings,
            checkpoint: folder.path().join("checkpoint"),
            lake_schema: like.rows.schema(),
            quarantine_schema: validator().quarantine_schema(),
            schema_text: Schema::orders(),
            drop_invalid_rows: true,
            aggregate: Aggregate::of(&Schema::orders()),
            clock: Arc::new(SystemClock),
        };
        let mut lake = LocalLake::open(options).expect("an empty folder");
        lake.found(TOPIC, "topic-id", &[PartitionOffset { partition: 0, offset: 0 }]).expect("an empty folder");
        EmptyLake { lake, _folder: folder }
    }

    /// The rows of the files that the batch becomes.
    fn stage_and_discard(&mut self, batch: &MicroBatch) -> usize {
        let staged = self.lake.stage(batch.clone()).expect("a writable folder");
        let rows: u64 = staged.files.iter().map(|file| file.rows).sum();
        self.lake.discard(staged).expect("a writable folder");
        rows as usize
    }
}
