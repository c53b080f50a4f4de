//! The files that ship beside the code: the annotated configuration, its schema, its manual.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::*;
use crate::config::{json_schema, schema};
use crate::model::{DataType, Schema};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_shipped_configuration_loads_and_lacks_nothing() {
    let settings = Settings::load(&file("configs/orders_stream.yml"), &Overrides::default())
        .unwrap_or_else(|error| panic!("{}", render(&error)));
    let postgres = settings.require_postgres().expect("postgres");
    assert_eq!((postgres.host.as_str(), postgres.port, postgres.table.as_str()), ("localhost", 5432, "orders"));
    assert_eq!(postgres.password.as_ref().map(|secret| secret.expose_secret()), Some("student123"));
    let kafka = settings.require_kafka().expect("kafka");
    assert_eq!((kafka.topic.as_str(), kafka.num_partitions), ("food_orders_raw", 3));
    assert_eq!(settings.require_lake().expect("lake").path, Path::new("datalake/food/output/orders"));
    assert_eq!(settings.require_checkpoint().expect("set"), Path::new("datalake/food/checkpoints/orders"));
    let state = Path::new("datalake/food/lastprocess/orders/last_processed_timestamp.txt");
    assert_eq!(settings.streaming.state_file.as_deref(), Some(state));
    let schema = settings.schema.as_ref().expect("written out");
    assert_eq!(*schema, Schema::orders());
    assert_eq!(schema.columns[4].data_type, DataType::Decimal { precision: 10, scale: 2 });
    assert!(settings.notes().is_empty());
    let over = environment(&[("POSTGRES_PASSWORD", "other")]);
    let settings = Settings::load(&file("configs/orders_stream.yml"), &over).expect("loads");
    assert_eq!(
        settings.postgres.expect("postgres").password.as_ref().map(|secret| secret.expose_secret()),
        Some("other")
    );
}

/// The lines that are commented out are keys too: each must be one that exists.
#[test]
fn every_key_stands_in_the_shipped_configuration_and_in_the_manual() {
    let shipped = text("configs/orders_stream.yml") + &text("configs/purchases.yml");
    let manual = text("docs/CONFIGURATION.md");
    let mut section = String::new();
    let mut written = Vec::new();
    for line in shipped.lines() {
        let uncommented = line.strip_prefix("# ").unwrap_or(line);
        let Some((key, _)) = uncommented.trim_start_matches([' ', '#']).split_once(':') else { continue };
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let at_margin = !uncommented.starts_with(' ');
        if at_margin {
            section = key.to_owned();
            written.push(section.clone());
        } else {
            written.push(format!("{section}.{key}"));
        }
    }
    let aliases = crate::config::names::ALIASES;
    let canonical = |path: &String| {
        let alias = aliases.iter().find(|alias| format!("{}.{}", alias.0, alias.1) == *path);
        alias.map_or_else(|| path.clone(), |alias| format!("{}.{}", alias.2, alias.3))
    };
    let written: Vec<String> = written.iter().map(canonical).collect();
    let known = schema::key_paths();
    assert!(known.len() > 60, "{}", known.len());
    for key in &known {
        assert!(written.contains(key), "the files in configs/ lack {key}");
        assert!(manual.contains(&format!("| `{key}` |")), "docs/CONFIGURATION.md lacks {key}");
    }
    for key in written.iter().filter(|key| key.contains('.')) {
        assert!(known.contains(key), "configs/orders_stream.yml has {key}, which does not exist");
    }
}

/// With every commented key switched on, but for those that exclude each other.
#[test]
fn the_lines_that_are_commented_out_are_right_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a-token-is-longer").expect("written");
    let mut text =
        text("configs/orders_stream.yml").replace("/run/secrets/postgres_password", &secret.display().to_string());
    text = text.replace("/run/secrets/status_token", &secret.display().to_string());
    text = text.replace("  password: $", "  # password: $");
    let header = text.find("\npostgres:").expect("the first section");
    let switched: Vec<String> = text[header..]
        .lines()
        .map(|line| match line.find("# ") {
            Some(at) if line[..at].trim().is_empty() && line.contains(':') && !line.contains("# Types:") => {
                format!("{}{}", &line[..at], &line[at + 2..])
            }
            _ => line.to_owned(),
        })
        .filter(|line| !line.trim_start().starts_with("password: $") && !line.trim_start().starts_with("token: $"))
        .collect();
    let settings = load(&switched.join("\n"));
    assert_eq!(settings.validation.rules.len(), 3);
    assert_eq!(settings.cdc.pipeline_id.as_deref(), Some("orders"));
}

/// To renew the file after a change of the keys: `FOODSTREAM_RENEW=1 cargo test --lib config`.
#[test]
fn the_committed_schema_is_the_one_the_code_gives() {
    let path = file("configs/schema.json");
    if std::env::var_os("FOODSTREAM_RENEW").is_some() {
        std::fs::write(&path, json_schema()).expect("written");
    }
    assert!(text("configs/schema.json") == json_schema(), "renew it with FOODSTREAM_RENEW=1 cargo test --lib config");
    assert!(text("configs/orders_stream.yml").starts_with("# yaml-language-server: $schema=schema.json\n"));
}

#[test]
fn the_schema_is_draft_07_and_lets_references_through() {
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).expect("JSON");
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(schema["additionalProperties"], false);
    let port = &schema["properties"]["postgres"]["properties"]["port"];
    assert_eq!((&port["minimum"], &port["maximum"], &port["default"]), (&1.into(), &65535.into(), &5432.into()));
    assert_eq!(port["type"], serde_json::json!(["integer", "null", "string"]));
    let consumer = &schema["properties"]["consumer"];
    assert!(consumer["properties"]["maxOffsetsPerTrigger"].is_object());
    assert!(consumer.get("required").is_none());
    assert!(schema["properties"]["kafka"]["properties"]["bootstrap_servers"].is_object());
    assert_eq!(schema["properties"]["schema"]["items"]["required"], serde_json::json!(["name", "type"]));
}
