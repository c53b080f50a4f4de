//! Inert types that cross the borders between stages: no I/O, no knowledge of PostgreSQL, Kafka or files.
//!
//! ```text
//! ChangeBatch (capture → publish) · MessageBatch (consume → validate) · MicroBatch (validate → lake)
//! ```
//! Each carries the position that its commit will publish.

pub mod change;
pub mod decimal;
pub mod event_times;
pub mod local_time;
pub mod message;
pub mod micro_batch;
pub mod position;
pub mod reject;
pub mod schema;
pub mod totals;

pub use change::{ChangeBatch, Operation};
pub use event_times::EventTimes;
pub use message::{Message, MessageBatch};
pub use micro_batch::{Counts, DatedBatch, MicroBatch};
pub use position::{Cursor, Key, OffsetRange, PartitionOffset};
pub use reject::{Fault, Reason};
pub use schema::{Column, DataType, Schema};
pub use totals::{Aggregation, Every, Group, Measure, Period, Totals, Values};
