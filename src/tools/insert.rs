//! Test orders into the table: a few by INSERT, a load at a rate, or millions by COPY.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use super::connect_postgres;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::generate::{self, Order, Plan};
use crate::model::Key;
use crate::model::decimal;
use crate::postgres::{Client, CopyWriter, Session, Table, copy_out, insert_text_rows, query_text, quote_identifier};

const APPLICATION: &str = "foodstream insert-orders";
/// From here on rows go by COPY, which is ten times as fast; below, INSERT takes any column type.
const COPY_FROM: u64 = 10_000;
/// One step of a load at a rate: short enough to look even, long enough to let a step carry rows.
const TICK: Duration = Duration::from_millis(20);
/// Rows of one INSERT: keeps statements below the protocol's limit of parameters and the memory small.
const CHUNK: usize = 1_000;
/// Rows shown, and ids named in a line.
const RECENT: usize = 5;
pub const NAMED_IDS: usize = 20;
/// Hundredths.
const AMOUNT_SCALE: u8 = 2;
/// The order columns without those the table fills in.
const COLUMNS: [&str; 5] = ["customer_name", "restaurant_name", "item", "amount", "order_status"];

/// What to insert.
#[derive(Clone, Copy, Debug)]
pub struct InsertOptions {
    pub count: u64,
    /// Rows a second; all at once without it.
    pub rate: Option<f64>,
    /// Part of the orders that break a rule, 0 to 1.
    pub invalid_share: f64,
    /// `None`: other orders at each call.
    pub seed: Option<u64>,
    /// Of the first rows so many ids are kept for the report: all of a load of millions are memory for nobody.
    pub most_ids: usize,
}

impl Default for InsertOptions {
    /// One round of the guide.
    fn default() -> Self {
        InsertOptions { count: 5, rate: None, invalid_share: 0.0, seed: None, most_ids: usize::MAX }
    }
}

/// What was inserted.
#[derive(Clone, Debug)]
pub struct InsertReport {
    pub table: String,
    pub inserted: u64,
    /// In the order of insertion, as many as were asked for.
    pub ids: Vec<Key>,
    /// The id inserted last.
    pub last: Option<Key>,
    /// Rows of the table afterwards.
    pub total: u64,
    /// The newest rows: `Order #15: Test Customer 5 | $423.45 | 2025-11-18 12:30:45.123456`.
    pub recent: Vec<String>,
}

impl InsertReport {
    /// The documents' lines, without the program's tag.
    pub fn lines(&self) -> Vec<String> {
        let named: Vec<String> = self.ids.iter().take(NAMED_IDS).map(Key::to_string).collect();
        let more = match self.last {
            Some(last) if self.inserted > named.len() as u64 => format!(", … {last}"),
            _ => String::new(),
        };
        vec![
            format!("Successfully inserted {} records", self.inserted),
            format!("Inserted Order IDs: [{}{more}]", named.join(", ")),
            format!("Total records in {} table: {}", self.table, self.total),
        ]
    }
}

/// The ids of what was inserted, as far as they are wanted.
struct Inserted {
    most: usize,
    count: u64,
    ids: Vec<Key>,
    last: Option<Key>,
}

impl Inserted {
    fn note(&mut self, text: &str) -> Result<()> {
        let key: Key = text
            .parse()
            .map_err(|error: String| Error::new(Kind::Source, format!("the server returned a key: {error}")))?;
        self.count += 1;
        self.last = Some(key);
        if self.ids.len() < self.most {
            self.ids.push(key);
        }
        Ok(())
    }
}

/// Where the rows go.
struct Target {
    client: Client,
    table: Table,
    key: String,
}

/// Inserts test orders; `created_at` and the key are the table's defaults. Ends early when `stop` completes: a load at
/// a rate with what is there, any other without a row.
///
/// # Errors
/// `Source`, retriable while the database is away; `Schema` for a table without the order columns. Without a rate
/// either all rows are there afterwards or none: `Interrupted`, where `stop` came before the commit.
pub async fn insert_test_orders(
    settings: &Settings,
    options: &InsertOptions,
    stop: impl Future<Output = ()> + Send,
) -> Result<InsertReport> {
    let mut stop = pin!(stop);
    let target = tokio::select! {
        target = open(settings) => target?,
        () = &mut stop => return Err(Error::interrupted()),
    };
    let plan = Plan {
        seed: options.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0),
        count: options.count,
        first: 1,
        invalid_share: options.invalid_share,
    };
    let mut inserted = Inserted { most: options.most_ids, count: 0, ids: Vec::new(), last: None };
    match options.rate {
        Some(rate) => target.at_rate(plan, rate, &mut inserted, stop).await?,
        None => target.at_once(plan, &mut inserted, stop).await?,
    }
    let Target { client, table, key } = target;
    let total = total(&client, &table).await?;
    let recent = recent(&client, &table, &key, &settings.cdc.timestamp_column).await?;
    let Inserted { count, ids, last, .. } = inserted;
    Ok(InsertReport { table: table.name.clone(), inserted: count, ids, last, total, recent })
}

async fn open(settings: &Settings) -> Result<Target> {
    let client = connect_postgres(settings, APPLICATION, Session::Write).await?;
    let table = Table::describe(&client, &settings.require_postgres()?.table).await?;
    for name in COLUMNS {
        table.require_column(name, "the order schema")?;
    }
    let key = table.key_column(&client, settings.cdc.key_column.as_deref()).await?.name;
    Ok(Target { client, table, key })
}

fn texts(order: &Order) -> Vec<Option<String>> {
    vec![
        Some(order.customer_name.clone()),
        Some(order.restaurant_name.to_owned()),
        Some(order.item.to_owned()),
        Some(decimal::format(i128::from(order.amount_cents).into(), usize::from(AMOUNT_SCALE))),
        Some(order.order_status.to_owned()),
    ]
}

impl Target {
    async fn begin(&self) -> Result<()> {
        query_text(&self.client, "BEGIN", "cannot begin a load").await.map(drop)
    }

    async fn commit(&self) -> Result<()> {
        query_text(&self.client, "COMMIT", "cannot commit the load").await.map(drop)
    }

    /// In one transaction.
    async fn at_once(&self, plan: Plan, inserted: &mut Inserted, stop: impl Future<Output = ()> + Send) -> Result<()> {
        self.begin().await?;
        let is_numeric = self.table.column("amount").is_some_and(|column| column.base.name == "numeric");
        let by_copy = plan.count >= COPY_FROM && is_numeric;
        let load = async {
            if by_copy { self.copy(plan, inserted).await } else { self.insert(generate::orders(plan), inserted).await }
        };
        tokio::select! {
            loaded = load => loaded?,
            () = stop => {
                // The server takes back what a session leaves uncommitted. Closed at once: a load's last rows may wait
                // for a lock.
                self.client.abort();
                return Err(Error::interrupted());
            }
        }
        // Not given up half-way: whether the rows are there would be unknown.
        self.commit().await
    }

    async fn insert(&self, orders: impl Iterator<Item = Order>, inserted: &mut Inserted) -> Result<()> {
        let Target { client, table, key } = self;
        let rows = orders.map(|order| texts(&order));
        insert_text_rows(client, table, &COLUMNS, rows, key, |text| inserted.note(text)).await
    }

    /// Each step inserts what is due by the clock, so that a slow step is made up for by the next.
    async fn at_rate(
        &self,
        plan: Plan,
        rate: f64,
        inserted: &mut Inserted,
        mut stop: std::pin::Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<()> {
        let mut orders = generate::orders(plan);
        let begun = SystemClock.instant();
        loop {
            let elapsed = SystemClock.instant().duration_since(begun).as_secs_f64();
            let due = ((elapsed * rate) as u64 + 1).min(plan.count);
            while inserted.count < due {
                let step = usize::try_from(due - inserted.count).unwrap_or(CHUNK).min(CHUNK);
                self.begin().await?;
                self.insert(orders.by_ref().take(step), inserted).await?;
                self.commit().await?;
            }
            if inserted.count == plan.count {
                return Ok(());
            }
            let next = begun + Duration::from_secs_f64(due as f64 / rate);
            let pause = next.saturating_duration_since(SystemClock.instant()).max(TICK);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = &mut stop => return Ok(()),
            }
        }
    }

    /// COPY returns no keys; the rows of our own transaction are found by it.
    async fn copy(&self, plan: Plan, inserted: &mut Inserted) -> Result<()> {
        let Target { client, table, key } = self;
        let mut writer = CopyWriter::start(client, table, &COLUMNS).await?;
        for order in generate::orders(plan) {
            writer.text(&order.customer_name)?;
            writer.text(order.restaurant_name)?;
            writer.text(order.item)?;
            writer.decimal(i128::from(order.amount_cents), AMOUNT_SCALE)?;
            writer.text(order.order_status)?;
            writer.end_row().await?;
        }
        writer.finish().await?;
        let key = quote_identifier(key);
        let doing = "cannot read the keys of the loaded rows";
        let statement = format!(
            "SELECT t.{key}::text FROM {} AS t \
             WHERE t.xmin::text = (pg_catalog.pg_current_xact_id()::text::numeric % 4294967296)::text ORDER BY t.{key}",
            table.qualified()
        );
        copy_out(client, &statement, doing, |row| inserted.note(row.text(0)?.unwrap_or_default())).await.map(drop)
    }
}

async fn total(client: &Client, table: &Table) -> Result<u64> {
    let doing = "cannot count the rows";
    let rows = query_text(client, &format!("SELECT count(*) FROM {}", table.qualified()), doing).await?;
    rows.scalar().and_then(|text| text.parse().ok()).ok_or_else(|| Error::new(Kind::Source, doing))
}

async fn recent(client: &Client, table: &Table, key: &str, timestamp: &str) -> Result<Vec<String>> {
    table.require_column(timestamp, "cdc.timestamp_column")?;
    let (key, timestamp) = (quote_identifier(key), quote_identifier(timestamp));
    let sql = format!(
        "SELECT pg_catalog.format('Order #%s: %s | $%s | %s', t.{key}, t.customer_name, t.amount, t.{timestamp}) \
         FROM {} AS t WHERE t.{timestamp} IS NOT NULL ORDER BY t.{timestamp} DESC, t.{key} DESC LIMIT {RECENT}",
        table.qualified()
    );
    let rows = query_text(client, &sql, "cannot read the newest rows").await?;
    Ok(rows.rows.into_iter().filter_map(|mut row| row.pop().flatten()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(count: i64) -> InsertReport {
        let ids: Vec<Key> = (11..11 + count).map(Key::Int).take(NAMED_IDS).collect();
        let (inserted, last) = (count as u64, Some(Key::Int(10 + count)));
        InsertReport { table: "orders".into(), inserted, ids, last, total: 10 + inserted, recent: Vec::new() }
    }

    #[test]
    fn the_lines_are_the_documents() {
        assert_eq!(
            report(5).lines(),
            [
                "Successfully inserted 5 records",
                "Inserted Order IDs: [11, 12, 13, 14, 15]",
                "Total records in orders table: 15"
            ]
        );
    }

    #[test]
    fn a_load_names_its_first_ids_and_its_last() {
        let line = report(100).lines().remove(1);
        assert!(line.ends_with("29, 30, … 110]"), "{line}");
    }

    #[test]
    fn amounts_are_written_with_their_cents() {
        let order = generate::orders(Plan { seed: 1, count: 1, first: 1, invalid_share: 0.0 }).next().unwrap();
        let values = texts(&Order { amount_cents: -5, ..order });
        assert_eq!(values[3].as_deref(), Some("-0.05"));
        assert_eq!(values.len(), COLUMNS.len());
    }
}
