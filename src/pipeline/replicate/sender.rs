//! The thread that owns the publisher: librdkafka blocks, the capture side does not.

use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::broker::Cluster;
use crate::error::{Error, Result};
use crate::model::ChangeBatch;
use crate::publish::{CommitInfo, ProducerFactory, Publisher, Start};

enum Request {
    Append(ChangeBatch, oneshot::Sender<(ChangeBatch, Result<()>)>),
    Commit { horizon_us: i64, snapshot_xmin: u64, reply: oneshot::Sender<Result<CommitInfo>> },
    Recover(oneshot::Sender<Result<Start>>),
    Abort(oneshot::Sender<Result<()>>),
}

/// Handle on the publisher's thread; requests are carried out in order.
#[derive(Debug)]
pub struct Sender {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    pub fn spawn<F, C>(publisher: Publisher<F, C>) -> Result<Self>
    where
        F: ProducerFactory + 'static,
        C: Cluster + 'static,
    {
        // One waiting page beside the one being sent: enough to keep both sides busy.
        let (requests, inbox) = mpsc::channel(1);
        let thread = std::thread::Builder::new()
            .name("foodstream-publish".to_owned())
            .spawn(move || serve(publisher, inbox))
            .map_err(|error| Error::bug("no thread for the publisher").because(error))?;
        Ok(Sender { requests: Some(requests), thread: Some(thread) })
    }

    /// Hands rows over and returns at once with a receipt that gives the buffer back.
    pub async fn append(&self, rows: ChangeBatch) -> Result<Receipt> {
        let (reply, receipt) = oneshot::channel();
        self.send(Request::Append(rows, reply)).await?;
        Ok(Receipt(receipt))
    }

    /// Asks for the commit of what was appended and returns at once.
    pub async fn commit(&self, horizon_us: i64, snapshot_xmin: u64) -> Result<CommitReceipt> {
        let (reply, receipt) = oneshot::channel();
        self.send(Request::Commit { horizon_us, snapshot_xmin, reply }).await?;
        Ok(CommitReceipt(receipt))
    }

    /// A new producer instance that fences the old one, and the position that was really published.
    pub async fn recover(&self) -> Result<Start> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Recover(reply)).await?;
        answer.await.map_err(|_| gone())?
    }

    pub async fn abort(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Abort(reply)).await?;
        answer.await.map_err(|_| gone())?
    }

    async fn send(&self, request: Request) -> Result<()> {
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(request).await.map_err(|_| gone())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Rows on their way into the send queue.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<(ChangeBatch, Result<()>)>);

impl Receipt {
    /// Waits until the rows are in the send queue; the buffer comes back in any case.
    pub async fn buffer(self) -> Result<(ChangeBatch, Result<()>)> {
        self.0.await.map_err(|_| gone())
    }
}

/// A commit under way.
#[derive(Debug)]
pub struct CommitReceipt(oneshot::Receiver<Result<CommitInfo>>);

impl CommitReceipt {
    pub async fn outcome(self) -> Result<CommitInfo> {
        self.0.await.map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::bug("the publisher's thread ended early")
}

fn serve<F: ProducerFactory, C: Cluster>(mut publisher: Publisher<F, C>, mut inbox: mpsc::Receiver<Request>) {
    while let Some(request) = inbox.blocking_recv() {
        // A receiver that went away was cancelled; what was asked for is done all the same.
        match request {
            Request::Append(rows, reply) => {
                let result = publisher.append(&rows);
                let _ = reply.send((rows, result));
            }
            Request::Commit { horizon_us, snapshot_xmin, reply } => {
                let _ = reply.send(publisher.commit(horizon_us, snapshot_xmin));
            }
            Request::Recover(reply) => {
                let _ = reply.send(publisher.recover());
            }
            Request::Abort(reply) => {
                publisher.abort();
                let _ = reply.send(Ok(()));
            }
        }
    }
}
