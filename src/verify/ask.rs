//! Blocking questions, to Kafka and to the disk, from the verification's asynchronous side.

use std::sync::{Arc, Mutex};

use crate::broker::Cluster;
use crate::error::{Error, Result};

/// The blocking side of Kafka, handed from thread to thread.
pub(super) type SharedCluster = Arc<Mutex<Box<dyn Cluster + Send>>>;

/// Runs a blocking question on a thread made for such.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::bug("a part of the verification panicked").because(error)),
    }
}

pub(super) async fn ask<T: Send + 'static>(
    cluster: &SharedCluster,
    question: impl FnOnce(&mut dyn Cluster) -> Result<T> + Send + 'static,
) -> Result<T> {
    let cluster = Arc::clone(cluster);
    blocking(move || {
        let mut cluster = cluster.lock().map_err(|_| Error::bug("an earlier question to kafka panicked"))?;
        question(cluster.as_mut())
    })
    .await
}
