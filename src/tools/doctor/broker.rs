//! The topic's side: what the cluster says of topic, copies, settings, positions and group, judged.

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::{Check, Finding, Section, Verdict};
use super::retention::{self, Unread};
use super::source::of_error;
use super::words::{age, plural};
use super::{storage, unknown};
use crate::broker::kafka::{BrokerInfo, KafkaCluster, PartitionCopies, PartitionLag, transaction_timeout};
use crate::broker::{Bounds, Cluster, TopicDescription};
use crate::clock::{Clock, SystemClock};
use crate::config::{Kafka, Settings, defaults};
use crate::error::{Error, Kind, Result};
use crate::lake::Head;
use crate::publish::check_cursor_topic;

/// A committed message is there at once, or an open transaction holds it back.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Partitions whose oldest unread message is looked at, those furthest behind first.
const PARTITIONS_READ: usize = 8;

pub(super) fn all_not_applicable() -> Vec<Finding> {
    let why = "the configuration has no complete section `kafka`";
    let checks = Check::ALL.iter().filter(|check| check.section() == Section::Kafka);
    checks.map(|check| Finding::not_applicable(*check, why)).collect()
}

pub(super) fn all_unknown(error: &Error) -> Vec<Finding> {
    let mut findings = vec![of_error(Check::Brokers, error)];
    findings.extend(unknown(Section::Kafka, &findings, "no broker answers, see `brokers`"));
    findings
}

/// `table`: schema and name, which name the cursor topic. `head`: where the lake stands.
pub(super) fn examine(
    settings: &Settings,
    mut cluster: KafkaCluster,
    brokers: &[BrokerInfo],
    table: Option<(String, String)>,
    head: Option<Head>,
) -> Vec<Finding> {
    let Some(kafka) = &settings.kafka else { return all_not_applicable() };
    let config = brokers.first().map(|broker| cluster.broker_config(broker.id)).transpose();
    let config = config.unwrap_or_default().unwrap_or_default();
    let mut findings = vec![of_brokers(brokers, &config)];
    let topic = match Topic::look(&mut cluster, &kafka.topic) {
        Ok(topic) => topic,
        Err(error) => {
            let why = error.report();
            findings.extend(unknown(Section::Kafka, &findings, &why));
            return findings;
        }
    };
    let mut told = |check, finding: Result<Finding>| {
        findings.push(finding.unwrap_or_else(|error| Finding::could_not_tell(check, error.report())));
    };
    told(Check::Topic, Ok(partitions(topic.as_ref(), kafka)));
    told(Check::Replication, replication(&mut cluster, topic.as_ref(), kafka, brokers.len()));
    told(Check::Retention, of_retention(&mut cluster, topic.as_ref(), head.as_ref(), settings));
    told(Check::Transactions, Ok(transactions(&config, brokers.len(), uses_transactions(settings))));
    told(Check::CursorTopic, cursor_topic(&mut cluster, settings, table));
    told(Check::Position, Ok(position(topic.as_ref(), head.as_ref(), settings)));
    told(Check::Group, group(&mut cluster, topic.as_ref(), head.as_ref(), settings));
    findings
}

/// The data topic as it is.
pub(super) struct Topic {
    pub about: TopicDescription,
    pub bounds: Vec<Bounds>,
    pub config: BTreeMap<String, String>,
}

impl Topic {
    fn look(cluster: &mut KafkaCluster, name: &str) -> Result<Option<Topic>> {
        let Some(about) = cluster.describe(name)? else { return Ok(None) };
        Ok(Some(Topic { about, bounds: cluster.bounds(name)?, config: cluster.topic_config(name)? }))
    }

    /// Partitions with offsets that the lake has not read, and from where on.
    fn unread<'a>(&'a self, head: Option<&'a Head>) -> impl Iterator<Item = (Bounds, i64)> + 'a {
        let from = move |bound: &Bounds| head.and_then(|head| head.positions.get(&bound.partition)).copied();
        let unread = move |bound: &Bounds| (*bound, from(bound).unwrap_or(bound.earliest).max(bound.earliest));
        self.bounds.iter().map(unread).filter(|(bound, from)| bound.end > *from)
    }
}

const MISSING: &str = "the topic is not there yet: either side creates it at its first start";

fn of_brokers(brokers: &[BrokerInfo], config: &BTreeMap<String, String>) -> Finding {
    let addresses: Vec<&str> = brokers.iter().map(|broker| broker.address.as_str()).collect();
    // Kafka tells its release to nobody; older ones tell the protocol they speak among each other.
    let protocol = config.get("inter.broker.protocol.version").map(|version| format!(", protocol {version}"));
    let count = plural(brokers.len() as u64, "broker", "brokers");
    Finding::ok(Check::Brokers, format!("{count}: {}{}", addresses.join(", "), protocol.unwrap_or_default()))
}

/// A command of Kafka's own tools, to be pasted.
pub(super) fn alter(kafka: &Kafka, topic: &str, setting: &str) -> String {
    let brokers = &kafka.brokers;
    format!("kafka-configs.sh --bootstrap-server {brokers} --alter --topic {topic} --add-config {setting}")
}

fn partitions(topic: Option<&Topic>, kafka: &Kafka) -> Finding {
    let check = Check::Topic;
    let Some(topic) = topic else { return Finding::not_applicable(check, MISSING) };
    let (is, wanted) = (topic.about.partitions, kafka.num_partitions);
    let (name, brokers) = (&topic.about.name, &kafka.brokers);
    let count = plural(is.max(0) as u64, "partition", "partitions");
    if is == wanted {
        return Finding::ok(check, format!("{name} has {count}, as configured"));
    }
    let fact = format!("{name} has {count}, kafka.num_partitions says {wanted}: both sides run with what is there");
    let finding = Finding::new(check, Verdict::Warning, fact);
    match is < wanted {
        // Keys move to other partitions, so the order of one key's messages is kept only from then on.
        true => finding.mended_by(format!(
            "kafka-topics.sh --bootstrap-server {brokers} --alter --topic {name} --partitions {wanted}"
        )),
        false => finding.mended_by(format!("kafka.num_partitions: {is}")),
    }
}

fn replication(cluster: &mut KafkaCluster, topic: Option<&Topic>, kafka: &Kafka, brokers: usize) -> Result<Finding> {
    let Some(topic) = topic else { return Ok(Finding::not_applicable(Check::Replication, MISSING)) };
    let copies = cluster.copies(&topic.about.name)?;
    let least = topic.config.get("min.insync.replicas").and_then(|text| text.parse().ok()).unwrap_or(1);
    Ok(judge_copies(&copies, least, brokers, kafka))
}

pub(super) fn judge_copies(copies: &[PartitionCopies], least: usize, brokers: usize, kafka: &Kafka) -> Finding {
    let check = Check::Replication;
    let topic = kafka.topic.as_str();
    let replicas = copies.iter().map(|copy| copy.replicas).min().unwrap_or_default();
    let set = |value: usize| alter(kafka, topic, &format!("min.insync.replicas={value}"));
    let reassign = "move the partitions to more brokers with kafka-reassign-partitions.sh".to_owned();
    if let Some(copy) = copies.iter().find(|copy| !copy.led) {
        let fact = format!("partition {} has no leader: it can neither be read nor written", copy.partition);
        return Finding::new(check, Verdict::Fault, fact).mended_by("start the brokers that hold its copies");
    }
    if least > replicas {
        let fact = format!(
            "min.insync.replicas is {least} and there {}: nothing can be published",
            if replicas == 1 { "is 1 copy".to_owned() } else { format!("are {replicas} copies") }
        );
        return Finding::new(check, Verdict::Fault, fact).mended_by(set(replicas.max(1).div_ceil(2)));
    }
    if let Some(copy) = copies.iter().find(|copy| copy.in_sync < copy.replicas) {
        let PartitionCopies { partition, replicas, in_sync, .. } = *copy;
        let fact =
            format!("partition {partition} has {in_sync} of {replicas} copies in step (at least {least} must be)");
        let verdict = if in_sync < least { Verdict::Fault } else { Verdict::Warning };
        return Finding::new(check, verdict, fact).mended_by("look at the brokers that lag or are down");
    }
    let fact = format!("{}, min.insync.replicas {least}", plural(replicas as u64, "copy", "copies"));
    match (replicas, least) {
        (1, _) if brokers > 1 => {
            let fact = format!("{fact}: with that one disk its messages are gone, though there are {brokers} brokers");
            Finding::new(check, Verdict::Warning, fact).mended_by(reassign)
        }
        (replicas, least) if replicas > 1 && least == replicas => {
            let fact = format!("{fact}: one broker that is down stops the producer");
            Finding::new(check, Verdict::Warning, fact).mended_by(set(replicas - 1))
        }
        (replicas, 1) if replicas > 2 => {
            let fact = format!("{fact}: a message may be acknowledged by one broker alone and be lost with it");
            Finding::new(check, Verdict::Warning, fact).mended_by(set(2))
        }
        _ => Finding::ok(check, fact),
    }
}

fn of_retention(
    cluster: &mut KafkaCluster,
    topic: Option<&Topic>,
    head: Option<&Head>,
    settings: &Settings,
) -> Result<Finding> {
    let (Some(topic), Some(kafka)) = (topic, &settings.kafka) else {
        return Ok(Finding::not_applicable(Check::Retention, MISSING));
    };
    let now_ms = SystemClock.now().timestamp_millis();
    let mut behind: Vec<(Bounds, i64)> = topic.unread(head).collect();
    behind.sort_by_key(|(bound, from)| from - bound.end);
    let mut unread = Vec::new();
    for (index, &(bound, from)) in behind.iter().enumerate() {
        let written_ms = match index < PARTITIONS_READ {
            true => written_at(cluster, &kafka.topic, bound, from)?,
            false => None,
        };
        let age = written_ms.map(|written| Duration::from_millis(now_ms.saturating_sub(written).max(0) as u64));
        unread.push(Unread { bound, from, age });
    }
    Ok(retention::judge(&unread, &retention::Limits::of(&topic.config), kafka, &consumer_command(settings)))
}

/// When the first message from an offset on was written; `None` where an open transaction holds it back.
fn written_at(cluster: &mut KafkaCluster, topic: &str, bound: Bounds, from: i64) -> Result<Option<i64>> {
    let mut written = None;
    // One is enough: the error ends the reading.
    let read = cluster.read_committed(topic, bound.partition, from, bound.end, READ_TIMEOUT, &mut |message| {
        written = Some(message.timestamp_ms).filter(|&ms| ms >= 0);
        Err(Error::interrupted())
    });
    match read {
        Err(error) if error.kind() != Kind::Interrupted && error.kind() != Kind::DataLoss && !error.is_retriable() => {
            Err(error)
        }
        _ => Ok(written),
    }
}

fn consumer_command(settings: &Settings) -> String {
    match settings.preset {
        crate::config::Preset::Orders => format!("foodstream consumer{}", settings.flags(defaults::CONFIG_FILE)),
        crate::config::Preset::Purchases => {
            format!("foodstream purchases run{}", settings.flags(defaults::PURCHASES_CONFIG_FILE))
        }
    }
}

fn uses_transactions(settings: &Settings) -> bool {
    let publishes_rows = settings.postgres.is_some() && settings.kafka.as_ref().is_some_and(|kafka| kafka.exactly_once);
    publishes_rows || settings.aggregate.topic.is_some()
}

pub(super) fn transactions(config: &BTreeMap<String, String>, brokers: usize, used: bool) -> Finding {
    let check = Check::Transactions;
    if !used {
        return Finding::not_applicable(check, "nothing of this configuration publishes in transactions");
    }
    let number = |name: &str| config.get(name).and_then(|text| text.parse::<u64>().ok());
    let Some(most_ms) = number("transaction.max.timeout.ms") else {
        return Finding::could_not_tell(check, "this account may not read the broker's settings");
    };
    let (ours, most) = (transaction_timeout(), Duration::from_millis(most_ms));
    if ours > most {
        let fact = format!(
            "the producer's transactions may last {}, the broker takes {} at most: it refuses the producer",
            age(ours),
            age(most)
        );
        let remedy = format!("transaction.max.timeout.ms={}    # in the broker's server.properties", ours.as_millis());
        return Finding::new(check, Verdict::Fault, fact).mended_by(remedy);
    }
    let copies = number("transaction.state.log.replication.factor").unwrap_or(1);
    if copies > brokers as u64 {
        let fact = format!(
            "transactions are kept in {copies} copies and there {}: where that topic is not there yet, none can begin",
            if brokers == 1 { "is 1 broker".to_owned() } else { format!("are {brokers} brokers") }
        );
        let remedy =
            format!("transaction.state.log.replication.factor={brokers}    # in the broker's server.properties");
        return Finding::new(check, Verdict::Warning, fact).mended_by(remedy);
    }
    Finding::ok(check, format!("they may last {}, the broker takes {} at most", age(ours), age(most)))
}

fn cursor_topic(cluster: &mut KafkaCluster, settings: &Settings, table: Option<(String, String)>) -> Result<Finding> {
    let check = Check::CursorTopic;
    let Some(kafka) = settings.kafka.as_ref().filter(|kafka| kafka.exactly_once && settings.postgres.is_some()) else {
        return Ok(Finding::not_applicable(check, "no table is polled under exactly-once here"));
    };
    // With neither the name nor the table it follows from, there is nothing to look for.
    let known = settings.cdc.cursor_topic.is_some() || settings.cdc.pipeline_id.is_some();
    let (schema, name) = match table {
        Some(table) => table,
        None if known => Default::default(),
        None => {
            return Ok(Finding::could_not_tell(
                check,
                "its name follows from the table's, and PostgreSQL does not tell it, see `server`",
            ));
        }
    };
    let topic = settings.cursor_topic(&settings.pipeline_id(&schema, &name)?);
    let Some(about) = cluster.describe(&topic)? else {
        let begun = cluster.describe(&kafka.topic)?.is_some() && has_messages(&cluster.bounds(&kafka.topic)?);
        if !begun {
            return Ok(Finding::not_applicable(check, "not there yet: the producer's first start creates it"));
        }
        let fact = format!("{topic} is not there, but {} has messages: the producer's position is lost", kafka.topic);
        let remedy = format!("foodstream producer{} --dry-run", settings.flags(defaults::CONFIG_FILE));
        return Ok(Finding::new(check, Verdict::Warning, fact).mended_by(remedy));
    };
    match check_cursor_topic(cluster, &topic) {
        Ok(()) if about.partitions == 1 => Ok(Finding::ok(check, format!("{topic} is compacted, 1 partition"))),
        Ok(()) => {
            let fact = format!("{topic} has {} partitions, not 1: it was not made by this program", about.partitions);
            Ok(Finding::new(check, Verdict::Warning, fact).mended_by("cdc.cursor_topic: <a name of its own>"))
        }
        Err(error) if error.is_retriable() => Err(error),
        Err(error) => {
            let finding = Finding::new(check, Verdict::Fault, error.report());
            Ok(finding.mended_by(alter(kafka, &topic, "cleanup.policy=compact")))
        }
    }
}

fn has_messages(bounds: &[Bounds]) -> bool {
    bounds.iter().any(|bound| bound.end > bound.earliest)
}

fn position(topic: Option<&Topic>, head: Option<&Head>, settings: &Settings) -> Finding {
    let check = Check::Position;
    match (topic, head) {
        (_, None) => Finding::not_applicable(check, "no lake has been founded on it yet"),
        (None, Some(head)) => {
            let fact =
                format!("topic {} is gone: what followed the lake's positions cannot be read any more", head.topic);
            Finding::new(check, Verdict::Fault, fact).mended_by("foodstream verify")
        }
        (Some(topic), Some(head)) => judge_position(topic, head, publish_again(settings)),
    }
}

/// The way to publish rows again that are gone from the topic, where there is a table that has them.
fn publish_again(settings: &Settings) -> Option<String> {
    settings.postgres.as_ref()?;
    Some(format!("foodstream producer{} --start-from 'TIMESTAMP|KEY'", settings.flags(defaults::CONFIG_FILE)))
}

pub(super) fn judge_position(topic: &Topic, head: &Head, publish_again: Option<String>) -> Finding {
    let check = Check::Position;
    let name = &topic.about.name;
    if head.topic != *name {
        let fact = format!("the lake was made from topic {}, and kafka.topic is {name}", head.topic);
        return Finding::new(check, Verdict::Fault, fact).mended_by(format!("kafka.topic: {}", head.topic));
    }
    if head.topic_id != topic.about.id {
        let fact = format!(
            "{name} was deleted and created anew (id {} instead of {}): the lake's positions mean nothing in it",
            topic.about.id, head.topic_id
        );
        let remedy = "streaming.checkpoint_location: <a new folder>, and a new datalake.path";
        return Finding::new(check, Verdict::Fault, fact).mended_by(remedy);
    }
    let mut waiting = 0;
    for bound in &topic.bounds {
        let Some(&at) = head.positions.get(&bound.partition) else { continue };
        let partition = bound.partition;
        if at < bound.earliest {
            let fact =
                format!("partition {partition}: offsets {at} to {} were deleted before they were read", bound.earliest);
            let mut finding =
                Finding::new(check, Verdict::Fault, format!("{fact}; publish them again, or accept the loss"));
            finding.remedies.extend(publish_again);
            return finding.mended_by("consumer.failOnDataLoss: false");
        }
        if at > bound.end {
            let fact = format!("partition {partition}: the lake stands at {at}, and the topic ends at {}", bound.end);
            return Finding::new(check, Verdict::Fault, format!("{fact}: the broker has lost messages"))
                .mended_by("foodstream verify");
        }
        waiting += bound.end - at;
    }
    let partitions = plural(head.positions.len() as u64, "partition", "partitions");
    let waiting = plural(waiting.max(0) as u64, "offset", "offsets");
    Finding::ok(check, format!("the lake stands within {partitions} of {name}, {waiting} behind the ends"))
}

fn group(
    cluster: &mut KafkaCluster,
    topic: Option<&Topic>,
    head: Option<&Head>,
    settings: &Settings,
) -> Result<Finding> {
    let (Some(topic), Some(kafka)) = (topic, &settings.kafka) else {
        return Ok(Finding::not_applicable(Check::Group, MISSING));
    };
    let members = cluster.group_members(&kafka.consumer_group)?;
    let published = cluster.group_lag(&kafka.consumer_group, &kafka.topic)?;
    // The lake's head was read first: a commit since then is no other program's.
    let newer = ahead(&published, head).and_then(|_| storage::head(settings));
    let head = newer.as_ref().or(head);
    let waiting = topic.unread(head).map(|(bound, from)| bound.end - from).sum::<i64>();
    let name = &kafka.consumer_group;
    Ok(judge_group(name, members, &published, head, waiting.max(0) as u64, &consumer_command(settings)))
}

/// A partition of which the group has published more than the lake has.
fn ahead<'a>(published: &'a [PartitionLag], head: Option<&Head>) -> Option<&'a PartitionLag> {
    let position = |partition| head.and_then(|head| head.positions.get(&partition)).copied();
    published.iter().find(|lag| {
        let (committed, position) = (lag.committed, position(lag.partition));
        committed.zip(position).is_some_and(|(committed, position)| committed > position)
    })
}

pub(super) fn judge_group(
    name: &str,
    members: usize,
    published: &[PartitionLag],
    head: Option<&Head>,
    waiting: u64,
    consumer: &str,
) -> Finding {
    let check = Check::Group;
    let consumers = plural(members as u64, "consumer", "consumers");
    if let Some(lag) = ahead(published, head) {
        let fact = format!(
            "group {name} has published offset {} of partition {}, ahead of the lake's: another program uses the group",
            lag.committed.unwrap_or_default(),
            lag.partition
        );
        return Finding::new(check, Verdict::Warning, fact).mended_by("kafka.consumer_group: <a name of its own>");
    }
    if members == 0 && waiting > 0 {
        let waiting = plural(waiting, "offset waits", "offsets wait");
        let fact = format!("{waiting} behind the lake's positions, and no consumer is in group {name}");
        return Finding::new(check, Verdict::Warning, fact).mended_by(consumer);
    }
    let told = published.iter().filter(|lag| lag.committed.is_some()).count();
    Finding::ok(check, format!("{consumers} in group {name}, which tells lag tools of {told} partitions"))
}
