//! The status server: a page, JSON, server-sent events, metrics and health of a running producer or consumer.
//!
//! ```text
//! the loops ─tell→ pipeline::monitor ◀─reads─ part ─┬─▶ pipeline (with the peers' parts) ─▶ /api/status, events
//! tracing ──────▶ telemetry::recent ◀──reads─┘      └─▶ /metrics, /readyz
//! ```
//! It has a thread and a runtime of its own and only reads, so whatever its viewers do, the loops go on: a viewer that
//! is slow gets the newest state and not every state, one that has vanished is cut off, and beyond a number of
//! connections further ones are refused. A server that cannot start says so in one warning; the pipeline runs on.

mod access;
mod connection;
mod events;
mod health;
mod history;
mod listen;
mod metrics;
mod page;
mod part;
mod peers;
mod pipeline;
mod process;
mod registry;
mod respond;
mod shared;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::error::Error;
use crate::pipeline::Stop;
use crate::pipeline::monitor::{Monitor, Phase};
use listen::Listening;
use registry::Registry;
use shared::Shared;

/// Longest wait for the server's thread and its files at the end of a run.
const END_TIME: Duration = Duration::from_secs(2);

/// What a process is to its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Producer,
    Generator,
    Consumer,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Producer => "producer",
            Role::Generator => "generator",
            Role::Consumer => "consumer",
        }
    }
}

/// What a server shows.
pub struct Setup {
    pub settings: Arc<Settings>,
    pub role: Role,
    pub run_id: String,
    pub monitor: Monitor,
    /// Of the run; `None` where runs come and go, and each tells the monitor how it ended.
    pub stop: Option<Stop>,
}

/// A running server. Dropping it without [`Server::end`] ends it as the last run ended.
pub struct Server {
    shared: Arc<Shared>,
    registry: Option<Registry>,
    ending: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts on the configured address, and says where in one line. `None`, with a warning, where it cannot: a page
    /// must never stop a pipeline.
    pub fn start(setup: Setup) -> Option<Server> {
        let status = setup.settings.status.clone();
        let listening = match Listening::open(&status) {
            Ok(listening) => listening,
            Err(words) => {
                tracing::warn!(target: "foodstream::serve", "no status page: {words}; the pipeline runs without it");
                return None;
            }
        };
        // The configuration judges the name; what it stands for shows only here.
        if status.token.is_none() && !listening.is_loopback() {
            let (host, ip) = (&status.host, listening.address.ip());
            tracing::warn!(
                target: "foodstream::serve",
                "no status page: `status.host` {host} is {ip} here, which others reach: set `status.token`, or host \
                 127.0.0.1; the pipeline runs without it"
            );
            return None;
        }
        let url = listening.url();
        let (shared, registry) = Shared::new(setup, &listening);
        let shared = Arc::new(shared);
        let ending = CancellationToken::new();
        let (served, ended) = (Arc::clone(&shared), ending.clone());
        let thread = std::thread::Builder::new()
            .name("foodstream-serve".to_owned())
            .spawn(move || connection::serve(listening, served, &ended));
        let thread = match thread {
            Ok(thread) => thread,
            Err(error) => {
                tracing::warn!(target: "foodstream::serve", "no status page: no thread for it: {error}");
                return None;
            }
        };
        tracing::info!(target: "foodstream::serve", "status page: {url}");
        Some(Server { shared, registry, ending, thread: Some(thread) })
    }

    pub fn url(&self) -> &str {
        &self.shared.facts.url
    }

    /// The run is over, cleanly or by this error.
    pub fn end(mut self, error: Option<&Error>) {
        self.close(error.map(Error::report));
    }

    fn close(&mut self, failure: Option<String>) {
        let Some(thread) = self.thread.take() else { return };
        // Where runs come and go, it ends as the last of them did.
        let failure = failure.or_else(|| match self.shared.monitor.phase() {
            Phase::Failed(words) => Some(words),
            _ => None,
        });
        self.shared.monitor.enter(failure.clone().map_or(Phase::Ended, Phase::Failed));
        let (registry, ending) = (self.registry.take(), self.ending.clone());
        let (ended, waiting) = std::sync::mpsc::channel::<()>();
        let closing = std::thread::Builder::new().name("foodstream-serve-end".to_owned()).spawn(move || {
            if let Some(registry) = registry {
                registry.leave(failure.as_deref());
            }
            ending.cancel();
            // A panic over there has been reported by the panic hook.
            let _ = thread.join();
            drop(ended);
        });
        // A folder that does not answer must not keep the process.
        if closing.is_ok() {
            let _ = waiting.recv_timeout(END_TIME);
        }
        self.ending.cancel();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close(None);
    }
}
