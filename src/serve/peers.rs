//! The other processes of the pipeline, asked for their parts while somebody looks.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::history::History;
use super::part::{self, News};
use super::registry::{self, Found, Registration};
use crate::clock::{Clock, SystemClock};

/// Longest wait for one answer: they are all asked at once, and viewers wait for them.
const PATIENCE: Duration = Duration::from_millis(800);
/// A process that has not answered for so long is down.
const SILENT: Duration = Duration::from_secs(2);
const MAX_ANSWER_BYTES: usize = 8 << 20;
const MAX_PEERS: usize = 32;
const KEPT_BATCHES: usize = 100;
const KEPT_LINES: usize = 200;
/// How long parts that ended cleanly stay in sight; others do until one of their role starts anew.
const ENDED_KEPT: Duration = Duration::from_secs(600);

/// A process that is, or was, beside us.
#[derive(Debug)]
struct Peer {
    registration: Registration,
    /// Its file is of our own user.
    is_own: bool,
    /// Its last answer, without what follows; `None` before the first.
    part: Option<Value>,
    batches: VecDeque<Value>,
    lines: VecDeque<Value>,
    history: History,
    seen: Option<DateTime<Utc>>,
    /// Since when it does not answer, and why.
    silent: Option<(Instant, String)>,
    gone: Option<Gone>,
}

#[derive(Debug)]
struct Gone {
    /// `ended`, `failed` or `down`.
    state: &'static str,
    since: Instant,
    at: String,
    text: Option<String>,
}

/// All of them.
pub struct Peers {
    folder: Option<PathBuf>,
    own: Registration,
    token: Option<SecretString>,
    known: BTreeMap<String, Peer>,
    /// The look at the folder that is under way: never a second beside one that hangs.
    looking: Option<tokio::task::JoinHandle<Found>>,
}

impl Peers {
    pub fn new(folder: Option<PathBuf>, own: Registration, token: Option<SecretString>) -> Peers {
        Peers { folder, own, token, known: BTreeMap::new(), looking: None }
    }

    /// Looks who is there, asks all at once, and returns what viewers have not seen of them.
    pub async fn ask(&mut self) -> Vec<News> {
        if let Some(found) = self.look().await {
            self.take_in(found);
        }
        let asked = self.known.iter().filter(|(_, peer)| peer.gone.is_none()).map(|(id, peer)| {
            let token = self.token.as_ref().filter(|_| peer.is_own);
            let address = peer.address(&self.own.host);
            let query = peer.query();
            async move {
                let answer = tokio::time::timeout(PATIENCE, ask(address.as_deref(), &query, token));
                let late = || Err(format!("no answer within {} ms", PATIENCE.as_millis()));
                (id.clone(), answer.await.unwrap_or_else(|_| late()))
            }
        });
        let answers = futures_util::future::join_all(asked).await;
        let mut news = Vec::new();
        for (id, answer) in answers {
            let Some(peer) = self.known.get_mut(&id) else { continue };
            match answer {
                Ok(part) => news.extend(peer.take_in(part)),
                Err(words) => peer.note_silence(words),
            }
        }
        self.forget();
        news
    }

    /// What the folder holds; `None` where it does not answer in time, or there is none.
    async fn look(&mut self) -> Option<Found> {
        let folder = self.folder.clone()?;
        let looking = self.looking.get_or_insert_with(|| tokio::task::spawn_blocking(move || registry::look(&folder)));
        let found = tokio::time::timeout(PATIENCE, looking).await.ok()?;
        self.looking = None;
        found.ok()
    }

    fn take_in(&mut self, found: Found) {
        let is_ours = |other: &Registration| other.id != self.own.id && other.topic == self.own.topic;
        let reached = |other: &Registration| other.host == self.own.host || other.reachable;
        let registered = found.registrations.into_iter().filter(|other| is_ours(other) && reached(other));
        let registered: BTreeMap<_, _> = registered.take(MAX_PEERS).map(|other| (other.id.clone(), other)).collect();
        let notes = found.notes.into_iter().filter(|note| is_ours(&note.of)).take(MAX_PEERS);
        let notes: BTreeMap<_, _> = notes.map(|note| (note.of.id.clone(), note)).collect();
        for (id, registration) in registered.iter().chain(notes.iter().map(|(id, note)| (id, &note.of))) {
            let peer = self.known.entry(id.clone()).or_insert_with(|| Peer::new(registration.clone()));
            peer.is_own = found.own.contains(id);
        }
        // Who failed is forgotten with the note that tells of it.
        let is_told = |id: &String| registered.contains_key(id) || notes.contains_key(id);
        let is_past = |peer: &Peer| peer.gone.as_ref().is_some_and(|gone| gone.state != "ended");
        self.known.retain(|id, peer| is_told(id) || !is_past(peer));
        let without_end = || Some("it is gone without an end".to_owned());
        for (id, peer) in self.known.iter_mut().filter(|(_, peer)| peer.gone.is_none()) {
            if !registered.contains_key(id) {
                match notes.get(id) {
                    Some(note) if note.state == "failed" => peer.leave("failed", note.text.clone(), Some(&note.at)),
                    Some(note) => peer.leave("down", without_end(), Some(&note.at)),
                    None => peer.leave("ended", None, None),
                }
            } else if peer.registration.is_dead(&self.own.host) {
                peer.leave("down", without_end(), None);
            }
        }
    }

    /// Drops those that are gone for long, and those in whose place another has started.
    fn forget(&mut self) {
        let now = SystemClock.instant();
        let newest = self.newest_alive();
        self.known.retain(|_, peer| {
            let Some(gone) = &peer.gone else { return true };
            let is_past = gone.state == "ended" && now.saturating_duration_since(gone.since) >= ENDED_KEPT;
            !is_past && !peer.is_replaced(&newest)
        });
    }

    /// By role, when the newest process that answers was started.
    fn newest_alive(&self) -> BTreeMap<String, String> {
        let mut newest = BTreeMap::from([(self.own.role.clone(), self.own.started_at.clone())]);
        for peer in self.known.values().filter(|peer| peer.gone.is_none() && peer.silent.is_none()) {
            let started = newest.entry(peer.registration.role.clone()).or_default();
            *started = std::mem::take(started).max(peer.registration.started_at.clone());
        }
        newest
    }

    /// Their parts, with all that is kept of each or without the long members.
    pub fn parts(&self, full: bool) -> Vec<Value> {
        let newest = self.newest_alive();
        let is_past = |peer: &Peer| (peer.is_silent() || peer.has_failed()) && peer.is_replaced(&newest);
        let shown = self.known.values().filter(|peer| !is_past(peer));
        shown.map(|peer| peer.to_json(full)).collect()
    }
}

impl Peer {
    fn new(registration: Registration) -> Peer {
        Peer {
            registration,
            is_own: false,
            part: None,
            batches: VecDeque::new(),
            lines: VecDeque::new(),
            history: History::default(),
            seen: None,
            silent: None,
            gone: None,
        }
    }

    /// Where it is reached from here.
    fn address(&self, own_host: &str) -> Option<String> {
        let url = self.registration.url.strip_prefix("http://")?.trim_end_matches('/');
        if self.registration.host == own_host {
            return Some(url.to_owned());
        }
        match url.strip_prefix("127.0.0.1:") {
            Some(port) => Some(format!("{}:{port}", self.registration.host)),
            None => Some(url.to_owned()),
        }
    }

    fn query(&self) -> String {
        let seq = |kept: &VecDeque<Value>| kept.back().and_then(|last| last["seq"].as_u64()).unwrap_or(0);
        let history = self.history.last().map_or(0, |point| point.at);
        let config = self.part.is_none();
        format!(
            "/api/status?local=1&batches_after={}&lines_after={}&history_after={history}&config={}",
            seq(&self.batches),
            seq(&self.lines),
            u8::from(config)
        )
    }

    fn take_in(&mut self, answer: Value) -> Vec<News> {
        let id = self.registration.id.clone();
        let mut answer = answer;
        let Some(part) = answer["parts"].get_mut(0).filter(|part| part["id"] == json!(id)) else {
            self.note_silence("another process answers at its address".to_owned());
            return Vec::new();
        };
        let mut part = part.take();
        let mut take = |name: &str| part.as_object_mut().and_then(|members| members.shift_remove(name));
        let list = |value: Option<Value>| match value {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        let (batches, lines) = (list(take("batches")), list(take("log")));
        let columns = take("history");
        if let Some(at) = part["sample"]["t"].as_i64() {
            self.history.follow(at);
        }
        if let Some(columns) = columns {
            self.history.take_in(&columns);
        }
        let news = batches.iter().map(|batch| News::batch(&id, batch.clone()));
        let news: Vec<News> = news.chain(lines.iter().map(|line| News::line(&id, line.clone()))).collect();
        keep(&mut self.batches, batches, KEPT_BATCHES);
        keep(&mut self.lines, lines, KEPT_LINES);
        if part.get("config").is_none()
            && let Some(config) = self.part.as_ref().and_then(|known| known.get("config"))
        {
            part["config"] = config.clone();
        }
        self.part = Some(part);
        self.seen = Some(SystemClock.now());
        self.silent = None;
        news
    }

    fn note_silence(&mut self, words: String) {
        let since = self.silent.take().map_or_else(|| SystemClock.instant(), |(since, _)| since);
        self.silent = Some((since, words));
    }

    fn leave(&mut self, state: &'static str, text: Option<String>, at: Option<&String>) {
        let at = at.cloned().unwrap_or_else(|| part::moment(SystemClock.now()));
        self.gone = Some(Gone { state, since: SystemClock.instant(), at, text });
    }

    /// It has not answered for a while.
    fn is_silent(&self) -> bool {
        let now = SystemClock.instant();
        self.silent.as_ref().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= SILENT)
    }

    /// Its last run failed, and it still answers.
    fn has_failed(&self) -> bool {
        self.part.as_ref().is_some_and(|part| part["state"] == "failed")
    }

    /// Another one of its role has started since and answers.
    fn is_replaced(&self, newest: &BTreeMap<String, String>) -> bool {
        // When it failed is known to the moment: a worker that began beside it took no place of its.
        let failed_at = match &self.gone {
            Some(gone) => Some(gone.at.as_str()).filter(|_| gone.state == "failed"),
            None => self.part.as_ref().filter(|_| self.has_failed()).and_then(|part| part["ended_at"].as_str()),
        };
        let since = failed_at.unwrap_or(&self.registration.started_at);
        newest.get(&self.registration.role).is_some_and(|started| started.as_str() > since)
    }

    fn to_json(&self, full: bool) -> Value {
        let registration = &self.registration;
        let mut part = self.part.clone().unwrap_or_else(|| {
            json!({
                "id": registration.id, "role": registration.role, "state": "starting", "pid": registration.pid,
                "host": registration.host, "run_id": registration.run_id, "version": null, "url": registration.url,
                "started_at": registration.started_at, "ended_at": null, "services": [],
            })
        });
        part["self"] = json!(false);
        part["seen_at"] = json!(self.seen.map(part::moment));
        if let Some(gone) = &self.gone {
            part["state"] = json!(gone.state);
            part["state_text"] = json!(gone.text);
            part["ended_at"] = json!(gone.at);
        } else if let Some((_, words)) = self.silent.as_ref().filter(|_| self.is_silent()) {
            part["state"] = json!("down");
            part["state_text"] = json!(format!("it does not answer: {words}"));
        }
        if full {
            part["batches"] = json!(self.batches);
            part["log"] = json!(self.lines);
            part["history"] = self.history.after(0);
        } else if let Some(members) = part.as_object_mut() {
            members.shift_remove("config");
        }
        part
    }
}

fn keep(kept: &mut VecDeque<Value>, news: Vec<Value>, most: usize) {
    kept.extend(news);
    kept.drain(..kept.len().saturating_sub(most));
}

/// One question, in words what went wrong.
async fn ask(address: Option<&str>, query: &str, token: Option<&SecretString>) -> Result<Value, String> {
    let address = address.ok_or_else(|| "its file names no address".to_owned())?;
    let words = |error: hyper::Error| error.to_string();
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    let _driving = Driving(tokio::spawn(async move { drop(connection.await) }));
    let mut request = Request::get(query).header(HOST, address);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(words)?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(format!("it answers {status}"));
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| format!("its answer is no JSON: {error}"))
}

/// The connection's task; it ends with the question.
struct Driving(tokio::task::JoinHandle<()>);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.abort();
    }
}
