//! The broker's traits over librdkafka. The only module that names rdkafka, and, in `native`, its C library.
//!
//! - `KafkaCluster`: questions and topic creation (`Cluster`), besides what tools and checks ask.
//! - `KafkaProducer`: transactions, or plain idempotence where exactly-once is switched off.
//! - `KafkaGroupConsumer`: a member of a consumer group that takes its positions from its caller.
//!
//! All calls block. `error` alone decides what a code of librdkafka means for a caller.

mod admin;
mod config;
mod consumer;
mod context;
mod error;
mod inspect;
mod native;
mod producer;

pub use admin::{BrokerInfo, KafkaCluster, PartitionLag};
pub use consumer::KafkaGroupConsumer;
pub use inspect::{PartitionCopies, transaction_timeout};
pub use producer::KafkaProducer;

/// The version of librdkafka that is built in.
pub fn library_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
