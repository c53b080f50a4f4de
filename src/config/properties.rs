//! librdkafka's properties as users write them, and those that would break a promise, each with the reason.

use std::collections::BTreeMap;

/// Spark writes `kafka.security.protocol`; the name librdkafka knows is the rest.
pub(super) fn plain_name(name: &str) -> &str {
    name.strip_prefix("kafka.").unwrap_or(name)
}

/// Settings that librdkafka knows by two names.
const TWO_NAMES: &[(&str, &str)] = &[
    ("acks", "request.required.acks"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"),
    ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
];

/// The other name of a setting that has two.
pub fn other_name(name: &str) -> Option<&'static str> {
    TWO_NAMES.iter().find_map(|&(one, other)| match name {
        _ if name == one => Some(other),
        _ if name == other => Some(one),
        _ => None,
    })
}

const POSITIONS: &str = "positions come from the lake's commit log; a second owner of them loses or repeats messages";
const TRANSACTION: &str = "one transaction carries rows and cursor; the name and its time-outs belong to that protocol";
const RESET: &str = "a position is never reset silently; set consumer.startingOffsets for the first start";
const ORDER: &str = "rows must arrive once and in order; the idempotent producer sees to it";
const FOREIGN_CODE: &str = "it runs code from outside this program";
const UNSETTABLE: &str = "it is no setting but a hook of the C library";
const ASSIGNMENT: &str = "two workers must never own one partition, nor one of them go unseen; foodstream sets it";

/// Refused whatever the value.
const REFUSED: &[(&str, &str)] = &[
    ("bootstrap.servers", "it is kafka.brokers in this file"),
    ("metadata.broker.list", "it is kafka.brokers in this file"),
    ("group.id", "it is kafka.consumer_group in this file"),
    ("group.instance.id", ASSIGNMENT),
    ("partition.assignment.strategy", ASSIGNMENT),
    ("group.protocol", ASSIGNMENT),
    ("group.remote.assignor", ASSIGNMENT),
    ("auto.offset.reset", RESET),
    ("topic.auto.offset.reset", RESET),
    ("auto.commit.interval.ms", POSITIONS),
    ("auto.commit.enable", POSITIONS),
    ("offset.store.method", POSITIONS),
    ("transactional.id", TRANSACTION),
    ("transaction.timeout.ms", TRANSACTION),
    ("plugin.library.paths", FOREIGN_CODE),
    ("sasl.kerberos.kinit.cmd", FOREIGN_CODE),
    ("ssl.engine.location", FOREIGN_CODE),
    ("ssl.providers", FOREIGN_CODE),
    ("interceptors", UNSETTABLE),
    ("opaque", UNSETTABLE),
    ("default_topic_conf", UNSETTABLE),
    ("delivery.report.only.error", "a position is published only after each delivery is confirmed"),
    ("test.mock.num.brokers", "it replaces the brokers with a simulation"),
    ("test.mock.broker.rtt", "it replaces the brokers with a simulation"),
    ("enable.gapless.guarantee", ORDER),
];

/// Accepted with these values only; others are refused with the reason.
const RESTRICTED: &[(&str, &[&str], &str)] = &[
    ("enable.auto.commit", &["false"], POSITIONS),
    ("enable.auto.offset.store", &["false"], POSITIONS),
    ("isolation.level", &["read_committed"], "rows of an aborted transaction must not be read"),
    ("enable.idempotence", &["true"], ORDER),
    ("acks", &["all", "-1"], "a row counts as published when every in-sync replica has it"),
    ("request.required.acks", &["all", "-1"], "a row counts as published when every in-sync replica has it"),
    ("enable.partition.eof", &["true"], "the end of a partition is needed to know that all was read"),
    ("check.crcs", &["true"], "a damaged message must not pass for a good one"),
    ("allow.auto.create.topics", &["false"], "a topic is created with the numbers of this file, or not at all"),
];

/// Accepted up to a bound.
const BOUNDED: &[(&str, i64, i64, &str)] = &[
    ("max.in.flight.requests.per.connection", 1, 5, ORDER),
    ("max.in.flight", 1, 5, ORDER),
    ("message.send.max.retries", 1, i64::MAX, ORDER),
    ("retries", 1, i64::MAX, ORDER),
    // Above the transaction's own time-out librdkafka refuses to start.
    ("message.timeout.ms", 1, 60_000, TRANSACTION),
    ("delivery.timeout.ms", 1, 60_000, TRANSACTION),
];

/// Switch off a check of the peer's identity: as good as plain text.
const UNVERIFIED: &[(&str, &str)] =
    &[("enable.ssl.certificate.verification", "false"), ("ssl.endpoint.identification.algorithm", "none")];

/// The reason why a property may not be passed on, and the way out.
pub(super) fn refusal(name: &str, value: &str, allow_plaintext: bool) -> Option<(String, String)> {
    if let Some((_, reason)) = REFUSED.iter().find(|refused| refused.0 == name) {
        let help = if reason.starts_with("it is kafka.") { "move it there" } else { "remove it" };
        return Some(((*reason).to_owned(), help.to_owned()));
    }
    if name.ends_with("_cb") {
        return Some((UNSETTABLE.to_owned(), "remove it".to_owned()));
    }
    let value = value.trim();
    if let Some((_, accepted, reason)) = RESTRICTED.iter().find(|restricted| restricted.0 == name)
        && !accepted.iter().any(|word| word.eq_ignore_ascii_case(value))
    {
        return Some(((*reason).to_owned(), format!("remove it: it is always {}", accepted[0])));
    }
    if let Some((_, least, most, reason)) = BOUNDED.iter().find(|bounded| bounded.0 == name)
        && !value.parse().is_ok_and(|number: i64| (*least..=*most).contains(&number))
    {
        let range = if *most == i64::MAX { format!("{least} or more") } else { format!("{least} to {most}") };
        return Some(((*reason).to_owned(), format!("give {range}")));
    }
    let unverified = UNVERIFIED.iter().any(|(key, off)| *key == name && off.eq_ignore_ascii_case(value));
    (unverified && !allow_plaintext).then(|| {
        let reason = "TLS that does not check who answers protects nothing".to_owned();
        (reason, "remove it, or set security.allow_plaintext: true knowingly".to_owned())
    })
}

/// What `security.protocol` of librdkafka may say.
pub(super) const PROTOCOLS: &[&str] = &["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];

pub(super) fn is_tls(common: &BTreeMap<String, String>, side: &BTreeMap<String, String>) -> bool {
    let protocol = side.get("security.protocol").or_else(|| common.get("security.protocol"));
    protocol.is_some_and(|protocol| matches!(protocol.trim().to_ascii_lowercase().as_str(), "ssl" | "sasl_ssl"))
}
