//! The thread that owns the lake: stages and commits one micro-batch while the next is gathered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::lake::{Committed, Head, Lake, Plan, Planned, RecentValues, Staged};
use crate::model::{MicroBatch, OffsetRange, PartitionOffset};
use crate::validate::Recalled;

/// What became of a submitted batch.
#[derive(Debug)]
pub enum Outcome {
    Done(Box<Done>),
    /// Another worker moved these partitions; the batch is gone and reading goes on from this head.
    Lost(Head),
}

/// A durable commit, with what it took.
#[derive(Debug)]
pub struct Done {
    pub head: Head,
    pub staged: Staged,
    pub stage_time: Duration,
    pub commit_time: Duration,
}

enum Request {
    Head,
    Found { topic: String, topic_id: String, starts: Vec<PartitionOffset> },
    Plan(Vec<OffsetRange>),
    Plans,
    Commit(Box<MicroBatch>),
    Recall(RecentValues, Recalled),
}

enum Reply {
    Head(Result<Option<Head>>),
    Planned(Result<Planned>),
    Plans(Result<Vec<Plan>>),
    Commit(Result<Outcome>),
    Recall(Result<(Recalled, u64)>),
}

/// Handle on the lake's thread. One request is under way at a time; requests are answered in order.
#[derive(Debug)]
pub struct Writer {
    requests: Option<SyncSender<Request>>,
    replies: Receiver<Reply>,
    thread: Option<JoinHandle<()>>,
    in_flight: bool,
    /// A request is with the lake's thread. For tests, whose clock stands still meanwhile.
    busy: Arc<AtomicBool>,
}

impl Writer {
    pub fn spawn(lake: impl Lake + 'static) -> Result<Self> {
        // One place each: at most one batch waits while one is written, which bounds memory at two batches.
        let (requests, inbox) = sync_channel(1);
        let (outbox, replies) = sync_channel(1);
        let busy = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("foodstream-lake".to_owned())
            .spawn({
                let busy = Arc::clone(&busy);
                move || serve(lake, &inbox, &outbox, &busy)
            })
            .map_err(|error| Error::bug("no thread for the lake's writer").because(error))?;
        Ok(Writer { requests: Some(requests), replies, thread: Some(thread), in_flight: false, busy })
    }

    /// The log's head, re-read. Only while nothing is in flight.
    pub fn head(&mut self) -> Result<Option<Head>> {
        self.ask_head(Request::Head)
    }

    /// Commit 0, or the head of whoever founded the lake first.
    pub fn found(&mut self, topic: &str, topic_id: &str, starts: Vec<PartitionOffset>) -> Result<Head> {
        let request = Request::Found { topic: topic.to_owned(), topic_id: topic_id.to_owned(), starts };
        self.ask_head(request)?.ok_or_else(|| Error::bug("the lake was founded and has no head"))
    }

    /// Makes ranges durable before somebody acts on their rows; see [`Lake::plan`].
    pub fn plan(&mut self, ranges: Vec<OffsetRange>) -> Result<Planned> {
        match self.ask(Request::Plan(ranges))? {
            Reply::Planned(planned) => planned,
            _ => Err(another_answer()),
        }
    }

    /// The plans that start at the log's positions, whoever wrote them.
    pub fn plans(&mut self) -> Result<Vec<Plan>> {
        match self.ask(Request::Plans)? {
            Reply::Plans(plans) => plans,
            _ => Err(another_answer()),
        }
    }

    /// Fills `vessel` with accepted values, and says up to which commit. Only while nothing is in flight.
    pub fn recall(&mut self, wanted: RecentValues, vessel: Recalled) -> Result<(Recalled, u64)> {
        match self.ask(Request::Recall(wanted, vessel))? {
            Reply::Recall(recalled) => recalled,
            _ => Err(another_answer()),
        }
    }

    /// Hands a batch over; its outcome is to be taken before the next is handed over.
    pub fn submit(&mut self, batch: MicroBatch) -> Result<()> {
        debug_assert!(!self.in_flight, "one batch at a time");
        self.send(Request::Commit(Box::new(batch)))?;
        self.in_flight = true;
        Ok(())
    }

    pub fn in_flight(&self) -> bool {
        self.in_flight
    }

    /// The outcome of the submitted batch, if it is there already.
    pub fn try_outcome(&mut self) -> Result<Option<Outcome>> {
        if !self.in_flight {
            return Ok(None);
        }
        match self.replies.try_recv() {
            Ok(reply) => self.finish(reply).map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(gone()),
        }
    }

    /// Waits for the outcome of the submitted batch, if one is in flight.
    pub fn outcome(&mut self) -> Result<Option<Outcome>> {
        if !self.in_flight {
            return Ok(None);
        }
        let reply = self.replies.recv().map_err(|_| gone())?;
        self.finish(reply).map(Some)
    }

    fn finish(&mut self, reply: Reply) -> Result<Outcome> {
        self.in_flight = false;
        match reply {
            Reply::Commit(outcome) => outcome,
            _ => Err(another_answer()),
        }
    }

    fn ask_head(&mut self, request: Request) -> Result<Option<Head>> {
        match self.ask(request)? {
            Reply::Head(head) => head,
            _ => Err(another_answer()),
        }
    }

    fn ask(&mut self, request: Request) -> Result<Reply> {
        debug_assert!(!self.in_flight, "questions are asked between batches");
        self.send(request)?;
        self.replies.recv().map_err(|_| gone())
    }

    #[cfg(test)]
    pub fn busy(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.busy)
    }

    fn send(&self, request: Request) -> Result<()> {
        self.busy.store(true, Ordering::Release);
        self.requests.as_ref().ok_or_else(gone)?.send(request).map_err(|_| gone())
    }
}

impl Drop for Writer {
    /// Waits for what is under way, so that a stop never leaves a half-made commit to the next start's recovery.
    fn drop(&mut self) {
        self.requests = None;
        while self.replies.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn gone() -> Error {
    Error::bug("the lake's writer ended early")
}

fn another_answer() -> Error {
    Error::bug("the lake's writer answered another question")
}

fn serve(mut lake: impl Lake, inbox: &Receiver<Request>, outbox: &SyncSender<Reply>, busy: &AtomicBool) {
    let mut head = None;
    while let Ok(request) = inbox.recv() {
        let reply = match request {
            Request::Head => Reply::Head(lake.head().inspect(|now| head.clone_from(now))),
            Request::Found { topic, topic_id, starts } => {
                Reply::Head(lake.found(&topic, &topic_id, &starts).map(|now| head.insert(now).clone()).map(Some))
            }
            Request::Plan(ranges) => Reply::Planned(lake.plan(&ranges)),
            Request::Plans => Reply::Plans(lake.plans()),
            Request::Commit(batch) => Reply::Commit(commit(&mut lake, &mut head, *batch)),
            Request::Recall(wanted, mut vessel) => {
                let seen = lake.recent_values(&wanted, &mut |number, values| vessel.see(number, values));
                Reply::Recall(seen.map(|through| (vessel, through)))
            }
        };
        let sent = outbox.send(reply);
        busy.store(false, Ordering::Release);
        if sent.is_err() {
            return;
        }
    }
}

/// Stages once and commits against the newest head for as long as nobody else moved our partitions (L6).
fn commit(lake: &mut impl Lake, head: &mut Option<Head>, batch: MicroBatch) -> Result<Outcome> {
    let begun = SystemClock.instant();
    let staged = lake.stage(batch)?;
    let staged_at = SystemClock.instant();
    loop {
        let against = match head.take() {
            Some(known) => known,
            None => lake.head()?.ok_or_else(|| Error::bug("a batch came before the lake was founded"))?,
        };
        match lake.commit(&staged, &against)? {
            Committed::Done(now) => {
                *head = Some(now.clone());
                let commit_time = SystemClock.instant().duration_since(staged_at);
                let stage_time = staged_at.duration_since(begun);
                return Ok(Outcome::Done(Box::new(Done { head: now, staged, stage_time, commit_time })));
            }
            Committed::Lost(now) => {
                *head = Some(now.clone());
                if !continues(&now, &staged) {
                    lake.discard(staged)?;
                    return Ok(Outcome::Lost(now));
                }
            }
        }
    }
}

/// The batch's ranges still begin where the log ends.
fn continues(head: &Head, staged: &Staged) -> bool {
    staged.ranges.iter().all(|range| head.positions.get(&range.partition).is_none_or(|&at| at == range.from))
}
