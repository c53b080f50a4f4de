//! What an examination found: a finding a check, and what follows from all of them.

use serde::Serialize;
use serde_json::{Value, json};

/// From good to bad; the worst one of a report decides its closing line and, with what is away, its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// There is nothing to check: not configured, or not begun.
    NotApplicable,
    /// The fact could not be had: a service is away, a right is missing, an answer took too long.
    CouldNotTell,
    /// Worth mending; rows flow and none is lost as things stand.
    Warning,
    /// Rows are lost or held up, or a side cannot run, until somebody mends it.
    Fault,
}

impl Verdict {
    pub fn mark(self) -> &'static str {
        match self {
            Verdict::Ok => "✓",
            Verdict::NotApplicable => "-",
            Verdict::CouldNotTell => "?",
            Verdict::Warning => "!",
            Verdict::Fault => "✗",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    Program,
    Postgres,
    Kafka,
    Lake,
}

impl Section {
    pub const ALL: [Section; 4] = [Section::Program, Section::Postgres, Section::Kafka, Section::Lake];

    pub fn title(self) -> &'static str {
        match self {
            Section::Program => "Program",
            Section::Postgres => "PostgreSQL",
            Section::Kafka => "Kafka",
            Section::Lake => "Data Lake",
        }
    }
}

impl std::str::FromStr for Section {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "program" => Section::Program,
            "postgres" | "postgresql" => Section::Postgres,
            "kafka" => Section::Kafka,
            "lake" | "datalake" => Section::Lake,
            _ => return Err(format!("unknown section `{text}`; use postgres, kafka, lake or program")),
        })
    }
}

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident: $section:ident, $id:literal;)*) => {
        /// Everything that is checked, in the order of the report. docs/OPERATIONS.md has a row for each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Check {
            $($(#[$doc])* $name,)*
        }

        impl Check {
            pub const ALL: &[Check] = &[$(Check::$name,)*];

            pub fn section(self) -> Section {
                match self { $(Check::$name => Section::$section,)* }
            }

            /// Its name in reports; it stays the same, since others may look for it.
            pub fn id(self) -> &'static str {
                match self { $(Check::$name => $id,)* }
            }
        }
    };
}

checks! {
    Versions: Program, "versions";
    Configuration: Program, "configuration";

    Server: Postgres, "server";
    Table: Postgres, "table";
    Index: Postgres, "index";
    QueryPlan: Postgres, "query_plan";
    TimestampDefault: Postgres, "timestamp_default";
    NullTimestamps: Postgres, "null_timestamps";
    Columns: Postgres, "columns";
    Visibility: Postgres, "visibility";
    OpenTransactions: Postgres, "open_transactions";
    PreparedTransactions: Postgres, "prepared_transactions";
    Clock: Postgres, "clock";

    Brokers: Kafka, "brokers";
    Topic: Kafka, "topic";
    Replication: Kafka, "replication";
    Retention: Kafka, "retention";
    Transactions: Kafka, "transactions";
    CursorTopic: Kafka, "cursor_topic";
    Position: Kafka, "position";
    Group: Kafka, "group";

    Folders: Lake, "folders";
    FreeSpace: Lake, "free_space";
    FileSystem: Lake, "file_system";
    CommitLog: Lake, "commit_log";
    Files: Lake, "files";
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub check: Check,
    pub verdict: Verdict,
    pub fact: String,
    /// Statements, settings and commands as they can be pasted, and words where there is nothing to paste. Several
    /// are steps or, where the fact says so, a choice.
    pub remedies: Vec<String>,
}

impl Finding {
    pub fn new(check: Check, verdict: Verdict, fact: impl Into<String>) -> Self {
        Finding { check, verdict, fact: fact.into(), remedies: Vec::new() }
    }

    pub fn ok(check: Check, fact: impl Into<String>) -> Self {
        Finding::new(check, Verdict::Ok, fact)
    }

    pub fn not_applicable(check: Check, fact: impl Into<String>) -> Self {
        Finding::new(check, Verdict::NotApplicable, fact)
    }

    pub fn could_not_tell(check: Check, fact: impl Into<String>) -> Self {
        Finding::new(check, Verdict::CouldNotTell, fact)
    }

    /// Adds a way out, for a finding that needs one.
    pub fn mended_by(mut self, remedy: impl Into<String>) -> Self {
        self.remedies.push(remedy.into());
        self
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "section": self.check.section(), "check": self.check.id(), "verdict": self.verdict, "fact": self.fact,
            "remedies": self.remedies,
        })
    }
}

/// Everything that `doctor` found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// Sections whose service did not answer.
    pub away: Vec<Section>,
}

/// As `verify` ends where it finds a fault.
const FOUND_FAULTS: i32 = 3;
/// As every command that meets a service which is away.
const SERVICE_AWAY: i32 = 75;

impl Report {
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.verdict == verdict)
    }

    /// 3 for a fault, which waiting does not mend; else 75 where a service is away; else 0.
    pub fn exit_code(&self) -> i32 {
        if self.with(Verdict::Fault).next().is_some() {
            FOUND_FAULTS
        } else if !self.away.is_empty() {
            SERVICE_AWAY
        } else {
            0
        }
    }

    /// All services answered and nothing is faulty; warnings are none.
    pub fn is_ok(&self) -> bool {
        self.exit_code() == 0
    }

    pub fn to_json(&self) -> Value {
        let checks: Vec<Value> = self.findings.iter().map(Finding::to_json).collect();
        json!({
            "ok": self.is_ok(),
            "faults": self.with(Verdict::Fault).count(),
            "warnings": self.with(Verdict::Warning).count(),
            "away": self.away,
            "checks": checks,
            "exit_code": self.exit_code(),
        })
    }

    /// A block a section, a line a check with its remedies below it, the closing line. `color` marks with ANSI codes.
    pub fn render(&self, color: bool) -> String {
        super::render::text(self, color)
    }

    /// A small table for notebooks.
    pub fn to_html(&self) -> String {
        super::render::html(self)
    }
}
