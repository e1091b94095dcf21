//! Poisson arrivals whose rate changes with time, exactly: a unit Poisson process on the time axis that the integral of
//! the rate makes of ours (inversion; Çinlar, Introduction to Stochastic Processes, 1975). Pure.

use std::f64::consts::TAU;

use super::pattern::Step;

/// The integral of a rate, in requests, from the start to so many seconds; and its inverse.
#[derive(Clone, Debug)]
pub(super) enum Warp {
    /// The last holds on.
    Steps(Vec<Step>),
    Ramp {
        from: f64,
        to: f64,
        seconds: f64,
    },
    Sine {
        mean: f64,
        amplitude: f64,
        period: f64,
    },
}

impl Warp {
    /// When the integral reaches `requests`; None: never.
    pub(super) fn inverse(&self, requests: f64) -> Option<f64> {
        match self {
            Warp::Steps(steps) => inverse_of_steps(steps, requests),
            Warp::Ramp { from, to, seconds } => inverse_of_ramp(*from, *to, *seconds, requests),
            Warp::Sine { mean, amplitude, period } => {
                Some(inverse_of_sine(*mean, *amplitude, *period, requests))
            }
        }
    }
}

fn inverse_of_steps(steps: &[Step], mut requests: f64) -> Option<f64> {
    let mut began = 0.0;
    for (index, step) in steps.iter().enumerate() {
        let (holds_on, within) = (index + 1 == steps.len(), step.rate * step.seconds);
        if step.rate > 0.0 && (requests < within || holds_on) {
            return Some(began + requests / step.rate);
        }
        requests -= within;
        began += step.seconds;
    }
    None
}

fn inverse_of_ramp(from: f64, to: f64, seconds: f64, requests: f64) -> Option<f64> {
    let within = (from + to) / 2.0 * seconds;
    if requests >= within {
        return (to > 0.0).then(|| seconds + (requests - within) / to);
    }
    // from·t + slope/2·t² = requests, in the form that loses no digits where the slope is small.
    let slope = (to - from) / seconds;
    Some(2.0 * requests / (from + (from * from + 2.0 * slope * requests).max(0.0).sqrt()))
}

/// The integral is mean·(t + amplitude·period/2π·(1 - cos(2π·t/period))): between these bounds it is monotone, so that
/// halving finds its place to the last bits that matter (60 halvings of a period).
fn inverse_of_sine(mean: f64, amplitude: f64, period: f64, requests: f64) -> f64 {
    const HALVINGS: u32 = 60;
    let wave = amplitude * period / TAU;
    let integral = |t: f64| mean * (t + wave * (1.0 - (TAU * t / period).cos()));
    let (mut low, mut high) = ((requests / mean - 2.0 * wave).max(0.0), requests / mean);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if integral(middle) < requests { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() < 1e-9)
    }

    #[test]
    fn steps_are_straight_lines_and_the_last_holds_on() {
        let step = |seconds, rate| Step { seconds, rate };
        let warp = Warp::Steps(vec![step(2.0, 10.0), step(3.0, 0.0), step(1.0, 5.0)]);
        assert!(near(warp.inverse(10.0), 1.0));
        assert!(near(warp.inverse(20.0), 5.0), "nobody comes during the pause");
        assert!(near(warp.inverse(45.0), 10.0), "past its end the last goes on");
        assert_eq!(Warp::Steps(vec![step(1.0, 5.0), step(1.0, 0.0)]).inverse(6.0), None);
    }

    #[test]
    fn a_ramp_is_half_done_at_the_root_of_a_half() {
        let warp = Warp::Ramp { from: 0.0, to: 100.0, seconds: 10.0 };
        assert!(near(warp.inverse(250.0), 10.0 * 0.5_f64.sqrt()));
        assert!(near(warp.inverse(500.0), 10.0));
        assert!(near(warp.inverse(600.0), 11.0), "it holds on");
        let flat = Warp::Ramp { from: 50.0, to: 50.0, seconds: 10.0 };
        assert!(near(flat.inverse(25.0), 0.5));
        let down = Warp::Ramp { from: 100.0, to: 0.0, seconds: 10.0 };
        assert!(near(down.inverse(375.0), 5.0));
        assert_eq!(down.inverse(501.0), None, "after the last nobody comes");
    }

    #[test]
    fn a_sine_is_even_over_whole_periods() {
        let warp = Warp::Sine { mean: 100.0, amplitude: 1.0, period: 10.0 };
        assert!(near(warp.inverse(1_000.0), 10.0));
        let half = warp.inverse(500.0 + 1_000.0 / TAU * 2.0);
        assert!(near(half, 5.0), "the first half of the period has more: {half:?}");
    }
}
