//! PostgreSQL's errors in our words: who has to act, and whether waiting may help.
//!
//! Retriable is what an operator ends without touching us: an unreachable or unresolved host, a restart, a
//! cancelled or timed-out statement, a lost lock race, full memory or disk on the server. Everything else
//! (credentials, missing objects, missing rights, certificates) stays wrong until someone mends it.

use std::error::Error as StdError;
use std::io;

use tokio_postgres::error::SqlState;

use crate::error::{Error, Kind};

/// Which server and which account, for messages; never the password.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
}

impl Peer {
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// An error while connecting.
pub(super) fn connect_error(peer: &Peer, error: tokio_postgres::Error) -> Error {
    let address = peer.address();
    let Some(server) = error.as_db_error() else {
        return transport_error(&format!("cannot connect to postgresql at {address}"), error);
    };
    let said = server.message().to_owned();
    let message = match server.code() {
        code if *code == SqlState::INVALID_PASSWORD => format!(
            "postgresql at {address} refused the password of user `{}`; check postgres.user and postgres.password",
            peer.user
        ),
        code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => format!(
            "postgresql at {address} refused user `{}` ({said}); check postgres.user and the server's pg_hba.conf",
            peer.user
        ),
        code if *code == SqlState::INVALID_CATALOG_NAME => format!(
            "database `{}` does not exist at {address}; check postgres.db or create the database",
            peer.database
        ),
        _ => format!("postgresql at {address} refused the connection"),
    };
    let waiting_helps = is_passing(server.code());
    finish(message, waiting_helps, error)
}

/// An error of a statement; `doing` names it: "cannot read a page of public.orders".
pub(super) fn statement_error(doing: &str, error: tokio_postgres::Error) -> Error {
    let Some(server) = error.as_db_error() else { return transport_error(doing, error) };
    let code = server.code().clone();
    let advice = match &code {
        code if *code == SqlState::UNDEFINED_TABLE => "; check postgres.table",
        code if *code == SqlState::UNDEFINED_COLUMN => "; check `schema` and the column names under cdc",
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE && server.message().contains("row-level security") => {
            "; a row security policy would hide rows: give the user BYPASSRLS or exempt it from the policy"
        }
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => "; grant the user SELECT on the table",
        code if *code == SqlState::QUERY_CANCELED => "; it was cancelled or ran into statement_timeout",
        code if *code == SqlState::LOCK_NOT_AVAILABLE => "; another session holds an exclusive lock on the table",
        _ => "",
    };
    let message = format!("{doing}: {}{advice}", server.message());
    finish(message, is_passing(&code), error)
}

/// No word from the server itself: the network, TLS, or our own side.
fn transport_error(doing: &str, error: tokio_postgres::Error) -> Error {
    match transport_fault(&error) {
        Fault::Tls => Error::new(
            Kind::Source,
            format!(
                "{doing}: the tls handshake failed; check postgres.sslmode and postgres.sslrootcert (plain text to \
                 this host needs sslmode `disable` and security.allow_plaintext)"
            ),
        )
        .because(error),
        Fault::Network => {
            Error::new(Kind::Source, format!("{doing}: the server is unreachable")).retriable().because(error)
        }
        Fault::Other => Error::new(Kind::Source, doing).because(error),
    }
}

fn finish(message: String, waiting_helps: bool, error: tokio_postgres::Error) -> Error {
    let ours = Error::new(Kind::Source, message).because(error);
    if waiting_helps { ours.retriable() } else { ours }
}

/// True for the states that end by themselves or by an operator's work on the server.
fn is_passing(code: &SqlState) -> bool {
    // Classes: 08 connection, 40 rollback, 53 resources. 57 is operator intervention without `database_dropped`.
    matches!(code.code().get(..2), Some("08" | "40" | "53"))
        || [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::QUERY_CANCELED,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ]
        .contains(code)
        // idle_session_timeout and transaction_timeout, newer than the list of names.
        || matches!(code.code(), "57P05" | "25P04")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Tls,
    Network,
    Other,
}

/// tokio-postgres hides its kinds; the chain of causes tells them apart: certificates are rustls errors inside
/// I/O errors, everything else with an I/O error below it is the network.
fn transport_fault(error: &tokio_postgres::Error) -> Fault {
    if error.is_closed() {
        return Fault::Network;
    }
    let mut cause = StdError::source(error);
    while let Some(current) = cause {
        if current.is::<rustls::Error>() {
            return Fault::Tls;
        }
        if let Some(io_error) = current.downcast_ref::<io::Error>() {
            let inner = io_error.get_ref();
            return match inner {
                Some(inner) if inner.is::<rustls::Error>() => Fault::Tls,
                _ if io_error.kind() == io::ErrorKind::InvalidData => Fault::Other,
                _ => Fault::Network,
            };
        }
        cause = current.source();
    }
    let words = error.to_string();
    if words.contains("TLS") { Fault::Tls } else { Fault::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_ends_is_retriable_and_what_needs_mending_is_not() {
        for passing in
            ["08006", "40001", "40P01", "53300", "53100", "57P01", "57P02", "57P03", "57014", "55P03", "25P03", "57P05"]
        {
            assert!(is_passing(&SqlState::from_code(passing)), "{passing}");
        }
        for lasting in ["28P01", "28000", "3D000", "42P01", "42703", "42501", "57P04", "0A000", "25006", "XX000"] {
            assert!(!is_passing(&SqlState::from_code(lasting)), "{lasting}");
        }
    }
}
