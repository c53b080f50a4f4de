//! One verification from beginning to end: the order of reading, and who is asked what.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use super::ask::{SharedCluster, ask, blocking};
use super::canon::{Form, Forms, form_of};
use super::checks::{self, Outlook, Places};
use super::counts;
use super::facts::{Facts, PartitionLag};
use super::judge::{Evidence, judge};
use super::ledger::{Handle, Holding, KeyKind, Ledger};
use super::read_broker::{self, CursorPicture, TopicPicture, Waiting};
use super::read_lake::LakePicture;
use super::read_source::Source;
use super::reconcile::{Reconciler, Scope, Suspect};
use super::report::{Check, Report, Section, Status};
use crate::broker::Cluster;
use crate::broker::kafka::KafkaCluster;
use crate::config::{Preset, Settings, defaults};
use crate::error::{Error, Kind, Result};
use crate::model::{Cursor, DataType, Schema};
use crate::publish::state_file;

#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Only this section; the others are not looked at further than it needs.
    pub section: Option<Section>,
}

impl VerifyOptions {
    fn wants(&self, section: Section) -> bool {
        self.section.is_none_or(|only| only == section)
    }

    /// Whether the rows themselves are read.
    fn compares(&self) -> bool {
        self.wants(Section::Lake) || self.wants(Section::Postgres)
    }
}

/// Compares table, topic and lake, beside whatever is running. Where the configuration names no table, the topic's
/// messages are compared with lake and quarantine by their counts and offsets.
///
/// # Errors
/// `Config` for missing sections; retriable `Source` or `Broker` (exit 75) when a service stays away for
/// `retry.start_timeout_sec`. What is wrong with the data is in the report, not an error.
pub async fn verify(settings: &Settings, options: &VerifyOptions) -> Result<Report> {
    settings.require_kafka()?;
    settings.require_lake()?;
    settings.require_checkpoint()?;
    if matches!(options.section, Some(Section::Postgres | Section::StateFile)) {
        settings.require_postgres()?;
    }
    let mut run = Run::new(settings, options).await?;
    run.read_positions().await?;
    run.read_lake().await?;
    if run.source.is_none() {
        run.count().await?;
    } else if options.compares() {
        run.compare().await?;
    } else {
        run.read_waiting(None).await?;
    }
    Ok(run.report())
}

struct Run<'a> {
    settings: &'a Settings,
    options: &'a VerifyOptions,
    /// `None`: the pipeline begins at its topic.
    source: Option<Source>,
    cluster: SharedCluster,
    facts: Facts,
    outlook: Outlook,
    places: Places,
    state: Option<Cursor>,
    cursor: CursorPicture,
    topic: TopicPicture,
    lake: Option<LakePicture>,
    waiting_complete: bool,
}

impl<'a> Run<'a> {
    async fn new(settings: &'a Settings, options: &'a VerifyOptions) -> Result<Run<'a>> {
        let kafka = settings.require_kafka()?.clone();
        // Before the cursor: it may be older, never newer.
        let (state, complaint) = match settings.streaming.state_file.as_deref().map(state_file::read).transpose() {
            Ok(state) => (state.flatten(), None),
            Err(error) => (None, Some(error.report())),
        };
        let source = Source::find(settings).await?;
        let (brokers, topic) = (kafka.brokers.clone(), kafka.topic.clone());
        let patience = settings.retry.start_timeout;
        let cluster = blocking(move || {
            let mut cluster = KafkaCluster::new(&kafka)?;
            cluster.brokers(patience)?;
            Ok(Box::new(cluster) as Box<dyn Cluster + Send>)
        })
        .await?;
        let shown = |path: Option<&std::path::Path>| path.map(|path| path.display().to_string()).unwrap_or_default();
        let lake = settings.require_lake()?;
        let recent = match source.as_ref().filter(|_| options.wants(Section::Postgres)) {
            Some(source) => source.recent().await?,
            None => Vec::new(),
        };
        let places = Places {
            postgres: source.as_ref().map(|source| source.client.address()).unwrap_or_default(),
            table: settings.postgres.as_ref().map(|postgres| postgres.table.clone()).unwrap_or_default(),
            timestamp_column: settings.cdc.timestamp_column.clone(),
            brokers,
            lake: lake.path.display().to_string(),
            quarantine: lake.quarantine_path.display().to_string(),
            checkpoint: shown(settings.streaming.checkpoint_location.as_deref()),
            state_file: shown(settings.streaming.state_file.as_deref()),
            recent,
        };
        let exactly_once = settings.require_kafka()?.exactly_once;
        let no_table = source.is_none();
        let mut outlook = Outlook { at_least_once: !exactly_once, no_table, ..Outlook::default() };
        if let Some(complaint) = complaint {
            outlook.note(Section::StateFile, Status::Warning, complaint);
        }
        Ok(Run {
            settings,
            options,
            source,
            cluster: Arc::new(Mutex::new(cluster)),
            facts: Facts { topic: Some(topic), state: state.map(|state| state.to_string()), ..Facts::default() },
            outlook,
            places,
            state,
            cursor: CursorPicture::default(),
            topic: TopicPicture::default(),
            lake: None,
            waiting_complete: true,
        })
    }

    fn topic_name(&self) -> String {
        self.facts.topic.clone().unwrap_or_default()
    }

    fn source(&self) -> Result<&Source> {
        self.source.as_ref().ok_or_else(|| Error::bug("a comparison with a table was begun without one"))
    }

    /// The cursor, then the ends of the topic.
    async fn read_positions(&mut self) -> Result<()> {
        let Some(source) = &self.source else {
            let topic = self.topic_name();
            self.topic = ask(&self.cluster, move |cluster| read_broker::topic_picture(cluster, &topic)).await?;
            self.outlook.topic_exists = self.topic.topic.is_some();
            return Ok(());
        };
        let pipeline = self.settings.pipeline_id(&source.table.schema, &source.table.name)?;
        let cursor_topic = self.settings.cursor_topic(&pipeline);
        let page_rows = u64::from(self.settings.cdc.batch_limit);
        let (named, topic) = (cursor_topic.clone(), self.topic_name());
        (self.cursor, self.topic) = ask(&self.cluster, move |cluster| {
            let cursor = read_broker::cursor_picture(cluster, &cursor_topic, page_rows)?;
            Ok((cursor, read_broker::topic_picture(cluster, &topic)?))
        })
        .await?;
        self.outlook.topic_exists = self.topic.topic.is_some();
        self.facts.cursor = self.position()?.map(|cursor| cursor.to_string());
        self.facts.start = self.start()?.map(|start| start.to_string());
        self.note_positions(&named)
    }

    /// The position up to which rows are published.
    fn position(&self) -> Result<Option<Cursor>> {
        match &self.cursor.last {
            Some(record) => record.cursor().map(Some),
            None if self.outlook.at_least_once => Ok(self.state),
            None => Ok(None),
        }
    }

    fn start(&self) -> Result<Option<Cursor>> {
        match &self.cursor.last {
            Some(record) => record.start_cursor().map(Some),
            None => Ok(Some(Cursor::just_before(self.settings.cdc.default_start_timestamp_us))),
        }
    }

    fn note_positions(&mut self, cursor_topic: &str) -> Result<()> {
        let section = Section::StateFile;
        if !self.cursor.complete {
            let text =
                format!("an open transaction holds the end of {cursor_topic}; the cursor may be older than shown");
            self.outlook.note(section, Status::Warning, text);
        }
        if !self.outlook.at_least_once && self.cursor.last.is_none() && self.topic.has_messages() {
            let text = format!(
                "the topic has messages but {cursor_topic} holds no cursor; `foodstream producer` will hold the state \
                 file against them"
            );
            self.outlook.note(section, Status::Warning, text);
        }
        if let Some(record) = &self.cursor.last
            && record.zone != self.settings.cdc.timezone.name()
        {
            let (then, now) = (&record.zone, self.settings.cdc.timezone.name());
            let text = format!("the cursor was written under cdc.timezone {then}, the configuration says {now}");
            self.outlook.note(section, Status::Warning, text);
        }
        let cursor = self.cursor.last.as_ref().map(|record| record.cursor()).transpose()?;
        match (self.state, cursor) {
            (Some(state), Some(cursor)) if (state.timestamp_us, state.key) > (cursor.timestamp_us, cursor.key) => {
                self.outlook.note(
                    section,
                    Status::Warning,
                    format!("state file {state} is ahead of the cursor {cursor}"),
                );
            }
            (Some(state), Some(cursor)) if state != cursor => {
                let text = "the state file is older than the cursor, which counts; the next commit writes it";
                self.outlook.note(section, Status::Ok, text);
            }
            (None, Some(_)) if self.settings.streaming.state_file.is_some() => {
                let text =
                    format!("{} is not there; the cursor counts, the next commit writes it", self.places.state_file);
                self.outlook.note(section, Status::Warning, text);
            }
            _ => {}
        }
        Ok(())
    }

    /// The log, the folders, and how far the lake is behind the ends.
    async fn read_lake(&mut self) -> Result<()> {
        let lake = self.settings.require_lake()?.clone();
        let checkpoint = self.settings.require_checkpoint()?.to_owned();
        match blocking(move || LakePicture::take(&lake, &checkpoint)).await {
            Ok(picture) => {
                self.outlook.founded = picture.is_founded();
                picture.count(&mut self.facts);
                self.note_lake(&picture);
                self.lake = Some(picture);
            }
            // A damaged record, and one that is missing.
            Err(error) if matches!(error.kind(), Kind::Lake | Kind::DataLoss) && !error.is_retriable() => {
                self.outlook.founded = true;
                self.outlook.log_unreadable = true;
                self.outlook.note(Section::Checkpoint, Status::Fault, error.report());
            }
            Err(error) => return Err(error),
        }
        self.note_lag();
        Ok(())
    }

    fn note_lake(&mut self, picture: &LakePicture) {
        for fault in &picture.report.log.faults {
            let text = format!("commit {}: {} ({})", fault.number, fault.what, fault.path.display());
            self.outlook.note(Section::Checkpoint, Status::Fault, text);
        }
        for (path, what) in &picture.report.damaged {
            self.outlook.note(Section::Lake, Status::Fault, format!("damaged file {}: {what}", path.display()));
        }
        for path in &picture.report.foreign {
            let text = format!("foreign file {}: other readers of the lake fail on it or count it", path.display());
            self.outlook.note(Section::Lake, Status::Warning, text);
        }
        let (then, now) = (picture.report.log.head.as_ref(), self.topic.topic.as_ref());
        if let (Some(head), Some(topic)) = (then, now)
            && head.topic_id != topic.id
        {
            let text = if topic.name == head.topic {
                format!(
                    "topic {} was deleted and created anew (id {} instead of {}): what followed the lake's positions is \
                     gone",
                    topic.name, topic.id, head.topic_id
                )
            } else {
                format!(
                    "kafka.topic is {}, but the lake was made from {}: one of the two is another pipeline's",
                    topic.name, head.topic
                )
            };
            self.outlook.note(Section::Kafka, Status::Fault, text);
        }
        if let (Some(_), None) = (then, now) {
            let text = "the topic is gone: what followed the lake's positions cannot be read any more";
            self.outlook.note(Section::Kafka, Status::Fault, text);
        }
    }

    fn note_lag(&mut self) {
        for bound in &self.topic.bounds {
            let position = self.lake.as_ref().and_then(|lake| lake.position(bound.partition));
            let from = position.unwrap_or(bound.earliest);
            if position.is_some() && from < bound.earliest {
                let text = format!(
                    "partition {}: offsets {from} to {} were deleted before the lake read them",
                    bound.partition, bound.earliest
                );
                self.outlook.note(Section::Kafka, Status::Fault, text);
            }
            self.facts.partitions.push(PartitionLag {
                partition: bound.partition,
                earliest: bound.earliest,
                position,
                end: bound.end,
                lag: (bound.end - from.max(bound.earliest)).max(0),
            });
        }
    }

    async fn read_waiting(&mut self, forms: Option<(Arc<Forms>, KeyKind)>) -> Result<Vec<Holding>> {
        let ranges: BTreeMap<i32, (i64, i64)> = self
            .facts
            .partitions
            .iter()
            .map(|lag| (lag.partition, (lag.position.unwrap_or(lag.earliest).max(lag.earliest), lag.end)))
            .collect();
        let topic = self.topic_name();
        let waiting: Waiting = ask(&self.cluster, move |cluster| {
            read_broker::waiting(cluster, &topic, &ranges, forms.as_ref().map(|(forms, kind)| (&**forms, *kind)))
        })
        .await?;
        self.facts.messages_waiting = waiting.count;
        self.facts.foreign_messages += waiting.foreign;
        self.waiting_complete = waiting.complete;
        if !waiting.complete {
            let text = "an open transaction holds back the end of the topic; what lies behind it is not counted";
            self.outlook.note(Section::Kafka, Status::Pending, text);
        }
        Ok(waiting.holdings)
    }

    /// Reads all rows of all sides and settles every difference.
    async fn compare(&mut self) -> Result<()> {
        let forms = Arc::new(self.forms()?);
        let mut holdings = self.lake_holdings(&forms).await?;
        let kind = self.source()?.kind;
        holdings.extend(self.read_waiting(Some((Arc::clone(&forms), kind))).await?);
        let now_us = self.source()?.now_us().await?;
        let scope = Scope { start: self.start()?, cursor: self.position()?, now_us };
        let facts = std::mem::take(&mut self.facts);
        let ledger = blocking(move || Ok(Ledger::new(holdings))).await?;
        let reconciler = Reconciler::new(kind, scope, ledger, facts);
        let reconciler = self.source()?.scan(&forms, reconciler).await?;
        let (facts, suspects) = reconciler.finish();
        self.facts = facts;
        if suspects.is_empty() {
            return Ok(());
        }
        let evidence = self.evidence(&suspects, &forms).await?;
        judge(&suspects, &evidence, kind, &mut self.facts);
        Ok(())
    }

    /// Without a table: the messages against what became of them.
    async fn count(&mut self) -> Result<()> {
        self.read_waiting(None).await?;
        let Some(picture) = self.lake.take().filter(|_| self.options.wants(Section::Lake)) else { return Ok(()) };
        let (topic, bounds) = (self.topic_name(), self.topic.bounds.clone());
        let Some(consumed) = counts::consumed(&picture, &bounds) else { return Ok(()) };
        let ranges = consumed.ranges.clone();
        let held = blocking(move || Ok(counts::held(&picture))).await?;
        let retained = ask(&self.cluster, move |cluster| read_broker::waiting(cluster, &topic, &ranges, None)).await?;
        self.facts.messages_counted = (consumed.whole && retained.complete).then_some(retained.count);
        for (status, text) in counts::judge(&consumed, held, self.facts.messages_counted) {
            self.outlook.note(Section::Lake, status, text);
        }
        Ok(())
    }

    /// The columns that table and lake share.
    fn forms(&mut self) -> Result<Forms> {
        let zone = self.settings.cdc.timezone;
        let schema = match self.lake.as_ref().map(LakePicture::schema).transpose() {
            Ok(schema) => schema.flatten(),
            // Unreadable files are named where their rows are read.
            Err(_) => None,
        };
        let schema = schema.unwrap_or_else(|| self.settings.schema.clone().unwrap_or_else(Schema::orders).to_arrow());
        let is_json = |name: &str| {
            let configured = self.settings.schema.as_ref().map(|schema| schema.columns.as_slice()).unwrap_or_default();
            configured.iter().any(|column| column.name == name && column.data_type == DataType::Json)
        };
        let Some(source) = &self.source else { return Ok(Forms::of(Vec::new())) };
        let mut columns = Vec::new();
        for field in schema.fields() {
            let name = field.name();
            match (source.table.column(name), form_of(field.data_type(), source.is_local(name), zone)) {
                (Some(_), Some(Form::Text)) if is_json(name) => columns.push((name.clone(), Form::Json)),
                (Some(_), Some(form)) => columns.push((name.clone(), form)),
                (None, _) if name.starts_with("validation_") => {}
                (table, _) => {
                    let what = if table.is_none() { "is not in the table" } else { "has a type no lake of ours has" };
                    let text = format!("column `{name}` of the lake {what}: it is not compared");
                    self.outlook.note(Section::Lake, Status::Warning, text);
                }
            }
        }
        Ok(Forms::of(columns))
    }

    async fn lake_holdings(&mut self, forms: &Arc<Forms>) -> Result<Vec<Holding>> {
        let Some(picture) = self.lake.take() else { return Ok(Vec::new()) };
        let source = self.source.as_ref();
        let Some((key, kind)) = source.map(|source| (source.key.clone(), source.kind)) else { return Ok(Vec::new()) };
        let forms = Arc::clone(forms);
        let mut facts = std::mem::take(&mut self.facts);
        let (picture, facts, read) = blocking(move || {
            let read = picture.holdings(&key, kind, &forms, &mut facts);
            Ok((picture, facts, read))
        })
        .await?;
        self.lake = Some(picture);
        self.facts = facts;
        match read {
            Ok(holdings) => Ok(holdings),
            // Rows that cannot be read are lost until the file is restored: they will be missing, and this says why.
            Err(error) if matches!(error.kind(), Kind::Lake | Kind::DataLoss | Kind::Schema) => {
                self.outlook.note(Section::Lake, Status::Fault, error.report());
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    async fn evidence(&mut self, suspects: &[Suspect], forms: &Arc<Forms>) -> Result<Evidence> {
        let history = std::mem::take(&mut self.cursor.history);
        let starts: HashMap<i32, i64> = self.lake.as_ref().map(|lake| lake.starts.clone()).unwrap_or_default();
        let mut evidence = Evidence { history, starts, waiting_read: self.waiting_complete, ..Evidence::default() };
        if self.topic.topic.is_none() {
            return Ok(evidence);
        }
        // The lake may have gone past the ends that were read before its log.
        let until: HashMap<i32, i64> = self
            .facts
            .partitions
            .iter()
            .map(|lag| (lag.partition, lag.position.map_or(lag.end, |position| position.max(lag.end))))
            .collect();
        let mut handles: Vec<Handle> = suspects.iter().map(|suspect| suspect.handle).collect();
        handles.sort_unstable();
        let (topic, forms, kind) = (self.topic_name(), Arc::clone(forms), self.source()?.kind);
        let sighted =
            ask(&self.cluster, move |cluster| read_broker::sightings(cluster, &topic, &until, &handles, &forms, kind))
                .await?;
        let since_start =
            |partition: i32, earliest: i64| earliest <= evidence.starts.get(&partition).copied().unwrap_or(0);
        evidence.complete = sighted.complete
            && self.waiting_complete
            && sighted.bounds.iter().all(|bound| since_start(bound.partition, bound.earliest));
        evidence.sightings = sighted.sightings;
        Ok(evidence)
    }

    fn report(self) -> Report {
        let section = |section: Section| -> Check {
            if !self.options.wants(section) {
                return Check::skipped(section);
            }
            match section {
                Section::Postgres | Section::StateFile if self.source.is_none() => Check::without_table(section),
                Section::Postgres => checks::postgres(&self.facts, &self.places, &self.outlook),
                Section::Kafka => checks::kafka(&self.facts, &self.places, &self.outlook),
                Section::Lake => checks::lake(&self.facts, &self.places, &self.outlook),
                Section::StateFile => checks::state_file(&self.facts, &self.places, &self.outlook),
                Section::Checkpoint => checks::checkpoint(&self.facts, &self.places, &self.outlook),
            }
        };
        let sections: Vec<Check> = Section::ALL.into_iter().map(section).collect();
        let next = self.next_commands();
        Report { sections, facts: self.facts, next }
    }

    fn next_commands(&self) -> Vec<String> {
        let mut next = Vec::new();
        if self.source.is_some() && (self.facts.not_yet_published > 0 || self.facts.cursor.is_none()) {
            next.push(format!("foodstream producer{} --once", self.settings.flags(defaults::CONFIG_FILE)));
        }
        if self.facts.messages_waiting > 0 || self.facts.not_yet_published > 0 || !self.outlook.founded {
            next.push(match self.settings.preset {
                Preset::Orders => format!("foodstream consumer{} --once", self.settings.flags(defaults::CONFIG_FILE)),
                Preset::Purchases => {
                    format!("foodstream purchases run{} --once", self.settings.flags(defaults::PURCHASES_CONFIG_FILE))
                }
            });
        }
        next
    }
}
