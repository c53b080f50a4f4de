//! The one error type that leaves a module.
//!
//! A kind says which promise or party is concerned, so that a caller can decide; `retriable` says whether
//! waiting may help. Modules keep private enums for their own causes and turn them into this type at their
//! border, with the cause in `source()`. Messages are lowercase, name the fact, the place and the way out,
//! and never hold a secret.

use std::collections::BTreeMap;
use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;
type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Who has to act. New kinds are rare: each is an exception class in Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The configuration or the command line: mend it and start again.
    Config,
    /// PostgreSQL could not be reached, or refused.
    Source,
    /// Kafka could not be reached, or refused.
    Broker,
    /// The table, the messages or the lake disagree about columns.
    Schema,
    /// The lake, its log, or the file system under it.
    Lake,
    /// A promise cannot be kept any more; the message names the lost interval.
    DataLoss,
    /// Another process took over this pipeline id or these partitions.
    Fenced,
    /// A stop was asked for while this call waited.
    Interrupted,
    /// An invariant of ours is broken.
    Bug,
}

/// Where in a configuration file an error lies; line and column count from one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    pub file: Option<String>,
    pub line: Option<u64>,
    pub column: Option<u64>,
    /// Dotted key path, such as `kafka.brokers`.
    pub key: Option<String>,
}

/// What a `DataLoss` error says is gone, for callers that look for it elsewhere; what is not known is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub topic: Option<String>,
    /// By partition the first offset that is gone, and the first behind the gap where that is known.
    pub offsets: BTreeMap<i32, (i64, Option<i64>)>,
    /// Positions in the table, as the state file holds them: rows behind the one, up to the other.
    pub cursors: Option<(Option<String>, Option<String>)>,
    /// Numbers of the commit log's records, the first and the last.
    pub commits: Option<(u64, u64)>,
}

impl Lost {
    /// Offsets of one partition; without `to` nobody knows how many.
    pub fn offsets(topic: &str, partition: i32, from: i64, to: Option<i64>) -> Self {
        let offsets = BTreeMap::from([(partition, (from, to))]);
        Lost { topic: Some(topic.to_owned()), offsets, ..Lost::default() }
    }

    /// Rows of the table.
    pub fn rows(behind: impl fmt::Display, up_to: impl fmt::Display) -> Self {
        Lost { cursors: Some((Some(behind.to_string()), Some(up_to.to_string()))), ..Lost::default() }
    }

    /// Rows of the table with no known end.
    pub fn rows_behind(position: impl fmt::Display) -> Self {
        Lost { cursors: Some((Some(position.to_string()), None)), ..Lost::default() }
    }
}

pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    retriable: bool,
    message: String,
    location: Option<Location>,
    lost: Option<Lost>,
    source: Option<Cause>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        Error(Box::new(Inner { kind, retriable: false, message, location: None, lost: None, source: None }))
    }

    /// Rows or offsets never read are gone; the message names them too.
    pub fn data_loss(lost: Lost, message: impl Into<String>) -> Self {
        let mut error = Self::new(Kind::DataLoss, message);
        error.0.lost = Some(lost);
        error
    }

    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message)
    }

    pub fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "stopped on request")
    }

    /// Marks the error as one that waiting may mend: a service is away, not wrong.
    pub fn retriable(mut self) -> Self {
        self.0.retriable = true;
        self
    }

    pub fn at(mut self, location: Location) -> Self {
        self.0.location = Some(location);
        self
    }

    pub fn because(mut self, source: impl Into<Cause>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says first what the error means for the caller.
    pub fn after(mut self, words: impl fmt::Display) -> Self {
        self.0.message = format!("{words}: {}", self.0.message);
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn is_retriable(&self) -> bool {
        self.0.retriable
    }

    pub fn location(&self) -> Option<&Location> {
        self.0.location.as_ref()
    }

    /// Of kind `DataLoss`: what is gone.
    pub fn lost(&self) -> Option<&Lost> {
        self.0.lost.as_ref()
    }

    /// The exit code of a command that ends with this error (formats.md, "Exit codes").
    pub fn exit_code(&self) -> i32 {
        match self.0.kind {
            Kind::Config => 2,
            _ if self.0.retriable => 75,
            Kind::Interrupted => 0,
            _ => 1,
        }
    }

    /// The message with its causes, on one line: for logs and for the last words of a command.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(current) = cause {
            let words = current.to_string();
            if !words.is_empty() && !text.contains(&words) {
                text.push_str(": ");
                text.push_str(&words);
            }
            cause = current.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.report())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|cause| cause.as_ref() as &(dyn std::error::Error + 'static))
    }
}
