//! Trigger and rate: two keys each, of which the uppermost layer's counts.

use super::*;
use crate::config::{NoteLevel, Preset};
use crate::telemetry::testing::Lines;

const OURS: &str = "consumer:\n  trigger_interval_ms: 2000\n";
/// A file without either; an empty one is refused.
const OTHER: &str = "memory: {budget_mb: 128}\n";
const SPARKS: &str = "spark:\n  trigger_processing_time: 3 seconds\n";

fn over_purchases(overrides: Overrides) -> Overrides {
    Overrides { preset: Some(Preset::Purchases), ..overrides }
}

fn trigger_ms(yaml: &str, overrides: Overrides) -> u128 {
    load_with(yaml, &over_purchases(overrides)).consumer.trigger_interval.as_millis()
}

fn origin(yaml: &str, overrides: Overrides, key: &str) -> String {
    let effective = load_with(yaml, &over_purchases(overrides)).effective();
    effective.into_iter().find(|entry| entry.key == key).expect("shown").origin
}

#[test]
fn of_both_triggers_the_upper_layers_counts() {
    let variable = |value| environment(&[("FOODSTREAM__SPARK__TRIGGER_PROCESSING_TIME", value)]);
    assert_eq!(trigger_ms(OTHER, Overrides::default()), 10_000, "the preset's");
    assert_eq!(trigger_ms(OURS, Overrides::default()), 2_000);
    assert_eq!(trigger_ms(SPARKS, Overrides::default()), 3_000);
    assert_eq!(trigger_ms(OURS, variable("4 seconds")), 4_000);
    assert_eq!(trigger_ms(OURS, set(&["spark.trigger_processing_time=5 seconds"])), 5_000);
    assert_eq!(trigger_ms(SPARKS, set(&["consumer.trigger_interval_ms=600"])), 600);
    let both = Overrides { set: vec!["consumer.trigger_interval_ms=600".to_owned()], ..variable("4 seconds") };
    assert_eq!(trigger_ms(OTHER, both), 600);
    let tree = serde_json::json!({"spark": {"trigger_processing_time": "7 seconds"}});
    let argument = Overrides { tree: Some(tree), ..environment(&[("FOODSTREAM__CONSUMER__TRIGGER_INTERVAL_MS", "1")]) };
    assert_eq!(trigger_ms(SPARKS, argument), 7_000);
    let shown = origin(OURS, variable("4 seconds"), "consumer.trigger_interval_ms");
    assert_eq!(shown, "environment variable FOODSTREAM__SPARK__TRIGGER_PROCESSING_TIME");
}

#[test]
fn two_triggers_in_one_layer_are_a_contradiction_unless_they_agree() {
    golden(
        &format!("{OURS}{SPARKS}"),
        "
error: `consumer.trigger_interval_ms` and `spark.trigger_processing_time` both answer the same question
 --> orders.yml:2:24
  |
2 |   trigger_interval_ms: 2000
  |                        ^^^^
  = keep one of them",
    );
    refused_with(OTHER, &set(&["consumer.trigger_interval_ms=1", "spark.trigger_processing_time=3 seconds"]));
    assert_eq!(trigger_ms(&format!("{OURS}{}", SPARKS.replace('3', "2")), Overrides::default()), 2_000);
}

#[test]
fn the_interval_of_the_batches_is_the_trigger_where_none_is_written() {
    let interval = "streaming:\n  batch_interval: 2\n";
    assert_eq!(trigger_ms(interval, Overrides::default()), 2_000, "over a preset too");
    assert_eq!(trigger_ms(&format!("{interval}{SPARKS}"), Overrides::default()), 3_000);
}

/// What a user does who takes the comment signs of the block away, with the file as the default one.
#[test]
fn the_spark_block_of_the_shipped_purchases_has_an_effect_when_it_is_switched_on() {
    let shipped = include_str!("../../../configs/purchases.yml");
    let block = shipped.find("# spark:").expect("the block");
    let (head, tail) = shipped.split_at(block);
    let switched = format!("{head}{}", tail.replace("# spark:", "spark:").replace("\n#   ", "\n  "));
    assert_eq!(trigger_ms(&switched.replace("10 seconds  ", "500 milliseconds  "), Overrides::default()), 500);
    assert_eq!(trigger_ms(shipped, set(&["spark.trigger_processing_time=1 second"])), 1_000);
    assert_eq!(trigger_ms(shipped, set(&["streaming.batch_interval=1"])), 1_000);
    assert_eq!(trigger_ms(shipped, Overrides::default()), 10_000);
}

#[test]
fn of_rate_and_pause_the_upper_layers_counts() {
    let rate = |yaml: &str, overrides: &Overrides| load_with(yaml, overrides).events.rate;
    let (fast, slow) = ("producer: {rate: 100}\n", "producer: {event_interval_seconds: 4}\n");
    assert_eq!(rate(OTHER, &Overrides::default()), Some(1.0));
    assert_eq!(rate(fast, &set(&["producer.event_interval_seconds=2"])), Some(0.5));
    assert_eq!(rate(slow, &set(&["producer.rate=unlimited"])), None);
    assert_eq!(rate(fast, &environment(&[("FOODSTREAM__PRODUCER__EVENT_INTERVAL_SECONDS", "4")])), Some(0.25));
    let tree = serde_json::json!({"producer": {"event_interval_seconds": 0}});
    assert_eq!(rate(fast, &Overrides { tree: Some(tree), ..Overrides::default() }), None);
    let error = refused("producer: {rate: 100, event_interval_seconds: 4}\n").to_string();
    assert!(error.contains("both answer the same question"), "{error}");
}

#[test]
fn keys_of_the_jvm_are_said_once_and_a_raised_acks_is_a_warning() {
    let settings = load("producer: {acks: 1, retries: 3}\nspark: {app_name: a, master: m, output_mode: complete}\n");
    let notes: Vec<_> = settings.notes().iter().map(|note| (note.level, note.text.as_str())).collect();
    assert!(notes[0].1.starts_with("`spark.app_name`, `spark.master`, `spark.output_mode` are keys of the JVM"));
    assert!(notes[1].1.starts_with("`producer.acks: 1` is raised to `all`") && notes[2].1.contains("retries"));
    let levels: Vec<_> = notes.iter().map(|note| note.0).collect();
    assert_eq!(levels, [NoteLevel::Info, NoteLevel::Warning, NoteLevel::Info]);
    assert!(load("producer: {acks: all}\n").notes().is_empty());
}

#[test]
fn notes_reach_the_log_at_the_default_level() {
    let lines = Lines::default();
    let sink = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(move || sink.clone())
        .finish();
    let settings = load("producer: {acks: 1}\nspark: {master: local}\n");
    tracing::subscriber::with_default(subscriber, || settings.log_notes());
    let text = lines.text();
    assert!(text.contains("INFO") && text.contains("`spark.master` is a key of the JVM"), "{text}");
    assert!(text.contains("WARN") && text.contains("raised to `all`"), "{text}");
}
