//! Settings: one YAML file, the environment and flags, turned into typed values with located errors.
//!
//! ```text
//! yaml ─▶ node ─┐
//! environment ──┼─ layers ─▶ one tree ─ de ─▶ raw ─ resolve ─▶ Settings
//! flags, dict ──┘         (every value with its origin)
//! ```
//! `Settings` is what the rest of the program reads; how it came about stays in here. Nothing in this module does
//! I/O but reading the file, `.foodstream/env`, and the secrets the file names. No error, log line or Debug shows
//! a secret. docs/CONFIGURATION.md lists the keys for users.

mod access;
mod de;
pub mod defaults;
mod jdbc;
mod layers;
mod names;
mod node;
mod parse;
mod preset;
mod problem;
mod properties;
mod provenance;
mod raw;
mod raw_text;
mod resolve;
mod schema;
mod secrets;
pub mod settings;
mod show;
mod yaml;

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};

pub use access::shell_quoted;
pub use layers::Overrides;
pub use node::Origin;
pub use parse::plaintext_allowed;
pub use preset::Preset;
pub use problem::render;
pub use properties::other_name;
pub use provenance::{Note, NoteLevel};
pub use schema::json_schema;
pub use settings::*;
pub use show::Effective;

use problem::{Problem, Source};

impl Settings {
    /// Reads and checks a file, with `overrides` above it.
    ///
    /// Errors are of `Kind::Config` and carry file, line, column and key where they have them; a value from the
    /// environment or a flag is named instead. `render` shows them with the line.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Settings> {
        let name = path.display().to_string();
        let bytes = read_bounded(path).map_err(|error| unreadable(path, &name, &error, overrides))?;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return Err(not_utf8(&name, error.as_bytes(), error.utf8_error().valid_up_to())),
        };
        Self::from_yaml(&text, Some(&name), overrides)
    }

    /// Like `load`, for text at hand; `file_name` is used in errors.
    pub fn from_yaml(text: &str, file_name: Option<&str>, overrides: &Overrides) -> Result<Settings> {
        let source = Arc::new(Source { file: file_name.map(str::to_owned), text: text.to_owned() });
        let file = yaml::parse(&source, &overrides.environment).map_err(|problem| source.error(problem))?;
        assemble(Some(file), overrides, source)
    }

    /// Settings without a file: what `overrides` holds, over the defaults.
    pub fn in_memory(overrides: &Overrides) -> Result<Settings> {
        assemble(None, overrides, Arc::default())
    }
}

fn assemble(file: Option<node::Node>, overrides: &Overrides, source: Arc<Source>) -> Result<Settings> {
    layers::stack(file, overrides, &source)
        .and_then(|root| resolve::settings(&root, Arc::clone(&source)))
        .map_err(|problem| source.error(problem))
}

/// One byte more than is accepted, so that a device or a huge file ends the reading early.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(yaml::MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, name: &str, error: &std::io::Error, overrides: &Overrides) -> Error {
    let write_one = match overrides.preset.or(overrides.made_for).unwrap_or_default() {
        Preset::Orders => "`foodstream config init`",
        Preset::Purchases => "`foodstream config init --preset purchases`",
    };
    let problem = match error.kind() {
        std::io::ErrorKind::NotFound => Problem::new(Origin::Default, "no such file")
            .help(format!("name one with --config, or write one with {write_one}")),
        _ if path.is_dir() => Problem::new(Origin::Default, "is a folder").help("name the YAML file in it"),
        kind => Problem::new(Origin::Default, format!("cannot be read: {kind}")),
    };
    Source { file: Some(name.to_owned()), text: String::new() }.error(problem)
}

fn not_utf8(name: &str, bytes: &[u8], valid: usize) -> Error {
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let line = before.matches('\n').count() as u64 + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
    let origin = Origin::File { line, column, length: 1 };
    // The text is left out: an excerpt could only show what stands before the damage.
    let source = Source { file: Some(name.to_owned()), text: String::new() };
    source.error(Problem::new(origin, "the file is not UTF-8").help("save it as UTF-8"))
}

#[cfg(test)]
mod tests;
