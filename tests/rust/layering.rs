//! Modules form layers; a module uses only those above its own row. This reads every `crate::` path in `src`
//! and fails on any other edge, so that the drawing in docs/ARCHITECTURE.md cannot drift from the code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const LAYERS: [&[&str]; 8] = [
    &["error", "clock", "telemetry", "failpoints", "html", "model"],
    &["config", "wire"],
    &["postgres", "broker", "lake", "validate", "aggregate", "generate"],
    &["capture", "publish", "consume"],
    &["pipeline", "verify", "tools"],
    &["serve"],
    &["cli"],
    &["python"],
];

/// Foreign crates that only one module may name.
const OWNERS: [(&str, &str); 10] = [
    ("tokio_postgres", "postgres"),
    ("tokio_postgres_rustls", "postgres"),
    ("rdkafka", "broker/kafka"),
    ("parquet", "lake"),
    ("serde_saphyr", "config"),
    ("hyper", "serve"),
    ("hyper_util", "serve"),
    ("http_body_util", "serve"),
    ("clap", "cli"),
    ("pyo3", "python"),
];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Paths below `src` with their text, comments taken out.
pub fn code() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            (file.strip_prefix(&root).unwrap().to_string_lossy().into_owned(), code)
        })
        .collect()
}

fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// First segments after `crate::`, also those inside `crate::{a::…, b::…}`.
fn crate_paths(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (index, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    names.push(word(list[start..index].trim_start()));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.push(word(list[start..index].trim_start()));
                    start = index + 1;
                }
                _ => {}
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn a_module_uses_only_the_layers_above_its_own() {
    let mut wrong = BTreeMap::<String, Vec<String>>::new();
    for (file, code) in code() {
        let module = module_of(&file);
        if module == "lib" {
            continue;
        }
        let own = layer_of(module).unwrap_or_else(|| panic!("src/{file}: `{module}` is in no layer"));
        for used in crate_paths(&code) {
            let Some(layer) = layer_of(&used) else { continue };
            // Layer 0 is one row of tools that may lean on `error` and `clock`.
            let allowed = used == module || layer < own || (own == 0 && matches!(used.as_str(), "error" | "clock"));
            if !allowed {
                wrong.entry(file.clone()).or_default().push(used);
            }
        }
    }
    assert!(wrong.is_empty(), "edges against the layers: {wrong:#?}");
}

#[test]
fn publish_and_consume_know_the_broker_only_by_its_traits() {
    for (file, code) in code() {
        if matches!(module_of(&file), "publish" | "consume") {
            assert!(!code.contains("broker::kafka"), "src/{file} names broker::kafka");
        }
    }
}

#[test]
fn a_foreign_crate_has_one_owner() {
    for (file, code) in code() {
        for (name, owner) in OWNERS {
            // In quotes it is the name of a log target, not of a crate.
            let path = format!("{name}::");
            let in_a_path = code.match_indices(&path).any(|(at, _)| !code[..at].ends_with('"'));
            let named = in_a_path || code.contains(&format!("use {name};"));
            let owned = Path::new(&file).with_extension("").starts_with(owner) || file == "lib.rs";
            assert!(!named || owned, "src/{file} names {name}, which belongs to {owner}");
        }
    }
}

#[test]
fn a_path_list_is_read_whole() {
    let code = "use crate::{error::{Error, Result}, model::Key,\n broker};\nlet x = crate::wire::f();";
    assert_eq!(crate_paths(code), ["error", "model", "broker", "wire"]);
}

#[test]
fn no_file_is_longer_than_the_budget() {
    const MAX_LINES: usize = 500;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines: does it hold more than one thing?", file.display());
    }
}
