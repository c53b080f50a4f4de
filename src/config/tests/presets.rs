//! Which preset lies below a file, and who may say so.

use super::*;
use crate::config::Preset;

const PARTIAL: &str = "kafka: {topic_name: other}\naggregate: {group_by: [currency, product_category]}\n";
const PARTIAL_WITHOUT_TABLE: &str = "kafka: {topic_name: other}\n";
const SAYS_PURCHASES: &str = "preset: purchases\naggregate: {group_by: [currency, product_category]}\n";

fn purchases() -> Overrides {
    Overrides { made_for: Some(Preset::Purchases), ..Overrides::default() }
}

fn flag(preset: Preset) -> Overrides {
    Overrides { preset: Some(preset), ..Overrides::default() }
}

#[test]
fn orders_is_the_preset_that_nobody_named() {
    let settings = load(ORDERS);
    assert_eq!((settings.preset, settings.schema.is_some()), (Preset::Orders, false));
    let error = refused(PARTIAL).to_string();
    assert!(error.contains("currency"), "a partial purchases file is none of orders: {error}");
}

#[test]
fn file_environment_arguments_flags_and_the_caller_name_it_the_upper_one_first() {
    let columns = |yaml: &str, overrides: &Overrides| {
        let settings = load_with(yaml, overrides);
        (settings.preset, settings.schema.map(|schema| schema.columns.len()))
    };
    let found = (Preset::Purchases, Some(17));
    assert_eq!(columns(SAYS_PURCHASES, &Overrides::default()), found);
    assert_eq!(columns(SAYS_PURCHASES, &purchases()), found);
    assert_eq!(columns(PARTIAL, &purchases()), found);
    assert_eq!(columns(PARTIAL, &flag(Preset::Purchases)), found);
    assert_eq!(columns(PARTIAL, &set(&["preset=purchases"])), found);
    assert_eq!(columns(PARTIAL, &environment(&[("FOODSTREAM__PRESET", "Purchases")])), found);
    let tree = serde_json::json!({"preset": "purchases"});
    let argument = Overrides { tree: Some(tree), ..environment(&[("FOODSTREAM__PRESET", "orders")]) };
    assert_eq!(columns(PARTIAL, &argument), found);
    let upper = "preset: purchases\nkafka: {topic: t}\n";
    assert_eq!(columns(upper, &flag(Preset::Orders)).0, Preset::Orders);
    assert_eq!(
        columns("preset:\nkafka: {topic: t}\n", &Overrides::default()).0,
        Preset::Orders,
        "a blank says nothing"
    );
}

#[test]
fn a_file_of_orders_is_refused_by_the_purchase_pipeline() {
    golden_with(
        "preset: orders\nkafka: {topic: t}\n",
        &purchases(),
        "
error: `preset` is `orders`, but this is of the purchases pipeline
 --> orders.yml:1:9
  |
1 | preset: orders
  |         ^^^^^^
  = use a configuration of that pipeline, or remove `preset`",
    );
    let overrides = Overrides { set: vec!["preset=orders".to_owned()], ..purchases() };
    assert!(refused_with(PARTIAL, &overrides).to_string().starts_with("--set preset: `preset` is `orders`"));
}

#[test]
fn a_preset_that_does_not_exist_is_told_with_its_place() {
    let error = refused_with("preset: purchase\nkafka: {topic: t}\n", &purchases());
    assert_eq!(place(&error), (Some("orders.yml"), Some(1), Some(9), Some("preset")));
    assert!(error.to_string().contains("did you mean `purchases`?"), "{error}");
    assert!("sales".parse::<Preset>().expect_err("unknown").contains("use orders or purchases"));
}

#[test]
fn settings_remember_their_preset_and_a_class_of_purchases_refuses_others_without_columns() {
    let of_orders = load(ORDERS);
    let error = of_orders.require_preset(Preset::Purchases).expect_err("its columns are those of orders");
    assert!(error.to_string().contains("Config(…, preset=\"purchases\")"), "{error}");
    assert_eq!(error.kind(), Kind::Config);
    of_orders.require_preset(Preset::Orders).expect("its own");
    load_with(PARTIAL, &flag(Preset::Purchases)).require_preset(Preset::Purchases).expect("the same");
    let own = load("schema:\n  - {name: id, type: bigint}\n");
    own.require_preset(Preset::Purchases).expect("columns of its own need no preset's");
}

#[test]
fn a_missing_file_is_answered_with_the_shipped_one_of_its_pipeline() {
    let missing = |overrides: &Overrides| {
        let loaded = Settings::load(std::path::Path::new("no/such.yml"), overrides);
        loaded.expect_err("there is no such file").to_string()
    };
    assert!(missing(&Overrides::default()).ends_with("write one with `foodstream config init`"));
    for overrides in [purchases(), flag(Preset::Purchases)] {
        assert!(missing(&overrides).ends_with("write one with `foodstream config init --preset purchases`"));
    }
}

#[test]
fn advice_names_what_a_command_needs_to_find_the_settings_again() {
    let flags = |file: &str, yaml: &str, overrides: &Overrides, default: &str| {
        Settings::from_yaml(yaml, Some(file), overrides).expect("right").flags(default)
    };
    let (orders, events) = ("configs/orders_stream.yml", "configs/purchases.yml");
    assert_eq!(flags(orders, ORDERS, &Overrides::default(), orders), "");
    assert_eq!(flags("x.yml", ORDERS, &Overrides::default(), orders), " --config x.yml");
    assert_eq!(flags("x.yml", PARTIAL, &purchases(), orders), " --config x.yml --preset purchases");
    assert_eq!(flags("x.yml", SAYS_PURCHASES, &purchases(), orders), " --config x.yml");
    assert_eq!(flags("x.yml", PARTIAL, &purchases(), events), " --config x.yml");
    assert_eq!(flags(events, SAYS_PURCHASES, &purchases(), events), "");
    assert!(load(PARTIAL_WITHOUT_TABLE).has_no_table() && !load(ORDERS).has_no_table());
    assert!(!load("postgres: {host: h}\n").has_no_table(), "half a section is a mistake, not a pipeline without one");
}

#[test]
fn the_shipped_purchases_say_what_they_are() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/purchases.yml");
    let settings = Settings::load(&path, &Overrides::default()).unwrap_or_else(|error| panic!("{}", render(&error)));
    assert_eq!(settings.preset, Preset::Purchases);
    assert!(settings.notes().is_empty() && settings.unfinished().is_empty());
    let shown = settings.effective();
    assert_eq!((shown[0].key.as_str(), shown[0].value.as_str()), ("preset", "purchases"));
    assert!(shown[0].origin.contains("purchases.yml:"), "{}", shown[0].origin);
}

#[test]
fn the_address_of_a_local_server_in_the_environment_makes_no_table() {
    let address = [("FOODSTREAM__POSTGRES__HOST", "127.0.0.1"), ("FOODSTREAM__POSTGRES__PORT", "5432")];
    let settings = load_with(PARTIAL, &Overrides { preset: Some(Preset::Purchases), ..environment(&address) });
    assert!(settings.has_no_table() && settings.unfinished().is_empty());
    let and_a_password = [address[0], address[1], ("FOODSTREAM__POSTGRES__PASSWORD", "s3cret")];
    let settings = load_with(PARTIAL, &Overrides { preset: Some(Preset::Purchases), ..environment(&and_a_password) });
    assert!(!settings.has_no_table() && settings.unfinished().len() == 1);
}
