//! arrow-json's decoder on the same messages, with the same schema and batch size: what `json_decode` is held against.
//!
//! It is given what favours it: messages that are valid JSON throughout, joined beforehand into one buffer a chunk.
//! It does less: no reason for a value that its column cannot hold, where the whole batch fails instead; a decimal
//! with too many digits after the point is cut; the last of two equal keys counts; and a message that is no object
//! ends everything.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_json::ReaderBuilder;
use arrow_json::reader::Decoder;
use foodstream::consume::CHUNK_MESSAGES;
use foodstream::model::{MessageBatch, Schema};

/// Chunks that were joined, lines of JSON, into columns.
pub fn arrow_json_of_joined(messages: &[MessageBatch]) -> impl FnMut() -> usize {
    let chunks: Vec<Vec<u8>> = messages.iter().map(joined).collect();
    let mut decoder = decoder();
    move || {
        let decoded = chunks.iter().map(|chunk| decode(&mut decoder, std::iter::once(chunk.as_slice())));
        rows(&decoded.collect::<Vec<_>>())
    }
}

/// Messages as they come, one call each, into columns.
pub fn arrow_json_of_messages(messages: &[MessageBatch]) -> impl FnMut() -> usize {
    let mut decoder = decoder();
    move || {
        let decoded =
            messages.iter().map(|chunk| decode(&mut decoder, chunk.iter().filter_map(|message| message.value)));
        rows(&decoded.collect::<Vec<_>>())
    }
}

fn decoder() -> Decoder {
    let schema: SchemaRef = Schema::orders().to_arrow();
    ReaderBuilder::new(schema).with_batch_size(CHUNK_MESSAGES).build_decoder().expect("types that arrow-json knows")
}

fn joined(chunk: &MessageBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in chunk.iter().filter_map(|message| message.value) {
        bytes.extend_from_slice(value);
        bytes.push(b'\n');
    }
    bytes
}

fn decode<'c>(decoder: &mut Decoder, pieces: impl Iterator<Item = &'c [u8]>) -> RecordBatch {
    for piece in pieces {
        let used = decoder.decode(piece).expect("valid JSON");
        assert!(used == piece.len() || used + 1 == piece.len(), "a chunk is one batch");
    }
    decoder.flush().expect("values that fit their columns").expect("a chunk has messages")
}

fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}
