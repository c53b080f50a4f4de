//! Line templates as Python's `logging` writes them, `%(asctime)s - %(name)s - %(levelname)s - %(message)s`.
//!
//! Of Python's attributes those are known that a line of ours has; flags, width and precision mean what they mean in
//! Python. Times are UTC.

use std::fmt;

use chrono::{DateTime, Utc};
use tracing::Level;

/// A template taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    written: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field { name: Attribute, left: bool, zeros: bool, width: usize, precision: Option<usize> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attribute {
    AscTime,
    Created,
    LevelName,
    LevelNo,
    Message,
    Msecs,
    Name,
    Process,
    ThreadName,
}

/// As Python spells them.
const NAMES: [(&str, Attribute); 9] = [
    ("asctime", Attribute::AscTime),
    ("created", Attribute::Created),
    ("levelname", Attribute::LevelName),
    ("levelno", Attribute::LevelNo),
    ("message", Attribute::Message),
    ("msecs", Attribute::Msecs),
    ("name", Attribute::Name),
    ("process", Attribute::Process),
    ("threadName", Attribute::ThreadName),
];

/// What a template is filled with.
pub(super) struct Values<'a> {
    pub level: Level,
    pub target: &'a str,
    pub message: &'a str,
    pub now: DateTime<Utc>,
}

impl Template {
    /// # Errors
    /// In words that follow the template's name: what is wrong with it, and what is known.
    pub fn parse(written: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = written;
        while let Some(at) = rest.find('%') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let (field, after) = field(rest)?;
            pieces.extend((!text.is_empty()).then(|| Piece::Text(std::mem::take(&mut text))));
            pieces.push(field);
            rest = after;
        }
        text.push_str(rest);
        pieces.extend((!text.is_empty()).then_some(Piece::Text(text)));
        if !pieces.iter().any(|piece| matches!(piece, Piece::Field { name: Attribute::Message, .. })) {
            return Err("is a template without `%(message)s`: no line would say anything".to_owned());
        }
        Ok(Template { written: written.to_owned(), pieces })
    }

    pub(super) fn render(&self, values: &Values<'_>, into: &mut impl fmt::Write) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => into.write_str(text)?,
                Piece::Field { name, left, zeros, width, precision } => {
                    let value = values.of(*name);
                    let shown = value.chars().take(precision.unwrap_or(usize::MAX)).collect::<String>();
                    match (left, zeros) {
                        (true, _) => write!(into, "{shown:<width$}")?,
                        (false, true) => write!(into, "{shown:0>width$}")?,
                        (false, false) => write!(into, "{shown:>width$}")?,
                    }
                }
            }
        }
        into.write_char('\n')
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// A field after its `%`, such as `(levelname)-8s`, and what follows it.
fn field(rest: &str) -> Result<(Piece, &str), String> {
    let inside = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let Some((word, after)) = inside else {
        return Err("has a `%` that begins no field; write `%%` for the sign itself".to_owned());
    };
    let Some((_, name)) = NAMES.iter().find(|(known, _)| *known == word) else {
        let known: Vec<&str> = NAMES.iter().map(|(known, _)| *known).collect();
        return Err(format!("has an unknown field `{word}`; known are {}", known.join(", ")));
    };
    let unfinished = || format!("has a field `{word}` without its type; write `%({word})s`");
    let flags = after.trim_start_matches(['-', '0', '+', ' ', '#']);
    let set = &after[..after.len() - flags.len()];
    let (width, after) = number(flags);
    let (precision, after) = match after.strip_prefix('.') {
        Some(after) => {
            let (precision, after) = number(after);
            (Some(precision), after)
        }
        None => (None, after),
    };
    let kind =
        after.chars().next().filter(|kind| matches!(kind, 's' | 'd' | 'f' | 'r' | 'i')).ok_or_else(unfinished)?;
    // A precision cuts text; of numbers it says something else, which ours never need.
    let precision = precision.filter(|_| kind == 's');
    let (left, zeros) = (set.contains('-'), set.contains('0') && matches!(kind, 'd' | 'i' | 'f'));
    Ok((Piece::Field { name: *name, left, zeros, width, precision }, &after[kind.len_utf8()..]))
}

fn number(text: &str) -> (usize, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    // Wider than any line: a slip of the finger must not fill the disk.
    (text[..end].parse::<usize>().unwrap_or_default().min(1_000), &text[end..])
}

impl Values<'_> {
    fn of(&self, name: Attribute) -> String {
        match name {
            Attribute::AscTime => self.now.format("%Y-%m-%d %H:%M:%S,%3f").to_string(),
            Attribute::Created => self.now.format("%s%.6f").to_string(),
            Attribute::LevelName => level_name(self.level).to_owned(),
            Attribute::LevelNo => level_number(self.level).to_string(),
            Attribute::Message => self.message.to_owned(),
            Attribute::Msecs => self.now.timestamp_subsec_millis().to_string(),
            Attribute::Name => self.target.replace("::", "."),
            Attribute::Process => std::process::id().to_string(),
            Attribute::ThreadName => std::thread::current().name().unwrap_or_default().to_owned(),
        }
    }
}

/// Python's word.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::WARN => "WARNING",
        level => level.as_str(),
    }
}

fn level_number(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str) -> String {
        let now = DateTime::from_timestamp_millis(1_795_248_721_023).unwrap();
        let values = Values { level: Level::WARN, target: "foodstream::consumer", message: "slow", now };
        let mut text = String::new();
        Template::parse(template).unwrap().render(&values, &mut text).unwrap();
        text
    }

    #[test]
    fn the_documents_template_gives_pythons_line() {
        assert_eq!(
            rendered("%(asctime)s - %(name)s - %(levelname)s - %(message)s"),
            "2026-11-21 08:12:01,023 - foodstream.consumer - WARNING - slow\n"
        );
    }

    #[test]
    fn width_flags_and_precision_mean_what_they_mean_in_python() {
        assert_eq!(
            rendered("[%(levelname)-9s|%(levelname)9s|%(name).4s|%(levelno)d] 100%% %(message)s"),
            "[WARNING  |  WARNING|food|30] 100% slow\n"
        );
        assert_eq!(rendered("%(created)f %(msecs)03d %(message)s"), "1795248721.023000 023 slow\n");
    }

    #[test]
    fn a_template_that_cannot_be_filled_says_why() {
        let words = |template| Template::parse(template).unwrap_err();
        assert!(words("%(funcName)s %(message)s").contains("unknown field `funcName`; known are asctime, created"));
        assert!(words("%s").contains("begins no field"));
        assert!(words("%(message").contains("begins no field"));
        assert!(words("%(message)").contains("write `%(message)s`"));
        assert!(words("%(message)q").contains("write `%(message)s`"));
        assert!(words("%(asctime)s").contains("without `%(message)s`"));
    }
}
