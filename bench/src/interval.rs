//! How far the median of a few repeats can be trusted: an interval between two of the values themselves. Pure.
//!
//! Each value lies below the true median as often as a coin shows heads, whatever their distribution, so how many do is
//! binomial, and the interval between the k-th smallest and the k-th largest holds the median with a chance that is
//! exact (David and Nagaraja, "Order Statistics", 2003, section 7.1). A bootstrap of the median is deliberately absent:
//! of a dozen pairs its interval of 95 % holds the true median 88 to 92 times of 100.

use serde::Serialize;

use crate::compare::spread;

/// With five, the smallest and the largest together hold the true median 15 times of 16: 95 % can't be had.
pub const VALUES_MIN: usize = 6;
/// What the interval may leave out at each end: together 5 %.
const TAIL: f64 = 0.025;

/// A median and where the true one lies at least 95 times of 100.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

/// `None` for fewer than [`VALUES_MIN`] values.
pub fn median_interval(values: &[f64]) -> Option<Interval> {
    if values.len() < VALUES_MIN {
        return None;
    }
    let median = spread(values)?.median;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let left_out = left_out(values.len());
    Some(Interval { median, low: sorted[left_out], high: sorted[sorted.len() - 1 - left_out] })
}

/// How many of `count` values may be left out at each end: as many as coins show heads at most [`TAIL`] of the time.
fn left_out(count: usize) -> usize {
    let n = count as f64;
    // In logarithms: a thousand coins all showing heads is less than the smallest number there is.
    let (mut ways_ln, mut heads_share, mut heads) = (0.0, 0.0, 0);
    loop {
        heads_share += f64::exp(ways_ln - n * std::f64::consts::LN_2);
        if heads_share > TAIL {
            return heads.max(1) - 1;
        }
        heads += 1;
        ways_ln += ((n - heads as f64 + 1.0) / heads as f64).ln();
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// The ranks of the textbook's table of the sign test at 5 %, two-sided.
    #[test]
    fn the_ends_are_those_of_the_sign_test() {
        let ranks = [(6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4), (20, 6), (25, 8), (30, 10)];
        for (count, rank) in ranks {
            let values: Vec<f64> = (1..=count).rev().map(f64::from).collect();
            let found = median_interval(&values).expect("enough values");
            let ends = (f64::from(rank), f64::from(count + 1 - rank));
            assert_eq!((found.low, found.high), ends, "{count}");
        }
    }

    #[test]
    fn the_true_median_is_inside_as_often_as_promised() {
        let mut rng = SmallRng::seed_from_u64(9);
        for count in [6, 7, 15, 101] {
            let inside = (0..2000).filter(|_| {
                let ratios: Vec<f64> = (0..count).map(|_| rng.random::<f64>().powi(3)).collect();
                let found = median_interval(&ratios).expect("enough values");
                (found.low..=found.high).contains(&0.125)
            });
            let share = inside.count() as f64 / 2000.0;
            assert!(share > 0.94, "{count}: {share}");
        }
    }

    #[test]
    fn too_few_values_say_nothing() {
        assert_eq!(median_interval(&[1.0; VALUES_MIN - 1]), None);
        let same = Interval { median: 1.0, low: 1.0, high: 1.0 };
        assert_eq!(median_interval(&[1.0; VALUES_MIN]), Some(same));
        assert_eq!(median_interval(&[1.0; 1_001]), Some(same));
    }
}
