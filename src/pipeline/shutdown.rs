//! A stop request that both async tasks and blocking threads can wait for.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// Cloned to everybody who may wait; requested once, never taken back.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Stop {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn request(&self) {
        let (requested, gate) = &*self.gate;
        *requested.lock().expect("no holder of this lock panics") = true;
        gate.notify_all();
        self.token.cancel();
    }

    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Whether both are clones of one stop.
    pub fn is(&self, other: &Stop) -> bool {
        Arc::ptr_eq(&self.gate, &other.gate)
    }

    /// An error of kind `Interrupted` once the stop was requested.
    pub fn check(&self) -> Result<()> {
        if self.is_requested() { Err(Error::interrupted()) } else { Ok(()) }
    }

    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Waits in an async task; true when the stop came first.
    pub async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.token.cancelled() => true,
            () = tokio::time::sleep(duration) => false,
        }
    }

    /// Waits on a blocking thread; true when the stop came first.
    pub fn wait(&self, duration: Duration) -> bool {
        let (requested, gate) = &*self.gate;
        let guard = requested.lock().expect("no holder of this lock panics");
        let (guard, _) =
            gate.wait_timeout_while(guard, duration, |requested| !*requested).expect("no holder of this lock panics");
        *guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_thread_wakes_when_the_stop_is_requested() {
        let stop = Stop::new();
        let waiting = stop.clone();
        let thread = std::thread::spawn(move || waiting.wait(Duration::from_secs(3600)));
        stop.request();
        assert!(thread.join().unwrap());
        assert!(stop.check().is_err());
    }

    #[test]
    fn waiting_ends_without_a_request_too() {
        assert!(!Stop::new().wait(Duration::from_millis(1)));
    }
}
