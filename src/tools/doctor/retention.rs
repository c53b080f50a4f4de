//! Will the broker delete messages before the lake has read them? Judged by time and by bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::broker::alter;
use super::report::{Check, Finding, Verdict};
use super::words::{age, bytes, plural};
use crate::broker::Bounds;
use crate::config::Kafka;

/// Kafka's own default: a consumer may be away over a long weekend.
const USUAL_RETENTION_MS: u64 = 604_800_000;
/// A consumer that fails in the evening must find everything in the morning.
const SHORT_RETENTION: Duration = Duration::from_secs(86_400);
/// Younger messages wait for the next commits only.
const LONG_UNREAD: Duration = Duration::from_secs(600);
/// Of what may pass before deletion, the share from which somebody should act.
const RISKY_SHARE: f64 = 0.5;

/// Offsets of a partition that the lake has not read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    pub bound: Bounds,
    pub from: i64,
    /// Of the first of them; `None` where it was not looked at.
    pub age: Option<Duration>,
}

impl Unread {
    /// Of what the broker keeps of the partition, the part that is not read: at 1 the next deletion takes unread ones.
    fn share_kept(&self) -> f64 {
        let Unread { bound, from, .. } = self;
        (bound.end - from) as f64 / (bound.end - bound.earliest).max(1) as f64
    }
}

/// When the broker deletes; `None`: never by that measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub time: Option<Duration>,
    pub bytes: Option<u64>,
    /// Older messages of a key are removed as well.
    pub compacts: bool,
}

impl Limits {
    pub fn of(config: &BTreeMap<String, String>) -> Limits {
        let policy = config.get("cleanup.policy").map_or("delete", String::as_str);
        let limit = |name: &str| config.get(name).and_then(|text| text.parse::<i64>().ok());
        let deletes = policy.contains("delete");
        Limits {
            time: limit("retention.ms")
                .and_then(|ms| u64::try_from(ms).ok())
                .map(Duration::from_millis)
                .filter(|_| deletes),
            bytes: limit("retention.bytes").and_then(|bytes| u64::try_from(bytes).ok()).filter(|_| deletes),
            compacts: policy.contains("compact"),
        }
    }

    fn words(&self) -> String {
        let time = self.time.map(age);
        let bytes = self.bytes.map(|count| format!("{} a partition", bytes(count)));
        match [time, bytes].into_iter().flatten().collect::<Vec<_>>().join(" or ") {
            kept if kept.is_empty() => "for ever".to_owned(),
            kept => kept,
        }
    }
}

pub(super) fn judge(unread: &[Unread], limits: &Limits, kafka: &Kafka, catch_up: &str) -> Finding {
    let check = Check::Retention;
    let topic = kafka.topic.as_str();
    let keep_longer = || alter(kafka, topic, &format!("retention.ms={USUAL_RETENTION_MS}"));
    if limits.compacts {
        let fact = "cleanup.policy holds `compact`: of messages with one key all but the last are removed, read or not";
        let finding = Finding::new(check, Verdict::Fault, fact);
        return finding.mended_by(alter(kafka, topic, "cleanup.policy=delete"));
    }
    let kept = limits.words();
    let oldest = unread.iter().filter_map(|unread| Some((unread, unread.age?))).max_by_key(|(_, age)| *age);
    if let (Some((unread, waited)), Some(limit)) = (oldest, limits.time) {
        let share = waited.as_secs_f64() / limit.as_secs_f64().max(f64::MIN_POSITIVE);
        if share >= RISKY_SHARE {
            let partition = unread.bound.partition;
            let waited = age(waited);
            let fact =
                format!("the oldest unread message of partition {partition} is {waited} old, and {kept} are kept");
            let verdict = if share >= 1.0 { Verdict::Fault } else { Verdict::Warning };
            let fact = if share >= 1.0 { format!("{fact}: it may be deleted at any moment") } else { fact };
            return Finding::new(check, verdict, fact).mended_by(catch_up).mended_by(keep_longer());
        }
    }
    // Sizes in bytes are not told to clients; what was deleted so far hints at where the limit lies, and may as well
    // have been deleted by time or by hand. A consumer that keeps up has young messages before it.
    let waits = |unread: &&Unread| unread.age.is_some_and(|age| age > LONG_UNREAD);
    let fullest = unread.iter().filter(|unread| limits.bytes.is_some() && unread.bound.earliest > 0 && waits(unread));
    let fullest = fullest.max_by(|left, right| left.share_kept().total_cmp(&right.share_kept()));
    if let Some(unread) = fullest.filter(|unread| unread.share_kept() >= RISKY_SHARE) {
        let share = unread.share_kept();
        let fact = format!(
            "{:.0} % of what is kept of partition {} is not read yet, and {kept} are kept",
            share * 100.0,
            unread.bound.partition
        );
        let longer = alter(kafka, topic, &format!("retention.bytes={}", limits.bytes.unwrap_or_default() * 4));
        return Finding::new(check, Verdict::Warning, fact).mended_by(catch_up).mended_by(longer);
    }
    if limits.time.is_some_and(|limit| limit < SHORT_RETENTION) {
        let fact = format!("{kept} are kept: a consumer that is away for longer loses what it had not read");
        return Finding::new(check, Verdict::Warning, fact).mended_by(keep_longer());
    }
    let waiting: i64 = unread.iter().map(|unread| unread.bound.end - unread.from).sum();
    let waiting = plural(waiting.max(0) as u64, "offset is", "offsets are");
    let oldest = oldest.map(|(_, waited)| format!(", the oldest for {}", age(waited))).unwrap_or_default();
    Finding::ok(check, format!("messages are kept {kept}; {waiting} not read yet{oldest}"))
}
