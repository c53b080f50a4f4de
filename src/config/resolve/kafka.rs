//! The `kafka` section.

use std::collections::BTreeMap;

use super::{Checked, Resolver, narrowed};
use crate::config::node::join;
use crate::config::raw::{RawKafka, RawScalar};
use crate::config::settings::Kafka;
use crate::config::{defaults, names, parse, properties, secrets};

type Properties = BTreeMap<String, String>;

impl Resolver<'_> {
    pub(super) fn kafka(&mut self, raw: Option<&RawKafka>, allow_plaintext: bool) -> Checked<Option<Kafka>> {
        let Some(raw) = raw else { return Ok(None) };
        let brokers = self.word("kafka.brokers", raw.brokers.as_ref())?;
        let topic = self.word("kafka.topic", raw.topic.as_ref())?;
        if topic.as_deref().is_some_and(|topic| !names::is_topic_name(topic)) {
            let words = "is no name Kafka takes; use letters, digits, dots, underscores and dashes, 249 at most";
            return Err(self.wrong("kafka.topic", words));
        }
        let common = self.properties("properties", raw.properties.as_ref(), allow_plaintext)?;
        let producer = self.properties("producer", raw.producer.as_ref(), allow_plaintext)?;
        let consumer = self.properties("consumer", raw.consumer.as_ref(), allow_plaintext)?;
        if let Some(brokers) = &brokers {
            let tls = properties::is_tls(&common, &producer) && properties::is_tls(&common, &consumer);
            self.check_brokers(brokers, tls, allow_plaintext)?;
        }
        let consumer_group = self.word("kafka.consumer_group", raw.consumer_group.as_ref())?;
        self.check_names("topic_config", raw.topic_config.as_ref())?;
        let topic_config = raw.topic_config.iter().flatten();
        let topic_config = topic_config.map(|(name, value)| (name.clone(), value.0.clone())).collect();
        if !self.finished("kafka", &[("brokers", brokers.is_some()), ("topic", topic.is_some())]) {
            return Ok(None);
        }
        let (Some(brokers), Some(topic)) = (brokers, topic) else { unreachable!("checked by `finished`") };
        Ok(Some(Kafka {
            brokers: brokers.split(',').map(str::trim).collect::<Vec<_>>().join(","),
            num_partitions: raw.num_partitions.map_or(defaults::NUM_PARTITIONS, narrowed),
            replication_factor: raw.replication_factor.map_or(defaults::REPLICATION_FACTOR, narrowed),
            topic_config,
            consumer_group: consumer_group.unwrap_or_else(|| format!("foodstream-{topic}")),
            topic,
            properties: common,
            producer_properties: producer,
            consumer_properties: consumer,
            exactly_once: raw.exactly_once.unwrap_or(true),
        }))
    }

    fn check_brokers(&mut self, brokers: &str, tls: bool, allow_plaintext: bool) -> Checked<()> {
        let brokers = parse::brokers(brokers).map_err(|words| self.wrong("kafka.brokers", &words))?;
        if tls {
            return Ok(());
        }
        for broker in &brokers {
            if !parse::plaintext_allowed(&broker.host) && !allow_plaintext {
                let fact =
                    format!("`kafka.brokers` would connect to {} without TLS: every row is at stake", broker.host);
                let help = "set security.protocol: SSL (or SASL_SSL) under kafka.properties, \
                            or security.allow_plaintext: true knowingly";
                return Err(self.problem("kafka.brokers", fact).help(help));
            }
            self.note_plain("kafka.brokers", &broker.host);
        }
        Ok(())
    }

    fn check_names(&self, section: &str, raw: Option<&BTreeMap<String, RawScalar>>) -> Checked<()> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let Some(name) = raw.into_iter().flatten().map(|(name, _)| name).find(|name| !name.chars().all(legal)) else {
            return Ok(());
        };
        let key = join(&format!("kafka.{section}"), name);
        Err(self.foreign_problem(section, name, format!("`{key}` is no name of a setting")).about_key())
    }

    fn properties(
        &self,
        section: &str,
        raw: Option<&BTreeMap<String, RawScalar>>,
        allow_plaintext: bool,
    ) -> Checked<Properties> {
        self.check_names(section, raw)?;
        let mut properties = Properties::new();
        for (written, value) in raw.into_iter().flatten() {
            let name = properties::plain_name(written);
            let key = join(&format!("kafka.{section}"), written);
            let (name, value) = match name.strip_suffix("_file").filter(|name| secrets::is_secret(name)) {
                Some(name) => (name, self.foreign(section, written, |this| this.secret_file(&key, &value.0))?),
                None => (name, value.0.clone()),
            };
            let placed = |fact: String, help: String| self.foreign_problem(section, written, fact).help(help);
            if let Some((reason, help)) = properties::refusal(name, &value, allow_plaintext) {
                return Err(placed(format!("`{key}` is refused: {reason}"), help));
            }
            if name == "security.protocol"
                && !properties::PROTOCOLS.iter().any(|word| word.eq_ignore_ascii_case(&value))
            {
                let help = format!("use {}", properties::PROTOCOLS.join(", "));
                return Err(placed(format!("`{key}` is no protocol"), help));
            }
            if let Some(other) = properties::other_name(name).filter(|other| properties.contains_key(*other)) {
                let fact = format!("`{name}` and `{other}` under `kafka.{section}` are two names of one setting");
                return Err(placed(fact, "keep one of them".to_owned()));
            }
            if properties.insert(name.to_owned(), value).is_some() {
                return Err(placed(
                    format!("`{name}` is given twice under `kafka.{section}`"),
                    "remove one".to_owned(),
                ));
            }
        }
        Ok(properties)
    }

    /// A property's name holds dots, so that its place is found entry by entry.
    fn foreign_problem(&self, section: &str, name: &str, fact: String) -> crate::config::problem::Problem {
        let entry = self.root.locate(&format!("kafka.{section}")).entry(name);
        let origin = entry.map(|entry| entry.key_origin.clone()).unwrap_or_default();
        crate::config::problem::Problem::new(origin, fact).key(join(&format!("kafka.{section}"), name))
    }

    fn foreign<T>(&self, section: &str, name: &str, make: impl Fn(&Self) -> Checked<T>) -> Checked<T> {
        make(self).map_err(|problem| self.foreign_problem(section, name, problem.fact))
    }
}
