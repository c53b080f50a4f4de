//! The rules H1 to H10, each on a real server.

use std::time::Duration;

use foodstream::capture::{Source, Who};
use foodstream::error::Kind;
use foodstream::model::Cursor;

use super::support::{ORDERS, TestDb, drain, keys, open, page, pause, preflight, refusal};

const INSERT: &str = "INSERT INTO orders (note) VALUES ('x')";

#[tokio::test]
async fn h1_an_open_transaction_holds_the_horizon_and_its_row_follows() {
    let (db, early) = TestDb::create(ORDERS).await;
    let late = db.connect().await;
    early.batch_execute(&format!("BEGIN; {INSERT}")).await.unwrap();
    late.batch_execute(INSERT).await.unwrap();
    let mut source = open(db.options("orders")).await;
    for _ in 0..5 {
        let (_, rows) = page(&mut source, 10).await.unwrap();
        assert!(rows.is_empty(), "the later row was read before the earlier one could commit");
    }
    let holder = source.holder().unwrap();
    assert!(matches!(&holder.who, Who::Session { application, .. } if application == "test"), "{holder}");
    early.batch_execute("COMMIT").await.unwrap();
    assert_eq!(keys(&drain(&mut source).await), [1, 2]);
    assert!(source.holder().is_none());
}

/// Between two transactions of one message a session shows no transaction for an instant, and yet the next one begins
/// in the past, when the message arrived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_every_transaction_of_one_message_counts_from_its_arrival() {
    let (db, admin) = TestDb::create(ORDERS).await;
    let other = db.connect().await;
    let mut source = open(db.options("orders")).await;
    let message = format!("BEGIN; {INSERT}; COMMIT; ").repeat(1_000);
    let writer = tokio::spawn(async move {
        for _ in 0..5 {
            admin.batch_execute(&message).await.unwrap();
        }
    });
    // Rows with later timestamps, which lead a cursor past the message's start.
    let singles = tokio::spawn(async move {
        let mut count = 0;
        while !writer.is_finished() {
            other.batch_execute(INSERT).await.unwrap();
            count += 1;
        }
        writer.await.unwrap();
        count
    });
    let mut read = Vec::new();
    while !singles.is_finished() {
        read.extend(page(&mut source, 1000).await.unwrap().1);
        pause().await;
    }
    let written = 5_000 + singles.await.unwrap();
    read.extend(drain(&mut source).await);
    let read: std::collections::BTreeSet<i64> = keys(&read).into_iter().collect();
    assert_eq!(read.len(), written, "{} rows were lost", written - read.len());
}

#[tokio::test]
async fn h2_a_prepared_transaction_holds_the_horizon_of_the_poll_before_it() {
    let (db, writer) = TestDb::create(ORDERS).await;
    let other = db.connect().await;
    let gid = format!("gid-{}", db.name);
    let mut source = open(db.options("orders")).await;
    page(&mut source, 10).await.unwrap();
    writer.batch_execute(&format!("BEGIN; {INSERT}")).await.unwrap();
    writer.batch_execute(&format!("PREPARE TRANSACTION '{gid}'")).await.unwrap();
    other.batch_execute(INSERT).await.unwrap();
    for _ in 0..5 {
        assert!(page(&mut source, 10).await.unwrap().1.is_empty());
    }
    assert_eq!(source.holder().unwrap().who, Who::Prepared { gid: gid.clone() });
    other.batch_execute(&format!("COMMIT PREPARED '{gid}'")).await.unwrap();
    assert_eq!(keys(&drain(&mut source).await), [1, 2]);
}

#[tokio::test]
async fn h2_a_prepared_transaction_found_at_the_start_is_waited_for() {
    let (db, writer) = TestDb::create(ORDERS).await;
    let gid = format!("gid-{}", db.name);
    writer.batch_execute(&format!("BEGIN; {INSERT}")).await.unwrap();
    writer.batch_execute(&format!("PREPARE TRANSACTION '{gid}'")).await.unwrap();
    writer.batch_execute(INSERT).await.unwrap();

    let mut fresh = open(db.options("orders")).await;
    assert!(page(&mut fresh, 10).await.unwrap().1.is_empty());
    assert!(fresh.holder().unwrap().to_string().contains(&gid));

    let mut restarted = open(db.options("orders")).await;
    restarted.restore_horizon(1_000_000);
    assert_eq!(page(&mut restarted, 10).await.unwrap().0.horizon_us, 1_000_000);

    writer.batch_execute(&format!("COMMIT PREPARED '{gid}'")).await.unwrap();
    assert_eq!(keys(&drain(&mut fresh).await), [1, 2]);
    assert_eq!(keys(&drain(&mut restarted).await), [1, 2]);
}

#[tokio::test]
async fn h3_a_clock_before_the_used_horizon_stops_and_names_the_interval() {
    let (db, _admin) = TestDb::create(ORDERS).await;
    let mut source = open(db.options("orders")).await;
    let ahead = source.server_clock_us().await.unwrap() + 3_600_000_000;
    source.restore_horizon(ahead);
    let error = page(&mut source, 10).await.unwrap_err();
    assert_eq!(error.kind(), Kind::DataLoss);
    assert!(!error.is_retriable());
    let end = foodstream::model::position::format_timestamp_us(ahead);
    assert!(error.to_string().contains(&end), "{error}");
}

#[tokio::test]
async fn h4_a_row_security_policy_is_an_error_and_not_an_empty_page() {
    let (db, admin) = TestDb::create(ORDERS).await;
    let role = db.role(&admin, "rls").await;
    admin
        .batch_execute(&format!(
            "GRANT SELECT ON orders TO {role}; GRANT pg_read_all_stats TO {role};
             ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON orders USING (false); {INSERT}"
        ))
        .await
        .unwrap();
    let mut source = open(db.options_as(&role, "orders")).await;
    let error = page(&mut source, 10).await.unwrap_err();
    assert!(error.to_string().contains("row"), "{error}");
    assert!(error.report().contains("security"), "{}", error.report());
    assert!(!error.is_retriable());
}

#[tokio::test]
async fn h4_no_transaction_stays_open_between_pages() {
    let (db, admin) = TestDb::create(ORDERS).await;
    let mut source = open(db.options("orders")).await;
    page(&mut source, 10).await.unwrap();
    let settings = "SELECT application_name, xact_start IS NULL FROM pg_stat_activity \
                    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle'";
    let row = admin.query_one(settings, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), foodstream::capture::APPLICATION_NAME);
    assert!(row.get::<_, bool>(1), "no transaction stays open between pages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_a_column_that_rounds_loses_no_row() {
    let (db, admin) = TestDb::create(
        // Falling keys: of one rounded time the later row comes first, so behind a cursor that stands there it is lost.
        "CREATE SEQUENCE falling INCREMENT -1;
         CREATE TABLE orders (order_id bigint PRIMARY KEY DEFAULT nextval('falling'), note text,
         created_at timestamp(0) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'))",
    )
    .await;
    let mut options = db.options("orders");
    // The margin alone would hide the rounding, up to half a second, only if it were larger than that.
    options.cdc.begin_margin = Duration::from_millis(1);
    let mut source = open(options).await;
    let writer = tokio::spawn(async move {
        for _ in 0..1_500 {
            admin.batch_execute(INSERT).await.unwrap();
            tokio::time::sleep(Duration::from_micros(1_500)).await;
        }
    });
    let mut read = Vec::new();
    while !writer.is_finished() {
        read.extend(page(&mut source, 1000).await.unwrap().1);
        pause().await;
    }
    writer.await.unwrap();
    read.extend(drain(&mut source).await);
    assert_eq!(keys(&read).len(), 1_500);
}

#[tokio::test]
async fn h5_a_date_column_is_refused() {
    let (db, _admin) =
        TestDb::create("CREATE TABLE orders (order_id int PRIMARY KEY, created_at date DEFAULT current_date)").await;
    let error = refusal(db.options("orders")).await;
    assert_eq!(error.kind(), Kind::Schema);
    assert!(error.to_string().contains("`created_at`") && error.to_string().contains("date"), "{error}");
}

#[tokio::test]
async fn h6_without_sight_of_other_sessions_the_start_is_refused_or_weaker_by_choice() {
    let (db, admin) = TestDb::create(ORDERS).await;
    let role = db.role(&admin, "blind").await;
    admin.batch_execute(&format!("GRANT SELECT ON orders TO {role}; {INSERT}")).await.unwrap();
    let error = refusal(db.options_as(&role, "orders")).await;
    assert!(error.to_string().contains("GRANT pg_read_all_stats"), "{error}");
    assert!(!error.is_retriable());

    let mut options = db.options_as(&role, "orders");
    options.cdc.late_commit_margin = Some(Duration::from_secs(60));
    let (mut source, report) = foodstream::capture::PollSource::open(options).await.unwrap();
    assert!(report.warnings.iter().any(|words| words.to_string().contains("60 s late")), "{:?}", report.warnings);
    let clock = source.server_clock_us().await.unwrap();
    let (page, rows) = page(&mut source, 10).await.unwrap();
    assert!(rows.is_empty() && page.horizon_us <= clock - 59_000_000, "a minute has to pass first");
}

#[tokio::test]
async fn h6_a_session_that_hides_its_state_is_found() {
    let (db, admin) = TestDb::create(ORDERS).await;
    let mut before = open(db.options("orders")).await;
    page(&mut before, 10).await.unwrap();
    let hidden = db.connect().await;
    hidden.batch_execute("SET track_activities = off; BEGIN").await.unwrap();
    hidden.batch_execute(INSERT).await.unwrap();
    admin.batch_execute(INSERT).await.unwrap();
    let error = refusal(db.options("orders")).await;
    assert!(error.to_string().contains("track_activities"), "{error}");

    let w = page(&mut before, 10).await.unwrap().0.horizon_us;
    assert_eq!(page(&mut before, 10).await.unwrap().0.horizon_us, w, "the horizon stands");
    assert!(matches!(before.holder().unwrap().who, Who::Hidden { sessions: 1, pid: Some(_) }));
    // Showing itself in the middle of the transaction does not show when that began.
    hidden.batch_execute("SET track_activities = on").await.unwrap();
    assert_eq!(page(&mut before, 10).await.unwrap().0.horizon_us, w);
    hidden.batch_execute("COMMIT").await.unwrap();
    assert_eq!(keys(&drain(&mut before).await), [1, 2]);
}

#[tokio::test]
async fn h7_a_default_in_the_writers_zone_is_warned_of() {
    let (db, _admin) = TestDb::create(
        "CREATE TABLE good (id int PRIMARY KEY, created_at timestamp DEFAULT (now() AT TIME ZONE 'UTC'));
         CREATE TABLE bad (id int PRIMARY KEY, created_at timestamp DEFAULT now());
         CREATE TABLE worse (id int PRIMARY KEY, created_at timestamp DEFAULT CURRENT_TIMESTAMP);
         CREATE TABLE instants (id int PRIMARY KEY, created_at timestamptz DEFAULT now())",
    )
    .await;
    for (table, warned) in [("good", false), ("bad", true), ("worse", true), ("instants", false)] {
        let warnings = preflight(db.options(table)).await.warnings;
        let found = warnings.iter().any(|words| words.to_string().contains("takes the zone of the writer's session"));
        assert_eq!(found, warned, "{table}: {warnings:?}");
    }
}

#[tokio::test]
async fn h10_the_key_is_one_unique_not_null_integer_or_uuid() {
    const REST: &str = "created_at timestamptz NOT NULL DEFAULT now()";
    let (db, _admin) = TestDb::create(&format!(
        "CREATE TABLE keyless (id int, {REST});
         CREATE TABLE composite (a int, b int, {REST}, PRIMARY KEY (a, b));
         CREATE TABLE words (id text PRIMARY KEY, {REST});
         CREATE TABLE ids (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), {REST});
         CREATE TABLE other (pk text PRIMARY KEY, id bigint NOT NULL UNIQUE, loose bigint UNIQUE, {REST});
         CREATE TABLE partly (pk text PRIMARY KEY, id bigint NOT NULL, {REST});
         CREATE UNIQUE INDEX ON partly (id) WHERE id > 0;
         CREATE VIEW seen AS SELECT * FROM ids;
         INSERT INTO ids DEFAULT VALUES; INSERT INTO ids DEFAULT VALUES"
    ))
    .await;
    for (table, key, words) in [
        ("keyless", None, "no primary key"),
        ("composite", None, "several columns (a, b)"),
        ("words", None, "neither an integer nor a uuid"),
        ("other", Some("loose"), "may be null"),
        ("other", Some("pk"), "neither an integer nor a uuid"),
        ("other", Some("created_at"), "no valid unique index"),
        ("partly", Some("id"), "no valid unique index"),
        ("other", Some("missing"), "no column `missing`"),
        ("seen", None, "is a view"),
    ] {
        let mut options = db.options(table);
        options.cdc.key_column = key.map(str::to_owned);
        let error = refusal(options).await;
        assert!(error.to_string().contains(words), "{table}: {error}");
        assert!(!error.is_retriable());
    }
    let mut options = db.options("other");
    options.cdc.key_column = Some("id".to_owned());
    assert_eq!(preflight(options).await.key_column, "id");

    let mut source = open(db.options("ids")).await;
    let rows = drain(&mut source).await;
    assert_eq!(rows.len(), 2);
    let text = db.connect().await.query("SELECT id::text FROM ids ORDER BY created_at, id", &[]).await.unwrap();
    let expected: Vec<String> = text.iter().map(|row| row.get(0)).collect();
    assert_eq!(rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), expected);
    source.seek(Cursor { key: Some(expected[0].parse().unwrap()), ..source.position() });
    assert!(drain(&mut source).await.len() <= 1);
}
