//! Whether this process does its work: `/readyz`, and the state of its part.

use std::time::Instant;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::Role;
use crate::pipeline::monitor::{ConsumerSight, Phase, Sight};

/// In one word, and why where that needs a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub name: &'static str,
    pub text: Option<String>,
}

pub fn state(sight: &Sight, stopping: bool) -> State {
    let plain = |name| State { name, text: None };
    match &sight.phase {
        Phase::Ended => plain("ended"),
        Phase::Failed(words) => State { name: "failed", text: Some(words.clone()) },
        _ if stopping => plain("stopping"),
        phase => {
            let away: Vec<String> = sight
                .services
                .iter()
                .filter(|(_, service)| service.up == Some(false))
                .map(|(name, service)| match &service.error {
                    Some(error) => format!("{} is away: {error}", name.name()),
                    None => format!("{} is away", name.name()),
                })
                .collect();
            match (away.is_empty(), phase) {
                (false, _) => State { name: "waiting", text: Some(away.join("; ")) },
                (true, Phase::Starting) => plain("starting"),
                (true, _) => plain("running"),
            }
        }
    }
}

/// Why it is not ready; empty where it is.
pub fn reasons(
    role: Role,
    sight: &Sight,
    state: &State,
    max_lag_sec: f64,
    now: DateTime<Utc>,
    at: Instant,
) -> Vec<Value> {
    let reason = |code: &str, text: String| json!({ "code": code, "text": text });
    let mut reasons = Vec::new();
    match state.name {
        "starting" => reasons.push(reason("starting", format!("the {} is starting", role.name()))),
        "stopping" | "ended" => reasons.push(reason("stopping", format!("the {} is stopping", role.name()))),
        "failed" => reasons.push(reason("failed", state.text.clone().unwrap_or_default())),
        "waiting" => reasons.push(reason("service_away", state.text.clone().unwrap_or_default())),
        _ => {}
    }
    match sight.lag(now, at) {
        Some(lag) if lag > max_lag_sec => {
            reasons.push(reason("lag", format!("lag {lag:.1} s is above status.ready_max_lag_sec = {max_lag_sec}")));
        }
        None if state.name == "running" && awaits_lag(role, sight) => {
            reasons.push(reason("lag", format!("how far behind the {} is is not known yet", role.name())));
        }
        _ => {}
    }
    reasons
}

/// The first page of the table, or the first words of each assigned partition, will tell.
fn awaits_lag(role: Role, sight: &Sight) -> bool {
    match role {
        Role::Producer => sight.producer.as_ref().is_none_or(|producer| producer.source.is_none()),
        Role::Consumer => sight.consumer.as_ref().is_some_and(ConsumerSight::has_partitions),
        Role::Generator => false,
    }
}
