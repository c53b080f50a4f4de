//! What one librdkafka instance says besides its answers: log lines, errors, failed deliveries, rebalances.
//!
//! The instance's events are handed in by `native`; the owner of the instance asks here. Log lines go on to
//! tracing under `foodstream::kafka`, at most a few in a while: a broker that is away would say so for ever.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::native::Failure;

/// Lines an instance may write in one window at warning level, and at information level; the others are counted.
const LINES_PER_WINDOW: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);

/// What librdkafka says of conditions that it waits out itself: a connection that failed, a coordinator that is still
/// loading, a request without an answer. Where one lasts, whoever waits for it warns in words of its own.
const PASSING: [&str; 4] = ["FAIL", "GETPID", "METADATA", "REQTMOUT"];

/// A change of the group's assignment, not yet seen by the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    Assigned(Vec<i32>),
    Revoked,
}

#[derive(Default)]
struct Said {
    /// Refused credentials or certificates: waiting does not help.
    refusal: Option<Failure>,
    /// Why no connection came about, last heard.
    transport: Option<String>,
    all_brokers_down: bool,
    failed_delivery: Option<Failure>,
    failed_deliveries: u64,
    rebalances: VecDeque<Rebalance>,
}

/// Cuts a flood of lines.
#[derive(Default)]
struct LogWindow {
    began: Option<Instant>,
    lines: u32,
}

impl LogWindow {
    /// Whether a line may be written now; if so, how many were left out in the window before.
    fn allow_line(&mut self, now: Instant) -> Option<u32> {
        let mut left_out = 0;
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            left_out = self.lines.saturating_sub(LINES_PER_WINDOW);
            *self = LogWindow { began: Some(now), lines: 0 };
        }
        self.lines = self.lines.saturating_add(1);
        (self.lines <= LINES_PER_WINDOW).then_some(left_out)
    }
}

pub struct Context {
    brokers: String,
    said: Mutex<Said>,
    /// Apart, so that what passes by itself never crowds out a warning.
    warnings: Mutex<LogWindow>,
    notices: Mutex<LogWindow>,
    closing: AtomicBool,
}

impl Context {
    pub fn new(brokers: &str) -> Self {
        Context {
            brokers: brokers.to_owned(),
            said: Mutex::default(),
            warnings: Mutex::default(),
            notices: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    // Callbacks of C run through here: a poisoned lock must not become a panic across that border.
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn refusal(&self) -> Option<Failure> {
        self.said().refusal.clone()
    }

    pub fn transport(&self) -> Option<String> {
        self.said().transport.clone()
    }

    /// Whether all brokers were reported down since this was last asked.
    pub fn take_all_brokers_down(&self) -> bool {
        std::mem::take(&mut self.said().all_brokers_down)
    }

    /// Records that were not delivered, of all so far.
    pub fn failed_deliveries(&self) -> u64 {
        self.said().failed_deliveries
    }

    /// The first delivery that failed since this was last asked.
    pub fn take_delivery_failure(&self) -> Option<Failure> {
        self.said().failed_delivery.take()
    }

    pub fn next_rebalance(&self) -> Option<Rebalance> {
        self.said().rebalances.pop_front()
    }

    pub fn begin_close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub fn take_rebalance(&self, rebalance: Rebalance) {
        self.said().rebalances.push_back(rebalance);
    }

    pub fn take_failed_delivery(&self, code: Code, text: &str) {
        // Dropped on our own order; such a report may come late, when the next transaction has begun.
        if matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
            return;
        }
        let mut said = self.said();
        said.failed_deliveries += 1;
        if said.failed_delivery.is_none() {
            said.failed_delivery = Some(Failure { code, text: text.to_owned() });
        }
    }

    pub fn take_error(&self, code: Code, text: &str) {
        tracing::debug!(target: "foodstream::kafka", code = ?code, "{text}");
        let mut said = self.said();
        match code {
            Code::AllBrokersDown => said.all_brokers_down = true,
            // A handshake cut off by a broker that stops is no refusal; a certificate that does not verify is.
            Code::SSL if !text.contains("certificate") => said.transport = Some(text.to_owned()),
            Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism | Code::SSL => {
                said.refusal = Some(Failure { code, text: text.to_owned() });
            }
            Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut => {
                said.transport = Some(text.to_owned());
            }
            _ => {}
        }
    }

    pub fn take_log(&self, level: i32, facility: &str, line: &str) {
        const NOTICE: i32 = 5;
        const DEBUG: i32 = 7;
        // Warnings about settings of the other role come from `kafka.properties`, which both roles share.
        if level >= DEBUG || facility == "CONFWARN" {
            tracing::debug!(target: "foodstream::kafka", facility, "{line}");
            return;
        }
        let is_warning = level < NOTICE && !PASSING.contains(&facility);
        let window = if is_warning { &self.warnings } else { &self.notices };
        let Some(left_out) = window.lock().unwrap_or_else(PoisonError::into_inner).allow_line(Instant::now()) else {
            return;
        };
        if is_warning {
            if left_out > 0 {
                tracing::warn!(target: "foodstream::kafka", "{left_out} more warnings of librdkafka were left out");
            }
            tracing::warn!(target: "foodstream::kafka", facility, "{line}");
        } else {
            if left_out > 0 {
                tracing::info!(target: "foodstream::kafka", "{left_out} more lines of librdkafka were left out");
            }
            tracing::info!(target: "foodstream::kafka", facility, "{line}");
        }
    }
}

// The wrapper's own consumer is used for group offsets; it reports through these.
impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.take_log(level as i32, facility, line);
    }

    fn error(&self, error: KafkaError, text: &str) {
        self.take_error(error.rdkafka_error_code().unwrap_or(Code::Unknown), text);
    }
}

impl ConsumerContext for Context {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::testing::Lines;

    #[test]
    fn a_flood_of_log_lines_is_cut_and_counted() {
        let mut window = LogWindow::default();
        let start = Instant::now();
        let written = (0..100).filter(|_| window.allow_line(start).is_some()).count();
        assert_eq!(written, LINES_PER_WINDOW as usize);
        assert_eq!(window.allow_line(start + WINDOW), Some(100 - LINES_PER_WINDOW));
        assert_eq!(window.allow_line(start + WINDOW), Some(0));
    }

    #[test]
    fn what_librdkafka_waits_out_itself_is_no_warning() {
        const WARNING: i32 = 4;
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let context = Context::new("localhost:9092");
            let loading = "Failed to acquire transactional PID: Broker: Coordinator load in progress: retrying";
            for _ in 0..=LINES_PER_WINDOW {
                context.take_log(WARNING, "GETPID", loading);
            }
            context.take_log(WARNING, "SESSTMOUT", "revoking assignment and rejoining group");
        });
        let text = lines.text();
        let levels: Vec<&str> = text.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
        assert_eq!(levels[levels.len() - 2..], ["INFO", "WARN"], "it crowds out no warning, {text}");
    }

    #[test]
    fn records_dropped_on_order_are_no_failure_of_the_next_transaction() {
        let context = Context::new("localhost:9092");
        context.take_failed_delivery(Code::PurgeQueue, "purged");
        assert!(context.take_delivery_failure().is_none());
        context.take_failed_delivery(Code::MessageTimedOut, "timed out");
        assert!(context.take_delivery_failure().is_some());
    }

    #[test]
    fn a_cut_handshake_is_no_refusal_but_a_bad_certificate_is() {
        let context = Context::new("localhost:9092");
        context.take_error(Code::SSL, "SSL handshake failed: Disconnected");
        assert!(context.refusal().is_none());
        context.take_error(Code::SSL, "SSL handshake failed: certificate verify failed");
        assert!(context.refusal().is_some());
    }
}
