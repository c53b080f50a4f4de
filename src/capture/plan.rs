//! What is read of a table and how: the columns of the message, and where key and timestamp stand among them.

use crate::error::{Error, Kind, Result};
use crate::model::{Column, Cursor, Key, Schema};
use crate::postgres::{
    Client, Codec, FieldPlan, KeyColumn, KeyType, Row, Table, literal_key, literal_timestamp, plan_field,
    quote_identifier,
};
use crate::wire::encode::RowEncoder;

/// The names that `cdc` gives, and the schema if one is written.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub timestamp_column: String,
    pub key_column: Option<String>,
    pub schema: Option<Schema>,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The columns of the message, in its order.
    pub fields: Vec<FieldPlan>,
    pub encoder: RowEncoder,
    pub key: KeyColumn,
    pub timestamp_column: String,
    pub timestamp_has_zone: bool,
    pub timestamp_precision: u8,
    /// Positions in the SELECT list, which ends with whatever of the two the message does not hold.
    timestamp_at: usize,
    key_at: usize,
    key_codec: Codec,
    select: String,
    table: String,
    /// Columns of the table that the message does not hold.
    pub left_out: Vec<String>,
}

impl Plan {
    pub async fn make(client: &Client, table: &Table, wanted: &Wanted) -> Result<Plan> {
        let key = table.key_column(client, wanted.key_column.as_deref()).await?;
        Self::with_key(table, wanted, key)
    }

    fn with_key(table: &Table, wanted: &Wanted, key: KeyColumn) -> Result<Plan> {
        let timestamp = table.require_column(&wanted.timestamp_column, "cdc.timestamp_column")?;
        let Some(timestamp_has_zone) = timestamp.base.timestamp_has_zone() else {
            let reason = if timestamp.base.is_date() {
                "a date says only the day, so rows of one day could not be told apart while it lasts"
            } else {
                "polling needs a timestamp or timestamptz column"
            };
            return Err(Error::new(
                Kind::Schema,
                format!("cdc.timestamp_column `{}` of {table} is {}: {reason}", timestamp.name, timestamp.declared),
            ));
        };
        let fields = plan_fields(table, wanted.schema.as_ref())?;
        let mut expressions: Vec<String> = fields.iter().map(|field| field.expression.clone()).collect();
        let mut place = |name: &str| {
            let plain = quote_identifier(name);
            expressions.iter().position(|expression| *expression == plain).unwrap_or_else(|| {
                expressions.push(plain);
                expressions.len() - 1
            })
        };
        let (timestamp_at, key_at) = (place(&timestamp.name), place(&key.name));
        let key_codec = plan_field(table.require_column(&key.name, "the key")?, None)?.codec;
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        let left_out = table.columns.iter().map(|column| &column.name).filter(|name| !names.contains(&name.as_str()));
        Ok(Plan {
            encoder: RowEncoder::new(&names),
            left_out: left_out.cloned().collect(),
            key,
            timestamp_column: timestamp.name.clone(),
            timestamp_has_zone,
            timestamp_precision: timestamp.base.timestamp_precision(),
            timestamp_at,
            key_at,
            key_codec,
            select: expressions.join(", "),
            table: table.qualified(),
            fields,
        })
    }

    /// The message's schema.
    pub fn schema(&self, table: &Table) -> Schema {
        let columns = self.fields.iter().map(|field| Column {
            name: field.name.clone(),
            data_type: field.data_type,
            nullable: table.column(&field.name).is_none_or(|column| !column.not_null),
        });
        Schema::new(columns.collect())
    }

    /// The query of one page: rows after `position` and below `w_us`, both on the column's clock.
    pub fn page_statement(&self, position: Cursor, w_us: i64, limit: u32) -> String {
        // Qualified: a bare name in ORDER BY means the output column, which may be a text of the same name.
        let timestamp = format!("source.{}", quote_identifier(&self.timestamp_column));
        let key = format!("source.{}", quote_identifier(&self.key.name));
        let after = self.after(position);
        let end = literal_timestamp(w_us, self.timestamp_has_zone);
        format!(
            "SELECT {} FROM {} AS source WHERE {after} AND {timestamp} < {end} ORDER BY {timestamp}, {key} LIMIT {limit}",
            self.select, self.table
        )
    }

    /// The query of how many rows follow `position`, how many of them are not below `w_us`, and the timestamp of the
    /// oldest of these in microseconds of its own clock; each number is at most `limit`.
    pub fn waiting_statement(&self, position: Cursor, w_us: i64, limit: u64) -> String {
        let timestamp = format!("source.{}", quote_identifier(&self.timestamp_column));
        let after = self.after(position);
        // One condition each, since the server walks the index from the place that the first one names: of both together
        // it would take the position, and walk through all that waits to find what is held.
        let held = match position.timestamp_us < w_us {
            true => format!("{timestamp} >= {}", literal_timestamp(w_us, self.timestamp_has_zone)),
            false => after.clone(),
        };
        let (table, order) = (&self.table, format!("ORDER BY {timestamp} LIMIT {limit}"));
        format!(
            "SELECT (SELECT count(*) FROM (SELECT FROM {table} AS source WHERE {after} {order}) AS waiting), \
             count(*), (extract(epoch FROM min(held.t)) * 1000000)::bigint \
             FROM (SELECT {timestamp} AS t FROM {table} AS source WHERE {held} {order}) AS held"
        )
    }

    /// The condition that a row stands behind a position.
    fn after(&self, position: Cursor) -> String {
        // Qualified: a bare name in ORDER BY means the output column, which may be a text of the same name.
        let timestamp = format!("source.{}", quote_identifier(&self.timestamp_column));
        let key = format!("source.{}", quote_identifier(&self.key.name));
        let start = literal_timestamp(position.timestamp_us, self.timestamp_has_zone);
        match position.key {
            Some(value) => format!("({timestamp}, {key}) > ({start}, {})", literal_key(value)),
            None => format!("{timestamp} > {start}"),
        }
    }

    /// The query of the newest rows, or of those without a timestamp. One query for both could not follow an index,
    /// which has its nulls at the other end.
    pub fn newest_statement(&self, timed: bool, limit: u64) -> String {
        let timestamp = format!("source.{}", quote_identifier(&self.timestamp_column));
        let key = format!("source.{}", quote_identifier(&self.key.name));
        let (select, table) = (&self.select, &self.table);
        let (which, order) = match timed {
            true => (format!("{timestamp} IS NOT NULL"), format!("{timestamp} DESC, {key} DESC")),
            false => (format!("{timestamp} IS NULL"), format!("{key} DESC")),
        };
        format!("SELECT {select} FROM {table} AS source WHERE {which} ORDER BY {order} LIMIT {limit}")
    }

    /// Whether the row at a position is there; `None` for a position that is no row's.
    pub fn presence_statement(&self, position: Cursor) -> Option<String> {
        let (timestamp, key) = (quote_identifier(&self.timestamp_column), quote_identifier(&self.key.name));
        let moment = literal_timestamp(position.timestamp_us, self.timestamp_has_zone);
        let value = literal_key(position.key?);
        Some(format!(
            "SELECT EXISTS (SELECT FROM {} AS source WHERE source.{timestamp} = {moment} AND source.{key} = {value})",
            self.table
        ))
    }

    /// The position of a row: the column's own values.
    #[inline]
    pub fn position_of(&self, row: &Row<'_>) -> Result<(Cursor, Key)> {
        let (Some(timestamp), Some(key)) = (row.get(self.timestamp_at), row.get(self.key_at)) else {
            return Err(Error::bug("a page holds a row without timestamp or key"));
        };
        let timestamp_codec = if self.timestamp_has_zone { Codec::TimestampTz } else { Codec::Timestamp };
        let timestamp_us = timestamp_codec.timestamp_us(timestamp).map_err(|error| self.unreadable(error))?;
        let key = match self.key.key_type {
            KeyType::Integer => self.key_codec.integer(key).map(Key::Int),
            KeyType::Uuid => self.key_codec.uuid(key).map(Key::Uuid),
        }
        .map_err(|error| self.unreadable(error))?;
        Ok((Cursor { timestamp_us, key: Some(key) }, key))
    }

    /// Appends the row as a message value.
    #[inline]
    pub fn write_value(&self, row: &Row<'_>, out: &mut Vec<u8>, to_utc: &mut impl FnMut(i64) -> i64) -> Result<()> {
        for (index, field) in self.fields.iter().enumerate() {
            self.encoder.column(out, index);
            field.codec.write(out, row.get(index), to_utc).map_err(|error| {
                Error::new(Kind::Schema, format!("column `{}` cannot be read", field.name)).because(error)
            })?;
        }
        self.encoder.finish(out);
        Ok(())
    }

    /// The number of columns a row of the page has.
    pub fn width(&self) -> usize {
        self.fields.len().max(self.timestamp_at + 1).max(self.key_at + 1)
    }

    fn unreadable(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        let columns = format!("`{}` and `{}`", self.timestamp_column, self.key.name);
        Error::new(Kind::Schema, format!("columns {columns} cannot be read")).because(error)
    }

    /// This plan for the table as it is now. A column that was added stays out; one that is gone, or of another
    /// type, is an error: messages must not change their meaning in the middle of a topic.
    pub async fn remake(&self, client: &Client, table: &Table, wanted: &Wanted) -> Result<Plan> {
        for field in &self.fields {
            let Some(column) = table.column(&field.name) else {
                return Err(changed(table, &field.name, "was dropped or renamed"));
            };
            let retyped = || changed(table, &field.name, "has another type than before");
            let now = plan_field(column, Some(field.data_type)).map_err(|_| retyped())?;
            if (field.codec, &field.expression, field.narrows) != (now.codec, &now.expression, now.narrows) {
                return Err(retyped());
            }
        }
        let pinned = Wanted { schema: Some(self.schema(table)), ..wanted.clone() };
        let remade = Plan::make(client, table, &pinned).await?;
        // Another precision rewrites the values, and rows can land behind the position.
        if (self.timestamp_has_zone, self.timestamp_precision)
            != (remade.timestamp_has_zone, remade.timestamp_precision)
        {
            return Err(changed(table, &self.timestamp_column, "has another type than before"));
        }
        if self.key != remade.key || self.key_codec != remade.key_codec {
            return Err(changed(table, &self.key.name, "is not the key it was"));
        }
        Ok(remade)
    }
}

fn changed(table: &Table, column: &str, what: &str) -> Error {
    Error::new(
        Kind::Schema,
        format!(
            "column `{column}` of {table} {what} while it was being read; restore it, or write `schema` as it shall be \
             from now on and start again with new topic and lake"
        ),
    )
}

fn plan_fields(table: &Table, schema: Option<&Schema>) -> Result<Vec<FieldPlan>> {
    match schema {
        None => table.columns.iter().map(|column| plan_field(column, None)).collect(),
        Some(schema) => schema
            .columns
            .iter()
            .map(|wanted| {
                let column = table.require_column(&wanted.name, "`schema`")?;
                plan_field(column, Some(wanted.data_type))
            })
            .collect(),
    }
}

/// The schema of a table as a consumer needs it written (`config from-table`).
pub async fn schema_of_table(client: &Client, configured_table: &str) -> Result<Schema> {
    let table = Table::describe(client, configured_table).await?;
    let fields = plan_fields(&table, None)?;
    let columns = fields.into_iter().map(|field| Column {
        nullable: table.column(&field.name).is_none_or(|column| !column.not_null),
        data_type: field.data_type,
        name: field.name,
    });
    Ok(Schema::new(columns.collect()))
}
