//! The table's side: what `capture` and `postgres` find out, judged.

use std::time::Duration;

use super::report::{Check, Finding, Section, Verdict};
use super::unknown;
use super::words::{age, plural};
use crate::capture::{
    Concern, Examination, Nulls, PollOptions, Preflight, Subject, examine as examine_table, hidden_transactions,
};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::model::Cursor;
use crate::postgres::{
    Activity, ActivityStatements, Client, OrderIndex, PreparedTransaction, Scan, Session, Table, can_read_all_stats,
    quote_identifier, quote_text, server_clock_us,
};
use crate::publish::state_file;
use crate::tools::connect_postgres;

const APPLICATION: &str = "foodstream doctor";
/// Their names all begin so: `verify` reads for long on large tables.
const OUR_APPLICATIONS: &str = "foodstream ";
/// Younger transactions are ordinary work; the producer warns from the same age on.
const LONG_OPEN: Duration = Duration::from_secs(30);
/// Rows that are ten minutes late are late for anybody.
const TOO_LONG_OPEN: Duration = Duration::from_secs(600);
/// No position depends on this machine's clock, but lags and commit times are told by it.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Examined {
    pub findings: Vec<Finding>,
    pub away: bool,
    /// Schema and name, as the catalogue spells them.
    pub table: Option<(String, String)>,
}

pub(super) async fn examine(settings: &Settings) -> Examined {
    let Ok(options) = PollOptions::from_settings(settings) else {
        let why = match settings.has_no_table() {
            true => "the configuration has no section `postgres`: the pipeline begins at its topic",
            false => "the section `postgres` is not complete",
        };
        let checks = Check::ALL.iter().filter(|check| check.section() == Section::Postgres);
        return Examined {
            findings: checks.map(|check| Finding::not_applicable(*check, why)).collect(),
            ..Examined::default()
        };
    };
    let client = match connect_postgres(settings, APPLICATION, Session::Look).await {
        Ok(client) => client,
        Err(error) => {
            let away = error.is_retriable();
            let mut findings = vec![of_error(Check::Server, &error)];
            findings.extend(unknown(Section::Postgres, &findings, "there is no connection, see `server`"));
            return Examined { findings, away, table: None };
        }
    };
    let mut findings = vec![server(&client)];
    let clock = measure_clock(&client).await;
    let clock_us = clock.as_ref().map_or(0, |clock| clock.server_us);
    let mut table = None;
    match examine_table(&client, &options, position(settings), clock_us).await {
        Ok(found) => {
            table = Some((found.preflight.schema_name.clone(), found.preflight.table_name.clone()));
            findings.extend(of_table(&found));
        }
        Err(error) => {
            findings.push(of_error(Check::Table, &error));
            let why = "the table cannot be polled, see `table`";
            let of_its =
                [Check::Index, Check::QueryPlan, Check::TimestampDefault, Check::NullTimestamps, Check::Columns];
            findings.extend(of_its.map(|check| Finding::could_not_tell(check, why)));
        }
    }
    findings.extend(sessions(&client, &options).await);
    findings.push(clock.map_or_else(|error| Finding::could_not_tell(Check::Clock, error.report()), judge_clock));
    Examined { findings, away: false, table }
}

/// Just the table's name, from which that of the cursor topic follows.
pub(super) async fn only_table(settings: &Settings) -> Examined {
    let found = async {
        let client = connect_postgres(settings, APPLICATION, Session::Look).await?;
        Table::describe(&client, &settings.require_postgres()?.table).await
    };
    Examined { table: found.await.ok().map(|table| (table.schema, table.name)), ..Examined::default() }
}

/// Waiting mends what is retriable, and only that is no fault.
pub(super) fn of_error(check: Check, error: &Error) -> Finding {
    let verdict = if error.is_retriable() { Verdict::CouldNotTell } else { Verdict::Fault };
    Finding::new(check, verdict, error.report())
}

/// Where the next page starts, near enough for a plan: the state file follows the cursor.
fn position(settings: &Settings) -> Cursor {
    let written = settings.streaming.state_file.as_deref().and_then(|path| state_file::read(path).ok().flatten());
    written.unwrap_or(Cursor::just_before(settings.cdc.default_start_timestamp_us))
}

fn server(client: &Client) -> Finding {
    let (major, minor) = (client.server_version() / 10_000, client.server_version() % 10_000);
    let (address, database, user) = (client.address(), client.database(), client.user());
    let fact = format!("PostgreSQL {major}.{minor} at {address}, a primary; database {database} as user {user}");
    Finding::ok(Check::Server, fact)
}

fn of_table(found: &Examination) -> Vec<Finding> {
    let Examination { preflight, table, polling, nulls } = found;
    let polling = polling.as_ref().map_err(Error::report);
    let nulls = nulls.as_ref().map_err(Error::report);
    vec![
        described(preflight),
        index(preflight),
        polling.map_or_else(
            |words| Finding::could_not_tell(Check::QueryPlan, words),
            |plan| query_plan(plan, &preflight.index, table),
        ),
        timestamp_default(preflight),
        nulls.map_or_else(
            |words| Finding::could_not_tell(Check::NullTimestamps, words),
            |nulls| null_timestamps(nulls, preflight, table),
        ),
        columns(preflight),
    ]
}

fn described(preflight: &Preflight) -> Finding {
    let Preflight { schema_name, table_name, timestamp_column, timestamp_type, key_column, .. } = preflight;
    let rows = preflight.estimated_rows.map_or("never analysed".to_owned(), |rows| format!("about {rows} rows"));
    let fact =
        format!("{schema_name}.{table_name}, {rows}; key {key_column}, time {timestamp_column} {timestamp_type}");
    Finding::ok(Check::Table, fact)
}

/// The first concern about a subject, as a finding.
fn concern(preflight: &Preflight, check: Check, about: Subject) -> Option<Finding> {
    preflight.warnings.iter().find(|concern| concern.about == about).map(|concern| of_concern(check, concern))
}

fn of_concern(check: Check, concern: &Concern) -> Finding {
    let verdict = if concern.grave { Verdict::Fault } else { Verdict::Warning };
    let finding = Finding::new(check, verdict, &concern.fact);
    match &concern.remedy {
        Some(remedy) => finding.mended_by(remedy),
        None => finding,
    }
}

fn index(preflight: &Preflight) -> Finding {
    concern(preflight, Check::Index, Subject::Index).unwrap_or_else(|| {
        let name = match &preflight.index {
            OrderIndex::Full(name) | OrderIndex::TimestampOnly(name) => name,
            OrderIndex::None => "none",
        };
        let (timestamp, key) = (&preflight.timestamp_column, &preflight.key_column);
        Finding::ok(Check::Index, format!("{name} on ({timestamp}, {key})"))
    })
}

pub(super) fn query_plan(plan: &Scan, index: &OrderIndex, table: &str) -> Finding {
    let check = Check::QueryPlan;
    if plan.follows_an_index() {
        return Finding::ok(check, format!("the next page is read by {}", plan.indexes.join(", ")));
    }
    if *index == OrderIndex::None {
        return Finding::not_applicable(check, "there is no index to use, see `index`");
    }
    let fact = "the server cannot use the index for the polling query: each poll reads or sorts the whole table";
    Finding::new(check, Verdict::Warning, fact).mended_by(format!("REINDEX TABLE CONCURRENTLY {table};"))
}

fn timestamp_default(preflight: &Preflight) -> Finding {
    concern(preflight, Check::TimestampDefault, Subject::Default).unwrap_or_else(|| {
        let Preflight { timestamp_column, timestamp_type, .. } = preflight;
        let default = preflight.timestamp_default.as_deref().unwrap_or("none");
        Finding::ok(Check::TimestampDefault, format!("{timestamp_column} {timestamp_type} DEFAULT {default}"))
    })
}

pub(super) fn null_timestamps(nulls: &Nulls, preflight: &Preflight, table: &str) -> Finding {
    let check = Check::NullTimestamps;
    let column = &preflight.timestamp_column;
    let is_null = format!("{column} IS NULL");
    // The time of the change itself, so that the next poll reads them.
    let quoted = quote_identifier(column);
    let set = format!("UPDATE {table} SET {quoted} = DEFAULT WHERE {quoted} IS NULL;");
    match *nulls {
        Nulls::Impossible => Finding::ok(check, format!("{column} is NOT NULL")),
        Nulls::Counted { rows: 0, .. } => concern(preflight, check, Subject::Nulls).map_or_else(
            || Finding::ok(check, format!("no row has {is_null}")),
            |finding| Finding { fact: format!("no row has {is_null} now, but {}", finding.fact), ..finding },
        ),
        Nulls::Counted { rows, or_more } => {
            let or_more = if or_more { " or more" } else { "" };
            let fact = format!("{}{or_more} with {is_null}: no poll reads them", plural(rows, "row", "rows"));
            Finding::new(check, Verdict::Fault, fact).mended_by(set)
        }
        Nulls::Estimated { share: Some(share) } if share > 0.0 => {
            let fact = format!(
                "about {:.1} % of the rows have {is_null} as the last ANALYZE saw it (the table is large and no index \
                 leads to them, so they were not counted): no poll reads them",
                share * 100.0
            );
            Finding::new(check, Verdict::Fault, fact).mended_by(set)
        }
        Nulls::Estimated { share: Some(_) } => {
            let fact = format!("the last ANALYZE saw no row with {is_null}; they were not counted");
            Finding::new(check, Verdict::Ok, fact)
        }
        Nulls::Estimated { share: None } => {
            let fact = format!("the table is large, no index leads to rows with {is_null}, and it was never analysed");
            Finding::could_not_tell(check, fact).mended_by(format!("ANALYZE {table};"))
        }
    }
}

pub(super) fn columns(preflight: &Preflight) -> Finding {
    let concerns: Vec<&str> = preflight
        .warnings
        .iter()
        .filter(|concern| concern.about == Subject::Columns)
        .map(|concern| concern.fact.as_str())
        .collect();
    if concerns.is_empty() {
        let left_out = match preflight.left_out.as_slice() {
            [] => String::new(),
            names => format!("; left out by `schema`: {}", names.join(", ")),
        };
        let count = plural(preflight.columns.len() as u64, "column fits its", "columns fit their");
        return Finding::ok(Check::Columns, format!("{count} type in the messages{left_out}"));
    }
    let finding = Finding::new(Check::Columns, Verdict::Warning, concerns.join("; "));
    finding.mended_by("widen the type under `schema` of the configuration; `foodstream config from-table` prints it")
}

/// What other sessions do, as far as they can be seen.
async fn sessions(client: &Client, options: &PollOptions) -> Vec<Finding> {
    let (activity, prepared) = match open_transactions_of(client).await {
        Ok(found) => found,
        Err(error) => {
            let checks = [Check::Visibility, Check::OpenTransactions, Check::PreparedTransactions];
            return checks.map(|check| Finding::could_not_tell(check, error.report())).into();
        }
    };
    let visibility = can_read_all_stats(client).await.map(|sees_all| {
        let concern = hidden_transactions(&activity, client.user(), sees_all, options.cdc.late_commit_margin);
        let fine = "open transactions of all sessions are visible: late commits are waited for";
        concern.map_or_else(|| Finding::ok(Check::Visibility, fine), |concern| of_concern(Check::Visibility, &concern))
    });
    vec![
        visibility.unwrap_or_else(|error| Finding::could_not_tell(Check::Visibility, error.report())),
        open_transactions(&activity),
        prepared_transactions(&prepared, activity.clock_us),
    ]
}

async fn open_transactions_of(client: &Client) -> Result<(Activity, Vec<PreparedTransaction>)> {
    ActivityStatements::prepare(client).await?.fetch(client).await
}

fn since(start_us: i64, clock_us: i64) -> Duration {
    Duration::from_micros(clock_us.saturating_sub(start_us).max(0) as u64)
}

/// H9: the oldest one keeps back all rows that began after it.
pub(super) fn open_transactions(activity: &Activity) -> Finding {
    let check = Check::OpenTransactions;
    let Some(oldest) = &activity.oldest else { return Finding::ok(check, "no other session has a transaction open") };
    let open = since(oldest.start_us, activity.clock_us);
    let application = if oldest.application.is_empty() { "no name" } else { &oldest.application };
    let (pid, user) = (oldest.pid, &oldest.user);
    let fact = format!("the oldest is that of pid {pid} ({application}), user {user}, open for {}", age(open));
    if open < LONG_OPEN {
        return Finding::ok(check, fact);
    }
    if oldest.application.starts_with(OUR_APPLICATIONS) {
        return Finding::ok(check, format!("{fact}: foodstream's own, which ends by itself"));
    }
    let verdict = if open < TOO_LONG_OPEN { Verdict::Warning } else { Verdict::Fault };
    let fact = format!("{fact}: newer rows are published only when it ends");
    let finding = Finding::new(check, verdict, fact);
    // Cancelling ends what runs; only its owner or the end of the session ends one that idles.
    let finding = finding.mended_by(format!("SELECT pg_cancel_backend({pid});    -- or ask its owner to end it"));
    finding.mended_by(format!("SELECT pg_terminate_backend({pid});    -- the last resort: its work is lost"))
}

/// H2: nobody may be left who would end it.
pub(super) fn prepared_transactions(prepared: &[PreparedTransaction], clock_us: i64) -> Finding {
    let check = Check::PreparedTransactions;
    let Some(oldest) = prepared.first() else { return Finding::ok(check, "none") };
    let waiting = since(oldest.prepared_us, clock_us);
    let verdict = if waiting < TOO_LONG_OPEN { Verdict::Warning } else { Verdict::Fault };
    let (gid, owner, count) = (&oldest.gid, &oldest.owner, prepared.len() as u64);
    let fact = format!(
        "{} prepared, the oldest `{gid}` by user {owner} {} ago: newer rows are published only when it ends, one way or \
         the other",
        plural(count, "transaction", "transactions"),
        age(waiting)
    );
    let gid = quote_text(gid);
    let finding = Finding::new(check, verdict, fact).mended_by(format!("COMMIT PREPARED {gid};"));
    finding.mended_by(format!("ROLLBACK PREPARED {gid};"))
}

/// The server's clock between two looks at ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub server_us: i64,
    pub before_us: i64,
    pub after_us: i64,
}

async fn measure_clock(client: &Client) -> Result<Clocks> {
    let now_us = || SystemClock.now().timestamp_micros();
    let before_us = now_us();
    let server_us = server_clock_us(client).await?;
    Ok(Clocks { server_us, before_us, after_us: now_us() })
}

pub(super) fn judge_clock(clocks: Clocks) -> Finding {
    let Clocks { server_us, before_us, after_us } = clocks;
    // What of the difference cannot be the way of the question and the answer.
    let (ahead, behind) = (server_us - after_us, before_us - server_us);
    let sure = since(0, ahead.max(behind));
    let difference = age(since(0, (server_us - (before_us + after_us) / 2).abs()));
    let side = if server_us > after_us { "ahead of" } else { "behind" };
    if sure <= CLOCK_TOLERANCE {
        return Finding::ok(Check::Clock, format!("the server's and this machine's differ by {difference}"));
    }
    let fact = format!(
        "the server's clock is {difference} {side} this machine's: no position depends on it, but lags and commit times \
         are told wrong by as much"
    );
    Finding::new(Check::Clock, Verdict::Warning, fact).mended_by("timedatectl set-ntp true")
}
