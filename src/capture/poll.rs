//! Polling: pages of a table below the horizon, by binary COPY, straight into messages.
//!
//! One poll is: the open transactions (a statement of its own), the prepared ones (another), W from both; then, in a
//! read-only transaction with a lock and a snapshot of its own, the rows after the position and below W in the order
//! of (timestamp, key). While pages come back full, the following ones are read under the same W: what lies below it
//! is complete however much later it is read. What needs no answer of the one before is sent with it.
//!
//! **Reconnecting** is done here: after any error, or when a call was dropped half-way, the connection is thrown away
//! and the next call makes a new one. The caller waits (its backoff), calls `seek` with the position it published,
//! and polls again.

use std::ops::Deref;
use std::time::{Duration, Instant};

use chrono_tz::Tz;
use tracing::{info, warn};

use super::history::History;
use super::horizon::{Holder, HorizonRules, HorizonState};
use super::plan::{Plan, Wanted};
use super::preflight::{Concern, Preflight, hidden_transactions};
use super::sight::{HolderSight, SourceSight, WaitingRows};
use super::zone::{ColumnClock, LocalToUtc};
use super::{Page, Source};
use crate::clock::{Clock, SystemClock};
use crate::config::{Cdc, Postgres, Settings};
use crate::error::{Error, Kind, Lost, Result};
use crate::model::{ChangeBatch, Cursor, Key, Operation, Schema};
use crate::postgres::{
    Activity, ActivityStatements, Client, PAGE_PATIENCE, PreparedTransaction, ServerIdentity, Session, Table,
    begin_page, connect, copy_out_page, fingerprint, query_briefly, server_clock_us, server_identity,
};
use crate::wire::encode;

/// What `pg_stat_activity` shows of our session.
pub const APPLICATION_NAME: &str = "foodstream producer";
/// Small questions (the clock, the look-ups at a reconnect) that a living server answers at once.
const QUESTION_PATIENCE: Duration = Duration::from_secs(30);
/// Waiting rows are counted up to here; beyond, the number says no more than that it is many.
const COUNT_LIMIT: u64 = 10_000;
/// A count that takes longer, as without an index, is given up: the next page matters more.
const COUNT_TIMEOUT: Duration = Duration::from_millis(500);

/// What a source needs to know.
#[derive(Clone, Debug)]
pub struct PollOptions {
    pub postgres: Postgres,
    pub cdc: Cdc,
    /// `None`: the table's columns.
    pub schema: Option<Schema>,
    pub allow_plaintext: bool,
}

impl PollOptions {
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let postgres = settings.postgres.clone().ok_or_else(|| Error::config("the section `postgres` is missing"))?;
        Ok(PollOptions {
            postgres,
            cdc: settings.cdc.clone(),
            schema: settings.schema.clone(),
            allow_plaintext: settings.allow_plaintext,
        })
    }

    fn timezone(&self) -> Tz {
        self.cdc.timezone
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            timestamp_column: self.cdc.timestamp_column.clone(),
            key_column: self.cdc.key_column.clone(),
            schema: self.schema.clone(),
        }
    }
}

/// A table as a `Source`.
#[derive(Debug)]
pub struct PollSource {
    options: PollOptions,
    table: Table,
    plan: Plan,
    fingerprint: String,
    identity: Option<ServerIdentity>,
    clock: ColumnClock,
    local_to_utc: LocalToUtc,
    horizon: HorizonState,
    holder: Option<Holder>,
    sight: Option<SourceSight>,
    history: History,
    position: Cursor,
    /// The W of a page that was full: the next page is read under it as well.
    open_w: Option<i64>,
    link: Option<Link>,
}

/// A connection with its prepared statements.
#[derive(Debug)]
struct Link {
    client: Client,
    statements: ActivityStatements,
}

/// A link in use: if the call ends early, for whatever reason, the socket is closed at once.
struct InUse(Option<Link>);

impl InUse {
    fn keep(mut self) -> Option<Link> {
        self.0.take()
    }
}

impl Deref for InUse {
    type Target = Link;

    fn deref(&self) -> &Link {
        self.0.as_ref().expect("only `keep` empties it, and consumes it")
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.client.abort();
        }
    }
}

impl PollSource {
    /// Connects and checks everything that polling rests on. Changes nothing; also what `--dry-run` runs.
    ///
    /// The source starts at `cdc.default_start_timestamp` until `seek` says otherwise. The warnings of the report
    /// are the caller's to show.
    ///
    /// # Errors
    /// `Kind::Config` for settings that contradict; `Kind::Schema` for columns; `Kind::Source` for everything about
    /// server, table, key and rights, retriable only if the server is away.
    pub async fn open(options: PollOptions) -> Result<(PollSource, Preflight)> {
        let link = Link::make(&options).await?;
        let client = &link.client;
        let (table, plan, mut report) = Preflight::make(client, &options).await?;
        report.warnings.extend(check_visibility(&link, &options, report.reads_all_stats).await?);
        let rules =
            HorizonRules { begin_margin: options.cdc.begin_margin, late_commit_margin: options.cdc.late_commit_margin };
        let source = PollSource {
            fingerprint: fingerprint(client, &table).await?,
            identity: report.identity.clone(),
            clock: ColumnClock::new(plan.timestamp_has_zone, options.timezone(), plan.timestamp_precision),
            local_to_utc: LocalToUtc::new(options.timezone()),
            horizon: HorizonState::new(rules),
            holder: None,
            sight: None,
            history: History::default(),
            position: Cursor::just_before(options.cdc.default_start_timestamp_us),
            open_w: None,
            link: Some(link),
            options,
            table,
            plan,
        };
        Ok((source, report))
    }

    /// Takes up the W of the published cursor record (on the column's clock, as `Page::horizon_us` gave it). To be
    /// called once, before the first page; without it, prepared transactions found at the start are waited for.
    pub fn restore_horizon(&mut self, horizon_us: i64) {
        self.horizon.restore(self.clock.earliest_instant(horizon_us));
    }

    /// Takes up the snapshot of the published cursor record: a database whose transactions stand before it has gone
    /// back. To be called once, before the first page.
    pub fn restore_history(&mut self, snapshot_xmin: Option<u64>) {
        self.history.restore(snapshot_xmin);
    }

    /// Goes on behind this position whatever the database's past says, because the user said so.
    pub fn accept_history(&mut self, position: Cursor) {
        self.history.accept(position);
    }

    /// What the next page would find of the database's past, without reading one.
    pub async fn check_history(&mut self) -> Result<()> {
        let link = self.take_link().await?;
        let PollSource { history, table, plan, position, .. } = self;
        let looking = async {
            let start = begin_page(&link.client, table).await?;
            history.check(&link.client, table, plan, *position, start.snapshot_xmin).await?;
            link.client.end_page().await
        };
        within(QUESTION_PATIENCE, looking).await?;
        self.link = link.keep();
        Ok(())
    }

    /// The server's time now, as a clock of the timestamp column shows it. A bounded run (K7) ends when W has passed
    /// the time it saw at its start; during the hour that a zone repeats, that takes until the hour is over.
    pub async fn server_clock_us(&mut self) -> Result<i64> {
        let link = self.take_link().await?;
        let clock_us = within(QUESTION_PATIENCE, server_clock_us(&link.client)).await?;
        self.link = link.keep();
        Ok(self.clock.show(clock_us))
    }

    /// Who kept W from following the server's clock at the last poll that asked.
    pub fn holder(&self) -> Option<&Holder> {
        self.holder.as_ref()
    }

    /// What the last page was read under; `None` before the first.
    pub fn sight(&self) -> Option<&SourceSight> {
        self.sight.as_ref()
    }

    /// Counts the rows that wait behind the position and the last horizon, up to a limit and within a moment: for
    /// people. `None` where that took too long, or the horizon was never judged.
    pub async fn count_waiting(&mut self) -> Result<Option<WaitingRows>> {
        let Some(horizon_us) = self.sight.as_ref().map(|sight| sight.horizon_us) else { return Ok(None) };
        let link = self.take_link().await?;
        let statement = self.plan.waiting_statement(self.position, horizon_us, COUNT_LIMIT + 1);
        let counted = within(QUESTION_PATIENCE, query_briefly(&link.client, &statement, COUNT_TIMEOUT)).await?;
        self.link = link.keep();
        let Some(rows) = counted else { return Ok(None) };
        let number = |at: usize| -> Option<i64> { rows.rows.first()?.get(at)?.as_deref()?.parse().ok() };
        let count = |at| number(at).and_then(|count| u64::try_from(count).ok());
        let (Some(rows), Some(held)) = (count(0), count(1)) else { return Ok(None) };
        Ok(Some(WaitingRows {
            rows: rows.min(COUNT_LIMIT),
            rows_at_least: rows > COUNT_LIMIT,
            held: held.min(COUNT_LIMIT),
            held_at_least: held > COUNT_LIMIT,
            oldest_held_us: number(2),
        }))
    }

    pub fn identity(&self) -> Option<&ServerIdentity> {
        self.identity.as_ref()
    }

    /// Columns of the table that the messages do not hold, as of the last look.
    pub fn left_out(&self) -> &[String] {
        &self.plan.left_out
    }

    /// `schema.table`, as the catalogue spells them.
    pub fn table_name(&self) -> String {
        self.table.to_string()
    }

    pub fn position(&self) -> Cursor {
        self.position
    }

    async fn take_link(&mut self) -> Result<InUse> {
        match self.link.take() {
            Some(link) if !link.client.is_closed() => Ok(InUse(Some(link))),
            _ => {
                let link = InUse(Some(Link::make(&self.options).await?));
                self.check_identity(&link.client).await?;
                self.history.reconnected();
                info!(target: "foodstream::producer", server = %link.client.address(), "connected to postgresql again");
                Ok(link)
            }
        }
    }

    /// Another cluster behind the same address is another history: our position means nothing there.
    async fn check_identity(&mut self, client: &Client) -> Result<()> {
        let now = within(QUESTION_PATIENCE, server_identity(client)).await?;
        if let (Some(before), Some(now)) = (&self.identity, &now) {
            if before.system_identifier != now.system_identifier {
                return Err(Error::data_loss(
                    Lost::rows_behind(self.position),
                    format!(
                        "the server at {} is another database cluster now (system identifier {}, before {}): rows after \
                         {} were not read from the former one and the position means nothing in this one",
                        client.address(),
                        now.system_identifier,
                        before.system_identifier,
                        self.position
                    ),
                ));
            }
            if before.timeline != now.timeline {
                warn!(
                    target: "foodstream::producer", before = before.timeline, now = now.timeline,
                    "the server was promoted or restored: going on; `foodstream verify` tells whether rows were lost there"
                );
            }
        }
        self.identity = now.or(self.identity.take());
        Ok(())
    }

    /// The W of the next page, on the column's clock, from what was seen `at` this moment.
    fn next_horizon(&mut self, activity: &Activity, prepared: &[PreparedTransaction], at: Instant) -> Result<i64> {
        let horizon = self.horizon.advance(activity, prepared)?;
        for warning in &horizon.warnings {
            warn!(target: "foodstream::producer", "{warning}");
        }
        self.holder = horizon.holder;
        // Without any W nothing below the start position is asked for, so that no row can be.
        let horizon_us = horizon.w_us.map_or(self.position.timestamp_us, |w_us| self.clock.horizon(w_us));
        self.sight = Some(SourceSight {
            clock_utc_us: activity.clock_us,
            clock_column_us: self.clock.show(activity.clock_us),
            at,
            horizon_us,
            holder: self.holder.as_ref().map(|holder| HolderSight {
                text: holder.to_string(),
                pid: holder.pid(),
                age: holder.age,
            }),
        });
        Ok(horizon_us)
    }

    async fn read_page(&mut self, link: &Link, limit: u32, batch: &mut ChangeBatch) -> Result<Page> {
        let limit = limit.max(1);
        let (horizon_us, start) = match self.open_w.take() {
            Some(open) => (open, begin_page(&link.client, &self.table).await?),
            None => {
                let look = async { Ok((link.statements.fetch(&link.client).await?, SystemClock.instant())) };
                // Sent together, run one after the other: the page's snapshot is younger than the look (H4).
                let looks = tokio::try_join!(biased; look, begin_page(&link.client, &self.table));
                let (((activity, prepared), at), start) = looks?;
                (self.next_horizon(&activity, &prepared, at)?, start)
            }
        };
        if start.fingerprint != self.fingerprint {
            self.accept_changed_table(&link.client, start.fingerprint).await?;
        }
        let PollSource { history, table, plan, position, .. } = self;
        history.check(&link.client, table, plan, *position, start.snapshot_xmin).await?;
        let statement = self.plan.page_statement(self.position, horizon_us, limit);
        let doing = format!("cannot read a page of {}", self.table);
        let PollSource { plan, position, local_to_utc, .. } = self;
        let mut to_utc = |local_us| local_to_utc.convert(local_us);
        let rows = copy_out_page(&link.client, &statement, &doing, |row| {
            if row.len() != plan.width() {
                return Err(Error::bug(format!("a row has {} fields and not {}", row.len(), plan.width())));
            }
            let (cursor, key) = plan.position_of(row)?;
            if !comes_after(cursor, *position) {
                return Err(Error::bug(format!("row {cursor} came after position {position}")));
            }
            batch.push_with(Operation::Insert, |out| {
                write_key(out, key);
                let key_end = out.len();
                plan.write_value(row, out, &mut to_utc).map(|()| key_end)
            })?;
            // Both at every row: if the call is dropped here, batch and position still agree.
            *position = cursor;
            batch.reached(cursor);
            Ok(())
        })
        .await? as usize;
        let full = rows >= limit as usize;
        self.open_w = full.then_some(horizon_us);
        Ok(Page { rows, full, horizon_us, snapshot_xmin: start.snapshot_xmin })
    }

    /// The table's columns are not the ones we knew: go on if only some were added.
    async fn accept_changed_table(&mut self, client: &Client, fingerprint: String) -> Result<()> {
        let name =
            format!("\"{}\".\"{}\"", self.table.schema.replace('"', "\"\""), self.table.name.replace('"', "\"\""));
        let table = Table::describe(client, &name).await?;
        if table.oid != self.table.oid {
            return Err(Error::new(
                Kind::Schema,
                format!("table {table} was dropped and created anew while it was being read: it is another table now"),
            ));
        }
        let plan = self.plan.remake(client, &table, &self.options.wanted()).await?;
        for column in plan.left_out.iter().filter(|column| !self.plan.left_out.contains(column)) {
            warn!(
                target: "foodstream::producer", %column, %table,
                "a column was added: it stays out of the messages until `schema` names it or the producer is restarted"
            );
        }
        self.table = table;
        self.plan = plan;
        self.fingerprint = fingerprint;
        Ok(())
    }
}

impl Source for PollSource {
    fn seek(&mut self, position: Cursor) {
        self.position = position;
        self.open_w = None;
    }

    /// Appends up to `limit` rows. The future may be dropped at any point: the batch then holds whole rows up to its
    /// `end`, the connection is closed, and the next call goes on after `end` on a new one.
    async fn next_page(&mut self, limit: u32, batch: &mut ChangeBatch) -> Result<Page> {
        let link = self.take_link().await?;
        let page = within(PAGE_PATIENCE, self.read_page(&link, limit, batch)).await?;
        self.link = link.keep();
        Ok(page)
    }
}

impl Link {
    async fn make(options: &PollOptions) -> Result<Link> {
        let client = connect(&options.postgres, options.allow_plaintext, APPLICATION_NAME, Session::Poll).await?;
        let statements = within(QUESTION_PATIENCE, ActivityStatements::prepare(&client)).await?;
        Ok(Link { client, statements })
    }
}

/// H6: the promise rests on seeing everyone's transactions.
async fn check_visibility(link: &Link, options: &PollOptions, reads_all_stats: bool) -> Result<Option<Concern>> {
    let (activity, _) = link.statements.fetch(&link.client).await?;
    let concern = hidden_transactions(&activity, link.client.user(), reads_all_stats, options.cdc.late_commit_margin);
    match concern {
        Some(Concern { grave: true, fact, remedy, .. }) => Err(Error::new(
            Kind::Source,
            format!(
                "{fact}; {}; or set cdc.late_commit_margin_sec to read that much later, with a weaker promise",
                remedy.unwrap_or_default().trim_end_matches(';')
            ),
        )),
        other => Ok(other),
    }
}

/// Runs a conversation with the server under a limit of our own, because a stopped server keeps its socket open.
async fn within<T>(patience: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(patience, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(
            Kind::Source,
            format!("postgresql has not answered for {} s; the connection is given up", patience.as_secs()),
        )
        .retriable()),
    }
}

#[inline]
fn comes_after(row: Cursor, position: Cursor) -> bool {
    match position.key {
        Some(_) => (row.timestamp_us, row.key) > (position.timestamp_us, position.key),
        None => row.timestamp_us > position.timestamp_us,
    }
}

#[inline]
fn write_key(out: &mut Vec<u8>, key: Key) {
    match key {
        Key::Int(value) => encode::integer(out, value),
        Key::Uuid(bytes) => encode::uuid_text(out, bytes),
    }
}
