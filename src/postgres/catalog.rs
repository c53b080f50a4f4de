//! What the catalogue says of a table: its columns, its key, its index.
//!
//! A configured name is looked up, never pasted: everything later is addressed by the names the catalogue gave.

use std::fmt;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::connect::Client;
use super::quote::quote_identifier;
use super::types::TypeFacts;
use crate::error::{Error, Kind, Result};

/// A table as it stood when it was looked up.
#[derive(Clone, Debug)]
pub struct Table {
    pub schema: String,
    pub name: String,
    pub oid: u32,
    /// In the table's order, without dropped columns.
    pub columns: Vec<ColumnDescription>,
    /// The planner's estimate; `None` before the first ANALYZE.
    pub estimated_rows: Option<i64>,
    /// The connected account may SELECT from the whole table.
    pub readable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDescription {
    pub name: String,
    /// `attnum`, which no other column of this table ever gets.
    pub position: i16,
    /// The type as declared, in PostgreSQL's words: `numeric(10,2)`.
    pub declared: String,
    pub base: TypeFacts,
    pub not_null: bool,
    /// The default's expression in PostgreSQL's words.
    pub default: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    Integer,
    Uuid,
}

/// The column that orders rows of one timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    pub name: String,
    pub key_type: KeyType,
}

/// How far an index serves `ORDER BY timestamp, key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderIndex {
    /// On both columns in this order.
    Full(String),
    /// On the timestamp alone: rows of one timestamp are sorted at each poll.
    TimestampOnly(String),
    /// Each poll sorts the table.
    None,
}

const FIND: &str = "
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, pg_catalog.pg_table_is_visible(c.oid),
       c.reltuples::float8, pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = $1 AND ($2::text IS NULL OR n.nspname = $2) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY 5 DESC, 2";

/// Domains are followed to their base type; the innermost declared modifier counts.
const COLUMNS: &str = "
WITH RECURSIVE typed AS (
  SELECT attnum, atttypid AS oid, atttypmod AS typmod FROM pg_catalog.pg_attribute
  WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT typed.attnum, t.typbasetype, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE typed.typmod END
  FROM typed JOIN pg_catalog.pg_type AS t ON t.oid = typed.oid WHERE t.typtype = 'd'
)
SELECT a.attname::text, a.attnum, pg_catalog.format_type(a.atttypid, a.atttypmod),
       b.oid, typed.typmod, b.typname::text, b.typtype::text, b.typcategory::text,
       a.attnotnull AND NOT EXISTS (
         SELECT FROM pg_catalog.pg_constraint AS k
         WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND NOT k.convalidated AND k.conkey = ARRAY[a.attnum]),
       pg_catalog.pg_get_expr(d.adbin, d.adrelid)
FROM pg_catalog.pg_attribute AS a
JOIN typed ON typed.attnum = a.attnum
JOIN pg_catalog.pg_type AS b ON b.oid = typed.oid AND b.typtype <> 'd'
LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1
ORDER BY a.attnum";

/// Valid, unique, whole-table indexes on one plain column.
const UNIQUE: &str = "
SELECT a.attname::text, i.indisprimary
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC, 1";

const PRIMARY_COLUMNS: &str = "
SELECT a.attname::text
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = $1 AND i.indisprimary ORDER BY a.attnum";

const ORDERED: &str = "
SELECT c.relname::text, i.indnkeyatts >= 2 AND i.indkey[1] = $3
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am AS m ON m.oid = c.relam
WHERE i.indrelid = $1 AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree' AND i.indkey[0] = $2
  AND (i.indoption[0] = 0 OR i.indnkeyatts = 1)
  AND (i.indnkeyatts < 2 OR i.indkey[1] <> $3 OR i.indoption[1] = i.indoption[0])
ORDER BY 2 DESC, 1";

impl Table {
    /// Looks up `orders` (by the search path) or `schema.name`. Parts may be written in double quotes; a name that
    /// is not found as written is tried in lower case, as SQL would fold it.
    pub async fn describe(client: &Client, configured: &str) -> Result<Table> {
        let (schema, name) = split_name(configured)?;
        let mut found = find(client, schema.as_deref(), &name).await?;
        if found.is_empty() {
            let folded = schema.as_deref().map(str::to_lowercase);
            found = find(client, folded.as_deref(), &name.to_lowercase()).await?;
        }
        let Some(row) = found.first() else {
            return Err(Error::new(
                Kind::Source,
                format!(
                    "table `{configured}` does not exist in database `{}` at {}; check postgres.table or create it",
                    client.database(),
                    client.address()
                ),
            ));
        };
        let get = Fields { client, row };
        let mut table = Table {
            oid: get.at(0)?,
            schema: get.at(1)?,
            name: get.at(2)?,
            columns: Vec::new(),
            estimated_rows: Some(get.at::<f64>(5)?).filter(|rows| *rows >= 0.0).map(|rows| rows as i64),
            readable: get.at(7)?,
        };
        if schema.is_none() && !get.at::<bool>(4)? {
            return Err(Error::new(
                Kind::Source,
                format!(
                    "table `{configured}` is not on the search path of user `{}`; write postgres.table as `{}.{}`",
                    client.user(),
                    table.schema,
                    table.name
                ),
            ));
        }
        table.refuse_other_kinds(&get.at::<String>(3)?, get.at(8)?)?;
        let rows = query(client, COLUMNS, &[&table.oid]).await?;
        table.columns = rows.iter().map(|row| column(&Fields { client, row })).collect::<Result<_>>()?;
        Ok(table)
    }

    fn refuse_other_kinds(&self, kind: &str, has_children: bool) -> Result<()> {
        let kind = match kind {
            "v" => "a view",
            "m" => "a materialized view",
            "f" => "a foreign table",
            _ if has_children => "a table with inheriting tables",
            _ => return Ok(()),
        };
        Err(Error::new(
            Kind::Source,
            format!(
                "`{self}` is {kind}: it has no unique index that covers all its rows; name the table that holds them"
            ),
        ))
    }

    /// Quoted, for statements.
    pub fn qualified(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }

    pub fn column(&self, name: &str) -> Option<&ColumnDescription> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// As `column`, with an error that lists what there is.
    pub fn require_column(&self, name: &str, wanted_by: &str) -> Result<&ColumnDescription> {
        self.column(name).ok_or_else(|| {
            let there: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
            Error::new(
                Kind::Schema,
                format!("table {self} has no column `{name}`, which {wanted_by} names; it has {}", there.join(", ")),
            )
        })
    }

    /// The key column (H10): configured, or the primary key.
    pub async fn key_column(&self, client: &Client, configured: Option<&str>) -> Result<KeyColumn> {
        let unique = query(client, UNIQUE, &[&self.oid]).await?;
        let unique: Vec<(String, bool)> = unique
            .iter()
            .map(|row| {
                let get = Fields { client, row };
                Ok((get.at(0)?, get.at(1)?))
            })
            .collect::<Result<_>>()?;
        let name = match configured {
            Some(name) => {
                self.require_column(name, "cdc.key_column")?;
                if !unique.iter().any(|(column, _)| column == name) {
                    return Err(self.unfit_key(name, "has no valid unique index of its own"));
                }
                name.to_owned()
            }
            None => match unique.iter().find(|(_, primary)| *primary) {
                Some((name, _)) => name.clone(),
                None => return Err(self.no_primary_key(client).await?),
            },
        };
        let column = self.require_column(&name, "the primary key")?;
        if !column.not_null {
            return Err(self.unfit_key(&name, "may be null"));
        }
        let key_type = match &column.base {
            base if base.is_integer() => KeyType::Integer,
            base if base.is_uuid() => KeyType::Uuid,
            _ => {
                return Err(
                    self.unfit_key(&name, &format!("is {}, and neither an integer nor a uuid", column.declared))
                );
            }
        };
        Ok(KeyColumn { name, key_type })
    }

    fn unfit_key(&self, name: &str, reason: &str) -> Error {
        Error::new(
            Kind::Source,
            format!(
                "column `{name}` of {self} cannot be the key: it {reason}; the key is one integer or uuid column that \
                 is NOT NULL and unique (cdc.key_column)"
            ),
        )
    }

    async fn no_primary_key(&self, client: &Client) -> Result<Error> {
        let rows = query(client, PRIMARY_COLUMNS, &[&self.oid]).await?;
        let columns: Vec<String> = rows.iter().map(|row| Fields { client, row }.at(0)).collect::<Result<_>>()?;
        let fact = if columns.is_empty() {
            "has no primary key".to_owned()
        } else {
            format!("has a primary key of several columns ({})", columns.join(", "))
        };
        Ok(Error::new(
            Kind::Source,
            format!(
                "table {self} {fact}; add a single-column primary key, or name a NOT NULL column with a unique index \
                 in cdc.key_column"
            ),
        ))
    }

    /// Whether an index serves the order of polling.
    pub async fn order_index(&self, client: &Client, timestamp: &str, key: &str) -> Result<OrderIndex> {
        let timestamp = self.require_column(timestamp, "cdc.timestamp_column")?.position;
        let key = self.require_column(key, "cdc.key_column")?.position;
        let rows = query(client, ORDERED, &[&self.oid, &timestamp, &key]).await?;
        let Some(row) = rows.first() else { return Ok(OrderIndex::None) };
        let get = Fields { client, row };
        let name = get.at(0)?;
        Ok(if get.at(1)? { OrderIndex::Full(name) } else { OrderIndex::TimestampOnly(name) })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// Typed access to a row, with our errors.
struct Fields<'a> {
    client: &'a Client,
    row: &'a Row,
}

const DOING: &str = "cannot read the catalogue";

impl Fields<'_> {
    fn at<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, index: usize) -> Result<T> {
        self.row.try_get(index).map_err(|error| self.client.failed(DOING, error))
    }
}

async fn query(client: &Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
    client.inner.query(sql, parameters).await.map_err(|error| client.failed(DOING, error))
}

async fn find(client: &Client, schema: Option<&str>, name: &str) -> Result<Vec<Row>> {
    query(client, FIND, &[&name, &schema]).await
}

fn column(get: &Fields<'_>) -> Result<ColumnDescription> {
    Ok(ColumnDescription {
        name: get.at(0)?,
        position: get.at(1)?,
        declared: get.at(2)?,
        base: TypeFacts {
            oid: get.at(3)?,
            typmod: get.at(4)?,
            name: get.at(5)?,
            kind: get.at(6)?,
            category: get.at(7)?,
        },
        not_null: get.at(8)?,
        default: get.at(9)?,
    })
}

/// `a.b` into its parts; double quotes protect a dot.
fn split_name(configured: &str) -> Result<(Option<String>, String)> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut characters = configured.trim().chars().peekable();
    while let Some(character) = characters.next() {
        let part = parts.last_mut().expect("there is always one part");
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                part.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            other => part.push(other),
        }
    }
    let wrong =
        || Error::config(format!("postgres.table `{configured}` is no table name; write `orders` or `schema.orders`"));
    if quoted || parts.iter().any(String::is_empty) {
        return Err(wrong());
    }
    let name = parts.pop().ok_or_else(wrong)?;
    match parts.len() {
        0 => Ok((None, name)),
        1 => Ok((parts.pop(), name)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_name_has_one_or_two_parts_and_quotes_protect_dots() {
        let split = |name: &str| split_name(name).ok();
        assert_eq!(split("orders"), Some((None, "orders".to_owned())));
        assert_eq!(split("2025em1100102_orders"), Some((None, "2025em1100102_orders".to_owned())));
        assert_eq!(split("shop.orders"), Some((Some("shop".to_owned()), "orders".to_owned())));
        assert_eq!(split("\"a.b\".\"c\"\"d\""), Some((Some("a.b".to_owned()), "c\"d".to_owned())));
        for wrong in ["", ".orders", "shop.", "a.b.c", "\"orders"] {
            assert!(split(wrong).is_none(), "{wrong}");
        }
    }
}
