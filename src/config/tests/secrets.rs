use secrecy::ExposeSecret;

use super::*;

const CANARY: &str = "c4n4ry-of-the-mine";

/// Every way in which an error reaches a person.
fn words(error: &Error) -> String {
    let mut words = format!("{}\n{error}\n{error:?}\n{}\n{:?}", render(error), error.report(), error.location());
    let mut cause = std::error::Error::source(error);
    while let Some(current) = cause {
        words.push_str(&format!("\n{current}\n{current:?}"));
        cause = current.source();
    }
    words
}

fn password(settings: &Settings) -> Option<String> {
    let postgres = settings.postgres.as_ref().expect("postgres");
    postgres.password.as_ref().map(|secret| secret.expose_secret().to_owned())
}

#[test]
fn no_error_shows_a_secret_even_if_its_own_line_is_the_fault() {
    let faults = [
        "postgres:\n  password: \"CANARY\n  host: x\n",
        "postgres:\n  password: 'CANARY\n",
        "postgres:\n  password: @CANARY\n",
        "postgres:\n  password: *CANARY\n",
        "postgres:\n  password: !CANARY x\n",
        "postgres:\n  password: !!int CANARY\n",
        "postgres:\n  password: a: CANARY\n",
        "postgres:\n  password: `CANARY`\n",
        "postgres:\n  password: [CANARY]\n",
        "postgres:\n  password: {CANARY: CANARY}\n",
        "postgres:\n  password:\n    CANARY: x\n",
        "postgres:\n  password:\n    - CANARY\n",
        "postgres:\n  password: |\n    CANARY\n   CANARY: y\n",
        "postgres:\n  password: \"a\n    CANARY\\q\"\n",
        "postgres:\n  password: CANARY\n   more: x\n",
        "postgres:\n  password: CANARY\n  password: CANARY\n",
        "postgres:\n  password: CANARY\n  password_file: /nonexistent\n",
        "postgres:\n  password: ${1 CANARY}\n",
        "postgres:\n  password: \"${CANARY\"\n",
        "postgres:\n  passwrd: CANARY\n",
        "postgres:\n  pasword: \"CANARY\n",
        "postgres:\n  passwort: CANARY\n",
        "postgres:\n  pgpass: CANARY\n",
        "postgres: {user: a, password: CANARY, port: 0}\n",
        "postgres: {user: a, password: CANARY, prot: 1}\n",
        "postgres:\n  jdbc_url: jdbc:postgresql://u:CANARY@h/db\n",
        "postgres:\n  jdbc_url: jdbc:postgresql://h/db?user=a&password=CANARY\n",
        "postgres:\n\tpassword: CANARY\n",
        "kafka:\n  properties:\n    sasl.password: CANARY\n    acks: 1\n",
        "kafka:\n  properties: {sasl.password: CANARY, acks: 1}\n",
        "kafka:\n  properties:\n    sasl.password: [CANARY]\n",
        "kafka:\n  properties:\n    sasl.password: \"CANARY\n",
        "kafka:\n  properties:\n    sasl.jaas.config: x required password=\"CANARY\"\n    group.id: x\n",
        "kafka:\n  properties:\n    sasl.jaas.config: a: CANARY\n",
        "kafka:\n  properties:\n    ssl.key.pem: |\n      CANARY\n     CANARY: b\n",
        "kafka:\n  brokers: user:CANARY@host:9092\n",
        "kafka:\n  token: CANARY\n",
        "postgres:\n  host: postgresql://user:CANARY@host/db\n",
    ];
    for fault in faults {
        let error = refused(&fault.replace("CANARY", CANARY));
        let words = words(&error);
        assert!(!words.contains(CANARY), "{fault}\n{words}");
        assert!(error.location().is_some_and(|place| place.line.is_some()), "{words}");
    }
}

#[test]
fn no_error_shows_a_secret_that_a_variable_or_flag_brought() {
    let environment = environment(&[("PW", CANARY)]);
    for fault in [
        "postgres:\n  port: ${PW}\n",
        "postgres:\n  sslmode: ${PW}\n",
        "postgres:\n  password: ${PW}\n  port: 0\n",
        "postgres:\n  jdbc_url: jdbc:postgresql://h/db?password=${PW}\n",
        "cdc:\n  timezone: ${PW}\n",
        "cdc:\n  default_start_timestamp: ${PW}\n",
        "kafka:\n  exactly_once: ${PW}\n",
        "kafka:\n  topic: ${PW} x\n",
        "kafka:\n  properties:\n    sasl.password: ${PW}\n    acks: 1\n",
        "kafka:\n  properties:\n    security.protocol: ${PW}\n",
        "schema:\n  - ${PW}\n",
        "validation:\n  rules:\n    - column: a\n      min: ${PW}\n",
        "validation:\n  rules:\n    - column: a\n      matches: (${PW}\n",
        "consumer:\n  startingOffsets: ${PW}\n",
        "logging:\n  level: ${PW}\n",
    ] {
        let words = words(&refused_with(fault, &environment));
        assert!(!words.contains(CANARY), "{fault}\n{words}");
    }
    let unknown = super::environment(&[("FOODSTREAM__POSTGRES__PASSWRD", CANARY)]);
    assert!(!words(&refused_with(ORDERS, &unknown)).contains(CANARY));
    let flags = set(&[&format!("postgres.password=[\"{CANARY}\"]"), "postgres.port=0"]);
    assert!(!words(&refused_with(ORDERS, &flags)).contains(CANARY));
    assert!(!words(&refused_with(ORDERS, &set(&[&format!("postgres.passwrd={CANARY}")]))).contains(CANARY));
    assert!(!words(&refused_with(ORDERS, &set(&[&format!("password {CANARY}=")]))).contains("password_"));
    let tree = serde_json::json!({"postgres": {"password": [CANARY]}});
    let tree = Overrides { tree: Some(tree), ..Overrides::default() };
    assert!(!words(&refused_with(ORDERS, &tree)).contains(CANARY));
}

#[test]
fn neither_debug_nor_show_prints_a_secret() {
    let yaml = format!(
        "{}  properties:\n    sasl.password: {CANARY}\n    ssl.key.pem: {CANARY}\n    linger.ms: 5\n",
        ORDERS.replace("student123", CANARY)
    );
    let overrides = Overrides {
        tree: Some(serde_json::json!({"kafka": {"producer": {"sasl.oauthbearer.client.secret": CANARY}}})),
        set: vec![format!("kafka.consumer.ssl.key.password={CANARY}")],
        ..environment(&[("PW", CANARY)])
    };
    let settings = load_with(&yaml, &overrides);
    for shown in [
        format!("{settings:?}"),
        format!("{settings:#?}"),
        settings.show(true),
        settings.show(false),
        format!("{overrides:?}"),
    ] {
        assert!(!shown.contains(CANARY), "{shown}");
    }
    let shown = settings.show(true);
    assert!(shown.contains("linger.ms"), "{shown}");
    assert!(shown.contains("kafka.consumer.ssl.key.password"), "{shown}");
}

#[test]
fn a_password_keeps_its_characters_however_it_arrives() {
    for value in
        ["007", "1e5", "0x1F", "true", "null", "~", "a${b}", "$$x", " padded ", "[1]", "{}", "p: #w", "\"", "5432.10"]
    {
        let yaml = ORDERS.replace("student123", "${PW}");
        assert_eq!(
            password(&load_with(&yaml, &environment(&[("PW", value)]))).as_deref(),
            Some(value),
            "from a variable"
        );
        let over = environment(&[("FOODSTREAM__POSTGRES__PASSWORD", value)]);
        assert_eq!(password(&load_with(ORDERS, &over)).as_deref(), Some(value), "from the environment");
        let over = set(&[&format!("postgres.password={value}")]);
        assert_eq!(password(&load_with(ORDERS, &over)).as_deref(), Some(value), "from a flag");
    }
    for (written, value) in [
        ("007", "007"),
        ("1e5", "1e5"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("'true'", "true"),
        ("1.10  # old", "1.10"),
    ] {
        assert_eq!(password(&load(&ORDERS.replace("student123", written))).as_deref(), Some(value));
    }
    assert_eq!(password(&load(&ORDERS.replace("student123", "~"))), None);
    assert_eq!(password(&load(&ORDERS.replace("student123", "${PW:-}"))), None, "an empty reference is no password");
}

#[test]
fn a_secret_file_gives_its_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("secret");
    let yaml = ORDERS.replace("password: student123", &format!("password_file: {}", path.display()));
    for (content, secret) in [("a b\n", "a b"), ("x\r\n", "x"), ("two\n\n", "two\n"), ("é", "é")] {
        std::fs::write(&path, content).expect("written");
        assert_eq!(password(&load(&yaml)).as_deref(), Some(secret));
    }
    let kafka = format!("{ORDERS}  properties:\n    sasl.password_file: {}\n", path.display());
    assert_eq!(load(&kafka).kafka.expect("kafka").properties["sasl.password"], "é");

    std::fs::write(&path, "\n").expect("written");
    assert!(render(&refused(&yaml)).contains("it is empty"));
    std::fs::write(&path, [0xff, b'x']).expect("written");
    assert!(render(&refused(&yaml)).contains("it is not UTF-8"));
    std::fs::remove_file(&path).expect("removed");
    let error = refused(&yaml);
    assert_eq!(place(&error), (Some("orders.yml"), Some(5), Some(18), Some("postgres.password_file")));
    let error = refused(&kafka);
    assert_eq!(place(&error).3, Some("kafka.properties.sasl.password_file"));
    assert_eq!(place(&error).1, Some(11));
    let folder = ORDERS.replace("password: student123", &format!("password_file: {}", folder.path().display()));
    assert!(render(&refused(&folder)).contains("it is no regular file"));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 2_000,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..Default::default()
    })]

    /// A slip anywhere in the file, also one that tears the password's line apart, shows no password.
    #[test]
    fn no_slip_of_the_keyboard_shows_a_secret(
        quote in proptest::sample::select(vec!["", "\"", "'"]),
        slips in proptest::collection::vec((0.0..1.0f64, proptest::sample::select(SLIPS.to_vec())), 1..4),
    ) {
        let yaml = format!("{}  properties:\n    sasl.password: {quote}{CANARY}{quote}\n    linger.ms: 5\n", ORDERS)
            .replace("student123", &format!("{quote}{CANARY}{quote}"));
        let mut slipped: Vec<String> = yaml.split(CANARY).map(str::to_owned).collect();
        for (place, slip) in slips {
            let at = (place * slipped.len() as f64) as usize;
            let part = &mut slipped[at];
            let position = (place * slip.len() as f64 * 7919.0) as usize % (part.len() + 1);
            part.insert_str(position, slip);
        }
        if let Err(error) = Settings::from_yaml(&slipped.join(CANARY), Some("orders.yml"), &Overrides::default()) {
            let words = words(&error);
            proptest::prop_assert!(!words.contains(CANARY), "{}\n{words}", slipped.join(CANARY));
        }
    }
}

/// Characters that mean something to YAML, and a line that joins the next.
const SLIPS: &[&str] = &[
    ":", ": ", "\"", "'", "{", "}", "[", "]", "\n", "\t", "#", " #", "&", "*", "!", "|", ">", "%", "@", "`", "- ",
    "  ", "${", "\\", ",", "x", "---\n",
];
