//! A lake without a table: the topic's messages against lake and quarantine, by counts and offsets.
//!
//! Guarantees: what is called a fault is one whatever else runs (files are read as of one state of the log, and only
//! offsets before its positions are counted). Content is not compared: nothing but the messages says what it was.

use std::collections::{BTreeMap, HashMap};

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};

use super::checks::plural;
use super::facts::Offenders;
use super::read_lake::LakePicture;
use super::report::Status;
use crate::broker::Bounds;
use crate::error::{Error, Kind, Result};
use crate::lake::read::{LakeReader, ReadOptions};
use crate::model::Counts;

/// What the log says was consumed.
#[derive(Clone, Debug, Default)]
pub(super) struct Consumed {
    pub counts: Counts,
    /// Partition to (first, next) offset, of what the topic may still have.
    pub ranges: BTreeMap<i32, (i64, i64)>,
    /// The topic has lost nothing of it yet.
    pub whole: bool,
    positions: BTreeMap<i32, i64>,
    starts: HashMap<i32, i64>,
}

/// What the files hold, read and not taken from the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub lake_rows: u64,
    /// Partition and offset of each quarantined message.
    pub quarantined: Vec<(i32, i64)>,
}

/// `None` before the first commit, and for a log with a fault, whose numbers mean nothing.
pub(super) fn consumed(picture: &LakePicture, bounds: &[Bounds]) -> Option<Consumed> {
    let head = picture.report.log.head.as_ref()?;
    let mut consumed = Consumed {
        counts: head.counts,
        whole: true,
        positions: head.positions.clone(),
        starts: picture.starts.clone(),
        ..Consumed::default()
    };
    for (&partition, &position) in &head.positions {
        // A partition added after the first commit is read from its beginning.
        let start = picture.starts.get(&partition).copied().unwrap_or(0);
        let earliest = bounds.iter().find(|bound| bound.partition == partition).map(|bound| bound.earliest);
        consumed.whole &= earliest.is_some_and(|earliest| earliest <= start) || start == position;
        if let Some(earliest) = earliest {
            consumed.ranges.insert(partition, (start.max(earliest).min(position), position));
        }
    }
    Some(consumed)
}

/// Reads one column of every file, so that a file that lies is found out.
pub(super) fn held(picture: &LakePicture) -> Result<Held> {
    let mut held = Held::default();
    each_batch(&picture.lake, None, |batch| {
        held.lake_rows += batch.num_rows() as u64;
        Ok(())
    })?;
    let columns = ["partition", "offset"].map(str::to_owned).to_vec();
    each_batch(&picture.quarantine, Some(columns), |batch| {
        let foreign = || Error::new(Kind::Schema, "the quarantine has no column `partition` or `offset`");
        let partitions = batch.column_by_name("partition").and_then(|array| array.as_primitive_opt::<Int32Type>());
        let offsets = batch.column_by_name("offset").and_then(|array| array.as_primitive_opt::<Int64Type>());
        let (partitions, offsets) = partitions.zip(offsets).ok_or_else(foreign)?;
        held.quarantined.extend(partitions.values().iter().copied().zip(offsets.values().iter().copied()));
        Ok(())
    })?;
    Ok(held)
}

fn each_batch(
    reader: &LakeReader,
    columns: Option<Vec<String>>,
    mut each: impl FnMut(&arrow::array::RecordBatch) -> Result<()>,
) -> Result<()> {
    let columns = match columns {
        Some(columns) => Some(columns),
        None => reader
            .schema(&ReadOptions::default())?
            .and_then(|schema| Some(vec![schema.fields().first()?.name().clone()])),
    };
    for batch in reader.batches(ReadOptions { columns, ..ReadOptions::default() }) {
        each(&batch?)?;
    }
    Ok(())
}

/// Findings about the lake. `messages`: records that the topic has of what was consumed, where it has all of them.
pub(super) fn judge(consumed: &Consumed, held: Result<Held>, messages: Option<u64>) -> Vec<(Status, String)> {
    let mut findings = Vec::new();
    let Counts { input, accepted, rejected } = consumed.counts;
    match held {
        Ok(held) => {
            let rows = held.lake_rows;
            if rows != accepted {
                findings.push((Status::Fault, format!("the lake's files hold {rows} rows, the log says {accepted}")));
            }
            let rows = held.quarantined.len() as u64;
            if rows != rejected {
                let text = format!("the quarantine's files hold {rows} rows, the log says {rejected}");
                findings.push((Status::Fault, text));
            }
            offsets(consumed, held.quarantined, &mut findings);
        }
        // Rows that cannot be read are lost until the file is restored.
        Err(error) => findings.push((Status::Fault, error.report())),
    }
    let consumed = plural(input, "message", "messages");
    findings.push(match messages {
        Some(messages) if messages > input => (
            Status::Fault,
            format!("{} of the topic were passed over: {consumed} consumed of {messages}", messages - input),
        ),
        // Compaction, or deleted records: the topic cannot say any more what was there.
        Some(messages) if messages < input => {
            (Status::Unproven, format!("{consumed} consumed, and the topic has {messages} of them: it was compacted?"))
        }
        Some(_) => {
            (Status::Ok, format!("Compared by count: {consumed} consumed, as many as the topic has up to there"))
        }
        None => (Status::Ok, format!("{consumed} consumed; the topic does not have all of them any more to compare")),
    });
    findings
}

/// Quarantined messages say where they come from: each offset once, and none that was not consumed.
fn offsets(consumed: &Consumed, mut quarantined: Vec<(i32, i64)>, findings: &mut Vec<(Status, String)>) {
    let name = |(partition, offset): &(i32, i64)| format!("{partition}:{offset}");
    quarantined.sort_unstable();
    let (mut twice, mut strange) = (Offenders::default(), Offenders::default());
    for pair in quarantined.windows(2).filter(|pair| pair[0] == pair[1]) {
        twice.push_name(|| name(&pair[0]));
    }
    for at in &quarantined {
        let start = consumed.starts.get(&at.0).copied().unwrap_or(0);
        let position = consumed.positions.get(&at.0).copied().unwrap_or(0);
        if !(start..position).contains(&at.1) {
            strange.push_name(|| name(at));
        }
    }
    for (offenders, what) in [(twice, "more than once"), (strange, "of offsets that were never consumed")] {
        if !offenders.is_empty() {
            let count = plural(offenders.count, "message", "messages");
            let more = if offenders.count > offenders.keys.len() as u64 { ", …" } else { "" };
            let text = format!("{count} in quarantine {what} (partition:offset): {}{more}", offenders.keys.join(", "));
            findings.push((Status::Fault, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty consumed of two partitions, the first begun at offset 5; two of them rejected.
    fn consumed() -> Consumed {
        Consumed {
            counts: Counts { input: 20, accepted: 18, rejected: 2 },
            whole: true,
            positions: BTreeMap::from([(0, 15), (1, 10)]),
            starts: HashMap::from([(0, 5), (1, 0)]),
            ..Consumed::default()
        }
    }

    fn held() -> Held {
        Held { lake_rows: 18, quarantined: vec![(1, 9), (0, 5)] }
    }

    /// The worst finding.
    fn verdict(held: Result<Held>, messages: Option<u64>) -> (Status, String) {
        judge(&consumed(), held, messages).into_iter().max_by_key(|finding| finding.0).unwrap()
    }

    #[test]
    fn as_many_messages_as_rows_are_no_finding() {
        assert_eq!(judge(&consumed(), Ok(held()), Some(20)).len(), 1);
        assert_eq!(verdict(Ok(held()), Some(20)).0, Status::Ok);
        let (status, text) = verdict(Ok(held()), None);
        assert_eq!(status, Status::Ok);
        assert!(text.contains("does not have all of them any more"), "{text}");
    }

    #[test]
    fn a_message_passed_over_is_a_fault_and_one_that_kafka_lost_is_unproven() {
        let (status, text) = verdict(Ok(held()), Some(21));
        assert_eq!(status, Status::Fault);
        assert!(text.starts_with("1 of the topic were passed over"), "{text}");
        assert_eq!(verdict(Ok(held()), Some(19)).0, Status::Unproven);
    }

    #[test]
    fn rows_that_the_files_lack_or_have_beyond_the_log_are_faults() {
        for lake_rows in [17, 19] {
            assert_eq!(verdict(Ok(Held { lake_rows, ..held() }), Some(20)).0, Status::Fault);
        }
        assert_eq!(verdict(Ok(Held { quarantined: vec![(1, 9)], ..held() }), Some(20)).0, Status::Fault);
        assert_eq!(verdict(Err(Error::new(Kind::Lake, "damaged")), Some(20)), (Status::Fault, "damaged".to_owned()));
    }

    #[test]
    fn a_quarantined_offset_comes_once_and_from_what_was_consumed() {
        let twice = verdict(Ok(Held { quarantined: vec![(1, 9), (1, 9)], ..held() }), Some(20));
        assert!(twice.0 == Status::Fault && twice.1.contains("more than once (partition:offset): 1:9"), "{twice:?}");
        for strange in [(0, 4), (0, 15), (2, 0)] {
            let verdict = verdict(Ok(Held { quarantined: vec![(1, 9), strange], ..held() }), Some(20));
            assert!(verdict.0 == Status::Fault && verdict.1.contains("never consumed"), "{strange:?}: {verdict:?}");
        }
    }
}
