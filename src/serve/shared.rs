//! What the server's tasks share: facts of the process, the monitor, history, peers, events.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;

use super::access::Access;
use super::events::Hub;
use super::health::{self, State};
use super::history::History;
use super::listen::Listening;
use super::part::Days;
use super::peers::Peers;
use super::registry::{Registration, Registry};
use super::{Role, Setup, part, pipeline};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::lake::{FolderSize, Head, partition_sizes};
use crate::pipeline::Stop;
use crate::pipeline::monitor::{Monitor, Sight};
use crate::telemetry::recent;

/// What viewers are shown is as old as this, at most.
pub const FRESH: Duration = Duration::from_millis(900);
/// What takes long is made anew after so many times what it took, so that it costs a hundredth of a core.
const COST_SHARE: u32 = 100;
/// The lake's folders are listed this far apart, at least.
const LISTING_AT_LEAST: Duration = Duration::from_secs(5);

/// What does not change while it runs.
#[derive(Debug)]
pub struct Facts {
    pub id: String,
    pub role: Role,
    pub run_id: String,
    pub host: String,
    pub url: String,
    pub config_text: String,
    pub config_values: Value,
    pub source: Option<String>,
    pub topic: Option<String>,
    pub group: Option<String>,
    pub lake: Option<PathBuf>,
    pub config_file: Option<String>,
    pub max_lag_sec: f64,
}

pub struct Shared {
    pub facts: Facts,
    pub access: Access,
    pub monitor: Monitor,
    pub hub: Hub,
    stop: Option<Stop>,
    history: Mutex<History>,
    sizes: Mutex<Sizes>,
    days: Mutex<CachedDays>,
    /// Held while the state of the whole pipeline is made, so that many viewers make it once.
    pub refreshing: tokio::sync::Mutex<Refresh>,
}

/// The state of the whole pipeline as it was last made.
pub struct Refresh {
    pub peers: Peers,
    pub at: Option<Instant>,
    /// Numbers of the last batch and the last line that became events.
    told: (u64, u64),
}

/// Files and bytes of the lake's folders.
#[derive(Default)]
struct Sizes {
    folders: Arc<BTreeMap<NaiveDate, FolderSize>>,
    /// The commit they are of, and when they may be listed again.
    commit: Option<u64>,
    again: Option<Instant>,
    listing: bool,
}

/// Rows and sums by day, folded from the totals of a commit.
#[derive(Default)]
struct CachedDays {
    days: Arc<Days>,
    commit: Option<u64>,
    again: Option<Instant>,
}

/// All of this process at one moment.
pub struct Moment {
    pub sight: Sight,
    pub state: State,
    pub now: DateTime<Utc>,
    pub at: Instant,
}

impl Shared {
    pub fn new(setup: Setup, listening: &Listening) -> (Shared, Option<Registry>) {
        let Setup { settings, role, run_id, monitor, stop } = setup;
        let facts = Facts::new(&settings, role, run_id, listening);
        let folder = settings.status_folder();
        let own = Registration::new(&facts, listening.address.ip());
        let registry = folder.clone().and_then(|folder| Registry::join(folder, own.clone()));
        let token = settings.status.token.clone();
        let shared = Shared {
            access: Access::new(token.as_ref(), listening.is_loopback()),
            hub: Hub::new(&facts.run_id),
            monitor,
            stop,
            history: Mutex::default(),
            sizes: Mutex::default(),
            days: Mutex::default(),
            refreshing: tokio::sync::Mutex::new(Refresh {
                peers: Peers::new(folder, own, token),
                at: None,
                told: (0, 0),
            }),
            facts,
        };
        (shared, registry)
    }

    pub fn moment(&self) -> Moment {
        let sight = self.monitor.sight();
        let stopping = self.stop.as_ref().is_some_and(Stop::is_requested);
        let state = health::state(&sight, stopping);
        Moment { sight, state, now: SystemClock.now(), at: SystemClock.instant() }
    }

    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Once a second, whether anybody looks or not.
    pub fn note_second(&self) {
        let Moment { sight, now, at, .. } = self.moment();
        let lag = sight.lag(now, at);
        self.history().note(now.timestamp(), &sight, lag);
    }

    pub fn ready_reasons(&self, moment: &Moment) -> Vec<Value> {
        let Moment { sight, state, now, at } = moment;
        health::reasons(self.facts.role, sight, state, self.facts.max_lag_sec, *now, *at)
    }

    /// Files and bytes by date, as of the last listing; a new one is begun where commits were made since.
    pub fn lake_sizes(self: &Arc<Self>, commit: Option<u64>) -> Arc<BTreeMap<NaiveDate, FolderSize>> {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemClock.instant();
        let is_due = sizes.commit != commit && !sizes.listing && sizes.again.is_none_or(|again| now >= again);
        if let Some(lake) = self.facts.lake.clone().filter(|_| is_due && commit.is_some()) {
            sizes.listing = true;
            let shared = Arc::clone(self);
            tokio::task::spawn_blocking(move || {
                let begun = SystemClock.instant();
                let found = partition_sizes(&lake);
                let ended = SystemClock.instant();
                let mut sizes = shared.sizes.lock().unwrap_or_else(PoisonError::into_inner);
                sizes.listing = false;
                sizes.again = Some(ended + (ended.duration_since(begun) * COST_SHARE).max(LISTING_AT_LEAST));
                match found {
                    Ok(found) => (sizes.folders, sizes.commit) = (Arc::new(found), commit),
                    Err(error) => tracing::debug!(target: "foodstream::serve", "{}", error.report()),
                }
            });
        }
        Arc::clone(&sizes.folders)
    }

    /// Rows and sums by day, as of the head's commit or a little before where folding them takes long.
    pub fn days(&self, head: &Head) -> Arc<Days> {
        let mut cached = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = SystemClock.instant();
        if cached.commit != Some(head.number) && cached.again.is_none_or(|again| begun >= again) {
            cached.days = Arc::new(part::days(head));
            cached.commit = Some(head.number);
            let ended = SystemClock.instant();
            cached.again = Some(ended + ended.duration_since(begun) * COST_SHARE);
        }
        Arc::clone(&cached.days)
    }

    /// Asks the peers, and makes events of what is new, unless that was done a moment ago.
    pub async fn refresh(self: &Arc<Self>) {
        self.monitor.look();
        let mut refresh = self.refreshing.lock().await;
        let now = SystemClock.instant();
        if refresh.at.is_some_and(|at| now.saturating_duration_since(at) < FRESH) {
            return;
        }
        let from_peers = refresh.peers.ask().await;
        let (batches, lines) = self.own_news(&mut refresh);
        let own = part::own(self, &part::Wanted::default());
        let status = pipeline::status(self, own, refresh.peers.parts(false), None);
        self.hub.publish(batches.into_iter().chain(lines).chain(from_peers), &status);
        refresh.at = Some(SystemClock.instant());
    }

    /// The whole state with all batches and lines.
    pub async fn full_status(self: &Arc<Self>) -> Value {
        self.refresh().await;
        let refresh = self.refreshing.lock().await;
        let last = self.hub.last_id();
        let own = part::own(self, &part::Wanted::everything());
        pipeline::status(self, own, refresh.peers.parts(true), Some(&last))
    }

    fn own_news(&self, refresh: &mut Refresh) -> (Vec<part::News>, Vec<part::News>) {
        let (last_batch, last_line) = refresh.told;
        let batches = self.monitor.reports_after(last_batch);
        let lines = recent::lines_after(last_line);
        refresh.told.0 = batches.last().map_or(last_batch, |batch| batch.seq);
        refresh.told.1 = lines.last().map_or(last_line, |line| line.seq);
        let id = &self.facts.id;
        let batches = batches.iter().map(|batch| part::News::batch(id, part::batch(batch))).collect();
        let lines = lines.iter().map(|line| part::News::line(id, part::line(line))).collect();
        (batches, lines)
    }
}

impl Facts {
    fn new(settings: &Settings, role: Role, run_id: String, listening: &Listening) -> Facts {
        let short: String = run_id.chars().take(8).collect();
        let kafka = settings.kafka.as_ref();
        let has_table = role != Role::Generator && settings.postgres.is_some();
        Facts {
            id: format!("{}-{}-{short}", role.name(), std::process::id()),
            role,
            run_id,
            host: super::registry::host_name(),
            url: listening.url(),
            config_text: settings.show(true),
            config_values: part::config_values(settings),
            source: settings.source_name().ok().filter(|_| has_table),
            topic: kafka.map(|kafka| kafka.topic.clone()),
            group: kafka.map(|kafka| kafka.consumer_group.clone()),
            lake: settings.lake.as_ref().map(|lake| lake.path.clone()),
            config_file: settings.file.as_ref().map(|file| file.display().to_string()),
            max_lag_sec: settings.status.ready_max_lag.as_secs_f64(),
        }
    }
}
