//! Publish: rows into transactions, each with the position after it.
//!
//! A `Publisher` owns one transactional producer and the pipeline's cursor topic. What it has committed is exactly
//! what the cursor record says; after anything unclear it drops the producer, makes a new one (which fences the old),
//! and reads the record back (protocols K1 to K6). All calls block: it lives on a thread of its own.
//! Below: `broker`'s traits. Above: `pipeline::replicate`.

pub mod cursor;
mod plan;
mod start;
pub mod state_file;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::broker::{Cluster, Outcome, TopicSpec, TransactionalProducer, Uncommitted};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Kind, Result};
use crate::failpoints::{self, reach};
use crate::model::position::format_timestamp_us;
use crate::model::{ChangeBatch, Cursor};

pub use cursor::CursorRecord;
pub use plan::{Found, plan};
pub use start::{Start, StartOrigin, check_cursor_topic};

/// So many fences within this time are another living producer, not echoes of our own (K5). One fence cannot say it: a
/// single start of another producer asks the broker again and again, and fences with each question.
const FENCE_WINDOW: Duration = Duration::from_secs(60);
const MAX_FENCES: usize = 5;
/// Without a cursor record nothing tells whose rows came last.
const MAX_FENCES_WITHOUT_CURSOR: usize = 2;
/// A transaction that cannot be taken back soon is left to the broker's own time-out.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes producers: after an unclear outcome a new one is needed.
pub trait ProducerFactory: Send {
    type Producer: TransactionalProducer;
    fn create(&mut self) -> Result<Self::Producer>;
}

#[derive(Clone, Debug)]
pub struct PublisherOptions {
    pub pipeline_id: String,
    pub topic: TopicSpec,
    pub cursor_topic: String,
    pub state_file: Option<PathBuf>,
    /// `cdc.timezone`, the clock of the timestamp column.
    pub zone: String,
    pub default_start: Cursor,
    pub start_from: Option<Cursor>,
    /// Accept a position that the topic, the state file or the database contradicts.
    pub adopt: bool,
    pub system_identifier: Option<String>,
    pub timeline: Option<u32>,
    pub timeout: Duration,
    /// False: no transactions and no cursor topic; the state file alone holds the position, at least once.
    pub exactly_once: bool,
    pub timestamp_column: String,
    pub key_column: String,
}

/// A committed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    pub cursor: Cursor,
    pub rows: u64,
    pub rows_published: u64,
    /// From the call until the broker's answer: what was still on its way, the position, the end of the transaction.
    pub commit_time: Duration,
}

#[derive(Clone, Copy, Debug)]
struct OpenTransaction {
    rows: u64,
    end: Cursor,
}

/// Publishes rows and position together.
pub struct Publisher<F: ProducerFactory, C> {
    factory: F,
    cluster: C,
    /// `None` after a failure, until `recover`.
    producer: Option<F::Producer>,
    options: PublisherOptions,
    record: CursorRecord,
    open: Option<OpenTransaction>,
    /// The cursor record as it was last read or written: what a fence is judged by.
    known: Option<CursorRecord>,
    /// Those of the last [`FENCE_WINDOW`].
    fences: Vec<Instant>,
    /// The last one has not been recovered from.
    is_fenced: bool,
}

impl<F: ProducerFactory, C: Cluster> Publisher<F, C> {
    /// Makes the topics, fences earlier producers of this pipeline, and finds the position to go on from.
    ///
    /// # Errors
    /// `Broker`, retriable, while Kafka is away or an earlier transaction is still open; `DataLoss` where the
    /// position contradicts the topic, the state file or the database, naming what accepts it.
    pub fn open(factory: F, mut cluster: C, options: PublisherOptions) -> Result<(Self, Start)> {
        let topic = match cluster.describe(&options.topic.name)? {
            Some(topic) => topic,
            None => {
                // A topic that rows were published to is not made again without a word. This looks before the fence, so
                // what it lets pass is judged once more behind it, where the topic's id is compared (`begin_anew`).
                plan(&mut cluster, &options)?;
                cluster.ensure_topic(&options.topic)?
            }
        };
        if topic.partitions != options.topic.partitions {
            tracing::warn!(
                target: "foodstream::producer",
                "topic {} has {} partitions, kafka.num_partitions says {}; running with what is there",
                topic.name, topic.partitions, options.topic.partitions
            );
        }
        if options.exactly_once {
            cluster.ensure_topic(&start::cursor_topic(&options))?;
            start::check_cursor_topic(&mut cluster, &options.cursor_topic)?;
        } else if options.state_file.is_none() {
            return Err(Error::config(
                "kafka.exactly_once: false keeps its position in the state file alone; name one with \
                 streaming.last_processed_timestamp_location",
            ));
        }
        let record = blank_record(&options);
        let mut publisher = Publisher {
            factory,
            cluster,
            producer: None,
            options,
            record,
            open: None,
            known: None,
            fences: Vec::new(),
            is_fenced: false,
        };
        let start = publisher.begin_anew()?;
        // For this start alone.
        publisher.options.start_from = None;
        publisher.options.adopt = false;
        tracing::info!(target: "foodstream::producer", "{}", start::describe(&start));
        Ok((publisher, start))
    }

    /// Puts rows into the open transaction, beginning one where none is open.
    ///
    /// After an error the transaction is gone: call [`Publisher::recover`].
    pub fn append(&mut self, rows: &ChangeBatch) -> Result<()> {
        self.try_append(rows).inspect_err(|error| self.note_failure(error.kind() == Kind::Fenced))
    }

    fn try_append(&mut self, rows: &ChangeBatch) -> Result<()> {
        let Some(end) = rows.end else { return Ok(()) };
        let producer = self.producer.as_mut().ok_or_else(dead)?;
        if self.open.is_none() {
            producer.begin()?;
            self.open = Some(OpenTransaction { rows: 0, end });
        }
        producer.send(&self.options.topic.name, rows)?;
        reach(failpoints::PUBLISH_ROWS_QUEUED)?;
        if let Some(open) = &mut self.open {
            open.rows += rows.len() as u64;
            open.end = end;
        }
        Ok(())
    }

    /// Commits the open transaction with the cursor after its last row, then writes the state file.
    ///
    /// After an error nothing is known to be committed: call [`Publisher::recover`].
    pub fn commit(&mut self, horizon_us: i64, snapshot_xmin: u64) -> Result<CommitInfo> {
        let open = self.open.take().ok_or_else(|| Error::bug("a commit without an open transaction"))?;
        reach(failpoints::PUBLISH_ENDING).inspect_err(|_| self.note_failure(false))?;
        let mut record = self.record.clone();
        record.set_position(open.end);
        record.horizon = Some(format_timestamp_us(horizon_us));
        record.snapshot_xmin = Some(snapshot_xmin);
        record.rows_published += open.rows;
        let begun = SystemClock.instant();
        self.commit_record(record)?;
        let commit_time = SystemClock.instant().duration_since(begun);
        self.write_state_file(open.end)?;
        Ok(CommitInfo { cursor: open.end, rows: open.rows, rows_published: self.record.rows_published, commit_time })
    }

    /// After a failure: a new producer instance, which fences the old one and ends what it left open, and the
    /// position read back. After a fence another writer's record is `Kind::Fenced`, and so are many fences within a
    /// minute (K5): of two producers the one whose record is the last goes on.
    /// After a fence the caller waits a random moment first, so that two producers do not fence in step.
    pub fn recover(&mut self) -> Result<Start> {
        self.producer = None;
        self.open = None;
        let most = if self.options.exactly_once { MAX_FENCES } else { MAX_FENCES_WITHOUT_CURSOR };
        if self.is_fenced && self.fences.len() >= most {
            return Err(self.fenced_too_often());
        }
        if self.is_fenced && self.options.exactly_once {
            // Asked before taking the id back as well, so that a living producer is not disturbed needlessly.
            let last = start::read_back(&mut self.cluster, &self.options, self.options.timeout)?;
            self.check_echo(last.as_ref())?;
        }
        let start = self.begin_anew()?;
        self.is_fenced = false;
        Ok(start)
    }

    /// Takes the open transaction back, as far as the broker can be asked.
    pub fn abort(&mut self) {
        if self.open.take().is_none() {
            return;
        }
        if let Some(mut producer) = self.producer.take() {
            match producer.abort(ABORT_TIMEOUT) {
                Ok(()) => self.producer = Some(producer),
                Err(error) => {
                    tracing::debug!(target: "foodstream::producer", "the transaction was not taken back: {}", error.report());
                }
            }
        }
    }

    /// What is left of the producer after an error: nothing.
    fn note_failure(&mut self, fenced: bool) {
        self.producer = None;
        self.open = None;
        if fenced {
            let now = SystemClock.instant();
            self.fences.retain(|&at| now.duration_since(at) < FENCE_WINDOW);
            self.fences.push(now);
            self.is_fenced = true;
        }
    }

    /// After a fence: if the last record is ours, or the one we know, the fence was an echo of our own past (a pause,
    /// a time-out of the broker); otherwise somebody lives.
    fn check_echo(&self, last: Option<&CursorRecord>) -> Result<()> {
        let Some(last) = last else { return Ok(()) };
        if last.writer == self.record.writer || Some(last) == self.known.as_ref() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Fenced,
            format!(
                "another producer (writer {}) runs pipeline `{}` and has published up to {}; only one may: stop one \
                 of the two, or give this one a cdc.pipeline_id of its own",
                last.writer, self.options.pipeline_id, last.timestamp
            ),
        ))
    }

    fn fenced_too_often(&self) -> Error {
        Error::new(
            Kind::Fenced,
            format!(
                "fenced {} times within {} s: another producer runs pipeline `{}`; only one may: stop one of the two, \
                 or give this one a cdc.pipeline_id of its own",
                self.fences.len(),
                FENCE_WINDOW.as_secs(),
                self.options.pipeline_id
            ),
        )
    }

    /// K3: init first, so that nobody writes a cursor any more, then read it back.
    fn begin_anew(&mut self) -> Result<Start> {
        let mut producer = self.factory.create()?;
        producer.init(self.options.timeout)?;
        reach(failpoints::PUBLISH_FENCED)?;
        self.producer = Some(producer);
        let last = match self.options.exactly_once {
            true => start::read_back(&mut self.cluster, &self.options, self.options.timeout)?,
            false => None,
        };
        if self.is_fenced {
            self.check_echo(last.as_ref())?;
        }
        let topic = self.cluster.describe_known(&self.options.topic.name)?;
        let mut start = start::resolve(&mut self.cluster, &self.options, last.as_ref(), topic.as_ref())?;
        reach(failpoints::PUBLISH_POSITION_KNOWN)?;
        self.known.clone_from(&last);
        let writer = self.record.writer.clone();
        self.record = last.unwrap_or_else(|| blank_record(&self.options));
        self.record.writer = writer;
        self.record.version = cursor::VERSION;
        self.record.system_identifier.clone_from(&self.options.system_identifier);
        self.record.timeline = self.options.timeline;
        self.record.topic_id = topic.map(|topic| topic.id);
        self.record.set_position(start.cursor);
        start.rows_published = self.record.rows_published;
        let is_first = start.origin != StartOrigin::CursorTopic;
        if is_first {
            self.record.start = start.first.to_string();
            self.record.horizon = None;
        }
        // What was accepted is recorded: the next start must not find it again.
        if self.options.exactly_once && (is_first || self.options.adopt) {
            self.record.snapshot_xmin = None;
            self.commit_start()?;
        }
        // The file follows also a commit whose answer was lost, and a position that was named or accepted against it:
        // the next start would take it for a contradiction.
        if start.origin != StartOrigin::Default {
            self.mend_state_file(start.cursor)?;
        }
        Ok(start)
    }

    /// A first position is published at once: from here on the record is the truth, not the state file.
    fn commit_start(&mut self) -> Result<()> {
        let begun = self.producer.as_mut().ok_or_else(dead)?.begin();
        begun.inspect_err(|error| self.note_failure(error.kind() == Kind::Fenced))?;
        let record = self.record.clone();
        self.commit_record(record)
    }

    fn commit_record(&mut self, record: CursorRecord) -> Result<()> {
        let producer = self.producer.as_mut().ok_or_else(dead)?;
        let key = self.options.pipeline_id.as_bytes();
        let sent = match self.options.exactly_once {
            true => producer.send_one(&self.options.cursor_topic, 0, key, &record.encode()?),
            false => Ok(()),
        };
        let committed = match sent.and_then(|()| reach(failpoints::PUBLISH_CURSOR_QUEUED)) {
            Ok(()) => producer.commit(self.options.timeout),
            Err(error) => Err(Uncommitted { outcome: outcome_of(&error), error }),
        };
        match committed {
            Ok(()) => {
                self.known = Some(record.clone());
                self.record = record;
                reach(failpoints::PUBLISH_COMMITTED).inspect_err(|_| self.note_failure(false))
            }
            Err(uncommitted) => {
                self.note_failure(uncommitted.outcome == Outcome::Fenced);
                Err(uncommitted.error)
            }
        }
    }

    fn mend_state_file(&self, cursor: Cursor) -> Result<()> {
        let agrees = |path| state_file::read(path).is_ok_and(|written| written == Some(cursor));
        if self.options.state_file.as_deref().is_some_and(agrees) { Ok(()) } else { self.write_state_file(cursor) }
    }

    fn write_state_file(&self, cursor: Cursor) -> Result<()> {
        match self.options.state_file.as_deref() {
            Some(path) => state_file::write(path, cursor),
            None => Ok(()),
        }
    }
}

fn blank_record(options: &PublisherOptions) -> CursorRecord {
    CursorRecord {
        version: cursor::VERSION,
        pipeline_id: options.pipeline_id.clone(),
        timestamp: format_timestamp_us(options.default_start.timestamp_us),
        key: None,
        zone: options.zone.clone(),
        horizon: None,
        snapshot_xmin: None,
        rows_published: 0,
        start: options.default_start.to_string(),
        writer: uuid::Uuid::new_v4().to_string(),
        system_identifier: options.system_identifier.clone(),
        timeline: options.timeline,
        topic_id: None,
    }
}

fn outcome_of(error: &Error) -> Outcome {
    if error.kind() == Kind::Fenced { Outcome::Fenced } else { Outcome::Unclear }
}

fn dead() -> Error {
    Error::bug("the producer instance is gone; recover first")
}

#[cfg(test)]
mod tests;
