use super::*;

const LIMIT: &str = "cdc:\n  batch_limit: 10\n";

fn limit(overrides: &Overrides) -> u32 {
    load_with(LIMIT, overrides).cdc.batch_limit
}

#[test]
fn flags_go_over_arguments_over_environment_over_file_over_defaults() {
    let mut overrides = Overrides::default();
    assert_eq!(load(ORDERS).cdc.batch_limit, 1000);
    assert_eq!(limit(&overrides), 10);
    overrides.environment.insert("FOODSTREAM__CDC__BATCH_LIMIT".to_owned(), "20".to_owned());
    assert_eq!(limit(&overrides), 20);
    overrides.tree = Some(serde_json::json!({"cdc": {"batch_limit": 30}}));
    assert_eq!(limit(&overrides), 30);
    overrides.set = vec!["cdc.batch_limit=40".to_owned(), "cdc.batch_limit=50".to_owned()];
    assert_eq!(limit(&overrides), 50);
    overrides.set.push("cdc.batch_limit=".to_owned());
    assert_eq!(limit(&overrides), 1000, "an empty value goes back to the default");
}

#[test]
fn an_error_names_the_variable_or_flag_in_place_of_a_line() {
    golden_with(
        ORDERS,
        &environment(&[("FOODSTREAM__POSTGRES__PORT", "abc")]),
        "
error: `postgres.port` must be a whole number, not `abc`
--> environment variable FOODSTREAM__POSTGRES__PORT",
    );
    golden_with(
        ORDERS,
        &environment(&[("FOODSTREAM__KAFKA__BROKRS", "a:1")]),
        "
error: `kafka.brokrs` is not a known key
--> environment variable FOODSTREAM__KAFKA__BROKRS
 = did you mean `kafka.brokers`?",
    );
    golden_with(
        ORDERS,
        &set(&["kafka.num_partitions=0"]),
        "
error: `kafka.num_partitions` is `0`: lower than 1
--> --set kafka.num_partitions
 = give 1 to 10000",
    );
    let error = refused_with(ORDERS, &set(&["kafka.num_partitions=0"]));
    assert_eq!(place(&error), (None, None, None, Some("kafka.num_partitions")));
    let tree = Overrides { tree: Some(serde_json::json!({"cdc": {"batch_limit": "500"}})), ..Overrides::default() };
    golden_with(
        ORDERS,
        &tree,
        "
error: `cdc.batch_limit` must be a whole number, not the text \"500\"
--> overrides
 = remove the quotes",
    );
    let table = Overrides { table: Some("a.b.c".to_owned()), ..Overrides::default() };
    assert!(refused_with(ORDERS, &table).to_string().starts_with("--table: `postgres.table` is no table"));
}

#[test]
fn a_flag_that_is_no_pair_is_refused() {
    for pair in ["kafka", "kafka.topic", "=5", "kafka.=5", ".topic=5"] {
        let error = refused_with(ORDERS, &set(&[pair]));
        assert!(error.to_string().contains("expected section.key=value"), "{pair}: {error}");
    }
}

#[test]
fn the_environment_ignores_case_empties_and_other_peoples_variables() {
    let overrides = environment(&[
        ("FOODSTREAM__kafka__Topic", "lower"),
        ("FOODSTREAM__CONSUMER__MAXOFFSETSPERTRIGGER", "7"),
        ("FOODSTREAM__CDC__BATCH_LIMIT", ""),
        ("FOODSTREAM_TEST_KAFKA", "x"),
        ("KAFKA__TOPIC", "x"),
    ]);
    let settings = load_with(&format!("{ORDERS}{LIMIT}"), &overrides);
    assert_eq!(settings.kafka.expect("kafka").topic, "lower");
    assert_eq!(settings.consumer.max_offsets_per_trigger, Some(7));
    assert_eq!(settings.cdc.batch_limit, 10);
}

#[test]
fn an_alias_above_replaces_the_key_below() {
    let settings = load_with(ORDERS, &environment(&[("FOODSTREAM__KAFKA__BOOTSTRAP_SERVERS", "kafka:29092")]));
    assert_eq!(settings.kafka.expect("kafka").brokers, "kafka:29092");
}

#[test]
fn lists_and_mappings_come_from_outside_as_json() {
    let overrides = environment(&[
        ("FOODSTREAM__SCHEMA", r#"[{"name":"id","type":"bigint","nullable":false}]"#),
        ("FOODSTREAM__KAFKA__PROPERTIES__SECURITY_PROTOCOL", "ssl"),
        ("FOODSTREAM__KAFKA__PRODUCER", r#"{"linger.ms": 7}"#),
        ("FOODSTREAM__RETRY", r#"{"max_backoff_sec": 2.5}"#),
    ]);
    let mut overrides = Overrides { set: vec!["kafka.properties.ssl.ca.location=/ca.pem".to_owned()], ..overrides };
    overrides.set.push(r#"validation.rules=[{"column":"id","min":"0.10"}]"#.to_owned());
    let settings = load_with(ORDERS, &overrides);
    let kafka = settings.kafka.as_ref().expect("kafka");
    assert_eq!(kafka.properties["security.protocol"], "ssl");
    assert_eq!(kafka.properties["ssl.ca.location"], "/ca.pem");
    assert_eq!(kafka.producer_properties["linger.ms"], "7");
    assert_eq!(settings.schema.as_ref().expect("schema").columns[0].name, "id");
    assert_eq!(settings.validation.rules[0].min.as_deref(), Some("0.10"));
    assert_eq!(settings.retry.max_backoff.as_millis(), 2500);
}

#[test]
fn a_host_above_goes_over_a_url_below_and_the_other_way_round() {
    let url = "postgres:\n  jdbc_url: jdbc:postgresql://postgres:5433/food\n  user: u\n  table: t\n";
    let postgres = |overrides: &Overrides| load_with(url, overrides).postgres.expect("postgres");
    let above =
        postgres(&environment(&[("FOODSTREAM__POSTGRES__HOST", "127.0.0.1"), ("FOODSTREAM__POSTGRES__PORT", "6543")]));
    assert_eq!((above.host.as_str(), above.port, above.database.as_str()), ("127.0.0.1", 6543, "food"));
    let above = load_with(ORDERS, &set(&["postgres.jdbc_url=jdbc:postgresql://[::1]:1/x"])).postgres.expect("postgres");
    assert_eq!((above.host.as_str(), above.port, above.database.as_str()), ("::1", 1, "x"));
}

#[test]
fn a_secret_above_replaces_the_other_form_below() {
    let settings = load_with(
        &ORDERS.replace("password: student123", "password_file: /nonexistent"),
        &environment(&[("FOODSTREAM__POSTGRES__PASSWORD", "x")]),
    );
    assert!(settings.postgres.expect("postgres").password.is_some());
}

#[test]
fn only_the_environment_is_enough_and_half_a_section_harms_nobody_else() {
    let overrides = Overrides {
        tree: Some(serde_json::json!({"kafka": {"brokers": "localhost:9092", "topic": "t"}})),
        ..environment(&[("FOODSTREAM__POSTGRES__HOST", "127.0.0.1")])
    };
    let settings = Settings::in_memory(&overrides).expect("no file is needed");
    settings.require_kafka().expect("complete");
    let error = settings.require_postgres().expect_err("incomplete");
    assert!(error.to_string().starts_with("environment variable FOODSTREAM__POSTGRES__HOST: `postgres.db`"), "{error}");
    let error = settings.require_lake().expect_err("absent");
    assert!(error.to_string().starts_with("configuration: the section `datalake` is missing"), "{error}");
}

#[test]
fn the_local_stack_leaves_its_addresses_below_the_real_environment() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join(".foodstream")).expect("made");
    let file = folder.path().join(".foodstream/env");
    let path = std::env::var("PATH").expect("every test process has a PATH");
    std::fs::write(&file, "# local stack\nexport FOODSTREAM_X_PORT=5555\n\nPATH=lower\nQUOTED=\"a b\"\n")
        .expect("written");
    let overrides = Overrides::from_process(folder.path()).expect("read");
    assert_eq!(overrides.environment["FOODSTREAM_X_PORT"], "5555");
    assert_eq!(overrides.environment["QUOTED"], "a b");
    assert_eq!(overrides.environment["PATH"], path);
    std::fs::write(&file, "A=1\nnonsense\n").expect("written");
    let error = Overrides::from_process(folder.path()).expect_err("a line without =");
    assert!(error.to_string().ends_with(".foodstream/env:2: expected NAME=value"), "{error}");
}

#[test]
fn a_tree_that_is_no_mapping_is_refused() {
    let overrides = Overrides { tree: Some(serde_json::json!([1])), ..Overrides::default() };
    assert_eq!(refused_with(ORDERS, &overrides).to_string(), "overrides: expected sections, not a list");
}
