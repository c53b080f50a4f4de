//! One connection: who is asked, how it is protected, what its session is set to, and that its end is noticed.
//!
//! A connection is a task of its own that drives the socket; the `Client` speaks to it. After any error of a
//! statement the client is to be thrown away: callers reconnect instead of repairing a session.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::task::AbortHandle;
use tokio_postgres::config::SslMode as WireSslMode;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::{debug, warn};

use super::error::{Peer, connect_error, statement_error};
use super::tls::{Transport, choose_transport, client_config};
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::error::{Error, Kind, Result};

/// Long enough for a far server under load, short enough that a bounded run tries a few times in its 30 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A dead peer is noticed after about 15 + 3 × 5 s of silence, before any idle timer of a usual firewall.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// Bytes we sent and nobody acknowledged: the same patience as the keepalive.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// A page without its index sorts the whole table, which may take a minute on tens of millions of rows.
pub(super) const POLL_STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);
/// If we are stopped (SIGSTOP, laptop lid) inside a page, our snapshot must not hold back vacuum for long.
const POLL_IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// An `ALTER TABLE` under way is waited for; queueing longer would only hide it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// A page is to cost a page wherever an index holds the order. The planner by itself sorts all that follows for each, before
/// the first ANALYZE of a table that was just filled.
pub(super) const POLL_PLANNING: &str = "enable_sort = off";
/// What `doctor` asks is answered in milliseconds; a server that takes longer has other work to do.
const LOOK_STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Whoever queues for a lock on the table keeps those behind it waiting as well.
const LOOK_LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// Asked again this soon while the server is away: a person waits for the answer.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The oldest server we read from: `pg_current_snapshot` and the documents' image.
pub(super) const OLDEST_SERVER: i32 = 130_000;

/// What a session is for, which decides its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// Polling: read only, every policy off or an error, with timeouts of its own (H4).
    Poll,
    /// Checks and comparisons: read only, but statements may take as long as the table is large.
    Read,
    /// A look beside a living pipeline: read only, every statement short, and no wait for a lock that is worth one.
    Look,
    /// Inserting test rows.
    Write,
}

/// A live session. Dropping it ends the session after what is under way; `abort` ends it at once.
pub struct Client {
    pub(super) inner: tokio_postgres::Client,
    pub(super) peer: Peer,
    task: AbortHandle,
    /// Why the connection ended, when it did.
    ended: Arc<OnceLock<String>>,
    version: i32,
}

impl Client {
    /// `server_version_num`, such as 150014.
    pub fn server_version(&self) -> i32 {
        self.version
    }

    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        self.peer.address()
    }

    pub fn user(&self) -> &str {
        &self.peer.user
    }

    pub fn database(&self) -> &str {
        &self.peer.database
    }

    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// Closes the socket without waiting for the server, whatever is under way.
    pub fn abort(&self) {
        self.task.abort();
    }

    /// An error of a statement, with the reason for which the connection ended when there is one.
    pub(super) fn failed(&self, doing: &str, error: tokio_postgres::Error) -> Error {
        match self.ended.get() {
            Some(reason) if error.is_closed() => {
                Error::new(Kind::Source, format!("{doing}: the connection to {} ended: {reason}", self.address()))
                    .retriable()
                    .because(error)
            }
            _ => statement_error(doing, error),
        }
    }

    pub(super) async fn execute_batch(&self, doing: &str, sql: &str) -> Result<()> {
        self.inner.batch_execute(sql).await.map_err(|error| self.failed(doing, error))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "postgres::Client({}@{}/{})", self.peer.user, self.address(), self.peer.database)
    }
}

/// Opens a session. Refuses servers older than 13 and standbys by name.
///
/// # Errors
/// `Kind::Config` for a protection that the settings do not allow; `Kind::Source` otherwise, retriable when the
/// server is away, starting or full.
pub async fn connect(
    postgres: &config::Postgres,
    allow_plaintext: bool,
    application_name: &str,
    session: Session,
) -> Result<Client> {
    let transport = choose_transport(postgres, allow_plaintext)?;
    let peer = Peer {
        host: postgres.host.clone(),
        port: postgres.port,
        database: postgres.database.clone(),
        user: postgres.user.clone(),
    };
    let late = || {
        let patience = CONNECT_TIMEOUT.as_secs();
        Error::new(Kind::Source, format!("postgresql at {} did not answer within {patience} s", peer.address()))
            .retriable()
    };
    // The library's own time limit covers the socket only; a stopped server accepts and then says nothing.
    let opening = open(postgres, transport, application_name, &peer);
    let mut client = tokio::time::timeout(CONNECT_TIMEOUT, opening).await.map_err(|_| late())??;
    let preparing = prepare(&mut client, session);
    tokio::time::timeout(CONNECT_TIMEOUT, preparing).await.map_err(|_| late())??;
    debug!(target: "foodstream::postgres", server = %client.address(), version = client.version, ?transport, "connected");
    Ok(client)
}

/// Repeats `open` while the server is away, up to `patience`: for commands that a person waits for.
pub async fn until_it_answers<T, F: Future<Output = Result<T>>>(
    patience: Duration,
    mut open: impl FnMut() -> F,
) -> Result<T> {
    let begun = SystemClock.instant();
    loop {
        match open().await {
            Err(error)
                if error.is_retriable() && SystemClock.instant().duration_since(begun) + RETRY_PAUSE < patience =>
            {
                debug!(target: "foodstream::postgres", error = %error.report(), "connecting again");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            result => return result,
        }
    }
}

async fn open(
    postgres: &config::Postgres,
    transport: Transport,
    application_name: &str,
    peer: &Peer,
) -> Result<Client> {
    let mut config = Config::new();
    config
        .port(postgres.port)
        .dbname(&postgres.database)
        .user(&postgres.user)
        .application_name(application_name)
        .connect_timeout(CONNECT_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES)
        .tcp_user_timeout(TCP_USER_TIMEOUT);
    if postgres.host.starts_with('/') {
        config.host_path(Path::new(&postgres.host));
    } else {
        config.host(postgres.host.trim_start_matches('[').trim_end_matches(']'));
    }
    if let Some(password) = &postgres.password {
        config.password(password.expose_secret());
    }
    match transport {
        Transport::Plain { warn: doubtful } => {
            if doubtful {
                warn!(target: "foodstream::postgres", host = %postgres.host, "the connection to postgresql is not encrypted");
            }
            config.ssl_mode(WireSslMode::Disable);
            let (client, connection) = config.connect(NoTls).await.map_err(|error| connect_error(peer, error))?;
            Ok(drive(client, connection, peer))
        }
        Transport::Tls(verification) => {
            // Said explicitly: the library's default would fall back to plain text.
            config.ssl_mode(WireSslMode::Require);
            let tls = MakeRustlsConnect::new(client_config(&postgres.tls, verification)?);
            let (client, connection) = config.connect(tls).await.map_err(|error| connect_error(peer, error))?;
            Ok(drive(client, connection, peer))
        }
    }
}

/// Drives the socket on a task of its own until the session ends.
fn drive<S, T>(client: tokio_postgres::Client, connection: tokio_postgres::Connection<S, T>, peer: &Peer) -> Client
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let ended = Arc::new(OnceLock::new());
    let note = Arc::clone(&ended);
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            let reason = match error.as_db_error() {
                Some(server) => server.message().to_owned(),
                None => Error::new(Kind::Source, error.to_string()).because(error).report(),
            };
            debug!(target: "foodstream::postgres", %reason, "the connection ended");
            // Nobody else writes: a task ends once.
            let _ = note.set(reason);
        }
    });
    Client { inner: client, peer: peer.clone(), task: task.abort_handle(), ended, version: 0 }
}

async fn prepare(client: &mut Client, session: Session) -> Result<()> {
    let doing = "cannot set up the session";
    let row = client
        .inner
        .query_one("SELECT current_setting('server_version_num')::int4, pg_is_in_recovery()", &[])
        .await
        .map_err(|error| client.failed(doing, error))?;
    client.version = row.try_get(0).map_err(|error| client.failed(doing, error))?;
    let in_recovery: bool = row.try_get(1).map_err(|error| client.failed(doing, error))?;
    refuse_old_server(client.version)?;
    if in_recovery {
        return Err(standby_error(&client.address()));
    }
    client.execute_batch(doing, &session_settings(session)).await
}

fn refuse_old_server(version: i32) -> Result<()> {
    if version >= OLDEST_SERVER {
        return Ok(());
    }
    // Up to 9.6 the second number belonged to the major version.
    let shown = if version >= 100_000 {
        (version / 10_000).to_string()
    } else {
        format!("{}.{}", version / 10_000, version / 100 % 100)
    };
    Err(Error::new(
        Kind::Source,
        format!("postgresql {shown} is too old: foodstream needs version {} or newer", OLDEST_SERVER / 10_000),
    ))
}

/// On a standby the open transactions of the primary are not visible, so no horizon can be known.
pub(super) fn standby_error(address: &str) -> Error {
    Error::new(
        Kind::Source,
        format!(
            "postgresql at {address} is a standby: it does not show the primary's open transactions, so rows \
             committed late would be lost; point postgres.host at the primary"
        ),
    )
}

/// Everything a result or a promise depends on is set here, not left to the role's or the database's defaults.
fn session_settings(session: Session) -> String {
    let mut settings = vec![
        "SET TimeZone = 'UTC'".to_owned(),
        "SET DateStyle = 'ISO, MDY'".to_owned(),
        "SET IntervalStyle = 'postgres'".to_owned(),
        "SET extra_float_digits = 1".to_owned(),
        "SET bytea_output = 'hex'".to_owned(),
        "SET standard_conforming_strings = on".to_owned(),
        format!("SET lock_timeout = {}", LOCK_TIMEOUT.as_millis()),
    ];
    let read_only = ["SET default_transaction_read_only = on".to_owned(), "SET row_security = off".to_owned()];
    match session {
        Session::Poll => {
            settings.extend(read_only);
            settings.push(format!("SET {POLL_PLANNING}"));
            // Up to version 17 a sort that is switched off and cannot be avoided looks dear enough to be compiled, each
            // time anew.
            settings.push("SET jit = off".to_owned());
            settings.push(format!("SET statement_timeout = {}", POLL_STATEMENT_TIMEOUT.as_millis()));
            settings.push(format!(
                "SET idle_in_transaction_session_timeout = {}",
                POLL_IDLE_IN_TRANSACTION_TIMEOUT.as_millis()
            ));
        }
        Session::Read => {
            settings.extend(read_only);
            settings.push("SET statement_timeout = 0".to_owned());
            settings.push("SET idle_in_transaction_session_timeout = 0".to_owned());
        }
        Session::Look => {
            settings.extend(read_only);
            settings.push(format!("SET lock_timeout = {}", LOOK_LOCK_TIMEOUT.as_millis()));
            settings.push(format!("SET statement_timeout = {}", LOOK_STATEMENT_TIMEOUT.as_millis()));
            settings.push(format!("SET idle_in_transaction_session_timeout = {}", LOOK_STATEMENT_TIMEOUT.as_millis()));
        }
        Session::Write => settings.push("SET statement_timeout = 0".to_owned()),
    }
    settings.join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgresql_12_is_refused_by_name_and_13_is_not() {
        let refusal = refuse_old_server(120_022).unwrap_err();
        assert!(refusal.to_string().contains("postgresql 12 is too old"), "{refusal}");
        assert!(!refusal.is_retriable());
        assert!(refuse_old_server(90_624).unwrap_err().to_string().contains("postgresql 9.6 "));
        assert!(refuse_old_server(130_000).is_ok());
        assert!(refuse_old_server(180_006).is_ok());
    }

    #[test]
    fn polling_sessions_cannot_write_and_cannot_be_filtered() {
        let poll = session_settings(Session::Poll);
        for needed in [
            "default_transaction_read_only = on",
            "row_security = off",
            "TimeZone = 'UTC'",
            "enable_sort = off",
            "jit = off",
            "statement_timeout = 120000",
        ] {
            assert!(poll.contains(needed), "{needed} in {poll}");
        }
        let look = session_settings(Session::Look);
        assert!(look.contains("read_only = on") && look.ends_with("idle_in_transaction_session_timeout = 10000"));
        assert!(!session_settings(Session::Write).contains("read_only"));
    }
}
