use super::*;
use crate::config::plaintext_allowed;

fn with(section: &str, name: &str, value: &str) -> Result<Settings, Error> {
    Settings::from_yaml(
        &format!("{ORDERS}  {section}:\n    {name}: {value}\n"),
        Some("orders.yml"),
        &Overrides::default(),
    )
}

#[test]
fn a_property_that_breaks_a_promise_is_refused_with_its_reason() {
    golden(
        "kafka:\n  properties:\n    enable.auto.commit: true\n",
        "
error: `kafka.properties.enable.auto.commit` is refused: positions come from the lake's commit log; a second owner of them loses or repeats messages
 --> orders.yml:3:5
  |
3 |     enable.auto.commit: true
  |     ^^^^^^^^^^^^^^^^^^
  = remove it: it is always false",
    );
    for (name, value, reason) in [
        ("isolation.level", "read_uncommitted", "rows of an aborted transaction must not be read"),
        ("enable.idempotence", "false", "rows must arrive once and in order"),
        ("auto.offset.reset", "latest", "a position is never reset silently"),
        ("auto.offset.reset", "error", "a position is never reset silently"),
        ("group.id", "x", "it is kafka.consumer_group in this file"),
        ("bootstrap.servers", "x:1", "it is kafka.brokers in this file"),
        ("metadata.broker.list", "x:1", "it is kafka.brokers in this file"),
        ("transactional.id", "x", "one transaction carries rows and cursor"),
        ("transaction.timeout.ms", "1000", "one transaction carries rows and cursor"),
        ("enable.auto.offset.store", "true", "positions come from the lake's commit log"),
        ("plugin.library.paths", "/tmp/x.so", "it runs code from outside this program"),
        ("ssl.engine.location", "/tmp/x.so", "it runs code from outside this program"),
        ("acks", "1", "every in-sync replica has it"),
        ("request.required.acks", "0", "every in-sync replica has it"),
        ("max.in.flight.requests.per.connection", "6", "rows must arrive once and in order"),
        ("retries", "0", "rows must arrive once and in order"),
        ("message.timeout.ms", "600000", "one transaction carries rows and cursor"),
        ("enable.partition.eof", "false", "the end of a partition is needed"),
        ("check.crcs", "false", "a damaged message must not pass"),
        ("group.instance.id", "a", "two workers must never own one partition"),
        ("partition.assignment.strategy", "range", "two workers must never own one partition"),
        ("allow.auto.create.topics", "true", "created with the numbers of this file"),
        ("delivery.report.only.error", "true", "confirmed"),
        ("rebalance_cb", "x", "a hook of the C library"),
        ("enable.ssl.certificate.verification", "false", "TLS that does not check who answers"),
        ("security.protocol", "TLS", "is no protocol"),
    ] {
        for section in ["properties", "producer", "consumer"] {
            for name in [name.to_owned(), format!("kafka.{name}")] {
                let error = with(section, &name, value).expect_err(&name);
                assert!(error.to_string().contains(reason), "{error}");
                assert_eq!(place(&error).3, Some(format!("kafka.{section}.{name}").as_str()));
                assert_eq!(place(&error).1, Some(11), "{error}");
            }
        }
    }
}

#[test]
fn a_property_that_says_what_holds_anyway_is_let_through() {
    for (name, value) in
        [("enable.auto.commit", "false"), ("acks", "all"), ("acks", "-1"), ("isolation.level", "read_committed")]
    {
        with("properties", name, value).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn properties_keep_their_text_and_lose_sparks_prefix() {
    let yaml = format!(
        "{ORDERS}  properties:\n    kafka.linger.ms: 5\n    socket.keepalive.enable: true\n    retry.backoff.ms: 0.10\n  \
         producer: {{compression.type: zstd}}\n  consumer: {{fetch.min.bytes: 1}}\n  topic_config: {{retention.ms: -1}}\n"
    );
    let kafka = load(&yaml).kafka.expect("kafka");
    let pairs: Vec<_> = kafka.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("linger.ms", "5"), ("retry.backoff.ms", "0.10"), ("socket.keepalive.enable", "true")]);
    assert_eq!(kafka.producer_properties["compression.type"], "zstd");
    assert_eq!(kafka.consumer_properties["fetch.min.bytes"], "1");
    assert_eq!(kafka.topic_config["retention.ms"], "-1");
    let twice = format!("{ORDERS}  properties: {{linger.ms: 5, kafka.linger.ms: 6}}\n");
    assert!(refused(&twice).to_string().contains("`linger.ms` is given twice"));
}

#[test]
fn two_names_of_one_setting_are_refused_together_and_replace_each_other_across_sections() {
    let both = format!("{ORDERS}  producer:\n    linger.ms: 5\n    queue.buffering.max.ms: 6\n");
    let error = refused(&both);
    let words = "`queue.buffering.max.ms` and `linger.ms` under `kafka.producer` are two names of one setting";
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(place(&error).3, Some("kafka.producer.queue.buffering.max.ms"));
    for (one, other) in [("sasl.mechanism", "sasl.mechanisms"), ("retries", "message.send.max.retries")] {
        refused(&format!("{ORDERS}  properties: {{{one}: 7, {other}: 7}}\n"));
    }
    let apart = format!("{ORDERS}  properties: {{queue.buffering.max.ms: 5}}\n  producer: {{linger.ms: 6}}\n");
    let mut kafka = load(&apart).kafka.expect("kafka");
    kafka.set_producer_property("queue.buffering.max.ms", "7");
    let pairs: Vec<_> = kafka.producer_properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("queue.buffering.max.ms", "7")]);
}

#[test]
fn broker_lists_are_read_address_by_address() {
    let brokers = |text: &str| {
        let yaml = ORDERS.replace("localhost:9092", text);
        Settings::from_yaml(&yaml, None, &Overrides::default()).map(|settings| settings.kafka.expect("kafka"))
    };
    let kafka = brokers("\"kafka:29092, localhost,[::1]:9093\"").expect("three brokers");
    assert_eq!(kafka.brokers, "kafka:29092,localhost,[::1]:9093");
    for (text, words) in [
        ("localhost:0", "has the port `0`"),
        ("localhost:99999", "has the port `99999`"),
        ("localhost:port", "has the port `port`"),
        ("\"localhost:\"", "has the port ``"),
        ("a:1,,b:2", "an empty address"),
        ("PLAINTEXT://a:1", "begins with a protocol"),
        ("\"::1\"", "a v6 address without brackets"),
        ("\":9092\"", "an address without a host"),
        ("a b:1", "a character that no address has"),
    ] {
        let error = brokers(text).expect_err(text);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn plain_text_needs_a_near_host_or_a_word() {
    golden(
        "kafka:\n  brokers: localhost:9092,kafka.example.com:9092\n",
        "
error: `kafka.brokers` would connect to kafka.example.com without TLS: every row is at stake
 --> orders.yml:2:12
  |
2 |   brokers: localhost:9092,kafka.example.com:9092
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = set security.protocol: SSL (or SASL_SSL) under kafka.properties, or security.allow_plaintext: true knowingly",
    );
    golden(
        "postgres:\n  host: db.example.com\n  sslmode: disable\n",
        "
error: `postgres.sslmode` would connect to db.example.com without TLS: the password and every row are at stake
 --> orders.yml:3:12
  |
3 |   sslmode: disable
  |            ^^^^^^^
  = use verify-full, or set security.allow_plaintext: true knowingly",
    );
    assert!(
        refused("postgres:\n  host: 10.0.0.7\n  sslmode: require\n")
            .to_string()
            .contains("without checking who answers")
    );
    let remote = "kafka:\n  topic: t\n  brokers: kafka.example.com:9092\n";
    load(&format!("{remote}security:\n  allow_plaintext: true\n"));
    load(&format!("{remote}  properties:\n    security.protocol: SASL_SSL\n"));
    refused(&format!("{remote}  properties:\n    security.protocol: sasl_plaintext\n"));
    refused(&format!("{remote}  producer:\n    security.protocol: ssl\n"));
    refused(&format!(
        "{remote}  properties: {{security.protocol: ssl}}\n  consumer: {{security.protocol: plaintext}}\n"
    ));
    load(&format!("{remote}  producer: {{security.protocol: ssl}}\n  consumer: {{security.protocol: SSL}}\n"));
}

#[test]
fn near_hosts_are_loopback_sockets_and_single_labels() {
    for host in [
        "localhost",
        "db.localhost",
        "127.0.0.1",
        "127.8.9.1",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "/run/postgresql",
        "postgres",
        "kafka-1",
    ] {
        assert!(plaintext_allowed(host), "{host}");
    }
    for host in [
        "db.example.com",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "fe80::1",
        "134744072",
        "0x8080808",
        "",
        "kafka.",
        "localhost.example.com",
    ] {
        assert!(!plaintext_allowed(host), "{host}");
    }
}

#[test]
fn plain_text_to_a_container_is_noted() {
    let settings = load(&ORDERS.replace("localhost:9092", "kafka:29092"));
    let notes: Vec<&str> = settings.notes().iter().map(|note| note.text.as_str()).collect();
    assert_eq!(notes, ["`kafka.brokers`: kafka is a single-label name, so the connection is plain text"]);
    assert!(load(ORDERS).notes().is_empty());
}
