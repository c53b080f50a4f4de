//! Why a message or a row was not accepted.

use std::fmt;

/// Stable reason codes, in the order in which the reasons of one value are listed; with the column they make the text that quarantine files show: `not_positive:amount`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A null value: Kafka's deletion marker.
    Tombstone,
    /// No bytes at all.
    EmptyMessage,
    /// Not UTF-8.
    NotUtf8,
    /// Not a JSON document, or bytes after it.
    NotJson,
    /// JSON, but not an object.
    NotObject,
    /// The same key twice in one object.
    DuplicateKey,
    /// Nested deeper than the decoder goes.
    TooDeep,
    /// A column's value has another JSON type than its schema says.
    WrongType,
    /// A value that its column cannot hold exactly: too many digits, out of range.
    OutOfRange,
    /// Text that does not parse as the column's type (timestamps, dates, decimals).
    Unparseable,
    /// Null or missing where the rules or the schema want a value.
    Null,
    /// Blank after trimming.
    Empty,
    /// Zero or less where more than zero is wanted.
    NotPositive,
    /// Below zero where zero is allowed.
    Negative,
    /// A status outside the known four.
    UnknownStatus,
    /// Below a rule's `min` or `exclusive_min`.
    TooSmall,
    /// Above a rule's `max`.
    TooLarge,
    /// Longer than a rule's `max_length`.
    TooLong,
    /// Not in a rule's `one_of`.
    NotOneOf,
    /// Does not match a rule's `matches`.
    NoMatch,
    /// Not what quantity, unit price and discount make.
    TotalMismatch,
    /// A value of the unique column that was accepted before.
    DuplicateId,
}

impl Reason {
    /// The value itself was lost in decoding, not merely found wanting by a rule: what a lake row would show in its
    /// place is not what the message says.
    pub fn loses_value(self) -> bool {
        use Reason::{DuplicateKey, EmptyMessage, NotJson, NotObject, NotUtf8, Tombstone, TooDeep};
        matches!(self, Tombstone | EmptyMessage | NotUtf8 | NotJson | NotObject | DuplicateKey | TooDeep)
            || matches!(self, Reason::WrongType | Reason::OutOfRange | Reason::Unparseable)
    }

    pub fn code(self) -> &'static str {
        match self {
            Reason::Tombstone => "tombstone",
            Reason::EmptyMessage => "empty_message",
            Reason::NotUtf8 => "not_utf8",
            Reason::NotJson => "not_json",
            Reason::NotObject => "not_object",
            Reason::DuplicateKey => "duplicate_key",
            Reason::TooDeep => "too_deep",
            Reason::WrongType => "wrong_type",
            Reason::OutOfRange => "out_of_range",
            Reason::Unparseable => "unparseable",
            Reason::Null => "null",
            Reason::Empty => "empty",
            Reason::NotPositive => "not_positive",
            Reason::Negative => "negative",
            Reason::UnknownStatus => "unknown_status",
            Reason::TooSmall => "too_small",
            Reason::TooLarge => "too_large",
            Reason::TooLong => "too_long",
            Reason::NotOneOf => "not_one_of",
            Reason::NoMatch => "no_match",
            Reason::TotalMismatch => "total_mismatch",
            Reason::DuplicateId => "duplicate_id",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// One thing wrong with one decoded row. A row may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Index into the decoded batch's rows.
    pub row: u32,
    /// Index into the schema's columns; `None` when the whole row is meant.
    pub column: Option<u16>,
    pub reason: Reason,
}
