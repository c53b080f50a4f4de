//! One partition: records and control records by offset, and which of them a `read_committed` reader may see.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Number of a transaction, unique in its broker.
pub(super) type TransactionId = u64;

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Entry {
    Record {
        record: Record,
        transaction: Option<TransactionId>,
    },
    /// Ends a transaction; takes an offset and is never handed out.
    Control,
}

/// A partition. Offsets are dense here; a reader sees gaps where control and aborted records lie.
#[derive(Debug, Default)]
pub(super) struct Log {
    earliest: i64,
    entries: VecDeque<Entry>,
    /// First offset of each transaction that is neither committed nor aborted.
    open: BTreeMap<TransactionId, i64>,
    aborted: BTreeSet<TransactionId>,
}

impl Log {
    pub fn earliest(&self) -> i64 {
        self.earliest
    }

    /// The next offset to be written: what READ_UNCOMMITTED calls the end.
    pub fn end(&self) -> i64 {
        self.earliest + self.entries.len() as i64
    }

    /// Where a `read_committed` reader has to stop: the first record of the oldest open transaction.
    pub fn last_stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or_else(|| self.end())
    }

    pub fn append(&mut self, record: Record, transaction: Option<TransactionId>) {
        if let Some(id) = transaction {
            let offset = self.end();
            self.open.entry(id).or_insert(offset);
        }
        self.entries.push_back(Entry::Record { record, transaction });
    }

    /// Writes the control record of a transaction that has records here.
    pub fn end_transaction(&mut self, id: TransactionId, committed: bool) {
        if self.open.remove(&id).is_none() {
            return;
        }
        if !committed {
            self.aborted.insert(id);
        }
        self.entries.push_back(Entry::Control);
    }

    /// Deletes everything before `offset`, as retention or a delete-records request does.
    pub fn delete_before(&mut self, offset: i64) {
        let offset = offset.min(self.end());
        while self.earliest < offset {
            self.entries.pop_front();
            self.earliest += 1;
        }
    }

    /// The first committed record at or after `from`, below the last stable offset.
    pub fn next_committed(&self, from: i64) -> Option<(i64, &Record)> {
        self.next(from.max(self.earliest), self.last_stable())
    }

    fn next(&self, from: i64, until: i64) -> Option<(i64, &Record)> {
        (from..until).find_map(|offset| match &self.entries[(offset - self.earliest) as usize] {
            Entry::Record { record, transaction } if transaction.is_none_or(|id| !self.aborted.contains(&id)) => {
                Some((offset, record))
            }
            _ => None,
        })
    }

    /// The first record of any kind at or after a time; the end where there is none.
    pub fn offset_at(&self, timestamp_ms: i64) -> i64 {
        let reached =
            |entry: &Entry| matches!(entry, Entry::Record { record, .. } if record.timestamp_ms >= timestamp_ms);
        let index = self.entries.iter().position(reached).unwrap_or(self.entries.len());
        self.earliest + index as i64
    }
}
