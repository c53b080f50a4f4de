//! One binary for all integration tests. Those that need services read `FOODSTREAM_TEST_POSTGRES` and
//! `FOODSTREAM_TEST_KAFKA`; `make test` starts both.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by failing")]

mod allocations;
mod broker_kafka;
mod broker_memory;
mod capture;
mod conformance;
mod failpoints;
mod instructions;
mod lake;
mod layering;
mod publish_kafka;
mod reliability;
mod stage;
mod tools;
mod verify;

// Rows and stages of `make bench-stages`.
#[allow(dead_code, reason = "the benchmark uses the rest")]
#[path = "../../benches/stages/orders.rs"]
mod orders;
#[allow(dead_code, reason = "the benchmark uses the rest")]
#[path = "../../benches/stages/stages.rs"]
mod stages;
