//! One Parquet file: encodings, footer, checksum.
//!
//! Integers, instants and narrow decimals are delta-packed without a dictionary (a third less time and half the
//! bytes of the defaults, measured on orders); strings keep dictionaries, unless the rows show that they hardly
//! repeat. The footer carries what a lost commit log can be rebuilt from; never the commit's number, which is not known
//! while the file is written. The Arrow schema is embedded as well: every reader ignores or understands it, and it keeps
//! "UTC" as the zone's name.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::basic::{Compression as Codec, Encoding, ZstdLevel};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use ::parquet::schema::types::ColumnPath;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use foldhash::fast::RandomState;
use serde::de::DeserializeOwned;

use super::durable;
use crate::config::Compression;
use crate::error::{Error, Kind, Result};
use crate::model::{Counts, OffsetRange};

/// Decimals of up to so many digits are stored as 32- or 64-bit integers, which delta packing takes.
const MAX_INTEGER_DECIMAL: u8 = 18;

/// A page is cut once it has reached this, so that most pages of long texts have up to twice as much. With texts that do
/// not repeat it takes a tenth less processor time than a megabyte does, and no more bytes.
const PAGE_BYTES: usize = 128 << 10;

/// So many values of a text, spread over a file's rows, tell whether it repeats.
const SAMPLED: usize = 4_096;

/// Of a text with no more repeats among those sampled there are more values than a dictionary has room for: some seventy
/// thousand, if they come at random.
const FEW_REPEATS: usize = SAMPLED / 32;

const CREATED_BY: &str = concat!("foodstream ", env!("CARGO_PKG_VERSION"));

/// Version of the footer's keys. The first one held totals as well, which a rebuild makes from the rows now.
const FOOTER_VERSION: &str = "2";
const KNOWN_FOOTERS: [&str; 2] = ["1", FOOTER_VERSION];

/// How files of one schema are written.
pub(crate) fn properties(schema: &Schema, compression: Compression) -> Result<WriterProperties> {
    let mut builder = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(codec(compression)?)
        .set_data_page_size_limit(PAGE_BYTES);
    for field in schema.fields() {
        builder = encode_column(builder, ColumnPath::new(vec![field.name().clone()]), field.data_type());
    }
    Ok(builder.build())
}

/// The properties for these rows: a text that hardly repeats gets no dictionary, which would only be filled and given up.
fn for_rows(properties: &WriterProperties, schema: &Schema, batches: &[RecordBatch]) -> WriterProperties {
    let mut builder = properties.clone().into_builder();
    for (column, field) in schema.fields().iter().enumerate() {
        if *field.data_type() == DataType::Utf8 && hardly_repeats(batches, column) {
            builder = builder.set_column_dictionary_enabled(ColumnPath::new(vec![field.name().clone()]), false);
        }
    }
    builder.build()
}

fn hardly_repeats(batches: &[RecordBatch], column: usize) -> bool {
    let stride = batches.iter().map(RecordBatch::num_rows).sum::<usize>() / SAMPLED;
    if stride == 0 {
        return false;
    }
    let texts = batches.iter().flat_map(|batch| batch.column(column).as_string::<i32>().iter().step_by(stride));
    let mut seen: HashSet<&str, RandomState> = HashSet::default();
    let mut repeats = 0;
    for text in texts.flatten().take(SAMPLED) {
        repeats += usize::from(!seen.insert(text));
        if repeats > FEW_REPEATS {
            return false;
        }
    }
    // Not of one that is mostly null.
    seen.len() + repeats == SAMPLED
}

fn codec(compression: Compression) -> Result<Codec> {
    Ok(match compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Zstd(level) => Codec::ZSTD(
            ZstdLevel::try_new(level)
                .map_err(|e| Error::config(format!("`datalake.compression` zstd({level}) is no level")).because(e))?,
        ),
    })
}

fn encode_column(builder: WriterPropertiesBuilder, path: ColumnPath, data_type: &DataType) -> WriterPropertiesBuilder {
    let encoding = match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Encoding::DELTA_BINARY_PACKED,
        DataType::Date32 | DataType::Timestamp(_, _) => Encoding::DELTA_BINARY_PACKED,
        DataType::Decimal128(precision, _) if *precision <= MAX_INTEGER_DECIMAL => Encoding::DELTA_BINARY_PACKED,
        // Wider ones are fixed-length bytes, which delta packing does not take; amounts rarely repeat.
        DataType::Decimal128(_, _) | DataType::Float64 => Encoding::PLAIN,
        // Raw messages: no two are alike, and a dictionary of them would only be thrown away.
        DataType::Binary | DataType::LargeBinary => Encoding::PLAIN,
        _ => return builder,
    };
    builder.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, encoding)
}

/// What the footer tells of the commit a file belongs to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Footer {
    pub lake: String,
    /// The file's own uuid.
    pub file: String,
    /// The uuid that all files of one staged batch share, and this one's place among them.
    pub set: String,
    pub part: usize,
    pub parts: usize,
    pub quarantine: bool,
    /// `date=YYYY-MM-DD`: where the file belongs, also while it is staged.
    pub folder: String,
    pub topic: String,
    pub topic_id: String,
    pub ranges: Vec<OffsetRange>,
    /// Of the whole batch.
    pub counts: Counts,
}

const KEY_PREFIX: &str = "foodstream.";

impl Footer {
    fn to_pairs(&self) -> Result<Vec<KeyValue>> {
        let json = |value: serde_json::Result<String>| value.map_err(|e| Error::bug("cannot write JSON").because(e));
        let pairs = [
            ("version", FOOTER_VERSION.to_owned()),
            ("lake", self.lake.clone()),
            ("file", self.file.clone()),
            ("set", self.set.clone()),
            ("part", format!("{}/{}", self.part, self.parts)),
            ("root", if self.quarantine { "quarantine" } else { "lake" }.to_owned()),
            ("folder", self.folder.clone()),
            ("topic", self.topic.clone()),
            ("topic_id", self.topic_id.clone()),
            ("ranges", json(serde_json::to_string(&self.ranges))?),
            ("counts", json(serde_json::to_string(&self.counts))?),
        ];
        Ok(pairs.into_iter().map(|(key, value)| KeyValue::new(format!("{KEY_PREFIX}{key}"), value)).collect())
    }

    fn from_pairs(pairs: &[KeyValue]) -> Option<Footer> {
        let get = |key: &str| {
            let pair = pairs.iter().find(|pair| pair.key.strip_prefix(KEY_PREFIX) == Some(key))?;
            pair.value.clone()
        };
        fn json<T: DeserializeOwned>(text: Option<String>) -> Option<T> {
            serde_json::from_str(&text?).ok()
        }
        if !KNOWN_FOOTERS.contains(&get("version")?.as_str()) {
            return None;
        }
        let part = get("part")?;
        let (part, parts) = part.split_once('/')?;
        Some(Footer {
            lake: get("lake")?,
            file: get("file")?,
            set: get("set")?,
            part: part.parse().ok()?,
            parts: parts.parse().ok()?,
            quarantine: get("root")? == "quarantine",
            folder: get("folder")?,
            topic: get("topic")?,
            topic_id: get("topic_id")?,
            ranges: json(get("ranges"))?,
            counts: json(get("counts"))?,
        })
    }
}

/// What is known of a file once it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub rows: u64,
    pub bytes: u64,
    pub crc32c: u32,
}

/// Counts and checks the bytes on their way to the file, so that it is not read again for its checksum.
struct Sink {
    file: File,
    bytes: u64,
    crc32c: u32,
    /// The file system's own error: the writer above may flatten it into text, and a full disk must stay one.
    failure: Option<i32>,
}

impl Write for Sink {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let taken = self.file.write(buffer).inspect_err(|error| self.failure = error.raw_os_error())?;
        self.crc32c = crc32c::crc32c_append(self.crc32c, &buffer[..taken]);
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Writes the batches into a new file, each let go as it is written, and checks the row count. `path` is for errors.
/// The caller syncs the file.
pub(crate) fn write(
    file: File,
    path: &Path,
    schema: &SchemaRef,
    properties: &WriterProperties,
    footer: Option<&Footer>,
    batches: Vec<RecordBatch>,
) -> Result<(Written, File)> {
    let pairs = footer.map(Footer::to_pairs).transpose()?.unwrap_or_default();
    let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>() as u64;
    let mut sink = Sink { file, bytes: 0, crc32c: 0, failure: None };
    let written = encode(&mut sink, schema, properties, pairs, batches).map_err(|cause| match sink.failure {
        Some(code) => durable::failed("write", path, std::io::Error::from_raw_os_error(code)),
        None => Error::new(Kind::Lake, format!("cannot write {}", path.display())).because(cause),
    })?;
    if written != rows as i64 {
        return Err(Error::bug(format!("{} took {written} rows where it was given {rows}", path.display())));
    }
    Ok((Written { rows, bytes: sink.bytes, crc32c: sink.crc32c }, sink.file))
}

/// The rows that the finished file says it has.
fn encode(
    sink: &mut Sink,
    schema: &SchemaRef,
    properties: &WriterProperties,
    pairs: Vec<KeyValue>,
    batches: Vec<RecordBatch>,
) -> ::parquet::errors::Result<i64> {
    let mut writer = ArrowWriter::try_new(sink, schema.clone(), Some(for_rows(properties, schema, &batches)))?;
    for batch in batches {
        writer.write(&batch)?;
    }
    for pair in pairs {
        writer.append_key_value_metadata(pair);
    }
    Ok(writer.close()?.file_metadata().num_rows())
}

/// The reader of an open file; an unreadable one is named.
pub(crate) fn reader(file: File, path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|e| Error::new(Kind::Lake, format!("{} is no readable Parquet file", path.display())).because(e))
}

/// The footer of an open file, `None` when it is not one of ours.
pub(crate) fn footer(builder: &ParquetRecordBatchReaderBuilder<File>) -> Option<Footer> {
    Footer::from_pairs(builder.metadata().file_metadata().key_value_metadata()?)
}

/// Length and CRC32C of a file as it lies on disk.
pub(crate) fn checksum(mut file: File, path: &Path) -> Result<(u64, u32)> {
    use std::io::Read;
    /// Large enough that the read calls cost nothing beside the checksum.
    const BUFFER_BYTES: usize = 1 << 20;
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut bytes, mut crc) = (0, 0);
    loop {
        match file.read(&mut buffer).map_err(|e| durable::failed("read", path, e))? {
            0 => return Ok((bytes, crc)),
            read => {
                crc = crc32c::crc32c_append(crc, &buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}
