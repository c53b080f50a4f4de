//! This process as a part of the pipeline, in JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::Role;
use super::shared::{Moment, Shared};
use crate::config::Settings;
use crate::lake::{FolderSize, Head};
use crate::model::Period;
use crate::pipeline::monitor::{ConsumerSight, Latency, NumberedReport, ProducerSight, Sight};
use crate::telemetry::recent::{self, RecentLine};

/// The newest folders and days; older ones are only counted.
const MAX_DATES: usize = 60;

/// Which of the long members are wanted, and from where on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub batches_after: Option<u64>,
    pub lines_after: Option<u64>,
    pub history_after: Option<i64>,
    pub config: bool,
}

impl Wanted {
    pub fn everything() -> Wanted {
        Wanted { batches_after: Some(0), lines_after: Some(0), history_after: Some(0), config: true }
    }
}

/// A batch or a line that viewers have not seen.
#[derive(Debug)]
pub struct News {
    pub event: &'static str,
    pub data: Value,
}

impl News {
    pub fn batch(part: &str, batch: Value) -> News {
        News::of("batch", part, batch)
    }

    pub fn line(part: &str, line: Value) -> News {
        News::of("log", part, line)
    }

    fn of(event: &'static str, part: &str, members: Value) -> News {
        let mut data = Map::new();
        data.insert("part".to_owned(), json!(part));
        data.extend(members.as_object().cloned().into_iter().flatten());
        News { event, data: Value::Object(data) }
    }
}

pub fn batch(batch: &NumberedReport) -> Value {
    json!({ "seq": batch.seq, "report": *batch.report })
}

pub fn line(line: &RecentLine) -> Value {
    json!({
        "seq": line.seq,
        "time": moment(line.time),
        "level": line.level.as_str(),
        "target": line.target,
        "message": line.message,
        "fields": line.fields,
        "repeated": line.repeated,
    })
}

pub fn own(shared: &Arc<Shared>, wanted: &Wanted) -> Value {
    let moment_now = shared.moment();
    let reasons = shared.ready_reasons(&moment_now);
    let Moment { sight, state, now, at } = &moment_now;
    let facts = &shared.facts;
    let (sample, input) = {
        let history = shared.history();
        (history.last().map(super::history::Point::to_json), history.input_per_second())
    };
    let latency = |latency: &Latency| {
        let found = latency.quantiles(*at)?;
        let round = |seconds: f64| (seconds * 1e4).round() / 1e4;
        Some(json!({
            "p50_sec": round(found.p50), "p95_sec": round(found.p95), "p99_sec": round(found.p99), "rows": found.rows,
        }))
    };
    let latencies: Map<String, Value> =
        sight.latencies.iter().map(|(name, figures)| ((*name).to_owned(), json!(latency(figures)))).collect();
    let mut part = json!({
        "id": facts.id,
        "role": facts.role.name(),
        "self": true,
        "state": state.name,
        "state_text": state.text,
        "pid": std::process::id(),
        "host": facts.host,
        "run_id": facts.run_id,
        "version": env!("CARGO_PKG_VERSION"),
        "url": facts.url,
        "started_at": moment(sight.started),
        "uptime_sec": (*now - sight.started).num_milliseconds() as f64 / 1e3,
        "seen_at": moment(*now),
        "ended_at": sight.failed_at.filter(|_| state.name == "failed").map(moment),
        "seq": recent::last_seq(),
        "services": services(sight),
        "rates": {
            "window_sec": super::history::RATE_WINDOW_SEC,
            "input_rows_per_sec": input,
            "processed_rows_per_sec": sight.processed_per_second(),
        },
        "sample": sample,
        "batch": sight.last_batch.as_ref().map(|batch| json!({
            "last_duration_ms": batch.duration.as_millis() as u64,
            "phases_ms": batch.phases.iter()
                .map(|(name, time)| ((*name).to_owned(), json!(time.as_millis() as u64)))
                .collect::<Map<_, _>>(),
        })),
        "totals": totals(facts.role, sight),
        "latency": latencies,
        "lag_sec": sight.lag(*now, *at),
        "ready": { "ready": reasons.is_empty(), "reasons": reasons },
    });
    if let Some(producer) = sight.producer.as_ref().filter(|_| facts.role == Role::Producer) {
        part["producer"] = producer_json(shared, producer, &moment_now);
    }
    if let Some(consumer) = sight.consumer.as_ref().filter(|_| facts.role == Role::Consumer) {
        part["consumer"] = consumer_json(shared, consumer, &moment_now);
    }
    if let Some(after) = wanted.batches_after {
        part["batches"] = shared.monitor.reports_after(after).iter().map(batch).collect();
    }
    if let Some(after) = wanted.lines_after {
        part["log"] = recent::lines_after(after).iter().map(line).collect();
    }
    if let Some(after) = wanted.history_after {
        part["history"] = shared.history().after(after);
    }
    if wanted.config {
        part["config"] = json!({ "text": facts.config_text, "values": facts.config_values });
    }
    part
}

pub fn moment(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn services(sight: &Sight) -> Value {
    let state = |up: Option<bool>| match up {
        Some(true) => "up",
        Some(false) => "away",
        None => "unknown",
    };
    let service = |(name, service): (&crate::pipeline::monitor::Service, &crate::pipeline::monitor::ServiceSight)| {
        json!({
            "name": name.name(), "state": state(service.up), "since": service.since.map(moment),
            "error": service.error, "errors": service.errors,
        })
    };
    sight.services.iter().map(service).collect()
}

fn totals(role: Role, sight: &Sight) -> Value {
    let mut totals = json!({ "rows": sight.rows, "batches": sight.batches });
    match (role, &sight.producer, &sight.consumer) {
        (Role::Producer, Some(producer), _) => totals["polls"] = json!(producer.polls),
        (Role::Consumer, _, Some(consumer)) => {
            totals["accepted"] = json!(consumer.counts.accepted);
            totals["rejected"] = json!(consumer.counts.rejected);
            totals["files"] = json!(consumer.files);
            totals["bytes"] = json!(consumer.bytes);
        }
        _ => {}
    }
    totals
}

fn producer_json(shared: &Shared, producer: &ProducerSight, at: &Moment) -> Value {
    let micros = |moment: DateTime<Utc>| moment.to_rfc3339_opts(SecondsFormat::Micros, true);
    let holder = producer.source.as_ref().and_then(|source| source.holder.as_ref());
    let waiting = producer.waiting(at.at).map(|waiting| (waiting.counted, waiting.at)).unzip();
    let (counted, measured) = waiting;
    json!({
        "source": shared.facts.source,
        "topic": shared.facts.topic,
        "cursor": producer.position.map(|position| json!({
            "text": position.to_string(), "at": producer.position_utc().map(micros),
        })),
        "horizon": producer.horizon_age(at.at).map(|age| json!({
            "at": producer.horizon_utc().map(micros),
            "age_sec": age,
            "held_by": holder.map(|holder| json!({
                "text": holder.text, "pid": holder.pid, "age_sec": holder.age.as_secs_f64(),
            })),
        })),
        "unpublished": {
            "rows": counted.map(|counted| counted.rows),
            "at_least": counted.is_some_and(|counted| counted.rows_at_least),
            "held_rows": counted.map(|counted| counted.held),
            "held_at_least": counted.is_some_and(|counted| counted.held_at_least),
            "seconds": at.sight.lag(at.now, at.at),
            "measured_at": measured.map(moment),
        },
        "last_poll_at": producer.last_poll.map(moment),
        "last_row_at": producer.last_row.map(moment),
    })
}

fn consumer_json(shared: &Arc<Shared>, consumer: &ConsumerSight, at: &Moment) -> Value {
    let sizes = shared.lake_sizes(consumer.commit);
    let days = consumer.head.as_ref().map(|head| shared.days(head)).unwrap_or_default();
    let micros = |us| DateTime::from_timestamp_micros(us).map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true));
    let mut dates: BTreeMap<NaiveDate, (Option<u64>, Option<FolderSize>)> = BTreeMap::new();
    for (date, size) in sizes.iter() {
        dates.insert(*date, (None, Some(*size)));
    }
    for (date, day) in days.iter() {
        dates.entry(*date).or_default().0 = Some(day.rows);
    }
    let omitted = dates.len().saturating_sub(MAX_DATES);
    let partitions = dates.iter().skip(omitted).map(|(date, (rows, size))| {
        let (files, bytes) = size.map(|size| (size.files, size.bytes)).unzip();
        let newest = consumer.newest_us.get(date).copied().and_then(micros);
        json!({ "date": date.to_string(), "rows": rows, "files": files, "bytes": bytes, "newest_event": newest })
    });
    let (files, bytes) = lake_size(&sizes, consumer.lake.accepted).map(|size| (size.files, size.bytes)).unzip();
    let partition = |&partition: &i32| {
        json!({
            "partition": partition,
            "assigned": consumer.assigned.contains(&partition),
            "committed": consumer.committed.get(&partition),
            "end": consumer.end_of(partition),
            "lag": consumer.lag_of(partition, at.at),
            "newest_at": consumer.newest_of(partition).map(moment),
        })
    };
    let reasons = consumer.rejects.by_reason.iter().map(|((reason, column), tally)| {
        json!({
            "reason": reason, "column": column, "count": tally.count,
            "last_at": tally.last.map(moment), "sample": tally.sample,
        })
    });
    json!({
        "topic": shared.facts.topic,
        "group": shared.facts.group,
        "lake": shared.facts.lake,
        "commit": consumer.commit,
        "committed_at": consumer.committed_at.map(moment),
        "readable_to": consumer.readable_to_us.and_then(micros),
        "partitions": consumer.committed.keys().map(partition).collect::<Value>(),
        "messages_behind": consumer.behind(at.at),
        "end_offsets_at": consumer.ends_at.map(moment),
        "open_batch_messages": consumer.open,
        "readable_sec": at.sight.lag(at.now, at.at),
        "lake_totals": {
            "rows": consumer.lake.accepted,
            "files": files,
            "bytes": bytes,
        },
        "lake_partitions": partitions.collect::<Value>(),
        "lake_partitions_omitted": omitted,
        "rejects": {
            "total": consumer.lake.rejected,
            "since_start": consumer.counts.rejected,
            "by_reason": reasons.collect::<Value>(),
        },
        "daily": daily(&days),
    })
}

/// Of all folders, as they were last listed; `None` where rows are known, and no folder yet that could hold them.
pub fn lake_size(sizes: &BTreeMap<NaiveDate, FolderSize>, rows: u64) -> Option<FolderSize> {
    let add = |sum: FolderSize, size: &FolderSize| FolderSize {
        files: sum.files + size.files,
        bytes: sum.bytes + size.bytes,
    };
    (rows == 0 || !sizes.is_empty()).then(|| sizes.values().fold(FolderSize::default(), add))
}

/// The newest days, by date.
pub type Days = BTreeMap<NaiveDate, Day>;

/// Rows and sums of a day, whatever the groups within it.
#[derive(Debug, Default)]
pub struct Day {
    rows: u64,
    sums: BTreeMap<String, String>,
}

pub fn days(head: &Head) -> Days {
    // An hour of the lake's own zone counts to the day in which it begins in UTC: near enough to look at.
    let date = |period: Period| match period {
        Period::Day(date) => date,
        Period::Hour(start) => start.date_naive(),
    };
    let newest = head.totals.periods().map(date).max();
    let shown = |date: NaiveDate| newest.is_none_or(|newest| (newest - date).num_days() < MAX_DATES as i64);
    // A sum past all digits is refused at its commit; here it would only be missing.
    let folded = head.totals.fold(|period, _| Some(date(period)).filter(|date| shown(*date))).unwrap_or_default();
    let day = |group: crate::model::Group| Day {
        rows: group.rows,
        sums: group.columns.into_iter().filter_map(|(column, measure)| Some((column, measure.sum?))).collect(),
    };
    folded.into_iter().map(|(date, group)| (date, day(group))).collect()
}

fn daily(days: &Days) -> Value {
    let measures: std::collections::BTreeSet<&String> = days.values().flat_map(|day| day.sums.keys()).collect();
    json!({
        "measures": measures,
        "days": days.iter()
            .map(|(date, day)| json!({ "date": date.to_string(), "rows": day.rows, "sums": day.sums }))
            .collect::<Value>(),
    })
}

/// `section.key` becomes a member of its section; secrets are masked already.
pub fn config_values(settings: &Settings) -> Value {
    let mut values = Map::new();
    for entry in settings.effective() {
        match entry.key.split_once('.') {
            Some((section, key)) => {
                let section = values.entry(section).or_insert_with(|| json!({}));
                section[key] = json!(entry.value);
            }
            None => drop(values.insert(entry.key, json!(entry.value))),
        }
    }
    Value::Object(values)
}
