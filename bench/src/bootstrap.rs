//! How far the median of a few repeats can be trusted: a percentile bootstrap, seeded. Pure.
//!
//! The median is resampled as it is (Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979). The corrected
//! form, BCa, is deliberately absent: its acceleration comes from a jackknife, and a jackknife of the median doesn't
//! settle (Efron 1979, section 3). The median of ratios of pairs is what a disturbed pair can't move.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use crate::compare::spread;

/// With five, the smallest and the largest together hold the true median 15 times of 16: 95 % can't be had.
pub const VALUES_MIN: usize = 6;
/// The ends of the interval then move by less than one of the values' gaps between seeds.
const RESAMPLES: usize = 10_000;
/// What the interval leaves out at each end: together 5 %.
const TAIL: f64 = 0.025;

/// A median and where the true one lies 95 times of 100.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

/// `None` for fewer than [`VALUES_MIN`] values.
pub fn median_interval(values: &[f64], seed: u64) -> Option<Interval> {
    interval(values, seed, RESAMPLES)
}

fn interval(values: &[f64], seed: u64, resamples: usize) -> Option<Interval> {
    if values.len() < VALUES_MIN {
        return None;
    }
    let median = spread(values)?.median;
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut resampled = vec![0.0; values.len()];
    let mut medians = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        resampled.fill_with(|| values[rng.random_range(0..values.len())]);
        medians.extend(spread(&resampled).map(|spread| spread.median));
    }
    medians.sort_by(f64::total_cmp);
    let at = |share: f64| medians[((medians.len() - 1) as f64 * share).round() as usize];
    Some(Interval { median, low: at(TAIL), high: at(1.0 - TAIL) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_intervals() {
        let values: Vec<f64> = (0..20).map(|n| f64::from(n * n % 17)).collect();
        assert_eq!(median_interval(&values, 4), median_interval(&values, 4));
    }

    /// A resampled median of 11 is at most the k-th value when six of the draws are: a sum of binomial terms.
    #[test]
    fn the_ends_are_those_of_the_exact_bootstrap() {
        let at_most = |k: u32| {
            let share = f64::from(k) / 11.0;
            let choose = [462.0, 330.0, 165.0, 55.0, 11.0, 1.0];
            (6..=11)
                .zip(choose)
                .map(|(n, ways)| ways * share.powi(n) * (1.0 - share).powi(11 - n))
                .sum::<f64>()
        };
        let low = (1..=11).find(|&k| at_most(k) >= TAIL).expect("the last is at most itself");
        let high =
            (1..=11).find(|&k| at_most(k) >= 1.0 - TAIL).expect("the last is at most itself");
        let values: Vec<f64> = (1..=11).rev().map(f64::from).collect();
        let found = median_interval(&values, 1).expect("enough values");
        assert_eq!(found, Interval { median: 6.0, low: f64::from(low), high: f64::from(high) });
    }

    #[test]
    fn the_true_median_is_inside_about_as_often_as_promised() {
        let mut rng = SmallRng::seed_from_u64(9);
        let inside = (0..200).filter(|&seed| {
            let ratios: Vec<f64> = (0..15).map(|_| rng.random::<f64>()).collect();
            let found = interval(&ratios, seed, 500).expect("enough values");
            (found.low..=found.high).contains(&0.5)
        });
        let share = inside.count() as f64 / 200.0;
        assert!(share > 0.88, "{share}");
    }

    #[test]
    fn too_few_values_say_nothing() {
        assert_eq!(median_interval(&[1.0; VALUES_MIN - 1], 1), None);
        let same = Interval { median: 1.0, low: 1.0, high: 1.0 };
        assert_eq!(median_interval(&[1.0; VALUES_MIN], 1), Some(same));
    }
}
