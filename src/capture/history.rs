//! Has the database gone back? A restored copy, or a standby that lagged behind its primary when it was promoted, has
//! the same name, the same system identifier and perhaps the same timeline; only its past is shorter.
//!
//! Two signs tell. Transaction ids fall behind what was seen and the row at the position is gone: a crash alone may
//! take back ids, those whose log had not been written, but never a row that was committed. Or the key's sequence will
//! give out keys anew. Behind either, new rows may come under keys that the lake already holds. A copy that has run on
//! for so long that both have overtaken the position shows none; `foodstream verify` compares all rows.

use tracing::warn;

use super::plan::Plan;
use crate::error::{Error, Kind, Result};
use crate::model::{Cursor, Key};
use crate::postgres::{Client, Table, query_text, quote_identifier, quote_text};

/// What the position knows of the database's past.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    /// `pg_snapshot_xmin` of the newest page, read or published.
    snapshot_xmin: Option<u64>,
    /// Keys were compared since the connection was made.
    compared: bool,
    /// The user named a position, or accepted one that the database contradicts.
    accepted: bool,
}

/// As the table and the sequence of its key stand now.
struct Keys {
    highest: Option<i64>,
    /// `None`: the key has no sequence of its own, or the account may not read it.
    given_out: Option<i64>,
}

impl History {
    /// Goes on from a published page.
    pub fn restore(&mut self, snapshot_xmin: Option<u64>) {
        self.snapshot_xmin = snapshot_xmin;
    }

    /// Whatever the database says, this is where to go on.
    pub fn accept(&mut self) {
        *self = History { accepted: true, ..History::default() };
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
            && !self.accepted
        {
            compare(keys(client, table, &plan.key.name).await?, last, table, position)?;
        }
        self.compared = true;
        self.snapshot_xmin = Some(snapshot_xmin);
        Ok(())
    }
}

fn compare(keys: Keys, last: i64, table: &Table, position: Cursor) -> Result<()> {
    let Keys { highest, given_out } = keys;
    if highest.is_some_and(|highest| highest >= last) {
        return Ok(());
    }
    let shown = highest.map_or("none".to_owned(), |highest| highest.to_string());
    match given_out {
        // Rows were deleted: their keys do not come again.
        Some(given_out) if given_out >= last => Ok(()),
        Some(_) => Err(gone_back(
            &format!(
                "the highest key of {table} is {shown}, its sequence gives keys out anew, and {last} was published"
            ),
            position,
        )),
        None => {
            warn!(
                target: "foodstream::producer",
                "the highest key of {table} is {shown}, and {last} was published: rows were deleted, or the database \
                 has gone back, which only the key's sequence could tell (GRANT SELECT on it); `foodstream verify` \
                 compares all rows"
            );
            Ok(())
        }
    }
}

fn gone_back(sign: &str, position: Cursor) -> Error {
    Error::new(
        Kind::DataLoss,
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

async fn keys(client: &Client, table: &Table, key_column: &str) -> Result<Keys> {
    // A sequence that was never called stands below every key. The privilege is asked for first: reading without it is
    // an error, and would end the page's transaction.
    let sql = format!(
        "SELECT (SELECT pg_catalog.max({key})::text FROM {table}), \
         CASE WHEN s.name IS NOT NULL AND pg_catalog.has_sequence_privilege(s.name, 'SELECT') \
         THEN coalesce(pg_catalog.pg_sequence_last_value(s.name::regclass), {never})::text END \
         FROM (SELECT pg_catalog.pg_get_serial_sequence({name}, {column}) AS name) AS s",
        key = quote_identifier(key_column),
        table = table.qualified(),
        never = i64::MIN + 1,
        name = quote_text(&table.qualified()),
        column = quote_text(key_column),
    );
    let doing = format!("cannot look up the highest key of {table}");
    let rows = query_text(client, &sql, &doing).await?;
    let value = |index: usize| -> Result<Option<i64>> {
        let text = rows.rows.first().and_then(|row| row.get(index)?.as_deref());
        text.map(str::parse).transpose().map_err(|error| Error::new(Kind::Source, doing.clone()).because(error))
    };
    Ok(Keys { highest: value(0)?, given_out: value(1)? })
}
