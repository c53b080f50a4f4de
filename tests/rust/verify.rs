//! `verify` on real PostgreSQL and real Kafka (`FOODSTREAM_TEST_POSTGRES`, `FOODSTREAM_TEST_KAFKA`).

use std::time::Duration;

use foodstream::model::{Cursor, Key};
use foodstream::pipeline::compose::{self, ConsumerRun, ProducerRun};
use foodstream::pipeline::monitor::Monitor;
use foodstream::pipeline::{Stop, ingest, replicate};
use foodstream::tools::{InsertOptions, insert_test_orders};
use foodstream::verify::{Report, Section, Status, VerifyOptions, verify};

use super::stage::{EndWithTest, NOON, Stage, copy_as_other, insert};

fn status(report: &Report, section: Section) -> Status {
    report.sections.iter().find(|check| check.name == section.title()).unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_is_pending_until_both_sides_ran_and_healthy_then() {
    let stage = Stage::orders().await;
    let report = stage.verify().await;
    assert_eq!((report.exit_code(), report.status()), (0, Status::Pending), "{}", report.render(false));
    assert_eq!((report.facts.table_rows, report.facts.not_yet_published), (10, 10));
    assert_eq!(report.next, ["foodstream producer --once", "foodstream consumer --once"]);

    stage.produce().await;
    let report = stage.verify().await;
    assert_eq!((report.exit_code(), report.status()), (0, Status::Pending), "{}", report.render(false));
    assert_eq!((report.facts.published_not_yet_consumed, report.facts.messages_waiting), (10, 10));
    assert_eq!(report.next, ["foodstream consumer --once"]);

    stage.consume().await;
    let report = stage.verify().await;
    let text = report.render(false);
    assert_eq!((report.exit_code(), report.status()), (0, Status::Ok), "{text}");
    assert_eq!((report.facts.lake_rows, report.facts.held_in_lake, report.facts.messages_consumed), (10, 10, 10));
    assert_eq!(report.facts.cursor.as_deref(), Some("2025-11-18 12:00:00.000000|10"));
    assert_eq!(report.facts.state, report.facts.cursor);
    for line in [
        "✓ OK | PostgreSQL | PostgreSQL OK (10 records)",
        "✓ OK | Kafka      | Kafka OK (10 messages in topic)",
        "✓ OK | State File | State file OK (timestamp updated)",
        "    Order #10: Jack Black | $120.00 | 2025-11-18 12:00:00",
        "✓ All checks passed. Pipeline is ready.",
        "✓ PIPELINE HEALTHY",
    ] {
        assert!(text.contains(line), "{line}\n in\n{text}");
    }

    let inserted = insert(&stage, InsertOptions { invalid_share: 0.2, ..InsertOptions::default() }).await;
    assert_eq!(inserted.lines()[1], "Inserted Order IDs: [11, 12, 13, 14, 15]");
    assert_eq!(inserted.total, 15);
    assert!(inserted.recent[0].starts_with("Order #15: "), "{:?}", inserted.recent);
    stage.produce().await;
    stage.consume().await;
    let report = stage.verify().await;
    assert_eq!(report.status(), Status::Ok, "{}", report.render(false));
    let facts = &report.facts;
    assert_eq!((facts.lake_rows, facts.quarantine_rows, facts.held_in_lake, facts.held_in_quarantine), (14, 1, 14, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_and_deletions_after_capture_are_told_apart_from_faults() {
    let stage = Stage::orders().await;
    stage.produce().await;
    stage.consume().await;
    stage.run("UPDATE orders SET order_status = 'CANCELLED' WHERE order_id IN (9, 10); DELETE FROM orders WHERE order_id = 1").await;
    // A later capture moves the last cursor's snapshot past the update.
    insert(&stage, InsertOptions::default()).await;
    stage.produce().await;
    stage.consume().await;
    stage.run("UPDATE orders SET amount = amount + 0.01 WHERE order_id = 12").await;
    let report = stage.verify().await;
    assert_eq!(report.status(), Status::Ok, "{}", report.render(false));
    assert_eq!(report.facts.updated_after_capture.keys, ["9", "10", "12"]);
    assert_eq!(report.facts.deleted_after_capture.keys, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_loses_alters_or_repeats_rows_is_found_out() {
    let stage = Stage::orders().await;
    let rows = stage
        .sql
        .query(
            "SELECT order_id::bigint, customer_name, restaurant_name, item, amount::text, order_status, \
        to_char(created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM orders ORDER BY 1",
            &[],
        )
        .await
        .unwrap();
    let mut messages: Vec<(i64, String)> = rows
        .iter()
        .map(|row| {
            let text = |index: usize| row.get::<_, &str>(index);
            let value = format!(
                "{{\"order_id\":{},\"customer_name\":\"{}\",\"restaurant_name\":\"{}\",\"item\":\"{}\",\"amount\":{},\
                 \"order_status\":\"{}\",\"created_at\":\"{}\"}}",
                row.get::<_, i64>(0),
                text(1),
                text(2),
                text(3),
                text(4),
                text(5),
                text(6)
            );
            (row.get(0), value)
        })
        .collect();
    messages[1].1 = messages[1].1.replace("250.50", "250.51");
    messages[2].1 = messages[2].1.replace("10:30:00Z", "10:30:00.000001Z");
    let repeated = messages[3].clone();
    messages.push(repeated);
    messages.remove(6);
    let stranger = messages[0].1.replace("\"order_id\":1", "\"order_id\":99");
    messages.push((99, stranger));
    stage.publish_badly(&messages, Cursor { timestamp_us: NOON, key: Some(Key::Int(10)) }).await;
    let early = stage.verify().await;
    stage.consume().await;
    for report in [early, stage.verify().await] {
        let text = report.render(false);
        assert_eq!(report.exit_code(), 3, "{text}");
        assert_eq!(report.facts.altered.keys, ["2", "3"], "{text}");
        assert_eq!(report.facts.duplicate.keys, ["4"], "{text}");
        assert_eq!(report.facts.missing.keys, ["7"], "{text}");
        assert!(text.contains("PIPELINE FAULTY") && text.contains("✗ FAULT"), "{text}");
    }
    stage.run("DELETE FROM orders WHERE order_id = 2").await;
    let report = stage.verify().await;
    assert_eq!(
        report.facts.deleted_after_capture.keys,
        ["2", "99"],
        "as published, and gone: {}",
        report.render(false)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_other_programs_are_extra_in_the_lake_and_nothing_in_quarantine() {
    let stage = Stage::orders().await;
    stage.produce().await;
    stage.foreign_message("not json").await;
    stage.consume().await;
    let report = stage.verify().await;
    assert_eq!((report.status(), report.facts.foreign_messages), (Status::Ok, 1), "{}", report.render(false));
    let order = r#"{"order_id":77,"customer_name":"A","restaurant_name":"B","item":"C","amount":1.00,"order_status":"PLACED","created_at":"2025-11-18T10:00:00Z"}"#;
    stage.foreign_message(order).await;
    stage.consume().await;
    let report = stage.verify().await;
    assert_eq!((report.exit_code(), report.facts.extra.keys.as_slice()), (3, ["77".to_owned()].as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_table_messages_are_counted_against_lake_and_quarantine() {
    let stage = Stage::orders().await;
    let mut settings = stage.settings.clone();
    settings.postgres = None;
    let report = verify(&settings, &VerifyOptions::default()).await.unwrap();
    assert_eq!((report.exit_code(), report.status()), (0, Status::Pending), "{}", report.render(false));
    assert_eq!(report.next, ["foodstream consumer --once"], "nobody polls a table here");

    stage.produce().await;
    stage.foreign_message("not json").await;
    let report = verify(&settings, &VerifyOptions::default()).await.unwrap();
    assert_eq!((report.facts.messages_waiting, report.status()), (11, Status::Pending), "{}", report.render(false));

    stage.consume().await;
    let report = verify(&settings, &VerifyOptions::default()).await.unwrap();
    let text = report.render(false);
    assert_eq!((report.exit_code(), report.status()), (0, Status::Ok), "{text}");
    assert_eq!((report.facts.lake_rows, report.facts.quarantine_rows), (10, 1));
    assert_eq!((report.facts.messages_consumed, report.facts.messages_counted), (11, Some(11)));
    for line in [
        "- SKIPPED | PostgreSQL | no table to compare with: the configuration has no section `postgres`",
        "✓ Compared by count: 11 messages consumed, as many as the topic has up to there",
        "✓ PIPELINE HEALTHY",
    ] {
        assert!(text.contains(line), "{line}\n in\n{text}");
    }

    std::fs::remove_file(&stage.lake_files()[0]).unwrap();
    let report = verify(&settings, &VerifyOptions::default()).await.unwrap();
    assert_eq!((report.exit_code(), report.facts.missing_files.len()), (3, 1), "{}", report.render(false));
    for section in [Section::Postgres, Section::StateFile] {
        let asked = verify(&settings, &VerifyOptions { section: Some(section) }).await;
        assert!(asked.unwrap_err().to_string().contains("the section `postgres` is missing"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orphan_missing_and_damaged_files_and_a_broken_log_are_faults() {
    let stage = Stage::orders().await;
    stage.produce().await;
    stage.consume().await;
    let files = stage.lake_files();
    let orphan = copy_as_other(&files[0]);
    let report = stage.verify().await;
    assert_eq!((report.exit_code(), report.facts.orphan_files.len()), (3, 1), "{}", report.render(false));
    std::fs::remove_file(orphan).unwrap();

    let kept = stage.path("kept");
    std::fs::rename(&files[0], &kept).unwrap();
    let report = stage.verify().await;
    assert_eq!((report.exit_code(), report.facts.missing_files.len()), (3, 1), "{}", report.render(false));
    assert!(!report.facts.missing.is_empty(), "its rows are named too");
    std::fs::write(&files[0], b"PAR1 and no more").unwrap();
    let report = stage.verify().await;
    assert_eq!((report.exit_code(), status(&report, Section::Lake)), (3, Status::Fault), "{}", report.render(false));
    std::fs::rename(&kept, &files[0]).unwrap();
    assert_eq!(stage.verify().await.status(), Status::Ok);

    let mut records = Vec::new();
    for folder in std::fs::read_dir(stage.path("checkpoint/commits")).unwrap() {
        records.extend(std::fs::read_dir(folder.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()));
    }
    records.sort();
    let record = records.last().unwrap();
    let mut bytes = std::fs::read(record).unwrap();
    bytes[20] ^= 1;
    std::fs::write(record, bytes).unwrap();
    let report = stage.verify().await;
    assert_eq!(
        (report.exit_code(), status(&report, Section::Checkpoint)),
        (3, Status::Fault),
        "{}",
        report.render(false)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_outside_the_promise_are_named_and_a_torn_state_file_is_a_warning() {
    let stage = Stage::orders().await;
    stage.run("ALTER TABLE orders ALTER created_at DROP NOT NULL").await;
    stage.produce().await;
    stage.consume().await;
    stage
        .run(
            "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status, created_at) VALUES \
             ('A', 'B', 'C', 1, 'PLACED', '2025-11-18 10:20:00'), ('A', 'B', 'C', 1, 'PLACED', NULL), \
             ('A', 'B', 'C', 1, 'PLACED', 'infinity'), \
             ('A', 'B', 'C', 1, 'PLACED', (now() AT TIME ZONE 'UTC') + interval '5 hours')",
        )
        .await;
    let report = stage.verify().await;
    let facts = &report.facts;
    assert_eq!(report.exit_code(), 3, "{}", report.render(false));
    let named = [&facts.back_dated, &facts.null_created_at, &facts.infinite_created_at, &facts.future_created_at];
    assert_eq!(named.map(|keys| keys.keys.join(",")), ["11", "12", "13", "14"]);
    stage.run("DELETE FROM orders WHERE order_id > 10").await;
    std::fs::write(stage.path("state/last_processed_timestamp.txt"), "2025-11-").unwrap();
    let report = stage.verify().await;
    assert_eq!(
        (report.exit_code(), status(&report, Section::StateFile)),
        (0, Status::Warning),
        "{}",
        report.render(false)
    );
    std::fs::write(stage.path("state/last_processed_timestamp.txt"), "2030-01-01 00:00:00.000000|99\n").unwrap();
    let report = stage.verify().await;
    assert!(report.render(false).contains("is ahead of the cursor"), "{}", report.render(false));
}

/// Every type, at its edges, under a uuid key, on the clock of Kolkata.
#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_compared_as_the_server_writes_it() {
    let table = "CREATE TYPE mood AS ENUM ('sad', 'happy'); \
        CREATE TABLE orders (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), small smallint, whole int, large bigint, \
        exact numeric(38, 10), free numeric, share double precision, single real, flag boolean, name varchar(50), \
        padded char(6), day date, moment timestamptz, doc json, docb jsonb, list text[], mood mood, \
        created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'Asia/Kolkata')); \
        INSERT INTO orders (small, whole, large, exact, free, share, single, flag, name, padded, day, moment, doc, docb, list, mood) \
        VALUES (-32768, 2147483647, 9223372036854775807, 9999999999999999999999999999.9999999999, 12.500, 0.1, 0.1, true, \
         E'a\"\\\\\\n\u{1F35B}', 'ab', '2024-02-29', '2025-11-18 23:59:59.999999+05:30', '{\"b\": 1,  \"a\":[1.0]}', \
         '{\"b\": 1, \"a\": \"\\u00e9\"}', '{x,\"y z\",NULL}', 'happy'), \
         (1, -1, 0, -0.0000000001, -1e-3, -1.7976931348623157e308, 3.4e38, false, '', '', '0001-01-01', '1969-12-31 23:59:59.5+00', \
         'null', '[]', '{}', 'sad'), \
         (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), \
         (0, 0, 0, 'NaN', 'NaN', 'NaN', 'Infinity', true, ' ', ' ', 'infinity', 'infinity', '1', '1', '{1}', 'sad')";
    let types = [
        ("id", "string"),
        ("small", "smallint"),
        ("whole", "int"),
        ("large", "bigint"),
        ("exact", "\"decimal(38,10)\""),
        ("free", "\"decimal(20,4)\""),
        ("share", "double"),
        ("single", "double"),
        ("flag", "boolean"),
        ("name", "string"),
        ("padded", "string"),
        ("day", "date"),
        ("moment", "timestamptz"),
        ("doc", "json"),
        ("docb", "json"),
        ("list", "json"),
        ("mood", "string"),
        ("created_at", "timestamp"),
    ];
    let schema: String =
        types.iter().map(|(name, kind)| format!("  - {{name: {name}, type: {kind}, nullable: true}}\n")).collect();
    let stage =
        Stage::new(table, &format!("cdc: {{timezone: Asia/Kolkata, poll_interval_sec: 0.05}}\nschema:\n{schema}"))
            .await;
    stage.produce().await;
    let report = stage.verify().await;
    assert_eq!(report.facts.published_not_yet_consumed, 4, "by the messages alone: {}", report.render(false));
    stage.consume().await;
    let report = stage.verify().await;
    let facts = &report.facts;
    assert_eq!(report.status(), Status::Ok, "{}", report.render(false));
    assert_eq!((facts.held_in_lake, facts.held_in_quarantine), (3, 1), "NaN and infinities have no place in the lake");
    stage
        .run(
            "UPDATE orders SET padded = 'ab c' WHERE small = -32768; UPDATE orders SET docb = '[1]' WHERE small = 1; \
        UPDATE orders SET share = 1 WHERE small IS NULL; UPDATE orders SET single = '-Infinity' WHERE small = 0",
        )
        .await;
    assert_eq!(stage.verify().await.facts.updated_after_capture.count, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_living_producer_and_consumer_nothing_is_ever_called_a_fault() {
    let stage = Stage::orders().await;
    let stop = Stop::new();
    let _ends = EndWithTest(stop.clone());
    let run = ProducerRun {
        start_from: None,
        adopt: false,
        once_wait: Duration::from_secs(30),
        run_id: "live".into(),
        monitor: Monitor::default(),
    };
    let mut replicate = compose::producer(&stage.settings, &run, false, &stop).await.unwrap();
    let producing = tokio::spawn(async move { replicate.run(replicate::Bounds::default()).await });
    let (settings, stopping) = (stage.settings.clone(), stop.clone());
    let consuming = tokio::task::spawn_blocking(move || {
        let run =
            ConsumerRun { once_wait: Duration::from_secs(30), run_id: "live".into(), monitor: Monitor::default() };
        compose::consumer(&settings, &run, false, &stopping)?.run(ingest::Bounds::default())
    });
    let (settings, writing) = (stage.settings.clone(), stop.clone());
    let inserting = tokio::spawn(async move {
        let load = InsertOptions {
            // An end to it: each look takes as long as there are rows, so on a slow machine the two would outgrow all time.
            count: 20_000,
            rate: Some(2_000.0),
            invalid_share: 0.05,
            seed: Some(1),
            ..InsertOptions::default()
        };
        insert_test_orders(&settings, &load, async move { writing.requested().await }).await
    });
    for round in 0..12 {
        let change = format!(
            "UPDATE orders SET order_status = 'DELIVERED' WHERE order_id % 97 = {round}; DELETE FROM orders WHERE order_id % 101 = {round}"
        );
        stage.run(&change).await;
        let report = stage.verify().await;
        assert_eq!(report.exit_code(), 0, "round {round}: {}", report.render(false));
    }
    stop.request();
    let inserted = inserting.await.unwrap().unwrap();
    producing.await.unwrap().unwrap();
    consuming.await.unwrap().unwrap();
    stage.produce().await;
    stage.consume().await;
    let report = stage.verify().await;
    let facts = &report.facts;
    assert_eq!(report.exit_code(), 0, "{}", report.render(false));
    let settled = facts.held_in_lake + facts.held_in_quarantine + facts.updated_after_capture.count;
    assert_eq!(settled + facts.unproven.count, facts.table_rows);
    assert_eq!((facts.not_yet_published, facts.messages_waiting), (0, 0));
    assert!(inserted.ids.len() > 1_000, "the load ran: {}", inserted.ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_alone_skips_the_others() {
    let stage = Stage::orders().await;
    stage.produce().await;
    for section in Section::ALL {
        let report = verify(&stage.settings, &VerifyOptions { section: Some(section) }).await.unwrap();
        let asked: Vec<&str> =
            report.sections.iter().filter(|check| check.status != Status::Skipped).map(|check| check.name).collect();
        assert_eq!(asked, [section.title()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_configured_start_itself_belongs_to_the_pipeline_before_and_after_its_first_run() {
    let mut stage = Stage::orders().await;
    stage.settings.cdc.default_start_timestamp_us = NOON;
    stage.run("UPDATE orders SET created_at = '2025-11-18 12:00:00' WHERE order_id = 1").await;
    stage.run("UPDATE orders SET created_at = '2025-11-18 11:59:59.999999' WHERE order_id = 2").await;
    stage.run("DELETE FROM orders WHERE order_id > 2").await;
    let report = stage.verify().await;
    assert_eq!((report.facts.rows_before_start, report.facts.not_yet_published), (1, 1), "{}", report.render(false));
    let start = report.facts.start.clone();
    stage.produce().await;
    stage.consume().await;
    let report = stage.verify().await;
    assert_eq!((report.facts.rows_before_start, report.facts.held_in_lake), (1, 1), "{}", report.render(false));
    assert_eq!(report.facts.start, start);
}
