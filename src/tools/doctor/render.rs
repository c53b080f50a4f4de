//! The report as text and as HTML for notebooks.

use std::fmt::Write as _;

use super::report::{Check, Finding, Report, Section, Verdict};
use crate::html::escape;

const RESET: &str = "\x1b[0m";

fn color_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "\x1b[32m",
        Verdict::NotApplicable => "\x1b[2m",
        Verdict::CouldNotTell | Verdict::Warning => "\x1b[33m",
        Verdict::Fault => "\x1b[31m",
    }
}

pub(super) fn text(report: &Report, color: bool) -> String {
    let mut out = String::new();
    for section in Section::ALL {
        let findings: Vec<&Finding> =
            report.findings.iter().filter(|finding| finding.check.section() == section).collect();
        if findings.is_empty() {
            continue;
        }
        let _ = writeln!(out, "========== {} ==========", section.title());
        lines(&findings, color).iter().for_each(|line| {
            let _ = writeln!(out, "{line}");
        });
        out.push('\n');
    }
    let _ = writeln!(out, "{}", closing(report, color));
    out
}

/// A line a finding, and its remedies under it, alone on their lines so that they can be pasted.
pub(super) fn lines(findings: &[&Finding], color: bool) -> Vec<String> {
    let width = Check::ALL.iter().map(|check| check.id().len()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for Finding { check, verdict, fact, remedies } in findings {
        let (start, end) = if color { (color_of(*verdict), RESET) } else { ("", "") };
        lines.push(format!("{start}{}{end} {:<width$} | {fact}", verdict.mark(), check.id()));
        lines.extend(remedies.iter().map(|remedy| format!("      {remedy}")));
    }
    lines
}

fn closing(report: &Report, color: bool) -> String {
    let named = |verdict| report.with(verdict).map(|finding| finding.check.id()).collect::<Vec<_>>().join(", ");
    let away = report.away.iter().map(|section| section.title()).collect::<Vec<_>>().join(" and ");
    let (verdict, words) = if report.with(Verdict::Fault).next().is_some() {
        (Verdict::Fault, format!("Something is wrong: {}", named(Verdict::Fault)))
    } else if !report.away.is_empty() {
        (Verdict::CouldNotTell, format!("{away} did not answer: try again when it is back"))
    } else if report.with(Verdict::Warning).next().is_some() {
        (Verdict::Warning, format!("No fault found, but look at: {}", named(Verdict::Warning)))
    } else if report.with(Verdict::CouldNotTell).next().is_some() {
        (Verdict::CouldNotTell, format!("No fault found; could not tell: {}", named(Verdict::CouldNotTell)))
    } else {
        (Verdict::Ok, "All checks passed.".to_owned())
    };
    let (start, end) = if color { (color_of(verdict), RESET) } else { ("", "") };
    format!("{start}{}{end} {words}", verdict.mark())
}

pub(super) fn html(report: &Report) -> String {
    let mut out = String::from("<table><thead><tr><th></th><th>check</th><th>fact</th></tr></thead><tbody>");
    for Finding { check, verdict, fact, remedies } in &report.findings {
        let (mark, title, id) = (verdict.mark(), check.section().title(), check.id());
        let _ = write!(out, "<tr><td>{mark}</td><td>{title}: {id}</td><td style=\"text-align:left\">{}", escape(fact));
        for remedy in remedies {
            let _ = write!(out, "<br><code>{}</code>", escape(remedy));
        }
        out.push_str("</td></tr>");
    }
    let _ = write!(out, "</tbody></table><p>{}</p>", escape(&closing(report, false)));
    out
}
