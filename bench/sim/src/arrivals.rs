//! When requests come: seeded arrival processes in virtual milliseconds.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Exp, Gamma};

use crate::trace::Trace;

/// A shape of load; rates are requests per millisecond.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    Uniform(f64),
    Poisson(f64),
    /// Renewal with gamma gaps of this coefficient of variation.
    Gamma {
        rate: f64,
        cv: f64,
    },
    /// Two Poisson rates, with exponential sojourns of these means (ms).
    Mmpp {
        rates: [f64; 2],
        sojourns: [f64; 2],
    },
    /// Poisson at the rate of the last step that began, `(from ms, rate)`.
    Steps(Vec<(f64, f64)>),
    /// Poisson whose rate grows from the first to the second over the run.
    Ramp(f64, f64),
    /// Poisson with a sine of ±40 % over this period (ms).
    Diurnal {
        rate: f64,
        period: f64,
    },
    /// A stretch of a trace, compressed in time to this mean rate over the whole of it.
    Trace {
        trace: Arc<Trace>,
        rate: f64,
    },
}

impl Load {
    /// Arrival times in nanoseconds, ascending, up to `until` ms.
    pub(crate) fn draw(&self, until: f64, seed: u64) -> Vec<u64> {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0xA11_1BA1);
        let mut times = Vec::new();
        match self {
            Load::Uniform(rate) => {
                let count = (until * rate) as usize;
                times.extend((0..count).map(|nth| nth as f64 / rate));
            }
            Load::Poisson(rate) => poisson(&mut times, &mut rng, *rate, 0.0, until),
            Load::Gamma { rate, cv } => renewal(&mut times, &mut rng, *rate, *cv, until),
            Load::Mmpp { rates, sojourns } => mmpp(&mut times, &mut rng, *rates, *sojourns, until),
            Load::Steps(steps) => {
                for (nth, &(from, rate)) in steps.iter().enumerate() {
                    let to = steps.get(nth + 1).map_or(until, |next| next.0.min(until));
                    poisson(&mut times, &mut rng, rate, from, to);
                }
            }
            Load::Ramp(from, to) => {
                let rate_at = |ms: f64| from + (to - from) * ms / until;
                thinned(&mut times, &mut rng, from.max(*to), until, rate_at);
            }
            Load::Diurnal { rate, period } => {
                let rate_at =
                    |ms: f64| rate * (1.0 + 0.4 * (ms / period * std::f64::consts::TAU).sin());
                thinned(&mut times, &mut rng, 1.4 * rate, until, rate_at);
            }
            Load::Trace { trace, rate } => times = trace.arrivals(*rate, until, seed),
        }
        times.iter().map(|ms| (ms * 1e6) as u64).collect()
    }
}

fn poisson(times: &mut Vec<f64>, rng: &mut SmallRng, rate: f64, from: f64, to: f64) {
    let Ok(gaps) = Exp::new(rate) else { return };
    let mut at = from + gaps.sample(rng);
    while at < to {
        times.push(at);
        at += gaps.sample(rng);
    }
}

fn thinned(
    times: &mut Vec<f64>,
    rng: &mut SmallRng,
    most: f64,
    until: f64,
    rate_at: impl Fn(f64) -> f64,
) {
    let mut all = Vec::new();
    poisson(&mut all, rng, most, 0.0, until);
    times.extend(all.into_iter().filter(|&at| rng.random::<f64>() * most < rate_at(at)));
}

fn renewal(times: &mut Vec<f64>, rng: &mut SmallRng, rate: f64, cv: f64, until: f64) {
    let shape = 1.0 / (cv * cv);
    let Ok(gaps) = Gamma::new(shape, 1.0 / (rate * shape)) else { return };
    let mut at = gaps.sample(rng);
    while at < until {
        times.push(at);
        at += gaps.sample(rng);
    }
}

fn mmpp(times: &mut Vec<f64>, rng: &mut SmallRng, rates: [f64; 2], sojourns: [f64; 2], until: f64) {
    let (mut from, mut state) = (0.0, 0);
    while from < until {
        let stay = Exp::new(1.0 / sojourns[state]).map_or(until, |exp| exp.sample(rng));
        poisson(times, rng, rates[state], from, (from + stay).min(until));
        from += stay;
        state = 1 - state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_as_asked_and_seeds_replay() {
        let loads = [
            Load::Uniform(3.0),
            Load::Poisson(3.0),
            Load::Gamma { rate: 3.0, cv: 2.0 },
            Load::Mmpp { rates: [1.0, 5.0], sojourns: [50.0, 50.0] },
            Load::Ramp(1.0, 5.0),
            Load::Diurnal { rate: 3.0, period: 1000.0 },
        ];
        for load in loads {
            let times = load.draw(20_000.0, 7);
            assert_eq!(times, load.draw(20_000.0, 7));
            assert!(times.is_sorted());
            let rate = times.len() as f64 / 20_000.0;
            assert!((rate / 3.0 - 1.0).abs() < 0.1, "{load:?}: {rate}");
        }
    }
}
