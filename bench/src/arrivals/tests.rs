//! What each process must look like.

use super::*;

fn arrivals(pattern: Pattern, rate: f64, seed: u64) -> Arrivals {
    Arrivals::of(&pattern, Some(rate), seed).expect("a rate")
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
        let last_ns = arrivals(pattern.clone(), 5_000.0, 1).nth(100_000).expect("endless");
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
        assert!(Arrivals::of(&Pattern::Constant, Some(rate), 0).is_err(), "{rate}");
    }
}

fn seconds(pattern: &Pattern, rate: Option<f64>, until: f64) -> Vec<f64> {
    let arrivals = Arrivals::of(pattern, rate, 5).expect("a pattern");
    arrivals.map(|ns| ns as f64 / 1e9).take_while(|&at| at < until).collect()
}

fn count_in(times: &[f64], from: f64, to: f64) -> f64 {
    times.iter().filter(|at| (from..to).contains(*at)).count() as f64
}

/// Within four standard deviations of a Poisson count.
fn is_poisson_count(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 4.0 * expected.sqrt()
}

fn gaps_cv(times: &[f64]) -> f64 {
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    variance.sqrt() / mean
}

#[test]
fn steps_and_ramps_bring_the_counts_of_their_rates() {
    let step = |seconds, rate| Step { seconds, rate };
    let steps =
        Pattern::Step { steps: vec![step(5.0, 1_000.0), step(5.0, 0.0), step(5.0, 4_000.0)] };
    let times = seconds(&steps, None, 20.0);
    assert!(is_poisson_count(count_in(&times, 0.0, 5.0), 5_000.0));
    assert_eq!(count_in(&times, 5.0, 10.0), 0.0);
    assert!(is_poisson_count(count_in(&times, 10.0, 20.0), 40_000.0), "the last holds on");
    let times = seconds(&Pattern::Ramp { from: 0.0, to: 2_000.0, seconds: 10.0 }, None, 12.0);
    assert!(is_poisson_count(count_in(&times, 0.0, 5.0), 2_500.0));
    assert!(is_poisson_count(count_in(&times, 5.0, 10.0), 7_500.0));
    assert!(is_poisson_count(count_in(&times, 10.0, 12.0), 4_000.0));
}

#[test]
fn a_diurnal_load_has_more_by_day_than_by_night() {
    let pattern = Pattern::Diurnal { amplitude: 0.5, period_seconds: 10.0 };
    let times = seconds(&pattern, Some(1_000.0), 10.0);
    // Half a period of a sine adds amplitude · period / π to its half of the mean.
    let more = 0.5 * 10.0 / std::f64::consts::PI * 1_000.0;
    assert!(is_poisson_count(count_in(&times, 0.0, 5.0), 5_000.0 + more));
    assert!(is_poisson_count(count_in(&times, 5.0, 10.0), 5_000.0 - more));
}

#[test]
fn gamma_gaps_have_the_variation_asked_for() {
    for cv in [0.5, 1.0, 3.0] {
        let times = seconds(&Pattern::Gamma { cv }, Some(10_000.0), 20.0);
        let rate = times.len() as f64 / 20.0;
        assert!((rate / 10_000.0 - 1.0).abs() < 0.03, "CV {cv}: {rate}");
        assert!((gaps_cv(&times) / cv - 1.0).abs() < 0.05, "CV {cv}: {}", gaps_cv(&times));
    }
}

/// Of two states with rates λ₁ and λ₂ and mean stays s₁ and s₂, the limit of variance over mean of the counts is
/// 1 + 2·(λ₁ - λ₂)²·s₁²·s₂² / ((s₁ + s₂)²·(λ₁·s₁ + λ₂·s₂)) (Fischer and Meier-Hellstern, The MMPP cookbook, 1993).
#[test]
fn mmpp_bursts_as_theory_says() {
    let state = |relative_rate, mean_seconds| State { relative_rate, mean_seconds };
    let pattern = Pattern::Mmpp { states: vec![state(1.0, 0.1), state(5.0, 0.1)] };
    let times = seconds(&pattern, Some(300.0), 4_000.0);
    let rate = times.len() as f64 / 4_000.0;
    assert!((rate / 300.0 - 1.0).abs() < 0.03, "{rate}");
    let mut counts = vec![0.0; 400];
    times.iter().for_each(|at| counts[(at / 10.0) as usize] += 1.0);
    let mean = counts.iter().sum::<f64>() / 400.0;
    let variance = counts.iter().map(|count: &f64| (count - mean).powi(2)).sum::<f64>() / 400.0;
    let (low, high, stay) = (100.0, 500.0, 0.1_f64);
    let difference: f64 = high - low;
    let theory = 1.0
        + 2.0 * (difference * stay * stay).powi(2) / ((2.0 * stay).powi(2) * (low + high) * stay);
    assert!((variance / mean / theory - 1.0).abs() < 0.25, "{} of {theory}", variance / mean);
}

#[test]
fn a_scenario_names_patterns_and_is_told_what_is_wrong_with_them() {
    let read = |text: &str| toml::from_str::<Pattern>(text);
    let mmpp = "pattern = 'mmpp'\nstates = [{ relative-rate = 1, mean-seconds = 2 }]";
    assert!(matches!(read(mmpp), Ok(Pattern::Mmpp { .. })));
    assert_eq!(read("pattern = 'gamma'\ncv = 3.0"), Ok(Pattern::Gamma { cv: 3.0 }));
    assert!(read("pattern = 'gamma'\ncv = 3.0\nburst = 2").is_err(), "unknown fields are no wish");
    let of = |pattern: &Pattern, rate| Arrivals::of(pattern, rate, 1).map(|_| ());
    assert!(matches!(of(&Pattern::Poisson, None), Err(ArrivalError::Rate { .. })));
    assert!(matches!(of(&Pattern::Gamma { cv: 0.0 }, Some(1.0)), Err(ArrivalError::Shape { .. })));
    let ramp = Pattern::Ramp { from: 1.0, to: 2.0, seconds: 1.0 };
    assert!(matches!(of(&ramp, Some(5.0)), Err(ArrivalError::OwnRate { .. })));
    assert_eq!(of(&ramp, None), Ok(()));
    assert!(matches!(
        of(&Pattern::Mmpp { states: vec![] }, Some(1.0)),
        Err(ArrivalError::Shape { .. })
    ));
}

proptest::proptest! {
    #[test]
    fn every_process_goes_on_and_never_back(seed: u64, cv in 0.1_f64..10.0, rate in 1.0_f64..1e6) {
        let states = [1.0, 0.0, 9.0].map(|relative_rate| State { relative_rate, mean_seconds: 0.5 });
        for pattern in [
            Pattern::Constant,
            Pattern::Poisson,
            Pattern::Gamma { cv },
            Pattern::Diurnal { amplitude: 1.0, period_seconds: 3.0 },
            Pattern::Mmpp { states: states.to_vec() },
        ] {
            let arrivals = Arrivals::of(&pattern, Some(rate), seed).expect("a pattern");
            let times: Vec<u64> = arrivals.take(200).collect();
            proptest::prop_assert_eq!(times.len(), 200);
            proptest::prop_assert!(times.is_sorted());
        }
    }
}
