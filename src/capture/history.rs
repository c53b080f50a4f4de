//! Has the database gone back? A restored copy, or a standby that lagged behind its primary when it was promoted, has
//! the same name, the same system identifier and perhaps the same timeline; only its past is shorter.
//!
//! Two signs tell. Transaction ids fall behind what was seen and the row at the position is gone: a crash alone may
//! take back ids, those whose log had not been written, but never a row that was committed. Or the key's sequence will
//! give out keys anew. Behind either, new rows may come under keys that the lake already holds. A copy that has run on
//! for so long that both have overtaken the position shows none; `foodstream verify` compares all rows.

use tracing::warn;

use super::plan::Plan;
use crate::error::{Error, Kind, Lost, Result};
use crate::model::{Cursor, Key};
use crate::postgres::{Client, Table, query_text, quote_identifier, quote_text};

/// What the position knows of the database's past.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    /// `pg_snapshot_xmin` of the newest page, read or published.
    snapshot_xmin: Option<u64>,
    /// Keys were compared since the connection was made.
    compared: bool,
    /// The user named this position, or accepted it though the database contradicts it.
    accepted: Option<Cursor>,
}

/// What tells whether keys come again.
enum Sequence {
    /// It rises, and this is its next key.
    Next(i64),
    /// Its keys fall or come round again by intent: a low one says nothing.
    NotRising,
    /// The key has none of its own, or the account may not read it.
    Unknown,
}

impl History {
    /// Goes on from a published page.
    pub fn restore(&mut self, snapshot_xmin: Option<u64>) {
        self.snapshot_xmin = snapshot_xmin;
    }

    /// Whatever the database says, this is where to go on.
    pub fn accept(&mut self, position: Cursor) {
        *self = History { accepted: Some(position), ..History::default() };
    }

    /// Behind a new connection may be another server.
    pub fn reconnected(&mut self) {
        self.compared = false;
    }

    /// In the page's own transaction, before its rows are read.
    ///
    /// # Errors
    /// `DataLoss` when transactions or keys lie behind the position.
    pub async fn check(
        &mut self,
        client: &Client,
        table: &Table,
        plan: &Plan,
        position: Cursor,
        snapshot_xmin: u64,
    ) -> Result<()> {
        if let Some(known) = self.snapshot_xmin.filter(|&known| snapshot_xmin < known)
            && is_gone(client, plan, position).await?
        {
            return Err(gone_back(
                &format!("its transactions stand at {snapshot_xmin}, and those of the position at {known}"),
                position,
            ));
        }
        if let Some(Key::Int(last)) = position.key
            && !self.compared
            && self.accepted != Some(position)
        {
            compare_keys(client, table, &plan.key.name, last, position).await?;
        }
        self.compared = true;
        self.snapshot_xmin = Some(snapshot_xmin);
        Ok(())
    }
}

async fn compare_keys(client: &Client, table: &Table, column: &str, last: i64, position: Cursor) -> Result<()> {
    let doing = format!("cannot look up the keys of {table}");
    let (key, from) = (quote_identifier(column), table.qualified());
    // Not the highest one: behind many rows that were deleted the server would walk a long way to it.
    let reaches = format!("SELECT EXISTS (SELECT FROM {from} WHERE {key} >= {last})");
    if query_text(client, &reaches, &doing).await?.scalar() == Some("t") {
        return Ok(());
    }
    match sequence(client, table, column, &doing).await? {
        // Rows were deleted: their keys do not come again.
        Sequence::Next(next) if next > last => Ok(()),
        Sequence::NotRising => Ok(()),
        Sequence::Next(next) => {
            let highest = query_text(client, &format!("SELECT max({key})::text FROM {from}"), &doing).await?;
            let highest = highest.scalar().unwrap_or("none").to_owned();
            Err(gone_back(
                &format!(
                    "the highest key of {table} is {highest}, its sequence gives out {next} next, and {last} was \
                     published (put in by hand and deleted again, it is no loss)"
                ),
                position,
            ))
        }
        Sequence::Unknown => {
            warn!(
                target: "foodstream::producer",
                "no key of {table} reaches {last}, which was published: rows were deleted, or the database has gone \
                 back, which only the key's sequence could tell (GRANT SELECT on it); `foodstream verify` compares all \
                 rows"
            );
            Ok(())
        }
    }
}

async fn sequence(client: &Client, table: &Table, column: &str, doing: &str) -> Result<Sequence> {
    // The privilege is asked for first: reading without it is an error, and would end the page's transaction.
    let found = format!(
        "SELECT s.name, (q.seqincrement > 0 AND NOT q.seqcycle)::text \
         FROM (SELECT pg_catalog.pg_get_serial_sequence({name}, {column}) AS name) AS s \
         JOIN pg_catalog.pg_sequence AS q ON q.seqrelid = s.name::pg_catalog.regclass \
         WHERE pg_catalog.has_sequence_privilege(s.name, 'SELECT')",
        name = quote_text(&table.qualified()),
        column = quote_text(column),
    );
    let found = query_text(client, &found, doing).await?;
    let Some([Some(name), Some(rises)]) = found.rows.first().map(Vec::as_slice) else { return Ok(Sequence::Unknown) };
    if rises != "true" {
        return Ok(Sequence::NotRising);
    }
    // The catalogue gives the name quoted. What was never called, or set anew, gives out the value itself.
    let next = format!("SELECT (last_value::numeric + is_called::int)::text FROM {name}");
    let next = query_text(client, &next, doing).await?;
    let next = next.scalar().and_then(|text| text.parse::<i128>().ok());
    let next = next.ok_or_else(|| Error::new(Kind::Source, doing.to_owned()))?;
    Ok(Sequence::Next(i64::try_from(next).unwrap_or(i64::MAX)))
}

fn gone_back(sign: &str, position: Cursor) -> Error {
    Error::data_loss(
        Lost { cursors: Some((None, Some(position.to_string()))), ..Lost::default() },
        format!(
            "the database has gone back (a restored copy, a standby that lagged behind, a table emptied with its \
             sequence): {sign}; rows up to {position} that it no longer has were published, and their keys may come \
             again; compare with `foodstream verify`, then go on behind {position} with --adopt, or give this history a \
             cdc.pipeline_id and a lake of its own"
        ),
    )
}

/// The row at the position is not there any more: it was deleted, or has never been in this history.
async fn is_gone(client: &Client, plan: &Plan, position: Cursor) -> Result<bool> {
    let Some(sql) = plan.presence_statement(position) else { return Ok(false) };
    let rows = query_text(client, &sql, "cannot look for the row at the position").await?;
    Ok(rows.scalar() != Some("t"))
}
