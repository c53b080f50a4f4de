//! Log lines of the command line: where they go and what they look like.
//!
//! Modules log with `tracing` under targets `foodstream::…`. A command calls [`install`] once, which writes to
//! stderr and, where one is named, to a file. Nothing else in the crate configures logging: a library that is
//! imported leaves that to its program (the Python boundary hands the same events to `logging`).
//!
//! ```text
//! text  2026-11-21 08:12:01.123 INFO  [PRODUCER] Fetched 5 new records
//! json  {"time":"2026-11-21T08:12:01.123Z","level":"INFO","target":"foodstream::producer","component":"producer",
//!        "operation":"publish","batch_id":7,"message":"…","run_id":"…","fields":{"rows":5,"duration_ms":3}}
//! ```
//! or as a template of Python's `logging` says. Times are UTC. The JSON keys are fixed; programs read them.
//! `operation` and `batch_id` are there where an event has them; counts and durations are fields.

pub mod recent;
mod template;

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Stderr, Write};
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Location, Result};
use template::Values;

pub use template::Template;

/// First part of every target of ours.
const ROOT: &str = "foodstream";
/// Targets whose lines the documents show.
const LOOPS: [&str; 2] = ["foodstream::producer", "foodstream::consumer"];

/// Keys of an event that stand beside its message in JSON, not among its fields.
const KEYS: [&str; 2] = ["operation", "batch_id"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
    Template(Template),
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::Text => f.write_str("text"),
            Format::Json => f.write_str("json"),
            Format::Template(template) => template.fmt(f),
        }
    }
}

/// What a command was told about its logs.
#[derive(Clone, Debug)]
pub struct Logs<'a> {
    /// `error`, `warn` (or `warning`), `info`, `debug`, `trace`, `off`, in any case.
    pub level: &'a str,
    pub format: Format,
    /// Lines go there too; it is appended to.
    pub file: Option<&'a Path>,
    pub run_id: &'a str,
}

/// The installed logs; kept for the words a command ends with.
#[derive(Debug)]
pub struct Telemetry {
    sinks: Arc<Sinks>,
    format: Format,
    run_id: String,
}

/// Sends events to stderr and the file from now on, in this process. A second call changes nothing.
///
/// # Errors
/// A level that is none, and a file that cannot be opened, are configuration errors.
pub fn install(logs: &Logs<'_>) -> Result<Telemetry> {
    let filter = filter(parse_level(logs.level)?);
    let sinks = Arc::new(Sinks { stderr: true, file: logs.file.map(open).transpose()? });
    let run_id = logs.run_id.to_owned();
    let subscriber = subscriber(filter, logs.format.clone(), run_id.clone(), SystemClock, Arc::clone(&sinks));
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(Telemetry { sinks, format: logs.format.clone(), run_id })
}

impl Telemetry {
    /// For words before anything is installed: stderr alone.
    pub fn stderr(format: Format, run_id: &str) -> Self {
        Telemetry { sinks: Arc::new(Sinks { stderr: true, file: None }), format, run_id: run_id.to_owned() }
    }

    /// Says why a command ends, whatever the log level: `shown` to people, `message` as a line like all others to
    /// whoever reads JSON, and to the file.
    pub fn last_words(&self, shown: &str, message: &str) {
        let message = message.to_owned();
        let line = Line { level: Level::ERROR, target: "foodstream::cli", message, fields: Map::new() };
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = line.render(&mut text, &self.format, &self.run_id, SystemClock.now());
        let Sinks { stderr, file } = &*self.sinks;
        let shown = if self.format == Format::Json { text.clone() } else { format!("{shown}\n") };
        Sinks::put(stderr.then(io::stderr), None, shown.as_bytes());
        Sinks::put(None, file.as_ref(), text.as_bytes());
    }
}

fn subscriber(
    filter: Targets,
    format: Format,
    run_id: String,
    clock: impl Clock + 'static,
    sinks: Arc<Sinks>,
) -> impl Subscriber + Send + Sync {
    let lines = Lines { format, run_id, clock };
    let layer = tracing_subscriber::fmt::layer().event_format(lines).log_internal_errors(false).with_writer(sinks);
    let kept = recent::RecentLayer.with_filter(self::filter(LevelFilter::INFO));
    tracing_subscriber::registry().with(layer.with_filter(filter)).with(kept)
}

fn parse_level(text: &str) -> Result<LevelFilter> {
    Ok(match text.trim().to_ascii_lowercase().as_str() {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" | "warning" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => {
            return Err(Error::config(format!("`{text}` is no log level; use error, warn, info, debug, trace or off")));
        }
    })
}

/// The level is for our own events. Those of the crates below would drown them, so they show their warnings
/// only, until everything is asked for.
fn filter(level: LevelFilter) -> Targets {
    let others = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    Targets::new().with_default(others).with_target(ROOT, level)
}

fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| {
        let key = Location { key: Some("logging.file".to_owned()), ..Location::default() };
        Error::config(format!("cannot write the log file {}", path.display())).at(key).because(error)
    })
}

/// Each event arrives as one write. A sink that fails is passed over: a full disk or a closed terminal must not
/// stop a pipeline, nor keep the line from the other sink.
#[derive(Debug)]
struct Sinks {
    stderr: bool,
    file: Option<File>,
}

impl Sinks {
    fn put(stderr: Option<Stderr>, file: Option<&File>, line: &[u8]) {
        if let Some(stderr) = stderr {
            let _ = stderr.lock().write_all(line);
        }
        if let Some(mut file) = file {
            let _ = file.write_all(line);
        }
    }
}

impl Write for &Sinks {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        Sinks::put(self.stderr.then(io::stderr), self.file.as_ref(), line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Lines<C> {
    format: Format,
    run_id: String,
    clock: C,
}

impl<S, N, C> FormatEvent<S, N> for Lines<C>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    C: Clock,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut line =
            Line { level: *metadata.level(), target: metadata.target(), message: String::new(), fields: Map::new() };
        event.record(&mut line);
        line.render(&mut writer, &self.format, &self.run_id, self.clock.now())
    }
}

/// An event taken apart.
struct Line<'a> {
    level: Level,
    target: &'a str,
    message: String,
    fields: Map<String, Value>,
}

impl Line<'_> {
    fn render(self, into: &mut impl fmt::Write, format: &Format, run_id: &str, now: DateTime<Utc>) -> fmt::Result {
        match format {
            Format::Json => writeln!(into, "{}", self.into_json(run_id, now)),
            Format::Text => {
                let time = now.format("%Y-%m-%d %H:%M:%S%.3f");
                let tag = component(self.target);
                // The tag of our own is the documents'; another crate's target is its crate.
                let tag = if self.is_ours() { tag.to_uppercase() } else { tag.to_owned() };
                writeln!(into, "{time} {:<5} [{tag}] {}", self.level.as_str(), self.words())
            }
            Format::Template(template) => {
                let message = self.words();
                template.render(&Values { level: self.level, target: self.target, message: &message, now }, into)
            }
        }
    }

    fn is_ours(&self) -> bool {
        self.target.split("::").next() == Some(ROOT)
    }

    fn into_json(mut self, run_id: &str, now: DateTime<Utc>) -> Value {
        let mut line = Map::new();
        let mut put = |key: &str, value: Value| drop(line.insert(key.to_owned(), value));
        put("time", Value::from(now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)));
        put("level", Value::from(self.level.as_str()));
        put("target", Value::from(self.target));
        put("component", Value::from(component(self.target)));
        for key in KEYS {
            self.fields.shift_remove(key).into_iter().for_each(|value| put(key, value));
        }
        put("message", Value::from(self.message));
        put("run_id", Value::from(run_id));
        put("fields", Value::Object(self.fields));
        Value::Object(line)
    }

    /// The message for people, with the fields that it does not hold in words.
    fn words(&self) -> String {
        let mut words = self.message.clone();
        // The loops' lines are the documents' and hold their figures in words.
        if LOOPS.contains(&self.target) && !words.is_empty() {
            return words;
        }
        for (name, value) in &self.fields {
            let space = if words.is_empty() { "" } else { " " };
            // Writing into a string does not fail.
            let _ = write!(words, "{space}{name}={value}");
        }
        words
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", other) => self.message = other.to_string(),
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

/// `foodstream::producer` → `producer`; another crate's target → its crate.
fn component(target: &str) -> &str {
    let own = target.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix("::")).unwrap_or(target);
    own.split("::").next().unwrap_or(own)
}

impl Visit for Line<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }
}

#[cfg(test)]
pub mod testing {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    /// What a test's subscriber writes: clones write into one text.
    #[derive(Clone, Default)]
    pub struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;
    use crate::clock::ManualClock;

    /// What `events` leaves in the log file.
    fn logged(level: &str, format: Format, events: impl FnOnce()) -> String {
        let mut file = tempfile::tempfile().unwrap();
        let sinks = Arc::new(Sinks { stderr: false, file: Some(file.try_clone().unwrap()) });
        let clock = ManualClock::new(DateTime::from_timestamp_millis(1_795_248_721_123).unwrap());
        let subscriber = subscriber(filter(parse_level(level).unwrap()), format, "run-1".to_owned(), clock, sinks);
        tracing::subscriber::with_default(subscriber, events);
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn text_lines_carry_the_documents_tags() {
        let text = logged("info", Format::Text, || {
            tracing::info!(target: "foodstream::producer", rows = 5, "Fetched {} new records", 5);
            tracing::warn!(target: "foodstream::consumer", "slow");
            tracing::error!(target: "foodstream::lake::recovery", file = "a b", "torn");
            tracing::error!(target: "some_crate::inner", code = 7u64);
        });
        assert_eq!(
            text,
            "2026-11-21 08:12:01.123 INFO  [PRODUCER] Fetched 5 new records\n\
             2026-11-21 08:12:01.123 WARN  [CONSUMER] slow\n\
             2026-11-21 08:12:01.123 ERROR [LAKE] torn file=\"a b\"\n\
             2026-11-21 08:12:01.123 ERROR [some_crate] code=7\n"
        );
    }

    #[test]
    fn json_lines_have_the_fixed_keys_in_order() {
        let text = logged("info", Format::Json, || {
            tracing::info!(target: "foodstream::consumer", operation = "commit", rows = 5u64, batch_id = 3u64, files = 1u64, why = "a \"quote\"\n", "done");
        });
        assert_eq!(
            text,
            "{\"time\":\"2026-11-21T08:12:01.123Z\",\"level\":\"INFO\",\"target\":\"foodstream::consumer\",\
             \"component\":\"consumer\",\"operation\":\"commit\",\"batch_id\":3,\"message\":\"done\",\
             \"run_id\":\"run-1\",\"fields\":{\"rows\":5,\"files\":1,\"why\":\"a \\\"quote\\\"\\n\"}}\n"
        );
    }

    #[test]
    fn other_crates_are_heard_only_when_they_warn() {
        let events = || {
            tracing::debug!(target: "foodstream::retry", "ours");
            tracing::info!(target: "rdkafka", "theirs");
        };
        assert!(!logged("debug", Format::Text, events).contains("theirs"));
        assert!(logged("debug", Format::Text, events).contains("ours"));
        assert!(logged("trace", Format::Text, events).contains("theirs"));
        assert_eq!(logged("WARNING", Format::Text, events), "");
    }

    #[test]
    fn a_level_or_file_that_cannot_be_is_a_configuration_error() {
        let logs = |level, file| Logs { level, format: Format::Text, file, run_id: "r" };
        assert_eq!(install(&logs("loud", None)).unwrap_err().exit_code(), 2);
        let error = install(&logs("info", Some(Path::new("/nowhere/at/all.log")))).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.report().contains("/nowhere/at/all.log"), "{}", error.report());
    }
}
