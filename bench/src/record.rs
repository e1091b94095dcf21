//! Latencies and what may be said of them.
//!
//! A percentile needs samples beyond it: no p99 from fewer than 1,000 and no p99.9 from fewer than 10,000.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer ones count as this; no measurement here waits that long for an answer.
const LATENCY_MAX_NS: u64 = 60_000_000_000;
/// Three digits: finer than any machine repeats itself.
const DIGITS: u8 = 3;
const P99_SAMPLES_MIN: u64 = 1_000;
const P999_SAMPLES_MIN: u64 = 10_000;

#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary().fmt(f)
    }
}

/// Microseconds; `None` where there are too few samples to say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub samples: u64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    pub max_us: Option<f64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_NS, DIGITS);
        Latencies(histogram.expect("the bounds are constants in the range the histogram takes"))
    }
}

impl Latencies {
    pub fn record(&mut self, span_ns: u64) {
        self.0.saturating_record(span_ns);
    }

    pub fn add(&mut self, other: &Latencies) {
        let added = self.0.add(&other.0);
        added.expect("both have the same bounds and digits");
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// For writers of its formats.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// Nanoseconds; None where fewer than this many samples are there.
    pub fn percentile_ns(&self, quantile: f64, samples_min: u64) -> Option<u64> {
        (self.0.len() >= samples_min).then(|| self.0.value_at_quantile(quantile))
    }

    pub fn summary(&self) -> Summary {
        Summary {
            samples: self.0.len(),
            p50_us: self.percentile_us(0.50, 1),
            p99_us: self.percentile_us(0.99, P99_SAMPLES_MIN),
            p999_us: self.percentile_us(0.999, P999_SAMPLES_MIN),
            max_us: self.percentile_us(1.0, 1),
        }
    }

    fn percentile_us(&self, quantile: f64, samples_min: u64) -> Option<f64> {
        let samples_min = samples_min.max(1);
        self.percentile_ns(quantile, samples_min).map(|ns| ns as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spans_us: impl IntoIterator<Item = u64>) -> Summary {
        let mut latencies = Latencies::default();
        spans_us.into_iter().for_each(|us| latencies.record(us * 1000));
        latencies.summary()
    }

    fn near(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value / expected - 1.0).abs() < 0.002)
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_samples() {
        let summary = of(1..=10_000);
        assert!(near(summary.p50_us, 5_000.0), "{summary:?}");
        assert!(near(summary.p99_us, 9_900.0), "{summary:?}");
        assert!(near(summary.p999_us, 9_990.0), "{summary:?}");
        assert!(near(summary.max_us, 10_000.0), "{summary:?}");
    }

    #[test]
    fn too_few_samples_give_no_tail() {
        assert_eq!(of(1..1_000).p99_us, None);
        assert!(of(0..1_000).p99_us.is_some());
        assert_eq!(of(0..1_000).p999_us, None);
        assert_eq!(of([]).p50_us, None);
    }

    #[test]
    fn a_span_longer_than_the_longest_counts_as_the_longest() {
        assert!(near(of([3_600_000_000]).max_us, 60e6));
    }
}
