//! `foodstream purchases …`: the purchase-event pipeline, which is the same core under another preset.

mod check;
mod console;
mod produce;
mod report;
mod run;
mod show;
mod view;

use super::args::Purchases;
use super::lake;
use super::session::Session;
use crate::error::{Error, Result};

pub use super::args::BatchForm;
pub use show::Show;

pub fn run(command: &Purchases, session: &mut Session) -> Result<i32> {
    match command {
        Purchases::Produce(args) => produce::run(args, session),
        Purchases::Run(args) => run::run(args, session),
        Purchases::Check { common } => check::run(common, session),
        Purchases::Totals { shown, common } => {
            let settings = session.begin_purchases(common)?;
            lake::show_totals(&settings, shown, session)
        }
        Purchases::Report { common } => report::run(common, session),
        Purchases::Demo(_) => Err(Error::bug("the demonstration is run by Python")),
    }
}
