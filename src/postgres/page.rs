//! The transaction of one page: a lock against changes of the table, then the snapshot, then the rows.
//!
//! The lock comes before the snapshot. A rewriting `ALTER TABLE` between the two would leave the table empty to the
//! older snapshot; and the fingerprint of the columns would speak of other columns than the rows do.

use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;

use super::catalog::Table;
use super::connect::{Client, POLL_STATEMENT_TIMEOUT};
use super::quote::quote_text;
use crate::error::{Error, Kind, Result};

/// How long a page may take in all. The server ends a statement after its own limit; past this it is the server
/// itself that does not answer.
pub const PAGE_PATIENCE: Duration = Duration::from_secs(POLL_STATEMENT_TIMEOUT.as_secs() + 10);

/// The state in which a page's rows are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageStart {
    /// Transactions older than this had ended when the snapshot was taken.
    pub snapshot_xmin: u64,
    /// Names and types of the table's columns and the table's identity, as one comparable text.
    pub fingerprint: String,
}

/// Opens the read-only transaction of a page. The caller reads and then calls `end_page`, or drops the client.
pub async fn begin_page(client: &Client, table: &Table) -> Result<PageStart> {
    let qualified = table.qualified();
    let sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; LOCK TABLE {qualified} IN ACCESS SHARE MODE; \
         SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text, {}",
        fingerprint_expression(table)
    );
    let values = one_row(client, &format!("cannot begin a page of {table}"), &sql).await?;
    let snapshot_xmin =
        values[0].parse().map_err(|error| Error::bug("pg_snapshot_xmin is no number").because(error))?;
    Ok(PageStart { snapshot_xmin, fingerprint: values[1].clone() })
}

impl Client {
    /// Ends the transaction of a page.
    pub async fn end_page(&self) -> Result<()> {
        self.execute_batch("cannot end the page's transaction", "COMMIT").await
    }
}

/// The fingerprint of the table as it is now.
pub async fn fingerprint(client: &Client, table: &Table) -> Result<String> {
    let sql = format!("SELECT {}, ''", fingerprint_expression(table));
    Ok(one_row(client, &format!("cannot look up {table}"), &sql).await?[0].clone())
}

fn fingerprint_expression(table: &Table) -> String {
    format!(
        "(SELECT t.id::oid::text || ':' || pg_catalog.md5(pg_catalog.string_agg(pg_catalog.format('%s %s %s %s', \
         a.attnum, a.attname, a.atttypid, a.atttypmod), ',' ORDER BY a.attnum)) \
         FROM (SELECT {}::regclass AS id) AS t \
         JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.id AND a.attnum > 0 AND NOT a.attisdropped \
         GROUP BY t.id)",
        quote_text(&table.qualified())
    )
}

/// The last row of a message of several statements, as two texts.
async fn one_row(client: &Client, doing: &str, sql: &str) -> Result<[String; 2]> {
    let messages = client.inner.simple_query(sql).await.map_err(|error| client.failed(doing, error))?;
    let row = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    match row.map(|row| (row.get(0), row.get(1))) {
        Some((Some(first), Some(second))) => Ok([first.to_owned(), second.to_owned()]),
        _ => Err(Error::new(Kind::Schema, format!("{doing}: the table has no columns"))),
    }
}
