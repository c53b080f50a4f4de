//! From keys as written to typed settings: defaults filled in, meanings checked, contradictions refused.
//!
//! Pure but for the secret files it is told to read. A section that lacks a required key is remembered as
//! unfinished and refused by the command that needs it; a wrong value is refused at once.

mod aggregate;
mod events;
mod kafka;
mod lake;
mod postgres;
mod rhythm;
mod status;
mod validation;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use garde::Validate;

use super::defaults;
use super::node::{Node, Origin};
use super::problem::{Problem, Source};
use super::provenance::{Note, NoteLevel, Provenance};
use super::raw::{Raw, RawCdc, RawColumn, RawConsumer, RawLogging};
use super::settings::{Cdc, Consumer, Logging, Retry, Settings, StartingOffsets, Streaming};
use super::{de, names, parse, schema, secrets};
use crate::model::{Column, DataType, Schema};
use crate::telemetry::{Format, Template};

type Checked<T> = Result<T, Problem>;

/// The state file's name where only its folder is configured; the documents' name.
const STATE_FILE: &str = "last_processed_timestamp.txt";

pub(super) fn settings(root: &Node, source: Arc<Source>) -> Checked<Settings> {
    let raw: Raw = de::read(root)?;
    let mut resolver = Resolver { root, provenance: Provenance::new(source, root) };
    resolver.check_ranges(&raw)?;
    let allow_plaintext = raw.security.as_ref().and_then(|security| security.allow_plaintext).unwrap_or(false);
    let interval = raw.streaming.as_ref().and_then(|streaming| streaming.batch_interval);
    let interval = interval.unwrap_or(defaults::BATCH_INTERVAL_SEC);

    let postgres = resolver.postgres(raw.postgres.as_ref(), allow_plaintext)?;
    let kafka = resolver.kafka(raw.kafka.as_ref(), allow_plaintext)?;
    let cdc = resolver.cdc(&raw.cdc.unwrap_or_default(), interval)?;
    let streaming = resolver.streaming(&raw.streaming.unwrap_or_default())?;
    let lake = resolver.lake(raw.datalake.as_ref(), cdc.timezone)?;
    resolver.check_folders(lake.as_ref(), &streaming)?;
    let topic = kafka.as_ref().map(|kafka| kafka.topic.as_str());
    let memory_budget_mb = raw.memory.and_then(|memory| memory.budget_mb).map_or(defaults::MEMORY_BUDGET_MB, narrowed);
    let raw_consumer = raw.consumer.unwrap_or_default();
    let max_batch_bytes = resolver.batch_bytes(raw_consumer.max_batch_bytes.map(narrowed), memory_budget_mb)?;
    let trigger = resolver.trigger(&raw_consumer, &raw.spark.unwrap_or_default())?;
    let trigger = trigger.unwrap_or_else(|| seconds(interval));
    let consumer = resolver.consumer(&raw_consumer, trigger, topic, max_batch_bytes)?;
    let events = resolver.events(&raw.producer.unwrap_or_default())?;
    let schema = raw.schema.map(|columns| resolver.schema(&columns)).transpose()?;
    let validation = resolver.validation(raw.validation.unwrap_or_default(), schema.as_ref())?;
    let aggregate = resolver.aggregate(raw.aggregate.as_ref(), schema.as_ref(), kafka.as_ref())?;
    let retry = raw.retry.unwrap_or_default();
    let retry = Retry {
        start_timeout: seconds(retry.start_timeout_sec.unwrap_or(defaults::START_TIMEOUT_SEC)),
        max_backoff: seconds(retry.max_backoff_sec.unwrap_or(defaults::MAX_BACKOFF_SEC)),
    };
    let logging = resolver.logging(&raw.logging.unwrap_or_default())?;
    let status = resolver.status(&raw.status.unwrap_or_default())?;
    let file = resolver.provenance.source.file.as_ref().map(PathBuf::from);
    let provenance = resolver.provenance;
    Ok(Settings {
        file,
        preset: raw.preset.unwrap_or_default(),
        postgres,
        kafka,
        cdc,
        streaming,
        lake,
        consumer,
        validation,
        aggregate,
        schema,
        events,
        retry,
        memory_budget_mb,
        allow_plaintext,
        logging,
        status,
        provenance,
    })
}

fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value)
}

fn millis(value: i64) -> Duration {
    Duration::from_millis(narrowed(value))
}

/// A number that `check_ranges` has let through fits the settings' type.
fn narrowed<T: TryFrom<i64>>(value: i64) -> T {
    T::try_from(value).ok().expect("the key's range lies within the type")
}

struct Resolver<'n> {
    root: &'n Node,
    provenance: Provenance,
}

impl Resolver<'_> {
    fn problem(&self, key: &str, fact: impl Into<String>) -> Problem {
        Problem::new(self.root.locate(key).origin.clone(), fact).key(key)
    }

    /// "`key` is `value`, …" or, for a secret or a mapping, "`key` …".
    fn wrong(&self, key: &str, words: &str) -> Problem {
        let (words, help) = words.split_once("; ").map_or((words, None), |(words, help)| (words, Some(help)));
        let node = self.root.locate(key);
        let fact = match node.text() {
            Some(_) if !secrets::is_secret(key) => format!("`{key}` {words}: {}", node.shown()),
            _ => format!("`{key}` {words}"),
        };
        let mut problem = self.problem(key, fact);
        problem.help = help.map(str::to_owned);
        problem
    }

    fn note(&mut self, level: NoteLevel, text: String) {
        self.provenance.notes.push(Note { level, text });
    }

    /// A text that must not be blank if it is there.
    fn word(&self, key: &str, value: Option<&String>) -> Checked<Option<String>> {
        match value {
            Some(text) if text.trim().is_empty() => {
                Err(self.problem(key, format!("`{key}` is blank")).help("give it a value, or remove the key"))
            }
            Some(text) if text.contains('\0') => Err(self.problem(key, format!("`{key}` holds a NUL character"))),
            other => Ok(other.cloned()),
        }
    }

    fn path(&self, key: &str, value: Option<&String>) -> Checked<Option<PathBuf>> {
        Ok(self.word(key, value)?.map(PathBuf::from))
    }

    /// Remembers what a section lacks; true if it is complete.
    fn finished(&mut self, section: &'static str, required: &[(&str, bool)]) -> bool {
        let missing: Vec<String> =
            required.iter().filter(|(_, there)| !there).map(|(key, _)| format!("{section}.{key}")).collect();
        let Some(first) = missing.first() else { return true };
        let listed: Vec<String> = missing.iter().map(|key| format!("`{key}`")).collect();
        let verb = if listed.len() == 1 { "is" } else { "are" };
        let variable = first.to_ascii_uppercase().replace('.', "__");
        let entry = self.root.entry(section);
        let problem = Problem::new(
            entry.map_or(Origin::Default, |entry| entry.key_origin.clone()),
            format!("{} {verb} missing", listed.join(", ")),
        )
        .key(first.clone())
        .help(format!("write it under `{section}:`, or set {}{variable}", super::layers::ENVIRONMENT_PREFIX))
        .about_key();
        self.provenance.unfinished.insert(section, problem);
        false
    }

    fn check_ranges(&self, raw: &Raw) -> Checked<()> {
        let Err(report) = raw.validate() else { return Ok(()) };
        let Some((path, error)) = report.iter().next() else { return Ok(()) };
        let key = path.to_string();
        let problem = self.problem(&key, format!("`{key}` is {}: {}", self.root.locate(&key).shown(), error.message()));
        Err(match schema::range(&key) {
            Some(range) => problem.help(format!("give {range}")),
            None => problem,
        })
    }

    fn cdc(&self, raw: &RawCdc, interval: f64) -> Checked<Cdc> {
        let start = raw.default_start_timestamp.as_deref().unwrap_or(defaults::START_TIMESTAMP);
        let start = parse::timestamp_us(start).map_err(|words| self.wrong("cdc.default_start_timestamp", &words))?;
        let timezone = raw.timezone.as_deref().unwrap_or(defaults::TIMEZONE);
        let timezone = parse::timezone(timezone).map_err(|words| self.wrong("cdc.timezone", &words))?;
        let column = self.word("cdc.timestamp_column", raw.timestamp_column.as_ref())?;
        let topic_name = |key: &str, value: Option<&String>| match value {
            Some(name) if !names::is_topic_name(name) => Err(self
                .wrong(key, "is no name Kafka takes; use letters, digits, dots, underscores and dashes, 249 at most")),
            other => Ok(other.cloned()),
        };
        Ok(Cdc {
            poll_interval: seconds(raw.poll_interval_sec.unwrap_or(interval)),
            batch_limit: raw.batch_limit.map_or(defaults::BATCH_LIMIT, narrowed),
            default_start_timestamp_us: start,
            timestamp_column: column.unwrap_or_else(|| defaults::TIMESTAMP_COLUMN.to_owned()),
            key_column: self.word("cdc.key_column", raw.key_column.as_ref())?,
            timezone,
            begin_margin: Duration::from_millis(raw.begin_margin_ms.map_or(defaults::BEGIN_MARGIN_MS, narrowed)),
            late_commit_margin: raw.late_commit_margin_sec.map(seconds),
            cursor_topic: topic_name("cdc.cursor_topic", raw.cursor_topic.as_ref())?,
            pipeline_id: topic_name("cdc.pipeline_id", raw.pipeline_id.as_ref())?,
            transaction_max_rows: raw.transaction_max_rows.map_or(defaults::TRANSACTION_MAX_ROWS, narrowed),
            transaction_max: Duration::from_millis(
                raw.transaction_max_ms.map_or(defaults::TRANSACTION_MAX_MS, narrowed),
            ),
        })
    }

    fn streaming(&self, raw: &super::raw::RawStreaming) -> Checked<Streaming> {
        let key = "streaming.last_processed_timestamp_location";
        let state = self.path(key, raw.last_processed_timestamp_location.as_ref())?;
        let is_file = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "txt");
        Ok(Streaming {
            checkpoint_location: self.path("streaming.checkpoint_location", raw.checkpoint_location.as_ref())?,
            state_file: state.map(|path| if is_file(&path) { path } else { path.join(STATE_FILE) }),
        })
    }

    fn consumer(
        &self,
        raw: &RawConsumer,
        trigger_interval: Duration,
        topic: Option<&str>,
        max_batch_bytes: u64,
    ) -> Checked<Consumer> {
        let timeout = raw.await_termination_timeout.filter(|timeout| *timeout > 0.0);
        let timeout = timeout.map(|timeout| {
            Duration::try_from_secs_f64(timeout)
                .map_err(|_| self.wrong("consumer.await_termination_timeout", "is too long"))
        });
        let starting_offsets = match &raw.starting_offsets {
            Some(text) => parse::starting_offsets(&text.0, topic)
                .map_err(|words| self.wrong("consumer.starting_offsets", &words))?,
            None => StartingOffsets::Earliest,
        };
        Ok(Consumer {
            max_offsets_per_trigger: raw.max_offsets_per_trigger.map(narrowed),
            trigger_interval,
            await_termination_timeout: timeout.transpose()?,
            max_batch_bytes,
            starting_offsets,
            fail_on_data_loss: raw.fail_on_data_loss.unwrap_or(true),
        })
    }

    /// What an open batch may take: what is written or the default, and no more than its share of the budget.
    fn batch_bytes(&mut self, written: Option<u64>, budget_mb: u32) -> Checked<u64> {
        let budget = u64::from(budget_mb) * 1024 * 1024;
        let share = budget / defaults::BATCH_SHARE;
        let Some(bytes) = written else { return Ok(defaults::MAX_BATCH_BYTES.min(share)) };
        if bytes > budget {
            let fact = format!("a batch of {bytes} bytes does not fit the memory budget of {budget_mb} MB");
            let help = "raise memory.budget_mb, or lower consumer.max_batch_bytes";
            return Err(self.problem("consumer.max_batch_bytes", fact).help(help));
        }
        if bytes > share {
            let text = format!(
                "`consumer.max_batch_bytes`: a batch gets {share} bytes instead of {bytes}, a quarter of \
                 `memory.budget_mb` ({budget_mb}); raise that to {} for more",
                (bytes * defaults::BATCH_SHARE).div_ceil(1024 * 1024)
            );
            self.note(NoteLevel::Warning, text);
        }
        Ok(bytes.min(share))
    }

    fn schema(&self, columns: &[RawColumn]) -> Checked<Schema> {
        let mut schema = Schema::default();
        for (index, column) in columns.iter().enumerate() {
            let key = |name: &str| format!("schema[{index}].{name}");
            let Some(name) = self.word(&key("name"), column.name.as_ref())? else {
                return Err(self.problem(&format!("schema[{index}]"), format!("column {} has no `name`", index + 1)));
            };
            let Some(data_type) = &column.data_type else {
                return Err(self.problem(&key("type"), format!("column `{name}` has no `type`")));
            };
            let data_type: DataType = data_type.parse().map_err(|words: String| match words.split_once("; ") {
                Some((fact, help)) => self.problem(&key("type"), format!("column `{name}`: {fact}")).help(help),
                None => self.problem(&key("type"), format!("column `{name}`: {words}")),
            })?;
            if schema.index_of(&name).is_some() {
                return Err(self
                    .problem(&key("name"), format!("the column `{name}` is listed twice"))
                    .help("remove one"));
            }
            schema.columns.push(Column { name, data_type, nullable: column.nullable.unwrap_or(true) });
        }
        if schema.columns.is_empty() {
            return Err(self.problem("schema", "`schema` lists no column").help("list them, or remove the key"));
        }
        Ok(schema)
    }

    fn logging(&mut self, raw: &RawLogging) -> Checked<Logging> {
        const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace", "off"];
        let written = raw.level.as_deref().unwrap_or(defaults::LOG_LEVEL).trim().to_ascii_lowercase();
        let level = match written.as_str() {
            // Python's and Java's words.
            "warning" => "warn",
            "critical" | "fatal" => "error",
            other => other,
        };
        if !LEVELS.contains(&level) {
            return Err(self.wrong("logging.level", &format!("is no level; use {}", LEVELS.join(", "))));
        }
        let format = match raw.format.as_deref() {
            None => Format::Text,
            Some(template) if template.contains("%(") => {
                let template = Template::parse(template).map_err(|words| self.wrong("logging.format", &words))?;
                Format::Template(template)
            }
            Some(word) if word.trim().eq_ignore_ascii_case("json") => Format::Json,
            Some(word) if word.trim().eq_ignore_ascii_case("text") => Format::Text,
            Some(_) => {
                let words = "is no format; use text, json, or a template of Python's such as `%(asctime)s %(message)s`";
                return Err(self.wrong("logging.format", words));
            }
        };
        Ok(Logging { level: level.to_owned(), format, file: self.path("logging.file", raw.file.as_ref())? })
    }
}
