//! From how many queries a percentile may be said: MLPerf's early stopping, with tolerance 0 and confidence 0.99. Pure.
//!
//! Of a system that is on time with just the target probability, how likely is a result as good as the one seen? When
//! that is under one in a hundred, the result counts (inference rules, appendix "Early Stopping Criterion"). The rule
//! adds to the percentile of a short run what chance may have given it.

/// A failing system passes less often than this: 1 - 0.99.
const CHANCE_MAX: f64 = 0.01;
/// ln n! by Stirling's series is exact to the last digits from here on.
const STIRLING_MIN: u64 = 20;
/// Terms of a sum that falls at least geometrically: what follows a smaller one doesn't show.
const TERM_MIN: f64 = 1e-18;

/// The fewest queries, with so many over the latency among them, that show the percentile is kept.
pub fn queries_min(over: u64, percentile: f64) -> u64 {
    let shows = |queries: u64| tail(over, queries, percentile) < CHANCE_MAX;
    let mut high = over + 1;
    while !shows(high) {
        high *= 2;
    }
    let mut low = high / 2;
    while low + 1 < high {
        let middle = low.midpoint(high);
        if shows(middle) { high = middle } else { low = middle }
    }
    high
}

/// The rank of the latency that stands for the percentile, counted from the highest, which is 1. `None`: too few
/// queries to say.
pub fn rank_from_highest(queries: u64, percentile: f64) -> Option<u64> {
    let fits = |over: u64| queries_min(over, percentile) <= queries;
    if !fits(1) {
        return None;
    }
    let (mut low, mut high) = (1, queries);
    while low + 1 < high {
        let middle = low.midpoint(high);
        if fits(middle) { low = middle } else { high = middle }
    }
    Some(low)
}

/// How likely at most `over` of `queries` are late, each late with probability 1 - `percentile`.
fn tail(over: u64, queries: u64, percentile: f64) -> f64 {
    let odds = percentile / (1.0 - percentile);
    let mean = queries as f64 * (1.0 - percentile);
    if over as f64 >= mean {
        // The median of a binomial is at most one from its mean: no small chance here.
        return 1.0;
    }
    let (mut term, mut sum) = (1.0, 0.0);
    for late in (0..=over).rev() {
        sum += term;
        term *= late as f64 / (queries - late + 1) as f64 * odds;
        if term < TERM_MIN * sum {
            break;
        }
    }
    (ln_chance(over, queries, percentile) + f64::ln(sum)).exp()
}

/// Of exactly `late` late ones.
fn ln_chance(late: u64, queries: u64, percentile: f64) -> f64 {
    let in_time = queries - late;
    let ln_ways = ln_factorial(queries) - ln_factorial(late) - ln_factorial(in_time);
    ln_ways + late as f64 * (1.0 - percentile).ln() + in_time as f64 * percentile.ln()
}

fn ln_factorial(n: u64) -> f64 {
    if n < STIRLING_MIN {
        return (1..=n).map(|factor| factor as f64).product::<f64>().ln();
    }
    let n = n as f64;
    let correction = 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3)) + 1.0 / (1260.0 * n.powi(5));
    n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln() + correction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first are in the rules and in LoadGen's configuration: 64 queries for 90 %, 662 for 99 %.
    #[test]
    fn the_published_minimum_counts_come_out() {
        assert_eq!([0.90, 0.99].map(|percentile| queries_min(1, percentile)), [64, 662]);
        assert_eq!([0.90, 0.99].map(|percentile| queries_min(0, percentile)), [44, 459]);
        assert_eq!(rank_from_highest(63, 0.90), None);
        assert_eq!(rank_from_highest(64, 0.90), Some(1));
        assert_eq!(rank_from_highest(661, 0.99), None);
        assert_eq!(rank_from_highest(662, 0.99), Some(1));
    }

    #[test]
    fn the_tail_is_the_sum_of_its_terms() {
        for (over, queries, percentile) in [(0, 7, 0.5), (2, 50, 0.9), (3, 900, 0.99)] {
            let mut term = f64::powf(percentile, queries as f64);
            let mut sum = 0.0;
            for late in 0..=over {
                sum += term;
                let ways = (queries - late) as f64 / (late + 1) as f64;
                term *= ways * (1.0 - percentile) / percentile;
            }
            assert!((tail(over, queries, percentile) / sum - 1.0).abs() < 1e-12);
        }
    }

    /// As LoadGen 6.0's own code says, compiled.
    #[test]
    fn large_counts_neither_overflow_nor_vanish() {
        assert_eq!([2_600, 5_000].map(|over| queries_min(over, 0.99)), [272_051, 516_615]);
        assert_eq!(rank_from_highest(516_614, 0.99), Some(4_999));
        assert_eq!(rank_from_highest(516_615, 0.99), Some(5_000));
    }

    mod loadgen {
        //! LoadGen's own way to the same numbers: the incomplete beta function by a hypergeometric series, and for the
        //! rank a walk up from one (`early_stopping.cc`, `results.cc`).

        use super::super::*;

        fn ln_beta(a: u64, b: u64) -> f64 {
            ln_factorial(a - 1) + ln_factorial(b - 1) - ln_factorial(a + b - 1)
        }

        fn odds(in_time: u64, over: u64, percentile: f64) -> f64 {
            let (a, b, x) = (in_time as f64, over as f64 + 1.0, percentile);
            let (mut term, mut series, mut step) = (1.0f64, 1.0, 0.0);
            while term.abs() > 1.0 / (1u64 << 33) as f64 {
                term *= (1.0 - b + step) * (x / (x - 1.0)) / (1.0 + a + step);
                series += term;
                step += 1.0;
            }
            let front = a * x.ln() + (b - 1.0) * (1.0 - x).ln() - ln_beta(in_time, over + 1);
            front.exp() / a * series
        }

        fn in_time_min(over: u64, percentile: f64) -> u64 {
            (1..).find(|&in_time| odds(in_time, over, percentile) < 0.01).expect("endless")
        }

        #[test]
        fn its_minimum_counts_are_ours() {
            for percentile in [0.5, 0.9, 0.95, 0.97, 0.99] {
                for over in 0..30 {
                    let theirs = in_time_min(over, percentile) + over;
                    assert_eq!(queries_min(over, percentile), theirs, "{over} at {percentile}");
                }
            }
        }

        #[test]
        fn its_ranks_are_ours() {
            for percentile in [0.9, 0.99] {
                let needs: Vec<u64> =
                    (0..40).map(|over| in_time_min(over, percentile) + over).collect();
                for queries in (1..needs[39]).step_by(7) {
                    let over = needs.iter().skip(1).take_while(|&&need| need <= queries).count();
                    let theirs = (over > 0).then_some(over as u64);
                    assert_eq!(rank_from_highest(queries, percentile), theirs, "{queries}");
                }
            }
        }
    }
}
