//! The async runtime of the process, made when first needed, and those of loops that read a lot.

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

/// A runtime for one loop, whose tasks run in the thread that waits for it. Reading thousands of pieces from a connection
/// belongs there: the task that drives the connection then hands each piece on without waking another thread. Between two
/// waits nothing runs.
#[derive(Debug)]
pub struct InPlace(Option<Runtime>);

impl InPlace {
    pub fn new() -> Result<Self> {
        let made = Builder::new_current_thread().thread_name("foodstream-io").enable_all().build();
        made.map(|runtime| InPlace(Some(runtime)))
            .map_err(|error| Error::bug("cannot start the async runtime of a loop").because(error))
    }

    pub fn wait_for<T>(&self, work: impl Future<Output = T>) -> T {
        self.0.as_ref().expect("only the drop empties it").block_on(work)
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        // A blocking call that is still under way must not hold up the end.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
