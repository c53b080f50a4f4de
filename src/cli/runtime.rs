//! The async runtime of the process, made when first needed, and one for a loop that reads a lot.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

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

/// For the ends of connections, which wait for no answer; more than enough where the socket takes what is written.
const LEAVE_TIME: Duration = Duration::from_millis(100);

/// The tasks of connections that were let go take their leave of the server, and end.
async fn connections_gone() {
    while Handle::current().metrics().num_alive_tasks() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Does the work in this thread, on a runtime of its own, and waits for it. Reading thousands of pieces from a connection
/// belongs there: the task that drives the connection then hands each piece on without waking another thread. Not for
/// sessions that live on between calls: nobody would hear a server that ends one meanwhile.
pub fn wait_for<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let made = Builder::new_current_thread().thread_name("foodstream-io").enable_all().build();
    let runtime = made.map_err(|error| Error::bug("cannot start the async runtime of a loop").because(error))?;
    let done = runtime.block_on(async {
        let done = work.await;
        let _ = tokio::time::timeout(LEAVE_TIME, connections_gone()).await;
        done
    });
    // A blocking call that is still under way must not hold up the end.
    runtime.shutdown_background();
    done
}
