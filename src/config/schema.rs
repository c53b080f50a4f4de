//! JSON Schema (draft-07) of the configuration, derived from `raw`: for editors, for ranges in errors, and for the
//! list of all keys.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::names::ALIASES;
use super::raw::Raw;

/// The schema as committed in `configs/schema.json`; editors find it by the first line of `orders_stream.yml`.
pub fn json_schema() -> String {
    let mut schema = inlined();
    add_aliases(&mut schema);
    accept_references(&mut schema);
    let mut text = serde_json::to_string_pretty(&schema).expect("a JSON value has a text");
    text.push('\n');
    text
}

fn inlined() -> Value {
    let settings = SchemaSettings::draft07().for_deserialize().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Raw>().to_value()
}

fn properties<'s>(schema: &'s mut Value, section: &str) -> Option<&'s mut Map<String, Value>> {
    schema.get_mut("properties")?.get_mut(section)?.get_mut("properties")?.as_object_mut()
}

fn add_aliases(schema: &mut Value) {
    for (section, alias, target, key) in ALIASES {
        let Some(mut property) = properties(schema, target).and_then(|known| known.get(*key)).cloned() else {
            continue;
        };
        property["description"] = json!(format!("Another name of {target}.{key}."));
        if let Some(known) = properties(schema, section) {
            known.insert((*alias).to_owned(), property);
        }
    }
}

/// `port: ${PORT:-5432}` is text to an editor: a pattern, which judges texts only, lets such text through.
fn accept_references(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let types: Vec<Value> = match fields.get("type") {
                Some(Value::Array(types)) => types.clone(),
                Some(Value::String(one)) => vec![json!(one)],
                _ => Vec::new(),
            };
            let has = |name: &str| types.contains(&json!(name));
            if (has("integer") || has("number") || has("boolean")) && !has("string") {
                let mut types = types;
                types.push(json!("string"));
                fields.insert("type".to_owned(), Value::Array(types));
                fields.insert("pattern".to_owned(), json!(r"\$\{.+\}"));
                // Rust's own widths say nothing to an editor.
                fields.remove("format");
            }
            fields.values_mut().for_each(accept_references);
        }
        Value::Array(items) => items.iter_mut().for_each(accept_references),
        _ => {}
    }
}

/// Every key as `section.key`; what stands within lists and free maps is not among them.
pub(super) fn key_paths() -> Vec<String> {
    let schema = inlined();
    let mut paths = Vec::new();
    for (section, inner) in schema["properties"].as_object().into_iter().flatten() {
        match inner.get("properties").and_then(Value::as_object) {
            Some(keys) => paths.extend(keys.keys().map(|key| format!("{section}.{key}"))),
            None => paths.push(section.clone()),
        }
    }
    paths
}

/// "1 to 65535", for the way out of a range error.
pub(super) fn range(key: &str) -> Option<String> {
    let (section, key) = key.split_once('.')?;
    let schema = inlined();
    let property = &schema["properties"][section]["properties"][key];
    // A whole bound of a fraction prints as `86400.0` otherwise.
    let bound = |name: &str| property[name].as_f64().map(|bound| bound.to_string());
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("{least} or more")),
        (None, Some(most)) => Some(format!("{most} or less")),
        (None, None) => None,
    }
}
