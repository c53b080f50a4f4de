//! Capture against a real PostgreSQL (`FOODSTREAM_TEST_POSTGRES`): each rule of the horizon, values, paging, faults.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

mod contract;
mod faults;
mod gates;
mod horizon;
mod late_commits;
mod refusals;
pub mod support;
mod values;
pub mod writers;
