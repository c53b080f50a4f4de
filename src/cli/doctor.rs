//! `doctor`: shows what `tools::doctor` found; exit code 3 for faults, 75 where only a service is away.

use super::args::Doctor;
use super::output::wants_colour;
use super::runtime;
use super::session::Session;
use crate::error::Result;
use crate::tools::doctor::{DoctorOptions, doctor};

pub fn run(args: &Doctor, session: &mut Session) -> Result<i32> {
    let settings = session.begin(&args.common)?;
    let options = DoctorOptions { sections: args.section.into_iter().collect() };
    let report = runtime::shared()?.block_on(doctor(&settings, &options))?;
    session.out.line(report.render(wants_colour()).trim_end());
    session.out.report(&report.to_json());
    Ok(report.exit_code())
}
