//! H1 and H4 where it takes an instant to break them: a poll that is stopped while it looks at the open sessions.
//!
//! In the test's own database `pg_stat_activity` becomes a view that waits for two locks, one before the sessions are
//! looked at and one behind, so that what happens at either moment is the test's to decide.

use foodstream::capture::PollSource;
use tokio_postgres::Client;

use super::support::{ORDERS, TestDb, drain, keys, open, page, pause};

const INSERT: &str = "INSERT INTO orders (note) VALUES ('x')";
const BEFORE: i64 = 1;
const BEHIND: i64 = 2;

const GATES: &str = "
SET allow_system_table_mods = on;
DO $$ BEGIN
  EXECUTE 'CREATE VIEW public.sessions AS ' || pg_get_viewdef('pg_catalog.pg_stat_activity'::regclass);
END $$;
CREATE FUNCTION public.looked() RETURNS SETOF public.sessions LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_lock(1), pg_advisory_unlock(1);
  RETURN QUERY SELECT * FROM public.sessions;
  PERFORM pg_advisory_lock(2), pg_advisory_unlock(2);
END $$;
CREATE OR REPLACE VIEW pg_catalog.pg_stat_activity AS SELECT * FROM public.looked();
RESET allow_system_table_mods";

async fn with_gates() -> (TestDb, Client, PollSource) {
    let (db, admin) = TestDb::create(ORDERS).await;
    admin.batch_execute(GATES).await.unwrap();
    let source = open(db.options("orders")).await;
    (db, admin, source)
}

async fn shut(admin: &Client, gate: i64) {
    admin.execute("SELECT pg_advisory_lock($1)", &[&gate]).await.unwrap();
}

async fn unlock(admin: &Client, gate: i64) {
    admin.execute("SELECT pg_advisory_unlock($1)", &[&gate]).await.unwrap();
}

async fn until(admin: &Client, condition: &str) {
    while !admin.query_one(&format!("SELECT {condition}"), &[]).await.unwrap().get::<_, bool>(0) {
        pause().await;
    }
}

/// Until a poll stands at a gate.
async fn until_it_waits(admin: &Client) {
    let waits = "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = \
                 (SELECT oid FROM pg_database WHERE datname = current_database()))";
    until(admin, waits).await;
}

/// Until the newest row lies below a horizon that would be taken now.
async fn until_the_margin_has_passed(admin: &Client) {
    let passed = "max(created_at) + interval '200 ms' < clock_timestamp() AT TIME ZONE 'UTC' FROM orders";
    until(admin, passed).await;
}

/// The clock is read before the sessions are looked at: a transaction that begins behind the look is not among them, so
/// its rows must lie above the horizon.
#[tokio::test]
async fn h1_a_transaction_that_begins_while_the_sessions_are_looked_at_lies_above_the_horizon() {
    let (db, admin, mut source) = with_gates().await;
    let (early, late) = (db.connect().await, db.connect().await);
    shut(&admin, BEHIND).await;
    let (polled, ()) = tokio::join!(page(&mut source, 10), async {
        until_it_waits(&admin).await;
        early.batch_execute(&format!("BEGIN; {INSERT}")).await.unwrap();
        late.batch_execute(INSERT).await.unwrap();
        until_the_margin_has_passed(&late).await;
        unlock(&admin, BEHIND).await;
    });
    assert!(polled.unwrap().1.is_empty(), "the later row was read, and the earlier one can still be committed");
    early.batch_execute("COMMIT").await.unwrap();
    assert_eq!(keys(&drain(&mut source).await), [1, 2]);
}

/// The rows are read in a picture taken behind that look: what was committed before it, and so holds nothing back, is
/// in it.
#[tokio::test]
async fn h4_what_is_committed_just_before_the_sessions_are_looked_at_is_in_the_page() {
    let (db, admin, mut source) = with_gates().await;
    let (early, late) = (db.connect().await, db.connect().await);
    early.batch_execute(&format!("BEGIN; {INSERT}")).await.unwrap();
    late.batch_execute(INSERT).await.unwrap();
    until_the_margin_has_passed(&late).await;
    shut(&admin, BEFORE).await;
    let (polled, ()) = tokio::join!(page(&mut source, 10), async {
        until_it_waits(&admin).await;
        early.batch_execute("COMMIT").await.unwrap();
        unlock(&admin, BEFORE).await;
    });
    assert_eq!(keys(&polled.unwrap().1), [1, 2]);
}
