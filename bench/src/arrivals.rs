//! When requests are due: pure and seeded, so that the same seed asks the same questions at the same moments.

mod pattern;
pub mod replay;
#[cfg(test)]
mod tests;
mod warp;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Gamma};

pub use self::pattern::{ArrivalError, Pattern, State, Step};
use self::warp::Warp;

/// Due times, nanoseconds from the start, never decreasing. Endless, unless the pattern ends at a rate of 0.
#[derive(Clone, Debug)]
pub struct Arrivals {
    process: Process,
    rng: SmallRng,
    /// Seconds; of a warped process, requests of the unit process.
    at: f64,
}

#[derive(Clone, Debug)]
enum Process {
    /// Multiples of the gap, so that rounding doesn't add up.
    Constant {
        gap: f64,
        index: u64,
    },
    Poisson {
        gap: f64,
    },
    Gamma(Gamma<f64>),
    Warped(Warp),
    /// Rates a second and mean stays; the state that holds, and until when.
    Mmpp {
        states: Vec<State>,
        state: usize,
        until: f64,
    },
}

impl Arrivals {
    /// `rate`: the mean, in requests a second, of patterns that bring none of their own.
    pub fn of(pattern: &Pattern, rate: Option<f64>, seed: u64) -> Result<Arrivals, ArrivalError> {
        let mean = pattern.check(rate)?.unwrap_or(0.0);
        let mut rng = SmallRng::seed_from_u64(seed);
        let process = match pattern {
            Pattern::Constant => Process::Constant { gap: 1.0 / mean, index: 0 },
            Pattern::Poisson => Process::Poisson { gap: 1.0 / mean },
            Pattern::Step { steps } => Process::Warped(Warp::Steps(steps.clone())),
            &Pattern::Ramp { from, to, seconds } => {
                Process::Warped(Warp::Ramp { from, to, seconds })
            }
            &Pattern::Diurnal { amplitude, period_seconds } => {
                Process::Warped(Warp::Sine { mean, amplitude, period: period_seconds })
            }
            Pattern::Gamma { cv } => {
                let shape = 1.0 / (cv * cv);
                let gaps = Gamma::new(shape, 1.0 / (mean * shape));
                Process::Gamma(gaps.map_err(|_| ArrivalError::Rate { pattern: "gamma" })?)
            }
            Pattern::Mmpp { states } => {
                let states = scaled(states, mean);
                let state = first_state(&states, &mut rng);
                let until = exponential(&mut rng) * states[state].mean_seconds;
                Process::Mmpp { states, state, until }
            }
        };
        Ok(Arrivals { process, rng, at: 0.0 })
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let rng = &mut self.rng;
        let due = match &mut self.process {
            Process::Constant { gap, index } => {
                let due = *index as f64 * *gap;
                *index += 1;
                due
            }
            Process::Poisson { gap } => self.at + exponential(rng) * *gap,
            Process::Gamma(gaps) => self.at + gaps.sample(rng),
            Process::Warped(warp) => {
                self.at += exponential(rng);
                return warp.inverse(self.at).map(|seconds| (seconds * 1e9) as u64);
            }
            Process::Mmpp { states, state, until } => {
                next_of_mmpp(states, state, until, self.at, rng)
            }
        };
        self.at = due;
        Some((due * 1e9) as u64)
    }
}

/// To rates a second whose mean over the states' stays is `mean`.
fn scaled(states: &[State], mean: f64) -> Vec<State> {
    let stays: f64 = states.iter().map(|state| state.mean_seconds).sum();
    let relative: f64 =
        states.iter().map(|state| state.relative_rate * state.mean_seconds).sum::<f64>() / stays;
    let scale = mean / relative;
    let rate = |state: &State| State { relative_rate: state.relative_rate * scale, ..*state };
    states.iter().map(rate).collect()
}

/// By its share of the time, so that a short run has the mean as well.
fn first_state(states: &[State], rng: &mut SmallRng) -> usize {
    let all: f64 = states.iter().map(|state| state.mean_seconds).sum();
    let mut left = rng.random::<f64>() * all;
    let found = states.iter().position(|state| {
        left -= state.mean_seconds;
        left < 0.0
    });
    found.unwrap_or(0)
}

/// Within a state it is Poisson, and a gap that ends past the state begins anew there: exponential gaps have no memory.
fn next_of_mmpp(
    states: &[State],
    state: &mut usize,
    until: &mut f64,
    mut at: f64,
    rng: &mut SmallRng,
) -> f64 {
    loop {
        let rate = states[*state].relative_rate;
        let due = if rate > 0.0 { at + exponential(rng) / rate } else { f64::INFINITY };
        if due < *until {
            return due;
        }
        at = *until;
        *state = (*state + 1) % states.len();
        *until = at + exponential(rng) * states[*state].mean_seconds;
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
            Arrivals::of(&Pattern::Poisson, Some(stretch.rate), seed ^ ((index as u64) << 32))
                .ok()?;
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
