//! The checks before the first poll, for start-up and for `--dry-run`: what was found, and what to worry about.
//!
//! What makes the promise impossible is an error; what only weakens or slows it is a warning in plain words, which
//! the caller shows.

use std::fmt;
use std::time::Duration;

use chrono_tz::Tz;

use super::plan::Plan;
use super::poll::PollOptions;
use crate::error::{Error, Kind, Result};
use crate::model::Schema;
use crate::postgres::{
    Activity, Client, ColumnDescription, OrderIndex, ServerIdentity, Table, can_read_all_stats, quote_identifier,
    server_encoding, server_identity, session_start_zone,
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
    pub warnings: Vec<Concern>,
}

/// What weakens the promise or slows polling, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    pub about: Subject,
    pub fact: String,
    /// A statement or a setting, as it can be pasted.
    pub remedy: Option<String>,
    /// As things stand rows are missed, or a poll takes seconds; otherwise that needs something more to come.
    pub grave: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Index,
    /// The default of the timestamp column.
    Default,
    /// The timestamp column may be null.
    Nulls,
    Columns,
    /// What the account sees of other sessions' transactions.
    Visibility,
}

impl Concern {
    pub(super) fn new(about: Subject, fact: impl Into<String>) -> Self {
        Concern { about, fact: fact.into(), remedy: None, grave: false }
    }

    pub(super) fn mended_by(self, remedy: impl Into<String>) -> Self {
        Concern { remedy: Some(remedy.into()), ..self }
    }

    pub(super) fn grave_if(self, grave: bool) -> Self {
        Concern { grave, ..self }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fact)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
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

    /// Looks the table up, plans its reading, and gathers what was found: a start's first half, and `doctor`'s.
    pub(super) async fn make(client: &Client, options: &PollOptions) -> Result<(Table, Plan, Preflight)> {
        let table = Table::describe(client, &options.postgres.table).await?;
        if !table.readable {
            return Err(Error::new(
                Kind::Source,
                format!(
                    "user `{user}` may not read {table}; GRANT USAGE ON SCHEMA \"{schema}\" and GRANT SELECT ON {name} TO \
                     \"{user}\" (on the whole table: it is locked against changes of its columns while a page is read)",
                    user = client.user(),
                    schema = table.schema,
                    name = table.qualified()
                ),
            ));
        }
        let plan = Plan::make(client, &table, &options.wanted()).await?;
        let preflight = Preflight::gather(client, &table, &plan, options.cdc.timezone).await?;
        Ok((table, plan, preflight))
    }

    async fn gather(client: &Client, table: &Table, plan: &Plan, timezone: Tz) -> Result<Preflight> {
        let index = table.order_index(client, &plan.timestamp_column, &plan.key.name).await?;
        let reads_all_stats = can_read_all_stats(client).await?;
        let encoding = server_encoding(client).await?;
        let start_zone = session_start_zone(client).await?;
        let timestamp = table.require_column(&plan.timestamp_column, "cdc.timestamp_column")?;
        let mut warnings = Vec::new();
        warnings.extend(index_warning(&index, table, plan));
        warnings.extend(default_warning(timestamp, table, timezone, &start_zone));
        if !timestamp.not_null {
            let name = &timestamp.name;
            let fact = format!("`{name}` may be null: rows without it are never read");
            let remedy =
                format!("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL;", table.qualified(), quote_identifier(name));
            warnings.push(Concern::new(Subject::Nulls, fact).mended_by(remedy));
        }
        if encoding == "SQL_ASCII" {
            let fact = "the database's encoding is SQL_ASCII: text that is not utf-8 ends in quarantine";
            warnings.push(Concern::new(Subject::Columns, fact));
        }
        for field in plan.fields.iter().filter(|field| field.narrows) {
            let fact = format!(
                "column `{}` can hold values that {} of `schema` cannot: such rows end in quarantine",
                field.name, field.data_type
            );
            warnings.push(Concern::new(Subject::Columns, fact));
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

fn index_warning(index: &OrderIndex, table: &Table, plan: &Plan) -> Option<Concern> {
    let (timestamp, key) = (&plan.timestamp_column, &plan.key.name);
    let columns = [timestamp, key].map(|name| quote_identifier(name)).join(", ");
    let is_small = table.estimated_rows.is_some_and(|rows| rows < ROWS_THAT_NEED_AN_INDEX);
    let is_large = table.estimated_rows.is_some_and(|rows| rows >= ROWS_THAT_NEED_AN_INDEX);
    let fact = match index {
        OrderIndex::Full(_) => return None,
        OrderIndex::TimestampOnly(name) => {
            format!("index `{name}` does not hold the key: many rows of one timestamp are sorted at each poll")
        }
        OrderIndex::None if is_small => {
            format!("no index on (`{timestamp}`, `{key}`): each poll reads the whole table, which will grow")
        }
        OrderIndex::None => {
            format!("no index on (`{timestamp}`, `{key}`): each poll reads and sorts the whole table")
        }
    };
    let advice = format!("CREATE INDEX CONCURRENTLY ON {} ({columns});", table.qualified());
    Some(Concern::new(Subject::Index, fact).mended_by(advice).grave_if(*index == OrderIndex::None && is_large))
}

/// H7: whether the column's default gives the time of the zone that `cdc.timezone` names, whoever writes.
fn default_warning(column: &ColumnDescription, table: &Table, timezone: Tz, start_zone: &str) -> Option<Concern> {
    let name = &column.name;
    let has_zone = column.base.timestamp_has_zone() != Some(false);
    let clock = if has_zone { "now()".to_owned() } else { format!("(now() AT TIME ZONE '{timezone}')") };
    let (fact, grave) = match &column.default {
        None => {
            let fact = format!(
                "`{name}` has no default: only rows whose writer sets it to no earlier than its transaction's start are \
                 sure to be read"
            );
            (fact, false)
        }
        Some(_) if has_zone => return None,
        Some(expression) => match fixed_zone(expression) {
            Some(zone) if same_zone(&zone, timezone) => return None,
            Some(zone) => {
                let fact = format!(
                    "the default of `{name}` writes the time of `{zone}` and cdc.timezone is `{timezone}`: rows will be \
                     missed or shifted unless the two are one zone"
                );
                (fact, true)
            }
            None if depends_on_session(expression) => {
                let fact = format!(
                    "the default of `{name}` ({expression}) takes the zone of the writer's session: a writer whose zone \
                     is not `{timezone}` loses rows (sessions of this account start with `{start_zone}`)"
                );
                (fact, !same_zone(start_zone, timezone))
            }
            None => return None,
        },
    };
    let remedy =
        format!("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {clock};", table.qualified(), quote_identifier(name));
    Some(Concern::new(Subject::Default, fact).mended_by(remedy).grave_if(grave))
}

/// H6: whether transactions of other sessions cannot be seen; grave where no fixed delay stands in.
pub fn hidden_transactions(
    activity: &Activity,
    user: &str,
    reads_all_stats: bool,
    late_commit_margin: Option<Duration>,
) -> Option<Concern> {
    let (fact, remedy) = match (reads_all_stats, activity.hidden_pid) {
        (false, _) => (
            format!("user `{user}` may not see other sessions' transactions"),
            format!("GRANT pg_read_all_stats TO {};", quote_identifier(user)),
        ),
        (true, Some(pid)) => (
            format!("session {pid} hides its transactions (track_activities is off there)"),
            format!("ALTER ROLE <the user of session {pid}> SET track_activities = on;    -- from its next session on"),
        ),
        (true, None) => return None,
    };
    let fact = match late_commit_margin {
        Some(margin) => format!(
            "{fact}; until then rows are read {} s late while sessions are hidden, and a transaction that stays open \
             longer than that can lose its rows",
            margin.as_secs_f64()
        ),
        None => fact,
    };
    Some(Concern::new(Subject::Visibility, fact).mended_by(remedy).grave_if(late_commit_margin.is_none()))
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
        concern(oid, default, timezone).map(|concern| concern.to_string())
    }

    fn concern(oid: u32, default: Option<&str>, timezone: Tz) -> Option<Concern> {
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
        let table = Table {
            schema: "public".to_owned(),
            name: "orders".to_owned(),
            oid: 1,
            columns: Vec::new(),
            estimated_rows: None,
            readable: true,
        };
        default_warning(&column, &table, timezone, "America/New_York")
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

    #[test]
    fn a_default_is_grave_where_it_gives_another_zone_already_and_its_remedy_can_be_pasted() {
        let found = |default, zone| concern(TIMESTAMP, default, zone).expect("a concern");
        let utc = found(Some("now()"), Tz::UTC);
        let remedy =
            r#"ALTER TABLE "public"."orders" ALTER COLUMN "created_at" SET DEFAULT (now() AT TIME ZONE 'UTC');"#;
        assert_eq!((utc.grave, utc.remedy.as_deref()), (true, Some(remedy)), "sessions start elsewhere");
        assert!(!found(Some("now()"), Tz::America__New_York).grave, "sessions start there");
        assert!(found(Some("timezone('UTC'::text, now())"), Tz::Asia__Kolkata).grave);
        assert!(!found(None, Tz::UTC).grave);
    }
}
