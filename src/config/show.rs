//! The effective values with where each came from, secrets masked: `config show --origin`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::Origin;
use super::secrets::{self, MASK};
use super::settings::{
    Aggregate, Compression, Kafka, Lake, Postgres, Rule, Settings, SslMode, StartingOffsets, TotalRule,
};

/// One line of `config show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    pub key: String,
    /// `-` where there is none; masked where it is a secret.
    pub value: String,
    /// `configs/orders_stream.yml:12`, `environment variable X`, `--set cdc.batch_limit`, `default`.
    pub origin: String,
}

impl Settings {
    /// Key, value and, if asked, origin of everything in force, a line each.
    pub fn show(&self, origin: bool) -> String {
        let entries = self.effective();
        let width =
            |text: fn(&Effective) -> &str| entries.iter().map(|entry| text(entry).chars().count()).max().unwrap_or(0);
        let (keys, values) = (width(|entry| &entry.key), width(|entry| &entry.value).min(60));
        let mut shown = String::new();
        for entry in &entries {
            let _ = match origin {
                true => writeln!(shown, "{:keys$} = {:values$}  # {}", entry.key, entry.value, entry.origin),
                false => writeln!(shown, "{:keys$} = {}", entry.key, entry.value),
            };
        }
        shown
    }

    pub fn effective(&self) -> Vec<Effective> {
        let mut list = Listing { settings: self, entries: Vec::new() };
        list.put("preset", self.preset.name());
        if let Some(postgres) = &self.postgres {
            list.postgres(postgres);
        }
        if let Some(kafka) = &self.kafka {
            list.kafka(kafka);
        }
        list.cdc();
        list.streaming();
        if let Some(lake) = &self.lake {
            list.lake(lake);
        }
        list.consumer();
        list.validation();
        list.aggregate();
        list.producer();
        list.rest();
        list.entries
    }
}

struct Listing<'s> {
    settings: &'s Settings,
    entries: Vec<Effective>,
}

const NONE: &str = "-";

fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

fn path(value: Option<&Path>) -> String {
    or_none(value.map(Path::display))
}

fn sec(value: Duration) -> String {
    value.as_secs_f64().to_string()
}

impl Listing<'_> {
    fn put(&mut self, key: &str, value: impl Into<String>) {
        self.put_from(key, &[key], value);
    }

    /// `sources`: the keys that can have given the value, the nearest first.
    fn put_from(&mut self, key: &str, sources: &[&str], value: impl Into<String>) {
        let origin = self.settings.provenance.origin(sources);
        self.put_with(key, origin, value);
    }

    /// `keys` answer the same, and the uppermost of them counts; `fallback` where none of them is written.
    fn put_upper(&mut self, keys: [&str; 2], fallback: &[&str], value: impl Into<String>) {
        let provenance = &self.settings.provenance;
        let written = keys.iter().any(|key| provenance.origins.contains_key(*key));
        let origin = if written { provenance.uppermost(&keys) } else { provenance.origin(fallback) };
        self.put_with(keys[0], origin, value);
    }

    fn put_with(&mut self, key: &str, origin: Origin, value: impl Into<String>) {
        let provenance = &self.settings.provenance;
        let origin = match origin {
            Origin::Default => "default".to_owned(),
            Origin::File { line, .. } => match &provenance.source.file {
                Some(file) => format!("{file}:{line}"),
                None => format!("line {line}"),
            },
            other => provenance.source.place(&other),
        };
        self.entries.push(Effective { key: key.to_owned(), value: value.into(), origin });
    }

    fn map(&mut self, key: &str, values: &BTreeMap<String, String>) {
        for (name, value) in values {
            let shown = if secrets::is_secret(name) { MASK } else { value.as_str() };
            let full = format!("{key}.{name}");
            self.put_from(&full, &[&full, &format!("{full}_file"), key], shown);
        }
    }

    fn postgres(&mut self, postgres: &Postgres) {
        let password = if postgres.password.is_some() { MASK } else { NONE };
        let mode = match postgres.ssl_mode() {
            SslMode::Disable => "disable",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        };
        self.put("postgres.host", &postgres.host);
        self.put("postgres.port", postgres.port.to_string());
        self.put("postgres.db", &postgres.database);
        self.put("postgres.user", &postgres.user);
        self.put_from("postgres.password", &["postgres.password", "postgres.password_file"], password);
        self.put("postgres.table", &postgres.table);
        self.put("postgres.sslmode", mode);
        self.put("postgres.sslrootcert", path(postgres.tls.root_cert.as_deref()));
        self.put("postgres.sslcert", path(postgres.tls.cert.as_deref()));
        self.put("postgres.sslkey", path(postgres.tls.key.as_deref()));
    }

    fn kafka(&mut self, kafka: &Kafka) {
        self.put("kafka.brokers", &kafka.brokers);
        self.put("kafka.topic", &kafka.topic);
        self.put("kafka.num_partitions", kafka.num_partitions.to_string());
        self.put("kafka.replication_factor", kafka.replication_factor.to_string());
        self.put("kafka.consumer_group", &kafka.consumer_group);
        self.put("kafka.exactly_once", kafka.exactly_once.to_string());
        self.map("kafka.topic_config", &kafka.topic_config);
        self.map("kafka.properties", &kafka.properties);
        self.map("kafka.producer", &kafka.producer_properties);
        self.map("kafka.consumer", &kafka.consumer_properties);
    }

    fn cdc(&mut self) {
        let cdc = &self.settings.cdc;
        let start = chrono::DateTime::from_timestamp_micros(cdc.default_start_timestamp_us);
        let start = or_none(start.map(|start| start.naive_utc().format("%Y-%m-%d %H:%M:%S%.f")));
        self.put_from(
            "cdc.poll_interval_sec",
            &["cdc.poll_interval_sec", "streaming.batch_interval"],
            sec(cdc.poll_interval),
        );
        self.put("cdc.batch_limit", cdc.batch_limit.to_string());
        self.put("cdc.default_start_timestamp", start);
        self.put("cdc.timestamp_column", &cdc.timestamp_column);
        self.put("cdc.key_column", cdc.key_column.as_deref().unwrap_or("the primary key"));
        self.put("cdc.timezone", cdc.timezone.name());
        self.put("cdc.begin_margin_ms", cdc.begin_margin.as_millis().to_string());
        self.put("cdc.late_commit_margin_sec", or_none(cdc.late_commit_margin.map(sec)));
        self.put("cdc.cursor_topic", cdc.cursor_topic.as_deref().unwrap_or("foodstream-cursor-<pipeline id>"));
        self.put("cdc.pipeline_id", cdc.pipeline_id.as_deref().unwrap_or("<db>.<schema>.<table>-<topic>"));
        self.put("cdc.transaction_max_rows", cdc.transaction_max_rows.to_string());
        self.put("cdc.transaction_max_ms", cdc.transaction_max.as_millis().to_string());
    }

    fn streaming(&mut self) {
        let streaming = &self.settings.streaming;
        self.put("streaming.checkpoint_location", path(streaming.checkpoint_location.as_deref()));
        self.put("streaming.last_processed_timestamp_location", path(streaming.state_file.as_deref()));
    }

    fn lake(&mut self, lake: &Lake) {
        let compression = match lake.compression {
            Compression::None => "none".to_owned(),
            Compression::Snappy => "snappy".to_owned(),
            Compression::Lz4 => "lz4".to_owned(),
            Compression::Zstd(level) => format!("zstd({level})"),
        };
        self.put("datalake.path", path(Some(&lake.path)));
        self.put("datalake.format", "parquet");
        self.put("datalake.compression", compression);
        self.put("datalake.max_rows_per_file", lake.max_rows_per_file.to_string());
        self.put("datalake.quarantine_path", path(Some(&lake.quarantine_path)));
        self.put("datalake.staging_path", path(Some(&lake.staging_path)));
        let zone = ["datalake.partition_timezone", "cdc.timezone"];
        self.put_from(zone[0], &zone, lake.partition_timezone.name());
    }

    fn consumer(&mut self) {
        let consumer = &self.settings.consumer;
        let offsets = match &consumer.starting_offsets {
            StartingOffsets::Earliest => "earliest".to_owned(),
            StartingOffsets::Latest => "latest".to_owned(),
            StartingOffsets::TimestampMs(millis) => format!("timestamp:{millis}"),
            StartingOffsets::Explicit(partitions) => serde_json::json!(partitions).to_string(),
        };
        self.put("consumer.max_offsets_per_trigger", or_none(consumer.max_offsets_per_trigger));
        let trigger = consumer.trigger_interval.as_millis().to_string();
        let keys = ["consumer.trigger_interval_ms", "spark.trigger_processing_time"];
        self.put_upper(keys, &["streaming.batch_interval"], trigger);
        self.put("consumer.await_termination_timeout", consumer.await_termination_timeout.map_or("0".to_owned(), sec));
        self.put("consumer.max_batch_bytes", consumer.max_batch_bytes.to_string());
        self.put("consumer.starting_offsets", offsets);
        self.put("consumer.fail_on_data_loss", consumer.fail_on_data_loss.to_string());
    }

    fn validation(&mut self) {
        let validation = &self.settings.validation;
        self.put("validation.allow_null_order_id", validation.allow_null_order_id.to_string());
        self.put("validation.allow_negative_amount", validation.allow_negative_amount.to_string());
        self.put("validation.allow_zero_amount", validation.allow_zero_amount.to_string());
        self.put("validation.check_status", validation.check_status.to_string());
        self.put("validation.drop_invalid_rows", validation.drop_invalid_rows.to_string());
        let rules: Vec<String> = validation.rules.iter().map(rule).collect();
        self.put("validation.rules", if rules.is_empty() { NONE.to_owned() } else { rules.join("; ") });
        self.put("validation.total", or_none(validation.total.as_ref().map(total)));
        self.put("validation.unique_column", or_none(validation.unique.as_ref().map(|unique| &unique.column)));
        self.put("validation.unique_horizon", or_none(validation.unique.as_ref().map(|unique| unique.horizon)));
        let columns = self.settings.schema.iter().flat_map(|schema| &schema.columns);
        let columns: Vec<String> = columns
            .map(|column| {
                format!("{} {}{}", column.name, column.data_type, if column.nullable { "" } else { " not null" })
            })
            .collect();
        self.put("schema", if columns.is_empty() { NONE.to_owned() } else { columns.join(", ") });
    }

    fn aggregate(&mut self) {
        let Aggregate { definition, max_groups, topic } = &self.settings.aggregate;
        let list = |columns: &[String]| if columns.is_empty() { NONE.to_owned() } else { columns.join(", ") };
        self.put("aggregate.every", definition.every.to_string());
        self.put("aggregate.group_by", list(&definition.group_by));
        self.put("aggregate.sum", list(&definition.sum));
        self.put("aggregate.min", list(&definition.min));
        self.put("aggregate.max", list(&definition.max));
        self.put("aggregate.avg", list(&definition.avg));
        self.put("aggregate.topic", or_none(topic.as_ref()));
        self.put("aggregate.max_groups", max_groups.to_string());
    }

    /// The generator's; what it leaves to librdkafka has no value of ours.
    fn producer(&mut self) {
        let events = &self.settings.events;
        let rate = events.rate.map_or("unlimited".to_owned(), |rate| rate.to_string());
        let property = |name: &str| or_none(events.properties.get(name));
        let (batch_size, linger_ms) = (property("batch.num.messages"), property("linger.ms"));
        self.put_upper(["producer.rate", "producer.event_interval_seconds"], &[], rate);
        self.put("producer.max_events", or_none(events.max_events));
        self.put("producer.seed", or_none(events.seed));
        self.put("producer.invalid_share", events.invalid_share.to_string());
        self.put("producer.duplicate_share", events.duplicate_share.to_string());
        self.put("producer.batch_size", batch_size);
        self.put("producer.linger_ms", linger_ms);
    }

    fn rest(&mut self) {
        let Settings { retry, logging, .. } = self.settings;
        self.put("retry.start_timeout_sec", sec(retry.start_timeout));
        self.put("retry.max_backoff_sec", sec(retry.max_backoff));
        self.put("memory.budget_mb", self.settings.memory_budget_mb.to_string());
        self.put("security.allow_plaintext", self.settings.allow_plaintext.to_string());
        self.put("logging.level", &logging.level);
        self.put("logging.format", logging.format.to_string());
        self.put("logging.file", path(logging.file.as_deref()));
        self.status();
    }

    fn status(&mut self) {
        let status = &self.settings.status;
        let token = if status.token.is_some() { MASK } else { NONE };
        self.put("status.enabled", or_none(status.enabled));
        self.put("status.host", &status.host);
        self.put("status.port", or_none(status.port));
        self.put_from("status.token", &["status.token", "status.token_file"], token);
        self.put("status.ready_max_lag_sec", sec(status.ready_max_lag));
    }
}

fn total(rule: &TotalRule) -> String {
    let TotalRule { total, quantity, unit_price, discount_percentage } = rule;
    match discount_percentage {
        Some(discount) => format!("{total} = {quantity} × {unit_price} × (1 − {discount} / 100)"),
        None => format!("{total} = {quantity} × {unit_price}"),
    }
}

fn rule(rule: &Rule) -> String {
    let mut words = vec![rule.column.clone()];
    words.extend(rule.not_null.then(|| "not null".to_owned()));
    words.extend(rule.not_empty.then(|| "not empty".to_owned()));
    words.extend(rule.min.as_ref().map(|bound| format!(">= {bound}")));
    words.extend(rule.exclusive_min.as_ref().map(|bound| format!("> {bound}")));
    words.extend(rule.max.as_ref().map(|bound| format!("<= {bound}")));
    words.extend(rule.one_of.as_ref().map(|options| format!("one of {}", options.join(", "))));
    words.extend(rule.matches.as_ref().map(|pattern| format!("matches {pattern}")));
    words.extend(rule.max_length.map(|length| format!("at most {length} characters")));
    words.join(" ")
}
