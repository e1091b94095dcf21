//! The shapes of load that a schedule can have, as a scenario names them.

use serde::{Deserialize, Serialize};

use crate::report::count;

/// Rates are requests a second. Steps and ramps bring their own; of the others the mean is given apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "pattern",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum Pattern {
    /// Every gap is the mean gap.
    Constant,
    /// Independent callers: exponential gaps.
    #[default]
    Poisson,
    /// Independent callers whose number changes at once. The last step holds on.
    Step { steps: Vec<Step> },
    /// Independent callers who become more or fewer evenly, from one rate to the other within so many seconds. Holds on.
    Ramp { from: f64, to: f64, seconds: f64 },
    /// Independent callers who come and go with the hour: a sine around the mean, of this share of it.
    Diurnal { amplitude: f64, period_seconds: f64 },
    /// Bursts without a memory: gamma gaps, whose coefficient of variation is above 1 (1: Poisson, 0.5: nearly even).
    Gamma { cv: f64 },
    /// Bursts that last: a Markov-modulated Poisson process, going round its states.
    Mmpp { states: Vec<State> },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub seconds: f64,
    pub rate: f64,
}

/// Stays for an exponential time of this mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct State {
    /// Relative to the other states'; the mean of all is the rate given apart.
    pub relative_rate: f64,
    pub mean_seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrivalError {
    #[error("{pattern} arrivals need a rate above 0 requests a second")]
    Rate { pattern: &'static str },
    #[error("{pattern} arrivals bring their own rates; leave 'rate' out")]
    OwnRate { pattern: &'static str },
    #[error("{what}")]
    Shape { what: &'static str },
}

impl Pattern {
    pub fn name(&self) -> &'static str {
        match self {
            Pattern::Constant => "constant",
            Pattern::Poisson => "Poisson",
            Pattern::Step { .. } => "step",
            Pattern::Ramp { .. } => "ramp",
            Pattern::Diurnal { .. } => "diurnal",
            Pattern::Gamma { .. } => "gamma",
            Pattern::Mmpp { .. } => "MMPP",
        }
    }

    /// As in `Poisson, 1,000 requests/s`; always said with the figures.
    pub fn label(&self, rate: Option<f64>) -> String {
        let at = rate.map_or_else(String::new, |rate| format!(", {} requests/s", count(rate)));
        match self {
            Pattern::Step { steps } => {
                let rates: Vec<String> = steps.iter().map(|step| count(step.rate)).collect();
                format!("steps of {} requests/s", rates.join(", "))
            }
            Pattern::Ramp { from, to, seconds } => {
                format!("ramp from {} to {} requests/s in {seconds} s", count(*from), count(*to))
            }
            Pattern::Diurnal { amplitude, period_seconds } => {
                let percent = amplitude * 100.0;
                format!("diurnal ± {percent:.0} % every {period_seconds} s{at}")
            }
            Pattern::Gamma { cv } => format!("gamma gaps of CV {cv}{at}"),
            Pattern::Mmpp { states } => format!("MMPP of {} states{at}", states.len()),
            Pattern::Constant | Pattern::Poisson => format!("{}{at}", self.name()),
        }
    }

    /// The mean rate that a schedule of this pattern needs to be given; None where it brings its own.
    pub(super) fn check(&self, rate: Option<f64>) -> Result<Option<f64>, ArrivalError> {
        self.check_shape()?;
        let pattern = self.name();
        match (self, rate) {
            (Pattern::Step { .. } | Pattern::Ramp { .. }, None) => Ok(None),
            (Pattern::Step { .. } | Pattern::Ramp { .. }, Some(_)) => {
                Err(ArrivalError::OwnRate { pattern })
            }
            (_, Some(rate)) if is_positive(rate) && (1e9 / rate).is_finite() => Ok(Some(rate)),
            _ => Err(ArrivalError::Rate { pattern }),
        }
    }

    fn check_shape(&self) -> Result<(), ArrivalError> {
        let (holds, what) = match self {
            Pattern::Constant | Pattern::Poisson => (true, ""),
            Pattern::Step { steps } => (
                steps.iter().all(|step| is_positive(step.seconds) && is_rate(step.rate))
                    && steps.iter().any(|step| step.rate > 0.0),
                "give steps of more than 0 seconds with rates of 0 or more, one of them above 0",
            ),
            Pattern::Ramp { from, to, seconds } => (
                is_positive(*seconds) && is_rate(*from) && is_rate(*to) && from + to > 0.0,
                "give a ramp more than 0 seconds and rates of 0 or more, one of them above 0",
            ),
            Pattern::Diurnal { amplitude, period_seconds } => (
                (0.0..=1.0).contains(amplitude) && is_positive(*period_seconds),
                "give a diurnal load an amplitude of 0 to 1 and a period above 0 seconds",
            ),
            Pattern::Gamma { cv } => {
                ((CV_MIN..=CV_MAX).contains(cv), "give gamma gaps a cv of 0.01 to 100")
            }
            Pattern::Mmpp { states } => (
                states.iter().all(|s| s.mean_seconds >= STAY_MIN_S && is_positive(s.mean_seconds))
                    && states.iter().all(|state| is_rate(state.relative_rate))
                    && states.iter().any(|state| state.relative_rate > 0.0),
                "give MMPP states of 0.0001 mean-seconds or more with relative rates of 0 or more, one of them above 0",
            ),
        };
        if holds { Ok(()) } else { Err(ArrivalError::Shape { what }) }
    }
}

/// Seconds. Shorter stays are no bursts anybody could see, and to draw millions of them for one arrival takes a while.
const STAY_MIN_S: f64 = 1e-4;
/// Evener than that is constant; burstier than that is one burst a run.
const CV_MIN: f64 = 0.01;
const CV_MAX: f64 = 100.0;

fn is_positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

fn is_rate(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}
