//! `postgres.jdbc_url`: the JVM's way to name a database, read as host, port and database.

use super::node::{Entry, Node, Origin, Value};
use super::problem::{Problem, Source};

const SHAPE: &str = "write jdbc:postgresql://host:port/database, and user, password and sslmode as keys of their own";

/// Replaces `jdbc_url` in a layer by the keys it stands for; those written beside it must agree.
pub(super) fn unfold(root: &mut Node, source: &Source) -> Result<(), Problem> {
    let Some(section) = root.entries_mut().into_iter().flatten().find(|entry| entry.key == "postgres") else {
        return Ok(());
    };
    let Some(entries) = section.node.entries_mut() else { return Ok(()) };
    let Some(at) = entries.iter().position(|entry| entry.key == "jdbc_url") else { return Ok(()) };
    let url = entries.remove(at);
    if url.node.is_null() {
        return Ok(());
    }
    let malformed = || {
        Problem::new(url.node.origin.clone(), "`postgres.jdbc_url` is no address of a database")
            .key("postgres.jdbc_url")
            .help(SHAPE)
    };
    let parts = url.node.text().and_then(parse).ok_or_else(malformed)?;
    for (key, value) in [("host", Some(parts.host)), ("port", parts.port), ("db", parts.database)] {
        let Some(value) = value else { continue };
        match entries.iter().find(|entry| entry.key == key && !entry.node.is_null()) {
            None => entries.push(Entry {
                key: key.to_owned(),
                key_origin: url.key_origin.clone(),
                node: Node { value: Value::Untyped { text: value, raw: None }, origin: url.node.origin.clone() },
            }),
            Some(written) if agrees(&written.node, &value) => {}
            Some(written) => return Err(contradiction(&written.node.origin, key, &value, &url, source)),
        }
    }
    entries.retain(|entry| !(matches!(entry.key.as_str(), "host" | "port" | "db") && entry.node.is_null()));
    Ok(())
}

fn agrees(written: &Node, value: &str) -> bool {
    written.text().is_some_and(|text| text.trim() == value)
}

fn contradiction(origin: &Origin, key: &str, value: &str, url: &Entry, source: &Source) -> Problem {
    let place = source.place(&url.key_origin);
    Problem::new(origin.clone(), format!("`postgres.{key}` contradicts `postgres.jdbc_url`, which says `{value}`"))
        .key(format!("postgres.{key}"))
        .help(format!("jdbc_url is at {place}: make them agree, or remove one"))
}

struct Parts {
    host: String,
    port: Option<String>,
    database: Option<String>,
}

fn parse(url: &str) -> Option<Parts> {
    let rest = url.trim().strip_prefix("jdbc:postgresql://")?;
    if rest.contains(['?', '@', ',', '#', ' ']) {
        return None;
    }
    let (address, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match address.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let is_port = |port: &str| !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
    if host.is_empty() || database.contains('/') || port.is_some_and(|port| !is_port(port)) {
        return None;
    }
    let database = (!database.is_empty()).then(|| database.to_owned());
    Some(Parts { host: host.to_owned(), port: port.map(str::to_owned), database })
}
