//! Quantiles over a sliding window, in constant memory and without a look at single rows.
//!
//! A histogram with bounds that grow by 9 % for each 10 s; a quantile is told to within 5 %.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the quantiles are over.
pub const WINDOW: Duration = Duration::from_secs(300);
const SLICES: usize = 30;
const SLICE: Duration = Duration::from_secs(WINDOW.as_secs() / SLICES as u64);
/// The first bucket ends at a millisecond, the last one at decades: old rows are read as well.
const BUCKETS: usize = 320;
const FIRST_SECONDS: f64 = 1e-3;
const GROWTH: f64 = 1.09;

#[derive(Clone, Debug)]
struct Slice {
    /// Its number since the beginning.
    number: u64,
    weights: Arc<[f32; BUCKETS]>,
}

/// Seconds that rows took, by weight.
#[derive(Clone, Debug)]
pub struct Latency {
    begun: Instant,
    slices: Vec<Slice>,
    /// Since the beginning, all rows.
    pub sum: f64,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    /// Rows within the window.
    pub rows: u64,
}

impl Latency {
    pub fn new(now: Instant) -> Self {
        Latency { begun: now, slices: Vec::new(), sum: 0.0, count: 0 }
    }

    /// `rows` rows whose latencies these are, each for the same share of them. Negative ones, of clocks that differ,
    /// count as zero.
    pub fn add(&mut self, now: Instant, rows: u64, seconds: impl ExactSizeIterator<Item = f64>) {
        let samples = seconds.len();
        if samples == 0 || rows == 0 {
            return;
        }
        let number = now.saturating_duration_since(self.begun).as_secs() / SLICE.as_secs();
        self.slices.retain(|slice| slice.number + (SLICES as u64) > number);
        if self.slices.last().is_none_or(|slice| slice.number != number) {
            self.slices.push(Slice { number, weights: Arc::new([0.0; BUCKETS]) });
        }
        let Some(slice) = self.slices.last_mut() else { return };
        let weights = Arc::make_mut(&mut slice.weights);
        let share = rows as f64 / samples as f64;
        for seconds in seconds {
            let seconds = seconds.max(0.0);
            weights[bucket(seconds)] += share as f32;
            self.sum += seconds * share;
        }
        self.count += rows;
    }

    /// `None` where no row came within the window.
    pub fn quantiles(&self, now: Instant) -> Option<Quantiles> {
        let number = now.saturating_duration_since(self.begun).as_secs() / SLICE.as_secs();
        let mut weights = [0.0_f64; BUCKETS];
        for slice in self.slices.iter().filter(|slice| slice.number + (SLICES as u64) > number) {
            weights.iter_mut().zip(slice.weights.iter()).for_each(|(sum, weight)| *sum += f64::from(*weight));
        }
        let all: f64 = weights.iter().sum();
        let at = |share: f64| value_at(&weights, all * share);
        (all > 0.0).then(|| Quantiles { p50: at(0.5), p95: at(0.95), p99: at(0.99), rows: all.round() as u64 })
    }
}

fn bucket(seconds: f64) -> usize {
    if seconds <= FIRST_SECONDS {
        return 0;
    }
    // A float beyond the range becomes the last bucket.
    (((seconds / FIRST_SECONDS).ln() / GROWTH.ln()).ceil() as usize).min(BUCKETS - 1)
}

/// The value below which `weight` lies, taken as evenly spread within its bucket.
fn value_at(weights: &[f64; BUCKETS], weight: f64) -> f64 {
    let mut before = 0.0;
    for (index, &within) in weights.iter().enumerate() {
        if within > 0.0 && before + within >= weight {
            let upper = FIRST_SECONDS * GROWTH.powi(index as i32);
            let lower = if index == 0 { 0.0 } else { upper / GROWTH };
            return lower + (upper - lower) * ((weight - before) / within).clamp(0.0, 1.0);
        }
        before += within;
    }
    0.0
}
