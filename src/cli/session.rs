//! What every command begins and ends with: settings, logs, output; then the last words and the exit code.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;

use super::args::{Common, LogFormat, Output, PurchasesCommon, ReportForm};
use super::output::Out;
use crate::config::{self, Overrides, Preset, Settings};
use crate::error::{Error, Kind, Result};
use crate::pipeline::session::words;
use crate::telemetry::{self, Format, Logs, Telemetry};

/// Of a command that could not tell its result.
const FAILURE: i32 = 1;

/// Of one command.
pub struct Session {
    pub run_id: String,
    pub out: Out,
    telemetry: Telemetry,
}

/// Runs a command's work and turns its end into an exit code.
pub fn run(work: impl FnOnce(&mut Session) -> Result<i32>) -> i32 {
    // A panic is told like every other error, in one line.
    std::panic::set_hook(Box::new(|panic| tracing::debug!(target: "foodstream::bug", "{panic}")));
    let run_id = uuid::Uuid::new_v4().to_string();
    let telemetry = Telemetry::stderr(Format::Text, &run_id);
    let mut session = Session { run_id, out: Out::stdout(), telemetry };
    let result = catch_unwind(AssertUnwindSafe(|| work(&mut session)));
    session.end(result.unwrap_or_else(|panic| Err(Error::bug(words(&*panic)))))
}

impl Session {
    /// Reads the configuration, then sets up output and logs as it and the flags say.
    pub fn begin(&mut self, common: &Common) -> Result<Settings> {
        let overrides = self.overrides(common)?;
        let settings = Settings::load(&common.config, &overrides)?;
        self.use_settings(&common.output, &settings)?;
        Ok(settings)
    }

    /// The same for a command whose own flags are settings too.
    pub fn begin_with(&mut self, common: &Common, flags: Vec<String>) -> Result<Settings> {
        let common = Common { set: [common.set.clone(), flags].concat(), ..common.clone() };
        self.begin(&common)
    }

    /// The same for the purchase pipeline, whose file lies over the shipped one.
    pub fn begin_purchases(&mut self, common: &PurchasesCommon) -> Result<Settings> {
        self.begin_purchases_with(common, Vec::new())
    }

    pub fn begin_purchases_with(&mut self, common: &PurchasesCommon, flags: Vec<String>) -> Result<Settings> {
        let set = [common.set.clone(), flags].concat();
        let overrides = Overrides { made_for: Some(Preset::Purchases), ..self.given(&common.output, &set)? };
        let settings = Settings::load(&common.config, &overrides)?;
        self.use_settings(&common.output, &settings)?;
        Ok(settings)
    }

    /// Environment and flags, for a command that adds its own before it loads.
    pub fn overrides(&mut self, common: &Common) -> Result<Overrides> {
        Ok(Overrides { preset: common.preset, table: common.table.clone(), ..self.given(&common.output, &common.set)? })
    }

    fn given(&mut self, output: &Output, set: &[String]) -> Result<Overrides> {
        self.foresee(output);
        let directory =
            std::env::current_dir().map_err(|error| Error::config("the working directory is gone").because(error))?;
        Ok(Overrides { set: set.to_vec(), ..Overrides::from_process(&directory)? })
    }

    pub fn use_settings(&mut self, output: &Output, settings: &Settings) -> Result<()> {
        let logging = &settings.logging;
        let format = output.log_format.map_or_else(|| logging.format.clone(), telemetry_format);
        let level = if output.quiet { Some("warn") } else { output.log_level.as_deref() };
        self.telemetry = telemetry::install(&Logs {
            level: level.unwrap_or(&logging.level),
            format,
            file: logging.file.as_deref(),
            run_id: &self.run_id,
        })?;
        settings.log_notes();
        Ok(())
    }

    /// The form of the report, for a command without a configuration.
    pub fn expect(&mut self, report: ReportForm) {
        self.out.set_json(report == ReportForm::Json);
    }

    /// How to tell an error that comes before the configuration is read.
    fn foresee(&mut self, output: &Output) {
        self.expect(output.report);
        let format = telemetry_format(output.log_format.unwrap_or(LogFormat::Text));
        self.telemetry = Telemetry::stderr(format, &self.run_id);
    }

    fn end(mut self, result: Result<i32>) -> i32 {
        let code = result.unwrap_or_else(|error| self.tell(&error));
        match self.out.finish() {
            Ok(()) => code,
            Err(error) => {
                let words = format!("cannot write to standard output: {error}");
                self.telemetry.last_words(&format!("error: {words}"), &words);
                FAILURE
            }
        }
    }

    fn tell(&mut self, error: &Error) -> i32 {
        let code = error.exit_code();
        match error.kind() {
            // Asked for, and nothing was lost by it.
            Kind::Interrupted => return code,
            Kind::Bug => {
                let words = format!("this is a bug in foodstream, please report it: {}", error.report());
                self.telemetry.last_words(&format!("error: {words}"), &words);
            }
            _ => self.telemetry.last_words(&config::render(error), &error.report()),
        }
        let kind = format!("{:?}", error.kind()).to_lowercase();
        let (message, retriable) = (error.report(), error.is_retriable());
        self.out.report(&json!({
            "error": { "kind": kind, "message": message, "retriable": retriable },
            "exit_code": code,
        }));
        code
    }
}

fn telemetry_format(format: LogFormat) -> Format {
    match format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    }
}
