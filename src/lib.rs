//! foodstream carries rows from PostgreSQL through Apache Kafka into a validated, date-partitioned Parquet lake.
//!
//! ```text
//! PostgreSQL ─capture→ rows ─publish→ Kafka ─consume→ messages ─validate→ columns + rejects ─lake→ one atomic commit
//! ```
//! A position travels with each batch and is published with it: the cursor inside the Kafka transaction, the
//! offsets inside the lake's commit record. Modules form layers, each using only those above it in this list;
//! `tests/rust/layering.rs` holds the table.

pub mod clock;
pub mod error;
pub mod failpoints;
pub mod html;
pub mod model;
pub mod telemetry;

pub mod config;
pub mod wire;

pub mod aggregate;
pub mod broker;
pub mod generate;
pub mod lake;
pub mod postgres;
pub mod validate;

pub mod capture;
pub mod consume;
pub mod publish;

pub mod pipeline;
pub mod tools;
pub mod verify;

pub mod serve;

pub mod cli;

#[cfg(feature = "python")]
mod python;
