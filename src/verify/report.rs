//! What a verification found: a check a section, the numbers, and what follows from them.

use serde::Serialize;
use serde_json::{Value, json};

use super::facts::Facts;

/// From good to bad; the worst one of a report decides its closing line and its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// Another section was asked for.
    Skipped,
    /// Not started yet, or still on its way.
    Pending,
    /// Worth a look, and no promise is broken.
    Warning,
    /// Differs, and the evidence that would tell why is gone.
    Unproven,
    /// Lost, repeated, altered, or a broken log.
    Fault,
}

impl Status {
    pub fn mark(self) -> &'static str {
        match self {
            Status::Ok => "✓",
            Status::Skipped => "-",
            Status::Pending => "…",
            Status::Warning => "!",
            Status::Unproven => "?",
            Status::Fault => "✗",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Skipped => "SKIPPED",
            Status::Pending => "PENDING",
            Status::Warning => "WARNING",
            Status::Unproven => "UNPROVEN",
            Status::Fault => "FAULT",
        }
    }
}

/// The sections, in the documents' order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    Postgres,
    Kafka,
    Lake,
    StateFile,
    Checkpoint,
}

impl Section {
    pub const ALL: [Section; 5] =
        [Section::Postgres, Section::Kafka, Section::Lake, Section::StateFile, Section::Checkpoint];

    /// As the documents head it.
    pub fn title(self) -> &'static str {
        match self {
            Section::Postgres => "PostgreSQL",
            Section::Kafka => "Kafka",
            Section::Lake => "Data Lake",
            Section::StateFile => "State File",
            Section::Checkpoint => "Checkpoint",
        }
    }
}

impl std::str::FromStr for Section {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        Ok(match word.as_str() {
            "postgres" | "postgresql" => Section::Postgres,
            "kafka" => Section::Kafka,
            "lake" | "datalake" => Section::Lake,
            "state" | "statefile" => Section::StateFile,
            "checkpoint" => Section::Checkpoint,
            _ => return Err(format!("unknown section `{text}`; use postgres, kafka, lake, state or checkpoint")),
        })
    }
}

/// One section. Each detail begins with the mark of its own status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub status: Status,
    pub name: &'static str,
    pub summary: String,
    pub details: Vec<String>,
}

impl Check {
    pub(super) fn new(section: Section) -> Check {
        Check { status: Status::Ok, name: section.title(), summary: String::new(), details: Vec::new() }
    }

    pub(super) fn skipped(section: Section) -> Check {
        Check { status: Status::Skipped, summary: "not asked for".to_owned(), ..Check::new(section) }
    }

    /// Of a pipeline that begins at its topic.
    pub(super) fn without_table(section: Section) -> Check {
        let summary = match section {
            Section::StateFile => "no table, so no position in one",
            _ => "no table to compare with: the configuration has no section `postgres`",
        };
        Check { status: Status::Skipped, summary: summary.to_owned(), ..Check::new(section) }
    }

    /// Adds a line; the check is as bad as its worst line.
    pub(super) fn note(&mut self, status: Status, text: impl AsRef<str>) {
        self.status = self.status.max(status);
        self.details.push(format!("{} {}", status.mark(), text.as_ref()));
    }

    /// Adds a line that hangs under the one before it.
    pub(super) fn under(&mut self, text: impl AsRef<str>) {
        self.details.push(format!("    {}", text.as_ref()));
    }
}

/// Everything that `verify` found out.
#[derive(Clone, Debug)]
pub struct Report {
    pub sections: Vec<Check>,
    pub facts: Facts,
    /// Commands that would bring what is pending further.
    pub next: Vec<String>,
}

impl Report {
    pub fn status(&self) -> Status {
        let looked_at = self.sections.iter().map(|check| check.status).filter(|status| *status != Status::Skipped);
        looked_at.max().unwrap_or(Status::Ok)
    }

    /// 0, or 3 when something was lost, repeated, altered, or a log is broken.
    pub fn exit_code(&self) -> i32 {
        if self.status() == Status::Fault { 3 } else { 0 }
    }

    /// No fault was found; what is pending or unproven is none.
    pub fn is_ok(&self) -> bool {
        self.exit_code() == 0
    }

    pub fn to_json(&self) -> Value {
        json!({
            "status": self.status(),
            "exit_code": self.exit_code(),
            "checks": self.sections,
            "facts": self.facts,
            "next": self.next,
        })
    }

    /// The documents' text: a block a section, the table, the closing facts. `color` marks statuses with ANSI codes.
    pub fn render(&self, color: bool) -> String {
        super::render::text(self, color)
    }

    /// A small table for notebooks.
    pub fn to_html(&self) -> String {
        super::render::html(self)
    }
}
