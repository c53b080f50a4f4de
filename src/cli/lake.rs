//! `read`, `totals`, `lake rebuild-log` and `create-parquet`: commands about the lake's files alone.

use std::io::{BufRead, IsTerminal, Write};

use serde_json::json;

use super::args::{Common, CreateParquet, Read, RowForm, ShownTotals, Totals};
use super::output::Out;
use super::rows::{RowWriter, objects};
use super::session::Session;
use crate::clock::{Clock, SystemClock};
use crate::config::{Compression, Settings};
use crate::error::{Error, Result};
use crate::lake::read::{DayRange, LakeReader, ReadOptions, Root};
use crate::lake::rebuild_log;
use crate::pipeline::compose;
use crate::tools::{self, TotalsOptions, TotalsTable, create_parquet_sample};

/// Rows that `read` shows as a table without --limit: a screenful.
const DEFAULT_LIMIT: usize = 20;

pub fn read(args: &Read, session: &mut Session) -> Result<i32> {
    let settings = session.begin(&args.common)?;
    let lake = settings.require_lake()?;
    let checkpoint = settings.streaming.checkpoint_location.as_deref();
    let reader = LakeReader::with_settings(lake, checkpoint, Root::Lake)?;
    let in_scope = |date: &chrono::NaiveDate| args.date.is_none_or(|wanted| wanted == *date);
    let partitions: Vec<_> = reader.partitions().into_iter().filter(|day| in_scope(&day.date)).collect();
    let total: u64 = partitions.iter().map(|day| day.rows).sum();
    let out = &mut session.out;
    if args.format == RowForm::Table {
        out.line(format_args!("Reading Parquet files from: {}\n", lake.path.display()));
        out.line(format_args!("Total records: {total}"));
        if !partitions.is_empty() {
            out.line("Records by date:");
        }
        for day in &partitions {
            out.line(format_args!("  {}: {} ({} files, {} bytes)", day.date, day.rows, day.files, day.bytes));
        }
    }
    if !session.out.wants_json() {
        let limit = args.limit.unwrap_or(if args.format == RowForm::Table { DEFAULT_LIMIT } else { usize::MAX });
        sample(&reader, args, limit, &mut session.out)?;
    }
    let days: Vec<_> = partitions
        .iter()
        .map(|day| json!({ "date": day.date, "rows": day.rows, "files": day.files, "bytes": day.bytes }))
        .collect();
    session.out.report(&json!({ "path": lake.path, "rows": total, "partitions": days }));
    Ok(0)
}

fn sample(reader: &LakeReader, args: &Read, limit: usize, out: &mut Out) -> Result<()> {
    let days = args.date.map(DayRange::only).unwrap_or_default();
    let options = ReadOptions { days, date_column: true, ..ReadOptions::default() };
    let mut left = limit;
    let mut rows = RowWriter::new(args.format);
    for batch in reader.batches(options) {
        if left == 0 {
            break;
        }
        let batch = batch?;
        let shown = batch.slice(0, batch.num_rows().min(left));
        if left == limit && args.format == RowForm::Table {
            out.line("Sample records:");
        }
        left -= shown.num_rows();
        rows.write(&shown, out)?;
    }
    rows.finish(out);
    Ok(())
}

pub fn totals(args: &Totals, session: &mut Session) -> Result<i32> {
    let settings = session.begin(&args.common)?;
    show_totals(&settings, &args.shown, session)
}

/// Totals of whichever pipeline the settings are of.
pub(super) fn show_totals(settings: &Settings, shown: &ShownTotals, session: &mut Session) -> Result<i32> {
    let options = TotalsOptions { by: shown.by.clone(), running: true };
    let TotalsTable { commit, committed_at, rows } = tools::totals_table(settings, &options)?;
    let out = &mut session.out;
    if shown.format == RowForm::Table {
        match (commit, committed_at) {
            (Some(number), Some(at)) => {
                out.line(format_args!("Totals of commit {number}, {}:", at.format("%F %T UTC")))
            }
            _ => out.line("No lake has been founded yet: no totals"),
        }
    }
    let mut table = RowWriter::new(shown.format);
    if out.wants_json() {
        out.report(&json!({ "commit": commit, "committed_at": committed_at, "totals": objects(&rows)? }));
    } else {
        table.write(&rows, out)?;
        table.finish(out);
    }
    Ok(0)
}

pub fn rebuild(common: &Common, yes: bool, session: &mut Session) -> Result<i32> {
    let settings = session.begin(common)?;
    let validator = compose::validator(&settings)?;
    let options = compose::lake_options(&settings, &validator)?;
    if !yes {
        confirm(&format!(
            "This sets the log in {} aside and writes a new one from the files of {}.\nStop all consumers first.",
            options.checkpoint.display(),
            options.settings.path.display()
        ))?;
    }
    let totals = compose::aggregator(&settings, &validator)?;
    let done = rebuild_log(&options, &|batches| totals.of(batches))?;
    let out = &mut session.out;
    out.line(format_args!(
        "✓ {} commits from {} files: {} rows accepted, {} in quarantine",
        done.commits, done.files, done.counts.accepted, done.counts.rejected
    ));
    if let Some(old) = &done.set_aside {
        out.line(format_args!("  The old log lies in {}", old.display()));
    }
    for gap in &done.gaps {
        let (partition, from, to) = (gap.partition, gap.from, gap.to);
        out.line(format_args!("! no file tells of offsets [{from}, {to}) of partition {partition}"));
    }
    if !done.gaps.is_empty() {
        out.line("  They were commits without rows, or files that are gone; `foodstream verify` tells which");
    }
    if !done.starts_known {
        let names: Vec<String> = done.forgotten.iter().map(i32::to_string).collect();
        let which = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        out.line(format_args!(
            "! no first record tells where reading began: partitions without a file{which} are read from their earliest \
             message"
        ));
    }
    let gaps: Vec<_> =
        done.gaps.iter().map(|gap| json!({ "partition": gap.partition, "from": gap.from, "to": gap.to })).collect();
    out.report(&json!({
        "lake": done.lake, "topic": done.topic, "topic_id": done.topic_id, "commits": done.commits,
        "files": done.files, "counts": done.counts, "positions": done.positions, "gaps": gaps,
        "starts_known": done.starts_known, "forgotten": done.forgotten, "set_aside": done.set_aside,
    }));
    Ok(0)
}

pub fn create_parquet(args: &CreateParquet, session: &mut Session) -> Result<i32> {
    session.expect(args.report);
    let compression = Compression::Zstd(1);
    let paths = create_parquet_sample(&args.output, args.count, args.seed, compression, SystemClock.now())?;
    session.out.line(format_args!("Wrote {} orders to {}", args.count, args.output.display()));
    paths.iter().for_each(|path| session.out.line(format_args!("  {}", path.display())));
    session.out.report(&json!({ "rows": args.count, "path": args.output, "files": paths }));
    Ok(0)
}

/// Asks on the terminal; without one the yes must be a flag.
fn confirm(what: &str) -> Result<()> {
    let refused = |why: &str| Error::config(format!("{why}; nothing was changed"));
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(refused("this needs a yes: give it with --yes"));
    }
    let mut stderr = std::io::stderr().lock();
    let asked = write!(stderr, "{what}\nGo on? Type yes: ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    asked
        .and_then(|()| stdin.lock().read_line(&mut answer))
        .map_err(|error| refused("the answer could not be read").because(error))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(refused("not confirmed")) }
}
