//! What a run is made of and told: its parts, its options, when it ends by itself.

use std::sync::Arc;
use std::time::Duration;

use crate::aggregate::Aggregator;
use crate::broker::TopicSpec;
use crate::clock::Clock;
use crate::config;
use crate::consume::Limits;
use crate::pipeline::monitor::Monitor;
use crate::pipeline::progress::Query;
use crate::validate::Validator;

/// What a run is told beside its parts.
#[derive(Clone, Debug)]
pub struct Options {
    pub topic: TopicSpec,
    pub limits: Limits,
    /// From the end of one batch to the end of the next, unless that is full before; so the longest wait of a message.
    pub trigger: Duration,
    /// After a pause as long as the trigger a batch need not wait for it; only this long, so that what was published
    /// together stays together.
    pub settle: Duration,
    pub starting_offsets: config::StartingOffsets,
    pub fail_on_data_loss: bool,
    pub retry: config::Retry,
    /// How long a bounded run waits while nothing moves.
    pub once_wait: Duration,
    pub run_id: String,
    pub query: Query,
    pub monitor: Monitor,
    /// Of accepted rows: when they were committed at the source.
    pub timestamp_column: String,
    /// The lake's root, for log lines.
    pub lake_path: std::path::PathBuf,
}

/// When a run ends by itself. All `None`: only a stop ends it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Ends at the end offsets seen at its start.
    pub available_now: bool,
    pub max_batches: Option<u64>,
    pub timeout: Option<Duration>,
}

impl Bounds {
    /// Whether the run gives up on services that stay away: it was given an end that does not depend on them.
    pub fn is_bounded(&self) -> bool {
        self.available_now || self.timeout.is_some()
    }
}

/// The parts an [`super::Ingest`] is made of.
pub struct Parts<C, K, L> {
    pub consumer: C,
    pub cluster: K,
    pub lake: L,
    pub validator: Validator,
    pub totals: Aggregator,
    pub clock: Arc<dyn Clock>,
}
