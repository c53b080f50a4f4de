//! `purchases check`: the quick start's checks as a table of ✓ and ✗, each ✗ with what to do.
//!
//! Exit code 0 if all is fine, 75 if only a service is away, 1 otherwise.

use serde_json::json;

use crate::cli::args::PurchasesCommon;
use crate::cli::session::Session;
use crate::error::{Error, Kind, Result};
use crate::tools::{self, Finding, Outcome};

const CONFIGURATION: &str = "Configuration";
const EXIT_WRONG: i32 = 1;
const EXIT_UNREACHABLE: i32 = 75;

pub fn run(common: &PurchasesCommon, session: &mut Session) -> Result<i32> {
    let findings = match session.begin_purchases(common) {
        Ok(settings) => {
            let read = format!("{} is right", common.config.display());
            let mut findings = vec![Finding::fine(CONFIGURATION, read)];
            findings.extend(tools::quickstart(&settings)?);
            findings
        }
        Err(error) if error.kind() == Kind::Config => vec![unreadable(&error)],
        Err(error) => return Err(error),
    };
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or_default();
    for Finding { name, outcome, fact, remedy } in &findings {
        let mark = if *outcome == Outcome::Fine { '✓' } else { '✗' };
        session.out.line(format_args!("{mark} {name:<width$} | {fact}"));
        if let Some(remedy) = remedy {
            session.out.line(format_args!("  {:<width$} | → {remedy}", ""));
        }
    }
    let code = exit_code(&findings);
    session.out.line(match code {
        0 => "All checks passed: `foodstream purchases run` in one terminal, `foodstream purchases produce` in another",
        _ => "Not ready yet: mend what is marked with ✗ and check again",
    });
    let checks: Vec<_> = findings
        .iter()
        .map(|Finding { name, outcome, fact, remedy }| {
            json!({ "name": name, "ok": *outcome == Outcome::Fine, "fact": fact, "remedy": remedy })
        })
        .collect();
    session.out.report(&json!({ "ok": code == 0, "checks": checks, "exit_code": code }));
    Ok(code)
}

fn unreadable(error: &Error) -> Finding {
    Finding::wrong(
        CONFIGURATION,
        error.report(),
        "mend the file; `foodstream config check --preset purchases --config FILE` shows the line",
    )
}

fn exit_code(findings: &[Finding]) -> i32 {
    let has = |outcome| findings.iter().any(|finding| finding.outcome == outcome);
    if has(Outcome::Wrong) {
        EXIT_WRONG
    } else if has(Outcome::Unreachable) {
        EXIT_UNREACHABLE
    } else {
        0
    }
}
