//! The names of keys: aliases of the documents, nearest known key, and the names derived for Kafka.

use sha2::{Digest, Sha256};

use super::schema;

/// What a key of the documents, or of Spark, is called here: section and name as written, section and name as read.
pub(super) const ALIASES: &[(&str, &str, &str, &str)] = &[
    ("postgres", "database", "postgres", "db"),
    ("kafka", "bootstrap_servers", "kafka", "brokers"),
    ("kafka", "topic_name", "kafka", "topic"),
    ("kafka", "auto_offset_reset", "consumer", "starting_offsets"),
    ("kafka", "startingOffsets", "consumer", "starting_offsets"),
    ("kafka", "starting_offsets", "consumer", "starting_offsets"),
    ("kafka", "failOnDataLoss", "consumer", "fail_on_data_loss"),
    ("kafka", "fail_on_data_loss", "consumer", "fail_on_data_loss"),
    ("spark", "checkpoint_location", "streaming", "checkpoint_location"),
    ("consumer", "startingOffsets", "consumer", "starting_offsets"),
    ("consumer", "auto_offset_reset", "consumer", "starting_offsets"),
    ("consumer", "failOnDataLoss", "consumer", "fail_on_data_loss"),
    ("consumer", "maxOffsetsPerTrigger", "consumer", "max_offsets_per_trigger"),
];

/// Sections whose keys are names of Kafka or librdkafka, dots included.
pub(super) fn holds_foreign_names(section: &str, key: &str) -> bool {
    section == "kafka" && matches!(key, "properties" | "producer" | "consumer" | "topic_config")
}

/// Below this likeness (Jaro-Winkler) a suggestion confuses more than it helps: `brokrs` has 0.96 of `brokers`.
const LIKENESS: f64 = 0.8;

pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_ascii_lowercase();
    known
        .map(|key| (strsim::jaro_winkler(&word, &key.to_ascii_lowercase()), key))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, key)| key)
}

/// The way out of an unknown key: the same name in another section, a like one in this, or the list.
pub(super) fn suggestion(section: &str, key: &str, known: &[&str]) -> String {
    let aliases = ALIASES.iter().filter(|alias| alias.0 == section).map(|alias| alias.1);
    let here = nearest(key, known.iter().copied().chain(aliases));
    let full = |key: &str| if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
    if let Some(near) = here {
        return format!("did you mean `{}`?", full(near));
    }
    let elsewhere = schema::key_paths().into_iter().find(|path| path.rsplit('.').next() == Some(key));
    match elsewhere {
        Some(path) => format!("did you mean `{path}`?"),
        None => format!("known here are {}", known.join(", ")),
    }
}

/// Kafka's limit on a topic name, and ours on everything derived from a pipeline's id.
pub(super) const MAX_NAME_CHARS: usize = 249;
/// Hexadecimal digits that keep two names apart which were cut or replaced alike.
const HASH_CHARS: usize = 12;

pub(super) fn is_topic_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= MAX_NAME_CHARS && name != "." && name != ".." && name.chars().all(legal)
}

/// `name` if Kafka takes it as a topic's; else its legal part with a hash of the whole, so that two tables
/// never share an id because their names were tidied into the same one.
pub(super) fn topic_safe(name: &str) -> String {
    if is_topic_name(name) {
        return name.to_owned();
    }
    let hash: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        [..HASH_CHARS]
        .to_owned();
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let kept: String = name.chars().map(legal).take(MAX_NAME_CHARS - HASH_CHARS - 1).collect();
    format!("{kept}-{hash}")
}
