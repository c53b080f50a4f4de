//! Keys that answer one question in different words: the trigger in ours and Spark's, the generator's rate and pause.
//!
//! The answer of the uppermost layer counts, whichever key it is under; two answers in one layer are a contradiction.

use std::cmp::Ordering;
use std::time::Duration;

use super::{Checked, Resolver, millis};
use crate::config::provenance::NoteLevel;
use crate::config::raw::{RawConsumer, RawEvents, RawSpark};
use crate::config::{defaults, parse};

/// Section and key.
type Key = (&'static str, &'static str);

const TRIGGER: Key = ("consumer", "trigger_interval_ms");
const SPARK_TRIGGER: Key = ("spark", "trigger_processing_time");
const RATE: Key = ("producer", "rate");
const PAUSE: Key = ("producer", "event_interval_seconds");

fn path((section, key): Key) -> String {
    format!("{section}.{key}")
}

impl Resolver<'_> {
    /// The trigger in either of its words, if one is written.
    pub(super) fn trigger(&mut self, consumer: &RawConsumer, spark: &RawSpark) -> Checked<Option<Duration>> {
        self.note_jvm_keys(spark);
        let own = consumer.trigger_interval_ms.map(millis);
        let spark = spark.trigger_processing_time.as_deref().map(parse::interval).transpose();
        let spark = spark.map_err(|words| self.wrong(&path(SPARK_TRIGGER), &words))?;
        Ok(match (own, spark) {
            (Some(own), Some(spark)) if own != spark => Some(self.upper((TRIGGER, own), (SPARK_TRIGGER, spark))?),
            (own, spark) => own.or(spark),
        })
    }

    fn note_jvm_keys(&mut self, spark: &RawSpark) {
        let keys = [("app_name", &spark.app_name), ("master", &spark.master), ("output_mode", &spark.output_mode)];
        let written = keys.iter().filter(|(_, value)| value.is_some());
        let written: Vec<String> = written.map(|(name, _)| format!("`spark.{name}`")).collect();
        let verb = if written.len() == 1 { "is a key" } else { "are keys" };
        if !written.is_empty() {
            let text = format!("{} {verb} of the JVM: accepted, without effect", written.join(", "));
            self.note(NoteLevel::Info, text);
        }
    }

    /// Events a second; `None` is no limit.
    pub(super) fn rate(&self, raw: &RawEvents) -> Checked<Option<f64>> {
        let rate = raw.rate.as_ref().map(|rate| parse::rate(&rate.0)).transpose();
        let rate = rate.map_err(|words| self.wrong(&path(RATE), &words))?;
        let pause = raw.event_interval_seconds.map(|pause| (pause > 0.0).then(|| 1.0 / pause));
        match (rate, pause) {
            (Some(rate), Some(pause)) => self.upper((RATE, rate), (PAUSE, pause)),
            (rate, pause) => Ok(rate.or(pause).unwrap_or(Some(defaults::EVENT_RATE))),
        }
    }

    fn upper<T>(&self, (left, left_value): (Key, T), (right, right_value): (Key, T)) -> Checked<T> {
        let rank = |(section, key): Key| self.root.find(section, key).map(|node| node.origin.rank());
        match rank(left).cmp(&rank(right)) {
            Ordering::Greater => Ok(left_value),
            Ordering::Less => Ok(right_value),
            Ordering::Equal => {
                let fact = format!("`{}` and `{}` both answer the same question", path(left), path(right));
                Err(self.problem(&path(left), fact).help("keep one of them"))
            }
        }
    }
}
