//! Small questions to the server, and the insertion of test rows.
//!
//! Results come as text, PostgreSQL's own: what `verify` compares with and what `tools` print.

use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::catalog::Table;
use super::connect::Client;
use super::quote::quote_identifier;
use crate::error::{Error, Kind, Result};

/// The protocol counts parameters with 16 bits.
const MAX_PARAMETERS: usize = 65_535;

/// A small result, every value as PostgreSQL writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextRows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

impl TextRows {
    /// The first value of the first row.
    pub fn scalar(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }
}

/// Runs one statement, for small results; `doing` names it in errors.
pub async fn query_text(client: &Client, sql: &str, doing: &str) -> Result<TextRows> {
    let messages = client.inner.simple_query(sql).await.map_err(|error| client.failed(doing, error))?;
    Ok(text_rows(messages))
}

fn text_rows(messages: Vec<SimpleQueryMessage>) -> TextRows {
    let mut result = TextRows::default();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                result.columns = columns.iter().map(|column| column.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                result.rows.push((0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect());
            }
            _ => {}
        }
    }
    result
}

/// The same for a question that may go unanswered: `None` when the server has ended it after `limit`.
pub async fn query_briefly(client: &Client, sql: &str, limit: Duration) -> Result<Option<TextRows>> {
    // One message is one transaction, so the limit ends with it.
    let sql = format!("SET LOCAL statement_timeout = {}; {sql}", limit.as_millis());
    match client.inner.simple_query(&sql).await {
        Ok(messages) => Ok(Some(text_rows(messages))),
        Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => Ok(None),
        Err(error) => Err(client.failed("cannot count the rows that wait", error)),
    }
}

async fn scalar(client: &Client, sql: &str, doing: &str) -> Result<String> {
    let rows = query_text(client, sql, doing).await?;
    rows.scalar()
        .map(str::to_owned)
        .ok_or_else(|| Error::new(Kind::Source, format!("{doing}: the server sent nothing")))
}

/// The server's clock, UTC microseconds since 1970.
pub async fn server_clock_us(client: &Client) -> Result<i64> {
    let doing = "cannot read the server's clock";
    // Whole microseconds as an integer: before version 14 `extract` gives a double.
    let sql = "SELECT (extract(epoch FROM date_trunc('second', t))::bigint * 1000000 \
               + extract(microseconds FROM t)::bigint % 1000000)::text FROM (SELECT clock_timestamp() AS t) AS now";
    let text = scalar(client, sql, doing).await?;
    text.parse().map_err(|error| Error::new(Kind::Source, doing).because(error))
}

/// The encoding of the database's text; `SQL_ASCII` promises nothing about its bytes.
pub async fn server_encoding(client: &Client) -> Result<String> {
    scalar(client, "SHOW server_encoding", "cannot read the server's encoding").await
}

/// The zone that sessions of this account start with, before we set ours.
pub async fn session_start_zone(client: &Client) -> Result<String> {
    let sql = "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone'";
    scalar(client, sql, "cannot read the server's time zone").await
}

/// Which database cluster this is, and on which timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    pub system_identifier: String,
    pub timeline: u32,
}

/// `None` where the account may not read it.
pub async fn server_identity(client: &Client) -> Result<Option<ServerIdentity>> {
    let doing = "cannot read the server's identity";
    let allowed = "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') \
                   AND pg_catalog.has_function_privilege('pg_catalog.pg_walfile_name(pg_lsn)', 'EXECUTE')";
    if scalar(client, allowed, doing).await? != "t" {
        return Ok(None);
    }
    // The checkpoint's timeline lags behind a promotion; the write position's does not.
    let sql = "SELECT system_identifier::text, \
               pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) \
               FROM pg_catalog.pg_control_system()";
    let rows = query_text(client, sql, doing).await?;
    let identity = rows.rows.first().and_then(|row| {
        let timeline = u32::from_str_radix(row.get(1)?.as_deref()?, 16).ok()?;
        Some(ServerIdentity { system_identifier: row.first()?.clone()?, timeline })
    });
    Ok(identity)
}

/// Inserts rows given as text and hands over, for each, the text of the column `returning`. Holds as many rows as one
/// statement takes. The caller begins a transaction where all rows are to be there or none.
pub async fn insert_text_rows(
    client: &Client,
    table: &Table,
    columns: &[&str],
    rows: impl Iterator<Item = Vec<Option<String>>>,
    returning: &str,
    mut each: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let doing = format!("cannot insert into {table}");
    let mut types = Vec::with_capacity(columns.len());
    for name in columns {
        types.push(table.require_column(name, "the insertion")?.declared.as_str());
    }
    table.require_column(returning, "the insertion")?;
    let failed = |error: tokio_postgres::Error| client.failed(&doing, error);
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let chunk: Vec<_> = rows.by_ref().take((MAX_PARAMETERS / columns.len().max(1)).max(1)).collect();
        if let Some(row) = chunk.iter().find(|row| row.len() != columns.len()) {
            return Err(Error::bug(format!("{} values for {} columns of {table}", row.len(), columns.len())));
        }
        let sql = insert_statement(table, columns, &types, chunk.len(), returning);
        let parameters: Vec<&(dyn ToSql + Sync)> =
            chunk.iter().flatten().map(|value| value as &(dyn ToSql + Sync)).collect();
        for row in client.inner.query(&sql, &parameters).await.map_err(failed)? {
            each(row.try_get(0).map_err(failed)?)?;
        }
    }
    Ok(())
}

fn insert_statement(table: &Table, columns: &[&str], types: &[&str], rows: usize, returning: &str) -> String {
    let names: Vec<String> = columns.iter().map(|name| quote_identifier(name)).collect();
    let mut sql = format!("INSERT INTO {} ({}) VALUES ", table.qualified(), names.join(", "));
    let mut parameter = 0;
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for (index, declared) in types.iter().enumerate() {
            parameter += 1;
            let comma = if index == 0 { "" } else { ", " };
            // The declared type is the catalogue's own spelling. The inner cast makes the parameter plain text.
            sql.push_str(&format!("{comma}${parameter}::text::{declared}"));
        }
        sql.push(')');
    }
    sql.push_str(&format!(" RETURNING {}::text", quote_identifier(returning)));
    sql
}
