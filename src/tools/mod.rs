//! Tools around the pipeline: test orders, connection checks, an examination, topics, a look at messages and rows, data
//! quality, sample files.
//!
//! Each returns a typed result, with the documents' lines where they show some; nothing prints here. No tool joins
//! the pipeline's consumer group or moves a position, and only the generator of events (`purchases`) writes to its topic.
//! Below: `postgres`, `broker`, `lake`, `validate`, `generate`. Above: `cli`, `python`.

mod check;
pub mod doctor;
mod insert;
mod peek;
pub mod purchases;
pub mod quality;
mod quickstart;
mod rows;
mod samples;
mod topics;
mod totals;

pub use check::{
    KafkaConsumerCheck, KafkaProducerCheck, PostgresCheck, check_kafka_consumer, check_kafka_producer, check_postgres,
};
pub use insert::{InsertOptions, InsertReport, NAMED_IDS, insert_test_orders};
pub use peek::{PeekFrom, PeekedMessage, peek_table, peek_table_rows, peek_topic, peek_topic_rows};
pub use quickstart::{Finding, Outcome, quickstart};
pub use rows::{LakeRows, Wanted, read_rows};
pub use samples::create_parquet_sample;
pub use topics::{TopicDetails, topics_create, topics_describe, topics_list};
pub use totals::{TotalsOptions, TotalsTable, totals_table};

use crate::broker::kafka::KafkaCluster;
use crate::config::Settings;
use crate::error::Result;
use crate::postgres::{self, Client, Session};

/// Connects, waiting up to `retry.start_timeout_sec` for a database that is away.
async fn connect_postgres(settings: &Settings, application: &str, session: Session) -> Result<Client> {
    let configured = settings.require_postgres()?;
    let connect = || postgres::connect(configured, settings.allow_plaintext, application, session);
    postgres::until_it_answers(settings.retry.start_timeout, connect).await
}

/// Connects, waiting up to `retry.start_timeout_sec` until a broker answers.
fn connect_kafka(settings: &Settings) -> Result<KafkaCluster> {
    let mut cluster = KafkaCluster::new(settings.require_kafka()?)?;
    cluster.brokers(settings.retry.start_timeout)?;
    Ok(cluster)
}
