//! The text of each commit, for whoever prints it: the command, or Python.

use super::console;
use super::view::View;
use crate::cli::args::BatchForm;
use crate::config::Settings;
use crate::error::Result;
use crate::pipeline::ingest::{Observed, Observer};

/// Commits as tables or as JSON.
pub struct Show {
    view: View,
    form: BatchForm,
}

impl Show {
    /// `None` where nothing is to be shown.
    ///
    /// # Errors
    /// `Config` where the configured totals lack the sums that are shown.
    pub fn new(settings: &Settings, form: BatchForm) -> Result<Option<Self>> {
        match form {
            BatchForm::None => Ok(None),
            form => Ok(Some(Show { view: View::new(settings)?, form })),
        }
    }

    /// Tells the banner now, then the text of each commit; one that cannot be made is an error in the log, and no more.
    pub fn begin(self, tell: impl Fn(String) + Send + 'static) -> Observer {
        if self.form == BatchForm::Table {
            tell(console::banner());
        }
        Observer::new(console::DETAIL_ROWS, move |commit| match self.text(commit) {
            Ok(text) => tell(text),
            Err(error) => tracing::error!(target: "foodstream::purchases", "{}", error.report()),
        })
    }

    fn text(&self, commit: &Observed<'_>) -> Result<String> {
        let batch = self.view.of(commit)?;
        Ok(if self.form == BatchForm::Json { batch.to_json() } else { console::batch(&batch) })
    }
}
