//! What `doctor` asks of a table: all that a start checks, the plan of the polling query, rows that no poll can see.
//! Looks at no more than a few rows of a large table, and says at what.

use super::plan::Plan;
use super::poll::PollOptions;
use super::preflight::Preflight;
use super::zone::ColumnClock;
use crate::error::{Error, Kind, Result};
use crate::model::Cursor;
use crate::postgres::{Client, OrderIndex, Scan, Table, explain, query_text, quote_identifier, quote_text};

/// Reading a table of so many rows from end to end takes some tens of milliseconds.
const FEW_ROWS: i64 = 100_000;
/// Rows without a timestamp are counted up to here.
const COUNTED_NULLS: u64 = 1_000;

/// A table as polling meets it.
#[derive(Debug)]
pub struct Examination {
    pub preflight: Preflight,
    /// The schema-qualified, quoted name.
    pub table: String,
    /// How the server would read the next page.
    pub polling: Result<Scan>,
    pub nulls: Result<Nulls>,
}

/// Rows whose timestamp is NULL.
#[derive(Clone, Debug, PartialEq)]
pub enum Nulls {
    /// The column is NOT NULL.
    Impossible,
    /// So many were found, the highest number meaning that there may be more.
    Counted { rows: u64, or_more: bool },
    /// No index leads to them and the table is large: the share that the last ANALYZE saw, from 0 to 1.
    Estimated { share: Option<f64> },
}

/// # Errors
/// Where the table, its key or its columns cannot be polled at all, as at a start.
pub async fn examine(client: &Client, options: &PollOptions, position: Cursor, clock_us: i64) -> Result<Examination> {
    let (table, plan, preflight) = Preflight::make(client, options).await?;
    Ok(Examination {
        polling: polling(client, &plan, options, position, clock_us).await,
        nulls: nulls(client, &table, &plan, &preflight.index).await,
        table: table.qualified(),
        preflight,
    })
}

async fn polling(client: &Client, plan: &Plan, options: &PollOptions, position: Cursor, clock_us: i64) -> Result<Scan> {
    let clock = ColumnClock::new(plan.timestamp_has_zone, options.cdc.timezone, plan.timestamp_precision);
    let statement = plan.page_statement(position, clock.show(clock_us), options.cdc.batch_limit);
    explain(client, &statement).await
}

/// A table that was never analysed is most likely a new one.
fn is_small(table: &Table) -> bool {
    table.estimated_rows.is_none_or(|rows| rows < FEW_ROWS)
}

async fn nulls(client: &Client, table: &Table, plan: &Plan, index: &OrderIndex) -> Result<Nulls> {
    let doing = format!("cannot look for rows of {table} without a time");
    let column = table.require_column(&plan.timestamp_column, "cdc.timestamp_column")?;
    if column.not_null {
        return Ok(Nulls::Impossible);
    }
    if *index == OrderIndex::None && !is_small(table) {
        let share = format!(
            "SELECT null_frac::text FROM pg_catalog.pg_stats WHERE schemaname = {} AND tablename = {} AND attname = {}",
            quote_text(&table.schema),
            quote_text(&table.name),
            quote_text(&column.name)
        );
        let share = query_text(client, &share, &doing).await?;
        return Ok(Nulls::Estimated { share: share.scalar().and_then(|text| text.parse().ok()) });
    }
    // An index holds them side by side, and the planner is not to think otherwise.
    let count = format!(
        "SET LOCAL enable_seqscan = off; \
         SELECT count(*)::text FROM (SELECT FROM {} WHERE {} IS NULL LIMIT {COUNTED_NULLS}) AS found",
        table.qualified(),
        quote_identifier(&column.name)
    );
    let rows = query_text(client, &count, &doing).await?;
    let rows = rows.scalar().and_then(|text| text.parse().ok()).ok_or_else(|| Error::new(Kind::Source, doing))?;
    Ok(Nulls::Counted { rows, or_more: rows >= COUNTED_NULLS })
}
