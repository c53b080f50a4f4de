//! The `producer` section, which is the event generator's.

use std::collections::BTreeMap;

use super::{Checked, Resolver, narrowed};
use crate::config::provenance::NoteLevel;
use crate::config::raw::RawEvents;
use crate::config::settings::Events;

impl Resolver<'_> {
    pub(super) fn events(&mut self, raw: &RawEvents) -> Checked<Events> {
        if let Some(acks) = raw.acks.as_ref().filter(|acks| !matches!(acks.0.as_str(), "all" | "-1")) {
            let text = format!("`producer.acks: {}` is raised to `all`: less could lose events unseen", acks.0);
            self.note(NoteLevel::Warning, text);
        }
        if raw.retries.is_some() {
            let text = "`producer.retries` has no effect: a message is tried again until it is delivered or too old";
            self.note(NoteLevel::Info, text.to_owned());
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
}
