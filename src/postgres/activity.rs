//! The two statements behind the horizon, and the facts they bring.
//!
//! Both run as statements of their own, outside any transaction block: inside one, `pg_stat_activity` is a picture
//! taken at its first use. `capture::horizon` judges the facts; nothing here does.

use tokio_postgres::Statement;
use tokio_postgres::types::{FromSql, Type};

use super::connect::Client;
use super::from_postgres_us;
use crate::error::Result;

/// Begin of what a session does: the transaction's start, or, for the instant in which a further transaction of
/// the same message has not shown its start yet, the message's.
///
/// `statement_timestamp()` is when our message arrived, before anything was looked at; `clock_timestamp()` would be
/// evaluated above the scan, too late.
///
/// Hidden are: sessions we may not look into (no `backend_type`), sessions with `track_activities` off, and
/// sessions inside a transaction that shows no start, because tracking was switched on after it began. A client
/// whose state is still empty is only connecting and has run nothing; a parallel worker shows its leader's start.
const ACTIVITY: &str = "
WITH others AS MATERIALIZED (
  SELECT pid, application_name, usename, backend_type, state, xact_start,
         least(xact_start, CASE WHEN state <> 'idle' THEN query_start END) AS began
  FROM pg_catalog.pg_stat_activity
  WHERE datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    AND pid <> pg_backend_pid()
    AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'autovacuum launcher', 'walsender')
), hidden AS (
  SELECT pid FROM others
  WHERE backend_type IS NULL
     OR state = 'disabled'
     OR (state IS NULL AND backend_type NOT IN ('client backend', 'parallel worker'))
     OR (state LIKE 'idle in transaction%' AND xact_start IS NULL)
), oldest AS (
  SELECT began, pid, application_name, usename FROM others WHERE began IS NOT NULL ORDER BY began LIMIT 1
)
SELECT statement_timestamp(), pg_is_in_recovery(),
       (SELECT count(*) FROM hidden), (SELECT min(pid) FROM hidden),
       oldest.began, oldest.pid, coalesce(oldest.application_name, ''), coalesce(oldest.usename::text, '')
FROM (SELECT 1) AS one LEFT JOIN oldest ON true";

const PREPARED: &str = "
SELECT transaction::text, gid, prepared, owner::text FROM pg_catalog.pg_prepared_xacts
WHERE database = current_database() ORDER BY prepared";

/// A timestamp as microseconds since 1970, without a detour over a date type.
struct Micros(i64);

impl<'a> FromSql<'a> for Micros {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Micros(from_postgres_us(i64::from_be_bytes(raw.try_into()?))))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::TIMESTAMPTZ | Type::TIMESTAMP)
    }
}

/// What the server shows of the sessions that may write, at one moment. Times are UTC microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The server's clock when our statement arrived.
    pub clock_us: i64,
    pub in_recovery: bool,
    /// Sessions whose transactions cannot be seen.
    pub hidden: i64,
    pub hidden_pid: Option<i32>,
    pub oldest: Option<OldestStart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldestStart {
    pub start_us: i64,
    pub pid: i32,
    pub application: String,
    pub user: String,
}

/// A transaction prepared for two-phase commit. The same `gid` may come again with another `transaction`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PreparedTransaction {
    pub transaction: String,
    pub gid: String,
    pub prepared_us: i64,
    pub owner: String,
}

/// Both statements, prepared once per connection.
#[derive(Debug)]
pub struct ActivityStatements {
    activity: Statement,
    prepared: Statement,
}

const DOING: &str = "cannot read the server's open transactions";

impl ActivityStatements {
    pub async fn prepare(client: &Client) -> Result<Self> {
        let prepare = |sql| async move { client.inner.prepare(sql).await.map_err(|error| client.failed(DOING, error)) };
        Ok(ActivityStatements { activity: prepare(ACTIVITY).await?, prepared: prepare(PREPARED).await? })
    }

    /// First the open transactions, then the prepared ones: one that is prepared in between is seen in both.
    /// The statements are sent together and run one after the other, each in a transaction of its own.
    pub async fn fetch(&self, client: &Client) -> Result<(Activity, Vec<PreparedTransaction>)> {
        let failed = |error| client.failed(DOING, error);
        // The order of the messages is the order in which the two futures are first polled.
        let (activity, prepared) = tokio::try_join!(
            biased;
            client.inner.query_one(&self.activity, &[]),
            client.inner.query(&self.prepared, &[])
        )
        .map_err(failed)?;
        let oldest_start: Option<Micros> = activity.try_get(4).map_err(failed)?;
        let oldest = match oldest_start {
            Some(start) => Some(OldestStart {
                start_us: start.0,
                pid: activity.try_get(5).map_err(failed)?,
                application: activity.try_get(6).map_err(failed)?,
                user: activity.try_get(7).map_err(failed)?,
            }),
            None => None,
        };
        let activity = Activity {
            clock_us: activity.try_get::<_, Micros>(0).map_err(failed)?.0,
            in_recovery: activity.try_get(1).map_err(failed)?,
            hidden: activity.try_get(2).map_err(failed)?,
            hidden_pid: activity.try_get(3).map_err(failed)?,
            oldest,
        };
        let prepared = prepared
            .iter()
            .map(|row| {
                Ok(PreparedTransaction {
                    transaction: row.try_get(0)?,
                    gid: row.try_get(1)?,
                    prepared_us: row.try_get::<_, Micros>(2)?.0,
                    owner: row.try_get(3)?,
                })
            })
            .collect::<Result<_, tokio_postgres::Error>>()
            .map_err(failed)?;
        Ok((activity, prepared))
    }
}

/// Whether this account sees the transactions of others.
pub async fn can_read_all_stats(client: &Client) -> Result<bool> {
    let row = client
        .inner
        .query_one("SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')", &[])
        .await
        .map_err(|error| client.failed(DOING, error))?;
    row.try_get(0).map_err(|error| client.failed(DOING, error))
}
