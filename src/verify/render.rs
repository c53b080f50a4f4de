//! The report as text, in the documents' form, and as HTML for notebooks.

use std::fmt::Write as _;

use super::report::{Check, Report, Status};
use crate::html::escape;

const RULE: usize = 80;
const RESET: &str = "\x1b[0m";
/// Notebooks keep outputs in their file: a report never fills it. Details beyond this are cut.
const MAX_HTML_DETAILS: usize = 200;

fn color_of(status: Status) -> &'static str {
    match status {
        Status::Ok => "\x1b[32m",
        Status::Skipped => "\x1b[2m",
        Status::Pending => "\x1b[36m",
        Status::Warning | Status::Unproven => "\x1b[33m",
        Status::Fault => "\x1b[31m",
    }
}

const STATUSES: [Status; 6] =
    [Status::Ok, Status::Skipped, Status::Pending, Status::Warning, Status::Unproven, Status::Fault];

pub(super) fn text(report: &Report, color: bool) -> String {
    let mut out = String::new();
    for check in report.sections.iter().filter(|check| check.status != Status::Skipped) {
        let _ = writeln!(out, "========== {} Check ==========", check.name);
        for line in &check.details {
            let status = STATUSES.iter().find(|status| line.starts_with(status.mark()));
            let _ = match status.filter(|_| color) {
                Some(status) => {
                    writeln!(out, "{}{}{RESET}{}", color_of(*status), status.mark(), &line[status.mark().len()..])
                }
                None => writeln!(out, "{line}"),
            };
        }
        out.push('\n');
    }
    let rule = "=".repeat(RULE);
    let _ = writeln!(out, "{rule}\nREAL-TIME PIPELINE VERIFICATION\n{rule}\n");
    let width = report.sections.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let words = report.sections.iter().map(|check| check.status.word().len()).max().unwrap_or(0);
    for Check { status, name, summary, .. } in &report.sections {
        let (start, end) = if color { (color_of(*status), RESET) } else { ("", "") };
        let _ = writeln!(out, "{start}{} {:<words$}{end} | {name:<width$} | {summary}", status.mark(), status.word());
    }
    out.push('\n');
    closing(report, color, &mut out);
    out
}

fn closing(report: &Report, color: bool, out: &mut String) {
    let status = report.status();
    let (start, end) = if color { (color_of(status), RESET) } else { ("", "") };
    let mark = status.mark();
    let _ = match status {
        Status::Ok | Status::Skipped => writeln!(
            out,
            "{start}{mark}{end} All checks passed. Pipeline is ready.\n\n========== Pipeline Status ==========\n\
             {start}{mark} PIPELINE HEALTHY{end}"
        ),
        Status::Pending => writeln!(
            out,
            "{start}{mark}{end} No fault found. What is pending has not started yet, or is still on its way.\n\n\
             ========== Pipeline Status ==========\n{start}{mark} PIPELINE PENDING{end}: {}",
            named(report, Status::Pending)
        ),
        Status::Warning => writeln!(
            out,
            "{start}{mark}{end} No fault found, but look at: {}\n\n========== Pipeline Status ==========\n\
             {start}{mark} PIPELINE HEALTHY, WITH WARNINGS{end}",
            named(report, Status::Warning)
        ),
        Status::Unproven => writeln!(
            out,
            "{start}{mark}{end} No fault was proven, but some rows differ and the evidence is gone: {}\n\n\
             ========== Pipeline Status ==========\n{start}{mark} PIPELINE UNPROVEN{end}",
            named(report, Status::Unproven)
        ),
        Status::Fault => writeln!(
            out,
            "{start}{mark}{end} Something is wrong: {}\n\n========== Pipeline Status ==========\n\
             {start}{mark} PIPELINE FAULTY{end}",
            named(report, Status::Fault)
        ),
    };
    for command in &report.next {
        let _ = writeln!(out, "    next: {command}");
    }
}

fn named(report: &Report, status: Status) -> String {
    let those = report.sections.iter().filter(|check| check.status == status);
    those.map(|check| format!("{} ({})", check.name, check.summary)).collect::<Vec<_>>().join("; ")
}

pub(super) fn html(report: &Report) -> String {
    let mut out = String::from("<table><thead><tr><th></th><th>check</th><th>result</th></tr></thead><tbody>");
    let mut left = MAX_HTML_DETAILS;
    for check in &report.sections {
        let _ = write!(
            out,
            "<tr><td>{} {}</td><td>{}</td><td style=\"text-align:left\"><details><summary>{}</summary>",
            check.status.mark(),
            check.status.word(),
            check.name,
            escape(&check.summary)
        );
        for line in check.details.iter().take(left) {
            let _ = write!(out, "{}<br>", escape(&line.chars().take(200).collect::<String>()));
        }
        left -= left.min(check.details.len());
        out.push_str("</details></td></tr>");
    }
    let _ = write!(out, "</tbody></table><p>{} {}", report.status().mark(), report.status().word());
    for command in &report.next {
        let _ = write!(out, "<br>next: <code>{}</code>", escape(command));
    }
    out.push_str("</p>");
    out
}
