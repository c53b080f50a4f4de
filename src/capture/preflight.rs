//! The checks before the first poll, for start-up and for `--dry-run`: what was found, and what to worry about.
//!
//! What makes the promise impossible is an error; what only weakens or slows it is a warning in plain words, which
//! the caller shows.

use chrono_tz::Tz;

use super::plan::Plan;
use crate::error::Result;
use crate::model::Schema;
use crate::postgres::{
    Client, ColumnDescription, OrderIndex, ServerIdentity, Table, can_read_all_stats, server_encoding, server_identity,
    session_start_zone,
};

/// Below this, sorting the whole table at each poll costs less than a second.
const ROWS_THAT_NEED_AN_INDEX: i64 = 100_000;

/// The source as found at start-up.
#[derive(Clone, Debug)]
pub struct Preflight {
    /// `server_version_num`, such as 150014.
    pub server_version: i32,
    pub database: String,
    pub schema_name: String,
    pub table_name: String,
    pub columns: Vec<PreflightColumn>,
    /// The message's schema.
    pub schema: Schema,
    /// Columns of the table that the message does not hold.
    pub left_out: Vec<String>,
    pub timestamp_column: String,
    pub timestamp_type: String,
    /// The default's expression of the timestamp column.
    pub timestamp_default: Option<String>,
    pub key_column: String,
    pub index: OrderIndex,
    pub reads_all_stats: bool,
    pub estimated_rows: Option<i64>,
    /// `None` where the account may not read it.
    pub identity: Option<ServerIdentity>,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightColumn {
    pub name: String,
    /// In PostgreSQL's words.
    pub table_type: String,
    /// In the configuration's words.
    pub message_type: String,
}

impl Preflight {
    /// What was found, a fact a line.
    pub fn lines(&self) -> Vec<String> {
        let columns: Vec<String> =
            self.columns.iter().map(|column| format!("{} {}", column.name, column.message_type)).collect();
        let index = match &self.index {
            OrderIndex::Full(name) => format!("index {name} serves the order of polling"),
            OrderIndex::TimestampOnly(name) => format!("index {name} serves it but for rows of one timestamp"),
            OrderIndex::None => "no index serves the order of polling".to_owned(),
        };
        let mut lines = vec![
            format!("PostgreSQL {}, database {}", self.server_version / 10_000, self.database),
            format!("table {}.{}, about {} rows", self.schema_name, self.table_name, self.estimated_rows.unwrap_or(0)),
            format!("columns: {}", columns.join(", ")),
            format!("order: ({}, {}); {index}", self.timestamp_column, self.key_column),
            match self.reads_all_stats {
                true => "open transactions of other sessions are visible: late commits are waited for".to_owned(),
                false => "open transactions of other sessions are hidden: a fixed delay stands in".to_owned(),
            },
        ];
        if !self.left_out.is_empty() {
            lines.push(format!("left out of the messages: {}", self.left_out.join(", ")));
        }
        lines
    }

    pub(super) async fn gather(client: &Client, table: &Table, plan: &Plan, timezone: Tz) -> Result<Preflight> {
        let index = table.order_index(client, &plan.timestamp_column, &plan.key.name).await?;
        let reads_all_stats = can_read_all_stats(client).await?;
        let encoding = server_encoding(client).await?;
        let start_zone = session_start_zone(client).await?;
        let timestamp = table.require_column(&plan.timestamp_column, "cdc.timestamp_column")?;
        let mut warnings = Vec::new();
        warnings.extend(index_warning(&index, table, plan));
        warnings.extend(default_warning(timestamp, timezone, &start_zone));
        if !timestamp.not_null {
            let name = &timestamp.name;
            warnings
                .push(format!("`{name}` may be null: rows without it are never read; `foodstream verify` counts them"));
        }
        if encoding == "SQL_ASCII" {
            warnings.push("the database's encoding is SQL_ASCII: text that is not utf-8 ends in quarantine".to_owned());
        }
        for field in plan.fields.iter().filter(|field| field.narrows) {
            warnings.push(format!(
                "column `{}` can hold values that {} of `schema` cannot: such rows end in quarantine",
                field.name, field.data_type
            ));
        }
        let columns = plan.fields.iter().map(|field| PreflightColumn {
            name: field.name.clone(),
            table_type: table.column(&field.name).map(|column| column.declared.clone()).unwrap_or_default(),
            message_type: field.data_type.to_string(),
        });
        Ok(Preflight {
            server_version: client.server_version(),
            database: client.database().to_owned(),
            schema_name: table.schema.clone(),
            table_name: table.name.clone(),
            columns: columns.collect(),
            schema: plan.schema(table),
            left_out: plan.left_out.clone(),
            timestamp_column: timestamp.name.clone(),
            timestamp_type: timestamp.declared.clone(),
            timestamp_default: timestamp.default.clone(),
            key_column: plan.key.name.clone(),
            index,
            reads_all_stats,
            estimated_rows: table.estimated_rows,
            identity: server_identity(client).await?,
            warnings,
        })
    }
}

fn index_warning(index: &OrderIndex, table: &Table, plan: &Plan) -> Option<String> {
    let (timestamp, key) = (&plan.timestamp_column, &plan.key.name);
    let advice = format!("CREATE INDEX CONCURRENTLY ON {} (\"{timestamp}\", \"{key}\")", table.qualified());
    match index {
        OrderIndex::Full(_) => None,
        OrderIndex::TimestampOnly(name) => Some(format!(
            "index `{name}` does not hold the key: many rows of one timestamp are sorted at each poll; {advice}"
        )),
        OrderIndex::None if table.estimated_rows.is_some_and(|rows| rows < ROWS_THAT_NEED_AN_INDEX) => Some(format!(
            "no index on (`{timestamp}`, `{key}`): each poll reads the whole table, which will grow; {advice}"
        )),
        OrderIndex::None => {
            Some(format!("no index on (`{timestamp}`, `{key}`): each poll reads and sorts the whole table; {advice}"))
        }
    }
}

/// H7: whether the column's default gives the time of the zone that `cdc.timezone` names, whoever writes.
fn default_warning(column: &ColumnDescription, timezone: Tz, start_zone: &str) -> Option<String> {
    let name = &column.name;
    let Some(expression) = &column.default else {
        return Some(format!(
            "`{name}` has no default: only rows whose writer sets it to no earlier than its transaction's start are \
             sure to be read"
        ));
    };
    if column.base.timestamp_has_zone() != Some(false) {
        return None;
    }
    match fixed_zone(expression) {
        Some(zone) if same_zone(&zone, timezone) => None,
        Some(zone) => Some(format!(
            "the default of `{name}` writes the time of `{zone}` and cdc.timezone is `{timezone}`: rows will be missed \
             or shifted unless the two are one zone"
        )),
        None if depends_on_session(expression) => Some(format!(
            "the default of `{name}` ({expression}) takes the zone of the writer's session: a writer whose zone is not \
             `{timezone}` loses rows (sessions of this account start with `{start_zone}`); use \
             DEFAULT (now() AT TIME ZONE '{timezone}')"
        )),
        None => None,
    }
}

/// The zone that an expression such as `(now() AT TIME ZONE 'UTC'::text)` or `timezone('UTC'::text, now())` fixes.
fn fixed_zone(expression: &str) -> Option<String> {
    let lower = expression.to_ascii_lowercase();
    let at = lower.find("at time zone ").map(|at| at + 13).or_else(|| lower.find("timezone(").map(|at| at + 9))?;
    let quoted = expression[at..].trim_start().strip_prefix('\'')?;
    Some(quoted[..quoted.find('\'')?].to_owned())
}

fn same_zone(written: &str, timezone: Tz) -> bool {
    let utc =
        |zone: &str| matches!(zone.to_ascii_uppercase().as_str(), "UTC" | "ETC/UTC" | "GMT" | "ETC/GMT" | "Z" | "ZULU");
    written.eq_ignore_ascii_case(timezone.name()) || (utc(written) && utc(timezone.name()))
}

fn depends_on_session(expression: &str) -> bool {
    let lower = expression.to_ascii_lowercase();
    const CLOCKS: [&str; 6] = ["now()", "current_timestamp", "localtimestamp", "_timestamp()", "timeofday", "'now'"];
    CLOCKS.iter().any(|clock| lower.contains(clock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::TypeFacts;

    const TIMESTAMP: u32 = 1114;
    const TIMESTAMPTZ: u32 = 1184;

    fn warning(oid: u32, default: Option<&str>, timezone: Tz) -> Option<String> {
        let base =
            TypeFacts { oid, typmod: -1, name: "timestamp".to_owned(), kind: "b".to_owned(), category: "D".to_owned() };
        let column = ColumnDescription {
            name: "created_at".to_owned(),
            position: 7,
            declared: "timestamp without time zone".to_owned(),
            base,
            not_null: true,
            default: default.map(str::to_owned),
        };
        default_warning(&column, timezone, "America/New_York")
    }

    #[test]
    fn h7_a_default_that_takes_the_writers_zone_is_warned_of() {
        for default in ["now()", "CURRENT_TIMESTAMP", "LOCALTIMESTAMP", "('now'::text)::timestamp", "clock_timestamp()"]
        {
            let words = warning(TIMESTAMP, Some(default), Tz::UTC).expect(default);
            assert!(words.contains("America/New_York"), "{words}");
            assert_eq!(warning(TIMESTAMPTZ, Some(default), Tz::UTC), None, "{default}");
        }
        for default in ["(now() AT TIME ZONE 'UTC'::text)", "timezone('utc'::text, now())"] {
            assert_eq!(warning(TIMESTAMP, Some(default), Tz::UTC), None, "{default}");
            let words = warning(TIMESTAMP, Some(default), Tz::Asia__Kolkata).expect(default);
            assert!(words.contains("Asia/Kolkata"), "{words}");
        }
        assert_eq!(warning(TIMESTAMP, Some("(now() AT TIME ZONE 'Asia/Kolkata'::text)"), Tz::Asia__Kolkata), None);
        assert!(warning(TIMESTAMP, None, Tz::UTC).is_some_and(|words| words.contains("no default")));
    }
}
