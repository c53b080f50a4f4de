//! How long a bounded run has seen nothing move.

use std::time::Instant;

/// When a bounded run last saw anything move, and when it last looked at the log.
#[derive(Debug)]
pub(super) struct Watch {
    pub last_moved: Instant,
    pub looked: Instant,
}

impl Watch {
    pub fn new(now: Instant) -> Self {
        Watch { last_moved: now, looked: now }
    }

    pub fn moved(&mut self, now: Instant) {
        self.last_moved = now;
    }
}
