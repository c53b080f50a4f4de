//! Bad servers, credentials, tables and rights: a clear word, the right haste, and never a secret.

use foodstream::capture::{PollOptions, schema_of_table};
use foodstream::error::{Error, Kind};
use foodstream::postgres::{OrderIndex, Session, connect};

use super::support::{ORDERS, TestDb, preflight, refusal, with_schema};

const CANARY: &str = "canary-7f3a91";

fn assert_refused(error: &Error, kind: Kind, words: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(!error.is_retriable(), "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
}

fn edited(db: &TestDb, edit: impl FnOnce(&mut PollOptions)) -> PollOptions {
    let mut options = db.options("orders");
    edit(&mut options);
    options
}

#[tokio::test]
async fn wrong_credentials_and_names_are_refused_at_once() {
    let (db, admin) = TestDb::create(ORDERS).await;
    let role = db.role(&admin, "x").await;
    let wrong = edited(&db, |options| {
        options.postgres.user = role.clone();
        options.postgres.password = Some(CANARY.into());
    });
    let error = refusal(wrong).await;
    assert_refused(&error, Kind::Source, "refused the password");
    for shown in [error.to_string(), error.report(), format!("{error:?}")] {
        assert!(!shown.contains(CANARY), "{shown}");
    }
    let error = refusal(edited(&db, |options| options.postgres.password = None)).await;
    assert!(!error.is_retriable(), "{error:?}");
    let error = refusal(edited(&db, |options| options.postgres.database = "nowhere".to_owned())).await;
    assert_refused(&error, Kind::Source, "database `nowhere` does not exist");
    let error = refusal(edited(&db, |options| options.postgres.table = "nothing".to_owned())).await;
    assert_refused(&error, Kind::Source, "table `nothing` does not exist");
    let error = refusal(edited(&db, |options| options.cdc.timestamp_column = "updated_at".to_owned())).await;
    assert_refused(&error, Kind::Schema, "no column `updated_at`");
    let error = refusal(with_schema(db.options("orders"), &[("order_id", "bigint"), ("missing", "int")])).await;
    assert_refused(&error, Kind::Schema, "no column `missing`, which `schema` names");
    let error = refusal(with_schema(db.options("orders"), &[("note", "int")])).await;
    assert_refused(&error, Kind::Schema, "column `note` is text in the table and int in `schema`");
    let error = refusal(edited(&db, |options| options.cdc.timestamp_column = "note".to_owned())).await;
    assert_refused(&error, Kind::Schema, "needs a timestamp or timestamptz column");
}

#[tokio::test]
async fn servers_that_are_away_may_come_back() {
    let (db, _admin) = TestDb::create(ORDERS).await;
    // A port that was free a moment ago and that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = refusal(edited(&db, |options| options.postgres.port = free)).await;
    let unknown = refusal(edited(&db, |options| options.postgres.host = "no-such-host".to_owned())).await;
    for error in [closed, unknown] {
        assert_eq!(error.kind(), Kind::Source);
        assert!(error.is_retriable(), "{error:?}");
        assert_eq!(error.exit_code(), 75);
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_was_asked_for() {
    let (db, admin) = TestDb::create(ORDERS).await;
    if admin.query_one("SHOW ssl", &[]).await.unwrap().get::<_, String>(0) == "on" {
        return;
    }
    let strict = edited(&db, |options| options.postgres.tls.mode = Some(foodstream::config::SslMode::VerifyFull));
    let error = refusal(strict).await;
    assert_refused(&error, Kind::Source, "tls");
    assert!(error.to_string().contains("security.allow_plaintext"), "{error}");
}

#[tokio::test]
async fn missing_rights_are_named_with_the_grant_that_gives_them() {
    let (db, admin) = TestDb::create(ORDERS).await;
    let role = db.role(&admin, "poor").await;
    let error = refusal(db.options_as(&role, "orders")).await;
    assert_refused(&error, Kind::Source, "GRANT SELECT ON \"public\".\"orders\"");
    admin.batch_execute(&format!("GRANT SELECT (order_id) ON orders TO {role}")).await.unwrap();
    assert_refused(&refusal(db.options_as(&role, "orders")).await, Kind::Source, "on the whole table");
    admin
        .batch_execute(&format!(
            "CREATE SCHEMA shut; CREATE TABLE shut.orders2 (id int PRIMARY KEY); GRANT SELECT ON shut.orders2 TO {role}"
        ))
        .await
        .unwrap();
    assert_refused(&refusal(db.options_as(&role, "shut.orders2")).await, Kind::Source, "GRANT USAGE ON SCHEMA");
    assert_refused(&refusal(db.options_as(&role, "orders2")).await, Kind::Source, "`shut.orders2`");
}

#[tokio::test]
async fn unsupported_columns_are_named_and_can_be_left_out() {
    let (db, _admin) = TestDb::create(
        "CREATE TABLE orders (order_id int PRIMARY KEY, blob bytea, free numeric, span interval,
         created_at timestamptz NOT NULL DEFAULT now())",
    )
    .await;
    let error = refusal(db.options("orders")).await;
    assert_refused(&error, Kind::Schema, "column `blob` has the unsupported type bytea");
    let columns = [("order_id", "bigint"), ("free", "decimal(20,4)"), ("span", "string")];
    let report = preflight(with_schema(db.options("orders"), &columns)).await;
    assert_eq!(report.left_out, ["blob", "created_at"]);
    assert!(report.warnings.iter().any(|words| words.to_string().contains("`free`")), "{:?}", report.warnings);
    let client = connect(&db.options("orders").postgres, false, "test", Session::Read).await.unwrap();
    let error = schema_of_table(&client, "orders").await.unwrap_err();
    assert!(error.to_string().contains("`blob`"), "{error}");
}

#[tokio::test]
async fn the_report_says_what_was_found() {
    let (db, admin) = TestDb::create(ORDERS).await;
    admin
        .batch_execute(
            "CREATE SCHEMA \"Shop\"; CREATE TABLE \"Shop\".\"2025em_orders\" (LIKE orders INCLUDING ALL);
             CREATE TABLE plain (order_id int PRIMARY KEY, created_at timestamptz(3));
             CREATE INDEX by_time ON plain (created_at); ANALYZE plain",
        )
        .await
        .unwrap();
    let report = preflight(db.options("Shop.2025em_orders")).await;
    assert_eq!((report.schema_name.as_str(), report.table_name.as_str()), ("Shop", "2025em_orders"));
    assert!(matches!(report.index, OrderIndex::Full(_)));
    assert!(report.reads_all_stats && report.warnings.is_empty(), "{:?}", report.warnings);
    assert_eq!(report.key_column, "order_id");
    assert_eq!(report.columns[2].message_type, "timestamp");
    let identity = report.identity.unwrap();
    assert!(identity.timeline >= 1 && identity.system_identifier.len() > 10);

    let report = preflight(db.options("plain")).await;
    assert_eq!(report.index, OrderIndex::TimestampOnly("by_time".to_owned()));
    assert_eq!(report.estimated_rows, Some(0));
    assert!(report.warnings.iter().any(|words| words.to_string().contains("may be null")), "{:?}", report.warnings);
}
