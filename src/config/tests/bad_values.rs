use super::*;

#[test]
fn an_unknown_key_is_located_with_the_nearest_known_one() {
    golden(
        "kafka:\n  brokrs: localhost:9092\n",
        "
error: `kafka.brokrs` is not a known key
 --> orders.yml:2:3
  |
2 |   brokrs: …
  |   ^^^^^^
  = did you mean `kafka.brokers`?",
    );
    let error = refused("kafka:\n  brokrs: localhost:9092\n");
    assert_eq!(place(&error), (Some("orders.yml"), Some(2), Some(3), Some("kafka.brokrs")));
    assert_eq!(error.to_string(), "orders.yml:2:3: `kafka.brokrs` is not a known key; did you mean `kafka.brokers`?");
    assert_eq!(error.report(), error.to_string());
}

#[test]
fn a_suggestion_knows_sections_aliases_and_other_sections() {
    let help = |yaml: &str| render(&refused(yaml)).lines().last().map(|line| line.trim().to_owned());
    assert_eq!(help("kafak:\n  brokers: x\n").as_deref(), Some("= did you mean `kafka`?"));
    assert_eq!(help("kafka:\n  bootstrap_server: x\n").as_deref(), Some("= did you mean `kafka.bootstrap_servers`?"));
    assert_eq!(help("kafka:\n  batch_limit: 5\n").as_deref(), Some("= did you mean `cdc.batch_limit`?"));
    assert_eq!(help("retry:\n  zzz: 5\n").as_deref(), Some("= known here are start_timeout_sec, max_backoff_sec"));
    assert_eq!(help("schema:\n  - {nam: a}\n").as_deref(), Some("= did you mean `schema[0].name`?"));
}

#[test]
fn a_wrong_type_says_what_is_wanted_and_what_was_found() {
    golden(
        "postgres:\n  port: abc\n",
        "
error: `postgres.port` must be a whole number, not the text \"abc\"
 --> orders.yml:2:9
  |
2 |   port: abc
  |         ^^^",
    );
    golden(
        "postgres:\n  port: \"5432\"\n",
        "
error: `postgres.port` must be a whole number, not the text \"5432\"
 --> orders.yml:2:9
  |
2 |   port: \"5432\"
  |         ^^^^^^
  = remove the quotes",
    );
    let fact = |yaml: &str| render(&refused(yaml)).lines().next().map(str::to_owned).expect("a line");
    assert_eq!(fact("kafka:\n  topic: [a, b]\n"), "error: `kafka.topic` must be text, not a list");
    assert_eq!(fact("kafka:\n  topic: true\n"), "error: `kafka.topic` must be text, not `true`");
    assert_eq!(fact("kafka:\n  exactly_once: 3\n"), "error: `kafka.exactly_once` must be true or false, not `3`");
    assert_eq!(fact("kafka: 3\n"), "error: `kafka` must be a mapping, not `3`");
    assert_eq!(fact("schema: {a: int}\n"), "error: `schema` must be a list, not a mapping");
    assert_eq!(fact("cdc:\n  batch_limit: 1.5\n"), "error: `cdc.batch_limit` must be a whole number, not `1.5`");
    assert_eq!(fact("datalake:\n  format: orc\n"), "error: `datalake.format` must be parquet, not the text \"orc\"");
    assert_eq!(
        fact("validation:\n  rules: [{column: a, min: [1]}]\n"),
        "error: `validation.rules[0].min` must be a single value, not a list"
    );
    assert_eq!(
        fact("cdc:\n  poll_interval_sec: .inf\n"),
        "error: not valid YAML: non-finite float `.inf` rejected by the configured policy"
    );
}

#[test]
fn a_number_out_of_range_comes_with_the_range() {
    golden(
        "postgres:\n  port: 0\n",
        "
error: `postgres.port` is `0`: lower than 1
 --> orders.yml:2:9
  |
2 |   port: 0
  |         ^
  = give 1 to 65535",
    );
    let last = |yaml: &str| render(&refused(yaml)).lines().last().map(|line| line.trim().to_owned()).expect("a line");
    assert_eq!(last("postgres:\n  port: 65536\n"), "= give 1 to 65535");
    assert_eq!(last("kafka:\n  num_partitions: -1\n"), "= give 1 to 10000");
    assert_eq!(last("cdc:\n  poll_interval_sec: 0\n"), "= give 0.001 to 86400");
    assert_eq!(last("cdc:\n  transaction_max_ms: 60000\n"), "= give 1 to 30000");
    assert_eq!(last("consumer:\n  maxOffsetsPerTrigger: 0\n"), "= give 1 or more");
    assert_eq!(last("streaming:\n  batch_interval: 1e9\n"), "= give 0.001 to 86400");
    let huge = render(&refused("postgres:\n  port: 99999999999999999999999\n"));
    assert!(huge.starts_with("error: `postgres.port` must be a whole number, not `99999999999999999999999`"), "{huge}");
    let huge = render(&refused("consumer:\n  max_batch_bytes: 18446744073709551615\n"));
    assert!(huge.contains("must be a number of at most 19 digits"), "{huge}");
}

#[test]
fn an_unset_variable_is_named_with_both_ways_out() {
    golden(
        "postgres:\n  port: ${PGPORT}\n",
        "
error: environment variable `PGPORT` is not set
 --> orders.yml:2:9
  |
2 |   port: ${PGPORT}
  |         ^^^^^^^^^
  = set it, or write `${PGPORT:-default}`",
    );
    golden(
        "postgres:\n  port: ${PGPORT:?ask Alice}\n",
        "
error: environment variable `PGPORT` is not set
 --> orders.yml:2:9
  |
2 |   port: ${PGPORT:?ask Alice}
  |         ^^^^^^^^^^^^^^^^^^^^
  = ask Alice",
    );
    let error = refused("postgres:\n  port: ${PGPORT}\n");
    assert_eq!(place(&error), (Some("orders.yml"), Some(2), Some(9), Some("postgres.port")));
}

#[test]
fn a_reference_that_nobody_would_expand_is_refused() {
    let environment = environment(&[("PGHOST", "db")]);
    golden_with(
        "postgres:\n  host: \"${PGHOST}\"\n",
        &environment,
        "
error: `postgres.host` still holds `${`: only unquoted values are expanded
 --> orders.yml:2:9
  |
2 |   host: \"${PGHOST}\"
  |         ^^^^^^^^^^^
  = remove the quotes around it, and close the brace",
    );
    for yaml in ["host: '${PGHOST}'", "host: ${PGHOST", "host: |\n    ${PGHOST}", "host: ${1X}", "host: ${PG HOST}"] {
        let error = refused_with(&format!("postgres:\n  {yaml}\n"), &environment);
        assert_eq!(place(&error).3, Some("postgres.host"), "{yaml}");
    }
    // What a variable holds is its own business.
    let odd = super::environment(&[("PGHOST", "${PGHOST}x")]);
    let yaml = ORDERS.replace("host: localhost", "host: a${PGHOST}");
    assert_eq!(load_with(&yaml, &odd).postgres.expect("postgres").host, "a${PGHOST}x");
}

#[test]
fn the_jdbc_url_must_agree_with_what_stands_beside_it() {
    golden(
        "postgres:\n  jdbc_url: \"jdbc:postgresql://postgres:5432/food\"\n  host: other\n",
        "
error: `postgres.host` contradicts `postgres.jdbc_url`, which says `postgres`
 --> orders.yml:3:9
  |
3 |   host: other
  |         ^^^^^
  = jdbc_url is at orders.yml:2:3: make them agree, or remove one",
    );
    let with = |url: &str| refused(&format!("postgres:\n  jdbc_url: {url}\n")).to_string();
    for url in [
        "jdbc:mysql://a:1/b",
        "jdbc:postgresql:food",
        "jdbc:postgresql://a:x/b",
        "jdbc:postgresql://a,b/c",
        "jdbc:postgresql://a/b?ssl=true",
        "jdbc:postgresql:///b",
    ] {
        assert!(with(url).contains("`postgres.jdbc_url` is no address of a database"), "{url}");
    }
    assert!(with("jdbc:postgresql://a:0/b").contains("`postgres.port` is `0`: lower than 1"));
}

#[test]
fn two_names_of_one_key_must_agree() {
    golden(
        "kafka:\n  topic: a\n  topic_name: b\n",
        "
error: `kafka.topic` is given twice, with different values
 --> orders.yml:3:3
  |
3 |   topic_name: b
  |   ^^^^^^^^^^
  = the other one is at orders.yml:2:3: remove one",
    );
    let error = refused("kafka:\n  auto_offset_reset: latest\nconsumer:\n  startingOffsets: earliest\n");
    assert_eq!(place(&error), (Some("orders.yml"), Some(2), Some(3), Some("consumer.starting_offsets")));
    load("kafka:\n  auto_offset_reset: latest\nconsumer:\n  startingOffsets: latest\n");
}

#[test]
fn contradictions_name_both_sides() {
    let fact = |yaml: &str| render(&refused(yaml)).lines().next().map(str::to_owned).expect("a line");
    assert_eq!(
        fact("postgres:\n  password: a\n  password_file: b\n"),
        "error: `postgres.password` and `postgres.password_file` are both given"
    );
    assert_eq!(fact("postgres:\n  sslcert: a\n"), "error: `postgres.sslcert` is given without `postgres.sslkey`");
    assert_eq!(
        fact("postgres:\n  sslmode: disable\n  sslrootcert: a\n"),
        "error: `postgres.sslrootcert` contradicts `postgres.sslmode: disable`"
    );
    assert_eq!(
        fact("consumer:\n  max_batch_bytes: 134217728\nmemory:\n  budget_mb: 64\n"),
        "error: a batch of 134217728 bytes does not fit the memory budget of 64 MB"
    );
    let share = load("consumer:\n  max_batch_bytes: 16777217\nmemory:\n  budget_mb: 64\n");
    assert_eq!(share.consumer.max_batch_bytes, 16_777_216);
    let notes: Vec<&str> = share.notes().iter().map(|note| note.text.as_str()).collect();
    assert_eq!(
        notes,
        ["`consumer.max_batch_bytes`: a batch gets 16777216 bytes instead of 16777217, a quarter of \
          `memory.budget_mb` (64); raise that to 65 for more"]
    );
    let quiet = load("consumer:\n  max_batch_bytes: 16777216\nmemory:\n  budget_mb: 64\n");
    assert!(quiet.notes().is_empty());
    assert_eq!(load("memory:\n  budget_mb: 1024\n").consumer.max_batch_bytes, 67_108_864);
    let within = "lies within `datalake.path`, where readers expect Parquet files and nothing else";
    for (key, yaml) in [
        ("datalake.quarantine_path", "datalake:\n  path: lake\n  quarantine_path: lake/q\n"),
        ("datalake.staging_path", "datalake:\n  path: ./lake\n  staging_path: lake\n"),
        ("streaming.checkpoint_location", "datalake:\n  path: lake\nstreaming:\n  checkpoint_location: x/../lake/c\n"),
        (
            "streaming.last_processed_timestamp_location",
            "datalake:\n  path: lake\nstreaming:\n  last_processed_timestamp_location: lake/state.txt\n",
        ),
    ] {
        assert_eq!(fact(yaml), format!("error: `{key}` {within}"));
    }
    assert!(fact("datalake:\n  path: lake\n  staging_path: lake_quarantine\n").contains("are the same folder"));
}

#[test]
fn values_with_a_grammar_say_what_they_want() {
    let says = |yaml: &str, words: &str| {
        let shown = render(&refused(yaml));
        assert!(shown.contains(words), "{shown}");
    };
    says("cdc:\n  default_start_timestamp: yesterday\n", "`cdc.default_start_timestamp` is no time");
    says("cdc:\n  default_start_timestamp: 2025-11-18T00:00:00Z\n", "has a zone");
    says("cdc:\n  timezone: Asia/Calcuta\n", "did you mean `Asia/Calcutta`?");
    says("cdc:\n  cursor_topic: a b\n", "is no name Kafka takes");
    says("kafka:\n  topic: food orders\n", "is no name Kafka takes");
    says("postgres:\n  table: a.b.c\n", "`postgres.table` is no table");
    says("postgres:\n  host: \"\"\n", "`postgres.host` is blank");
    says("postgres:\n  sslmode: verify_full\n", "did you mean `verify-full`?");
    says("datalake:\n  compression: zstd(40)\n", "is no codec");
    says("datalake:\n  path: s3://bucket/x\n", "object storage is not supported");
    says("logging:\n  level: loud\n", "use error, warn, info, debug, trace, off");
    says("logging:\n  format: xml\n", "use text, json, or a template");
    says("logging:\n  format: \"\"\n", "use text, json, or a template");
    says("logging:\n  format: \"%(lineno)d %(message)s\"\n", "unknown field `lineno`");
    says("schema: []\n", "`schema` lists no column");
    says("schema:\n  - {name: a, type: strng}\n", "column `a`: unknown type `strng`");
    says("schema:\n  - {name: a, type: struct}\n", "column `a`: unknown type `struct`");
    says("schema:\n  - {name: a}\n", "column `a` has no `type`");
    says("schema:\n  - {type: int}\n", "column 1 has no `name`");
    says("schema:\n  - {name: a, type: int}\n  - {name: a, type: int}\n", "listed twice");
    says("validation:\n  rules: [{not_null: true}]\n", "rule 1 names no `column`");
    says("validation:\n  rules: [{column: a, matches: '('}]\n", "is no regular expression");
    says("validation:\n  rules: [{column: a, min: abc}]\n", "is neither a decimal number nor a time");
    says("validation:\n  rules: [{column: a, one_of: []}]\n", "would accept nothing");
    says("schema: [{name: item, type: string}]\nvalidation:\n  rules: [{column: itm}]\n", "did you mean `item`?");
}

#[test]
fn a_section_or_key_that_a_command_needs_is_asked_for_with_its_place() {
    let settings = load("postgres:\n  host: a\nstreaming: {}\n");
    let shown = render(&settings.require_postgres().expect_err("incomplete"));
    assert_eq!(
        shown,
        "error: `postgres.db`, `postgres.user`, `postgres.table` are missing\n --> orders.yml:1:1\n  |\n1 | postgres:\n  \
         | ^^^^^^^^\n  = write it under `postgres:`, or set FOODSTREAM__POSTGRES__DB"
    );
    let error = settings.require_kafka().expect_err("absent");
    assert_eq!(place(&error), (Some("orders.yml"), None, None, Some("kafka")));
    assert_eq!(
        settings.require_lake().expect_err("absent").to_string().split(';').next(),
        Some("orders.yml: the section `datalake` is missing")
    );
    let error = settings.require_checkpoint().expect_err("absent");
    assert_eq!(place(&error), (Some("orders.yml"), Some(3), Some(1), Some("streaming.checkpoint_location")));
    assert_eq!(settings.unfinished().len(), 1);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*|[\\x00-\\x7f]*", value in proptest::prelude::any::<String>()) {
        let _ = Settings::from_yaml(&text, None, &Overrides::default()).map_err(|error| render(&error));
        for key in crate::config::schema::key_paths() {
            let path: Vec<&str> = key.split('.').collect();
            let tree = path.iter().rev().fold(serde_json::json!(value), |inner, key| serde_json::json!({*key: inner}));
            let overrides = Overrides { tree: Some(tree), ..set(&[&format!("{key}={value}")]) };
            for overrides in [Overrides { set: Vec::new(), ..overrides.clone() }, Overrides { tree: None, ..overrides }] {
                let _ = Settings::in_memory(&overrides).map_err(|error| render(&error));
            }
        }
    }
}

#[test]
fn a_total_or_unique_column_that_cannot_be_is_located() {
    let line = |lines: &str| {
        let schema = "schema:\n  - {name: event_id, type: string}\n  - {name: total_amount, type: \"decimal(12,2)\"}\n";
        let error = refused(&format!("validation:\n{lines}\n{schema}"));
        let (_, line, _, key) = place(&error);
        (line, key.map(str::to_owned), render(&error).lines().last().unwrap_or_default().trim().to_owned())
    };
    let found = line("  total: {total: total_amont, quantity: q, unit_price: p}");
    assert_eq!((found.0, found.1.as_deref()), (Some(2), Some("validation.total.total")));
    assert_eq!(found.2, "= did you mean `total_amount`?");
    let found = line("  total: {total: total_amount, quantity: total_amount}");
    assert_eq!((found.0, found.1.as_deref()), (Some(2), Some("validation.total")));
    assert!(found.2.starts_with("= it needs total, quantity and unit_price"), "{}", found.2);
    let found = line("  unique_column: event");
    assert_eq!((found.0, found.1.as_deref()), (Some(2), Some("validation.unique_column")));
    assert_eq!(found.2, "= did you mean `event_id`?");
    let found = line("  unique_horizon: 10");
    assert_eq!((found.0, found.1.as_deref()), (Some(2), Some("validation.unique_horizon")));
    let found = line("  unique_column: event_id\n  unique_horizon: 0");
    assert_eq!((found.0, found.1.as_deref()), (Some(3), Some("validation.unique_horizon")));
    assert_eq!(found.2, "= give 1 to 100000000");
}
