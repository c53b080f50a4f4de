//! Questions that commands put to the settings: what must be there, and what things are called.

use std::path::{Path, PathBuf};

use super::defaults;
use super::names::topic_safe;
use super::node::Origin;
use super::parse::plaintext_allowed;
use super::preset::Preset;
use super::problem::Problem;
use super::provenance::{Note, NoteLevel};
use super::settings::{Kafka, Lake, Postgres, Settings, SslMode};
use crate::error::{Error, Result};

impl Settings {
    pub fn require_postgres(&self) -> Result<&Postgres> {
        self.require("postgres", self.postgres.as_ref())
    }

    pub fn require_kafka(&self) -> Result<&Kafka> {
        self.require("kafka", self.kafka.as_ref())
    }

    pub fn require_lake(&self) -> Result<&Lake> {
        self.require("datalake", self.lake.as_ref())
    }

    /// That the settings lie over this preset, or need none since they name their own columns.
    pub fn require_preset(&self, wanted: Preset) -> Result<()> {
        if self.preset == wanted || self.schema.is_some() {
            return Ok(());
        }
        let (is, wanted) = (self.preset.name(), wanted.name());
        Err(Error::config(format!(
            "this Config lies over the preset `{is}`, but this is of the {wanted} pipeline: make it with \
             Config(…, preset=\"{wanted}\")"
        )))
    }

    /// Nothing is said of a table: not even half a section. A pipeline may begin at its topic.
    pub fn has_no_table(&self) -> bool {
        let begun = self.provenance.unfinished.contains_key("postgres") && !self.knows_only_an_address();
        self.postgres.is_none() && !begun
    }

    /// The environment says where a server is, as the local stack's does to all beside it, and nobody says more.
    fn knows_only_an_address(&self) -> bool {
        let mut said = self.provenance.origins.iter().filter(|(key, _)| key.starts_with("postgres"));
        said.all(|(key, origin)| {
            let is_address = matches!(key.as_str(), "postgres" | "postgres.host" | "postgres.port");
            is_address && matches!(origin, Origin::Environment(_))
        })
    }

    /// What a command that takes the file `default` by itself is to be told to find these settings again.
    pub fn flags(&self, default: &str) -> String {
        let file = self.file.as_deref().filter(|file| *file != Path::new(default));
        let mut flags =
            file.map(|file| format!(" --config {}", shell_quoted(&file.to_string_lossy()))).unwrap_or_default();
        let says_itself = matches!(self.provenance.origin(&["preset"]), Origin::File { .. } | Origin::Environment(_));
        if self.preset != Preset::default() && !says_itself && default != defaults::PURCHASES_CONFIG_FILE {
            flags.push_str(" --preset ");
            flags.push_str(self.preset.name());
        }
        flags
    }

    /// Folder of the commit log.
    pub fn require_checkpoint(&self) -> Result<&Path> {
        let path = self.streaming.checkpoint_location.as_deref();
        path.ok_or_else(|| self.missing_key("streaming", "checkpoint_location"))
    }

    fn require<'s, T>(&'s self, section: &str, value: Option<&'s T>) -> Result<&'s T> {
        value.ok_or_else(|| match self.provenance.unfinished.get(section) {
            Some(problem) => self.provenance.source.error(problem.clone()),
            None => self.missing_section(section),
        })
    }

    fn missing_section(&self, section: &str) -> Error {
        let problem = Problem::new(Origin::Default, format!("the section `{section}` is missing"))
            .key(section)
            .help("configs/orders_stream.yml shows it with all its keys");
        self.provenance.source.error(problem)
    }

    fn missing_key(&self, section: &str, key: &str) -> Error {
        let path = format!("{section}.{key}");
        let variable = path.to_ascii_uppercase().replace('.', "__");
        let problem = Problem::new(self.provenance.origin(&[section]), format!("`{path}` is missing"))
            .key(path)
            .help(format!("write it under `{section}:`, or set {}{variable}", super::layers::ENVIRONMENT_PREFIX))
            .about_key();
        self.provenance.source.error(problem)
    }

    /// Sections that are there but lack a required key: an error each. `config check` reports them all.
    pub fn unfinished(&self) -> Vec<Error> {
        let sections = self.provenance.unfinished.iter();
        let begun = sections.filter(|(section, _)| **section != "postgres" || !self.knows_only_an_address());
        begun.map(|(_, problem)| self.provenance.source.error(problem.clone())).collect()
    }

    /// What is valid but worth a word: keys without effect, plain text in container networks.
    pub fn notes(&self) -> &[Note] {
        &self.provenance.notes
    }

    /// Says the notes, once a command's logging stands.
    pub fn log_notes(&self) {
        for note in self.notes() {
            match note.level {
                NoteLevel::NoEffect => tracing::debug!(target: "foodstream::config", "{}", note.text),
                NoteLevel::Info => tracing::info!(target: "foodstream::config", "{}", note.text),
                NoteLevel::Warning => tracing::warn!(target: "foodstream::config", "{}", note.text),
            }
        }
    }

    /// Names the pipeline in Kafka: `cdc.pipeline_id`, or `<db>.<schema>.<table>-<topic>` with a hash where Kafka
    /// would not take it as a topic's name. Host and port are not part of it: the same database is `postgres` to
    /// one process and `localhost` to the next.
    pub fn pipeline_id(&self, schema_name: &str, table: &str) -> Result<String> {
        if let Some(id) = &self.cdc.pipeline_id {
            return Ok(id.clone());
        }
        let (postgres, kafka) = (self.require_postgres()?, self.require_kafka()?);
        Ok(topic_safe(&format!("{}.{schema_name}.{table}-{}", postgres.database, kafka.topic)))
    }

    /// The table as reports and the status page name it.
    pub fn source_name(&self) -> Result<String> {
        let postgres = self.require_postgres()?;
        let table = if postgres.table.contains('.') { "" } else { "public." };
        Ok(format!("PostgreSQL[{}.{table}{}]", postgres.database, postgres.table))
    }

    /// Where the processes of this pipeline find each other: beside the commit log's folder, or beside the state file
    /// where no such folder is configured. Both sides of one configuration come to the same.
    pub fn status_folder(&self) -> Option<PathBuf> {
        let beside = |folder: &Path| {
            let mut name = folder.file_name()?.to_owned();
            name.push("_status");
            Some(folder.with_file_name(name))
        };
        let checkpoint = self.streaming.checkpoint_location.as_deref().and_then(beside);
        checkpoint.or_else(|| self.streaming.state_file.as_deref().and_then(beside))
    }

    /// The topic that holds the cursor: `cdc.cursor_topic`, or `foodstream-cursor-<pipeline id>`.
    pub fn cursor_topic(&self, pipeline_id: &str) -> String {
        let default = || topic_safe(&format!("foodstream-cursor-{pipeline_id}"));
        self.cdc.cursor_topic.clone().unwrap_or_else(default)
    }
}

impl Postgres {
    /// The mode in force: what is written, else verify-full, else plain where `plaintext_allowed` says so.
    pub fn ssl_mode(&self) -> SslMode {
        let default = if plaintext_allowed(&self.host) { SslMode::Disable } else { SslMode::VerifyFull };
        self.tls.mode.unwrap_or(default)
    }
}

/// A word as a POSIX shell takes it, in quotes where it needs them.
pub fn shell_quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte) || !byte.is_ascii();
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
