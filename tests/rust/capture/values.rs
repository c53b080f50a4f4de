//! Values from PostgreSQL to message text: equal to PostgreSQL's own text of them, at the extremes too.

use chrono_tz::Tz;
use foodstream::capture::Source;
use foodstream::model::Schema;
use foodstream::postgres::{CopyWriter, Session, Table, connect, copy_out, insert_text_rows, query_text};

use super::support::{ORDERS, TestDb, drain, open, with_schema};

const TYPES: &str = r#"
CREATE TYPE mood AS ENUM ('fine', 'so"so', 'bäd');
CREATE DOMAIN money2 AS numeric(12,2);
CREATE TYPE place AS (city text, zip int);
CREATE TABLE orders (
  id serial PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, n numeric(38,10), m money2, t text, v varchar(20), c char(5),
  nm name, u uuid, j json, jb jsonb, d date, ts timestamp, tz timestamptz, e mood, a int[], p place,
  created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO orders DEFAULT VALUES;
INSERT INTO orders (b, i2, i4, i8, n, m, t, v, c, nm, u, j, jb, d, ts, tz, e, a, p) VALUES
 (true, 32767, 2147483647, 9223372036854775807, 9999999999999999999999999999.9999999999, 9999999999.99,
  E'quote " back \\ slash / tab \t nl \n cr \r bell \x07 del \x7f é 🍛 \u2028', 'v', 'ab', 'a name',
  'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a" : [1, 2.50, "x\u0041"],  "a":null}', '{"z":1,"a":[1.10,null]}',
  '2025-11-18', '2025-11-18 10:00:00', '2025-11-18 10:00:00.123456+05:30', 'so"so', '{1,NULL,3}', ('Köln, "x"', 1)),
 (false, -32768, -2147483648, -9223372036854775808, -0.0000000001, -0.01, '', '', '', '',
  '00000000-0000-0000-0000-000000000000', '0', '"\u00e9"', '0001-01-01', '0001-01-01 00:00:00', '9999-12-31 23:59:59.999999Z',
  'bäd', '{}', (NULL, NULL)),
 (NULL, 0, 0, 0, 'NaN', 'NaN', repeat('長い', 100000), 'x', 'x', 'x', NULL, '"x"', 'null', 'infinity', 'infinity', '-infinity',
  'fine', '{{1,2},{3,4}}', NULL),
 (NULL, 1, 1, 1, 0, 0, 'x', 'x', 'x', 'x', NULL, '[]', '{}', '4714-11-24 BC', '4714-11-24 00:00:00 BC', '0044-03-15 12:00:00.5Z BC',
  'fine', NULL, NULL),
 (NULL, 1, 1, 1, 1234567890.0987654321, 1, 'x', 'x', 'x', 'x', NULL, '[]', '{}', '5874897-12-31', '294276-12-31 23:59:59.999999',
  '10000-01-01 00:00:00.000001Z', 'fine', NULL, NULL),
 (NULL, 1, 1, 1, 100000000, 1000000, 'x', 'x', 'x', 'x', NULL, '[]', '{}', '1582-10-15', '2000-01-01 00:00:00.000001', '1969-12-31 23:59:59.9Z',
  'fine', NULL, NULL);
"#;

/// The message as PostgreSQL itself would put it together, in SQL.
const EXPECTED: &str = r#"
SELECT '{"id":' || id || ',"b":' || coalesce(b::text, 'null') || ',"i2":' || coalesce(i2::text, 'null')
 || ',"i4":' || coalesce(i4::text, 'null') || ',"i8":' || coalesce(i8::text, 'null')
 || ',"n":' || coalesce(number(n), 'null') || ',"m":' || coalesce(number(m), 'null')
 || ',"t":' || coalesce(to_json(t)::text, 'null') || ',"v":' || coalesce(to_json(v)::text, 'null')
 || ',"c":' || coalesce(to_json(c)::text, 'null') || ',"nm":' || coalesce(to_json(nm::text)::text, 'null')
 || ',"u":' || coalesce(to_json(u)::text, 'null') || ',"j":' || coalesce(j::text, 'null')
 || ',"jb":' || coalesce(jb::text, 'null') || ',"d":' || coalesce('"' || d || '"', 'null')
 || ',"ts":' || coalesce(moment(ts), 'null') || ',"tz":' || coalesce(moment(tz AT TIME ZONE 'UTC'), 'null')
 || ',"e":' || coalesce(to_json(e::text)::text, 'null') || ',"a":' || coalesce(to_jsonb(a)::text, 'null')
 || ',"p":' || coalesce(to_jsonb(p)::text, 'null') || ',"created_at":' || moment(created_at AT TIME ZONE 'UTC') || '}'
FROM orders ORDER BY created_at, id"#;

const HELPERS: &str = r#"
CREATE FUNCTION number(n numeric) RETURNS text LANGUAGE sql AS $$ SELECT CASE WHEN n = 'NaN' THEN '"NaN"' ELSE n::text END $$;
CREATE FUNCTION moment(t timestamp) RETURNS text LANGUAGE sql AS $$
  SELECT CASE WHEN isfinite(t) AND t >= '0001-01-01' AND t < '10000-01-01'
              THEN '"' || replace(t::text, ' ', 'T') || 'Z"' ELSE '"' || t::text || '"' END $$;
"#;

#[tokio::test]
async fn every_type_and_extreme_is_postgresqls_own_text() {
    let (db, admin) = TestDb::create(TYPES).await;
    admin.batch_execute(HELPERS).await.unwrap();
    let rows = drain(&mut open(db.options("orders")).await).await;
    let expected: Vec<String> = admin.query(EXPECTED, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(rows.len(), expected.len());
    for ((key, value), expected) in rows.iter().zip(&expected) {
        assert_eq!(value, expected, "row {key}");
        serde_json::from_str::<serde_json::Value>(value).unwrap_or_else(|error| panic!("row {key}: {error}"));
    }
}

#[tokio::test]
async fn floats_read_back_as_the_same_bits() {
    let (db, admin) = TestDb::create(
        "CREATE TABLE orders (id serial PRIMARY KEY, f4 float4, f8 float8, created_at timestamptz NOT NULL DEFAULT now());
         INSERT INTO orders (f4, f8) VALUES (0.1, 0.1), (3.4028235e38, 1.7976931348623157e308), (1e-45, 5e-324), ('-0', '-0'),
           (16777217, 9007199254740993), (1e20, 1e300), ('NaN', 'NaN'), ('Infinity', '-Infinity')",
    )
    .await;
    let rows = drain(&mut open(db.options("orders")).await).await;
    let stored = admin.query("SELECT f4, f8 FROM orders ORDER BY id", &[]).await.unwrap();
    for ((_, value), stored) in rows.iter().zip(&stored) {
        let message: serde_json::Value = serde_json::from_str(value).unwrap();
        let (f4, f8): (f32, f64) = (stored.get(0), stored.get(1));
        let text = |field: &serde_json::Value| field.as_str().map_or_else(|| field.to_string(), str::to_owned);
        let (read4, read8): (f32, f64) = (text(&message["f4"]).parse().unwrap(), text(&message["f8"]).parse().unwrap());
        assert!(read4.to_bits() == f4.to_bits() || (read4.is_nan() && f4.is_nan()), "{value}");
        assert!(read8.to_bits() == f8.to_bits() || (read8.is_nan() && f8.is_nan()), "{value}");
        assert_eq!(message["f4"].is_string(), !f4.is_finite());
    }
    assert!(rows[0].1.contains("\"f4\":0.1,\"f8\":0.1,"), "{}", rows[0].1);
}

#[tokio::test]
async fn local_times_leave_as_postgresqls_at_time_zone_gives_them() {
    for zone in [Tz::Asia__Kolkata, Tz::America__New_York, Tz::Europe__Berlin, Tz::Australia__Lord_Howe] {
        let (db, admin) = TestDb::create(
            "CREATE TABLE orders (id serial PRIMARY KEY, created_at timestamp NOT NULL);
             CREATE INDEX ON orders (created_at, id);
             INSERT INTO orders (created_at) SELECT generate_series(timestamp '2024-01-01', '2025-12-31 23:59', '37 min')",
        )
        .await;
        let mut options = db.options("orders");
        options.cdc.timezone = zone;
        let rows = drain(&mut open(options).await).await;
        let sql = format!(
            "SELECT '{{\"id\":' || id || ',\"created_at\":\"' || replace((created_at AT TIME ZONE '{zone}' AT TIME ZONE 'UTC')::text, \
             ' ', 'T') || 'Z\"}}' FROM orders ORDER BY created_at, id"
        );
        let expected: Vec<String> = admin.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        assert_eq!(rows.len(), expected.len(), "{zone}");
        for ((_, value), expected) in rows.iter().zip(&expected) {
            assert_eq!(value, expected, "{zone}");
        }
    }
}

#[tokio::test]
async fn the_position_is_the_columns_own_value_and_the_message_is_utc() {
    let (db, admin) = TestDb::create(
        "CREATE TABLE orders (id int PRIMARY KEY, created_at timestamp NOT NULL);
         INSERT INTO orders VALUES (1, '2025-11-18 00:10:00.5')",
    )
    .await;
    let mut options = db.options("orders");
    options.cdc.timezone = Tz::Asia__Kolkata;
    let mut source = open(options).await;
    let rows = drain(&mut source).await;
    assert_eq!(rows[0].1, r#"{"id":1,"created_at":"2025-11-17T18:40:00.5Z"}"#);
    assert_eq!(source.position().to_string(), "2025-11-18 00:10:00.500000|1");
    let local = "SELECT (extract(epoch FROM now() AT TIME ZONE 'Asia/Kolkata') * 1000000)::bigint";
    let local_clock: i64 = admin.query_one(local, &[]).await.unwrap().get(0);
    let clock = source.server_clock_us().await.unwrap();
    assert!((clock - local_clock).abs() < 10_000_000, "the clock is the column's: {clock} {local_clock}");
}

#[tokio::test]
async fn a_written_schema_chooses_columns_and_wider_types() {
    let (db, _admin) = TestDb::create(
        "CREATE TABLE orders (order_id int PRIMARY KEY, amount numeric, secret text, tags text[],
         created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'));
         INSERT INTO orders VALUES (7, 1.50, 'x', '{a,\"b c\"}')",
    )
    .await;
    let options =
        with_schema(db.options("orders"), &[("amount", "decimal(10,2)"), ("tags", "string"), ("order_id", "string")]);
    let rows = drain(&mut open(options).await).await;
    assert_eq!(rows, [("7".to_owned(), r#"{"amount":1.50,"tags":"[\"a\", \"b c\"]","order_id":"7"}"#.to_owned())]);
}

#[tokio::test]
async fn generated_rows_go_in_by_copy_and_come_out_by_copy() {
    let (db, _admin) = TestDb::create(
        "CREATE TABLE orders (order_id serial PRIMARY KEY, customer_name varchar(255), amount numeric(10,2), small int2,
         created_at timestamp DEFAULT (now() AT TIME ZONE 'UTC'))",
    )
    .await;
    let postgres = db.options("orders").postgres;
    let client = connect(&postgres, false, "test", Session::Write).await.unwrap();
    let table = Table::describe(&client, "orders").await.unwrap();
    let columns = ["customer_name", "amount", "small", "created_at"];
    let mut writer = CopyWriter::start(&client, &table, &columns).await.unwrap();
    for number in 0..20_000_i64 {
        writer.text(&format!("näme {number}")).unwrap();
        writer.decimal(i128::from(number) - 100, 2).unwrap();
        if number % 2 == 0 {
            writer.null().unwrap()
        } else {
            writer.integer(number % 1_000).unwrap()
        }
        writer.timestamp_us(1_763_460_000_000_000 + number).unwrap();
        writer.end_row().await.unwrap();
    }
    assert_eq!(writer.finish().await.unwrap(), 20_000);

    let inserted = vec![
        vec![Some("O'Neil \"x\"".to_owned()), Some("12.30".to_owned()), None, Some("2025-11-18 12:00:00".to_owned())],
        vec![None, None, Some("5".to_owned()), None],
    ];
    let mut ids = Vec::new();
    let mut note = |id: &str| {
        ids.push(id.to_owned());
        Ok(())
    };
    insert_text_rows(&client, &table, &columns, inserted.into_iter(), "order_id", &mut note).await.unwrap();
    let bad = vec![vec![None, Some("1e99".to_owned()), None, None]];
    assert!(insert_text_rows(&client, &table, &columns, bad.into_iter(), "order_id", &mut note).await.is_err());
    assert_eq!(ids, ["20001", "20002"]);
    let total = query_text(&client, "SELECT count(*), max(order_id) FROM orders", "test").await.unwrap();
    assert_eq!(total.scalar(), Some("20002"));

    let sql = "SELECT order_id::text, customer_name::text, amount::text, small::text, created_at::text FROM orders ORDER BY orders.order_id";
    let mut seen = Vec::new();
    let count = copy_out(&client, sql, "test", |row| {
        let texts: Vec<String> = (0..row.len()).map(|at| row.text(at).unwrap().unwrap_or("-").to_owned()).collect();
        seen.push(texts.join("|"));
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(count, 20_002);
    assert_eq!(seen[0], "1|näme 0|-1.00|-|2025-11-18 10:00:00");
    assert_eq!(seen[1], "2|näme 1|-0.99|1|2025-11-18 10:00:00.000001");
    assert_eq!(seen[20_000], "20001|O'Neil \"x\"|12.30|-|2025-11-18 12:00:00");
    assert_eq!(seen[20_001], "20002|-|-|5|-");
}

#[tokio::test]
async fn rows_of_one_timestamp_are_cut_by_pages_and_by_restarts_without_loss() {
    let (db, admin) = TestDb::create(ORDERS).await;
    admin.batch_execute("INSERT INTO orders (note) SELECT 'x' FROM generate_series(1, 10000)").await.unwrap();
    let mut keys = Vec::new();
    let mut source = open(db.options("orders")).await;
    while keys.len() < 10_000 {
        let (_, rows) = super::support::page(&mut source, 777).await.unwrap();
        keys.extend(super::support::keys(&rows));
        let position = source.position();
        source = open(db.options("orders")).await;
        source.seek(position);
    }
    assert_eq!(keys, (1..=10_000).collect::<Vec<i64>>());
    assert!(drain(&mut source).await.is_empty());
}

#[tokio::test]
async fn the_order_schema_is_what_the_documents_table_gives() {
    let (db, _admin) = TestDb::create(
        "CREATE TABLE orders (order_id bigserial PRIMARY KEY, customer_name varchar(255), restaurant_name varchar(255),
         item varchar(255), amount numeric(10,2), order_status varchar(50), created_at timestamp)",
    )
    .await;
    let client = connect(&db.options("orders").postgres, false, "test", Session::Read).await.unwrap();
    let schema = foodstream::capture::schema_of_table(&client, "orders").await.unwrap();
    assert_eq!(schema, Schema::orders());
}
