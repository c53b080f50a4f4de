//! Purchase events onto their topic: at a rate kept by the clock, or as fast as the broker takes them.
//!
//! The topic is created if it is missing. Each event is delivered at least once; what could not be delivered is
//! counted, not hidden. Below: `generate`, `broker`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::broker::kafka::{KafkaCluster, KafkaProducer};
use crate::broker::{Cluster, TopicSpec, TransactionalProducer};
use crate::clock::{Clock, SystemClock};
use crate::config::{Events, Kafka, Settings};
use crate::error::{Error, Kind, Result};
use crate::generate::purchases::{Generator, Made, Plan};
use crate::model::{ChangeBatch, Operation};

/// Events made before they are sent, at most: enough to spread the cost of a call, and some 5 MB.
const CHUNK: u64 = 10_000;
/// Longest pause between two looks at clock and stop: a second event a millisecond late is no burst.
const MAX_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for the last deliveries; the time after which librdkafka itself gives a message up.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for events whose producer was let go without a flush.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// The same once the caller wants to stop, or the broker has proved to be away: a stop takes less than two seconds.
const SHORT_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// One wait for deliveries, after which a stop is looked for.
const FLUSH_SLICE: Duration = Duration::from_millis(50);

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Produced {
    /// All together.
    pub events: u64,
    pub valid: u64,
    /// By the name of the flaw.
    pub invalid: BTreeMap<&'static str, u64>,
    pub duplicates: u64,
    /// Events of which nobody knows that they reached the topic.
    pub delivery_errors: u64,
    pub seconds: f64,
}

/// What may end a run besides its number of events.
pub struct Pace<'p> {
    pub timeout: Option<Duration>,
    /// Waits so long, or less; true once the run is to end.
    pub wait: &'p mut dyn FnMut(Duration) -> bool,
    /// Told what was sent so far after each chunk.
    pub progress: &'p mut dyn FnMut(&Produced),
}

/// A generator that outlasts the connections its events go through.
pub type SharedGenerator = Arc<Mutex<Generator>>;

/// Whether the caller wants to stop.
pub type Stopping = Arc<dyn Fn() -> bool + Send + Sync>;

/// Where a stream that is let go leaves word of published events it could not deliver.
pub type Lost = Arc<Mutex<Option<Error>>>;

/// An open producer of events, for one run or for one event at a time.
pub struct EventStream {
    generator: SharedGenerator,
    producer: KafkaProducer,
    stopping: Stopping,
    lost: Lost,
    topic: String,
    batch: ChangeBatch,
    /// `publish` was called since the last flush.
    unflushed: bool,
    /// Failed deliveries that the caller was told of.
    failures_told: u64,
}

impl EventStream {
    /// Connects and creates a missing topic. Blocks up to `retry.start_timeout_sec`, or until a stop.
    pub fn open(settings: &Settings, generator: SharedGenerator, stopping: Stopping, lost: Lost) -> Result<Self> {
        let kafka = kafka_of(settings)?;
        let mut cluster = KafkaCluster::new(settings.require_kafka()?)?;
        cluster.brokers_unless(settings.retry.start_timeout, &*stopping)?;
        cluster.ensure_topic(&TopicSpec {
            name: kafka.topic.clone(),
            partitions: kafka.num_partitions,
            replication_factor: kafka.replication_factor,
            config: kafka.topic_config.clone(),
        })?;
        let asked = stopping.clone();
        let producer = KafkaProducer::idempotent(&kafka)?.impatient_when(move || asked());
        let (topic, batch) = (kafka.topic, ChangeBatch::default());
        Ok(EventStream { generator, producer, stopping, lost, topic, batch, unflushed: false, failures_told: 0 })
    }

    /// Puts one message made elsewhere among those to send.
    pub fn publish(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.clear();
        let pushed = self.batch.push_with(Operation::Insert, |bytes| {
            bytes.extend_from_slice(key);
            let key_end = bytes.len();
            bytes.extend_from_slice(value);
            Ok::<_, crate::error::Error>(key_end)
        });
        self.unflushed = true;
        pushed.and_then(|()| self.producer.send(&self.topic, &self.batch))
    }

    /// Waits until everything sent is delivered, after a stop for a moment only. What is not by then is given up.
    pub fn flush(&mut self) -> Result<()> {
        self.flush_within(FLUSH_TIMEOUT)
    }

    fn flush_within(&mut self, limit: Duration) -> Result<()> {
        let delivered = self.deliver(limit);
        let lost = self.give_up();
        delivered.map_err(|error| error.after(format_args!("{lost} events are not known to be in the topic")))
    }

    /// Waits for deliveries until none is open or the time is over, which a stop makes short. An error as well for what
    /// failed before and the caller was not told of.
    fn deliver(&mut self, limit: Duration) -> Result<()> {
        let begun = SystemClock.instant();
        let (mut stopped_at, mut failure) = (None, None);
        loop {
            let Err(failed) = self.producer.commit(FLUSH_SLICE) else { return failure.map_or(Ok(()), Err) };
            let now = SystemClock.instant();
            if stopped_at.is_none() && (self.stopping)() {
                stopped_at = Some(now);
            }
            let over = now.duration_since(begun) >= limit
                || stopped_at.is_some_and(|at| now.duration_since(at) >= SHORT_FLUSH_TIMEOUT);
            if over || failed.error.kind() == Kind::Fenced {
                return Err(failure.unwrap_or(failed.error));
            }
            if self.producer.failed_deliveries() > self.failures_told {
                failure.get_or_insert(failed.error);
            }
        }
    }

    /// Drops what is still to be delivered. The number of events lost since this was last asked.
    fn give_up(&mut self) -> u64 {
        self.unflushed = false;
        let failed = self.producer.failed_deliveries();
        let lost = failed - self.failures_told + self.producer.undelivered();
        self.failures_told = failed;
        // Without a transaction this only empties the queue, which cannot fail.
        let _ = self.producer.abort(Duration::ZERO);
        lost
    }

    /// Generates and sends until the number is reached, the time is over, or `pace.wait` says so. An error where the
    /// broker is away; single events that it did not take are counted.
    pub fn run(&mut self, rate: Option<f64>, max_events: Option<u64>, pace: Pace<'_>) -> Result<Produced> {
        let begun = SystemClock.instant();
        let queued_before = self.producer.queued();
        let mut done = Produced::default();
        let sent = self.send_events(rate, max_events, pace, &mut done);
        let delivered = self.deliver(match &sent {
            Ok(()) => FLUSH_TIMEOUT,
            // The queue was full and stood still: what was left of a stop's time has gone by.
            Err(error) if error.is_retriable() && (self.stopping)() => FLUSH_SLICE,
            Err(_) => SHORT_FLUSH_TIMEOUT,
        });
        let is_away = sent.is_err() || self.producer.failed_deliveries() == self.failures_told;
        let queued = self.producer.queued() - queued_before;
        done.delivery_errors = done.events.saturating_sub(queued) + self.give_up();
        done.seconds = SystemClock.instant().duration_since(begun).as_secs_f64();
        let Err(error) = sent.and(delivered) else { return Ok(done) };
        let Produced { events, delivery_errors, .. } = done;
        let error = error.after(format_args!("{delivery_errors} of {events} events are not known to be in the topic"));
        if error.kind() == Kind::Fenced || is_away && !(self.stopping)() {
            return Err(error);
        }
        tracing::warn!(target: "foodstream::purchases", "{}", error.report());
        Ok(done)
    }

    fn send_events(
        &mut self,
        rate: Option<f64>,
        max_events: Option<u64>,
        pace: Pace<'_>,
        done: &mut Produced,
    ) -> Result<()> {
        let begun = SystemClock.instant();
        loop {
            let elapsed = SystemClock.instant().duration_since(begun);
            let over = pace.timeout.is_some_and(|limit| elapsed >= limit);
            if over || (pace.wait)(Duration::ZERO) || max_events.is_some_and(|limit| done.events >= limit) {
                return Ok(());
            }
            let due = due(rate, elapsed).min(max_events.unwrap_or(u64::MAX));
            let count = due.saturating_sub(done.events).min(CHUNK);
            if count == 0 {
                let next = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(done.events as f64 / rate));
                (pace.wait)(next.saturating_sub(elapsed).min(MAX_PAUSE));
                continue;
            }
            self.chunk(count, SystemClock.now(), done)?;
            (pace.progress)(done);
        }
    }

    fn chunk(&mut self, count: u64, now: DateTime<Utc>, done: &mut Produced) -> Result<()> {
        self.batch.clear();
        let at_ms = now.timestamp_millis();
        let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..count {
            match generator.next_into(at_ms, &mut self.batch) {
                Made::Valid => done.valid += 1,
                Made::Duplicate => done.duplicates += 1,
                Made::Invalid(flaw) => *done.invalid.entry(flaw.name()).or_default() += 1,
            }
        }
        drop(generator);
        done.events += count;
        self.producer.send(&self.topic, &self.batch)
    }
}

impl Drop for EventStream {
    /// What was published is not forgotten with the object, as far as the broker still takes it.
    fn drop(&mut self) {
        if !self.unflushed {
            return;
        }
        if let Err(error) = self.flush_within(LAST_FLUSH_TIMEOUT) {
            tracing::warn!(target: "foodstream::purchases", "{}", error.report());
            *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }
}

/// The configured Kafka, the generator's own settings above those of all producers.
fn kafka_of(settings: &Settings) -> Result<Kafka> {
    let mut kafka = settings.require_kafka()?.clone();
    for (name, value) in &settings.events.properties {
        kafka.set_producer_property(name, value);
    }
    Ok(kafka)
}

/// The events of the configured seed, or of a seed of this moment.
pub fn generator(events: &Events) -> SharedGenerator {
    Arc::new(Mutex::new(Generator::new(Plan {
        seed: events.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0),
        invalid_share: events.invalid_share,
        duplicate_share: events.duplicate_share,
    })))
}

/// An event to look at, key and value, that goes to no topic.
pub fn next_event(generator: &SharedGenerator) -> (Vec<u8>, Vec<u8>) {
    let mut batch = ChangeBatch::default();
    let now = SystemClock.now().timestamp_millis();
    generator.lock().unwrap_or_else(PoisonError::into_inner).preview_into(now, &mut batch);
    batch.last().map(|(_, key, value)| (key.to_vec(), value.to_vec())).unwrap_or_default()
}

/// Events that should have been sent by now: the clock decides, so that a slow chunk is made up for by the next.
fn due(rate: Option<f64>, elapsed: Duration) -> u64 {
    rate.map_or(u64::MAX, |rate| (elapsed.as_secs_f64() * rate) as u64 + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Overrides;

    #[test]
    fn the_generators_settings_replace_a_producers_by_either_name() {
        for name in ["linger.ms", "queue.buffering.max.ms"] {
            let yaml = format!(
                "preset: purchases\nkafka:\n  brokers: localhost:9092\n  topic: t\n  producer: {{{name}: 9}}\n\
                 producer: {{linger_ms: 7}}\n"
            );
            let settings = Settings::from_yaml(&yaml, None, &Overrides::default()).unwrap();
            let kafka = kafka_of(&settings).unwrap();
            assert_eq!(kafka.producer_properties, BTreeMap::from([("linger.ms".to_owned(), "7".to_owned())]));
        }
    }

    #[test]
    fn the_clock_says_how_many_events_are_due() {
        assert_eq!(due(Some(1_000.0), Duration::ZERO), 1, "the first at once");
        assert_eq!(due(Some(1_000.0), Duration::from_secs(60)), 60_001);
        assert_eq!(due(Some(0.5), Duration::from_millis(1_999)), 1);
        assert_eq!(due(None, Duration::ZERO), u64::MAX);
    }
}
