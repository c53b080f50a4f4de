//! The producer: many rows a call, one commit for all, events served on a thread of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::native::{Failure, Handle, Produced, Record, Role, Topic, TransactionError};
use super::{config, error};
use crate::broker::{Outcome, TransactionalProducer, Uncommitted};
use crate::config::Kafka;
use crate::error::{Error, Kind, Result};
use crate::failpoints::{self, reach};
use crate::model::{ChangeBatch, Operation};

use super::context::Context;

/// How long `send` waits for room before it calls the broker absent. Several times what a busy broker takes
/// for a full queue of 32 MB, and the pauses a quota imposes: an early end would only send all rows again.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// The same once the owner wants to stop: half of the two seconds of a clean stop. A broker that is there has
/// acknowledged something by then.
const ROOM_TIMEOUT_AT_STOP: Duration = Duration::from_secs(1);

/// Rows that are told apart by partition at a time: few enough to lie in the cache while each partition takes its own.
const SPREAD_ROWS: usize = 1_024;

/// One wait for room. Short, as the queue must not run empty meanwhile.
const ROOM_WAIT: Duration = Duration::from_millis(5);

/// How long an abort lets records go out first. The coordinator knows of a transaction once its first partition is
/// registered, a matter of milliseconds; an abort ahead of that is refused, and librdkafka calls the refusal fatal
/// (confluentinc/librdkafka#4849).
const SETTLE_BEFORE_ABORT: Duration = Duration::from_millis(500);

/// A blocking initialisation is cut into pieces, so that refused credentials end it at once. They grow from the first
/// to the last length. librdkafka asks for the coordinator through the connection of the bootstrap address, often drops
/// that with the answer outstanding, as it then knows the brokers by name, and asks again after half a second; likewise
/// while an earlier transaction is being ended. Each call makes it ask at once, unless an answer is on its way.
const INIT_SLICE_FIRST: Duration = Duration::from_millis(20);
const INIT_SLICE_LAST: Duration = Duration::from_millis(500);

/// How long a topic's number of partitions is believed: as long as librdkafka believes its own metadata
/// (`topic.metadata.refresh.interval.ms`). Without an answer in this time the library spreads the rows itself.
const PARTITIONS_KNOWN: Duration = Duration::from_secs(30);
const PARTITIONS_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest the event thread sleeps; it is woken for its end.
const SERVE_WAIT: Duration = Duration::from_secs(1);

/// A producer over librdkafka.
///
/// `transactional` keeps the contract of `TransactionalProducer`. `idempotent` keeps its shape only: records are
/// visible as soon as they are delivered, `commit` waits for that, `abort` drops what has not been sent, and no
/// producer is ever fenced.
pub struct KafkaProducer {
    topics: HashMap<String, Target>,
    serving: Option<Serving>,
    handle: Arc<Handle>,
    transactional: bool,
    /// Keys choose their partitions by murmur2, as `Topic::partition_of` does.
    by_murmur2: bool,
    queued: u64,
    /// Whether the owner wants to stop.
    stopping: Box<dyn Fn() -> bool + Send>,
}

struct Target {
    topic: Topic,
    /// How many there are, and when that was asked; `None` where nobody answered.
    partitions: Option<(Option<i32>, Instant)>,
}

impl KafkaProducer {
    pub fn transactional(kafka: &Kafka, transactional_id: &str) -> Result<Self> {
        Self::open(kafka, &config::transactional_producer(kafka, transactional_id), true)
    }

    pub fn idempotent(kafka: &Kafka) -> Result<Self> {
        Self::open(kafka, &config::producer(kafka), false)
    }

    fn open(kafka: &Kafka, config: &rdkafka::ClientConfig, transactional: bool) -> Result<Self> {
        let handle = Handle::new(config, Role::Producer, Context::new(&kafka.brokers))
            .map_err(|error| error::wrapper_failed(&kafka.brokers, "opening a producer", &error))?;
        let handle = Arc::new(handle);
        let serving = Serving::start(&handle)?;
        Ok(KafkaProducer {
            topics: HashMap::new(),
            serving: Some(serving),
            handle,
            transactional,
            by_murmur2: config.get("partitioner") == Some(config::PARTITIONER),
            queued: 0,
            stopping: Box::new(|| false),
        })
    }

    /// While `stopping` says so, `init` and `send` give up on a broker that does not answer after about a second.
    /// A commit waits on: it may still succeed, where the others can only be begun again.
    pub fn impatient_when(mut self, stopping: impl Fn() -> bool + Send + 'static) -> Self {
        self.stopping = Box::new(stopping);
        self
    }

    /// Records that the broker refused or did not take in time, of all so far.
    pub fn failed_deliveries(&self) -> u64 {
        self.handle.context().failed_deliveries()
    }

    /// Records that `send` has put into the queue, of all so far.
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Queued records of which neither delivery nor failure is known yet.
    pub fn undelivered(&self) -> u64 {
        self.handle.undelivered()
    }

    fn failed(&self, doing: &str, failure: &Failure) -> Error {
        // A fatal error names the cause; what follows it only says that there was one.
        match self.handle.fatal() {
            Some(cause) => error::failed(self.handle.context(), doing, &cause),
            None => error::failed(self.handle.context(), doing, failure),
        }
    }

    fn topic(&mut self, name: &str) -> Result<()> {
        if !self.topics.contains_key(name) {
            let topic =
                self.handle.topic(name).map_err(|failure| self.failed(&format!("opening topic `{name}`"), &failure))?;
            self.topics.insert(name.to_owned(), Target { topic, partitions: None });
        }
        Ok(())
    }

    /// How many partitions the topic has; `None` where librdkafka has to spread the rows.
    fn partitions(&mut self, name: &str) -> Option<i32> {
        let target = self.topics.get_mut(name).filter(|_| self.by_murmur2)?;
        match target.partitions {
            Some((count, asked)) if asked.elapsed() < PARTITIONS_KNOWN => count,
            _ => {
                let answer = self.handle.client().fetch_metadata(Some(name), PARTITIONS_TIMEOUT);
                let count = answer.ok().and_then(|found| Some(found.topics().first()?.partitions().len()));
                let count = count.and_then(|count| i32::try_from(count).ok()).filter(|&count| count > 0);
                target.partitions = Some((count, Instant::now()));
                count
            }
        }
    }

    /// Queues rows by partition, a window after the other. librdkafka would choose each row's partition for itself
    /// and take locks and references for it; so it takes them once a call.
    fn send_spread(&mut self, topic: &str, rows: &ChangeBatch, partitions: i32) -> Result<()> {
        let mut members = vec![Vec::new(); partitions as usize];
        let mut begin = 0;
        while begin < rows.len() {
            let end = rows.len().min(begin + SPREAD_ROWS);
            for at in begin..end {
                let (_, key, _) = rows.get(at);
                members[Topic::partition_of(key, partitions) as usize].push(at);
            }
            for (partition, members) in (0..).zip(&mut members) {
                let theirs: &[usize] = members;
                let records_from = |from: usize| theirs[from..].iter().map(move |&at| record_of(rows.get(at)));
                self.send_all(topic, Some(partition), records_from)?;
                members.clear();
            }
            begin = end;
        }
        Ok(())
    }

    /// Queues all records, waiting for room where needed.
    fn send_all<'a, I: Iterator<Item = Record<'a>>>(
        &mut self,
        topic: &str,
        partition: Option<i32>,
        records_from: impl Fn(usize) -> I,
    ) -> Result<()> {
        self.topic(topic)?;
        let target = &self.topics[topic].topic;
        let doing = || format!("sending to topic `{topic}`");
        let mut done = 0;
        let mut waiting_since: Option<Instant> = None;
        let sent = loop {
            match self.handle.produce(target, partition, records_from(done)) {
                Produced::All(count) => {
                    done += count;
                    break Ok(());
                }
                Produced::Partly(0) => {
                    let waited = waiting_since.get_or_insert_with(Instant::now).elapsed();
                    if waited > ROOM_TIMEOUT || (waited > ROOM_TIMEOUT_AT_STOP && (self.stopping)()) {
                        let text = format!("no record of a full queue was acknowledged for {} s", waited.as_secs());
                        break Err(self.failed(&doing(), &Failure { code: Code::MessageTimedOut, text }));
                    }
                    self.handle.flush(ROOM_WAIT);
                }
                Produced::Partly(count) => {
                    done += count;
                    waiting_since = None;
                    self.handle.flush(ROOM_WAIT);
                }
                Produced::Refused(count, failure) => {
                    done += count;
                    break Err(self.refused_record(&doing(), &failure, records_from(done).next()));
                }
            }
        };
        self.queued += done as u64;
        sent
    }

    fn refused_record(&self, doing: &str, failure: &Failure, record: Option<Record<'_>>) -> Error {
        if failure.code == Code::State {
            // A transaction that failed in the background takes no more records: the caller starts anew.
            let cause = self.handle.context().take_delivery_failure();
            let text = cause.map_or_else(|| failure.text.clone(), |cause| cause.text);
            return self.failed(doing, &Failure { code: Code::MessageTimedOut, text });
        }
        match record {
            Some(record) if failure.code == Code::MessageSizeTooLarge => {
                let key = String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned();
                let size = record.value.map_or(0, <[u8]>::len);
                let text = format!("the row with key `{key}` makes a message of {size} bytes");
                self.failed(doing, &Failure { code: failure.code, text })
            }
            _ => self.failed(doing, failure),
        }
    }

    /// The state after a failed transactional call. Only what never reached the coordinator is abortable.
    fn uncommitted(&self, doing: &str, error: &TransactionError) -> Uncommitted {
        let cause = self.handle.fatal().unwrap_or_else(|| error.failure.clone());
        let outcome = if error::is_fenced(cause.code) { Outcome::Fenced } else { Outcome::Unclear };
        let mapped = error::failed(self.handle.context(), doing, &cause);
        let mapped = if error.retriable && !error.fatal { mapped.retriable() } else { mapped };
        Uncommitted { outcome, error: mapped }
    }

    /// Waits for all deliveries. Nothing was said to the coordinator yet, so a failure here is no unclear outcome.
    fn flush(&self, timeout: Duration) -> Result<(), Uncommitted> {
        let flushed = self.handle.flush(timeout);
        let doing = "delivering the records of a transaction";
        let failure = match self.handle.context().take_delivery_failure() {
            Some(failure) => failure,
            None if flushed => return Ok(()),
            None => Failure { code: Code::OperationTimedOut, text: "not all records were acknowledged".to_owned() },
        };
        let error = self.failed(doing, &failure);
        let outcome = if error.kind() == Kind::Fenced { Outcome::Fenced } else { Outcome::Abortable };
        Err(Uncommitted { outcome, error })
    }
}

impl TransactionalProducer for KafkaProducer {
    fn init(&mut self, timeout: Duration) -> Result<()> {
        if !self.transactional {
            return Ok(());
        }
        let begun = Instant::now();
        let deadline = begun + timeout;
        let mut slice = INIT_SLICE_FIRST;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Err(error) = self.handle.init_transactions(left.min(slice)) else { return Ok(()) };
            slice = (slice * 2).min(INIT_SLICE_LAST);
            let goes_on = error.retriable && !error.fatal && error::is_passing(error.failure.code);
            // A broker that is there has answered by then.
            let gives_up = begun.elapsed() >= INIT_SLICE_LAST && (self.stopping)();
            if !goes_on || gives_up || self.handle.context().refusal().is_some() {
                return Err(self.failed("starting the transactional producer", &error.failure));
            }
            if Instant::now() >= deadline {
                return Err(self.no_coordinator(&error.failure, timeout));
            }
        }
    }

    fn begin(&mut self) -> Result<()> {
        if !self.transactional {
            return Ok(());
        }
        self.handle.begin_transaction().map_err(|error| self.failed("beginning a transaction", &error.failure))
    }

    fn send(&mut self, topic: &str, rows: &ChangeBatch) -> Result<()> {
        self.topic(topic)?;
        match self.partitions(topic) {
            Some(partitions) => self.send_spread(topic, rows, partitions),
            None => self.send_all(topic, None, |from| rows.iter().skip(from).map(record_of)),
        }
    }

    fn send_one(&mut self, topic: &str, partition: i32, key: &[u8], value: &[u8]) -> Result<()> {
        let record = Record { key: Some(key), value: Some(value) };
        self.send_all(topic, Some(partition), |from| std::iter::once(record).skip(from))
    }

    fn commit(&mut self, timeout: Duration) -> Result<(), Uncommitted> {
        let deadline = Instant::now() + timeout;
        self.flush(timeout)?;
        reach(failpoints::PUBLISH_DELIVERED).map_err(|error| Uncommitted { outcome: Outcome::Unclear, error })?;
        if !self.transactional {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.handle.commit_transaction(left).map_err(|error| self.uncommitted("committing a transaction", &error))
    }

    fn abort(&mut self, timeout: Duration) -> Result<()> {
        if !self.transactional {
            self.handle.purge();
            return Ok(());
        }
        let deadline = Instant::now() + timeout;
        self.handle.flush(SETTLE_BEFORE_ABORT.min(timeout / 2));
        // Drops what waits to be sent, too.
        let aborted = self.handle.abort_transaction(deadline.saturating_duration_since(Instant::now()));
        // What failed belonged to the transaction that is gone.
        self.handle.context().take_delivery_failure();
        aborted.map_err(|error| self.failed("aborting a transaction", &error.failure))
    }
}

impl KafkaProducer {
    /// A time-out of the initialisation has two causes that look alike: no broker, or no coordinator.
    fn no_coordinator(&self, failure: &Failure, timeout: Duration) -> Error {
        let answers = self.handle.client().fetch_metadata(None, Duration::from_secs(2)).is_ok();
        if !answers {
            return self.failed("starting the transactional producer", failure);
        }
        let brokers = self.handle.context().brokers();
        Error::new(
            Kind::Broker,
            format!(
                "starting the transactional producer: kafka at `{brokers}` answers, but offered no transaction \
                 coordinator within {} s; on a cluster of fewer than three brokers set \
                 `transaction.state.log.replication.factor` and `transaction.state.log.min.isr` of the broker to its \
                 number of brokers ({})",
                timeout.as_secs(),
                failure.text
            ),
        )
        .retriable()
    }
}

/// A deleted row without a body becomes Kafka's deletion marker.
fn record_of<'a>((operation, key, value): (Operation, &'a [u8], &'a [u8])) -> Record<'a> {
    let marker = operation == Operation::Delete && value.is_empty();
    Record { key: Some(key), value: (!marker).then_some(value) }
}

/// The thread that serves a producer's events: without it a failed delivery would hold up every flush, and log
/// lines would pile up.
struct Serving {
    stop: Arc<AtomicBool>,
    handle: Arc<Handle>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    fn start(handle: &Arc<Handle>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, served) = (Arc::clone(&stop), Arc::clone(handle));
        let thread = std::thread::Builder::new()
            .name("kafka-events".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    served.serve(SERVE_WAIT);
                }
            })
            .map_err(|error| Error::new(Kind::Bug, "no thread could be started for kafka's events").because(error))?;
        Ok(Serving { stop, handle: Arc::clone(handle), thread: Some(thread) })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.handle.wake();
        if let Some(thread) = self.thread.take() {
            // A panic over there has been reported by the panic hook; there is nothing to add at an end.
            drop(thread.join());
        }
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        // Nothing unsent may hold up the end: what was not committed is read again by whoever comes next.
        self.handle.purge();
        self.topics.clear();
        self.serving.take();
    }
}
