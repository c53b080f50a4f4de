//! A database of its own for every test: the horizon looks at all sessions of one database, so tests must not share.

use std::time::Duration;

use chrono_tz::Tz;
use foodstream::capture::{Page, PollOptions, PollSource, Preflight, Source};
use foodstream::config;
use foodstream::error::{Error, Result};
use foodstream::model::{ChangeBatch, Schema};
use tokio_postgres::NoTls;

pub const ORDERS: &str = "CREATE TABLE orders (
    order_id bigserial PRIMARY KEY,
    note text,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'));
    CREATE INDEX ON orders (created_at, order_id)";

/// Where the tests' server is, from the environment.
pub fn server() -> tokio_postgres::Config {
    std::env::var("FOODSTREAM_TEST_POSTGRES")
        .expect("set FOODSTREAM_TEST_POSTGRES to `host=… port=… user=… password=… dbname=…`")
        .parse()
        .expect("FOODSTREAM_TEST_POSTGRES is a connection string")
}

pub async fn session(config: &tokio_postgres::Config) -> tokio_postgres::Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A fresh database, dropped with its sessions and prepared transactions at the end.
pub struct TestDb {
    pub config: tokio_postgres::Config,
    pub name: String,
}

impl TestDb {
    pub async fn create(sql: &str) -> (TestDb, tokio_postgres::Client) {
        let name = format!("fs_{}", uuid::Uuid::new_v4().simple());
        session(&server()).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let mut config = server();
        config.dbname(&name).application_name("test");
        let client = session(&config).await;
        client.batch_execute(sql).await.unwrap();
        (TestDb { config, name }, client)
    }

    pub async fn connect(&self) -> tokio_postgres::Client {
        session(&self.config).await
    }

    /// A login without any rights of its own, with the password `pass-<name>`. Dropped with the database.
    pub async fn role(&self, admin: &tokio_postgres::Client, suffix: &str) -> String {
        let role = format!("{}_{suffix}", self.name);
        admin.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pass-{role}'")).await.unwrap();
        role
    }

    pub fn options(&self, table: &str) -> PollOptions {
        let tokio_postgres::config::Host::Tcp(host) = &self.config.get_hosts()[0] else {
            panic!("the tests' server is reached by tcp")
        };
        let password = self.config.get_password().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap().into());
        PollOptions {
            postgres: config::Postgres {
                host: host.clone(),
                port: self.config.get_ports()[0],
                database: self.name.clone(),
                user: self.config.get_user().unwrap().to_owned(),
                password,
                table: table.to_owned(),
                tls: config::PostgresTls { mode: None, root_cert: None, cert: None, key: None },
            },
            cdc: cdc(),
            schema: None,
            allow_plaintext: false,
        }
    }

    pub fn options_as(&self, role: &str, table: &str) -> PollOptions {
        let mut options = self.options(table);
        options.postgres.user = role.to_owned();
        options.postgres.password = Some(format!("pass-{role}").into());
        options
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let name = self.name.clone();
        let own = self.config.clone();
        // A runtime of its own: the test's may be on its way down.
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let inside = session(&own).await;
                for row in inside
                    .query("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", &[])
                    .await
                    .unwrap()
                {
                    let gid: String = row.get(0);
                    inside.batch_execute(&format!("ROLLBACK PREPARED '{gid}'")).await.unwrap();
                }
                drop(inside);
                let outside = session(&server()).await;
                outside.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
                let roles = format!("SELECT rolname::text FROM pg_roles WHERE starts_with(rolname::text, '{name}_')");
                for row in outside.query(&roles, &[]).await.unwrap() {
                    let role: String = row.get(0);
                    outside.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
                }
            });
        });
        cleaning.join().unwrap();
    }
}

pub fn cdc() -> config::Cdc {
    config::Cdc {
        poll_interval: Duration::from_millis(5),
        batch_limit: 1000,
        default_start_timestamp_us: 0,
        timestamp_column: "created_at".to_owned(),
        key_column: None,
        timezone: Tz::UTC,
        begin_margin: Duration::from_millis(100),
        late_commit_margin: None,
        cursor_topic: None,
        pipeline_id: None,
        transaction_max_rows: 100_000,
        transaction_max: Duration::from_secs(1),
    }
}

pub async fn open(options: PollOptions) -> PollSource {
    PollSource::open(options).await.unwrap().0
}

pub async fn refusal(options: PollOptions) -> Error {
    match PollSource::open(options).await {
        Ok(_) => panic!("the source was opened"),
        Err(error) => error,
    }
}

pub async fn preflight(options: PollOptions) -> Preflight {
    PollSource::open(options).await.unwrap().1
}

pub fn with_schema(mut options: PollOptions, columns: &[(&str, &str)]) -> PollOptions {
    let columns = columns.iter().map(|(name, data_type)| foodstream::model::Column {
        name: (*name).to_owned(),
        data_type: data_type.parse().unwrap(),
        nullable: true,
    });
    options.schema = Some(Schema::new(columns.collect()));
    options
}

/// One page; its rows as (key, value).
pub async fn page(source: &mut PollSource, limit: u32) -> Result<(Page, Vec<(String, String)>)> {
    let mut batch = ChangeBatch::default();
    let page = source.next_page(limit, &mut batch).await?;
    Ok((page, rows(&batch)))
}

/// Between two looks. Without it reader and server hand the processor to each other, and on a machine with two of
/// them the writers that are waited for would hardly run.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub fn rows(batch: &ChangeBatch) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    batch.iter().map(|(_, key, value)| (text(key), text(value))).collect()
}

/// Polls until every row below the server's clock of now has been read, as a bounded run does.
pub async fn drain(source: &mut PollSource) -> Vec<(String, String)> {
    let target = source.server_clock_us().await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let (page, rows) = page(source, 1000).await.unwrap();
            all.extend(rows);
            if page.horizon_us > target && !page.full {
                return;
            }
            pause().await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("the horizon did not pass the clock: {:?}", source.holder()));
    all
}

pub fn keys(rows: &[(String, String)]) -> Vec<i64> {
    rows.iter().map(|(key, _)| key.parse().unwrap()).collect()
}
