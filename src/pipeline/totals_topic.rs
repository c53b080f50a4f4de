//! The lake's totals in a compacted topic, in the order of the commit log.
//!
//! ```text
//! commit ─nudge→ thread: take the log's lock · fence who published before · read the log · one transaction · mark
//! ```
//! Guarantees: what a key's last record says is never older than what an earlier one said, with any number of
//! workers; after a kill at any point the next publisher sends whatever may be missing, whole groups, so that
//! repeating them changes nothing. One worker publishes at a time: it holds a lock beside the log, and its
//! transactional id fences a holder that only seemed to be gone. It also follows the commits of other workers.
//! Publishing never delays or fails a commit: while Kafka or the topic is away it is tried again.
//! Without transactions (`kafka.exactly_once: false`) the lock alone keeps the order, so that what a killed holder
//! had sent may arrive late. Below: `lake::TotalsFollower`, `broker`.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::monitor::Monitor;
use super::retry::Backoff;
use crate::broker::{Cluster, TopicSpec, TransactionalProducer};
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::failpoints::{self, reach};
use crate::lake::{Changes, TotalsFollower};
use crate::model::{Aggregation, Group, Measure, Period};
use crate::publish::ProducerFactory;

/// How soon commits of other workers are noticed; looking costs one failed `open`.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);
/// For the fence and for one transaction; the broker ends a transaction by itself after a minute.
const PRODUCER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a clean stop, which must be over in two seconds, waits for what is under way.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// Order holds within a partition, and totals are few: a topic made here has one.
const PARTITION: i32 = 0;
/// Kafka compacts closed segments only; small ones keep what a new reader must read small.
const SEGMENT_BYTES: &str = "1048576";

/// The topic as it is made, and as it must be.
pub fn ensure(cluster: &mut impl Cluster, topic: &str, replication_factor: i32) -> Result<()> {
    let config = [("cleanup.policy", "compact"), ("segment.bytes", SEGMENT_BYTES)];
    let config = config.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    cluster.ensure_topic(&TopicSpec { name: topic.to_owned(), partitions: 1, replication_factor, config })?;
    let settings = cluster.topic_config(topic)?;
    let policy = settings.get("cleanup.policy").map(String::as_str).unwrap_or_default();
    if policy == "compact" {
        return Ok(());
    }
    Err(Error::new(
        Kind::Broker,
        format!(
            "topic {topic} has cleanup.policy={policy}, so totals that do not change would be deleted in time; set it to \
             exactly `compact`, or name another topic with aggregate.topic"
        ),
    ))
}

/// One step at a time, on whichever thread.
pub struct Publishing<F: ProducerFactory> {
    log: TotalsFollower,
    factory: F,
    topic: String,
    /// Present while this worker publishes: then everybody before it is fenced off.
    producer: Option<F::Producer>,
}

impl<F: ProducerFactory> Publishing<F> {
    pub fn new(log: TotalsFollower, factory: F, topic: String) -> Self {
        Publishing { log, factory, topic, producer: None }
    }

    /// Publishes what is open, if it is on this worker to do so. Returns the record up to which everything is
    /// published, by whomever; `None`: not known. After an error the next step begins anew.
    pub fn step(&mut self) -> Result<Option<u64>> {
        let done = self.try_step();
        if let Err(error) = &done {
            self.producer = None;
            if error.kind() == Kind::Fenced {
                // Somebody else holds a lock as well: the file system's locks are not to be relied on here.
                self.log.release();
            }
        }
        done
    }

    fn try_step(&mut self) -> Result<Option<u64>> {
        if !self.log.claim()? {
            self.producer = None;
            return Ok(self.log.published_number());
        }
        let producer = match &mut self.producer {
            Some(producer) => producer,
            None => {
                let mut producer = self.factory.create()?;
                producer.init(PRODUCER_TIMEOUT)?;
                self.producer.insert(producer)
            }
        };
        // After the fence, so that nothing newer than this is in the topic.
        let Some(changes) = self.log.changes()? else { return Ok(self.log.published_number()) };
        if !changes.totals.is_empty() {
            send(producer, &self.topic, &changes)?;
        }
        reach(failpoints::TOTALS_SENT)?;
        self.log.published()?;
        Ok(Some(changes.number))
    }
}

fn send(producer: &mut impl TransactionalProducer, topic: &str, changes: &Changes) -> Result<()> {
    producer.begin()?;
    for (period, values, group) in changes.totals.iter() {
        let key = key(&changes.definition, period, values).to_string();
        let value = value(&changes.definition, changes.number, group).to_string();
        producer.send_one(topic, PARTITION, key.as_bytes(), value.as_bytes())?;
    }
    producer.commit(PRODUCER_TIMEOUT).map_err(|uncommitted| uncommitted.error)
}

/// `{"period":"2025-11-18","currency":"USD"}`: values as text, null for a null.
fn key(definition: &Aggregation, period: Period, values: &[Option<String>]) -> Value {
    let columns = definition.group_by.iter().zip(values).map(|(column, value)| (column.clone(), json!(value)));
    let members: Map<String, Value> =
        std::iter::once(("period".to_owned(), json!(period.to_string()))).chain(columns).collect();
    Value::Object(members)
}

/// `{"commit":7,"rows":12,"columns":{"amount":{"sum":"4200.00"}}}`: the group as it is at that commit.
fn value(definition: &Aggregation, commit: u64, group: &Group) -> Value {
    let columns: Map<String, Value> = group
        .columns
        .iter()
        .map(|(column, measure)| {
            let mut members = json!(measure);
            if definition.avg.contains(column) {
                members["avg"] = json!(Measure::average(measure));
            }
            (column.clone(), members)
        })
        .collect();
    json!({ "commit": commit, "rows": group.rows, "columns": columns })
}

/// How far publishing has come, for those who wait.
#[derive(Default)]
struct Progress {
    published: Option<u64>,
    error: Option<Error>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    progress: Mutex<Progress>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("no holder of this lock panics")
    }

    fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// Handle on the thread that publishes. Dropping it lets the thread end by itself.
pub struct TotalsTopic {
    topic: String,
    nudges: Sender<()>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl TotalsTopic {
    pub fn spawn<F: ProducerFactory + 'static>(
        publishing: Publishing<F>,
        retry: &config::Retry,
        monitor: &Monitor,
    ) -> Result<Self>
    where
        F::Producer: 'static,
    {
        let (nudges, inbox) = channel();
        let shared = Arc::<Shared>::default();
        let topic = publishing.topic.clone();
        let (told, backoff) = (shared.clone(), Backoff::new(retry, false, monitor));
        let thread = std::thread::Builder::new()
            .name("foodstream-totals".to_owned())
            .spawn(move || {
                follow(publishing, backoff, &inbox, &told);
                told.update(|progress| progress.ended = true);
            })
            .map_err(|error| Error::bug("no thread to publish totals").because(error))?;
        Ok(TotalsTopic { topic, nudges, shared, thread })
    }

    /// A commit was made.
    pub fn nudge(&self) {
        // A thread that has ended cannot be told, and `wait_for` says so.
        let _ = self.nudges.send(());
    }

    /// Waits until everything up to this record is in the topic, whoever publishes.
    ///
    /// # Errors
    /// The last failure to publish, or a retriable error, once `patience` is over. Nothing is lost then: the next
    /// worker goes on.
    pub fn wait_for(&self, number: u64, patience: Duration) -> Result<()> {
        self.nudge();
        let begun = SystemClock.instant();
        let mut progress = self.shared.lock();
        loop {
            if progress.published.is_some_and(|published| published >= number) {
                return Ok(());
            }
            let left = patience.saturating_sub(SystemClock.instant().duration_since(begun));
            if left.is_zero() || progress.ended {
                let what =
                    format!("commit {number} is in the lake, but its totals are not yet in topic {}", self.topic);
                let why = progress.error.as_ref().map_or(String::new(), |error| format!(" ({})", error.report()));
                let advice = "the next run publishes them";
                return Err(Error::new(Kind::Broker, format!("{what}{why}; {advice}")).retriable());
            }
            progress = self.shared.changed.wait_timeout(progress, left).expect("no holder of this lock panics").0;
        }
    }

    /// Ends publishing; what is missing after a moment is left to the next worker.
    pub fn close(self, number: u64) {
        if let Err(error) = self.wait_for(number, CLOSE_PATIENCE) {
            tracing::warn!(target: "foodstream::totals", "{error}");
        }
        let TotalsTopic { nudges, shared, thread, .. } = self;
        drop(nudges);
        let (ended, _) = shared
            .changed
            .wait_timeout_while(shared.lock(), CLOSE_PATIENCE, |progress| !progress.ended)
            .expect("no holder of this lock panics");
        if ended.ended {
            drop(ended);
            // A panic over there has been reported by the panic hook.
            drop(thread.join());
        }
    }
}

fn follow<F: ProducerFactory>(
    mut publishing: Publishing<F>,
    mut backoff: Backoff,
    inbox: &Receiver<()>,
    shared: &Shared,
) {
    loop {
        let pause = match publishing.step() {
            Ok(published) => {
                backoff.reset();
                shared.update(|progress| (progress.published, progress.error) = (published, None));
                FOLLOW_INTERVAL
            }
            Err(error) => {
                // The lake goes on without the topic, so there is no error after which trying again is wrong.
                let told = Error::new(error.kind(), format!("totals are not published: {}", error.report()));
                shared.update(|progress| progress.error = Some(error));
                backoff.next_pause(told.retriable()).unwrap_or(FOLLOW_INTERVAL)
            }
        };
        match inbox.recv_timeout(pause) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Several commits are published at once.
        while inbox.try_recv().is_ok() {}
    }
}

#[cfg(test)]
#[path = "totals_topic_tests.rs"]
mod tests;
