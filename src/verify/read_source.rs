//! The table's side: every row as the server writes it, in one snapshot, as keys and digests.
//!
//! `COPY (SELECT key::text, column::text …)` under fixed DateStyle and TimeZone: what is compared is PostgreSQL's own
//! text, not our reading of its binary form. Memory does not grow with the table.

use chrono_tz::Tz;

use super::canon::{Canon, Forms, local_micros, parse_moment};
use super::ledger::KeyKind;
use super::reconcile::{Moment, Reconciler, TableRow};
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::postgres::{
    self, Client, ColumnDescription, KeyType, Session, Table, begin_page, copy_out, query_text, quote_identifier,
};

/// As the server shows it in `pg_stat_activity`.
const APPLICATION: &str = "foodstream verify";
/// `character(n)`: its cast to text drops the trailing spaces that the value has.
const BLANK_PADDED: &str = "bpchar";
/// Rows shown of the table's end.
const RECENT: usize = 5;
/// Key, timestamp, xmin: what stands before the compared columns.
const FIXED: usize = 3;

/// The table, looked up, with an open session.
pub(super) struct Source {
    pub client: Client,
    pub table: Table,
    pub key: String,
    pub kind: KeyKind,
    pub timestamp: String,
    /// The timestamp column has no zone: its values are local time.
    local: bool,
    zone: Tz,
}

impl Source {
    /// Opens the table, waiting up to `retry.start_timeout_sec` for a database that is away; `None` where the
    /// configuration names no table.
    pub async fn find(settings: &Settings) -> Result<Option<Source>> {
        if settings.has_no_table() {
            return Ok(None);
        }
        let opened = postgres::until_it_answers(settings.retry.start_timeout, || Source::open(settings)).await?;
        Ok(Some(opened))
    }

    async fn open(settings: &Settings) -> Result<Source> {
        let configured = settings.require_postgres()?;
        let client = postgres::connect(configured, settings.allow_plaintext, APPLICATION, Session::Read).await?;
        let table = Table::describe(&client, &configured.table).await?;
        let key = table.key_column(&client, settings.cdc.key_column.as_deref()).await?;
        let timestamp = settings.cdc.timestamp_column.clone();
        let described = table.require_column(&timestamp, "cdc.timestamp_column")?;
        let Some(has_zone) = described.base.timestamp_has_zone() else {
            return Err(Error::new(
                Kind::Schema,
                format!(
                    "column `{timestamp}` of {table} is {}, not a timestamp; see cdc.timestamp_column",
                    described.declared
                ),
            ));
        };
        let kind = match key.key_type {
            KeyType::Integer => KeyKind::Int,
            KeyType::Uuid => KeyKind::Uuid,
        };
        Ok(Source { client, table, key: key.name, kind, timestamp, local: !has_zone, zone: settings.cdc.timezone })
    }

    /// Whether the table's column of this name shows local time.
    pub fn is_local(&self, column: &str) -> bool {
        self.table.column(column).and_then(|column| column.base.timestamp_has_zone()) == Some(false)
    }

    /// The server's clock on the timestamp column's clock.
    pub async fn now_us(&self) -> Result<i64> {
        let utc_us = postgres::server_clock_us(&self.client).await?;
        Ok(if self.local { local_micros(self.zone, utc_us) } else { utc_us })
    }

    /// Reads the whole table into the reconciler.
    pub async fn scan(&self, forms: &Forms, mut reconciler: Reconciler) -> Result<Reconciler> {
        begin_page(&self.client, &self.table).await?;
        let next_xid = self.next_xid().await?;
        let doing = format!("cannot read {}", self.table);
        let mut reader = RowReader { kind: self.kind, next_xid, canon: Canon::default(), forms };
        let statement = self.statement(forms)?;
        copy_out(&self.client, &statement, &doing, |row| {
            reconciler.row(reader.row(|index| row.get(index))?);
            Ok(())
        })
        .await?;
        self.client.end_page().await?;
        Ok(reconciler)
    }

    /// Upper end of the transaction ids that the snapshot may show, with its epoch.
    async fn next_xid(&self) -> Result<u64> {
        let doing = "cannot read the server's snapshot";
        let sql = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text";
        let rows = query_text(&self.client, sql, doing).await?;
        rows.scalar().and_then(|text| text.parse().ok()).ok_or_else(|| Error::new(Kind::Source, doing))
    }

    fn statement(&self, forms: &Forms) -> Result<String> {
        let (key, timestamp) = (quote_identifier(&self.key), quote_identifier(&self.timestamp));
        let mut sql = format!("SELECT {key}::text, {timestamp}::text, xmin::text");
        for (name, _) in &forms.columns {
            sql.push_str(", ");
            sql.push_str(&text_of(self.table.require_column(name, "the lake")?));
        }
        sql.push_str(" FROM ");
        sql.push_str(&self.table.qualified());
        Ok(sql)
    }

    /// The newest rows in the documents' form; none for a table that is not like theirs.
    pub async fn recent(&self) -> Result<Vec<String>> {
        if ["customer_name", "amount"].iter().any(|name| self.table.column(name).is_none()) {
            return Ok(Vec::new());
        }
        let (key, timestamp) = (quote_identifier(&self.key), quote_identifier(&self.timestamp));
        let sql = format!(
            "SELECT pg_catalog.format('Order #%s: %s | $%s | %s', t.{key}, t.customer_name, t.amount, t.{timestamp}) \
             FROM {} AS t WHERE t.{timestamp} IS NOT NULL ORDER BY t.{timestamp} DESC, t.{key} DESC LIMIT {RECENT}",
            self.table.qualified()
        );
        let rows = query_text(&self.client, &sql, "cannot read the newest rows").await?;
        Ok(rows.rows.into_iter().filter_map(|mut row| row.pop().flatten()).collect())
    }
}

/// The expression whose text is the value that capture carries.
fn text_of(column: &ColumnDescription) -> String {
    let name = quote_identifier(&column.name);
    if column.base.kind == "c" || column.base.category == "A" {
        format!("pg_catalog.to_jsonb({name})::text")
    } else if column.base.name == BLANK_PADDED {
        format!("pg_catalog.textin(pg_catalog.bpcharout({name}))")
    } else {
        format!("{name}::text")
    }
}

/// Turns the fields of the statement into a row.
struct RowReader<'a> {
    kind: KeyKind,
    next_xid: u64,
    canon: Canon,
    forms: &'a Forms,
}

impl RowReader<'_> {
    fn row<'b>(&mut self, field: impl Fn(usize) -> Option<&'b [u8]>) -> Result<TableRow> {
        let wrong = |what: &str| Error::new(Kind::Source, format!("the server sent a row whose {what} cannot be read"));
        let key = field(0).and_then(|text| self.kind.parse(text)).ok_or_else(|| wrong("key"))?;
        let xmin = field(2).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let xmin = full_xid(xmin.ok_or_else(|| wrong("xmin"))?, self.next_xid);
        self.canon.clear();
        for (index, (_, form)) in self.forms.columns.iter().enumerate() {
            self.canon.source(*form, field(FIXED + index));
        }
        Ok(TableRow { key, created_at: moment(field(1)), xmin, digest: self.forms.digest(&self.canon) })
    }
}

fn moment(text: Option<&[u8]>) -> Moment {
    match text {
        None => Moment::Null,
        Some(b"infinity" | b"-infinity") => Moment::Infinite,
        Some(text) => match parse_moment(text) {
            Some((us, offset)) => Moment::At(us - offset.unwrap_or(0)),
            // Before Christ, or after the year 9999: only the side matters.
            None if text.ends_with(b"BC") => Moment::At(i64::MIN + 1),
            None => Moment::At(i64::MAX - 1),
        },
    }
}

/// The 32 bits of a tuple's transaction, with the epoch that puts it below the snapshot's end.
fn full_xid(xid: u32, next: u64) -> u64 {
    let candidate = (next & !0xffff_ffff) | u64::from(xid);
    if candidate < next { candidate } else { candidate.saturating_sub(1 << 32) }
}

#[cfg(test)]
mod tests {
    use super::super::canon::Form;
    use super::*;

    #[test]
    fn a_transaction_id_gets_the_epoch_that_puts_it_in_the_past() {
        assert_eq!(full_xid(700, 800), 700);
        assert_eq!(full_xid(700, (5 << 32) + 800), (5 << 32) + 700);
        assert_eq!(full_xid(900, (5 << 32) + 800), (4 << 32) + 900);
        assert_eq!(full_xid(u32::MAX, 1 << 32), u64::from(u32::MAX));
        assert_eq!(full_xid(900, 800), 0, "a frozen tuple of a cluster that was upgraded");
    }

    #[test]
    fn moments_outside_the_calendar_of_messages_keep_their_side() {
        assert_eq!(moment(None), Moment::Null);
        assert_eq!(moment(Some(b"-infinity")), Moment::Infinite);
        assert_eq!(moment(Some(b"0044-03-15 00:00:00 BC")), Moment::At(i64::MIN + 1));
        assert_eq!(moment(Some(b"12000-01-01 00:00:00")), Moment::At(i64::MAX - 1));
        assert_eq!(moment(Some(b"1970-01-01 00:00:01+00")), Moment::At(1_000_000));
    }

    #[test]
    fn a_row_is_read_from_text_and_a_broken_one_is_an_error() {
        let forms = Forms::of(vec![("id".into(), Form::Number), ("note".into(), Form::Text)]);
        let mut reader = RowReader { kind: KeyKind::Int, next_xid: 900, canon: Canon::default(), forms: &forms };
        let good: [Option<&[u8]>; 5] = [Some(b"7"), Some(b"1970-01-01 00:00:00"), Some(b"800"), Some(b"7"), None];
        let row = reader.row(|index| good[index]).unwrap();
        assert_eq!((row.key, row.created_at, row.xmin), (crate::model::Key::Int(7), Moment::At(0), 800));
        let same = reader.row(|index| good[index]).unwrap();
        assert_eq!(row.digest, same.digest);
        for (at, value) in [(0, None), (0, Some(b"x".as_slice())), (2, Some(b"-1".as_slice())), (2, None)] {
            let mut bad = good;
            bad[at] = value;
            assert!(reader.row(|index| bad[index]).is_err(), "field {at} as {value:?}");
        }
    }
}
