//! Which lake this is: the pin, its copy in `metadata`, and the refusal of a lake that lost its log.
//!
//! Commit 0 founds the lake and is the truth; `<checkpoint>/metadata` repeats it for people and tells a log that
//! was lost from one that was never begun.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::commit_log::{Log, TEMPORARY};
use super::durable::{self, Dir};
use super::layout::{self, METADATA, Survey};
use super::parquet::{self, Footer};
use super::record::{self, Pin, VERSION};
use super::state::State;
use crate::error::{Error, Kind, Result};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    version: u32,
    lake: String,
    topic: String,
    topic_id: String,
    written_at: DateTime<Utc>,
    pin: Pin,
}

/// Compares `metadata` with the log it should repeat, and writes it when it is missing.
pub(crate) fn keep_metadata(log: &Log, state: &State, writer: &str, now: DateTime<Utc>) -> Result<()> {
    let checkpoint = log.checkpoint();
    if let Some(bytes) = checkpoint.read(METADATA)? {
        let path = checkpoint.join(METADATA);
        let metadata: Metadata = record::unseal(&bytes, &path)?;
        if metadata.lake != state.lake || metadata.pin != state.pin {
            return Err(Error::new(
                Kind::Lake,
                format!(
                    "{} tells of lake {}, the commit log beside it of lake {}; one of them came from elsewhere, so \
                     restore the right one, or run `foodstream lake rebuild-log`",
                    path.display(),
                    metadata.lake,
                    state.lake
                ),
            ));
        }
        return Ok(());
    }
    let metadata = Metadata {
        version: VERSION,
        lake: state.lake.clone(),
        topic: state.head.topic.clone(),
        topic_id: state.head.topic_id.clone(),
        written_at: now,
        pin: state.pin.clone(),
    };
    let bytes = record::seal(&metadata)?;
    let temporary = format!("{TEMPORARY}{writer}");
    // A worker that founded or opened at the same time wrote the same.
    durable::put_if_absent(log.commits(), &temporary, checkpoint, METADATA, &bytes, durable::SIDE_FILE).map(drop)
}

/// A log without records is a new one only beside empty roots. Going on would read the topic from its start and
/// write every row a second time.
pub(crate) fn refuse_lost_log(log: &Log, roots: [(&Dir, &Survey); 2]) -> Result<()> {
    let sign = roots
        .into_iter()
        .find_map(|(root, survey)| survey.files.first().map(|file| root.join(file)))
        .or(log.checkpoint().has(METADATA)?.then(|| log.checkpoint().join(METADATA)));
    match sign {
        None => Ok(()),
        Some(path) => Err(Error::new(
            Kind::Lake,
            format!(
                "the commit log {} is empty, but {} shows that the lake is not; stop all consumers and \
                 run `foodstream lake rebuild-log`, which writes one from the files",
                log.commits().path().display(),
                path.display()
            ),
        )),
    }
}

/// Refuses a root whose files another lake wrote. The first and the last file are looked at, by name: files that
/// lie between were written by the same log, and `verify` reads them all.
pub(crate) fn refuse_foreign_lake(root: &Dir, survey: &Survey, lake: &str) -> Result<()> {
    for name in survey.files.first().into_iter().chain(survey.files.last()) {
        footer_of_lake(root, name, lake)?;
    }
    Ok(())
}

/// The footer of a file that must be this lake's; `None` when it is gone meanwhile.
pub(crate) fn footer_of_lake(root: &Dir, name: &str, lake: &str) -> Result<Option<Footer>> {
    let Some(file) = open(root, name)? else { return Ok(None) };
    let path = root.join(name);
    let of = match parquet::footer(&parquet::reader(file, &path)?) {
        Some(footer) if footer.lake == lake => return Ok(Some(footer)),
        Some(footer) => format!("was written for lake {}", footer.lake),
        None => "has no foodstream footer".to_owned(),
    };
    Err(Error::new(
        Kind::Lake,
        format!(
            "{} {of}, but the commit log is of lake {lake}; move it away, name a new folder, or, if the log is the \
             wrong one, run `foodstream lake rebuild-log`",
            path.display()
        ),
    ))
}

/// A file of the root by its final name; `None` when it is not there.
pub(crate) fn open(root: &Dir, name: &str) -> Result<Option<std::fs::File>> {
    let Some((folder, file)) = layout::split_final_name(name) else { return Ok(None) };
    root.child(folder)?.map_or(Ok(None), |folder| folder.open_file(file))
}
