//! What was handed to the publisher's thread and is not known to be done yet: rows on their way into the send queue,
//! and a transaction being committed while the next page is read.

use crate::error::Result;
use crate::model::ChangeBatch;
use crate::publish::{CommitInfo, Start};

use super::Open;
use super::sender::{CommitReceipt, Receipt, Sender};

/// At most one page and one commit are under way. After an error nothing is known but by [`Outbox::recover`].
#[derive(Debug)]
pub(super) struct Outbox {
    sender: Sender,
    sending: Option<Receipt>,
    committing: Option<(Open, CommitReceipt)>,
    spare: Vec<ChangeBatch>,
}

impl Outbox {
    pub fn new(sender: Sender) -> Self {
        Outbox { sender, sending: None, committing: None, spare: Vec::new() }
    }

    /// An empty batch with the memory of an earlier one.
    pub fn buffer(&mut self) -> ChangeBatch {
        let mut batch = self.spare.pop().unwrap_or_default();
        batch.clear();
        batch
    }

    pub fn give_back(&mut self, batch: ChangeBatch) {
        self.spare.push(batch);
    }

    /// Hands rows on, after those of the page before are in the send queue.
    pub async fn append(&mut self, batch: ChangeBatch) -> Result<()> {
        self.sent().await?;
        self.sending = Some(self.sender.append(batch).await?);
        Ok(())
    }

    /// Asks for the commit of what was appended; [`Outbox::settle`] tells what became of it, and must have been asked
    /// about the one before.
    pub async fn begin_commit(&mut self, open: Open) -> Result<()> {
        debug_assert!(self.committing.is_none(), "one commit at a time");
        let receipt = self.sender.commit(open.horizon_us, open.snapshot_xmin).await?;
        self.committing = Some((open, receipt));
        Ok(())
    }

    /// Waits for all that is under way; the transaction that is now committed, if there was one.
    pub async fn settle(&mut self) -> Result<Option<(Open, CommitInfo)>> {
        let committing = self.committing.take();
        // Before the commit: if rows were not taken, that is why.
        self.sent().await?;
        let Some((open, receipt)) = committing else { return Ok(None) };
        Ok(Some((open, receipt.outcome().await?)))
    }

    pub fn committing_rows(&self) -> u64 {
        self.committing.as_ref().map_or(0, |(open, _)| open.rows)
    }

    /// A new producer instance that fences the old one, and the position that was really published.
    pub async fn recover(&mut self) -> Result<Start> {
        self.forget();
        self.sender.recover().await
    }

    pub async fn abort(&mut self) -> Result<()> {
        self.forget();
        self.sender.abort().await
    }

    fn forget(&mut self) {
        self.sending = None;
        self.committing = None;
    }

    async fn sent(&mut self) -> Result<()> {
        let Some(receipt) = self.sending.take() else { return Ok(()) };
        let (batch, sent) = receipt.buffer().await?;
        self.spare.push(batch);
        sent
    }
}
