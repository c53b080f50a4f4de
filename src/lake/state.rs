//! What the log says up to one record: the fold that a head, a snapshot and the next record are made from.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Head;
use super::inventory::Inventory;
use super::record::{Pin, Record, Running, VERSION};
use crate::error::{Error, Kind, Result};
use crate::model::{Counts, Group, OffsetRange, PartitionOffset, Period, Totals, Values, decimal};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub head: Head,
    pub lake: String,
    pub pin: Pin,
    /// Sums over all groups.
    pub sums: BTreeMap<String, String>,
    /// All files that the records up to here name.
    pub inventory: Inventory,
    /// The record of the head: the one whose renames may be unfinished.
    pub last: Record,
}

/// A state on disk. Losing one costs time, since the records say the same.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshot {
    pub version: u32,
    pub number: u64,
    /// Hash of record `number`.
    pub hash: String,
    pub lake: String,
    pub topic: String,
    pub topic_id: String,
    pub pin: Pin,
    pub positions: Vec<PartitionOffset>,
    pub running: Running,
    pub totals: Totals,
    pub inventory: Inventory,
}

impl State {
    /// The state after commit 0.
    pub fn founded(record: Record, hash: String, path: &Path) -> Result<State> {
        let Some(pin) = record.founding.clone() else { return Err(broken(path, "it founds no lake")) };
        if record.number != 0 || record.previous.is_some() {
            return Err(broken(path, "it is not the first record"));
        }
        let head = Head {
            number: 0,
            hash,
            positions: record.ranges.iter().map(|range| (range.partition, range.to)).collect(),
            topic: record.topic.clone(),
            topic_id: record.topic_id.clone(),
            counts: Counts::default(),
            totals: Totals::default(),
        };
        let lake = record.lake.clone();
        let inventory = Inventory::default();
        Ok(State { head, lake, pin, sums: BTreeMap::new(), inventory, last: record })
    }

    /// The state a snapshot kept, with the record it ends at.
    pub fn restored(snapshot: Snapshot, last: Record) -> State {
        let head = Head {
            number: snapshot.number,
            hash: snapshot.hash,
            positions: snapshot.positions.iter().map(|position| (position.partition, position.offset)).collect(),
            topic: snapshot.topic,
            topic_id: snapshot.topic_id,
            counts: snapshot.running.counts,
            totals: snapshot.totals,
        };
        let Snapshot { lake, pin, running, inventory, .. } = snapshot;
        State { head, lake, pin, sums: running.sums, inventory, last }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: VERSION,
            number: self.head.number,
            hash: self.head.hash.clone(),
            lake: self.lake.clone(),
            topic: self.head.topic.clone(),
            topic_id: self.head.topic_id.clone(),
            pin: self.pin.clone(),
            positions: self.head.positions(),
            running: Running { counts: self.head.counts, sums: self.sums.clone() },
            totals: self.head.totals.clone(),
            inventory: self.inventory,
        }
    }

    /// Goes on by the next record, or names what does not follow.
    pub fn apply(&mut self, record: Record, hash: String, path: &Path) -> Result<()> {
        if record.number != self.head.number + 1 || record.previous.as_deref() != Some(self.head.hash.as_str()) {
            return Err(broken(path, "it does not carry the hash of the record before it"));
        }
        if record.lake != self.lake || record.topic_id != self.head.topic_id {
            return Err(broken(path, "it belongs to another lake or topic"));
        }
        if !continues(&self.head, &record.ranges) {
            return Err(broken(path, "its offset ranges do not start where the record before it ends"));
        }
        let counts = add_counts(self.head.counts, record.counts);
        if counts != record.running.counts || record.counts.input != record.counts.accepted + record.counts.rejected {
            return Err(broken(path, "its counts do not add up"));
        }
        if self.rows_gained(&record.totals) != Some(record.counts.accepted) {
            return Err(broken(path, "its totals do not count the rows it accepted"));
        }
        self.head.number = record.number;
        self.head.hash = hash;
        self.head.counts = counts;
        self.head.positions.extend(record.ranges.iter().map(|range| (range.partition, range.to)));
        self.head.totals.replace(&record.totals);
        self.sums = record.running.sums.clone();
        self.inventory.add_record(&record);
        self.last = record;
        Ok(())
    }

    /// Rows that whole groups of the next record have beyond ours; `None` where one has fewer.
    fn rows_gained(&self, touched: &Totals) -> Option<u64> {
        let gain = |(period, values, group): (Period, &Values, &Group)| {
            let before = self.head.totals.get(period, values).map_or(0, |before| before.rows);
            group.rows.checked_sub(before)
        };
        touched.iter().map(gain).sum()
    }

    /// Counts and totals that a commit of these leaves: (touched groups, running).
    ///
    /// # Errors
    /// `Config`: a period would have more groups than `max_groups`.
    pub fn after(&self, counts: Counts, part: &Totals, max_groups: u32) -> Result<(Totals, Running)> {
        let touched = self.head.totals.after(part)?;
        let mut groups: BTreeMap<Period, usize> = BTreeMap::new();
        for (period, values, _) in touched.iter() {
            let of_period = groups.entry(period).or_insert_with(|| self.head.totals.groups_of(period));
            *of_period += usize::from(self.head.totals.get(period, values).is_none());
        }
        if let Some((&period, _)) = groups.iter().find(|&(_, &groups)| groups > max_groups as usize) {
            return Err(self.pin.aggregate.too_many_groups(period, max_groups as usize));
        }
        let mut sums = self.sums.clone();
        for (column, sum) in part.sums()? {
            let before = sums.get(&column).map_or("0", String::as_str);
            let whole = decimal::add(before, &sum);
            let whole = whole.ok_or_else(|| Error::bug(format!("the sum of `{column}` cannot take `{sum}`")))?;
            sums.insert(column, whole);
        }
        Ok((touched, Running { counts: add_counts(self.head.counts, counts), sums }))
    }
}

/// Whether every range starts at the head's position; a partition the head does not know starts anywhere.
pub(crate) fn continues(head: &Head, ranges: &[OffsetRange]) -> bool {
    ranges.iter().all(|range| head.positions.get(&range.partition).is_none_or(|&position| position == range.from))
}

fn add_counts(left: Counts, right: Counts) -> Counts {
    Counts {
        input: left.input + right.input,
        accepted: left.accepted + right.accepted,
        rejected: left.rejected + right.rejected,
    }
}

fn broken(path: &Path, what: &str) -> Error {
    Error::new(
        Kind::Lake,
        format!(
            "{} breaks the commit log: {what}; restore this very record from a backup, or stop all consumers and run \
             `foodstream lake rebuild-log`",
            path.display()
        ),
    )
}
