//! The quick-start checks of a consuming pipeline: what must be right before the first message flows.
//!
//! Each finding says what was looked at, what was found, and what to do. Nothing is created or changed: folders are
//! tried with an unnamed temporary file in the nearest one that exists, the topic is only asked for.

use std::path::Path;
use std::time::Duration;

use crate::broker::Cluster;
use crate::broker::kafka::{self, KafkaCluster};
use crate::config::Settings;
use crate::error::Result;
use crate::model::{Message, MessageBatch};

/// A broker on this machine or network answers in milliseconds; a person waits for this command.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(5);

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub name: &'static str,
    pub outcome: Outcome,
    /// What was found, in one line.
    pub fact: String,
    /// What to do, where something is to be done.
    pub remedy: Option<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Fine,
    /// To be mended here.
    Wrong,
    /// A service does not answer; trying again may help.
    Unreachable,
}

impl Finding {
    pub fn fine(name: &'static str, fact: impl Into<String>) -> Self {
        Finding { name, outcome: Outcome::Fine, fact: fact.into(), remedy: None }
    }

    pub fn wrong(name: &'static str, fact: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { name, outcome: Outcome::Wrong, fact: fact.into(), remedy: Some(remedy.into()) }
    }
}

/// Looks at library, one event, Kafka, topic and folders, in this order. Blocks for a few seconds where Kafka is away.
///
/// # Errors
/// `Config` where the settings lack `kafka`, `datalake` or the checkpoint's folder.
pub fn quickstart(settings: &Settings) -> Result<Vec<Finding>> {
    let mut findings = vec![Finding::fine(
        "Library",
        format!(
            "foodstream {}, librdkafka {}; no Java, no Docker",
            env!("CARGO_PKG_VERSION"),
            kafka::library_version()
        ),
    )];
    findings.push(look_at_event(settings)?);
    look_at_kafka(settings, &mut findings)?;
    let lake = settings.require_lake()?;
    for (name, folder) in [
        ("Lake folder", lake.path.as_path()),
        ("Quarantine folder", &lake.quarantine_path),
        ("Staging folder", &lake.staging_path),
        ("Checkpoint folder", settings.require_checkpoint()?),
    ] {
        findings.push(look_at_folder(name, folder));
    }
    Ok(findings)
}

/// One generated event, decoded and judged as the pipeline would.
fn look_at_event(settings: &Settings) -> Result<Finding> {
    const NAME: &str = "Generated event";
    let (key, value) = super::purchases::next_event(&super::purchases::generator(&settings.events));
    let mut messages = MessageBatch::default();
    messages.push(Message { partition: 0, offset: 0, timestamp_ms: -1, key: Some(&key), value: Some(&value) });
    let mut validator = super::quality::validator(settings)?;
    let counts = validator.validate(&messages)?.counts;
    if counts.accepted == 1 {
        return Ok(Finding::fine(NAME, "keeps every rule"));
    }
    let remedy =
        "compare schema and validation with configs/purchases.yml; producer.invalid_share breaks some on request";
    Ok(Finding::wrong(NAME, "breaks a rule of the configuration", remedy))
}

fn look_at_kafka(settings: &Settings, findings: &mut Vec<Finding>) -> Result<()> {
    const NAME: &str = "Kafka";
    let kafka = settings.require_kafka()?;
    let asked = KafkaCluster::new(kafka).and_then(|mut cluster| {
        let brokers = cluster.brokers(KAFKA_TIMEOUT)?.len();
        Ok((brokers, cluster.describe(&kafka.topic)?))
    });
    match asked {
        Ok((brokers, topic)) => {
            findings.push(Finding::fine(NAME, format!("{} answers, brokers: {brokers}", kafka.brokers)));
            findings.push(match topic {
                Some(topic) => {
                    Finding::fine("Topic", format!("{} exists, partitions: {}", topic.name, topic.partitions))
                }
                None => Finding::fine("Topic", format!("{} will be created by whoever starts first", kafka.topic)),
            });
        }
        Err(error) => findings.push(Finding {
            name: NAME,
            outcome: if error.is_retriable() { Outcome::Unreachable } else { Outcome::Wrong },
            fact: error.report(),
            remedy: Some("start one with `foodstream local up`, or correct kafka.bootstrap_servers".to_owned()),
        }),
    }
    Ok(())
}

fn look_at_folder(name: &'static str, folder: &Path) -> Finding {
    let shown = folder.display();
    let Some(there) = folder.ancestors().map(or_here).find(|above| above.exists()) else {
        return Finding::wrong(name, format!("{shown} has no folder above it"), "name another folder");
    };
    match tempfile::tempfile_in(there) {
        Ok(_) if there == folder => Finding::fine(name, format!("{shown} is writable")),
        Ok(_) => Finding::fine(name, format!("{shown} will be created")),
        Err(error) => {
            let remedy = format!("give yourself the right to write in {}, or name another folder", there.display());
            Finding::wrong(name, format!("{shown} cannot be written: {error}"), remedy)
        }
    }
}

/// The last ancestor of a relative path is empty, which means the working directory.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_tried_where_it_will_be_and_left_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        let finding = look_at_folder("Lake folder", &deep);
        assert_eq!(finding.outcome, Outcome::Fine);
        assert!(finding.fact.ends_with("c will be created"), "{}", finding.fact);
        assert_eq!(look_at_folder("Lake folder", root.path()).fact, format!("{} is writable", root.path().display()));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_is_told_with_the_way_out() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("lake");
        std::fs::write(&file, b"").unwrap();
        let finding = look_at_folder("Lake folder", &file.join("output"));
        assert_eq!(finding.outcome, Outcome::Wrong);
        assert!(finding.remedy.unwrap().contains("name another folder"));
    }
}
