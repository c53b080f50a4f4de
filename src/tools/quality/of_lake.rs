//! The quality of what a lake has consumed, as its commit log, quarantine and first and last days say.

use arrow::array::AsArray;
use arrow::compute::{max, min};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{REASONS_COLUMN, Reasons, Tally};
use crate::config::{Settings, defaults};
use crate::error::{Error, Kind, Result};
use crate::lake::read::{DayRange, LakeReader, ReadOptions, Root};
use crate::lake::report::{LogReport, log_report};
use crate::model::Counts;
use crate::validate::ERRORS_COLUMN;

/// Commits that come between the reading of log and quarantine are waited out so often.
const MAX_READINGS: usize = 100;

type Moment = Option<DateTime<Utc>>;

/// What was consumed, and what was wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QualityReport {
    /// Messages: input, accepted, rejected.
    #[serde(flatten)]
    pub counts: Counts,
    /// Accepted rows that break a rule, where `validation.drop_invalid_rows` is false.
    pub tagged: u64,
    #[serde(flatten)]
    pub reasons: Reasons,
    /// Commits with messages, and the times of the first and the last of them.
    pub commits: u64,
    pub first_commit: Moment,
    pub last_commit: Moment,
    /// The earliest and the latest value of the timestamp column in accepted rows.
    pub first_event: Moment,
    pub last_event: Moment,
}

/// Reads the log whole, the quarantine's reasons, and the timestamps of the first and the last day. A lake that was
/// never founded has consumed nothing. Living consumers are not disturbed.
///
/// # Errors
/// `Lake` for a log with a fault, which `foodstream verify` describes.
pub fn quality_of_lake(settings: &Settings) -> Result<QualityReport> {
    let (lake_settings, checkpoint) = (settings.require_lake()?, settings.require_checkpoint()?);
    for _ in 0..MAX_READINGS {
        let log = sound_log(settings, log_report(checkpoint)?)?;
        let open = |root| LakeReader::with_settings(lake_settings, Some(checkpoint), root);
        let (lake, quarantine) = (open(Root::Lake)?, open(Root::Quarantine)?);
        let counts = log.head.as_ref().map(|head| head.counts).unwrap_or_default();
        if (lake.rows(), quarantine.rows()) == (counts.accepted, counts.rejected) {
            return report(settings, &log, &lake, &quarantine, counts);
        }
    }
    Err(Error::new(Kind::Lake, "the lake's log moved on during each of a hundred readings; try again").retriable())
}

fn sound_log(settings: &Settings, log: LogReport) -> Result<LogReport> {
    match log.faults.first() {
        None => Ok(log),
        Some(fault) => Err(Error::new(
            Kind::Lake,
            format!(
                "{} has a fault: {}; `foodstream verify{}` describes it",
                fault.path.display(),
                fault.what,
                settings.flags(defaults::CONFIG_FILE)
            ),
        )),
    }
}

fn report(
    settings: &Settings,
    log: &LogReport,
    lake: &LakeReader,
    quarantine: &LakeReader,
    counts: Counts,
) -> Result<QualityReport> {
    let mut tally = tally(quarantine, REASONS_COLUMN)?;
    let tagged =
        if settings.validation.drop_invalid_rows { Tally::default() } else { self::tally(lake, ERRORS_COLUMN)? };
    let tagged_rows = tagged.rows();
    tally.merge(tagged);
    let (first_event, last_event) = events(lake, &settings.cdc.timestamp_column)?;
    let mut times = log.commits.iter().filter(|commit| commit.counts.input > 0).map(|commit| commit.committed_at);
    Ok(QualityReport {
        counts,
        tagged: tagged_rows,
        reasons: tally.reasons(),
        commits: times.clone().count() as u64,
        first_commit: times.clone().next(),
        last_commit: times.next_back(),
        first_event,
        last_event,
    })
}

fn tally(reader: &LakeReader, column: &str) -> Result<Tally> {
    let mut tally = Tally::default();
    let columns = Some(vec![column.to_owned()]);
    for batch in reader.batches(ReadOptions { columns, ..ReadOptions::default() }) {
        tally.add(&batch?, column)?;
    }
    Ok(tally)
}

/// Days divide the rows by this very column, so only the outer two can hold its extremes.
fn events(lake: &LakeReader, column: &str) -> Result<(Moment, Moment)> {
    let (mut first, mut last): (Option<i64>, Option<i64>) = (None, None);
    let days = lake.partitions();
    let mut outer: Vec<_> = [days.first(), days.last()].into_iter().flatten().map(|day| day.date).collect();
    outer.dedup();
    for date in outer {
        let columns = Some(vec![column.to_owned()]);
        for batch in lake.batches(ReadOptions { columns, days: DayRange::only(date), ..ReadOptions::default() }) {
            let batch = batch?;
            let moments = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>();
            let moments = moments.ok_or_else(|| Error::new(Kind::Schema, format!("`{column}` holds no times")))?;
            first = first.into_iter().chain(min(moments)).min();
            last = last.into_iter().chain(max(moments)).max();
        }
    }
    Ok((first.and_then(DateTime::from_timestamp_micros), last.and_then(DateTime::from_timestamp_micros)))
}
