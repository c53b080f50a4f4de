//! `/metrics`: the figures of this process in Prometheus' text format (docs/STATUS.md lists them).
//!
//! Written here and not through a metrics crate: every figure stands in the monitor already, and a recorder would keep
//! each a second time, in the loops. The tests read the text with Prometheus' own Python parser.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use super::shared::{Moment, Shared};
use super::{Role, part};
use crate::pipeline::monitor::{ConsumerSight, DURATION_BOUNDS, PUBLISHED, ProducerSight, READABLE, Sight};
use crate::telemetry::recent;

pub fn text(shared: &Arc<Shared>) -> String {
    let moment = shared.moment();
    let ready = shared.ready_reasons(&moment).is_empty();
    let mut text = Text::default();
    of_all(&mut text, shared, &moment, ready);
    if shared.facts.role != Role::Generator {
        batches(&mut text, &moment.sight);
    }
    match (shared.facts.role, &moment.sight.producer, &moment.sight.consumer) {
        (Role::Producer, producer, _) => of_producer(&mut text, producer.as_ref(), &moment),
        (Role::Consumer, _, consumer) => of_consumer(&mut text, shared, consumer.as_ref(), &moment),
        (Role::Generator, ..) => {}
    }
    of_process(&mut text, &moment.sight);
    text.0
}

fn of_all(text: &mut Text, shared: &Shared, moment: &Moment, ready: bool) {
    let sight = &moment.sight;
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("role", shared.facts.role.name())];
    text.gauge("foodstream_build_info", "Version and role; always 1").sample(&labels, 1);
    let started = seconds_since_1970(sight.started);
    text.gauge("foodstream_start_time_seconds", "When this run began").value(started);
    text.gauge("foodstream_ready", "1 while /readyz says 200").value(u8::from(ready));
    let mut up = text.gauge("foodstream_service_up", "1 up, 0 away");
    for (service, known) in &sight.services {
        if let Some(is_up) = known.up {
            up.sample(&[("service", service.name())], u8::from(is_up));
        }
    }
    let mut errors = text.counter("foodstream_service_errors_total", "Calls that failed and were tried again");
    for (service, known) in &sight.services {
        errors.sample(&[("service", service.name())], known.errors);
    }
    let lines = recent::counts();
    let mut events = text.counter("foodstream_log_events_total", "Log lines by level");
    for (level, count) in [("error", lines.error), ("warn", lines.warn), ("info", lines.info)] {
        events.sample(&[("level", level)], count);
    }
    text.gauge("foodstream_status_viewers", "Open event streams").value(shared.hub.viewers());
    text.counter("foodstream_rows_total", "Rows published, or messages committed, in this run").value(sight.rows);
}

/// Of the loops; the generator has no batches.
fn batches(text: &mut Text, sight: &Sight) {
    text.counter("foodstream_batches_total", "Transactions, or commits with messages, in this run")
        .value(sight.batches);
    durations(text, sight);
    let mut phases = text.counter("foodstream_batch_phase_seconds_total", "Time at work by phase");
    for (phase, time) in &sight.phases {
        phases.sample(&[("phase", *phase)], time.as_secs_f64());
    }
    let last = sight.last_batch.as_ref().map(|batch| seconds_since_1970(batch.finished));
    text.gauge("foodstream_last_batch_timestamp_seconds", "When the last batch was done").known(last);
}

fn durations(text: &mut Text, sight: &Sight) {
    let name = "foodstream_batch_duration_seconds";
    let mut family = text.family(name, "histogram", "Duration of a transaction, or of a commit");
    let mut below = 0;
    for (bound, count) in DURATION_BOUNDS.iter().zip(&sight.durations) {
        below += count;
        family.sample_of("_bucket", &[("le", bound)], below);
    }
    let all: u64 = sight.durations.iter().sum();
    family.sample_of("_bucket", &[("le", "+Inf")], all);
    family.sample_of("_sum", &NO_LABELS, sight.duration_sum.as_secs_f64());
    family.sample_of("_count", &NO_LABELS, all);
}

fn lag(text: &mut Text, moment: &Moment, stage: &str) {
    let help = "How long the oldest row waits that is not published, or not readable; 0 where none waits";
    let mut family = text.gauge("foodstream_lag_seconds", help);
    if let Some(lag) = moment.sight.lag(moment.now, moment.at) {
        family.sample(&[("stage", stage)], lag);
    }
    let help = "From commit at the source to publish, from there to readable, and all of it; the last 300 s";
    let mut family = text.family("foodstream_row_latency_seconds", "summary", help);
    for (stage, latency) in &moment.sight.latencies {
        if let Some(found) = latency.quantiles(moment.at) {
            for (quantile, value) in [("0.5", found.p50), ("0.95", found.p95), ("0.99", found.p99)] {
                family.sample(&[("stage", *stage), ("quantile", quantile)], value);
            }
        }
        family.sample_of("_sum", &[("stage", stage)], latency.sum);
        family.sample_of("_count", &[("stage", stage)], latency.count);
    }
}

const POSITION_HELP: &str = "Timestamp of the newest row published, or readable";

fn of_producer(text: &mut Text, producer: Option<&ProducerSight>, moment: &Moment) {
    lag(text, moment, PUBLISHED);
    text.counter("foodstream_polls_total", "Pages asked for").known(producer.map(|producer| producer.polls));
    let counted = producer.and_then(|producer| producer.waiting(moment.at)).map(|waiting| waiting.counted);
    let rows = counted.map(|counted| counted.rows);
    text.gauge("foodstream_unpublished_rows", "Rows above the position, as far as they were counted").known(rows);
    let capped = counted.map(|counted| u8::from(counted.rows_at_least));
    text.gauge("foodstream_unpublished_rows_capped", "1 where there are more than were counted").known(capped);
    let held = counted.map(|counted| counted.held);
    text.gauge("foodstream_held_rows", "Of these held back by an open transaction").known(held);
    let age = producer.and_then(|producer| producer.horizon_age(moment.at));
    text.gauge("foodstream_horizon_age_seconds", "How far the horizon is behind the server's clock").known(age);
    let position = producer.and_then(ProducerSight::position_utc).map(seconds_since_1970);
    text.gauge("foodstream_position_timestamp_seconds", POSITION_HELP).known(position);
}

fn of_consumer(text: &mut Text, shared: &Arc<Shared>, consumer: Option<&ConsumerSight>, moment: &Moment) {
    lag(text, moment, READABLE);
    let position = consumer.and_then(|consumer| consumer.readable_to_us).map(|us| us as f64 / 1e6);
    text.gauge("foodstream_position_timestamp_seconds", POSITION_HELP).known(position);
    let of_run = consumer.map(|consumer| consumer.counts).unwrap_or_default();
    text.counter("foodstream_rows_accepted_total", "Rows written to the lake in this run").value(of_run.accepted);
    text.counter("foodstream_rows_rejected_total", "Messages in quarantine from this run").value(of_run.rejected);
    let mut rejects = text.counter("foodstream_rejects_total", "Rejects by reason; one with two counts under both");
    let mut by_reason = std::collections::BTreeMap::<&str, u64>::new();
    for ((reason, _), tally) in consumer.iter().flat_map(|consumer| &consumer.rejects.by_reason) {
        *by_reason.entry(reason).or_default() += tally.count;
    }
    for (reason, count) in by_reason {
        rejects.sample(&[("reason", reason)], count);
    }
    let written = consumer.map_or((0, 0), |consumer| (consumer.files, consumer.bytes));
    text.counter("foodstream_files_written_total", "Files of this run").value(written.0);
    text.counter("foodstream_bytes_written_total", "Bytes of these files").value(written.1);
    let Some(consumer) = consumer else { return };
    partitions(text, shared, consumer, moment);
    text.gauge("foodstream_open_batch_messages", "Gathered and not committed").value(consumer.open);
    text.gauge("foodstream_commit_number", "The last commit of the lake's log").known(consumer.commit);
    let sizes = shared.lake_sizes(consumer.commit);
    text.gauge("foodstream_lake_rows", "Rows of the whole lake").value(consumer.lake.accepted);
    let size = part::lake_size(&sizes, consumer.lake.accepted);
    text.gauge("foodstream_lake_files", "Files of the whole lake").known(size.map(|size| size.files));
    text.gauge("foodstream_lake_bytes", "Bytes of these files").known(size.map(|size| size.bytes));
}

fn partitions(text: &mut Text, shared: &Shared, consumer: &ConsumerSight, moment: &Moment) {
    let topic = shared.facts.topic.as_deref().unwrap_or_default();
    let mut family = |name: &'static str, help: &str, value: &dyn Fn(i32) -> Option<i64>| {
        let mut family = text.gauge(name, help);
        for &partition in &consumer.assigned {
            if let Some(value) = value(partition) {
                family.sample(&[("topic", topic), ("partition", &partition.to_string())], value);
            }
        }
    };
    let committed = |partition| consumer.committed.get(&partition).copied();
    family("foodstream_committed_offset", "Next offset to read, as the lake has it", &committed);
    family("foodstream_end_offset", "End of the partition", &|partition| consumer.end_of(partition));
    let behind = |partition| consumer.lag_of(partition, moment.at).map(|lag| lag as i64);
    family("foodstream_lag_messages", "Messages between the two", &behind);
}

fn of_process(text: &mut Text, sight: &Sight) {
    use rustix::time::{ClockId, clock_gettime};
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    text.counter("process_cpu_seconds_total", "Processor time").value(cpu);
    // Linux tells it here; elsewhere it is left out.
    let resident = std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| {
        let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    });
    text.gauge("process_resident_memory_bytes", "Memory in use").known(resident);
    text.gauge("process_start_time_seconds", "When the run began").value(seconds_since_1970(sight.started));
}

fn seconds_since_1970(moment: chrono::DateTime<chrono::Utc>) -> f64 {
    moment.timestamp_millis() as f64 / 1e3
}

const NO_LABELS: [(&str, &str); 0] = [];

/// The text as it grows.
#[derive(Default)]
struct Text(String);

/// A metric whose samples are being written.
struct Family<'t> {
    text: &'t mut String,
    name: &'static str,
}

impl Text {
    fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        // Writing into a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}");
        Family { text: &mut self.0, name }
    }
}

impl Family<'_> {
    fn value(&mut self, value: impl Display) {
        self.sample(&NO_LABELS, value);
    }

    fn known(&mut self, value: Option<impl Display>) {
        if let Some(value) = value {
            self.value(value);
        }
    }

    fn sample<V: Display>(&mut self, labels: &[(&str, V)], value: impl Display) {
        self.sample_of("", labels, value);
    }

    fn sample_of<V: Display>(&mut self, suffix: &str, labels: &[(&str, V)], value: impl Display) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (index, (name, label)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{name}=\"{}\"", escaped(&label.to_string()));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{after} {value}");
    }
}

/// The three characters that the format gives a meaning in a label's value.
fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_the_format_wants_them() {
        let mut text = Text::default();
        text.gauge("foodstream_ready", "Help").value(1);
        text.counter("foodstream_x_total", "Help").sample(&[("topic", "a\"b\\c\nd")], 2.5);
        text.gauge("foodstream_none", "Help").known(None::<u64>);
        assert_eq!(
            text.0,
            "# HELP foodstream_ready Help.\n# TYPE foodstream_ready gauge\nfoodstream_ready 1\n\
             # HELP foodstream_x_total Help.\n# TYPE foodstream_x_total counter\n\
             foodstream_x_total{topic=\"a\\\"b\\\\c\\nd\"} 2.5\n\
             # HELP foodstream_none Help.\n# TYPE foodstream_none gauge\n"
        );
    }
}
