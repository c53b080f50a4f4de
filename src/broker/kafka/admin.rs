//! Questions to the cluster, and what tools and checks need besides.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientContext, TopicPartitionList};

use super::context::Context;
use super::error::{FLOOR, failed, is_electing, is_passing, wrapper_failed};
use super::native::{Failure, Handle, Item, NewTopic, OffsetSpec, PartitionReader, Role, SettingsOf};
use super::{config, consumer};
use crate::broker::{Bounds, Cluster, TopicDescription, TopicSpec};
use crate::config::Kafka;
use crate::error::{Error, Kind, Result};
use crate::model::{Message, PartitionOffset};

/// One question. Metadata comes in milliseconds from a healthy cluster; ten seconds outlast a change of leader.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a broker may not know a topic that others know, before the topic counts as deleted.
const TOPIC_MISSING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a created topic may take until the brokers know it.
const TOPIC_VISIBLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Entries read a call.
const ENTRIES_PER_READ: usize = 1000;

/// One wait for entries; between waits errors are looked at.
const READ_SLICE: Duration = Duration::from_millis(100);

/// A broker as the cluster lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    pub id: i32,
    pub address: String,
}

/// How far a group's published offset is behind the end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    pub partition: i32,
    /// `None` where the group has published nothing.
    pub committed: Option<i64>,
    pub end: i64,
}

impl PartitionLag {
    /// Offsets, not messages: transaction markers count.
    pub fn lag(&self) -> i64 {
        (self.end - self.committed.unwrap_or(0)).max(0)
    }
}

/// `Cluster` over librdkafka.
pub struct KafkaCluster {
    kafka: Kafka,
    pub(super) handle: Handle,
    /// Made when something is first read.
    reader: Option<Handle>,
    pub(super) timeout: Duration,
}

impl KafkaCluster {
    /// Connects in the background; the first question shows whether anybody answers.
    pub fn new(kafka: &Kafka) -> Result<Self> {
        let handle = Handle::new(&config::admin(kafka), Role::Admin, Context::new(&kafka.brokers))
            .map_err(|error| wrapper_failed(&kafka.brokers, "opening a client", &error))?;
        Ok(KafkaCluster { kafka: kafka.clone(), handle, reader: None, timeout: REQUEST_TIMEOUT })
    }

    /// How long one question may take.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(super) fn failed(&self, doing: &str, failure: &Failure) -> Error {
        failed(self.handle.context(), doing, failure)
    }

    /// The brokers of the cluster: the check that somebody answers, within `timeout`.
    pub fn brokers(&mut self, timeout: Duration) -> Result<Vec<BrokerInfo>> {
        self.brokers_unless(timeout, &|| false)
    }

    /// The same, which a stop ends between two questions.
    pub fn brokers_unless(&mut self, timeout: Duration, stopping: &dyn Fn() -> bool) -> Result<Vec<BrokerInfo>> {
        let metadata = self.metadata("connecting", timeout, stopping)?;
        let info = |broker: &rdkafka::metadata::MetadataBroker| BrokerInfo {
            id: broker.id(),
            address: format!("{}:{}", broker.host(), broker.port()),
        };
        Ok(metadata.brokers().iter().map(info).collect())
    }

    /// Names and partition counts of all topics, by name, Kafka's own internal ones left out.
    pub fn topics(&mut self) -> Result<Vec<(String, usize)>> {
        let metadata = self.metadata("listing topics", self.timeout, &|| false)?;
        let mut topics: Vec<_> = metadata
            .topics()
            .iter()
            .filter(|topic| !topic.name().starts_with("__"))
            .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
            .collect();
        topics.sort();
        Ok(topics)
    }

    /// Asks in growing steps, since refused credentials end the matter before the time is over.
    fn metadata(
        &mut self,
        doing: &str,
        timeout: Duration,
        stopping: &dyn Fn() -> bool,
    ) -> Result<rdkafka::metadata::Metadata> {
        const FIRST_STEP: Duration = Duration::from_millis(500);
        const LONGEST_STEP: Duration = Duration::from_secs(8);
        let deadline = Instant::now() + timeout;
        let mut step = FIRST_STEP;
        loop {
            if stopping() {
                return Err(Error::interrupted());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = self.handle.client().fetch_metadata(None, step.min(left));
            self.handle.serve(Duration::ZERO);
            let error = match answer {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            let over = Instant::now() >= deadline || !is_passing(code) || self.handle.context().refusal().is_some();
            if over {
                return Err(self.failed(doing, &Failure { code, text: error.to_string() }));
            }
            // A refused connection fails at once, not after the step: without a wait this would spin.
            self.handle.serve(READ_SLICE.min(deadline.saturating_duration_since(Instant::now())));
            step = step.saturating_mul(2).min(LONGEST_STEP);
        }
    }

    /// Sends one message outside any transaction and returns where it lies: for checks of a connection.
    pub fn send_check(&mut self, topic: &str, value: &[u8]) -> Result<(i32, i64)> {
        let doing = format!("sending a check message to topic `{topic}`");
        let (deliveries, delivered) = mpsc::channel();
        let context = CheckContext { context: Context::new(&self.kafka.brokers), deliveries };
        let producer: BaseProducer<CheckContext> = config::check_producer(&self.kafka, self.timeout)
            .create_with_context(context)
            .map_err(|error| wrapper_failed(&self.kafka.brokers, &doing, &error))?;
        let context = &producer.client().context().context;
        let refuse = |code: Option<Code>, text: String| {
            failed(context, &doing, &Failure { code: code.unwrap_or(Code::Unknown), text })
        };
        let record = BaseRecord::<(), [u8]>::to(topic).payload(value);
        if let Err((error, _)) = producer.send(record) {
            return Err(refuse(error.rdkafka_error_code(), error.to_string()));
        }
        let deadline = Instant::now() + self.timeout;
        while Instant::now() < deadline && context.refusal().is_none() {
            producer.poll(READ_SLICE);
            match delivered.try_recv() {
                Ok(Ok(place)) => return Ok(place),
                Ok(Err((code, text))) => return Err(refuse(Some(code), text)),
                Err(_) => {}
            }
        }
        Err(refuse(Some(Code::OperationTimedOut), "the message was not acknowledged".to_owned()))
    }

    /// What a consumer group has published for a topic, and the ends. Joins no group.
    pub fn group_lag(&mut self, group: &str, topic: &str) -> Result<Vec<PartitionLag>> {
        let doing = format!("reading the offsets of group `{group}`");
        let bounds = self.bounds(topic)?;
        let mut settings = config::reader(&self.kafka);
        settings.set("group.id", group);
        let consumer: BaseConsumer<Context> = settings
            .create_with_context(Context::new(&self.kafka.brokers))
            .map_err(|error| wrapper_failed(&self.kafka.brokers, &doing, &error))?;
        let mut list = TopicPartitionList::new();
        for bound in &bounds {
            list.add_partition(topic, bound.partition);
        }
        let committed = consumer.committed_offsets(list, self.timeout).map_err(|error| {
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            failed(consumer.client().context(), &doing, &Failure { code, text: error.to_string() })
        })?;
        let lag = |bound: &Bounds| {
            let committed = match committed.find_partition(topic, bound.partition).map(|element| element.offset()) {
                Some(Offset::Offset(offset)) => Some(offset),
                _ => None,
            };
            PartitionLag { partition: bound.partition, committed, end: bound.end }
        };
        Ok(bounds.iter().map(lag).collect())
    }

    fn wait_a_moment(&self) {
        self.handle.serve(READ_SLICE);
    }

    fn list(&self, topic: &str, partitions: i32, spec: OffsetSpec) -> Result<Vec<i64>> {
        let doing = format!("asking for the offsets of topic `{topic}`");
        let ask = || self.handle.list_offsets(topic, partitions, spec, self.timeout);
        let listed = while_electing(ask, || self.wait_a_moment()).map_err(|failure| self.failed(&doing, &failure))?;
        let complete = listed.len() == partitions as usize
            && listed.iter().enumerate().all(|(number, listed)| listed.partition == number as i32);
        if !complete {
            return Err(Error::new(Kind::Broker, format!("{doing}: the answer lacks a partition")).retriable());
        }
        Ok(listed.into_iter().map(|listed| listed.offset).collect())
    }

    fn known(&mut self, topic: &str) -> Result<TopicDescription> {
        self.describe(topic)?.ok_or_else(|| {
            let brokers = &self.kafka.brokers;
            Error::new(Kind::Broker, format!("kafka at `{brokers}` has no topic `{topic}`"))
        })
    }
}

/// Asks again for as long as a topic that was made, or whose broker came back, a moment ago has no leader that all know.
fn while_electing<T>(
    mut ask: impl FnMut() -> std::result::Result<T, Failure>,
    mut wait: impl FnMut(),
) -> std::result::Result<T, Failure> {
    let deadline = Instant::now() + TOPIC_VISIBLE_TIMEOUT;
    loop {
        match ask() {
            Err(failure) if is_electing(failure.code) && Instant::now() < deadline => wait(),
            answer => return answer,
        }
    }
}

impl Cluster for KafkaCluster {
    fn describe_known(&mut self, topic: &str) -> Result<Option<TopicDescription>> {
        let deadline = Instant::now() + TOPIC_MISSING_TIMEOUT;
        loop {
            match self.describe(topic)? {
                None if Instant::now() < deadline => self.wait_a_moment(),
                answer => return Ok(answer),
            }
        }
    }

    fn describe(&mut self, topic: &str) -> Result<Option<TopicDescription>> {
        let doing = format!("asking about topic `{topic}`");
        let found = self.handle.describe_topic(topic, self.timeout).map_err(|failure| self.failed(&doing, &failure))?;
        let Some(found) = found else { return Ok(None) };
        let Some(id) = found.id else {
            let brokers = &self.kafka.brokers;
            return Err(Error::new(
                Kind::Broker,
                format!(
                    "{doing}: kafka at `{brokers}` gives topics no ids, so a topic made anew would pass for the old; {FLOOR}"
                ),
            ));
        };
        Ok(Some(TopicDescription { name: topic.to_owned(), id, partitions: found.partitions }))
    }

    fn ensure_topic(&mut self, spec: &TopicSpec) -> Result<TopicDescription> {
        if let Some(found) = self.describe(&spec.name)? {
            return Ok(found);
        }
        let doing = format!("creating topic `{}`", spec.name);
        let topic = NewTopic {
            name: &spec.name,
            partitions: spec.partitions,
            replication_factor: spec.replication_factor,
            config: spec.config.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        };
        match self.handle.create_topic(&topic, self.timeout) {
            Ok(()) => tracing::info!(target: "foodstream::kafka", topic = spec.name, "created the topic"),
            Err(failure) if failure.code == Code::TopicAlreadyExists => {}
            Err(failure) => return Err(self.failed(&doing, &failure)),
        }
        // The controller has it; each broker hears of it a moment later.
        let deadline = Instant::now() + TOPIC_VISIBLE_TIMEOUT;
        loop {
            if let Some(found) = self.describe(&spec.name)?
                && self.list(&spec.name, found.partitions, OffsetSpec::End).is_ok()
            {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let text = "created, but not visible yet".to_owned();
                return Err(self.failed(&doing, &Failure { code: Code::OperationTimedOut, text }));
            }
            self.handle.serve(READ_SLICE);
        }
    }

    fn topic_config(&mut self, topic: &str) -> Result<BTreeMap<String, String>> {
        // Any broker is asked, and not all of them know a topic that was made a moment ago.
        let ask = || self.handle.settings(&SettingsOf::Topic(topic), self.timeout);
        let settings = while_electing(ask, || self.wait_a_moment())
            .map_err(|failure| self.failed(&format!("reading the settings of topic `{topic}`"), &failure))?;
        Ok(settings.into_iter().collect())
    }

    fn bounds(&mut self, topic: &str) -> Result<Vec<Bounds>> {
        let partitions = self.known(topic)?.partitions;
        // Ends last: an earliest offset read later could lie behind an end read before.
        let earliest = self.list(topic, partitions, OffsetSpec::Earliest)?;
        let ends = self.list(topic, partitions, OffsetSpec::End)?;
        let bounds = earliest.into_iter().zip(ends).enumerate();
        Ok(bounds.map(|(number, (earliest, end))| Bounds { partition: number as i32, earliest, end }).collect())
    }

    fn offsets_at(&mut self, topic: &str, timestamp_ms: i64) -> Result<Vec<PartitionOffset>> {
        let partitions = self.known(topic)?.partitions;
        // Ends first: a message that arrives between the two answers is then still ahead of the start.
        let ends = self.list(topic, partitions, OffsetSpec::End)?;
        let found = self.list(topic, partitions, OffsetSpec::AtTime(timestamp_ms))?;
        let starts = found.into_iter().zip(ends).enumerate();
        Ok(starts
            .map(|(number, (offset, end))| PartitionOffset {
                partition: number as i32,
                offset: if offset < 0 { end } else { offset },
            })
            .collect())
    }

    fn read_committed(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
        until: i64,
        timeout: Duration,
        each: &mut dyn FnMut(Message<'_>) -> Result<()>,
    ) -> Result<()> {
        if from >= until {
            return Ok(());
        }
        let doing = format!("reading topic `{topic}`, partition {partition}");
        let handle = match self.reader.take() {
            Some(handle) => handle,
            None => Handle::new(&config::reader(&self.kafka), Role::Consumer, Context::new(&self.kafka.brokers))
                .map_err(|error| wrapper_failed(&self.kafka.brokers, &doing, &error))?,
        };
        let outcome = read_until(&handle, &doing, topic, partition, (from, until), timeout, each);
        match outcome {
            Ok(()) => {
                self.reader = Some(handle);
                Ok(())
            }
            Err(ReadError::Ours(error)) => Err(error),
            Err(ReadError::Entry { offset, failure }) if failure.code == Code::AutoOffsetReset => {
                let bounds = self.bounds(topic).unwrap_or_default();
                Err(consumer::lost(topic, partition, offset.max(from), &bounds))
            }
            Err(ReadError::Entry { failure, .. }) => Err(failed(handle.context(), &doing, &failure)),
        }
    }
}

enum ReadError {
    Ours(Error),
    Entry { offset: i64, failure: Failure },
}

/// Reads until the position reaches the end of `range`; `timeout` is the longest wait without progress.
fn read_until(
    handle: &Handle,
    doing: &str,
    topic: &str,
    partition: i32,
    range: (i64, i64),
    timeout: Duration,
    each: &mut dyn FnMut(Message<'_>) -> Result<()>,
) -> Result<(), ReadError> {
    let (from, until) = range;
    let mut reader = PartitionReader::start(handle, topic, partition, from)
        .map_err(|failure| ReadError::Entry { offset: from, failure })?;
    let mut position = from;
    let mut deadline = Instant::now() + timeout;
    loop {
        let queue = reader.queue();
        if queue.fill(ENTRIES_PER_READ, Duration::ZERO) == 0 {
            queue.fill(1, READ_SLICE);
        }
        handle.serve(Duration::ZERO);
        let before = position;
        while let Some(item) = queue.peek() {
            match item {
                Item::Message(message) if message.offset >= until => return Ok(()),
                Item::Message(message) => {
                    if message.offset >= position {
                        position = message.offset + 1;
                        each(message).map_err(ReadError::Ours)?;
                    }
                }
                Item::EndOfPartition { offset, .. } => position = position.max(offset),
                Item::Failed { failure, .. } if is_passing(failure.code) => {}
                Item::Failed { offset, failure, .. } => return Err(ReadError::Entry { offset, failure }),
            }
            queue.skip();
        }
        if position >= until {
            return Ok(());
        }
        if position > before {
            deadline = Instant::now() + timeout;
        }
        if Instant::now() > deadline || handle.context().refusal().is_some() {
            let text = format!(
                "position {position} did not reach {until}; an open transaction may hold it back, and the broker may \
                 have forgotten one that stays for minutes: see `kafka-transactions.sh find-hanging`"
            );
            let failure = Failure { code: Code::OperationTimedOut, text };
            return Err(ReadError::Ours(failed(handle.context(), doing, &failure)));
        }
    }
}

type Delivery = std::result::Result<(i32, i64), (Code, String)>;

/// Reports the place of the one message that `send_check` sends.
struct CheckContext {
    context: Context,
    deliveries: mpsc::Sender<Delivery>,
}

impl ClientContext for CheckContext {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, line: &str) {
        self.context.log(level, facility, line);
    }

    fn error(&self, error: rdkafka::error::KafkaError, text: &str) {
        self.context.error(error, text);
    }
}

impl ProducerContext for CheckContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let report = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err((error.rdkafka_error_code().unwrap_or(Code::Unknown), error.to_string())),
        };
        // The receiver is gone once the caller gave up; then nobody wants to know.
        drop(self.deliveries.send(report));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(code: Code) -> Failure {
        Failure { code, text: String::new() }
    }

    #[test]
    fn a_broker_that_does_not_know_a_new_topic_yet_is_asked_again_and_a_refusal_is_final() {
        let mut answers =
            vec![Ok(7), Err(failing(Code::LeaderNotAvailable)), Err(failing(Code::UnknownTopicOrPartition))];
        let mut waits = 0;
        let answer = while_electing(|| answers.pop().expect("asked once too often"), || waits += 1);
        assert_eq!((answer.ok(), waits), (Some(7), 2));

        let refused = while_electing(|| Err::<(), _>(failing(Code::TopicAuthorizationFailed)), || panic!("waited"));
        assert_eq!(refused.err().map(|failure| failure.code), Some(Code::TopicAuthorizationFailed));
    }
}
