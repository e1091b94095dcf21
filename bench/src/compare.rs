//! Two servers measured side by side: pair by pair, then the median of the pairs.
//!
//! A machine runs the same code up to 1.7 times slower for seconds at a time. The two halves of a pair share the
//! moment; averages over separate blocks don't.

use serde::Serialize;

/// The middle and the ends of a list of figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// `None` for an empty list.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (&min, &max) = (sorted.first()?, sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    };
    Some(Spread { median, min, max })
}

/// How many times `a` is `b`, in each pair.
pub fn ratios(pairs: &[(f64, f64)]) -> Option<Spread> {
    spread(&pairs.iter().map(|(a, b)| a / b).collect::<Vec<_>>())
}

/// How much `a` is above `b`, in each pair.
pub fn differences(pairs: &[(f64, f64)]) -> Option<Spread> {
    spread(&pairs.iter().map(|(a, b)| a - b).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_middles() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).map(|s| s.median), Some(2.5));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_slow_minute_that_hits_both_halves_does_not_show() {
        let pairs = [(20.0, 10.0), (34.0, 17.0), (22.0, 11.0)];
        assert_eq!(ratios(&pairs), Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
    }

    #[test]
    fn one_disturbed_pair_does_not_move_the_median() {
        let pairs = [(12.0, 10.0), (90.0, 10.0), (13.0, 11.0)];
        assert_eq!(differences(&pairs).map(|s| s.median), Some(2.0));
    }
}
