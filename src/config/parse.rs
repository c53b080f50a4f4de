//! Values with a grammar of their own: times, starting offsets, codecs, hosts.
//!
//! Each function takes text and returns the value or the words that complete "`key` …".

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use chrono_tz::Tz;

use super::defaults::MAX_WAIT_SEC;
use super::names;
use super::settings::{Compression, StartingOffsets};

/// A time on the timestamp column's own clock, in microseconds.
pub(super) fn timestamp_us(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let naive = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0));
    if let Some(naive) = naive {
        return Ok(naive.and_utc().timestamp_micros());
    }
    let zoned = DateTime::parse_from_rfc3339(text).is_ok() || text.ends_with('Z');
    Err(match zoned {
        true => {
            "has a zone; write the column's own time, such as 2025-11-18 00:00:00 (its zone is cdc.timezone)".to_owned()
        }
        false => "is no time; write it as 2025-11-18 00:00:00".to_owned(),
    })
}

/// Events a second; `None` is no limit.
pub(super) fn rate(text: &str) -> Result<Option<f64>, String> {
    if text.eq_ignore_ascii_case("unlimited") {
        return Ok(None);
    }
    let rate = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && rate.is_finite());
    rate.map(Some).ok_or_else(|| "is no rate; write events a second, such as 100, or unlimited".to_owned())
}

/// Spark's words for a time: a number and a unit.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || "is no time; write a number and a unit, such as 10 seconds or 500 milliseconds".to_owned();
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let seconds = match text[digits..].trim().to_ascii_lowercase().trim_end_matches('s') {
        "m" | "milli" | "millisecond" => 1e-3,
        "" | "sec" | "second" => 1.0,
        "min" | "minute" => 60.0,
        "h" | "hour" => 3_600.0,
        _ => return Err(wrong()),
    };
    let time = Duration::try_from_secs_f64(number * seconds).ok();
    time.filter(|time| time.as_secs_f64() <= MAX_WAIT_SEC).ok_or_else(|| "is too long".to_owned())
}

pub(super) fn timezone(text: &str) -> Result<Tz, String> {
    text.trim().parse().map_err(|_| {
        let near = names::nearest(text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        match near {
            Some(near) => format!("is no time zone; did you mean `{near}`?"),
            None => "is no time zone; write a name such as UTC or Asia/Kolkata".to_owned(),
        }
    })
}

pub(super) fn compression(text: &str) -> Result<Compression, String> {
    let word = text.trim().to_ascii_lowercase();
    let level = |level: &str| level.trim().parse().ok().filter(|level| (1..=22).contains(level));
    match word.as_str() {
        "none" | "uncompressed" => Ok(Compression::None),
        "snappy" => Ok(Compression::Snappy),
        "lz4" | "lz4_raw" => Ok(Compression::Lz4),
        "zstd" => Ok(Compression::Zstd(super::defaults::ZSTD_LEVEL)),
        _ => word
            .strip_prefix("zstd(")
            .and_then(|rest| level(rest.strip_suffix(')')?))
            .map(Compression::Zstd)
            .ok_or_else(|| "is no codec; write none, snappy, lz4, zstd, or zstd(1) to zstd(22)".to_owned()),
    }
}

const OFFSETS_SHAPE: &str =
    "write earliest, latest, an RFC 3339 time, timestamp:<milliseconds>, or {\"<topic>\":{\"0\":23,\"1\":-2}}";

/// Spark's `startingOffsets`, and the times that Spark takes in options of their own. `topic` is the one topic read.
pub(super) fn starting_offsets(text: &str, topic: Option<&str>) -> Result<StartingOffsets, String> {
    let text = text.trim();
    match text.to_ascii_lowercase().as_str() {
        "earliest" => return Ok(StartingOffsets::Earliest),
        "latest" => return Ok(StartingOffsets::Latest),
        _ => {}
    }
    if let Some(millis) = text.strip_prefix("timestamp:") {
        let millis: Option<i64> = millis.trim().parse().ok().filter(|millis| *millis >= 0);
        return millis
            .map(StartingOffsets::TimestampMs)
            .ok_or_else(|| format!("holds no number of milliseconds; {OFFSETS_SHAPE}"));
    }
    if text.starts_with('{') {
        return explicit_offsets(text, topic);
    }
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => Ok(StartingOffsets::TimestampMs(time.timestamp_millis())),
        Err(_) if timestamp_us(text).is_ok() => {
            Err("is a time without a zone; add one, such as 2025-11-18T00:00:00Z".to_owned())
        }
        Err(_) => Err(format!("is no starting point; {OFFSETS_SHAPE}")),
    }
}

fn explicit_offsets(text: &str, topic: Option<&str>) -> Result<StartingOffsets, String> {
    let topics: BTreeMap<String, BTreeMap<String, i64>> = serde_json::from_str(text)
        .map_err(|_| format!("is no map of topics to partitions and offsets; {OFFSETS_SHAPE}"))?;
    let mut topics = topics.into_iter();
    let (Some((name, partitions)), None) = (topics.next(), topics.next()) else {
        return Err("must name one topic, the one of kafka.topic".to_owned());
    };
    if let Some(topic) = topic.filter(|topic| *topic != name) {
        return Err(format!("names the topic `{name}`, but kafka.topic is `{topic}`"));
    }
    let mut offsets = BTreeMap::new();
    for (partition, offset) in partitions {
        let number = partition.parse().ok().filter(|number: &i32| *number >= 0);
        let number = number.ok_or_else(|| format!("names a partition `{partition}`; partitions are numbers from 0"))?;
        if offset < -2 {
            return Err(format!("gives partition {number} the offset {offset}; -2 is earliest and -1 latest"));
        }
        offsets.insert(number, offset);
    }
    if offsets.is_empty() {
        return Err("names no partition".to_owned());
    }
    Ok(StartingOffsets::Explicit(offsets))
}

/// One `host:port` of a broker list; the host of a v6 address comes without its brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broker {
    pub host: String,
    pub port: u16,
}

pub(super) fn brokers(text: &str) -> Result<Vec<Broker>, String> {
    text.split(',').map(|broker| one_broker(broker.trim())).collect()
}

fn one_broker(text: &str) -> Result<Broker, String> {
    let malformed = |why: &str| format!("{why}; write host:port, several with commas");
    if text.is_empty() {
        return Err(malformed("holds an empty address"));
    }
    if text.contains("://") {
        return Err(malformed("begins with a protocol, which belongs into kafka.properties as security.protocol"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@')) {
        return Err(malformed("holds a character that no address has"));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']').ok_or_else(|| malformed("opens a bracket that it does not close"))?;
            (host, rest.strip_prefix(':'))
        }
        None if text.matches(':').count() > 1 => return Err(malformed("holds a v6 address without brackets")),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(malformed("holds an address without a host"));
    }
    let port = match port {
        None => super::defaults::KAFKA_PORT,
        Some(port) => match port.parse() {
            Ok(port @ 1..) => port,
            _ => return Err(malformed(&format!("has the port `{}`, not 1 to 65535", super::node::clip(port)))),
        },
    };
    Ok(Broker { host: host.to_owned(), port })
}

/// Whether a connection to this host may go without TLS unasked: loopback, unix sockets, and single-label names
/// as container networks have them. `security.allow_plaintext` extends it to other hosts.
pub fn plaintext_allowed(host: &str) -> bool {
    let host = host.trim();
    if host.starts_with(['/', '@']) {
        return true;
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = host.to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    // `134744072` and `0x8080808` are addresses to a resolver, however few labels they have.
    let numeric = name.starts_with("0x") || name.chars().all(|c| c.is_ascii_digit());
    !name.is_empty() && !name.contains(['.', ':']) && !numeric
}

/// `orders` or `schema.name`.
pub(super) fn table(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 2 || parts.iter().any(|part| part.trim().is_empty()) || text.contains('\0') {
        return Err("is no table; write orders, or schema.name".to_owned());
    }
    Ok(())
}

/// A bound of a rule: a decimal as PostgreSQL would take it, or a time.
pub(super) fn bound(text: &str) -> Result<(), String> {
    let digits = text.trim().strip_prefix(['-', '+']).unwrap_or(text.trim());
    let decimal = digits.chars().any(|c| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
        && digits.matches('.').count() <= 1;
    match decimal || timestamp_us(text).is_ok() || DateTime::parse_from_rfc3339(text).is_ok() {
        true => Ok(()),
        false => Err("is neither a decimal number nor a time".to_owned()),
    }
}
