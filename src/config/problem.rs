//! What is wrong with a configuration: the fact, the place, the way out, and how a terminal shows them.
//!
//! Every check in this module ends in a `Problem`; `Source` turns it into the public error with a location and
//! an excerpt. No value of a secret gets in here: facts use `Node::shown`, excerpts `secrets::safe_line`.

use std::fmt;
use std::fmt::Write as _;

use super::node::Origin;
use super::secrets;
use crate::error::{Error, Location};

/// The text a configuration was read from, kept for excerpts.
#[derive(Clone, Default)]
pub(super) struct Source {
    /// As the user named it; `None` for text or trees made in memory.
    pub file: Option<String>,
    pub text: String,
}

/// The text may hold a password.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("file", &self.file).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Problem {
    pub origin: Origin,
    pub key: Option<String>,
    pub fact: String,
    pub help: Option<String>,
    /// The fault is the key itself, whose value nobody has judged: the excerpt ends with the key.
    pub about_key: bool,
    /// The line may hold a secret that its own text does not betray.
    pub hidden: bool,
}

impl Problem {
    pub fn new(origin: Origin, fact: impl Into<String>) -> Self {
        Problem { origin, fact: fact.into(), ..Problem::default() }
    }

    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn about_key(mut self) -> Self {
        self.about_key = true;
        self
    }
}

impl Source {
    pub fn error(&self, problem: Problem) -> Error {
        let place = self.place(&problem.origin);
        let mut message = format!("{place}: {}", problem.fact);
        if let Some(help) = &problem.help {
            let _ = write!(message, "; {help}");
        }
        let mut location = Location { key: problem.key.clone(), ..Location::default() };
        match problem.origin {
            Origin::File { line, column, .. } => {
                location.file.clone_from(&self.file);
                (location.line, location.column) = (Some(line), Some(column));
            }
            Origin::Default => location.file.clone_from(&self.file),
            _ => {}
        }
        let details = Details { place, excerpt: self.excerpt(&problem), fact: problem.fact, help: problem.help };
        Error::config(message).at(location).because(details)
    }

    /// `configs/orders_stream.yml:12:3`, `environment variable X`, `--set kafka.topic`.
    pub fn place(&self, origin: &Origin) -> String {
        let file = self.file.as_deref().unwrap_or("configuration");
        match origin {
            Origin::Default => file.to_owned(),
            Origin::File { line, column, .. } => format!("{file}:{line}:{column}"),
            Origin::Environment(name) => format!("environment variable {name}"),
            Origin::Flag(flag) => flag.clone(),
            Origin::Argument => "overrides".to_owned(),
        }
    }

    fn excerpt(&self, problem: &Problem) -> Option<Excerpt> {
        let Origin::File { line, column, length } = problem.origin else { return None };
        let start = usize::try_from(column).ok()?.saturating_sub(1);
        let mut text = secrets::safe_line(&self.text, line)?;
        if problem.hidden {
            let indent = text.len() - text.trim_start().len();
            text.replace_range(indent.., secrets::MASK);
        } else if problem.about_key {
            let key_end = text.chars().take(start + length).map(char::len_utf8).sum::<usize>();
            if text[key_end..].trim_start_matches([' ', '"', '\'']).trim_end() != ":" && key_end < text.len() {
                text.truncate(key_end);
                text.push_str(": …");
            }
        }
        let width = text.chars().count();
        let length = length.clamp(1, width.saturating_sub(start).max(1));
        if width <= EXCERPT_CHARS {
            return Some(Excerpt { line, start, length, text });
        }
        let skipped = start.saturating_sub(EXCERPT_CHARS / 2);
        let mut window: String = text.chars().skip(skipped).take(EXCERPT_CHARS).collect();
        if skipped + EXCERPT_CHARS < width {
            window.push('…');
        }
        let start = start - skipped;
        Some(Excerpt { line, start, length: length.min(EXCERPT_CHARS - start), text: window })
    }
}

/// A terminal's width, about; a longer line is shown around the fault.
const EXCERPT_CHARS: usize = 100;

#[derive(Debug)]
struct Excerpt {
    line: u64,
    start: usize,
    length: usize,
    text: String,
}

/// Travels as the cause of an error made here, for `render` alone: it has no words of its own in a chain.
#[derive(Debug)]
struct Details {
    place: String,
    fact: String,
    help: Option<String>,
    excerpt: Option<Excerpt>,
}

impl fmt::Display for Details {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Details {}

/// An error as a terminal shows it, several lines and no colour; any kind of error, one line where there is no more.
///
/// ```text
/// error: `kafka.brokrs` is not a known key
///   --> configs/orders_stream.yml:12:3
///    |
/// 12 |   brokrs: …
///    |   ^^^^^^
///    = did you mean `kafka.brokers`?
/// ```
pub fn render(error: &Error) -> String {
    let details = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Details>());
    let Some(details) = details else { return format!("error: {}", error.report()) };
    let mut shown = format!("error: {}\n", details.fact);
    let gutter = details.excerpt.as_ref().map_or(0, |excerpt| excerpt.line.to_string().len());
    let pad = " ".repeat(gutter);
    let _ = writeln!(shown, "{pad}--> {}", details.place);
    if let Some(excerpt) = &details.excerpt {
        // Tabs before the fault keep their width in the marker line.
        let lead: String = excerpt.text.chars().chain(std::iter::repeat(' ')).take(excerpt.start).collect();
        let lead: String = lead.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let _ = writeln!(shown, "{pad} |\n{} | {}", excerpt.line, excerpt.text);
        let _ = writeln!(shown, "{pad} | {lead}{}", "^".repeat(excerpt.length));
    }
    if let Some(help) = &details.help {
        let _ = writeln!(shown, "{pad} = {help}");
    }
    shown.truncate(shown.trim_end().len());
    shown
}
