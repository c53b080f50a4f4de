//! Nothing missing and nothing twice while many writers commit late; and the proof that the test can fail.

use std::collections::BTreeSet;
use std::time::Duration;

use foodstream::capture::Source;
use foodstream::model::ChangeBatch;

use super::support::{ORDERS, TestDb, drain, keys, open, page, pause, rows};
use super::writers::{Plan, run};

fn plan(seed: u64) -> Plan {
    Plan { writers: 16, rounds: 12, longest_wait: Duration::from_millis(250), seed, table: "orders".to_owned() }
}

async fn in_table(db: &TestDb) -> BTreeSet<i64> {
    let rows = db.connect().await.query("SELECT order_id FROM orders", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn assert_once_and_complete(read: &[i64], written: &BTreeSet<i64>) {
    let unique: BTreeSet<i64> = read.iter().copied().collect();
    let missing: Vec<_> = written.difference(&unique).collect();
    assert!(missing.is_empty(), "{} of {} rows were lost: {missing:?}", missing.len(), written.len());
    assert_eq!(unique.len(), read.len(), "rows came twice");
    assert_eq!(unique.len(), written.len(), "rows came that the table does not hold");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_of_late_writers_is_lost_or_repeated() {
    let (db, _admin) = TestDb::create(ORDERS).await;
    let mut source = open(db.options("orders")).await;
    let writers = tokio::spawn({
        let config = db.config.clone();
        async move { run(&config, &plan(1)).await }
    });
    let mut read = Vec::new();
    let mut batch = ChangeBatch::default();
    let mut pages = 0_u64;
    while !writers.is_finished() {
        batch.clear();
        // Small pages, so that timestamps are cut between them.
        source.next_page(3, &mut batch).await.unwrap();
        read.extend(rows(&batch));
        pages += 1;
        pause().await;
    }
    assert!(writers.await.unwrap() > 0);
    read.extend(drain(&mut source).await);
    assert_once_and_complete(&keys(&read), &in_table(&db).await);
    assert!(pages > 50, "only {pages} pages ran beside the writers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_the_middle_of_late_writers_loses_and_repeats_nothing() {
    let (db, _admin) = TestDb::create(ORDERS).await;
    let mut source = open(db.options("orders")).await;
    let writers = tokio::spawn({
        let config = db.config.clone();
        async move { run(&config, &plan(2)).await }
    });
    let mut read = Vec::new();
    let mut last_w = None;
    while !writers.is_finished() {
        for _ in 0..20 {
            let (page, rows) = page(&mut source, 5).await.unwrap();
            read.extend(rows);
            last_w = Some(page.horizon_us);
            pause().await;
        }
        let position = source.position();
        source = open(db.options("orders")).await;
        source.seek(position);
        source.restore_horizon(last_w.unwrap());
    }
    read.extend(drain(&mut source).await);
    assert_once_and_complete(&keys(&read), &in_table(&db).await);
}

/// The check of the check: the cursor that everyone writes first must lose rows here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_cursor_loses_rows_of_the_same_writers() {
    let (db, admin) = TestDb::create(ORDERS).await;
    let writers = tokio::spawn({
        let config = db.config.clone();
        async move { run(&config, &plan(1)).await }
    });
    let mut read = BTreeSet::new();
    let (mut timestamp, mut key) = ("-infinity".to_owned(), 0_i64);
    let mut ended = false;
    loop {
        let sql = "SELECT created_at::text, order_id FROM orders WHERE (created_at, order_id) > ($1::text::timestamp, $2) \
                   ORDER BY created_at, order_id LIMIT 1000";
        let rows = admin.query(sql, &[&timestamp, &key]).await.unwrap();
        for row in &rows {
            (timestamp, key) = (row.get(0), row.get(1));
            assert!(read.insert(key));
        }
        if ended && rows.is_empty() {
            break;
        }
        ended = writers.is_finished();
        pause().await;
    }
    writers.await.unwrap();
    let written = in_table(&db).await;
    assert!(read.len() < written.len(), "these writers do not commit late enough to tell the two apart");
}
