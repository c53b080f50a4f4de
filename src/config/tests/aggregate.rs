//! The `aggregate` section: what is kept where nothing is said, and what no exact total can be made of.

use super::*;
use crate::model::{Aggregation, Every};

const EVENTS: &str = "\
schema:
  - {name: event_id, type: string}
  - {name: total, type: \"decimal(12,2)\"}
  - {name: pieces, type: int}
  - {name: share, type: double}
  - {name: currency, type: string}
  - {name: is_new, type: boolean}
  - {name: rows, type: string}
  - {name: created_at, type: timestamp}
";

fn events(section: &str) -> String {
    format!("{EVENTS}aggregate:\n{section}")
}

#[test]
fn without_the_section_rows_are_counted_by_day_and_a_decimal_amount_is_summed() {
    let amount = Aggregation { sum: vec!["amount".to_owned()], ..Aggregation::default() };
    assert_eq!(load(ORDERS).aggregate.definition, amount);
    assert_eq!(load(EVENTS).aggregate.definition, Aggregation::default());
    let doubles = "schema:\n  - {name: amount, type: double}\n  - {name: created_at, type: timestamp}\n";
    assert_eq!(load(doubles).aggregate.definition, Aggregation::default());
    // The other keys leave that default alone.
    let grouped = load("aggregate:\n  group_by: [restaurant_name]\n").aggregate;
    assert_eq!((grouped.definition.sum, grouped.max_groups, grouped.topic), (amount.sum, 1_000, None));
    assert!(load("aggregate:\n  sum: []\n").aggregate.definition.sum.is_empty());
}

#[test]
fn every_key_is_taken() {
    let text = events(
        "  every: hour\n  group_by: [currency, is_new]\n  sum: [total]\n  min: [total]\n  max: [pieces]\n  avg: [pieces]\n  \
         topic: totals\n  max_groups: 5\n",
    );
    let aggregate = load(&text).aggregate;
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let expected = Aggregation {
        every: Every::Hour,
        group_by: list(&["currency", "is_new"]),
        sum: list(&["total"]),
        min: list(&["total"]),
        max: list(&["pieces"]),
        avg: list(&["pieces"]),
    };
    assert_eq!(aggregate.definition, expected);
    assert_eq!((aggregate.topic.as_deref(), aggregate.max_groups), (Some("totals"), 5));
    assert_eq!(aggregate.definition.columns(), ["total", "pieces"]);
}

#[test]
fn a_column_that_is_not_there_is_located_with_the_nearest() {
    golden(
        "aggregate:\n  group_by: [restaurant_name, itm]\n",
        "
error: the schema has no column `itm`
 --> orders.yml:2:31
  |
2 |   group_by: [restaurant_name, itm]
  |                               ^^^
  = did you mean `item`?",
    );
}

#[test]
fn a_type_without_an_exact_total_is_located() {
    golden(
        &events("  sum:\n    - total\n    - share\n"),
        "
error: `aggregate.sum` cannot take column `share` of type double
  --> orders.yml:13:7
   |
13 |     - share
   |       ^^^^^
   = totals are exact, so name decimal or integer columns",
    );
    for (section, words) in [
        ("  group_by: [total]\n", "cannot take column `total`"),
        ("  group_by: [created_at]\n", "cannot take column `created_at`"),
        ("  group_by: [rows]\n", "a column `rows` of their own"),
        ("  min: [currency]\n", "cannot take column `currency`"),
        ("  avg: [pieces, pieces]\n", "lists `pieces` twice"),
        ("  every: week\n", "aggregate.every"),
        ("  max_groups: 0\n", "`aggregate.max_groups` is `0`"),
        ("  topic: a b\n", "no name Kafka takes"),
    ] {
        let error = refused(&events(section)).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn totals_do_not_go_to_the_topic_they_are_made_from() {
    let error = refused(&format!("{ORDERS}aggregate:\n  topic: food_orders_raw\n"));
    assert_eq!(place(&error).3, Some("aggregate.topic"));
}
