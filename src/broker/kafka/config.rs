//! librdkafka's settings for each role.
//!
//! Three layers, later ones win: our defaults, the user's (`kafka.properties`, then `kafka.producer` or
//! `kafka.consumer`), and the settings on which promises rest. The configuration already refuses a user's setting
//! that the last layer would override, so no setting is ever dropped silently.

use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::config::{Kafka, other_name};

/// Of every role.
const COMMON: [(&str, &str); 9] = [
    ("client.id", "foodstream"),
    // Where the system keeps its certificates: an OpenSSL that was compiled in would look where it was not installed.
    ("ssl.ca.location", "probe"),
    // A small record must not wait for an acknowledgement of the one before.
    ("socket.nagle.disable", "true"),
    // After a broker's return a client should be back in a second or two; the library would wait up to ten.
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    // Brokers close idle connections by themselves every ten minutes; that is no event.
    ("log.connection.close", "false"),
    // Pushing client metrics to the broker delays the end of each client.
    ("enable.metrics.push", "false"),
    // Partitions added to the topic are read from their start: find them within half a minute, not five.
    ("topic.metadata.refresh.interval.ms", "30000"),
    // Nobody reads them.
    ("statistics.interval.ms", "0"),
];

/// Both sides create topics with stated settings; one that appears by itself would have the broker's.
const COMMON_FIXED: [(&str, &str); 1] = [("allow.auto.create.topics", "false")];

/// Java's default, so that other producers of the topic agree on a key's partition.
pub(super) const PARTITIONER: &str = "murmur2_random";

const PRODUCER: [(&str, &str); 8] = [
    ("compression.codec", "lz4"),
    // What may wait unsent, with librdkafka's own 250 bytes a message below 40 MB. More messages fill no request better,
    // and only a long run would come to their end, and then take more memory than a short one.
    ("queue.buffering.max.messages", "32000"),
    ("queue.buffering.max.kbytes", "32768"),
    ("partitioner", PARTITIONER),
    // The broker's own default limit, so that what the broker takes is not refused here.
    ("message.max.bytes", "1048588"),
    // Within the transaction's time-out, so that a message fails before its transaction does.
    ("message.timeout.ms", "50000"),
    // The first retry at once: a partition is often just between two transactions. Grows to a second.
    ("retry.backoff.ms", "5"),
    ("retry.backoff.max.ms", "1000"),
];

/// Batches fill up while the one before travels.
const LINGER_MS: &str = "5";
/// A commit flushes at once whatever this says, and fuller batches spare client and broker a tenth of their work.
const LINGER_IN_TRANSACTION_MS: &str = "50";

const PRODUCER_FIXED: [(&str, &str); 3] =
    [("enable.idempotence", "true"), ("acks", "all"), ("delivery.report.only.error", "true")];

/// How long the broker keeps a transaction open without hearing of it; then it aborts it.
pub(super) const TRANSACTION_TIMEOUT_MS: &str = "60000";

const CONSUMER: [(&str, &str); 8] = [
    // Behind a transaction's last row lies its marker, which shows only in a fetch that brings nothing: until then a
    // bounded run cannot end. Rows are delivered at once whatever this says.
    ("fetch.wait.max.ms", "100"),
    // The library sleeps a second when its queue is full; that alone costs a factor of four.
    ("fetch.queue.backoff.ms", "2"),
    // Small queues and fetches read as fast as large ones, and a long backlog then takes no more memory than a short one.
    // A message larger than a fetch comes all the same: the broker always gives out the first batch.
    ("queued.min.messages", "10000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.max.bytes", "16777216"),
    ("max.partition.fetch.bytes", "262144"),
    // A killed worker frees its partitions in six seconds, not 45. The commit log is the fence, so a worker that
    // only paused loses time, not rows. Six seconds is also the least a broker takes by default.
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "1500"),
];

/// Of reads between two known offsets: the wait for new messages would be most of their time.
const READER_FETCH_WAIT_MS: &str = "10";

const CONSUMER_FIXED: [(&str, &str); 8] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("check.crcs", "true"),
    ("enable.partition.eof", "true"),
    // All partitions are taken back before any is given out, so that an owner holds one kind of event.
    ("partition.assignment.strategy", "range"),
    ("group.protocol", "classic"),
];

pub fn producer(kafka: &Kafka) -> ClientConfig {
    producer_with(kafka, LINGER_MS)
}

fn producer_with(kafka: &Kafka, linger_ms: &str) -> ClientConfig {
    let defaults = [PRODUCER.as_slice(), &[("linger.ms", linger_ms)]].concat();
    let mut config = layered(kafka, &defaults, kafka.producer_properties.iter());
    set_all(&mut config, &PRODUCER_FIXED);
    tell_if_asked(&mut config);
    config
}

pub fn transactional_producer(kafka: &Kafka, transactional_id: &str) -> ClientConfig {
    let mut config = producer_with(kafka, LINGER_IN_TRANSACTION_MS);
    config.set("transactional.id", transactional_id);
    config.set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS);
    config
}

/// Of one message whose delivery is told, or given up after so long.
pub fn check_producer(kafka: &Kafka, timeout: Duration) -> ClientConfig {
    let mut config = producer(kafka);
    set(&mut config, "delivery.report.only.error", "false");
    set(&mut config, "message.timeout.ms", &timeout.as_millis().to_string());
    config
}

pub fn group_consumer(kafka: &Kafka) -> ClientConfig {
    let mut config = consumer(kafka);
    config.set("group.id", &kafka.consumer_group);
    tell_if_asked(&mut config);
    config
}

/// Who asks for librdkafka's own lines with `debug` gets those of the clients whose queues are served again and again:
/// of the others they would pile up.
fn tell_if_asked(config: &mut ClientConfig) {
    if config.get("debug").is_some() {
        config.set_log_level(RDKafkaLogLevel::Debug);
    }
}

/// A consumer of no group, for reads between two known offsets.
pub fn reader(kafka: &Kafka) -> ClientConfig {
    let mut config = consumer(kafka);
    config.set("fetch.wait.max.ms", READER_FETCH_WAIT_MS);
    config
}

fn consumer(kafka: &Kafka) -> ClientConfig {
    let mut config = layered(kafka, &CONSUMER, kafka.consumer_properties.iter());
    set_all(&mut config, &CONSUMER_FIXED);
    config
}

pub fn admin(kafka: &Kafka) -> ClientConfig {
    layered(kafka, &[], std::iter::empty())
}

fn layered<'a>(
    kafka: &'a Kafka,
    defaults: &[(&str, &str)],
    own: impl Iterator<Item = (&'a String, &'a String)>,
) -> ClientConfig {
    let users: Vec<_> = kafka.properties.iter().chain(own).collect();
    let mut config = ClientConfig::new();
    // Filtering is tracing's business; the wrapper would otherwise ask the `log` crate.
    config.set_log_level(RDKafkaLogLevel::Info);
    set_all(&mut config, &COMMON);
    set_all(&mut config, defaults);
    if let Some(largest) = users.iter().rev().find(|(name, _)| *name == "message.max.bytes")
        && let Ok(bytes) = largest.1.parse::<u64>()
    {
        make_room(&mut config, bytes);
    }
    for (name, value) in users {
        set(&mut config, name, value);
    }
    set_all(&mut config, &COMMON_FIXED);
    config.set("bootstrap.servers", &kafka.brokers);
    config
}

/// Raises our defaults that would keep such a message out: a send queue that has no room for it even when it is empty,
/// and a fetch, of which the library demands that it is no smaller.
fn make_room(config: &mut ClientConfig, bytes: u64) {
    for (name, least) in [("queue.buffering.max.kbytes", bytes.div_ceil(1024)), ("fetch.max.bytes", bytes)] {
        let ours = config.get(name).and_then(|value| value.parse::<u64>().ok());
        if ours.is_some_and(|ours| ours < least) {
            set(config, name, &least.to_string());
        }
    }
}

fn set_all(config: &mut ClientConfig, settings: &[(&str, &str)]) {
    for (name, value) in settings {
        set(config, name, value);
    }
}

/// Takes the place of what was set by either name: a `ClientConfig` keeps no order, so of both either might win.
fn set(config: &mut ClientConfig, name: &str, value: &str) {
    if let Some(other) = other_name(name) {
        config.remove(other);
    }
    config.set(name, value);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn kafka() -> Kafka {
        Kafka {
            brokers: "broker.example:9092".to_owned(),
            topic: "orders".to_owned(),
            num_partitions: 3,
            replication_factor: 1,
            topic_config: BTreeMap::new(),
            consumer_group: "g".to_owned(),
            properties: BTreeMap::from([("security.protocol".to_owned(), "sasl_ssl".to_owned())]),
            producer_properties: BTreeMap::from([("linger.ms".to_owned(), "7".to_owned())]),
            consumer_properties: BTreeMap::from([("isolation.level".to_owned(), "read_uncommitted".to_owned())]),
            exactly_once: true,
        }
    }

    #[test]
    fn librdkafka_accepts_every_setting_of_every_role() {
        let kafka = Kafka { properties: BTreeMap::new(), ..kafka() };
        for config in [
            transactional_producer(&kafka, "t"),
            producer(&kafka),
            group_consumer(&kafka),
            reader(&kafka),
            admin(&kafka),
        ] {
            config.create_native_config().expect("known names and valid values");
        }
    }

    #[test]
    fn nothing_replaces_a_setting_that_a_promise_rests_on() {
        let others = |fixed: &[(&str, &str)]| -> BTreeMap<String, String> {
            fixed.iter().map(|&(name, _)| (name.to_owned(), "another".to_owned())).collect()
        };
        let mut producer_properties = others(&PRODUCER_FIXED);
        producer_properties.extend(others(&[("transactional.id", ""), ("transaction.timeout.ms", "")]));
        let kafka = Kafka {
            properties: others(&COMMON_FIXED),
            producer_properties,
            consumer_properties: others(&CONSUMER_FIXED),
            ..kafka()
        };
        let producer = transactional_producer(&kafka, "foodstream-shop");
        for (name, value) in PRODUCER_FIXED.iter().chain(&COMMON_FIXED) {
            assert_eq!(producer.get(name), Some(*value), "{name}");
        }
        assert_eq!(producer.get("transactional.id"), Some("foodstream-shop"));
        // A transaction that is left open holds readers back for so long; a message must fail before it does.
        assert_eq!(producer.get("transaction.timeout.ms"), Some("60000"));
        let milliseconds = |name| producer.get(name).unwrap().parse::<u32>().unwrap();
        assert!(milliseconds("message.timeout.ms") < milliseconds("transaction.timeout.ms"));
        for consumer in [group_consumer(&kafka), reader(&kafka)] {
            for (name, value) in CONSUMER_FIXED.iter().chain(&COMMON_FIXED) {
                assert_eq!(consumer.get(name), Some(*value), "{name}");
            }
        }
        // Named here and not only in the list, so that the list cannot lose one.
        let fixed: BTreeMap<_, _> = CONSUMER_FIXED.into_iter().collect();
        for (name, value) in
            [("auto.offset.reset", "error"), ("enable.auto.commit", "false"), ("isolation.level", "read_committed")]
        {
            assert_eq!(fixed.get(name), Some(&value), "{name}");
        }
        assert_eq!((fixed["check.crcs"], fixed["enable.partition.eof"]), ("true", "true"));
    }

    #[test]
    fn the_users_settings_win_over_our_defaults_and_promises_over_both() {
        let unset = Kafka { producer_properties: BTreeMap::new(), ..kafka() };
        assert_eq!(transactional_producer(&unset, "t").get("linger.ms"), Some("50"));
        let producer = producer(&kafka());
        assert_eq!(producer.get("linger.ms"), Some("7"));
        assert_eq!(producer.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(producer.get("enable.idempotence"), Some("true"));
        let consumer = group_consumer(&kafka());
        assert_eq!(consumer.get("isolation.level"), Some("read_committed"));
        assert_eq!(consumer.get("auto.offset.reset"), Some("error"));
        assert_eq!(consumer.get("linger.ms"), None);
    }

    #[test]
    fn librdkafka_tells_its_own_lines_only_where_they_are_asked_for() {
        let asking = || BTreeMap::from([("debug".to_owned(), "broker".to_owned())]);
        let by_all = Kafka { properties: asking(), ..kafka() };
        let by_producer = Kafka { producer_properties: asking(), ..kafka() };
        let tells = |config: ClientConfig| matches!(config.log_level, RDKafkaLogLevel::Debug);
        assert!(!tells(producer(&kafka())) && !tells(group_consumer(&kafka())));
        assert!(tells(producer(&by_all)) && tells(group_consumer(&by_all)) && !tells(admin(&by_all)));
        assert!(tells(producer(&by_producer)) && !tells(group_consumer(&by_producer)));
    }

    #[test]
    fn a_message_that_is_allowed_fits_queue_and_fetch() {
        let with = |pairs: &[(&str, &str)]| {
            let properties = pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            let kafka = Kafka { properties, ..kafka() };
            let (producer, consumer) = (transactional_producer(&kafka, "t"), group_consumer(&kafka));
            let [queue, fetch] =
                [(producer, "queue.buffering.max.kbytes"), (consumer, "fetch.max.bytes")].map(|(config, name)| {
                    config.get(name).map(|value| (value.to_owned(), config.create_native_config().is_ok())).unwrap()
                });
            (queue, fetch)
        };
        let valid = |queue: &str, fetch: &str| ((queue.to_owned(), true), (fetch.to_owned(), true));
        assert_eq!(with(&[("message.max.bytes", "16777216")]), valid("32768", "16777216"));
        assert_eq!(with(&[("message.max.bytes", "33554432")]), valid("32768", "33554432"));
        assert_eq!(with(&[("message.max.bytes", "33554433")]), valid("32769", "33554433"));
        let own = [("message.max.bytes", "33554433"), ("queue.buffering.max.kbytes", "1024")];
        assert_eq!(with(&own), valid("1024", "33554433"), "what the user wrote stays");
    }

    #[test]
    fn a_setting_replaces_ours_by_either_of_its_names() {
        let with = |name: &str, value: &str| {
            let own = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            let properties = BTreeMap::new();
            let kafka = Kafka { properties, producer_properties: own.clone(), consumer_properties: own, ..kafka() };
            [transactional_producer(&kafka, "t"), group_consumer(&kafka)]
        };
        for (one, other, value) in [
            ("compression.type", "compression.codec", "zstd"),
            ("delivery.timeout.ms", "message.timeout.ms", "40000"),
            ("linger.ms", "queue.buffering.max.ms", "9"),
            ("max.partition.fetch.bytes", "fetch.message.max.bytes", "300000"),
        ] {
            for (given, another) in [(one, other), (other, one)] {
                for config in with(given, value) {
                    assert_eq!((config.get(given), config.get(another)), (Some(value), None), "{given}");
                    let native = config.create_native_config().expect("valid for either role");
                    assert_eq!(native.get(another).expect("a known name"), value, "{another}");
                }
            }
        }
    }

    #[test]
    fn a_check_is_given_up_in_time_by_whatever_name_deliveries_have_longer() {
        for name in ["delivery.timeout.ms", "message.timeout.ms"] {
            let own = BTreeMap::from([(name.to_owned(), "40000".to_owned())]);
            let kafka = Kafka { properties: BTreeMap::new(), producer_properties: own, ..kafka() };
            let config = check_producer(&kafka, Duration::from_secs(5));
            assert_eq!((config.get("message.timeout.ms"), config.get("delivery.timeout.ms")), (Some("5000"), None));
        }
    }
}
