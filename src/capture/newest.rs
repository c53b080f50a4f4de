//! The newest rows of a table in their message form, for whoever only looks: no position, no horizon.

use super::plan::Plan;
use super::poll::PollOptions;
use super::zone::LocalToUtc;
use crate::error::Result;
use crate::model::{ChangeBatch, Operation, Schema};
use crate::postgres::{Client, Table, copy_out};

/// Up to `limit` rows, the newest first and those without a timestamp last, with the schema of their messages. Keys stay empty.
pub async fn newest_rows(client: &Client, options: &PollOptions, limit: u64) -> Result<(Schema, ChangeBatch)> {
    let table = Table::describe(client, &options.postgres.table).await?;
    let plan = Plan::make(client, &table, &options.wanted()).await?;
    let mut zone = LocalToUtc::new(options.cdc.timezone);
    let mut to_utc = |local_us| zone.convert(local_us);
    let mut rows = ChangeBatch::default();
    let doing = format!("cannot read {table}");
    let may_be_null = table.column(&plan.timestamp_column).is_some_and(|column| !column.not_null);
    for timed in [true, false] {
        let left = limit.saturating_sub(rows.len() as u64);
        if left == 0 || !(timed || may_be_null) {
            break;
        }
        copy_out(client, &plan.newest_statement(timed, left), &doing, |row| {
            rows.push_with(Operation::Insert, |out| {
                let key_end = out.len();
                plan.write_value(row, out, &mut to_utc).map(|()| key_end)
            })
        })
        .await?;
    }
    Ok((plan.schema(&table), rows))
}
