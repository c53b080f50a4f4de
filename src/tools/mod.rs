//! Tools around the pipeline: test orders, connection checks, topics, a look at messages and rows, data quality,
//! sample files.
//!
//! Each returns a typed result, with the documents' lines where they show some; nothing prints here. No tool joins
//! the pipeline's consumer group or moves a position, and only the generator of events (`purchases`) writes to its topic.
//! Below: `postgres`, `broker`, `lake`, `validate`, `generate`. Above: `cli`, `python`.

mod check;
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
pub use insert::{InsertOptions, InsertReport, insert_test_orders};
pub use peek::{PeekFrom, PeekedMessage, peek_table, peek_topic};
pub use quickstart::{Finding, Outcome, quickstart};
pub use rows::{LakeRows, read_rows};
pub use samples::create_parquet_sample;
pub use topics::{TopicDetails, topics_create, topics_describe, topics_list};
pub use totals::{TotalsOptions, TotalsTable, totals_table};

use std::time::Duration;

use crate::broker::kafka::KafkaCluster;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::error::Result;
use crate::postgres::{self, Client, Session};

/// Asked again this soon while the database is away: a person waits for the answer.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Connects, waiting up to `retry.start_timeout_sec` for a database that is away.
async fn connect_postgres(settings: &Settings, application: &str, session: Session) -> Result<Client> {
    let configured = settings.require_postgres()?;
    let begun = SystemClock.instant();
    loop {
        match postgres::connect(configured, settings.allow_plaintext, application, session).await {
            Err(error)
                if error.is_retriable()
                    && SystemClock.instant().duration_since(begun) + RETRY_PAUSE < settings.retry.start_timeout =>
            {
                tracing::debug!(target: "foodstream::tools", error = %error.report(), "connecting again");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Connects, waiting up to `retry.start_timeout_sec` until a broker answers.
fn connect_kafka(settings: &Settings) -> Result<KafkaCluster> {
    let mut cluster = KafkaCluster::new(settings.require_kafka()?)?;
    cluster.brokers(settings.retry.start_timeout)?;
    Ok(cluster)
}
