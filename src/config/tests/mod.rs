//! Tests of the configuration as its users meet it: text in, settings or a rendered error out.

mod aggregate;
mod bad_files;
mod bad_values;
mod documents;
mod kafka;
mod layers;
mod presets;
mod rhythm;
mod secrets;
mod shipped;
mod status;
mod values;

use std::collections::BTreeMap;

use super::{Overrides, Settings, render};
use crate::error::{Error, Kind};

/// The shortest configuration of both halves.
const ORDERS: &str = "\
postgres:
  host: localhost
  db: food_delivery_db
  user: student
  password: student123
  table: orders
kafka:
  brokers: localhost:9092
  topic: food_orders_raw
";

fn environment(pairs: &[(&str, &str)]) -> Overrides {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Overrides { environment: BTreeMap::from_iter(pairs), ..Overrides::default() }
}

fn set(pairs: &[&str]) -> Overrides {
    Overrides { set: pairs.iter().map(|pair| (*pair).to_owned()).collect(), ..Overrides::default() }
}

fn load(yaml: &str) -> Settings {
    load_with(yaml, &Overrides::default())
}

fn load_with(yaml: &str, overrides: &Overrides) -> Settings {
    Settings::from_yaml(yaml, Some("orders.yml"), overrides).unwrap_or_else(|error| panic!("{}", render(&error)))
}

fn refused(yaml: &str) -> Error {
    refused_with(yaml, &Overrides::default())
}

fn refused_with(yaml: &str, overrides: &Overrides) -> Error {
    let error = Settings::from_yaml(yaml, Some("orders.yml"), overrides).err();
    let error = error.unwrap_or_else(|| panic!("this configuration is wrong, but taken:\n{yaml}"));
    assert_eq!((error.kind(), error.exit_code(), error.is_retriable()), (Kind::Config, 2, false));
    error
}

/// The rendered error equals these lines.
#[track_caller]
fn golden(yaml: &str, expected: &str) {
    golden_with(yaml, &Overrides::default(), expected);
}

#[track_caller]
fn golden_with(yaml: &str, overrides: &Overrides, expected: &str) {
    let shown = render(&refused_with(yaml, overrides));
    assert!(shown == expected.trim_matches('\n'), "got:\n{shown}\n\nexpected:\n{}", expected.trim_matches('\n'));
}

/// File, line, column and key of the error.
fn place(error: &Error) -> (Option<&str>, Option<u64>, Option<u64>, Option<&str>) {
    let location = error.location().expect("a configuration error has a place");
    (location.file.as_deref(), location.line, location.column, location.key.as_deref())
}
