//! Validation beside reading: one chunk is judged on a thread of its own while the next is read.
//!
//! The validator travels with the chunk and comes back with the result, so it has one owner at any time: between two
//! chunks its memory of accepted values is asked and changed as if nothing ran beside. Chunks are judged in order.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use arrow::datatypes::SchemaRef;

use super::Ingest;
use crate::broker::{Cluster, GroupConsumer};
use crate::error::{Error, Result};
use crate::model::MessageBatch;
use crate::validate::{Validated, Validator};

impl<C: GroupConsumer, K: Cluster> Ingest<C, K> {
    /// Lets the chunk be judged while the next is read.
    pub(super) fn validate_chunk(&mut self) -> Result<()> {
        self.take_validated()?;
        let now = self.clock.instant();
        self.opened_at.get_or_insert(now);
        self.grown_at = Some(now);
        self.watching.add_messages(&self.chunk);
        self.validating.submit(&mut self.chunk)
    }

    /// Waits for the chunk under way, if there is one, and adds what came of it to the open batch.
    pub(super) fn take_validated(&mut self) -> Result<()> {
        if let Some(validated) = self.validating.take()? {
            self.add_to_open(validated);
        }
        Ok(())
    }

    fn add_to_open(&mut self, validated: Validated) {
        self.open.counts.input += validated.counts.input;
        self.open.counts.accepted += validated.counts.accepted;
        self.open.counts.rejected += validated.counts.rejected;
        let now = self.clock.now();
        self.watching.add_validated(&validated, &self.options.timestamp_column, now);
        self.open.accepted.extend(validated.accepted);
        self.open.rejected.extend(validated.rejected);
        if validated.unknown_keys > 0 && self.unknown_keys == 0 {
            tracing::warn!(
                target: "foodstream::consumer",
                "messages hold keys that the schema does not know; they are left out and counted"
            );
        }
        self.unknown_keys += validated.unknown_keys;
    }
}

struct Chunk {
    validator: Box<Validator>,
    messages: MessageBatch,
}

struct Judged {
    chunk: Chunk,
    result: Result<Validated>,
}

/// The validator, and the thread it works on. At most one chunk is under way.
pub(super) struct Validating {
    chunks: Option<SyncSender<Chunk>>,
    judged: Receiver<Judged>,
    thread: Option<JoinHandle<()>>,
    /// `None` while a chunk is under way.
    validator: Option<Box<Validator>>,
    /// The buffer of the chunk before.
    spare: MessageBatch,
    lake_schema: SchemaRef,
    quarantine_schema: SchemaRef,
    remembers: bool,
}

impl Validating {
    pub fn spawn(validator: Validator) -> Result<Self> {
        let (chunks, inbox) = sync_channel::<Chunk>(1);
        let (outbox, judged) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("foodstream-rule".to_owned())
            .spawn(move || {
                while let Ok(mut chunk) = inbox.recv() {
                    let result = chunk.validator.validate(&chunk.messages);
                    if outbox.send(Judged { chunk, result }).is_err() {
                        return;
                    }
                }
            })
            .map_err(|error| Error::bug("no thread for the validation").because(error))?;
        Ok(Validating {
            chunks: Some(chunks),
            judged,
            thread: Some(thread),
            spare: MessageBatch::default(),
            lake_schema: validator.lake_schema(),
            quarantine_schema: validator.quarantine_schema(),
            remembers: validator.unique_column().is_some(),
            validator: Some(Box::new(validator)),
        })
    }

    pub fn lake_schema(&self) -> SchemaRef {
        self.lake_schema.clone()
    }

    pub fn quarantine_schema(&self) -> SchemaRef {
        self.quarantine_schema.clone()
    }

    /// Accepted values are remembered.
    pub fn remembers(&self) -> bool {
        self.remembers
    }

    /// Hands the messages over and leaves an empty buffer in their place. The chunk before must have been taken.
    pub fn submit(&mut self, messages: &mut MessageBatch) -> Result<()> {
        let validator = self.validator.take().ok_or_else(|| Error::bug("two chunks are validated at once"))?;
        self.spare.clear();
        let messages = std::mem::replace(messages, std::mem::take(&mut self.spare));
        let chunks = self.chunks.as_ref().ok_or_else(gone)?;
        chunks.send(Chunk { validator, messages }).map_err(|_| gone())
    }

    /// Waits for the chunk under way; `None` if there is none.
    pub fn take(&mut self) -> Result<Option<Validated>> {
        if self.validator.is_some() {
            return Ok(None);
        }
        let Judged { chunk, result } = self.judged.recv().map_err(|_| gone())?;
        self.validator = Some(chunk.validator);
        self.spare = chunk.messages;
        result.map(Some)
    }

    /// Between two chunks: what was under way must have been taken.
    pub fn validator(&mut self) -> Result<&mut Validator> {
        self.validator.as_deref_mut().ok_or_else(|| Error::bug("the validator is at work"))
    }
}

impl Drop for Validating {
    fn drop(&mut self) {
        self.chunks = None;
        if let Some(thread) = self.thread.take() {
            // A panic over there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn gone() -> Error {
    Error::bug("the validation's thread ended early")
}
