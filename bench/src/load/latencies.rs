//! What a load has measured.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency that is told from longer ones, in microseconds.
const MAX_LATENCY_US: u64 = 60_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// The figures of one round of a load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Answers of the measured time.
    pub(crate) answers: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    /// CPU time of the load generator for each answer, where the system tells.
    pub(crate) generator_us: Option<f64>,
}

/// Collects the latencies of a round.
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_max(MAX_LATENCY_US, SIGNIFICANT_DIGITS);
        Self(histogram.expect("the bounds are valid, for they are constant"))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn summarize(&self, measured: Duration) -> Round {
        let percentile_ms = |percentile| self.0.value_at_percentile(percentile) as f64 / 1_000.0;
        Round {
            answers: self.0.len(),
            per_second: self.0.len() as f64 / measured.as_secs_f64(),
            p50_ms: percentile_ms(50.0),
            p99_ms: percentile_ms(99.0),
            p999_ms: percentile_ms(99.9),
            generator_us: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_recorded_latencies() {
        let mut latencies = Latencies::new();
        for us in 1..=10_000 {
            latencies.record(Duration::from_micros(us));
        }
        let round = latencies.summarize(Duration::from_secs(4));
        assert_eq!((round.answers, round.per_second), (10_000, 2_500.0));
        for (found_ms, expected_ms) in [(round.p50_ms, 5.0), (round.p99_ms, 9.9), (round.p999_ms, 9.99)] {
            assert!((found_ms - expected_ms).abs() <= expected_ms / 1_000.0, "{found_ms} is not {expected_ms}");
        }
    }
}
