//! The files that the log names, held against those that lie there: a log that lost its newest records has nothing
//! after the loss that would show it, but the files of those records are still there.
//!
//! A record is linked before its files get their final names, so a file under a root that no record names was
//! committed by a record that is gone (or was put there by hand). A consumer that went on from the older positions
//! would write its rows a second time. To see this without a look at every record or footer, the state carries
//! number and sum of all names it has seen, and a snapshot keeps them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::commit_log::Log;
use super::durable::Dir;
use super::identity;
use super::layout::Survey;
use super::record::Record;
use super::state::State;
use crate::error::{Error, Kind, Result};
use crate::model::OffsetRange;

/// How many files, and the sum of their names' hashes, in whatever order they were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inventory {
    files: u64,
    names: u64,
}

impl Inventory {
    pub fn add_record(&mut self, record: &Record) {
        each_name(record, |quarantine, name| self.add(quarantine, name));
    }

    fn add(&mut self, quarantine: bool, name: &str) {
        self.files += 1;
        self.names = self.names.wrapping_add(hash(quarantine, name));
    }
}

/// FNV-1a: it is kept in snapshots, so it must stay the same for ever, and a name that somebody chose for its hash is
/// nothing to guard against. The root comes first, since a batch's files in both bear like names.
fn hash(quarantine: bool, name: &str) -> u64 {
    const START: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    std::iter::once(u8::from(quarantine))
        .chain(name.bytes())
        .fold(START, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

fn each_name<'a>(record: &'a Record, mut see: impl FnMut(bool, &'a str)) {
    record.files.iter().for_each(|file| see(false, &file.name));
    record.quarantine.iter().for_each(|file| see(true, &file.name));
}

/// Refuses a lake with files that hold offsets beyond the log's end. Roots: lake, then quarantine; their listings must
/// have been made before the log was read, so that whatever others commit meanwhile is in the log already.
pub(crate) fn refuse_files_beyond(log: &Log, state: &State, roots: [(&Dir, &Survey); 2]) -> Result<()> {
    let mut there = Inventory::default();
    for ((_, survey), quarantine) in roots.iter().zip([false, true]) {
        survey.files.iter().for_each(|name| there.add(quarantine, name));
    }
    // Only the last record's renames may be unfinished: nobody commits before those of the one before are done.
    each_name(&state.last, |quarantine, name| {
        let listed = &roots[usize::from(quarantine)].1.files;
        if listed.binary_search_by(|file| file.as_str().cmp(name)).is_err() {
            there.add(quarantine, name);
        }
    });
    if there == state.inventory {
        return Ok(());
    }
    judge_unnamed(log, state, roots)
}

/// The long way: names are compared one by one, and the footers of files that no record names tell where they belong.
fn judge_unnamed(log: &Log, state: &State, roots: [(&Dir, &Survey); 2]) -> Result<()> {
    let names = |survey: &'_ Survey| survey.files.iter().cloned().collect::<BTreeSet<String>>();
    let mut unnamed = roots.map(|(_, survey)| names(survey));
    for number in log.numbers()?.into_iter().rev() {
        if unnamed.iter().all(BTreeSet::is_empty) {
            return Ok(());
        }
        let Some((record, _)) = log.read(number)? else { continue };
        each_name(&record, |quarantine, name| {
            unnamed[usize::from(quarantine)].remove(name);
        });
    }
    for ((root, _), names) in roots.into_iter().zip(&unnamed) {
        for name in names {
            let Some(footer) = identity::footer_of_lake(root, name, &state.lake)? else { continue };
            let path = root.join(name);
            let known = |partition| state.head.positions.get(&partition).copied();
            let beyond = |range: &&OffsetRange| {
                range.from < range.to && known(range.partition).is_none_or(|position| range.to > position)
            };
            if let Some(range) = footer.ranges.iter().find(beyond) {
                let end = known(range.partition).map_or("does not know".to_owned(), |end| format!("ends at {end} of"));
                return Err(Error::new(
                    Kind::Lake,
                    format!(
                        "{} holds offsets {} to {} of partition {}, but the commit log {} {end} that partition: its \
                         records after {} are gone, and going on would write their rows a second time; stop all \
                         consumers and run `foodstream lake rebuild-log`, which makes the log anew from the files (an \
                         older copy of it lacks them as well)",
                        path.display(),
                        range.from,
                        range.to,
                        range.partition,
                        log.commits().path().display(),
                        state.head.number,
                    ),
                ));
            }
            tracing::warn!(
                target: "foodstream::lake", file = %path.display(),
                "no record of the commit log names this file; `foodstream verify` lists all such files"
            );
        }
    }
    Ok(())
}
