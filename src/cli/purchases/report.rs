//! `purchases report`: what the lake consumed, and why it rejected what it rejected.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;

use crate::cli::args::{PurchasesCommon, RowForm};
use crate::cli::output::Out;
use crate::cli::rows::RowWriter;
use crate::cli::session::Session;
use crate::error::{Error, Result};
use crate::tools::quality::{QualityReport, quality_of_lake};

pub fn run(common: &PurchasesCommon, session: &mut Session) -> Result<i32> {
    let settings = session.begin_purchases(common)?;
    let report = quality_of_lake(&settings)?;
    let path = &settings.require_lake()?.path;
    if !session.out.wants_json() {
        show(&report, path, &mut session.out)?;
    }
    let mut members = json!(report);
    members["path"] = json!(path);
    session.out.report(&members);
    Ok(0)
}

fn show(report: &QualityReport, path: &std::path::Path, out: &mut Out) -> Result<()> {
    out.line("DATA QUALITY REPORT");
    out.line(format_args!("Lake: {}", path.display()));
    let (Some(first), Some(last)) = (report.first_commit, report.last_commit) else {
        out.line("Nothing was consumed yet.");
        return Ok(());
    };
    out.line(format_args!("Consumed: {} to {} in {} commits", moment(first), moment(last), report.commits));
    if let (Some(first), Some(last)) = (report.first_event, report.last_event) {
        out.line(format_args!("Events:   {} to {}", moment(first), moment(last)));
    }
    let mut messages = vec![
        ("received".to_owned(), report.counts.input),
        ("accepted".to_owned(), report.counts.accepted),
        ("rejected".to_owned(), report.counts.rejected),
    ];
    if report.tagged > 0 {
        messages.push(("accepted with a fault".to_owned(), report.tagged));
    }
    table("messages", &messages, report.counts.input, out)?;
    if !report.reasons.by_reason.is_empty() {
        table("reason", &by_weight(&report.reasons.by_reason), report.counts.input, out)?;
        table("reason and column", &by_weight(&report.reasons.by_reason_and_column), report.counts.input, out)?;
        out.line("A message with several reasons counts under each of them.");
    }
    Ok(())
}

fn moment(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The heaviest first, equal ones by name.
fn by_weight(counts: &std::collections::BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut rows: Vec<_> = counts.iter().map(|(name, rows)| (name.clone(), *rows)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.1));
    rows
}

/// Names with their rows, and their share of all messages in hundredths of a percent.
fn table(name: &str, rows: &[(String, u64)], of: u64, out: &mut Out) -> Result<()> {
    let share = |rows: u64| (i128::from(rows) * 10_000 + i128::from(of) / 2) / i128::from(of.max(1));
    let shares = Decimal128Array::from_iter_values(rows.iter().map(|row| share(row.1)));
    let batch = shares.with_precision_and_scale(5, 2).and_then(|shares| {
        RecordBatch::try_from_iter([
            (name, Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0))) as ArrayRef),
            ("rows", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1 as i64)))),
            ("percent", Arc::new(shares)),
        ])
    });
    let batch = batch.map_err(|error| Error::bug("a table of counts could not be made").because(error))?;
    let mut writer = RowWriter::new(RowForm::Table);
    writer.write(&batch, out)?;
    writer.finish(out);
    Ok(())
}
