//! Connections that end, calls that are dropped, tables that change under the reader.

use std::task::Poll;
use std::time::Duration;

use foodstream::capture::{PollSource, Source};
use foodstream::error::Kind;
use foodstream::model::{ChangeBatch, Cursor};

use super::support::{ORDERS, TestDb, drain, keys, open, page, pause, rows};

async fn end_sessions(admin: &tokio_postgres::Client) -> usize {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()";
    admin.query(sql, &[&foodstream::capture::APPLICATION_NAME]).await.unwrap().len()
}

#[tokio::test]
async fn after_a_lost_connection_the_next_call_goes_on_where_it_stood() {
    let (db, admin) = TestDb::create(ORDERS).await;
    admin.batch_execute("INSERT INTO orders (note) SELECT 'x' FROM generate_series(1, 100)").await.unwrap();
    let mut source = open(db.options("orders")).await;
    let mut read = Vec::new();
    let mut failures = 0;
    while read.len() < 100 {
        assert_eq!(end_sessions(&admin).await, 1);
        match page(&mut source, 10).await {
            Ok((_, rows)) => read.extend(rows),
            Err(error) => {
                assert!(error.is_retriable(), "{error:?}");
                failures += 1;
                read.extend(page(&mut source, 10).await.unwrap().1);
            }
        }
    }
    assert_eq!(keys(&read), (1..=100).collect::<Vec<i64>>());
    assert!(failures <= 100);
}

/// The call is dropped after one poll, after two, and so on through all its await points.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_leaves_batch_and_position_in_agreement() {
    let (db, admin) = TestDb::create(ORDERS).await;
    admin
        .batch_execute("INSERT INTO orders (note) SELECT repeat('x', 500) FROM generate_series(1, 20000)")
        .await
        .unwrap();
    let mut source = open(db.options("orders")).await;
    let mut read = Vec::new();
    let mut batch = ChangeBatch::default();
    let mut allowed = 0;
    let mut cut = 0;
    while read.len() < 20_000 {
        batch.clear();
        allowed += 1;
        let before = source.position();
        {
            let mut polls = 0;
            let mut call = std::pin::pin!(source.next_page(2_000, &mut batch));
            let outcome = std::future::poll_fn(|context| {
                polls += 1;
                if polls > allowed {
                    return Poll::Ready(None);
                }
                call.as_mut().poll(context).map(Some)
            });
            match outcome.await {
                Some(page) => assert!(page.is_ok(), "{page:?}"),
                None => cut += 1,
            }
        }
        assert_eq!(batch.end.unwrap_or(before), source.position());
        read.extend(rows(&batch));
    }
    assert_eq!(keys(&read), (1..=20_000).collect::<Vec<i64>>());
    assert!(cut > 3, "only {cut} calls were cut");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database() AND xact_start IS NOT NULL";
    tokio::time::timeout(Duration::from_secs(20), async {
        while admin.query_one(left, &[&foodstream::capture::APPLICATION_NAME]).await.unwrap().get::<_, i64>(0) > 0 {
            pause().await;
        }
    })
    .await
    .expect("no transaction of a dropped call stays open");
}

#[tokio::test]
async fn a_locked_table_is_waited_for_and_then_retriable() {
    let (db, admin) = TestDb::create(ORDERS).await;
    admin.batch_execute("INSERT INTO orders (note) VALUES ('x')").await.unwrap();
    let mut source = open(db.options("orders")).await;
    let locker = db.connect().await;
    locker.batch_execute("BEGIN; LOCK TABLE orders").await.unwrap();
    let error = page(&mut source, 10).await.unwrap_err();
    assert!(error.is_retriable(), "{error:?}");
    locker.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(keys(&drain(&mut source).await), [1]);
}

/// A rewrite leaves the table empty to every snapshot older than it, so the lock has to come before the snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_waited_for_a_rewrite_reads_the_rewritten_table() {
    let (db, admin) = TestDb::create(ORDERS).await;
    admin.batch_execute("INSERT INTO orders (note) VALUES ('x')").await.unwrap();
    let mut source = open(db.options("orders")).await;
    let rewriter = db.connect().await;
    // The rewriter's own transaction begins later than the row, whose timestamp then lies below the horizon.
    let clock = source.server_clock_us().await.unwrap();
    while page(&mut source, 10).await.unwrap().0.horizon_us <= clock {
        pause().await;
    }
    source.seek(Cursor { timestamp_us: 0, key: None });
    rewriter.batch_execute("BEGIN; ALTER TABLE orders ADD COLUMN r float DEFAULT random()").await.unwrap();
    let waiting = tokio::spawn(async move { page(&mut source, 10).await.unwrap().1 });
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database() \
                   AND wait_event_type = 'Lock'";
    while admin.query_one(blocked, &[&foodstream::capture::APPLICATION_NAME]).await.unwrap().get::<_, i64>(0) == 0 {
        pause().await;
    }
    rewriter.batch_execute("COMMIT").await.unwrap();
    assert_eq!(keys(&waiting.await.unwrap()), [1]);
}

async fn changed(sql: &str) -> (TestDb, PollSource, tokio_postgres::Client) {
    let (db, admin) = TestDb::create(ORDERS).await;
    admin.batch_execute("INSERT INTO orders (note) VALUES ('x')").await.unwrap();
    let mut source = open(db.options("orders")).await;
    assert_eq!(keys(&drain(&mut source).await), [1]);
    admin.batch_execute(sql).await.unwrap();
    admin.batch_execute("INSERT INTO orders DEFAULT VALUES").await.unwrap();
    (db, source, admin)
}

async fn first_error(source: &mut PollSource) -> foodstream::error::Error {
    page(source, 10).await.expect_err("the first page after the change must fail, whatever rows it would hold")
}

#[tokio::test]
async fn an_added_column_stays_out_and_is_named() {
    let (_db, mut source, admin) = changed("ALTER TABLE orders ADD COLUMN tip numeric(5,2) DEFAULT 1").await;
    let rows = drain(&mut source).await;
    assert_eq!(keys(&rows), [2]);
    assert!(!rows[0].1.contains("tip"), "{}", rows[0].1);
    assert_eq!(source.left_out(), ["tip"]);
    admin.batch_execute("ALTER TABLE orders DROP COLUMN tip; INSERT INTO orders DEFAULT VALUES").await.unwrap();
    assert_eq!(keys(&drain(&mut source).await), [3]);
}

#[tokio::test]
async fn dropped_renamed_and_retyped_columns_stop_with_their_name() {
    for (sql, words) in [
        ("ALTER TABLE orders DROP COLUMN note", "`note` of public.orders was dropped or renamed"),
        ("ALTER TABLE orders RENAME COLUMN note TO remark", "`note` of public.orders was dropped or renamed"),
        ("ALTER TABLE orders ALTER COLUMN note TYPE int USING 1", "`note` of public.orders has another type"),
        ("ALTER TABLE orders ALTER COLUMN order_id TYPE int", "`order_id` of public.orders has another type"),
        (
            "ALTER TABLE orders ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN created_at TYPE timestamptz, \
             ALTER COLUMN created_at SET DEFAULT now()",
            "`created_at` of public.orders has another type",
        ),
        (
            "ALTER TABLE orders ALTER COLUMN created_at TYPE timestamp(0)",
            "`created_at` of public.orders has another type",
        ),
        (
            "DROP TABLE orders; CREATE TABLE orders (order_id bigserial PRIMARY KEY, note text, created_at timestamp \
             NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'))",
            "dropped and created anew",
        ),
    ] {
        let (_db, mut source, _admin) = changed(sql).await;
        let error = first_error(&mut source).await;
        assert_eq!(error.kind(), Kind::Schema, "{sql}: {error:?}");
        assert!(!error.is_retriable() && error.to_string().contains(words), "{sql}: {error}");
    }
}

#[tokio::test]
async fn another_length_of_a_text_column_is_no_change() {
    let (_db, mut source, _admin) = changed("ALTER TABLE orders ALTER COLUMN note TYPE varchar(500)").await;
    assert_eq!(keys(&drain(&mut source).await), [2]);
}

/// Transaction ids that a crash has taken back had left no trace; a row that was read had.
#[tokio::test]
async fn ids_that_fall_are_a_shorter_past_only_where_the_row_at_the_position_is_gone() {
    let (db, admin) = TestDb::create(ORDERS).await;
    admin.batch_execute("INSERT INTO orders (note) SELECT 'x' FROM generate_series(1, 3)").await.unwrap();
    let mut before = open(db.options("orders")).await;
    assert_eq!(keys(&drain(&mut before).await), [1, 2, 3]);
    let later = |position| {
        let options = db.options("orders");
        async move {
            let mut source = open(options).await;
            source.seek(position);
            source.restore_history(Some(u64::MAX));
            source
        }
    };
    admin.batch_execute("INSERT INTO orders (note) VALUES ('x')").await.unwrap();
    assert_eq!(keys(&drain(&mut later(before.position()).await).await), [4]);
    // The same key at another time is not the row that was read.
    admin
        .batch_execute("UPDATE orders SET created_at = created_at + interval '1 us' WHERE order_id = 3")
        .await
        .unwrap();
    let mut source = later(before.position()).await;
    for error in [source.check_history().await.unwrap_err(), page(&mut source, 10).await.unwrap_err()] {
        assert_eq!((error.kind(), error.exit_code()), (Kind::DataLoss, 1));
        assert!(error.to_string().contains("has gone back") && error.to_string().contains("|3"), "{error}");
    }
    source.accept_history(before.position());
    assert_eq!(keys(&drain(&mut source).await), [3, 4]);
}

#[tokio::test]
async fn a_dropped_table_and_a_revoked_right_stop_at_once() {
    let (db, admin) = TestDb::create(ORDERS).await;
    let role = db.role(&admin, "reader").await;
    admin.batch_execute(&format!("GRANT SELECT ON orders TO {role}; GRANT pg_read_all_stats TO {role}")).await.unwrap();
    let mut source = open(db.options_as(&role, "orders")).await;
    page(&mut source, 10).await.unwrap();
    admin.batch_execute(&format!("REVOKE SELECT ON orders FROM {role}")).await.unwrap();
    let error = page(&mut source, 10).await.unwrap_err();
    assert!(!error.is_retriable() && error.to_string().contains("grant the user SELECT"), "{error:?}");
    admin.batch_execute("DROP TABLE orders").await.unwrap();
    let error = page(&mut source, 10).await.unwrap_err();
    assert!(!error.is_retriable() && error.to_string().contains("check postgres.table"), "{error:?}");
}
