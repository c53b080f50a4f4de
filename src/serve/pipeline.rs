//! The pipeline as a whole: all parts, one state of health, one figure of lag.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::part;
use super::shared::Shared;
use crate::clock::{Clock, SystemClock};
use crate::pipeline::monitor::{PUBLISHED, READABLE, SOURCE_TO_READABLE};

/// What the quantiles are over.
const LATENCY_WINDOW_SEC: u64 = crate::pipeline::monitor::LATENCY_WINDOW.as_secs();

pub fn status(shared: &Shared, own: Value, peers: Vec<Value>, last_event_id: Option<&str>) -> Value {
    let mut parts = vec![own];
    parts.extend(peers);
    parts.sort_by_key(|part| (rank(part), text(part, "started_at"), text(part, "id")));
    let now = SystemClock.now();
    let lag = lag(&parts, now);
    let mut status = json!({
        "api": 1,
        "generated_at": part::moment(now),
        "self": shared.facts.id,
        "health": health(&parts, &lag, shared.facts.max_lag_sec, now),
        "pipeline": {
            "source": shared.facts.source,
            "topic": shared.facts.topic,
            "lake": shared.facts.lake,
            "config_file": shared.facts.config_file,
        },
        "lag": lag,
        "parts": parts,
    });
    if let Some(id) = last_event_id {
        status["last_event_id"] = json!(id);
    }
    status
}

/// All reports of all parts, the oldest first.
pub fn progress(status: &Value) -> Value {
    let parts = status["parts"].as_array().map_or(&[][..], Vec::as_slice);
    let batches = parts.iter().filter_map(|part| part["batches"].as_array()).flatten();
    let mut reports: Vec<&Value> = batches.map(|batch| &batch["report"]).collect();
    reports.sort_by_key(|report| report["timestamp"].as_str().unwrap_or_default());
    json!(reports)
}

fn text(part: &Value, name: &str) -> String {
    part[name].as_str().unwrap_or_default().to_owned()
}

fn rank(part: &Value) -> u8 {
    match part["role"].as_str() {
        Some("producer") => 0,
        Some("generator") => 1,
        _ => 2,
    }
}

fn is_alive(part: &Value) -> bool {
    !matches!(part["state"].as_str(), Some("ended" | "failed" | "down"))
}

fn has_partitions(consumer: &Value) -> bool {
    let partitions = consumer["consumer"]["partitions"].as_array();
    partitions.is_some_and(|partitions| partitions.iter().any(|partition| partition["assigned"] == true))
}

/// The newest part of a role that still works, else the newest of all: what is known last.
fn of_role<'p>(parts: &'p [Value], role: &str) -> Option<&'p Value> {
    let of_role = || parts.iter().filter(|part| part["role"] == role);
    of_role().rfind(|part| is_alive(part)).or_else(|| of_role().next_back())
}

fn lag(parts: &[Value], now: DateTime<Utc>) -> Value {
    let producer = of_role(parts, "producer");
    let consumer = of_role(parts, "consumer");
    let unpublished = producer.filter(|part| is_alive(part)).map(|part| &part["producer"]["unpublished"]);
    let unpublished_sec = unpublished.and_then(|unpublished| unpublished["seconds"].as_f64());
    let consumers = || parts.iter().filter(|part| part["role"] == "consumer" && is_alive(part));
    let all_know = |name: &str| !consumers().any(|part| has_partitions(part) && part["consumer"][name].is_null());
    let readable_sec = match consumers().next() {
        Some(_) => consumers().filter_map(|part| part["consumer"]["readable_sec"].as_f64()).reduce(f64::max),
        None => unread_since(producer, consumer, now),
    };
    let readable_sec = readable_sec.filter(|_| all_know("readable_sec"));
    let messages = consumers().filter_map(|part| part["consumer"]["messages_behind"].as_u64()).reduce(|a, b| a + b);
    let messages = messages.filter(|_| all_know("messages_behind"));
    let seconds = match (unpublished_sec, readable_sec) {
        (Some(left), Some(right)) => Some(left.max(right)),
        // Nothing is said of the whole while a part that works does not know its own.
        (_, None) if consumers().next().is_some() => None,
        (None, _) if producer.is_some_and(is_alive) => None,
        (left, right) => left.or(right),
    };
    let count = |name: &str| unpublished.map(|unpublished| unpublished[name].clone());
    json!({
        "seconds": seconds,
        "rows_unpublished": count("rows"),
        "rows_unpublished_at_least": count("at_least").unwrap_or(json!(false)),
        "rows_held": count("held_rows"),
        "rows_held_at_least": count("held_at_least").unwrap_or(json!(false)),
        "messages": messages,
        "unpublished_sec": unpublished_sec,
        "readable_sec": readable_sec,
        "latency": {
            PUBLISHED: producer.map(|part| part["latency"][PUBLISHED].clone()),
            READABLE: consumer.map(|part| part["latency"][READABLE].clone()),
            SOURCE_TO_READABLE: consumer.map(|part| part["latency"][SOURCE_TO_READABLE].clone()),
        },
        "latency_window_sec": LATENCY_WINDOW_SEC,
    })
}

/// While no consumer works: rows published after the newest readable one wait, for as long as that is past, or since
/// it was last seen with nothing left to read.
fn unread_since(producer: Option<&Value>, consumer: Option<&Value>, now: DateTime<Utc>) -> Option<f64> {
    let time = |value: &Value| DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|time| time.to_utc());
    let published = time(&producer?["producer"]["cursor"]["at"])?;
    let consumer = consumer?;
    let readable = time(&consumer["consumer"]["readable_to"])?;
    let caught_up = time(&consumer["seen_at"]).filter(|_| consumer["consumer"]["messages_behind"] == 0);
    let since = caught_up.map_or(readable, |seen| seen.max(readable));
    let waits = (now - since).num_milliseconds() as f64 / 1e3;
    Some(if published > readable { waits.max(0.0) } else { 0.0 })
}

fn health(parts: &[Value], lag: &Value, max_lag_sec: f64, now: DateTime<Utc>) -> Value {
    let mut reasons = Vec::new();
    let mut worst = 0;
    let mut add = |weight: u8, part: Option<&Value>, code: &str, words: String| {
        worst = worst.max(weight);
        reasons.push(json!({ "part": part.map(|part| part["id"].clone()), "code": code, "text": words }));
    };
    for part in parts {
        let who = format!("the {} (pid {})", part["role"].as_str().unwrap_or("process"), part["pid"]);
        let words = part["state_text"].as_str().unwrap_or_default();
        match part["state"].as_str() {
            Some("down") => add(2, Some(part), "part_down", format!("{who} is down{}: {words}", last_seen(part, now))),
            Some("failed") => add(2, Some(part), "part_failed", format!("{who} failed: {words}")),
            Some("waiting") => add(1, Some(part), "service_away", format!("{who} waits: {words}")),
            Some("starting") => add(1, Some(part), "starting", format!("{who} is starting")),
            _ => {}
        }
    }
    let seconds = lag["seconds"].as_f64();
    if let Some(seconds) = seconds.filter(|seconds| *seconds > max_lag_sec) {
        add(
            1,
            None,
            "lag",
            format!("rows wait for {seconds:.1} s, more than status.ready_max_lag_sec = {max_lag_sec}"),
        );
    }
    let has = |role: &str| parts.iter().any(|part| part["role"] == role && is_alive(part));
    if !has("producer") && !has("generator") {
        add(0, None, "no_producer", "no producer of this configuration runs".to_owned());
    }
    if !has("consumer") {
        add(0, None, "no_consumer", "no consumer of this configuration runs".to_owned());
    }
    let ended = parts.iter().all(|part| part["state"] == "ended");
    let first = |reasons: &[Value]| reasons.first().and_then(|reason| reason["text"].as_str()).map(str::to_owned);
    let (state, words) = match worst {
        2 => ("down", first(&reasons)),
        1 => ("degraded", first(&reasons)),
        _ if ended => ("ended", Some("every part has ended".to_owned())),
        _ => ("ok", Some(running(seconds))),
    };
    json!({ "state": state, "text": words.unwrap_or_default(), "reasons": reasons })
}

fn running(lag: Option<f64>) -> String {
    match lag {
        Some(lag) if lag > 0.0 => format!("running: the oldest waiting row waits for {lag:.1} s"),
        Some(_) => "running: nothing is known to wait".to_owned(),
        None => "running".to_owned(),
    }
}

fn last_seen(part: &Value, now: DateTime<Utc>) -> String {
    let seen = part["seen_at"].as_str().and_then(|seen| DateTime::parse_from_rfc3339(seen).ok());
    seen.map(|seen| format!(", last seen {} s ago", (now - seen.to_utc()).num_seconds().max(0))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-29T20:00:00Z";

    fn now() -> DateTime<Utc> {
        NOW.parse().unwrap()
    }

    fn producer(state: &str, seconds: Value) -> Value {
        json!({
            "id": "producer-1", "role": "producer", "state": state, "pid": 1, "state_text": null, "latency": {},
            "producer": {
                "cursor": { "at": "2026-11-29T19:59:30.000000Z" },
                "unpublished": { "rows": 3, "at_least": false, "held_rows": 1, "held_at_least": false, "seconds": seconds },
            },
        })
    }

    fn consumer(state: &str, behind: Value, seconds: Value) -> Value {
        json!({
            "id": "consumer-2", "role": "consumer", "state": state, "pid": 2, "state_text": "gone", "latency": {},
            "seen_at": "2026-11-29T19:59:57.000Z",
            "consumer": {
                "readable_to": "2026-11-29T19:59:00.000000Z", "messages_behind": behind, "readable_sec": seconds,
            },
        })
    }

    fn seconds(parts: &[Value]) -> Value {
        lag(parts, now())["seconds"].clone()
    }

    fn state(parts: &[Value]) -> Value {
        health(parts, &lag(parts, now()), 60.0, now())["state"].clone()
    }

    #[test]
    fn the_lag_is_that_of_the_slower_side() {
        let parts = [producer("running", json!(2.5)), consumer("running", json!(4), json!(1.5))];
        let whole = lag(&parts, now());
        assert_eq!((&whole["seconds"], &whole["messages"], &whole["rows_held"]), (&json!(2.5), &json!(4), &json!(1)));
        assert_eq!(state(&parts), "ok");
        let parts = [producer("running", json!(0.0)), consumer("running", json!(4), json!(75.0))];
        assert_eq!((seconds(&parts), state(&parts)), (json!(75.0), json!("degraded")));
    }

    #[test]
    fn messages_of_several_consumers_count_together() {
        let parts = [consumer("running", json!(4), json!(1.0)), consumer("running", json!(5), json!(2.0))];
        let whole = lag(&parts, now());
        assert_eq!((&whole["messages"], &whole["readable_sec"]), (&json!(9), &json!(2.0)));
    }

    #[test]
    fn while_the_consumer_is_down_what_was_published_since_waits() {
        let idle = [producer("running", json!(0.0)), consumer("down", json!(0), json!(0.0))];
        assert_eq!(seconds(&idle), json!(3.0), "nothing was left when it was last seen");
        let parts = [producer("running", json!(0.0)), consumer("down", json!(4), json!(0.5))];
        assert_eq!((seconds(&parts), state(&parts)), (json!(60.0), json!("down")));
        let text = health(&parts, &lag(&parts, now()), 60.0, now())["text"].clone();
        assert_eq!(text, "the consumer (pid 2) is down, last seen 3 s ago: gone");
        let mut all_readable = consumer("ended", json!(0), json!(0.0));
        all_readable["consumer"]["readable_to"] = json!("2026-11-29T19:59:30.000000Z");
        assert_eq!(seconds(&[producer("running", json!(0.0)), all_readable]), json!(0.0), "nothing came since");
    }

    #[test]
    fn nothing_is_said_of_the_whole_while_one_side_does_not_know_its_own() {
        assert_eq!(
            seconds(&[producer("waiting", Value::Null), consumer("running", json!(0), json!(0.0))]),
            Value::Null
        );
        assert_eq!(
            seconds(&[producer("running", json!(0.0)), consumer("starting", Value::Null, Value::Null)]),
            Value::Null
        );
        let mut blind = consumer("running", Value::Null, Value::Null);
        let beside = |blind: &Value| {
            lag(&[producer("running", json!(0.0)), consumer("running", json!(4), json!(1.0)), blind.clone()], now())
        };
        assert_eq!(beside(&blind)["seconds"], json!(1.0), "it has no partition");
        blind["consumer"]["partitions"] = json!([{ "partition": 1, "assigned": true }]);
        let whole = beside(&blind);
        assert_eq!((&whole["seconds"], &whole["messages"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn health_is_that_of_the_worst_part() {
        let well = || producer("running", json!(0.0));
        let with = |consumer_state: &str| state(&[well(), consumer(consumer_state, json!(0), json!(0.0))]);
        assert_eq!(with("running"), "ok");
        assert_eq!(with("starting"), "degraded");
        assert_eq!(with("waiting"), "degraded");
        assert_eq!(with("failed"), "down");
        assert_eq!(with("ended"), "ok", "the producer still works");
        assert_eq!(state(&[producer("ended", json!(0.0)), consumer("ended", json!(0), json!(0.0))]), "ended");
        let reasons = health(&[well()], &json!({}), 60.0, now())["reasons"].clone();
        assert_eq!(reasons[0]["code"], "no_consumer");
    }
}
