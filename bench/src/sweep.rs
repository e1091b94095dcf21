//! Latency against throughput, from idle to past saturation, and where the knee is. Pure.
//!
//! The knee is where throughput over latency, the power, is largest: the straight line from the origin that touches
//! the curve touches it there (Kleinrock, "Power and Deterministic Rules of Thumb for Probabilistic Problems in Computer
//! Communications", 1979; Jain, "The Art of Computer Systems Performance Analysis", 1991, chapter 3). Kneedle (Satopää
//! and others, 2011) is deliberately absent: it scales both axes to the range that was swept, and past saturation
//! latency is what the length of the run makes of it, so the same server would have another knee for another sweep.

pub mod command;

use serde::Serialize;

use crate::compare::{Spread, spread};

/// Of the estimated capacity: closer together where the curve bends.
pub const SHARES: [f64; 12] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2];
/// Below, the answers don't keep up with what is due and the queue grows.
const ACHIEVED_SHARE_MIN: f64 = 0.99;

/// One run at one rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Due requests a second, as the run had them.
    pub offered: f64,
    /// Right answers a second.
    pub achieved: f64,
    pub p50_us: Option<f64>,
    /// The percentile that the sweep is about.
    pub tail_us: Option<f64>,
    pub failures: u64,
    /// The generator's own verdict.
    pub is_valid: bool,
}

/// All runs at one rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    pub rate: f64,
    pub achieved: Option<Spread>,
    pub p50_us: Option<Spread>,
    pub tail_us: Option<Spread>,
    pub failures: u64,
    pub invalid_runs: usize,
    /// Answers kept up with what was due, in most runs.
    pub keeps_up: bool,
}

/// A sweep, ascending in rates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    pub points: Vec<Point>,
    /// The index of the point with the most power.
    pub knee: Option<usize>,
    /// The first that didn't keep up.
    pub saturated: Option<usize>,
}

impl Point {
    /// Figures come from valid runs only.
    pub fn of(rate: f64, samples: &[Sample]) -> Point {
        let valid: Vec<&Sample> = samples.iter().filter(|sample| sample.is_valid).collect();
        let figures = |figure: fn(&Sample) -> Option<f64>| {
            spread(&valid.iter().filter_map(|sample| figure(sample)).collect::<Vec<_>>())
        };
        let kept_up = |sample: &Sample| Some(sample.achieved / sample.offered);
        Point {
            rate,
            achieved: figures(|sample| Some(sample.achieved)),
            p50_us: figures(|sample| sample.p50_us),
            tail_us: figures(|sample| sample.tail_us),
            failures: valid.iter().map(|sample| sample.failures).sum(),
            invalid_runs: samples.len() - valid.len(),
            keeps_up: figures(kept_up).is_some_and(|share| share.median >= ACHIEVED_SHARE_MIN),
        }
    }

    /// It was run, and the generator was at fault each time.
    pub fn is_invalid(&self) -> bool {
        self.achieved.is_none() && self.invalid_runs > 0
    }

    /// Answers a second over microseconds. None where there is too little to say.
    fn power(&self) -> Option<f64> {
        Some(self.achieved?.median / self.tail_us?.median)
    }
}

impl Curve {
    pub fn of(points: Vec<Point>) -> Curve {
        let powers = points.iter().enumerate().filter_map(|(at, point)| Some((at, point.power()?)));
        let knee = powers.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(at, _)| at);
        let measured = |point: &Point| point.achieved.is_some();
        let saturated = points.iter().position(|point| measured(point) && !point.keeps_up);
        Curve { points, knee, saturated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One server, one queue, exponential service of 1 ms: the mean latency is 1 ms / (1 - load).
    fn mm1(load: f64) -> Sample {
        let achieved = 1_000.0 * load.min(1.0);
        let mean_us = if load < 1.0 { 1_000.0 / (1.0 - load) } else { 1e7 * load };
        Sample {
            offered: 1_000.0 * load,
            achieved,
            p50_us: Some(mean_us * 0.7),
            tail_us: Some(mean_us),
            failures: 0,
            is_valid: true,
        }
    }

    fn curve(loads: &[f64]) -> Curve {
        Curve::of(loads.iter().map(|&load| Point::of(load * 1_000.0, &[mm1(load)])).collect())
    }

    /// Kleinrock's result for this queue: half the capacity.
    #[test]
    fn the_knee_of_the_simplest_queue_is_at_half_its_capacity_however_far_the_sweep_goes() {
        for end in 6..=12 {
            let found = curve(&SHARES[..end]);
            assert_eq!(found.knee.map(|at| found.points[at].rate), Some(500.0), "{end}");
        }
    }

    #[test]
    fn the_first_rate_that_is_not_kept_up_with_is_saturation() {
        let found = curve(&SHARES);
        assert_eq!(found.saturated.map(|at| SHARES[at]), Some(1.1));
        assert_eq!(curve(&SHARES[..9]).saturated, None);
    }

    #[test]
    fn a_latency_that_is_flat_until_the_end_has_its_knee_at_the_end() {
        let flat = |share: f64| {
            let tail_us = if share <= 0.9 { 2_000.0 } else { 80_000.0 };
            Point::of(share, &[Sample { tail_us: Some(tail_us), ..mm1(share) }])
        };
        let found = Curve::of(SHARES.map(flat).to_vec());
        assert_eq!(found.knee.map(|at| SHARES[at]), Some(0.9));
    }

    #[test]
    fn a_run_that_was_the_generators_fault_gives_no_figure() {
        let slow = Sample { tail_us: Some(9e9), achieved: 1.0, is_valid: false, ..mm1(0.5) };
        let point = Point::of(500.0, &[mm1(0.5), slow, mm1(0.5)]);
        assert_eq!(point.tail_us, Some(Spread { median: 2_000.0, min: 2_000.0, max: 2_000.0 }));
        assert_eq!((point.invalid_runs, point.keeps_up), (1, true));
        let none = Curve::of(vec![Point::of(500.0, &[slow])]);
        assert_eq!((none.knee, none.saturated), (None, None));
    }
}
