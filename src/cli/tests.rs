use clap::CommandFactory;

use super::*;

fn parse(words: &str) -> Command {
    Cli::try_parse_from(words.split(' ')).unwrap().command
}

fn refused(words: &str) -> String {
    let error = Cli::try_parse_from(words.split(' ')).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{words}");
    error.to_string()
}

#[test]
fn the_parser_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_consumer_knows_sparks_word_for_once() {
    for words in ["foodstream consumer --once", "foodstream consumer --available-now"] {
        let Command::Consumer(args) = parse(words) else { panic!("{words}") };
        assert!(args.once);
        assert_eq!(args.common.config.to_str(), Some("configs/orders_stream.yml"));
        assert_eq!(args.waits.once_wait.as_secs(), 90);
    }
}

#[test]
fn flags_of_the_documents_scripts_are_taken() {
    let words = "foodstream insert-orders --host postgres --port 5432 --database food_delivery_db --user student \
                 --password student123 --count 5";
    let Command::InsertOrders(args) = parse(&words.replace("  ", "")) else { panic!() };
    assert_eq!((args.count, args.server.port), (5, Some(5432)));
    assert!(!format!("{args:?}").contains("student123"), "a password must not show in Debug");
}

#[test]
fn bad_numbers_are_usage_errors() {
    refused("foodstream producer --max-rows 0");
    refused("foodstream producer --timeout -1");
    refused("foodstream producer --timeout nan");
    refused("foodstream insert-orders --invalid 2");
    refused("foodstream insert-orders --rate 0");
    refused("foodstream read --date 2025-13-01");
    refused("foodstream peek topic --timestamp 2025-11-18T10:00:00");
    refused("foodstream peek topic --timestamp 2025-11-18T10:00:00Z --offset 7");
    refused("foodstream doctor --section everything");
    refused("foodstream verify --section everything");
    refused("foodstream consumer --log-level debug -q");
    assert!(refused("foodstream prodcuer").contains("producer"));
}

#[test]
fn local_and_demo_are_given_back_with_their_options() {
    let main = |words: &str| main(words.split(' ').map(str::to_owned).collect());
    let Exit::Python { command, options } = main("foodstream local up --kafka-port 9999 --no-sample --dir x") else {
        panic!()
    };
    assert_eq!(command, "local");
    let expected = serde_json::json!({
        "command": "up", "dir": "x", "report": "text", "postgres_port": null, "kafka_port": 9999, "sample": false,
    });
    assert_eq!(Value::Object(options), expected);

    let Exit::Python { options, .. } = main("foodstream local logs kafka --lines 5") else { panic!() };
    let expected = serde_json::json!({ "command": "logs", "dir": null, "service": "kafka", "lines": 5 });
    assert_eq!(Value::Object(options), expected);

    let Exit::Python { options, .. } = main("foodstream local psql -- -c select") else { panic!() };
    assert_eq!(options["args"], serde_json::json!(["-c", "select"]));

    let Exit::Python { command, options } = main("foodstream demo --keep --report json") else { panic!() };
    assert_eq!(command, "demo");
    assert_eq!(Value::Object(options), serde_json::json!({ "keep": true, "dir": null, "report": "json" }));
}

#[test]
fn the_purchase_commands_have_a_configuration_of_their_own() {
    let Command::Purchases(args::Purchases::Report { common }) = parse("foodstream purchases report --quiet") else {
        panic!()
    };
    assert_eq!((common.config.to_str(), common.output.quiet), (Some("configs/purchases.yml"), true));
    let Command::Verify(verify) = parse("foodstream verify --preset purchases") else { panic!() };
    assert_eq!(verify.common.config.to_str(), Some("configs/purchases.yml"));
    let Command::Read(read) = parse("foodstream read --preset orders") else { panic!() };
    assert_eq!(read.common.config.to_str(), Some("configs/orders_stream.yml"));
    let Command::Verify(verify) = parse("foodstream verify --preset purchases --config x.yml") else { panic!() };
    assert_eq!(verify.common.preset, Some(crate::config::Preset::Purchases));
    assert_eq!(verify.common.config.to_str(), Some("x.yml"));
    assert!(refused("foodstream verify --preset sales").contains("use orders or purchases"));
}

#[test]
fn a_configuration_to_begin_with_is_written_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine/orders.yml");
    let code = |words: &str| {
        let words = format!("foodstream config {words} --config {}", file.display());
        match main(words.split(' ').map(str::to_owned).collect()) {
            Exit::Code(code) => code,
            Exit::Python { .. } => panic!("{words}"),
        }
    };
    assert_eq!(code("init"), 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), include_str!("../../configs/orders_stream.yml"));
    let schema = std::fs::read_to_string(file.with_file_name("schema.json")).unwrap();
    assert_eq!(schema, include_str!("../../configs/schema.json"));
    std::fs::write(&file, "mine").unwrap();
    assert_eq!(code("init --preset purchases"), 2);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine", "what is there stays");
}
