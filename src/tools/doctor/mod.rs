//! `doctor`: what is wrong, or will be, with the parts around the pipeline, each with a remedy that can be pasted.
//!
//! Where `verify` compares rows, this looks at what rows depend on: rights, indexes, clocks, retention, copies, disks.
//! Guarantees: nothing is written, no group is joined, no lock is waited for longer than a second, every statement is
//! read only and short; no secret, no row's value and no statement of others is shown; a service that is away takes
//! its own section with it and no other.
//!
//! ```text
//! source, broker, storage, program: facts ─▶ judgements (pure) ─▶ findings ─▶ report ─▶ text, JSON, HTML
//! ```

mod broker;
mod program;
mod render;
mod report;
mod retention;
mod source;
mod storage;
mod words;

#[cfg(test)]
mod tests;

use crate::broker::kafka::{BrokerInfo, KafkaCluster};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::lake::Head;

pub use program::runs_in;
pub use report::{Check, Finding, Report, Section, Verdict};

#[derive(Clone, Debug, Default)]
pub struct DoctorOptions {
    /// Only these; all where none is named.
    pub sections: Vec<Section>,
}

impl DoctorOptions {
    fn wants(&self, section: Section) -> bool {
        self.sections.is_empty() || self.sections.contains(&section)
    }
}

/// Examines what the configuration names, beside whatever is running. Services are waited for up to
/// `retry.start_timeout_sec`, both at once.
///
/// # Errors
/// `Config` where a section that was asked for is not configured. All else is in the report.
pub async fn doctor(settings: &Settings, options: &DoctorOptions) -> Result<Report> {
    refuse_unconfigured(settings, options)?;
    let mut report = Report::default();
    if options.wants(Section::Program) {
        report.findings.extend(program::examine(settings));
    }
    // The topic's checks need to know where the lake stands.
    let storage = match options.wants(Section::Lake) || options.wants(Section::Kafka) {
        true => {
            let settings = settings.clone();
            blocking(move || storage::examine(&settings)).await?
        }
        false => storage::Examined::default(),
    };
    let source = async {
        match options.wants(Section::Postgres) {
            true => source::examine(settings).await,
            false if options.wants(Section::Kafka) => source::only_table(settings).await,
            false => source::Examined::default(),
        }
    };
    let (source, cluster) = tokio::join!(source, connect(settings, options));
    report.add(Section::Postgres, source.findings, source.away);
    if options.wants(Section::Kafka) {
        let (findings, away) = examine_kafka(settings, cluster?, source.table, storage.head).await?;
        report.add(Section::Kafka, findings, away);
    }
    if options.wants(Section::Lake) {
        report.add(Section::Lake, storage.findings, false);
    }
    Ok(report)
}

/// Lines for whoever shows other things as well: what is not fine, without headings.
pub fn complaints(report: &Report) -> Vec<String> {
    let matters = |finding: &&Finding| finding.verdict > Verdict::NotApplicable;
    render::lines(&report.findings.iter().filter(matters).collect::<Vec<_>>(), false)
}

impl Report {
    fn add(&mut self, section: Section, findings: Vec<Finding>, away: bool) {
        self.findings.extend(findings);
        self.away.extend(away.then_some(section));
    }
}

fn refuse_unconfigured(settings: &Settings, options: &DoctorOptions) -> Result<()> {
    for section in &options.sections {
        match section {
            Section::Program => {}
            Section::Postgres => settings.require_postgres().map(drop)?,
            Section::Kafka => settings.require_kafka().map(drop)?,
            Section::Lake => settings.require_lake().map(drop)?,
        }
    }
    Ok(())
}

/// A cluster that answered, with its brokers; `None` where none is configured or asked about.
type Connected = Option<std::result::Result<(KafkaCluster, Vec<BrokerInfo>), Error>>;

async fn connect(settings: &Settings, options: &DoctorOptions) -> Result<Connected> {
    let Some(kafka) = settings.kafka.clone().filter(|_| options.wants(Section::Kafka)) else { return Ok(None) };
    let patience = settings.retry.start_timeout;
    blocking(move || {
        let connected = KafkaCluster::new(&kafka).and_then(|mut cluster| {
            let brokers = cluster.brokers(patience)?;
            Ok((cluster, brokers))
        });
        Some(connected)
    })
    .await
}

async fn examine_kafka(
    settings: &Settings,
    cluster: Connected,
    table: Option<(String, String)>,
    head: Option<Head>,
) -> Result<(Vec<Finding>, bool)> {
    let settings = settings.clone();
    blocking(move || match cluster {
        None => (broker::all_not_applicable(), false),
        Some(Err(error)) => (broker::all_unknown(&error), error.is_retriable()),
        Some(Ok((cluster, brokers))) => (broker::examine(&settings, cluster, &brokers, table, head), false),
    })
    .await
}

/// Runs a blocking examination on a thread made for such.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::bug("a part of the examination panicked").because(error))
}

/// The findings of checks that could not be made since the one before them failed.
fn unknown(section: Section, made: &[Finding], why: &str) -> Vec<Finding> {
    let is_missing = |check: &&Check| check.section() == section && !made.iter().any(|found| found.check == **check);
    Check::ALL.iter().filter(is_missing).map(|check| Finding::could_not_tell(*check, why)).collect()
}
