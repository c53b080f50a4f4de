//! Where stages meet: `replicate` carries the table to the topic, `ingest` the topic to the lake.
//!
//! Each is one owner with one helper thread behind a channel of one place: while a batch is being published or
//! committed, the next one is read. Two positions go back: the published cursor, the committed offsets.

pub mod batches;
pub mod compose;
pub mod ingest;
pub mod monitor;
pub mod progress;
pub mod replicate;
pub mod retry;
pub mod session;
pub mod shutdown;
pub mod totals_topic;

pub use shutdown::Stop;
