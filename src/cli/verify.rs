//! `verify`: shows what `verify::verify` found; exit code 3 where something was lost, repeated or altered.

use serde_json::json;

use super::args::Verify;
use super::output::wants_colour;
use super::runtime;
use super::session::Session;
use crate::error::Result;
use crate::verify::{VerifyOptions, verify};

pub fn run(args: &Verify, session: &mut Session) -> Result<i32> {
    let settings = session.begin(&args.common)?;
    let report = runtime::shared()?.block_on(verify(&settings, &VerifyOptions { section: args.section }))?;
    session.out.line(report.render(wants_colour()).trim_end());
    let mut members = report.to_json();
    members["counts"] = json!({
        "table": report.facts.table_rows,
        "lake": report.facts.lake_rows,
        "quarantine": report.facts.quarantine_rows,
        "duplicates": report.facts.duplicate.count,
    });
    session.out.report(&members);
    Ok(report.exit_code())
}
