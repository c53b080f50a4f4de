//! Connections: accepted up to a number, with limits on what a request may be and how long an answer may wait.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::listen::Listening;
use super::respond::respond;
use super::shared::Shared;

/// Viewers, and whoever asks for something else beside them.
pub const MAX_CONNECTIONS: usize = 512;
/// A request's head must be there within this, also on a connection that is used again.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A browser sends a kilobyte or two.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// A viewer that takes nothing for so long has vanished.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// Where accepting fails, as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until it is told to end. Blocks.
pub fn serve(listening: Listening, shared: Arc<Shared>, ending: &CancellationToken) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::warn!(target: "foodstream::serve", "no status page: no runtime for it: {error}");
            return;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            () = ending.cancelled() => {}
            () = tick(Arc::clone(&shared)) => {}
            () = accept(listening, shared) => {}
        }
    });
    // A listing of the lake may be under way; nobody waits for it.
    runtime.shutdown_background();
}

/// Each second a point of the history, and the state for those who look.
async fn tick(shared: Arc<Shared>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        seconds.tick().await;
        shared.note_second();
        if shared.hub.viewers() > 0 {
            shared.refresh().await;
        }
    }
}

async fn accept(listening: Listening, shared: Arc<Shared>) {
    let listener = match TcpListener::from_std(listening.socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(target: "foodstream::serve", "no status page: {error}");
            return std::future::pending().await;
        }
    };
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if open.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
            continue;
        }
        let counted = Counted::new(&open);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let _counted = counted;
            let service = service_fn(move |request| respond(request, Arc::clone(&shared)));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_buf_size(MAX_HEAD_BYTES)
                .max_headers(MAX_HEADERS)
                .serve_connection(TokioIo::new(Patient::new(stream)), service);
            if let Err(error) = connection.await {
                tracing::trace!(target: "foodstream::serve", "a viewer's connection: {error}");
            }
        });
    }
}

/// One of the open connections, until dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Counted {
        open.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is given up when the other side takes nothing for [`WRITE_TIME`].
struct Patient {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream) -> Patient {
        let _ = stream.set_nodelay(true);
        Patient { stream, stalled: None }
    }

    /// Passes on what a write came to; one that cannot go on starts the clock.
    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let until = || Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_TIME));
        match self.stalled.get_or_insert_with(until).as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
