//! From settings to running loops: connects the parts that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use crate::aggregate::Aggregator;
use crate::broker::TopicSpec;
use crate::broker::kafka::{KafkaCluster, KafkaGroupConsumer, KafkaProducer};
use crate::capture::{PollOptions, PollSource, Preflight, Source, SourceSight, WaitingRows};
use crate::clock::SystemClock;
use crate::config::{self, Settings};
use crate::consume::Limits;
use crate::error::{Error, Result};
use crate::lake::{LakeOptions, LocalLake, TotalsFollower};
use crate::model::{Cursor, Schema};
use crate::publish::{ProducerFactory, Publisher, PublisherOptions, Start, state_file};
use crate::validate::Validator;

use super::ingest::{self, Ingest};
use super::monitor::{Monitor, Service};
use super::progress::Query;
use super::replicate::{self, BoundedSource, Replicate, Sender};
use super::retry::{Backoff, until_ok};
use super::shutdown::Stop;
use super::totals_topic::{self, Publishing, TotalsTopic};

/// Longest wait for one answer of the cluster while the position is read back.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(30);

/// Rows of one poll come to the consumer within this time of each other.
const SETTLE_WAIT: Duration = Duration::from_millis(100);

/// Of the memory budget, the share of one page: two live at once, one being read and one being sent, and beside them
/// stands the send queue. With the usual budget a whole transaction of ordinary rows fits.
const PAGE_SHARE: u64 = 4;

/// What a run of the producer is told on top of the settings.
#[derive(Clone, Debug)]
pub struct ProducerRun {
    /// A position in the state file's form.
    pub start_from: Option<String>,
    /// Accept a position that topic, state file or database contradict.
    pub adopt: bool,
    pub once_wait: Duration,
    pub run_id: String,
    /// Is told what the run does.
    pub monitor: Monitor,
}

impl ProducerRun {
    /// A later run of the same caller goes on where the first one stopped.
    pub fn later(&self) -> ProducerRun {
        ProducerRun { start_from: None, adopt: false, ..self.clone() }
    }
}

/// What a run of the consumer is told on top of the settings.
#[derive(Clone, Debug)]
pub struct ConsumerRun {
    pub once_wait: Duration,
    pub run_id: String,
    /// Is told what the run does.
    pub monitor: Monitor,
}

/// What `--dry-run` found; nothing was changed.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub lines: Vec<String>,
    pub warnings: Vec<String>,
}

/// Connects a producer. A bounded run gives up on services that are away after `retry.start_timeout_sec`.
pub async fn producer(
    settings: &Settings,
    run: &ProducerRun,
    bounded: bool,
    stop: &Stop,
) -> Result<Replicate<PollSource>> {
    let kafka = settings.require_kafka()?.clone();
    let (mut source, preflight) = open_source(settings, bounded, stop, &run.monitor).await?;
    for warning in &preflight.warnings {
        tracing::warn!(target: "foodstream::producer", "{warning}");
    }
    let mut options = publisher_options(settings, run, &preflight)?;
    if bounded {
        // One try must not outlast the time after which the run gives up.
        options.timeout = options.timeout.min(settings.retry.start_timeout);
    }
    let pipeline_id = options.pipeline_id.clone();
    let backoff = Backoff::new(&settings.retry, bounded, &run.monitor);
    let waiting = stop.clone();
    let opened = tokio::task::spawn_blocking(move || {
        until_ok(backoff, &waiting, || {
            let cluster = KafkaCluster::new(&kafka)?;
            let factory = Producers {
                kafka: kafka.clone(),
                transactional_id: transactional_id(&options.pipeline_id),
                stop: waiting.clone(),
            };
            Publisher::open(factory, cluster, options.clone())
        })
    });
    let (publisher, start) =
        opened.await.map_err(|error| Error::bug("the publisher did not open").because(error))??;
    run.monitor.answered(Service::Kafka);
    run.monitor.stands_at(start.cursor);
    let options = replicate::Options {
        topic: settings.require_kafka()?.topic.clone(),
        poll_interval: settings.cdc.poll_interval,
        batch_limit: settings.cdc.batch_limit,
        transaction_max_rows: settings.cdc.transaction_max_rows,
        transaction_max: settings.cdc.transaction_max,
        page_max_bytes: u64::from(settings.memory_budget_mb) * 1024 * 1024 / PAGE_SHARE,
        retry: settings.retry.clone(),
        once_wait: run.once_wait,
        run_id: run.run_id.clone(),
        query: Query::new(&pipeline_id, &format!("producer {pipeline_id}")),
        monitor: run.monitor.clone(),
        source: settings.source_name()?,
    };
    if let Some(horizon_us) = start.horizon_us {
        source.restore_horizon(horizon_us);
    }
    take_up_history(&mut source, run, &start);
    Ok(Replicate::new(source, Sender::spawn(publisher)?, &start, options, stop.clone(), Arc::new(SystemClock)))
}

/// A position that the user named or accepted is not held against the database's past, for as long as nothing was
/// published behind it: its record has no snapshot.
fn take_up_history(source: &mut PollSource, run: &ProducerRun, start: &Start) {
    match start.snapshot_xmin.filter(|_| !run.adopt && run.start_from.is_none()) {
        None => source.accept_history(start.cursor),
        snapshot_xmin => source.restore_history(snapshot_xmin),
    }
}

/// The checks of `--dry-run`: rights, table, index, topic, position. Changes nothing.
pub async fn producer_plan(settings: &Settings, run: &ProducerRun, stop: &Stop) -> Result<Plan> {
    let kafka = settings.require_kafka()?.clone();
    let (mut source, preflight) = open_source(settings, true, stop, &run.monitor).await?;
    let options = publisher_options(settings, run, &preflight)?;
    let mut plan =
        Plan { lines: preflight.lines(), warnings: preflight.warnings.iter().map(ToString::to_string).collect() };
    let backoff = Backoff::new(&settings.retry, true, &run.monitor);
    let waiting = stop.clone();
    let topic = options.topic.clone();
    let cursor_topic = options.cursor_topic.clone();
    let found = tokio::task::spawn_blocking(move || {
        until_ok(backoff, &waiting, || {
            let mut cluster = KafkaCluster::new(&kafka)?;
            crate::publish::plan(&mut cluster, &options)
        })
    });
    let found = found.await.map_err(|error| Error::bug("the plan was not made").because(error))??;
    source.seek(found.start.cursor);
    take_up_history(&mut source, run, &found.start);
    source.check_history().await?;
    plan.lines.push(match found.topic {
        Some(existing) => format!("topic {} exists with {} partitions", existing.name, existing.partitions),
        None => format!("topic {} is missing and would be created with {} partitions", topic.name, topic.partitions),
    });
    if found.cursor_topic_missing {
        plan.lines.push(format!("cursor topic {cursor_topic} is missing and would be created"));
    }
    plan.lines.push(format!("reading would start after {} ({})", found.start.cursor, found.start.origin));
    Ok(plan)
}

impl BoundedSource for PollSource {
    fn server_clock_us(&mut self) -> impl Future<Output = Result<i64>> + Send {
        PollSource::server_clock_us(self)
    }

    fn holder(&self) -> Option<String> {
        PollSource::holder(self).map(ToString::to_string)
    }

    fn sight(&self) -> Option<SourceSight> {
        PollSource::sight(self).cloned()
    }

    fn count_waiting(&mut self) -> impl Future<Output = Result<Option<WaitingRows>>> + Send {
        PollSource::count_waiting(self)
    }
}

async fn open_source(
    settings: &Settings,
    bounded: bool,
    stop: &Stop,
    monitor: &Monitor,
) -> Result<(PollSource, Preflight)> {
    let mut backoff = Backoff::new(&settings.retry, bounded, monitor);
    loop {
        stop.check()?;
        match PollSource::open(PollOptions::from_settings(settings)?).await {
            Ok(opened) => {
                backoff.reset();
                monitor.answered(Service::Postgres);
                return Ok(opened);
            }
            Err(error) => {
                let pause = backoff.next_pause(error)?;
                stop.sleep(pause).await;
            }
        }
    }
}

fn publisher_options(settings: &Settings, run: &ProducerRun, preflight: &Preflight) -> Result<PublisherOptions> {
    let kafka = settings.require_kafka()?;
    let pipeline_id = settings.pipeline_id(&preflight.schema_name, &preflight.table_name)?;
    let start_from = run
        .start_from
        .as_deref()
        .map(state_file::parse)
        .transpose()
        .map_err(|error| Error::config(format!("--start-from: {error}")))?;
    Ok(PublisherOptions {
        topic: topic_spec(kafka),
        cursor_topic: settings.cursor_topic(&pipeline_id),
        pipeline_id,
        state_file: settings.streaming.state_file.clone(),
        zone: settings.cdc.timezone.to_string(),
        default_start: Cursor::just_before(settings.cdc.default_start_timestamp_us),
        start_from,
        adopt: run.adopt,
        system_identifier: preflight.identity.as_ref().map(|identity| identity.system_identifier.clone()),
        timeline: preflight.identity.as_ref().map(|identity| identity.timeline),
        timeout: CLUSTER_TIMEOUT,
        exactly_once: kafka.exactly_once,
        timestamp_column: settings.cdc.timestamp_column.clone(),
        key_column: preflight.key_column.clone(),
    })
}

fn transactional_id(pipeline_id: &str) -> String {
    format!("foodstream-{pipeline_id}")
}

fn topic_spec(kafka: &config::Kafka) -> TopicSpec {
    TopicSpec {
        name: kafka.topic.clone(),
        partitions: kafka.num_partitions,
        replication_factor: kafka.replication_factor,
        config: kafka.topic_config.clone(),
    }
}

struct Producers {
    kafka: config::Kafka,
    transactional_id: String,
    stop: Stop,
}

impl ProducerFactory for Producers {
    type Producer = KafkaProducer;

    fn create(&mut self) -> Result<KafkaProducer> {
        let producer = match self.kafka.exactly_once {
            true => KafkaProducer::transactional(&self.kafka, &self.transactional_id),
            false => KafkaProducer::idempotent(&self.kafka),
        }?;
        let stop = self.stop.clone();
        Ok(producer.impatient_when(move || stop.is_requested()))
    }
}

/// Opens lake and log and joins the group. Blocks.
pub fn consumer(
    settings: &Settings,
    run: &ConsumerRun,
    bounded: bool,
    stop: &Stop,
) -> Result<Ingest<KafkaGroupConsumer, KafkaCluster>> {
    let kafka = settings.require_kafka()?;
    let lake_settings = settings.require_lake()?;
    let validator = validator(settings)?;
    let totals = aggregator(settings, &validator)?;
    let lake = LocalLake::open(lake_options(settings, &validator)?)?;
    let backoff = || Backoff::new(&settings.retry, bounded, &run.monitor);
    run.monitor.answered(Service::Lake);
    let mut cluster = until_ok(backoff(), stop, || KafkaCluster::new(kafka))?;
    let options = ingest::Options {
        topic: topic_spec(kafka),
        limits: limits(settings),
        trigger: settings.consumer.trigger_interval,
        settle: SETTLE_WAIT,
        starting_offsets: settings.consumer.starting_offsets.clone(),
        fail_on_data_loss: settings.consumer.fail_on_data_loss,
        retry: settings.retry.clone(),
        once_wait: run.once_wait,
        run_id: run.run_id.clone(),
        query: Query::new(&kafka.consumer_group, &format!("consumer {} {}", kafka.topic, lake_settings.path.display())),
        monitor: run.monitor.clone(),
        timestamp_column: settings.cdc.timestamp_column.clone(),
        lake_path: lake_settings.path.clone(),
    };
    if let Some(topic) = &settings.aggregate.topic {
        until_ok(backoff(), stop, || totals_topic::ensure(&mut cluster, topic, kafka.replication_factor))?;
    }
    let consumer = KafkaGroupConsumer::new(kafka)?;
    let parts = ingest::Parts { consumer, cluster, lake, validator, totals, clock: Arc::new(SystemClock) };
    let mut ingest = Ingest::open(parts, options, bounded, stop.clone())?;
    run.monitor.answered(Service::Kafka);
    if let Some(topic) = &settings.aggregate.topic {
        ingest.publish_totals(totals_publisher(settings, topic, stop, &run.monitor)?);
    }
    Ok(ingest)
}

/// Publishes the totals of a lake that has been founded.
fn totals_publisher(settings: &Settings, topic: &str, stop: &Stop, monitor: &Monitor) -> Result<TotalsTopic> {
    let log = TotalsFollower::open(settings.require_checkpoint()?)?;
    let lake = log.lake()?.ok_or_else(|| Error::bug("totals are followed before the lake was founded"))?;
    let factory = Producers {
        kafka: settings.require_kafka()?.clone(),
        transactional_id: format!("foodstream-totals-{lake}"),
        stop: stop.clone(),
    };
    TotalsTopic::spawn(Publishing::new(log, factory, topic.to_owned()), &settings.retry, monitor)
}

/// The configured totals, bound to the lake's columns.
pub fn aggregator(settings: &Settings, validator: &Validator) -> Result<Aggregator> {
    let zone = settings.require_lake()?.partition_timezone;
    Aggregator::new(&settings.aggregate, &validator.lake_schema(), &settings.cdc.timestamp_column, zone)
}

/// The configured columns and rules, compiled.
pub fn validator(settings: &Settings) -> Result<Validator> {
    Validator::compile(
        &settings.schema.clone().unwrap_or_else(Schema::orders),
        &settings.validation,
        &settings.cdc.timestamp_column,
        settings.require_lake()?.partition_timezone,
        &settings.require_kafka()?.topic,
    )
}

/// How the lake of these settings is opened, also by `lake rebuild-log`.
pub fn lake_options(settings: &Settings, validator: &Validator) -> Result<LakeOptions> {
    Ok(LakeOptions {
        settings: settings.require_lake()?.clone(),
        checkpoint: settings.require_checkpoint()?.to_path_buf(),
        lake_schema: validator.lake_schema(),
        quarantine_schema: validator.quarantine_schema(),
        schema_text: settings.schema.clone().unwrap_or_else(Schema::orders),
        drop_invalid_rows: settings.validation.drop_invalid_rows,
        aggregate: settings.aggregate.clone(),
        clock: Arc::new(SystemClock),
    })
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        max_messages: settings.consumer.max_offsets_per_trigger.unwrap_or(u64::MAX),
        max_bytes: settings.consumer.max_batch_bytes,
    }
}
