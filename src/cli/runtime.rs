//! The one async runtime of the process, made when first needed.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Result};

/// Tasks here wait on sockets; whatever computes or blocks has a thread of its own.
const WORKER_THREADS: usize = 2;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// A forked child inherits the runtime without its threads: callers that may be forked check that first.
pub fn shared() -> Result<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("foodstream-io")
        .enable_all()
        .build()
        .map_err(|error| Error::bug("cannot start the threads of the async runtime").because(error))?;
    // A runtime lost to a race is dropped where blocking is allowed: no task runs on it.
    Ok(RUNTIME.get_or_init(|| made))
}

/// Does the work on one of the runtime's own threads and waits for it. Reading thousands of pieces from a connection
/// belongs there: the task that drives the connection then hands each piece on without waking another thread.
pub fn wait_for<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let runtime = shared()?;
    runtime.block_on(runtime.spawn(work)).map_err(|panic| Error::bug("the loop panicked").because(panic))?
}
