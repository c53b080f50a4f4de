//! One point a second of the last quarter of an hour: rates, batch duration, lag.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::pipeline::monitor::Sight;

/// Fifteen minutes.
const KEPT: usize = 900;
/// A clock that goes back by more was set.
const STEP_SEC: i64 = 3;
/// What `rates` is a mean of.
pub const RATE_WINDOW_SEC: usize = 10;
/// Names of the columns after the time, in their order.
pub const COLUMNS: [&str; 4] = ["input", "processed", "duration_ms", "lag_sec"];

/// One second; values in the order of [`COLUMNS`].
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Seconds since 1970.
    pub at: i64,
    pub values: [Value; COLUMNS.len()],
    /// Mean duration of each phase of the second's batches, in milliseconds; null without a batch.
    pub phases_ms: Value,
}

#[derive(Debug, Default)]
pub struct History {
    points: VecDeque<Point>,
    /// Rows, batches, and time by phase at the last point.
    rows: Option<u64>,
    batches: u64,
    phases: BTreeMap<&'static str, Duration>,
}

impl History {
    /// Forgets all points where the clock was set back: none would come before theirs is reached again.
    pub fn follow(&mut self, at: i64) {
        if self.points.back().is_some_and(|last| last.at > at + STEP_SEC) {
            self.points.clear();
        }
    }

    /// Notes the second that ends now.
    pub fn note(&mut self, at: i64, sight: &Sight, lag: Option<f64>) {
        self.follow(at);
        if self.points.back().is_some_and(|last| last.at >= at) {
            return;
        }
        let input = sight.rows.saturating_sub(self.rows.unwrap_or(sight.rows));
        let batches = sight.batches.saturating_sub(self.batches);
        let worked = batches > 0;
        let mean_ms = |(&name, time): (&&'static str, &Duration)| {
            let before = self.phases.get(name).copied().unwrap_or_default();
            let mean = time.saturating_sub(before).as_secs_f64() * 1e3 / batches as f64;
            (name.to_owned(), json!((mean * 10.0).round() / 10.0))
        };
        let phases_ms = if worked { Value::Object(sight.phases.iter().map(mean_ms).collect()) } else { Value::Null };
        (self.rows, self.batches) = (Some(sight.rows), sight.batches);
        self.phases.clone_from(&sight.phases);
        let processed = sight.processed_per_second().filter(|_| worked).map(f64::round);
        let duration = sight.last_batch.as_ref().filter(|_| worked).map(|batch| batch.duration.as_millis() as u64);
        let lag = lag.map(|lag| (lag * 1e3).round() / 1e3);
        self.push(Point { at, values: [json!(input), json!(processed), json!(duration), json!(lag)], phases_ms });
    }

    pub fn push(&mut self, point: Point) {
        if self.points.len() == KEPT {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// Mean of the last seconds; `None` before the first.
    pub fn input_per_second(&self) -> Option<f64> {
        let rows: Vec<u64> =
            self.points.iter().rev().take(RATE_WINDOW_SEC).filter_map(|point| point.values[0].as_u64()).collect();
        (!rows.is_empty()).then(|| rows.iter().sum::<u64>() as f64 / rows.len() as f64)
    }

    pub fn last(&self) -> Option<&Point> {
        self.points.back()
    }

    /// Parallel arrays of the points after a second.
    pub fn after(&self, at: i64) -> Value {
        let points = || self.points.iter().filter(|point| point.at > at);
        let mut columns = Map::new();
        columns.insert("t".to_owned(), points().map(|point| json!(point.at)).collect());
        for (index, name) in COLUMNS.iter().enumerate() {
            columns.insert((*name).to_owned(), points().map(|point| point.values[index].clone()).collect());
        }
        let names: BTreeSet<&String> =
            points().filter_map(|point| point.phases_ms.as_object()).flat_map(Map::keys).collect();
        let of_phase = |name: &String| points().map(|point| point.phases_ms[name].clone()).collect();
        let phases: Map<_, _> = names.into_iter().map(|name| (name.clone(), of_phase(name))).collect();
        columns.insert("phases_ms".to_owned(), Value::Object(phases));
        Value::Object(columns)
    }

    /// Takes over the points that another process sent.
    pub fn take_in(&mut self, columns: &Value) {
        let times = columns["t"].as_array().map_or(&[][..], Vec::as_slice);
        for (row, at) in times.iter().enumerate() {
            let newer = |at: &i64| self.points.back().is_none_or(|last| last.at < *at);
            let Some(at) = at.as_i64().filter(newer) else { continue };
            let values = COLUMNS.map(|name| columns[name].get(row).cloned().unwrap_or(Value::Null));
            let phase = |(name, of_phase): (&String, &Value)| {
                of_phase.get(row).filter(|value| !value.is_null()).map(|value| (name.clone(), value.clone()))
            };
            let phases: Map<_, _> = columns["phases_ms"].as_object().into_iter().flatten().filter_map(phase).collect();
            let phases_ms = if phases.is_empty() { Value::Null } else { Value::Object(phases) };
            self.push(Point { at, values, phases_ms });
        }
    }
}

impl Point {
    pub fn to_json(&self) -> Value {
        let mut sample = Map::new();
        sample.insert("t".to_owned(), json!(self.at));
        for (name, value) in COLUMNS.iter().zip(&self.values) {
            sample.insert((*name).to_owned(), value.clone());
        }
        sample.insert("phases_ms".to_owned(), self.phases_ms.clone());
        Value::Object(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::monitor::Monitor;

    #[test]
    fn phases_are_means_of_each_second_and_arrive_whole_at_another_process() {
        let mut history = History::default();
        let mut sight = Monitor::default().sight();
        let mut second = |at, batches: u64, commit_ms: u64| {
            sight.batches = batches;
            sight.phases.insert("commit", Duration::from_millis(commit_ms));
            history.note(at, &sight, None);
        };
        second(10, 2, 60);
        second(11, 2, 60);
        second(12, 3, 75);
        let told = history.after(0);
        assert_eq!(told["phases_ms"], json!({ "commit": [30.0, null, 15.0] }));
        assert_eq!(history.last().unwrap().to_json()["phases_ms"], json!({ "commit": 15.0 }));
        let mut elsewhere = History::default();
        elsewhere.take_in(&told);
        assert_eq!(elsewhere.after(0), told);
        assert_eq!(elsewhere.after(11)["phases_ms"], json!({ "commit": [15.0] }));
    }

    #[test]
    fn a_clock_that_was_set_back_begins_anew_and_one_that_trembles_does_not() {
        let mut history = History::default();
        let sight = Monitor::default().sight();
        for at in [1_000, 1_001, 999] {
            history.note(at, &sight, None);
        }
        assert_eq!(history.after(0)["t"], json!([1_000, 1_001]));
        history.note(400, &sight, None);
        assert_eq!(history.after(0)["t"], json!([400]));
    }
}
