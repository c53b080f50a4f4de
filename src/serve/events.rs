//! Server-sent events: one ring of what happened and the newest status, and viewers that read from it at their pace.
//!
//! A viewer has no queue. When its connection takes more, it is given what came since, as far as that is kept, and the
//! newest status; where something was lost it is told to fetch the state anew.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::part::News;

/// Batches and lines kept for viewers that come back.
const KEPT: usize = 600;
/// Open streams, at most.
pub const MAX_VIEWERS: usize = 256;

/// Where viewers read.
pub struct Hub {
    /// Tells the ids of this run from those of the one before.
    run: String,
    ring: Mutex<Ring>,
    changed: watch::Sender<u64>,
    viewers: AtomicUsize,
}

#[derive(Default)]
struct Ring {
    last: u64,
    events: VecDeque<(u64, Bytes)>,
    /// The last event that is not kept any more.
    dropped: u64,
    status: Option<(u64, Bytes)>,
}

/// Counts as a viewer until dropped.
pub struct Viewer {
    hub: Arc<dyn AsRef<Hub> + Send + Sync>,
    seen: u64,
    status_seen: u64,
    waiting: VecDeque<Bytes>,
    changed: watch::Receiver<u64>,
}

impl Hub {
    pub fn new(run_id: &str) -> Hub {
        Hub {
            run: run_id.chars().take(8).collect(),
            ring: Mutex::default(),
            changed: watch::Sender::new(0),
            viewers: AtomicUsize::new(0),
        }
    }

    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }

    pub fn last_id(&self) -> String {
        format!("{}-{}", self.run, self.lock().last)
    }

    /// Adds what happened, then the state after it.
    pub fn publish(&self, news: impl Iterator<Item = News>, status: &Value) {
        let mut ring = self.lock();
        for News { event, data } in news {
            let (id, bytes) = self.event(&mut ring, event, &data);
            if ring.events.len() == KEPT
                && let Some((dropped, _)) = ring.events.pop_front()
            {
                ring.dropped = dropped;
            }
            ring.events.push_back((id, bytes));
        }
        ring.status = Some(self.event(&mut ring, "status", status));
        let last = ring.last;
        drop(ring);
        self.changed.send_replace(last);
    }

    fn event(&self, ring: &mut Ring, event: &str, data: &Value) -> (u64, Bytes) {
        ring.last += 1;
        let text = format!("event: {event}\nid: {}-{}\ndata: {data}\n\n", self.run, ring.last);
        (ring.last, Bytes::from(text))
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Viewer {
    /// A stream for one more viewer, after the event that it saw last. `None` where there are too many.
    pub fn new(hub: Arc<dyn AsRef<Hub> + Send + Sync>, last_event_id: Option<&str>) -> Option<Viewer> {
        let own = (*hub).as_ref();
        let admitted = own.viewers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |viewers| {
            (viewers < MAX_VIEWERS).then_some(viewers + 1)
        });
        admitted.ok()?;
        let mut waiting = VecDeque::from([Bytes::from_static(b"retry: 1000\n\n")]);
        let ring = own.lock();
        let seen = match last_event_id.map(|id| own.resumed(&ring, id)) {
            None => ring.last,
            Some(Ok(seen)) => seen,
            Some(Err(reason)) => {
                waiting.push_back(reset(&own.run, ring.last, reason));
                ring.last
            }
        };
        drop(ring);
        let changed = own.changed.subscribe();
        Some(Viewer { hub, seen, status_seen: 0, waiting, changed })
    }

    pub fn into_stream(self) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
        stream::unfold(self, |mut viewer| async move {
            let bytes = viewer.next().await?;
            Some((Ok(Frame::data(bytes)), viewer))
        })
    }

    /// The next event; waits for one. `None` when the server ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.waiting.pop_front() {
                return Some(bytes);
            }
            self.changed.borrow_and_update();
            self.collect();
            if self.waiting.is_empty() {
                self.changed.changed().await.ok()?;
            }
        }
    }

    fn collect(&mut self) {
        let hub = (*self.hub).as_ref();
        let ring = hub.lock();
        if ring.dropped > self.seen {
            self.waiting.push_back(reset(&hub.run, ring.last, "gap"));
            self.seen = ring.last;
        }
        for (id, bytes) in &ring.events {
            if *id > self.seen {
                self.waiting.push_back(bytes.clone());
                self.seen = *id;
            }
        }
        if let Some((id, bytes)) = ring.status.as_ref().filter(|(id, _)| *id > self.status_seen) {
            self.waiting.push_back(bytes.clone());
            self.status_seen = *id;
            self.seen = self.seen.max(*id);
        }
    }
}

impl Hub {
    /// The number to go on after, or why that cannot be.
    fn resumed(&self, ring: &Ring, id: &str) -> Result<u64, &'static str> {
        let (run, number) = id.rsplit_once('-').ok_or("restart")?;
        let number: u64 = number.parse().map_err(|_| "restart")?;
        match number {
            _ if run != self.run || number > ring.last => Err("restart"),
            _ if number < ring.dropped => Err("gap"),
            _ => Ok(number),
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        (*self.hub).as_ref().viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn reset(run: &str, last: u64, reason: &str) -> Bytes {
    Bytes::from(format!("event: reset\nid: {run}-{last}\ndata: {}\n\n", json!({ "reason": reason })))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Owner(Hub);

    impl AsRef<Hub> for Owner {
        fn as_ref(&self) -> &Hub {
            &self.0
        }
    }

    fn news(number: usize) -> News {
        News::line("part", json!({ "seq": number }))
    }

    fn names(viewer: &mut Viewer) -> Vec<String> {
        viewer.collect();
        let text: Vec<u8> = viewer.waiting.drain(..).flatten().collect();
        let text = String::from_utf8(text).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("event: ").map(str::to_owned)).collect()
    }

    #[test]
    fn a_viewer_gets_what_came_since_and_the_newest_state_only() {
        let owner = Arc::new(Owner(Hub::new("run-0001-x")));
        let mut viewer = Viewer::new(owner.clone(), None).unwrap();
        owner.0.publish([news(1)].into_iter(), &json!({}));
        owner.0.publish([news(2)].into_iter(), &json!({}));
        assert_eq!(names(&mut viewer), ["log", "log", "status"]);
        assert_eq!(names(&mut viewer), [""; 0]);
    }

    #[test]
    fn one_that_comes_back_goes_on_where_it_was_or_is_told_to_begin_anew() {
        let owner = Arc::new(Owner(Hub::new("run-0001-x")));
        owner.0.publish([news(1)].into_iter(), &json!({}));
        let id = owner.0.last_id();
        owner.0.publish([news(2), news(3)].into_iter(), &json!({}));
        let resumed = |id: &str| names(&mut Viewer::new(owner.clone(), Some(id)).unwrap());
        assert_eq!(resumed(&id), ["log", "log", "status"]);
        assert_eq!(resumed("run-0002-2"), ["reset", "status"], "another run");
        assert_eq!(resumed("nonsense"), ["reset", "status"]);
        owner.0.publish((0..KEPT).map(news), &json!({}));
        assert_eq!(resumed(&id), ["reset", "status"], "what followed is not kept any more");
    }

    #[test]
    fn a_viewer_that_is_too_slow_is_told_so_and_holds_nothing() {
        let owner = Arc::new(Owner(Hub::new("run-0001-x")));
        let mut viewer = Viewer::new(owner.clone(), None).unwrap();
        (0..3).for_each(|_| owner.0.publish((0..KEPT).map(news), &json!({})));
        assert_eq!(viewer.waiting.len(), 1, "only what a fresh connection begins with");
        assert_eq!(names(&mut viewer), ["reset", "status"]);
    }

    #[test]
    fn viewers_are_counted_and_limited() {
        let owner = Arc::new(Owner(Hub::new("run")));
        let mut viewers: Vec<_> = (0..MAX_VIEWERS).map(|_| Viewer::new(owner.clone(), None).unwrap()).collect();
        assert!(Viewer::new(owner.clone(), None).is_none());
        viewers.pop();
        assert_eq!(owner.0.viewers(), MAX_VIEWERS - 1);
        assert!(Viewer::new(owner, None).is_some());
    }
}
