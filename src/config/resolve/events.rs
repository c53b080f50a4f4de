//! The `producer` section, which is the event generator's, and `spark`, which is kept for files that have it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Checked, Resolver, narrowed};
use crate::config::node::Origin;
use crate::config::provenance::NoteLevel;
use crate::config::raw::{RawEvents, RawSpark};
use crate::config::settings::Events;
use crate::config::{defaults, parse};

impl Resolver<'_> {
    pub(super) fn events(&mut self, raw: &RawEvents) -> Checked<Events> {
        if let Some(acks) = raw.acks.as_ref().filter(|acks| !matches!(acks.0.as_str(), "all" | "-1")) {
            let text = format!("`producer.acks: {}` is raised to `all`: less could lose events unseen", acks.0);
            self.note(NoteLevel::NoEffect, text);
        }
        if raw.retries.is_some() {
            let text = "`producer.retries` has no effect: a message is tried again until it is delivered or too old";
            self.note(NoteLevel::NoEffect, text.to_owned());
        }
        let mut properties = BTreeMap::new();
        for (name, value) in [("batch.num.messages", raw.batch_size), ("linger.ms", raw.linger_ms)] {
            properties.extend(value.map(|value| (name.to_owned(), value.to_string())));
        }
        Ok(Events {
            rate: self.rate(raw)?,
            max_events: raw.max_events.map(narrowed),
            seed: raw.seed.map(narrowed),
            invalid_share: raw.invalid_share.unwrap_or_default(),
            duplicate_share: raw.duplicate_share.unwrap_or_default(),
            properties,
        })
    }

    fn rate(&self, raw: &RawEvents) -> Checked<Option<f64>> {
        if let Some(rate) = &raw.rate {
            // A rate on the command line answers what an interval in the file said.
            if raw.event_interval_seconds.is_some() && self.same_layer("producer", "rate", "event_interval_seconds") {
                let fact = "`producer.rate` and `producer.event_interval_seconds` say the same thing twice";
                return Err(self.problem("producer.rate", fact.to_owned()).help("keep one of them"));
            }
            return parse::rate(&rate.0).map_err(|words| self.wrong("producer.rate", &words));
        }
        Ok(match raw.event_interval_seconds {
            Some(pause) if pause > 0.0 => Some(1.0 / pause),
            Some(_) => None,
            None => Some(defaults::EVENT_RATE),
        })
    }

    fn same_layer(&self, section: &str, left: &str, right: &str) -> bool {
        let layer = |key| self.root.find(section, key).map(|node| std::mem::discriminant(&node.origin));
        layer(left) == layer(right)
    }

    /// The trigger, if one is written.
    pub(super) fn spark(&mut self, raw: &RawSpark) -> Checked<Option<Duration>> {
        for (name, value) in [("app_name", &raw.app_name), ("master", &raw.master), ("output_mode", &raw.output_mode)] {
            if value.is_some() {
                self.note(NoteLevel::NoEffect, format!("`spark.{name}` is the JVM's: accepted, without effect"));
            }
        }
        let trigger = raw.trigger_processing_time.as_deref().map(parse::interval).transpose();
        trigger.map_err(|words| self.wrong("spark.trigger_processing_time", &words))
    }

    /// Nobody wrote it: it comes from a preset.
    pub(super) fn is_preset(&self, section: &str, key: &str) -> bool {
        self.root.find(section, key).is_some_and(|node| node.origin == Origin::Default)
    }
}
