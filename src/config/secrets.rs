//! What counts as a secret, and how a line of the file is shown without one.
//!
//! Errors show the line they point at. A line is masked when its key looks like a secret's, also a misspelt
//! one, or when it continues the value of such a key: the faulty line is often the password's own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

/// What stands in place of a secret, whatever its length.
pub(super) const MASK: &str = "******";

/// A password file holds a line; more than this is some other file.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Words of secret-bearing keys, typing slips of `password` included. A `..._file` key names a path.
const WORDS: &str = r"(?:pas+w|pasw|pass|psw|ssw|word|pwd|secret|token|credential|jaas|oauth|api_?key|private|\.pem)";

static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| regex(&format!("(?i){WORDS}")));
static SECRET_KEY: LazyLock<Regex> = LazyLock::new(|| regex(&format!(r"(?i){WORDS}[\w.\-]*")));
/// `password: …`, `"sasl.password": …`, `password=…`: everything after the sign goes.
static SECRET_ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| regex(&format!(r"(?i){WORDS}[^:=]*[:=]")));
/// `user:password@host`, with or without a protocol before it.
static USER_INFO: LazyLock<Regex> = LazyLock::new(|| regex(r#"[^\s"']*:[^\s"']*@"#));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern compiles")
}

/// Whether the value of a key with this name must never be shown.
pub(super) fn is_secret(name: &str) -> bool {
    SECRET_NAME.is_match(name) && !name.ends_with("_file")
}

pub(super) fn masked(properties: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    properties
        .iter()
        .map(|(name, value)| (name.as_str(), if is_secret(name) { MASK } else { value.as_str() }))
        .collect()
}

/// The line (counted from one) as an error may show it.
pub(super) fn safe_line(text: &str, number: u64) -> Option<String> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    let line = text.lines().nth(index)?;
    if in_secret_value(text, index) {
        return Some(format!("{}{MASK}", &line[..indent(line)]));
    }
    let shown = match SECRET_ASSIGNMENT.find(line) {
        Some(assignment) if assignment.end() < line.trim_end().len() => {
            format!("{} {MASK}", &line[..assignment.end()])
        }
        _ => line.to_owned(),
    };
    let shown = without_user_info(&shown);
    Some(shown.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect())
}

/// Text with the credentials of every address in it masked.
pub(super) fn without_user_info(text: &str) -> Cow<'_, str> {
    USER_INFO.replace_all(text, "******@")
}

/// Whether any text of the line is hidden by `safe_line`.
pub(super) fn hides(text: &str, number: u64) -> bool {
    let index = usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
    text.lines().nth(index).is_some_and(|line| safe_line(text, number).is_some_and(|shown| shown != line))
}

/// A slip that tears a line apart leaves its secret on one of so many lines below the key.
const TORN_LINES: usize = 3;

/// Whether a secret's key stands on the line or close above it. In a file that does not parse, nothing tells where
/// the secret ends, so that no text so close to it is shown.
pub(super) fn near(text: &str, number: u64) -> bool {
    let last = usize::try_from(number).unwrap_or(usize::MAX);
    let lines: Vec<&str> = text.lines().take(last).filter(|line| !line.trim().is_empty()).collect();
    let close = lines[lines.len().saturating_sub(TORN_LINES + 1)..].concat();
    hides(text, number) || mentioned(&close)
}

/// A key as an error may name it: `password:x: y` is a key too, with the secret in its name.
pub(super) fn safe_key(key: &str) -> Cow<'_, str> {
    match SECRET_KEY.find(key) {
        Some(name) if name.end() == key.len() => Cow::Borrowed(key),
        Some(name) => Cow::Owned(format!("{}…", &key[..name.end()])),
        None if mentioned(key) => Cow::Borrowed("…"),
        None => Cow::Borrowed(key),
    }
}

/// Whether the name of a secret occurs; `pas- swor: d:` is a torn `password:` still.
pub(super) fn mentioned(text: &str) -> bool {
    let letters: String = text.chars().filter(char::is_ascii_alphabetic).collect();
    SECRET_NAME.is_match(text) || SECRET_NAME.is_match(&letters)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// Whether the line continues a secret that began above: a block, a list, a quotation not yet closed.
fn in_secret_value(text: &str, index: usize) -> bool {
    let mut open: Option<Open> = None;
    for (number, line) in text.lines().enumerate() {
        let continues = match &open {
            Some(_) if line.trim().is_empty() => true,
            Some(Open::Deeper(depth)) => indent(line) > *depth,
            Some(Open::Quoted(_)) => true,
            None => false,
        };
        if number == index {
            return continues;
        }
        if continues {
            if let Some(Open::Quoted(quote)) = open
                && line.contains(quote)
            {
                open = None;
            }
            continue;
        }
        open = SECRET_ASSIGNMENT.find(line).map(|found| Open::after(line, line[found.end()..].trim()));
    }
    false
}

enum Open {
    /// Until a line is indented no deeper than the key.
    Deeper(usize),
    Quoted(char),
}

impl Open {
    fn after(line: &str, value: &str) -> Self {
        match value.chars().next() {
            Some(quote @ ('"' | '\'')) if !value[1..].contains(quote) => Open::Quoted(quote),
            _ => Open::Deeper(indent(line)),
        }
    }
}

/// Reads a secret from a file, as container platforms mount them; one line ending at the end is not part of it.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let failed = |why: String| format!("cannot read the secret file {}: {why}", path.display());
    let metadata = fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !metadata.is_file() {
        return Err(failed("it is no regular file".to_owned()));
    }
    if metadata.len() > MAX_SECRET_BYTES {
        return Err(failed(format!("it is larger than {MAX_SECRET_BYTES} bytes")));
    }
    let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".to_owned()))?;
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if secret.is_empty() {
        return Err(failed("it is empty".to_owned()));
    }
    Ok(secret.to_owned())
}
