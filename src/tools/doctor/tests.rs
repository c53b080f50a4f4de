//! Facts to verdicts, without any service; docs/OPERATIONS.md against the list of checks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::broker::{Topic, judge_copies, judge_group, judge_position, transactions};
use super::report::{Check, Finding, Report, Section, Verdict};
use super::retention::{self, Limits, Unread};
use super::source::{
    Clocks, columns, judge_clock, null_timestamps, open_transactions, prepared_transactions, query_plan,
};
use super::storage::{commit_log, files, folders, judge_space};
use super::{DoctorOptions, complaints, doctor, program, unknown};
use crate::broker::kafka::{PartitionCopies, PartitionLag};
use crate::broker::{Bounds, TopicDescription};
use crate::capture::{Concern, Nulls, Preflight, Subject};
use crate::config::{Kafka, Overrides, Settings};
use crate::lake::Head;
use crate::lake::health::{DayOfFiles, Folder, LogHealth, NewestDays, Space};
use crate::model::{Counts, Schema, Totals};
use crate::postgres::{Activity, OldestStart, OrderIndex, PreparedTransaction, Scan};

const SECOND_US: i64 = 1_000_000;
const CATCH_UP: &str = "foodstream consumer";

fn settings() -> Settings {
    let tree = json!({ "kafka": { "brokers": "localhost:9092", "topic": "orders" } });
    Settings::in_memory(&Overrides { tree: Some(tree), ..Overrides::default() }).unwrap()
}

fn kafka() -> Kafka {
    settings().kafka.unwrap()
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn head(positions: &[(i32, i64)]) -> Head {
    Head {
        number: 3,
        hash: String::new(),
        positions: positions.iter().copied().collect(),
        topic: "orders".to_owned(),
        topic_id: "id".to_owned(),
        counts: Counts::default(),
        totals: Totals::default(),
    }
}

fn topic(bounds: &[(i64, i64)]) -> Topic {
    let about = TopicDescription { name: "orders".to_owned(), id: "id".to_owned(), partitions: bounds.len() as i32 };
    let bound = |(number, &(earliest, end)): (usize, &(i64, i64))| Bounds { partition: number as i32, earliest, end };
    Topic { about, bounds: bounds.iter().enumerate().map(bound).collect(), config: BTreeMap::new() }
}

fn preflight() -> Preflight {
    Preflight {
        server_version: 150_000,
        database: "db".to_owned(),
        schema_name: "public".to_owned(),
        table_name: "orders".to_owned(),
        columns: Vec::new(),
        schema: Schema::orders(),
        left_out: Vec::new(),
        timestamp_column: "created_at".to_owned(),
        timestamp_type: "timestamp without time zone".to_owned(),
        timestamp_default: Some("(now() AT TIME ZONE 'UTC'::text)".to_owned()),
        key_column: "order_id".to_owned(),
        index: OrderIndex::None,
        reads_all_stats: true,
        estimated_rows: Some(10),
        identity: None,
        warnings: Vec::new(),
    }
}

#[test]
fn every_check_has_a_row_in_the_runbook_and_every_row_is_a_check() {
    let page = include_str!("../../../docs/OPERATIONS.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Doctor")).expect("a section `Doctor`");
    let rows: Vec<(&str, &str)> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once('`'))
        .filter_map(|(title, rest)| Some((title.trim_end_matches([' ', '|']), rest.split('`').next()?)))
        .collect();
    let checks: Vec<(&str, &str)> = Check::ALL.iter().map(|check| (check.section().title(), check.id())).collect();
    assert_eq!(rows, checks);
}

#[test]
fn a_fault_comes_before_a_service_that_is_away_and_warnings_are_no_failure() {
    let of = |verdict| Finding::new(Check::Topic, verdict, "fact");
    let code = |findings: Vec<Finding>, away: Vec<Section>| Report { findings, away }.exit_code();
    assert_eq!(code(vec![of(Verdict::Ok), of(Verdict::Warning), of(Verdict::CouldNotTell)], vec![]), 0);
    assert_eq!(code(vec![of(Verdict::Warning)], vec![Section::Kafka]), 75);
    assert_eq!(code(vec![of(Verdict::Fault)], vec![Section::Kafka]), 3);
    assert_eq!(code(vec![], vec![]), 0);
}

#[test]
fn a_report_shows_each_finding_with_its_remedy_alone_on_a_line() {
    let findings = vec![
        Finding::ok(Check::Server, "there"),
        Finding::new(Check::Index, Verdict::Warning, "no <index>").mended_by("CREATE INDEX;"),
        Finding::not_applicable(Check::Topic, "not begun"),
    ];
    let report = Report { findings, away: vec![] };
    let text = report.render(false);
    assert!(text.contains("========== PostgreSQL =========="), "{text}");
    assert!(text.contains("\n! index ") && text.contains("| no <index>\n      CREATE INDEX;\n"), "{text}");
    assert!(text.contains("\n- topic "), "{text}");
    assert!(text.ends_with("! No fault found, but look at: index\n"), "{text}");
    assert!(!text.contains("Data Lake"), "nothing was looked at there: {text}");
    let mut plain = report.render(true);
    for code in ["\x1b[0m", "\x1b[2m", "\x1b[32m", "\x1b[33m"] {
        assert!(plain.contains(code));
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, text);
    assert!(report.to_html().contains("no &lt;index&gt;<br><code>CREATE INDEX;</code>"));
    assert_eq!(report.to_json()["checks"][1]["remedies"], json!(["CREATE INDEX;"]));
    assert_eq!(complaints(&report).len(), 2, "what is fine or not begun is none");
}

#[test]
fn what_could_not_be_looked_at_is_named_and_nothing_twice() {
    let made = [Finding::ok(Check::Brokers, "1 broker")];
    let rest = unknown(Section::Kafka, &made, "why");
    let all = Check::ALL.iter().filter(|check| check.section() == Section::Kafka).count();
    assert_eq!(rest.len(), all - 1);
    assert!(rest.iter().all(|finding| finding.verdict == Verdict::CouldNotTell && finding.check != Check::Brokers));
}

#[tokio::test]
async fn a_section_that_is_asked_for_and_not_configured_is_a_configuration_error() {
    let only = |section| DoctorOptions { sections: vec![section] };
    let refusal = doctor(&settings(), &only(Section::Lake)).await.unwrap_err();
    assert_eq!(refusal.exit_code(), 2);
    let report = doctor(&settings(), &only(Section::Program)).await.unwrap();
    assert_eq!((report.findings.len(), report.exit_code()), (2, 0));
}

#[test]
fn h9_an_open_transaction_is_named_and_judged_by_its_age() {
    let activity = |age_us: i64| Activity {
        clock_us: 10_000 * SECOND_US,
        in_recovery: false,
        hidden: 0,
        hidden_pid: None,
        oldest: Some(OldestStart {
            start_us: 10_000 * SECOND_US - age_us,
            pid: 7,
            application: "dump".to_owned(),
            user: "clerk".to_owned(),
        }),
    };
    for (seconds, verdict) in [(1, Verdict::Ok), (31, Verdict::Warning), (601, Verdict::Fault)] {
        let finding = open_transactions(&activity(seconds * SECOND_US));
        assert_eq!(finding.verdict, verdict, "{seconds} s");
        assert!(finding.fact.contains("pid 7 (dump), user clerk"), "{}", finding.fact);
        let ends = ["SELECT pg_cancel_backend(7);", "SELECT pg_terminate_backend(7);"];
        assert_eq!(finding.remedies.len(), if verdict == Verdict::Ok { 0 } else { ends.len() });
        assert!(finding.remedies.iter().zip(ends).all(|(told, end)| told.starts_with(end)), "{:?}", finding.remedies);
    }
    let mut own = activity(601 * SECOND_US);
    own.oldest.as_mut().unwrap().application = "foodstream verify".to_owned();
    assert_eq!(open_transactions(&own).verdict, Verdict::Ok, "it ends by itself");
    assert_eq!(open_transactions(&Activity { oldest: None, ..activity(0) }).verdict, Verdict::Ok);
}

#[test]
fn h2_a_prepared_transaction_is_never_fine() {
    let prepared = |age: i64| PreparedTransaction {
        transaction: "7".to_owned(),
        gid: "it's".to_owned(),
        prepared_us: -age * SECOND_US,
        owner: "clerk".to_owned(),
    };
    assert_eq!(prepared_transactions(&[], 0).verdict, Verdict::Ok);
    let young = prepared_transactions(&[prepared(1)], 0);
    assert_eq!(young.verdict, Verdict::Warning);
    assert_eq!(young.remedies, ["COMMIT PREPARED 'it''s';", "ROLLBACK PREPARED 'it''s';"]);
    assert_eq!(prepared_transactions(&[prepared(601), prepared(1)], 0).verdict, Verdict::Fault);
}

#[test]
fn clocks_that_differ_by_more_than_the_way_of_an_answer_are_warned_of() {
    let judged = |server_us: i64, before_us: i64, after_us: i64| judge_clock(Clocks { server_us, before_us, after_us });
    assert_eq!(judged(500_000, 0, SECOND_US).verdict, Verdict::Ok);
    // An answer that took five seconds proves nothing of three.
    assert_eq!(judged(3 * SECOND_US, 0, 5 * SECOND_US).verdict, Verdict::Ok);
    let ahead = judged(60 * SECOND_US, 0, 1_000);
    assert_eq!(ahead.verdict, Verdict::Warning);
    assert!(ahead.fact.contains("60 s ahead of"), "{}", ahead.fact);
    assert!(judged(-60 * SECOND_US, 0, 1_000).fact.contains("60 s behind"));
}

#[test]
fn a_plan_is_fine_if_it_follows_an_index() {
    let index = Scan { indexes: vec!["by_time".to_owned()], reads_all: false, sorts_all: false };
    let whole = Scan { indexes: vec![], reads_all: true, sorts_all: true };
    let full = OrderIndex::Full("by_time".to_owned());
    assert_eq!(query_plan(&index, &full, "\"t\"").verdict, Verdict::Ok);
    let unused = query_plan(&whole, &full, "\"t\"");
    assert_eq!(unused.verdict, Verdict::Warning);
    assert_eq!(unused.remedies, ["REINDEX TABLE CONCURRENTLY \"t\";"]);
    assert_eq!(query_plan(&whole, &OrderIndex::None, "\"t\"").verdict, Verdict::NotApplicable);
}

#[test]
fn rows_without_a_time_are_a_fault_and_what_was_not_counted_is_said() {
    let judged = |nulls| null_timestamps(&nulls, &preflight(), "\"orders\"");
    assert_eq!(judged(Nulls::Impossible).verdict, Verdict::Ok);
    assert_eq!(judged(Nulls::Counted { rows: 0, or_more: false }).verdict, Verdict::Ok);
    let some = judged(Nulls::Counted { rows: 1_000, or_more: true });
    assert_eq!(some.verdict, Verdict::Fault);
    assert!(some.fact.starts_with("1000 rows or more with created_at IS NULL"), "{}", some.fact);
    assert_eq!(some.remedies, [r#"UPDATE "orders" SET "created_at" = DEFAULT WHERE "created_at" IS NULL;"#]);
    let seen = judged(Nulls::Estimated { share: Some(0.25) });
    assert!(seen.verdict == Verdict::Fault && seen.fact.contains("25.0 %"), "{}", seen.fact);
    let unseen = judged(Nulls::Estimated { share: Some(0.0) });
    assert!(unseen.verdict == Verdict::Ok && unseen.fact.contains("not counted"), "{}", unseen.fact);
    assert_eq!(judged(Nulls::Estimated { share: None }).verdict, Verdict::CouldNotTell);
}

#[test]
fn columns_that_do_not_fit_are_all_named() {
    let concern = |fact: &str| Concern { about: Subject::Columns, fact: fact.to_owned(), remedy: None, grave: false };
    let fits = columns(&Preflight { left_out: vec!["tip".to_owned()], ..preflight() });
    assert!(fits.verdict == Verdict::Ok && fits.fact.contains("left out by `schema`: tip"), "{}", fits.fact);
    let narrow = columns(&Preflight { warnings: vec![concern("one"), concern("two")], ..preflight() });
    assert_eq!((narrow.verdict, narrow.fact.as_str()), (Verdict::Warning, "one; two"));
}

#[test]
fn a_section_that_is_not_complete_is_warned_of() {
    let tree = json!({ "postgres": { "host": "localhost" }, "kafka": { "brokers": "localhost:9092", "topic": "t" } });
    let settings = Settings::in_memory(&Overrides { tree: Some(tree), ..Overrides::default() }).unwrap();
    let findings = program::examine(&settings);
    assert!(findings[1].verdict == Verdict::Warning && findings[1].fact.contains("postgres"), "{}", findings[1].fact);
    assert_eq!(program::examine(&self::settings())[1].verdict, Verdict::Ok);
}

#[test]
fn folders_must_be_writable_and_apart() {
    let lake = |path: &str| {
        let tree = json!({ "kafka": { "brokers": "localhost:9092", "topic": "t" }, "datalake": { "path": path } });
        Settings::in_memory(&Overrides { tree: Some(tree), ..Overrides::default() }).unwrap().lake.unwrap()
    };
    let found = |there: bool, writable: bool| {
        let space = Space { free: 1, total: 1 };
        vec![("datalake.path", Path::new("here"), Folder { there, writable, space }); 4]
    };
    let judged = |found: &[_], lake| folders(found, &lake, Path::new("log"));
    assert_eq!(judged(&found(true, true), lake("here")).verdict, Verdict::Ok);
    assert_eq!(judged(&found(false, true), lake("here")).verdict, Verdict::NotApplicable);
    let denied = judged(&found(true, false), lake("here"));
    assert!(denied.verdict == Verdict::Fault && denied.remedies[0].contains("chown"), "{:?}", denied.remedies);
    let inside = judged(&found(true, true), lake("log/here"));
    assert!(inside.verdict == Verdict::Fault && inside.fact.contains("inside each other"), "{}", inside.fact);
}

#[test]
fn copies_are_judged_by_what_one_broker_less_would_do() {
    let copies = |replicas, in_sync, led| vec![PartitionCopies { partition: 0, replicas, in_sync, led }];
    let judged = |copies: Vec<PartitionCopies>, least, brokers| judge_copies(&copies, least, brokers, &kafka());
    assert_eq!(judged(copies(1, 1, true), 1, 1).verdict, Verdict::Ok);
    assert_eq!(judged(copies(3, 3, true), 2, 3).verdict, Verdict::Ok);
    let impossible = judged(copies(1, 1, true), 2, 1);
    assert_eq!(impossible.verdict, Verdict::Fault);
    let remedy = "kafka-configs.sh --bootstrap-server localhost:9092 --alter --topic orders --add-config \
                  min.insync.replicas=1";
    assert_eq!(impossible.remedies, [remedy]);
    assert_eq!(judged(copies(3, 3, true), 3, 3).verdict, Verdict::Warning);
    assert_eq!(judged(copies(3, 3, true), 1, 3).verdict, Verdict::Warning);
    assert_eq!(judged(copies(1, 1, true), 1, 3).verdict, Verdict::Warning);
    assert_eq!(judged(copies(3, 2, true), 2, 3).verdict, Verdict::Warning);
    assert_eq!(judged(copies(3, 1, true), 2, 3).verdict, Verdict::Fault);
    assert_eq!(judged(copies(3, 0, false), 2, 3).verdict, Verdict::Fault);
}

#[test]
fn retention_is_judged_by_the_age_of_what_is_unread() {
    let limits =
        Limits::of(&map(&[("retention.ms", "864000000"), ("retention.bytes", "-1"), ("cleanup.policy", "delete")]));
    assert_eq!((limits.time, limits.bytes), (Some(Duration::from_secs(864_000)), None));
    let unread = |days: f64| Unread {
        bound: Bounds { partition: 1, earliest: 0, end: 100 },
        from: 40,
        age: Some(Duration::from_secs_f64(days * 86_400.0)),
    };
    let judged = |unread: &[Unread]| retention::judge(unread, &limits, &kafka(), CATCH_UP);
    assert_eq!(judged(&[]).verdict, Verdict::Ok);
    assert_eq!(judged(&[unread(1.0)]).verdict, Verdict::Ok);
    assert_eq!(judged(&[unread(1.0), unread(6.0)]).verdict, Verdict::Warning);
    let late = judged(&[unread(11.0)]);
    assert_eq!((late.verdict, late.remedies[0].as_str()), (Verdict::Fault, CATCH_UP));
    assert!(late.remedies[1].ends_with("--add-config retention.ms=604800000"), "{:?}", late.remedies);
    // Not looked at, or held back by an open transaction.
    assert_eq!(judged(&[Unread { age: None, ..unread(0.0) }]).verdict, Verdict::Ok);
}

#[test]
fn retention_in_bytes_short_retention_and_compaction_are_judged_too() {
    let limits = |entries: &[(&str, &str)]| Limits::of(&map(entries));
    let old = Some(Duration::from_secs(601));
    let unread = |earliest, from| Unread { bound: Bounds { partition: 0, earliest, end: 100 }, from, age: old };
    let judged = |unread: Unread, limits: Limits| retention::judge(&[unread], &limits, &kafka(), CATCH_UP).verdict;
    let by_bytes = limits(&[("retention.ms", "-1"), ("retention.bytes", "1000")]);
    assert_eq!(by_bytes.time, None);
    assert_eq!(judged(unread(0, 0), by_bytes), Verdict::Ok, "nothing was deleted yet");
    assert_eq!(judged(unread(50, 80), by_bytes), Verdict::Ok);
    assert_eq!(judged(unread(50, 70), by_bytes), Verdict::Warning);
    assert_eq!(judged(unread(50, 50), by_bytes), Verdict::Warning, "what was deleted proves no limit");
    for age in [None, Some(Duration::from_secs(599))] {
        assert_eq!(judged(Unread { age, ..unread(50, 50) }, by_bytes), Verdict::Ok, "{age:?}");
    }
    assert_eq!(judged(unread(50, 50), limits(&[("retention.ms", "-1"), ("retention.bytes", "-1")])), Verdict::Ok);
    assert_eq!(judged(unread(0, 90), limits(&[("retention.ms", "3600000")])), Verdict::Warning);
    assert_eq!(judged(unread(0, 90), limits(&[("cleanup.policy", "compact,delete")])), Verdict::Fault);
    // A policy that deletes nothing has no limits.
    assert_eq!(limits(&[("cleanup.policy", "compact"), ("retention.ms", "1")]).time, None);
}

#[test]
fn the_lakes_position_must_lie_within_the_topic_it_was_made_from() {
    let judged = |topic: &Topic, head: &Head| judge_position(topic, head, Some("publish again".to_owned()));
    let fine = judged(&topic(&[(0, 10), (0, 5)]), &head(&[(0, 8), (1, 5)]));
    assert_eq!(fine.verdict, Verdict::Ok);
    assert!(fine.fact.contains("2 offsets behind"), "{}", fine.fact);
    let lost = judged(&topic(&[(9, 10)]), &head(&[(0, 8)]));
    assert_eq!((lost.verdict, lost.remedies[0].as_str()), (Verdict::Fault, "publish again"));
    assert!(lost.fact.contains("offsets 8 to 9 were deleted"), "{}", lost.fact);
    assert_eq!(judged(&topic(&[(0, 7)]), &head(&[(0, 8)])).verdict, Verdict::Fault);
    let anew = Head { topic_id: "other".to_owned(), ..head(&[(0, 8)]) };
    assert!(judged(&topic(&[(0, 10)]), &anew).fact.contains("created anew"));
    let foreign = Head { topic: "purchases".to_owned(), ..head(&[(0, 8)]) };
    assert_eq!(judged(&topic(&[(0, 10)]), &foreign).remedies, ["kafka.topic: purchases"]);
    // A partition added later has no position yet.
    assert_eq!(judged(&topic(&[(0, 10), (0, 5)]), &head(&[(0, 8)])).verdict, Verdict::Ok);
}

#[test]
fn a_group_without_consumers_matters_only_while_something_waits() {
    let lag = |committed| [PartitionLag { partition: 0, committed, end: 10 }];
    let judged = |members, committed, waiting| {
        judge_group("g", members, &lag(committed), Some(&head(&[(0, 8)])), waiting, CATCH_UP)
    };
    assert_eq!(judged(0, Some(8), 0).verdict, Verdict::Ok);
    assert_eq!(judged(1, Some(4), 2).verdict, Verdict::Ok, "offsets are published after the commit");
    let nobody = judged(0, Some(8), 2);
    assert_eq!((nobody.verdict, nobody.remedies), (Verdict::Warning, vec![CATCH_UP.to_owned()]));
    assert!(judged(1, Some(9), 2).fact.contains("another program uses the group"));
    assert_eq!(judge_group("g", 0, &lag(None), None, 10, CATCH_UP).verdict, Verdict::Warning);
}

#[test]
fn a_broker_must_allow_transactions_as_long_as_ours() {
    let judged = |entries: &[(&str, &str)], brokers| transactions(&map(entries), brokers, true).verdict;
    let copies = "transaction.state.log.replication.factor";
    assert_eq!(judged(&[("transaction.max.timeout.ms", "900000"), (copies, "1")], 1), Verdict::Ok);
    assert_eq!(judged(&[("transaction.max.timeout.ms", "59999")], 1), Verdict::Fault);
    assert_eq!(judged(&[("transaction.max.timeout.ms", "900000"), (copies, "3")], 1), Verdict::Warning);
    assert_eq!(judged(&[], 1), Verdict::CouldNotTell);
    assert_eq!(transactions(&map(&[]), 1, false).verdict, Verdict::NotApplicable);
}

#[test]
fn room_is_judged_by_what_a_batch_may_need() {
    const GIB: u64 = 1 << 30;
    let judged = |free| judge_space(Space { free, total: 100 * GIB }, GIB / 16, "here").verdict;
    assert_eq!(judged(10 * GIB), Verdict::Ok);
    assert_eq!(judged(4 * GIB), Verdict::Warning);
    assert_eq!(judged(GIB / 8), Verdict::Fault);
}

#[test]
fn a_log_is_judged_by_what_a_start_takes_and_one_that_is_gone_is_a_fault() {
    let log = LogHealth { records: 1_500, behind_snapshot: 500, bytes: 3 << 20, head: head(&[]) };
    let judged = |log, took, has_files| commit_log(log, Duration::from_millis(took), has_files, Path::new("lake"));
    let fine = judged(Some(&log), 40, true);
    assert_eq!(fine.verdict, Verdict::Ok);
    assert!(fine.fact.contains("1500 records (about 3.0 MiB)") && fine.fact.contains("500 behind"), "{}", fine.fact);
    assert_eq!(judged(Some(&log), 6_000, true).verdict, Verdict::Warning);
    assert_eq!(judged(None, 0, false).verdict, Verdict::NotApplicable);
    let gone = judged(None, 0, true);
    assert_eq!((gone.verdict, gone.remedies), (Verdict::Fault, vec!["foodstream lake rebuild-log".to_owned()]));
}

#[test]
fn small_files_matter_only_in_numbers_and_foreign_ones_at_once() {
    let day = |files, bytes| DayOfFiles { folder: "date=2025-11-18".to_owned(), files, bytes };
    let judged = |days: Vec<DayOfFiles>, foreign: Vec<PathBuf>| {
        files(&NewestDays { of: days.len(), days, foreign }, Path::new("lake"))
    };
    assert_eq!(judged(vec![], vec![]).verdict, Verdict::NotApplicable);
    assert_eq!(judged(vec![day(10, 10_000)], vec![]).verdict, Verdict::Ok);
    assert_eq!(judged(vec![day(2_000, 20 << 30)], vec![]).verdict, Verdict::Ok);
    let many = judged(vec![day(10, 10_000), day(17_280, 17_280 * 4_096)], vec![]);
    assert_eq!(many.verdict, Verdict::Warning);
    assert!(many.fact.contains("17280 files in date=2025-11-18, 4.0 KiB each"), "{}", many.fact);
    let foreign = judged(vec![day(10, 10_000)], vec![PathBuf::from("my lake/it's")]);
    assert_eq!(
        (foreign.verdict, foreign.remedies),
        (Verdict::Fault, vec![r"mv -- 'my lake/it'\''s' /tmp/".to_owned()])
    );
}
