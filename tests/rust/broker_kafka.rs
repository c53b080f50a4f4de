//! The broker's contracts over a real Kafka (`FOODSTREAM_TEST_KAFKA`), and what only a real one can show.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

use foodstream::broker::kafka::{KafkaCluster, KafkaGroupConsumer, KafkaProducer};
use foodstream::broker::{Cluster, GroupConsumer, TransactionalProducer};
use foodstream::config::Kafka;
use foodstream::error::Kind;
use foodstream::model::{ChangeBatch, MessageBatch, Operation, PartitionOffset};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::conformance::{
    Harness, Member, PATIENCE, Seen, all_values, committed, end, joined, new_producer, numbered, publish, rows, topic,
    wait_for,
};

/// Settings for the Kafka that the tests were given; a test without one fails rather than passes unseen.
pub fn kafka(topic: &str) -> Kafka {
    let brokers = std::env::var("FOODSTREAM_TEST_KAFKA").unwrap_or_else(|_| {
        panic!(
            "FOODSTREAM_TEST_KAFKA names no broker (host:port); `python tests/with_services.py -- cargo test` starts one"
        )
    });
    kafka_at(&brokers, topic)
}

fn kafka_at(brokers: &str, topic: &str) -> Kafka {
    Kafka {
        brokers: brokers.to_owned(),
        topic: topic.to_owned(),
        num_partitions: 3,
        replication_factor: 1,
        topic_config: BTreeMap::new(),
        consumer_group: format!("group-of-{topic}"),
        properties: BTreeMap::new(),
        producer_properties: BTreeMap::new(),
        consumer_properties: BTreeMap::new(),
        exactly_once: true,
    }
}

pub struct Real;

impl Harness for Real {
    type Producer = KafkaProducer;
    type Consumer = KafkaGroupConsumer;
    type Cluster = KafkaCluster;

    fn producer(&self, transactional_id: &str) -> KafkaProducer {
        KafkaProducer::transactional(&kafka("unused"), transactional_id).unwrap()
    }

    fn consumer(&self, group: &str, topic: &str) -> KafkaGroupConsumer {
        KafkaGroupConsumer::new(&Kafka { consumer_group: group.to_owned(), ..kafka(topic) }).unwrap()
    }

    fn cluster(&self) -> KafkaCluster {
        KafkaCluster::new(&kafka("unused")).unwrap()
    }

    fn fresh(&self, stem: &str) -> String {
        format!("{stem}-{}", uuid::Uuid::new_v4().simple())
    }

    fn append(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
        let (report, delivered) = mpsc::channel();
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(topic, Box::new(report)).partition(partition);
        record.key = key;
        record.payload = value;
        OUTSIDER.send(record).map_err(|(error, _)| error).unwrap();
        delivered.recv_timeout(PATIENCE).expect("a report of the delivery").unwrap();
    }

    fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).unwrap();
        let deleted = by_admin(async |admin, options| admin.delete_records(&list, options).await);
        deleted.elements().iter().for_each(|element| element.error().unwrap());
    }

    fn delete_topic(&self, topic: &str) {
        let results = by_admin(async |admin, options| admin.delete_topics(&[topic], options).await);
        results.into_iter().for_each(|result| assert_eq!(result.unwrap(), topic));
        let mut cluster = self.cluster();
        wait_for("the topic to be gone", || cluster.describe(topic).unwrap().is_none());
    }
}

/// What the product never does, done with the wrapper's own client.
fn by_admin<T>(ask: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> KafkaResult<T>) -> T {
    let admin = plain_client().create::<AdminClient<_>>().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(&admin, &options)).unwrap()
}

fn plain_client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka("unused").brokers);
    config
}

/// Records outside of any transaction. One client for all tests: a new one would cost each append a connection.
static OUTSIDER: LazyLock<ThreadedProducer<Reports>> = LazyLock::new(|| {
    let mut config = plain_client();
    config.set("linger.ms", "0").set("acks", "all");
    config.create_with_context(Reports).unwrap()
});

/// Tells each sender how its own record fared.
struct Reports;

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<mpsc::Sender<KafkaResult<()>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Self::DeliveryOpaque) {
        let outcome = result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone());
        // A test that gave up waiting has failed already.
        let _ = report.send(outcome);
    }
}

crate::conformance_suite!(Real);

/// A port of loopback on which nobody listens.
fn dead_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn an_unreachable_broker_is_a_retriable_error_that_names_it() {
    let address = dead_address();
    let settings = kafka_at(&address, "orders");
    let timeout = Duration::from_secs(1);
    let mut cluster = KafkaCluster::new(&settings).unwrap().with_timeout(timeout);
    let mut errors = vec![cluster.describe("orders").unwrap_err(), cluster.brokers(timeout).unwrap_err()];
    errors.push(KafkaProducer::transactional(&settings, "id").unwrap().init(timeout).unwrap_err());
    let mut consumer = KafkaGroupConsumer::new(&settings).unwrap();
    wait_for("the consumer to complain", || {
        errors.extend(consumer.poll(&mut MessageBatch::default(), 10, 1000, timeout).err());
        errors.len() == 4
    });
    for error in errors {
        assert!(error.is_retriable() && error.kind() == Kind::Broker, "{error}");
        assert!(error.to_string().contains(&address), "{error}");
    }
}

#[test]
fn a_stop_is_not_held_up_by_a_broker_that_is_away() {
    let producer_properties = properties(&[("queue.buffering.max.messages", "5")]);
    let settings = Kafka { producer_properties, ..kafka_at(&dead_address(), "orders") };
    let begun = Instant::now();
    let error = KafkaProducer::transactional(&settings, "id").unwrap().impatient_when(|| true).init(PATIENCE);
    assert!(error.unwrap_err().is_retriable());
    let mut full = KafkaProducer::idempotent(&settings).unwrap().impatient_when(|| true);
    let error = full.send("orders", &numbered(0..20)).unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (Kind::Broker, true), "{error}");
    drop(full);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn rows_wait_for_room_in_the_send_queue_and_keep_their_order() {
    let topic = topic(&Real, 1);
    let producer_properties = properties(&[("queue.buffering.max.messages", "100")]);
    let settings = Kafka { producer_properties, ..kafka("unused") };
    let mut producer = KafkaProducer::transactional(&settings, &Real.fresh("small-queue")).unwrap();
    producer.init(PATIENCE).unwrap();
    publish(&mut producer, &topic.name, &numbered(0..2_500));
    let records = committed(&Real, &topic.name, 0);
    let values: Vec<_> = records.iter().map(Seen::value_text).collect();
    assert_eq!(values, (0..2_500).map(|number| format!("value {number}")).collect::<Vec<_>>());
}

#[test]
fn an_abort_amid_sending_leaves_the_instance_usable() {
    let topic = topic(&Real, 1);
    let mut producer = new_producer(&Real);
    // At every stage: before the coordinator knows of the transaction, and while its rows are on their way.
    for round in 0..50 {
        producer.begin().unwrap();
        producer.send(&topic.name, &numbered(0..1 + round * 200)).unwrap();
        producer.abort(PATIENCE).unwrap();
        publish(&mut producer, &topic.name, &rows([("key", format!("round {round:02}"))]));
    }
    assert_eq!(all_values(&Real, &topic), (0..50).map(|round| format!("round {round:02}")).collect::<Vec<_>>());
}

#[test]
fn a_message_that_is_too_large_is_refused_with_its_key() {
    let topic = topic(&Real, 1);
    let mut producer = new_producer(&Real);
    producer.begin().unwrap();
    let huge = "x".repeat(3_000_000);
    let error = producer.send(&topic.name, &rows([("1", "small"), ("4711", &huge)])).unwrap_err();
    assert!(!error.is_retriable());
    assert!(error.to_string().contains("`4711`") && error.to_string().contains("3000000 bytes"), "{error}");
}

#[test]
fn keys_lie_where_other_clients_put_them() {
    let topic = topic(&Real, 7);
    // 32-bit murmur2 as Kafka's own tests give it; the sign bit is dropped before the partition is taken.
    let hashes = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("abc", 479_470_107),
    ];
    publish(&mut new_producer(&Real), &topic.name, &rows(hashes.map(|(key, _)| (key, key))));
    for (key, hash) in hashes {
        let partition = (hash & i32::MAX) % 7;
        let records = committed(&Real, &topic.name, partition);
        assert!(records.iter().any(|seen| seen.value_text() == key), "`{key}` is not in partition {partition}");
    }
}

#[test]
fn a_deleted_row_without_a_body_is_kafkas_deletion_marker() {
    let topic = topic(&Real, 1);
    let mut batch = ChangeBatch::default();
    for (operation, value) in [(Operation::Delete, ""), (Operation::Delete, "body"), (Operation::Insert, "")] {
        let written: Result<(), Infallible> = batch.push_with(operation, |buffer| {
            buffer.extend_from_slice(b"key");
            let key_end = buffer.len();
            buffer.extend_from_slice(value.as_bytes());
            Ok(key_end)
        });
        written.unwrap();
    }
    publish(&mut new_producer(&Real), &topic.name, &batch);
    let values: Vec<_> = committed(&Real, &topic.name, 0).into_iter().map(|seen| seen.value).collect();
    assert_eq!(values, [None, Some(b"body".to_vec()), Some(Vec::new())]);
}

#[test]
fn a_seek_amid_fetches_hands_out_nothing_from_before_it() {
    let topic = topic(&Real, 1);
    publish(&mut new_producer(&Real), &topic.name, &numbered(0..20_000));
    let mut member = joined(&Real, &topic.name, &[]);
    member.poll_until("reading to begin", |member| !member.seen.is_empty());
    // Both ways, while fetches of the old position are under way and fetched messages wait in queues.
    for target in [15_000, 100, 19_999, 0, 7_777, 7_776, 12_000, 3] {
        member.consumer.seek(&[PartitionOffset { partition: 0, offset: target }]).unwrap();
        member.seen.clear();
        member.poll_until("the position that was sought", |member| !member.seen.is_empty());
        let offsets = member.seen_offsets(0);
        assert_eq!(offsets, (target..target + offsets.len() as i64).collect::<Vec<_>>(), "after a seek to {target}");
    }
    member.poll_to_ends(&[(0, 20_001)]);
    assert_eq!(member.seen_offsets(0), (3..20_000).collect::<Vec<_>>());
}

/// librdkafka aborts the process where a partition is stopped again before the first stop is through.
#[test]
fn seeks_and_a_close_in_quick_succession_end_no_process() {
    let topic = topic(&Real, 3);
    publish(&mut new_producer(&Real), &topic.name, &numbered(0..300));
    let mut member = joined(&Real, &topic.name, &[]);
    for target in 0..5 {
        member.poll_until("reading to begin", |member| !member.seen.is_empty());
        for partition in 0..3 {
            member.consumer.seek(&[PartitionOffset { partition, offset: target }]).unwrap();
        }
        member.seen.clear();
    }
    member.consumer.close();
}

#[test]
fn an_idempotent_producer_delivers_without_transactions() {
    let topic = topic(&Real, 1);
    let mut producer = KafkaProducer::idempotent(&kafka("unused")).unwrap();
    producer.init(PATIENCE).unwrap();
    publish(&mut producer, &topic.name, &numbered(0..50));
    assert_eq!(end(&Real, &topic.name, 0), 50, "no control record");
}

#[test]
fn what_is_sent_after_an_abort_is_delivered_without_transactions_too() {
    let topic = topic(&Real, 1);
    let mut producer = KafkaProducer::idempotent(&kafka("unused")).unwrap();
    for round in 0..200 {
        // Rows in the queue and on their way; such as arrived stay, as nothing can take them back.
        producer.send(&topic.name, &numbered(0..round)).unwrap();
        producer.abort(PATIENCE).unwrap();
        publish(&mut producer, &topic.name, &rows([("key", format!("round {round:03}"))]));
    }
    let mut values = all_values(&Real, &topic);
    values.retain(|value| value.starts_with("round"));
    assert_eq!(values, (0..200).map(|round| format!("round {round:03}")).collect::<Vec<_>>());
}

#[test]
fn a_topic_that_does_not_exist_is_named_and_not_made() {
    let name = Real.fresh("absent");
    let mut cluster = Real.cluster();
    let error = cluster.bounds(&name).unwrap_err();
    assert!(!error.is_retriable() && error.to_string().contains(&name), "{error}");
    // A new topic may take a while to be known everywhere; that is half a minute where nothing else is said.
    let producer_properties = properties(&[("topic.metadata.propagation.max.ms", "500")]);
    let settings = Kafka { producer_properties, ..kafka("unused") };
    let mut producer = KafkaProducer::transactional(&settings, &Real.fresh("producer")).unwrap();
    producer.init(PATIENCE).unwrap();
    producer.begin().unwrap();
    let refused = producer.send(&name, &numbered(0..1)).and_then(|()| producer.commit(PATIENCE).map_err(|un| un.error));
    assert!(refused.unwrap_err().to_string().contains("no such topic"));
    assert_eq!(cluster.describe(&name).unwrap(), None);
}

#[test]
fn checks_send_one_message_and_tools_see_topics_and_lag() {
    let topic = topic(&Real, 1).name;
    let mut cluster = Real.cluster();
    assert_eq!(cluster.brokers(PATIENCE).unwrap().len(), 1);
    assert_eq!(cluster.send_check(&topic, b"hello").unwrap(), (0, 0));
    assert_eq!(cluster.send_check(&topic, b"again").unwrap(), (0, 1));
    assert!(cluster.topics().unwrap().contains(&(topic.clone(), 1)));
    let group = Real.fresh("group");
    let lag = cluster.group_lag(&group, &topic).unwrap();
    assert_eq!((lag[0].committed, lag[0].end, lag[0].lag()), (None, 2, 2));
    let mut member = Member::new(Real.consumer(&group, &topic));
    member.poll_to_ends(&[(0, 2)]);
    member.consumer.publish_offsets(&[PartitionOffset { partition: 0, offset: 1 }]).unwrap();
    wait_for("the published offset", || cluster.group_lag(&group, &topic).unwrap()[0].committed == Some(1));
}
