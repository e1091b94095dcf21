//! When requests are due: pure and seeded, so that the same seed asks the same questions at the same moments.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Every gap is the mean gap.
    Constant,
    /// Independent callers: exponential gaps.
    Poisson,
}

/// An endless list of due times, nanoseconds from the start, never decreasing.
#[derive(Clone, Debug)]
pub struct Arrivals {
    pattern: Pattern,
    gap_ns: f64,
    rng: SmallRng,
    /// How many came before; constant arrivals are multiples of the gap, so that rounding doesn't add up.
    index: u64,
    last_ns: f64,
}

impl Arrivals {
    /// `rate` in requests a second; `None` where it isn't a positive number.
    pub fn new(pattern: Pattern, rate: f64, seed: u64) -> Option<Arrivals> {
        let gap_ns = 1e9 / rate;
        (rate.is_finite() && rate > 0.0 && gap_ns.is_finite()).then(|| Arrivals {
            pattern,
            gap_ns,
            rng: SmallRng::seed_from_u64(seed),
            index: 0,
            last_ns: 0.0,
        })
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let due_ns = match self.pattern {
            Pattern::Constant => self.index as f64 * self.gap_ns,
            Pattern::Poisson => self.last_ns + exponential(&mut self.rng) * self.gap_ns,
        };
        self.index += 1;
        self.last_ns = due_ns;
        Some(due_ns as u64)
    }
}

/// A while of Poisson arrivals at one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    pub span_ns: u64,
    /// Requests a second.
    pub rate: f64,
}

/// Due times of Poisson arrivals whose rate changes from stretch to stretch; `None` where a rate is none.
pub fn stretches(stretches: &[Stretch], seed: u64) -> Option<Vec<u64>> {
    let mut due_ns = Vec::new();
    let mut from_ns = 0;
    for (index, stretch) in stretches.iter().enumerate() {
        let arrivals =
            Arrivals::new(Pattern::Poisson, stretch.rate, seed ^ ((index as u64) << 32))?;
        let within = arrivals.take_while(|&at_ns| at_ns < stretch.span_ns);
        due_ns.extend(within.map(|at_ns| from_ns + at_ns));
        from_ns += stretch.span_ns;
    }
    Some(due_ns)
}

/// Mean 1. `1 - u` lies in (0, 1], whose logarithm is finite.
fn exponential(rng: &mut SmallRng) -> f64 {
    let u: f64 = rng.random();
    -(1.0 - u).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(pattern: Pattern, rate: f64, seed: u64) -> Arrivals {
        Arrivals::new(pattern, rate, seed).expect("a rate")
    }

    #[test]
    fn equal_seeds_give_equal_arrivals_and_others_do_not() {
        let times = |seed| arrivals(Pattern::Poisson, 1000.0, seed).take(100).collect::<Vec<_>>();
        assert_eq!(times(7), times(7));
        assert_ne!(times(7), times(8));
    }

    #[test]
    fn the_mean_rate_is_the_asked_rate() {
        for pattern in [Pattern::Constant, Pattern::Poisson] {
            let last_ns = arrivals(pattern, 5_000.0, 1).nth(100_000).expect("endless");
            let rate = 100_000.0 / (last_ns as f64 / 1e9);
            assert!((rate / 5_000.0 - 1.0).abs() < 0.02, "{pattern:?}: {rate}");
        }
    }

    #[test]
    fn gaps_of_poisson_arrivals_vary_as_much_as_their_mean() {
        let times: Vec<_> = arrivals(Pattern::Poisson, 1e6, 3).take(50_000).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05);
    }

    #[test]
    fn constant_arrivals_do_not_drift() {
        assert_eq!(arrivals(Pattern::Constant, 3.0, 0).nth(3_000_000), Some(1_000_000_000_000_000));
    }

    #[test]
    fn times_never_decrease() {
        assert!(arrivals(Pattern::Poisson, 1e5, 9).take(10_000).is_sorted());
    }

    #[test]
    fn each_stretch_has_its_rate_and_its_place() {
        let second_ns = 1_000_000_000;
        let plan = [1_000.0, 9_000.0, 500.0].map(|rate| Stretch { span_ns: second_ns, rate });
        let due_ns = stretches(&plan, 4).expect("rates");
        assert!(due_ns.is_sorted());
        for (index, stretch) in (0..).zip(plan) {
            let inside = |at_ns: &&u64| **at_ns / second_ns == index;
            let count = due_ns.iter().filter(inside).count() as f64;
            assert!((count / stretch.rate - 1.0).abs() < 0.15, "{count} of {stretch:?}");
        }
        assert_eq!(stretches(&[Stretch { span_ns: 1, rate: 0.0 }], 1), None);
    }

    #[test]
    fn a_rate_that_is_no_rate_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Arrivals::new(Pattern::Constant, rate, 0).is_none(), "{rate}");
        }
    }
}
