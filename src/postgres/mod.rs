//! All PostgreSQL knowledge: connections, TLS, catalogue, quoting, binary COPY, value codecs.
//!
//! Guarantees: a connection is verified TLS wherever the host is not plainly local; a refused server (too old, a
//! standby) is named; every error says whether waiting may help; no statement holds a value that was not formatted
//! here from a number, a timestamp or a uuid, or an identifier that did not pass `quote_identifier`.
//! Above: `capture` (polling), `verify` and `tools` (queries, COPY in both directions). Nothing above this module
//! names tokio-postgres.

mod activity;
mod catalog;
mod codec;
mod connect;
mod copy_in;
mod copy_out;
mod error;
mod explain;
mod page;
mod query;
mod quote;
mod tls;
mod types;

pub use activity::{Activity, ActivityStatements, OldestStart, PreparedTransaction, can_read_all_stats};
pub use catalog::{ColumnDescription, KeyColumn, KeyType, OrderIndex, Table};
pub use codec::Codec;
pub use connect::{Client, Session, connect, until_it_answers};
pub use copy_in::CopyWriter;
pub use copy_out::{CopyDecoder, Row, copy_out, copy_out_page};
pub use explain::{Scan, explain};
pub use page::{PAGE_PATIENCE, PageStart, begin_page, fingerprint};
pub use query::{
    ServerIdentity, TextRows, insert_text_rows, query_briefly, query_text, server_clock_us, server_encoding,
    server_identity, session_start_zone,
};
pub use quote::{literal_key, literal_timestamp, quote_identifier, quote_text};
pub use types::{FieldPlan, TypeFacts, plan_field};

/// PostgreSQL counts from 2000-01-01; we count from 1970-01-01.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
const POSTGRES_EPOCH_DAYS: i32 = 10_957;

/// A timestamp as PostgreSQL sends it, moved to our epoch; the two infinities stay what they are.
#[inline]
fn from_postgres_us(value: i64) -> i64 {
    match value {
        i64::MAX | i64::MIN => value,
        finite => finite.saturating_add(POSTGRES_EPOCH_US),
    }
}

/// The same, back.
#[inline]
fn to_postgres_us(value: i64) -> i64 {
    match value {
        i64::MAX | i64::MIN => value,
        finite => finite.saturating_sub(POSTGRES_EPOCH_US),
    }
}
