//! Values of the unique column: what claims one, how long it is remembered, and what a naive model says.

use arrow::array::{Int64Array, StringArray};
use proptest::prelude::*;

use super::*;
use crate::config::settings::Unique;

fn unique(data_type: DataType, horizon: u64, validation: Validation) -> Validator {
    let unique = Some(Unique { column: "event_id".to_owned(), horizon });
    let schema = schema_of(&[("event_id", data_type, true), ("note", DataType::String, false)]);
    Validator::compile(&schema, &Validation { unique, ..validation }, "at", Tz::UTC, "purchases").unwrap()
}

fn event(id: &str, note: &str) -> String {
    format!(r#"{{"event_id":{id},"note":{note},"at":"2025-11-18T10:00:00Z"}}"#)
}

/// Whether each of these ids is accepted, in valid rows.
fn accepts(validator: &mut Validator, ids: &[i64]) -> Vec<bool> {
    let values: Vec<_> = ids.iter().map(|id| event(&id.to_string(), "\"x\"")).collect();
    let rejected = validator.validate(&messages(&values)).unwrap().rejected;
    let mut accepted = vec![true; ids.len()];
    if let Some(rejected) = rejected {
        for offset in rejected.column_by_name("offset").unwrap().as_primitive::<Int64Type>().values() {
            accepted[(offset - 100) as usize] = false;
        }
    }
    accepted
}

/// One micro-batch of these ids, committed under the number.
fn commit(validator: &mut Validator, number: u64, ids: &[i64]) {
    assert!(accepts(validator, ids).iter().all(|&accepted| accepted), "{ids:?}");
    let recent = validator.recent().unwrap();
    recent.cut();
    assert!(recent.committed(number));
}

fn begun(horizon: u64) -> Validator {
    let mut validator = unique(DataType::BigInt, horizon, defaults());
    let recent = validator.recent().unwrap();
    let nothing = recent.recall();
    recent.take_in(nothing, 0);
    validator
}

#[test]
fn the_first_valid_row_of_a_value_wins_and_an_invalid_one_does_not_claim_it() {
    for (data_type, a, b) in [
        (DataType::String, "\"purchase_1\"", "\"purchase_2\""),
        (DataType::Int, "1", "2"),
        (DataType::SmallInt, "1", "2"),
        (DataType::BigInt, "9007199254740992", "9007199254740993"),
    ] {
        let mut validator = unique(data_type, 10, defaults());
        let values = [event(a, "null"), event(a, "\"x\""), event(a, "\"y\""), event(b, "\"x\""), event(a, "null")];
        let validated = validator.validate(&messages(&values)).unwrap();
        assert_eq!(validated.counts, Counts { input: 5, accepted: 2, rejected: 3 });
        let reasons = reasons_of(&validated.rejected.unwrap());
        assert_eq!(reasons, ["null:note", "duplicate_id:event_id", "duplicate_id:event_id,null:note"]);
        let later = validator.validate(&messages(&[event(b, "\"z\"")])).unwrap();
        assert_eq!(reasons_of(&later.rejected.unwrap()), ["duplicate_id:event_id"]);
    }
}

#[test]
fn nulls_and_unreadable_values_are_no_repetitions() {
    let mut validator = unique(DataType::String, 10, defaults());
    let values = [event("null", "\"x\""), event("null", "\"x\""), event("5", "\"x\""), event("5", "\"x\"")];
    let validated = validator.validate(&messages(&values)).unwrap();
    assert_eq!(validated.counts.accepted, 2);
    assert_eq!(reasons_of(&validated.rejected.unwrap()), ["wrong_type:event_id", "wrong_type:event_id"]);
}

#[test]
fn where_invalid_rows_stay_in_the_lake_a_repetition_stays_there_tagged() {
    let mut validator = unique(DataType::Int, 10, Validation { drop_invalid_rows: false, ..defaults() });
    let validated = validator.validate(&messages(&[event("1", "\"x\""), event("1", "\"x\"")])).unwrap();
    assert_eq!(validated.counts.accepted, 2);
    let errors = validated.accepted[0].rows.column_by_name("validation_errors").unwrap().as_string::<i32>();
    assert_eq!(errors.iter().collect::<Vec<_>>(), [None, Some("duplicate_id:event_id")]);
}

#[test]
fn a_value_is_known_for_the_horizon_and_gone_with_the_commit_behind_it() {
    let mut validator = begun(4);
    commit(&mut validator, 1, &[1, 2, 3]);
    commit(&mut validator, 2, &[4, 5, 6]);
    assert_eq!(accepts(&mut validator, &[1, 6]), [false, false], "commit 2 alone holds fewer than four");
    commit(&mut validator, 3, &[7]);
    assert_eq!(accepts(&mut validator, &[1, 3, 4, 7]), [true, true, false, false], "commits 2 and 3 hold four");
    assert!(validator.recent().unwrap().held() <= 4 + 3 + 2);
}

#[test]
fn a_dropped_batch_takes_its_values_with_it() {
    let mut validator = begun(100);
    commit(&mut validator, 1, &[1]);
    assert_eq!(accepts(&mut validator, &[2, 3]), [true, true]);
    validator.recent().unwrap().cut();
    assert_eq!(accepts(&mut validator, &[2, 4]), [false, true], "what is in flight counts");
    validator.recent().unwrap().forget_open();
    assert_eq!(accepts(&mut validator, &[3, 4]), [false, true]);
    validator.recent().unwrap().forget_pending();
    assert_eq!(accepts(&mut validator, &[1, 2, 3, 4]), [false, true, true, true]);
}

#[test]
fn a_commit_behind_another_workers_is_read_from_the_log_with_it() {
    let mut validator = begun(100);
    accepts(&mut validator, &[1]);
    validator.recent().unwrap().cut();
    accepts(&mut validator, &[2]);
    let recent = validator.recent().unwrap();
    assert!(!recent.committed(2), "commit 1 is not known");
    let mut recalled = recent.recall();
    recalled.see(2, &Int64Array::from(vec![1]));
    recalled.see(1, &Int64Array::from(vec![Some(8), None, Some(9)]));
    recent.take_in(recalled, 2);
    assert_eq!((recent.held(), recent.through()), (4, Some(2)));
    assert_eq!(accepts(&mut validator, &[1, 2, 8, 9, 3]), [false, false, false, false, true]);
    let recent = validator.recent().unwrap();
    recent.cut();
    assert!(recent.committed(3));
}

#[test]
fn a_value_that_two_commits_hold_is_known_until_both_are_gone() {
    let mut validator = begun(2);
    let recent = validator.recent().unwrap();
    let mut recalled = recent.recall();
    recalled.see(3, &Int64Array::from(vec![5]));
    recalled.see(2, &Int64Array::from(vec![5]));
    recalled.see(1, &Int64Array::from(vec![5]));
    recent.take_in(recalled, 3);
    commit(&mut validator, 4, &[6]);
    assert_eq!(accepts(&mut validator, &[5]), [false], "commits 3 and 4 are the last two values");
    commit(&mut validator, 5, &[7]);
    assert_eq!(accepts(&mut validator, &[5]), [true]);
}

#[test]
fn equal_words_are_equal_however_they_came() {
    let mut validator = unique(DataType::String, 10, defaults());
    let recent = validator.recent().unwrap();
    let mut recalled = recent.recall();
    recalled.see(1, &StringArray::from(vec![Some("a\u{e9}"), None, Some("")]));
    recent.take_in(recalled, 1);
    let values = ["\"a\\u00e9\"", "\"\"", "\"a\""].map(|id| event(id, "\"x\""));
    assert_eq!(validator.validate(&messages(&values)).unwrap().counts.accepted, 1);
}

#[test]
fn a_column_that_holds_no_ids_is_a_configuration_error_with_its_key() {
    for (column, words) in
        [("event", "did you mean `event_id`?"), ("paid", "`paid` is boolean"), ("at", "`at` is timestamptz")]
    {
        let unique = Some(Unique { column: column.to_owned(), horizon: 1 });
        let schema = schema_of(&[("event_id", DataType::String, true), ("paid", DataType::Boolean, true)]);
        let validation = Validation { unique, ..defaults() };
        let error = Validator::compile(&schema, &validation, "at", Tz::UTC, "purchases").err().unwrap();
        assert_eq!(error.location().unwrap().key.as_deref(), Some("validation.unique_column"));
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// The log as lists of values, judged by going through them.
#[derive(Debug, Default)]
struct Model {
    log: Vec<Vec<i64>>,
    /// Commits that the worker has taken in.
    through: usize,
    in_flight: Option<Vec<i64>>,
    open: Vec<i64>,
}

impl Model {
    fn is_known(&self, id: i64, horizon: usize) -> bool {
        let mut held = 0;
        for commit in self.log[..self.through].iter().rev() {
            if held >= horizon {
                break;
            }
            if commit.contains(&id) {
                return true;
            }
            held += commit.len();
        }
        self.in_flight.iter().flatten().chain(&self.open).any(|&other| other == id)
    }

    fn judge(&mut self, ids: &[i64], horizon: usize) -> Vec<bool> {
        let mut accepted = Vec::new();
        for &id in ids {
            accepted.push(!self.is_known(id, horizon));
            self.open.extend(accepted.last().filter(|&&new| new).map(|_| id));
        }
        accepted
    }

    fn recall(&self, validator: &mut Validator) {
        let recent = validator.recent().unwrap();
        let (horizon, from) = (recent.horizon(), recent.through().unwrap_or(0) as usize);
        let mut recalled = recent.recall();
        let mut seen = 0;
        for (index, commit) in self.log.iter().enumerate().skip(from).rev() {
            if seen >= horizon {
                break;
            }
            recalled.see(index as u64 + 1, &Int64Array::from(commit.clone()));
            seen += commit.len() as u64;
        }
        recent.take_in(recalled, self.log.len() as u64);
    }
}

#[derive(Clone, Debug)]
enum Event {
    Messages(Vec<i64>),
    HandOver,
    Done,
    LostRace(Vec<i64>),
    Foreign(Vec<i64>),
    Rebalance,
    Killed,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let ids = || prop::collection::vec(0_i64..30, 0..8);
    let event = prop_oneof![
        6 => ids().prop_map(Event::Messages),
        4 => Just(Event::HandOver),
        4 => Just(Event::Done),
        1 => ids().prop_map(Event::LostRace),
        1 => ids().prop_map(Event::Foreign),
        1 => Just(Event::Rebalance),
        1 => Just(Event::Killed),
    ];
    prop::collection::vec(event, 1..60)
}

proptest! {
    #[test]
    fn verdicts_are_those_of_a_model_that_reads_the_whole_log(events in events(), horizon in 1_u64..20) {
        let (mut model, mut validator) = (Model::default(), begun(horizon));
        for event in events {
            match event {
                Event::Messages(ids) => {
                    prop_assert_eq!(accepts(&mut validator, &ids), model.judge(&ids, horizon as usize));
                }
                Event::HandOver if model.in_flight.is_none() => {
                    model.in_flight = Some(std::mem::take(&mut model.open));
                    validator.recent().unwrap().cut();
                }
                Event::Done => {
                    let Some(ids) = model.in_flight.take() else { continue };
                    model.log.push(ids);
                    let number = model.log.len();
                    let is_next = model.through + 1 == number;
                    model.through = number;
                    let known = validator.recent().unwrap().committed(number as u64);
                    prop_assert_eq!(known, is_next);
                    if !known {
                        model.recall(&mut validator);
                    }
                }
                Event::Foreign(ids) => model.log.push(ids),
                Event::LostRace(_) | Event::Rebalance | Event::Killed => {
                    if let Event::LostRace(ids) = &event {
                        model.log.push(ids.clone());
                    }
                    (model.in_flight, model.through) = (None, model.log.len());
                    model.open.clear();
                    if matches!(event, Event::Killed) {
                        validator = begun(horizon);
                    } else {
                        validator.recent().unwrap().forget_pending();
                    }
                    model.recall(&mut validator);
                }
                Event::HandOver => {}
            }
            let longest = model.log.iter().map(Vec::len).max().unwrap_or(0);
            let pending = model.open.len() + model.in_flight.as_ref().map_or(0, Vec::len);
            prop_assert!(validator.recent().unwrap().held() <= horizon as usize + longest + pending);
        }
    }
}
