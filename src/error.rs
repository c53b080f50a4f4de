//! The one error type that leaves a module.
//!
//! A kind says which promise or party is concerned, so that a caller can decide; `retriable` says whether
//! waiting may help. Modules keep private enums for their own causes and turn them into this type at their
//! border, with the cause in `source()`. Messages are lowercase, name the fact, the place and the way out,
//! and never hold a secret.

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

pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    retriable: bool,
    message: String,
    location: Option<Location>,
    source: Option<Cause>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, retriable: false, message: message.into(), location: None, source: None }))
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
