use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{Compression, SslMode, StartingOffsets, parse, schema};

#[test]
fn every_default_is_the_documented_one() {
    let settings = load(ORDERS);
    let effective = settings.effective();
    let value = |key: &str| effective.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    for (key, default) in [
        ("postgres.port", "5432"),
        ("kafka.num_partitions", "3"),
        ("kafka.replication_factor", "1"),
        ("kafka.exactly_once", "true"),
        ("cdc.poll_interval_sec", "5"),
        ("cdc.batch_limit", "1000"),
        ("cdc.default_start_timestamp", "1970-01-01 00:00:00"),
        ("cdc.begin_margin_ms", "100"),
        ("cdc.transaction_max_rows", "100000"),
        ("cdc.transaction_max_ms", "1000"),
        ("consumer.trigger_interval_ms", "5000"),
        ("consumer.max_batch_bytes", "33554432"),
        ("memory.budget_mb", "128"),
        ("retry.start_timeout_sec", "30"),
        ("retry.max_backoff_sec", "30"),
        ("validation.allow_zero_amount", "false"),
        ("validation.check_status", "true"),
        ("logging.level", "info"),
    ] {
        assert_eq!(value(key), Some(default), "{key}");
    }
}

#[test]
fn starting_offsets_take_words_times_and_sparks_json() {
    let parsed = |text: &str| parse::starting_offsets(text, Some("orders"));
    assert_eq!(parsed("Latest"), Ok(StartingOffsets::Latest));
    assert_eq!(parsed("timestamp:1700000000000"), Ok(StartingOffsets::TimestampMs(1_700_000_000_000)));
    assert_eq!(parsed("2025-11-18T05:30:00.5+05:30"), Ok(StartingOffsets::TimestampMs(1_763_424_000_500)));
    let explicit = StartingOffsets::Explicit(BTreeMap::from([(0, 23), (1, -2), (2, -1)]));
    assert_eq!(parsed(r#"{"orders":{"0":23,"1":-2,"2":-1}}"#), Ok(explicit.clone()));
    for text in [
        "",
        "erliest",
        "timestamp:",
        "timestamp:-5",
        "timestamp:1.5",
        "2025-11-18 00:00:00",
        "{}",
        r#"{"orders":{}}"#,
        r#"{"orders":{"x":1}}"#,
        r#"{"orders":{"-1":1}}"#,
        r#"{"orders":{"0":-3}}"#,
        r#"{"orders":{"0":"1"}}"#,
        r#"{"other":{"0":1}}"#,
        r#"{"orders":{"0":1},"other":{"0":1}}"#,
        r#"{"orders":{"0":1}"#,
    ] {
        assert!(parsed(text).is_err(), "{text}");
    }
    // Unquoted, the JSON form is a YAML mapping; the keys are numbers then.
    for yaml in [
        "{\"food_orders_raw\": {\"0\": 23, \"1\": -2, \"2\": -1}}",
        "'{\"food_orders_raw\":{\"0\":23,\"1\":-2,\"2\":-1}}'",
        "\n    food_orders_raw:\n      0: 23\n      1: -2\n      2: -1",
    ] {
        let settings = load(&format!("{ORDERS}consumer:\n  startingOffsets: {yaml}\n"));
        assert_eq!(settings.consumer.starting_offsets, explicit, "{yaml}");
    }
}

#[test]
fn start_times_keep_microseconds_and_need_no_seconds() {
    for (text, micros) in [
        ("1970-01-01", 0),
        ("1970-01-01 00:01", 60_000_000),
        ("1970-01-01 00:00:01.000042", 1_000_042),
        ("1970-01-01T00:00:01", 1_000_000),
        ("1969-12-31 23:59:59.999999", -1),
    ] {
        assert_eq!(parse::timestamp_us(text), Ok(micros), "{text}");
    }
    for text in ["", "1970", "1970-02-30", "1970-01-01 25:00:00", "1970-01-01 00:00:00+00", "now"] {
        assert!(parse::timestamp_us(text).is_err(), "{text}");
    }
}

#[test]
fn a_state_location_is_a_folder_or_a_text_file() {
    let state =
        |text: &str| load(&format!("streaming:\n  last_processed_timestamp_location: {text}\n")).streaming.state_file;
    assert_eq!(state("a/b").as_deref(), Some(Path::new("a/b/last_processed_timestamp.txt")));
    assert_eq!(state("a/b/").as_deref(), Some(Path::new("a/b/last_processed_timestamp.txt")));
    assert_eq!(state("a/my.txt").as_deref(), Some(Path::new("a/my.txt")));
}

#[test]
fn the_lakes_folders_are_siblings_also_behind_a_slash() {
    let lake = load("datalake:\n  path: out/orders/\n  compression: ZSTD(3)\n").lake.expect("lake");
    assert_eq!(lake.staging_path, Path::new("out/orders_staging"));
    assert_eq!(lake.compression, Compression::Zstd(3));
    assert!(refused("datalake:\n  path: /\n").to_string().contains("no folder that could have siblings"));
}

#[test]
fn the_partition_zone_follows_the_columns_zone() {
    let settings = load("cdc:\n  timezone: Asia/Kolkata\ndatalake:\n  path: a\n");
    assert_eq!(settings.lake.expect("lake").partition_timezone, chrono_tz::Asia::Kolkata);
    let settings = load("cdc:\n  timezone: Asia/Kolkata\ndatalake:\n  path: a\n  partition_timezone: UTC\n");
    assert_eq!(settings.lake.expect("lake").partition_timezone, chrono_tz::UTC);
}

#[test]
fn bounds_of_rules_stay_the_text_they_are() {
    let yaml = "validation:\n  rules:\n    - {column: amount, min: 0.10, max: 99999999999999999999.99, exclusive_min: -1, \
                one_of: [1, yes, NO, 0.50, x], max_length: 3, matches: ^a$, not_null: yes}\n";
    let rule = load(yaml).validation.rules.remove(0);
    assert_eq!(rule.min.as_deref(), Some("0.10"));
    assert_eq!(rule.max.as_deref(), Some("99999999999999999999.99"));
    assert_eq!(rule.exclusive_min.as_deref(), Some("-1"));
    assert_eq!(rule.one_of, Some(["1", "yes", "NO", "0.50", "x"].map(str::to_owned).to_vec()));
    assert_eq!((rule.max_length, rule.matches.as_deref(), rule.not_null), (Some(3), Some("^a$"), true));
}

#[test]
fn references_become_what_the_key_wants() {
    let environment = environment(&[("P", "6543"), ("H", "db"), ("YES", "true"), ("SEC", "0.5")]);
    let yaml = "postgres:\n  host: ${H}\n  port: ${P}\n  db: ${D:-food}\n  user: u_${H}_x\n  table: t\n\
                kafka:\n  brokers: ${H}:9092,${K:-${H}}:1\n  topic: t\n  exactly_once: ${YES}\n\
                cdc:\n  poll_interval_sec: ${SEC}\n  batch_limit: ${NONE:-}\n";
    let settings = load_with(yaml, &environment);
    let postgres = settings.postgres.as_ref().expect("postgres");
    assert_eq!((postgres.host.as_str(), postgres.port, postgres.user.as_str()), ("db", 6543, "u_db_x"));
    assert_eq!(postgres.database, "food");
    assert_eq!(settings.kafka.as_ref().expect("kafka").brokers, "db:9092,db:1");
    assert_eq!(settings.cdc.poll_interval, Duration::from_millis(500));
    assert_eq!(settings.cdc.batch_limit, 1000, "an empty reference is no value");
}

#[test]
fn anchors_and_merges_may_share_values() {
    let yaml = "kafka:\n  topic: t\n  brokers: a:1\n  producer: &p\n    linger.ms: 5\n    client.id: ${ID}\n  consumer:\n    <<: *p\n    linger.ms: 6\n";
    let kafka = load_with(yaml, &environment(&[("ID", "007")])).kafka.expect("kafka");
    assert_eq!(kafka.consumer_properties["client.id"], "007");
    let alias = "kafka:\n  brokers: a:1\n  topic: &t ${ID}\n  consumer_group: *t\n";
    assert_eq!(load_with(alias, &environment(&[("ID", "007")])).kafka.expect("kafka").consumer_group, "007");
    assert_eq!(
        (kafka.producer_properties["linger.ms"].as_str(), kafka.consumer_properties["linger.ms"].as_str()),
        ("5", "6")
    );
}

#[test]
fn tls_is_off_only_where_plain_text_is_allowed() {
    let mode = |host: &str| load(&ORDERS.replacen("localhost", host, 1)).postgres.expect("postgres").ssl_mode();
    assert_eq!(mode("localhost"), SslMode::Disable);
    assert_eq!(mode("postgres"), SslMode::Disable);
    assert_eq!(mode("db.example.com"), SslMode::VerifyFull);
    let written = ORDERS.replacen("localhost", "postgres\n  sslmode: verify-ca", 1);
    assert_eq!(load(&written).postgres.expect("postgres").ssl_mode(), SslMode::VerifyCa);
}

#[test]
fn a_pipelines_names_are_names_kafka_takes() {
    let settings = load(ORDERS);
    let id = settings.pipeline_id("public", "orders").expect("both sections");
    assert_eq!(id, "food_delivery_db.public.orders-food_orders_raw");
    assert_eq!(settings.cursor_topic(&id), format!("foodstream-cursor-{id}"));
    let (spaced, scored) =
        (settings.pipeline_id("a b", "ö").expect("id"), settings.pipeline_id("a_b", "_").expect("id"));
    assert_ne!(spaced, scored, "tidied names stay apart");
    assert!(spaced.starts_with("food_delivery_db.a_b._-food_orders_raw-"), "{spaced}");
    let long = settings.pipeline_id("public", &"t".repeat(400)).expect("id");
    let other = settings.pipeline_id("public", &"t".repeat(401)).expect("id");
    assert_ne!(long, other);
    for name in [&spaced, &long, &settings.cursor_topic(&long), &settings.cursor_topic(&spaced)] {
        let legal = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        assert!(legal && name.len() <= 249, "{name}");
    }
    let named = load(&format!("{ORDERS}cdc: {{pipeline_id: mine, cursor_topic: mine-too}}\n"));
    assert_eq!(named.pipeline_id("x", "y").expect("id"), "mine");
    assert_eq!(named.cursor_topic("mine"), "mine-too");
}

#[test]
fn show_tells_where_each_value_came_from() {
    let overrides = Overrides {
        set: vec!["cdc.batch_limit=7".to_owned()],
        table: Some("sales.orders".to_owned()),
        tree: Some(serde_json::json!({"retry": {"max_backoff_sec": 1}})),
        ..environment(&[("FOODSTREAM__KAFKA__TOPIC", "t")])
    };
    let settings = load_with(&format!("{ORDERS}streaming:\n  batch_interval: 2\n"), &overrides);
    let effective = settings.effective();
    let entry = |key: &str| {
        let entry = effective.iter().find(|entry| entry.key == key).unwrap_or_else(|| panic!("{key}"));
        (entry.value.as_str(), entry.origin.as_str())
    };
    assert_eq!(entry("postgres.host"), ("localhost", "orders.yml:2"));
    assert_eq!(entry("postgres.password"), ("******", "orders.yml:5"));
    assert_eq!(entry("postgres.table"), ("sales.orders", "--table"));
    assert_eq!(entry("kafka.topic"), ("t", "environment variable FOODSTREAM__KAFKA__TOPIC"));
    assert_eq!(entry("cdc.batch_limit"), ("7", "--set cdc.batch_limit"));
    assert_eq!(entry("cdc.poll_interval_sec"), ("2", "orders.yml:11"));
    assert_eq!(entry("retry.max_backoff_sec"), ("1", "overrides"));
    assert_eq!(entry("kafka.num_partitions"), ("3", "default"));
    assert_eq!(settings.show(false).lines().count(), effective.len());
    assert!(settings.show(true).contains("# orders.yml:2\n"));
}

/// A key is shown under its own name, or under the one whose value it gives.
#[test]
fn every_key_that_has_an_effect_is_shown() {
    const WITHOUT_EFFECT: &[&str] = &[
        "postgres.driver",
        "producer.acks",
        "producer.retries",
        "spark.app_name",
        "spark.master",
        "spark.output_mode",
    ];
    const UNDER_ANOTHER: &[(&str, &str)] = &[
        ("postgres.jdbc_url", "postgres.host"),
        ("postgres.password_file", "postgres.password"),
        ("producer.event_interval_seconds", "producer.rate"),
        ("spark.trigger_processing_time", "consumer.trigger_interval_ms"),
        ("status.token_file", "status.token"),
        ("streaming.batch_interval", "consumer.trigger_interval_ms"),
    ];
    let names = "kafka:\n  properties: {a: 1}\n  producer: {b: 1}\n  consumer: {c: 1}\n  topic_config: {d: 1}\n";
    let yaml = format!("{}datalake: {{path: lake}}\n", ORDERS.replace("kafka:\n", names));
    let effective = load(&yaml).effective();
    let keys = schema::key_paths();
    for key in keys.iter().filter(|key| !WITHOUT_EFFECT.contains(&key.as_str())) {
        let under = UNDER_ANOTHER.iter().find(|(given, _)| given == key).map_or(key.as_str(), |(_, shown)| shown);
        let within = format!("{under}.");
        let shown = effective.iter().any(|entry| entry.key == under || entry.key.starts_with(&within));
        assert!(shown, "`config show` lacks {key}");
    }
    for entry in &effective {
        let known = keys.iter().any(|key| entry.key == *key || entry.key.starts_with(&format!("{key}.")));
        assert!(known, "`config show` has {}, which is no key", entry.key);
    }
}

#[test]
fn show_tells_the_generator_and_the_totals_with_their_origin() {
    let yaml = "producer: {rate: 7, batch_size: 9}\naggregate: {every: hour, sum: []}\nspark: {trigger_processing_time: 3 s}\n";
    let shown = load_with(yaml, &set(&["producer.event_interval_seconds=4"])).show(true);
    for line in [
        "producer.rate = 0.25 # --set producer.event_interval_seconds",
        "producer.batch_size = 9 # orders.yml:1",
        "producer.seed = - # default",
        "aggregate.every = hour # orders.yml:2",
        "aggregate.sum = - # orders.yml:2",
        "aggregate.max_groups = 1000 # default",
        "consumer.trigger_interval_ms = 3000 # orders.yml:3",
    ] {
        let spaced: Vec<String> =
            shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(spaced.iter().any(|shown| shown == line), "{line}\n in\n{shown}");
    }
}

#[test]
fn a_unique_column_has_a_horizon_of_a_million_unless_it_is_told_another() {
    assert_eq!(load(ORDERS).validation.unique, None);
    let unique =
        |more: &str| load(&format!("validation: {{unique_column: event_id{more}}}\n")).validation.unique.unwrap();
    assert_eq!((unique("").column.as_str(), unique("").horizon), ("event_id", 1_000_000));
    assert_eq!(unique(", unique_horizon: 10").horizon, 10);
    let shown =
        load("validation: {total: {total: t, quantity: q, unit_price: p, discount_percentage: d}}\n").show(false);
    assert!(shown.contains("= t = q × p × (1 − d / 100)"), "{shown}");
}
