//! The highest rate at which a server keeps a promise, as an interval. Pure: a policy over the runs made so far.
//!
//! [`next`] looks at the evidence and names the one rate to run now, or says why there is nothing left to run. Rates
//! double until one misses and the promise is bracketed, then the bracket is halved. A rate is judged when one verdict
//! leads the other by two runs, a walk between two ends as in Wald's sequential test: a rate far from the edge costs
//! two runs, one at the edge as many as are allowed, and then the majority says. To have held, all its runs together
//! must keep the promise too. The two ends of the final bracket are run again, in turn and later than the first time,
//! and more evidence may turn a verdict: then the search goes on.
//!
//! Invariants: no rate gets more than its runs; what was seen is never thrown away. A rate that holds above one that
//! misses is no error but the machine's doing, and the interval spans both. A run that was the generator's own fault
//! says nothing about the server: it is repeated a few times, then its rate is a ceiling that the search stays below;
//! with no valid run at two rates the search ends.

pub mod command;
mod evidence;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

pub use self::evidence::{Miss, Observed, Promise, Trial, Vote};
use self::evidence::{RateEvidence, Verdict, pooled};

/// By so many runs a verdict must lead.
const LEAD: u32 = 2;
/// Odd, so that there is a majority. A rate that isn't clear by then lies on the edge.
const RUNS_PER_RATE_MAX: u32 = 7;
/// The ends of the interval are what is reported: each rests on so many.
const RUNS_PER_END: u32 = 4;
/// So many runs of one rate may be the generator's own fault: what disturbs a machine lasts for two or three in a row.
const INVALID_PER_RATE_MAX: u32 = 5;
/// Rates without one valid run among them after which the search gives up.
const UNFIT_CEILINGS: usize = 2;
const GROWTH: f64 = 2.0;
/// Three digits and a half of a rate are said; a finer width would compare rates that are written alike.
pub const WIDTH_MIN: f64 = 0.005;

/// Where to begin and when to stop.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests a second.
    pub start_rate: f64,
    pub rate_min: f64,
    pub rate_max: f64,
    /// Of the interval, relative to its lower end.
    pub width: f64,
    pub runs_max: usize,
    pub seconds_max: f64,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Run { rate: f64 },
    Done(Found),
}

/// Between `held` and `missed` lies the highest rate at which the promise holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// The highest that held below every one that missed.
    pub held: Option<f64>,
    /// The lowest that missed above every one that held.
    pub missed: Option<f64>,
    /// The lowest above every one that held that the generator can't offer: of what lies beyond it nothing is said of
    /// the server but what missed.
    pub generator_limit: Option<f64>,
    pub stopped: Stopped,
    pub evidence: Vec<RateEvidence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// As narrow as asked for.
    Narrow,
    /// A rate held above one that missed, and more runs didn't settle it.
    Contested,
    GeneratorIsTheLimit,
    /// The lowest rate allowed missed.
    NothingHeld,
    /// The highest rate allowed held.
    RateMaxHeld,
    RunsSpent,
    TimeSpent,
    Interrupted,
}

/// A policy over what was seen: the same evidence gives the same step.
pub fn next(bounds: &Bounds, trials: &[Trial]) -> Step {
    let evidence = pooled(trials);
    let edges = Edges::of(&evidence);
    let spent_s: f64 = trials.iter().map(|trial| trial.seconds).sum();
    let open = evidence.iter().find(|rate| rate.verdict == Verdict::Open);
    let step = if trials.len() >= bounds.runs_max {
        Err(Stopped::RunsSpent)
    } else if spent_s >= bounds.seconds_max {
        Err(Stopped::TimeSpent)
    } else if is_unfit(&evidence) {
        Err(Stopped::GeneratorIsTheLimit)
    } else if let Some(rate) = open.or_else(|| to_settle(&evidence, edges)) {
        Ok(rate.rate)
    } else {
        narrow(bounds, &evidence, edges)
    };
    match step {
        Ok(rate) => Step::Run { rate },
        Err(stopped) => Step::Done(edges.found(stopped, evidence)),
    }
}

/// What is known when there is no time for more.
pub fn interrupted(trials: &[Trial]) -> Found {
    let evidence = pooled(trials);
    Edges::of(&evidence).found(Stopped::Interrupted, evidence)
}

/// No run was valid, at this rate nor at a lower one: what disturbs the generator isn't the rate.
fn is_unfit(evidence: &[RateEvidence]) -> bool {
    let ceilings = evidence.iter().filter(|rate| rate.verdict == Verdict::Ceiling).count();
    ceilings >= UNFIT_CEILINGS && evidence.iter().all(|rate| rate.runs() == 0)
}

/// A rate that verdicts contradict each other about, while it may be run again.
fn to_settle(evidence: &[RateEvidence], edges: Edges) -> Option<&RateEvidence> {
    let contested = evidence.iter().filter(|rate| edges.contests(rate));
    contested.filter(|rate| rate.may_run(RUNS_PER_RATE_MAX)).min_by_key(|rate| rate.runs())
}

/// Uncontested, both gaps are the same one.
fn narrow(bounds: &Bounds, evidence: &[RateEvidence], edges: Edges) -> Result<f64, Stopped> {
    let lower = (edges.held, edges.lowest_stop());
    let upper = (edges.held_highest, edges.highest_stop());
    let is_wide = |low: f64, high: f64| high > low * (1.0 + bounds.width);
    match (lower, upper) {
        ((None, None), _) => Ok(bounds.start_rate),
        ((None, Some(stop)), _) if stop <= bounds.rate_min => Err(edges.nothing_held()),
        ((None, Some(stop)), _) => Ok(rounded(stop / GROWTH).max(bounds.rate_min)),
        (_, (Some(held), None)) if held >= bounds.rate_max => Err(Stopped::RateMaxHeld),
        (_, (Some(held), None)) => Ok(rounded(held * GROWTH).min(bounds.rate_max)),
        ((Some(low), Some(high)), _) | (_, (Some(low), Some(high))) if is_wide(low, high) => {
            Ok(rounded(middle(low, high)))
        }
        _ => confirm(evidence, edges),
    }
}

/// The end with fewer runs, until both have enough.
fn confirm(evidence: &[RateEvidence], edges: Edges) -> Result<f64, Stopped> {
    let ends = evidence.iter().filter(|rate| edges.is_end(rate));
    let thin = ends.filter(|rate| rate.may_run(RUNS_PER_END)).min_by_key(|rate| rate.runs());
    thin.map(|rate| rate.rate).ok_or(edges.narrowed())
}

/// Capacities are guessed by factors, so the middle is the geometric one.
fn middle(low: f64, high: f64) -> f64 {
    (low * high).sqrt()
}

/// To a thousandth or finer, so that rates can be read and typed again.
fn rounded(rate: f64) -> f64 {
    let steps_per_one = 10f64.powf(3.0 - rate.log10().floor());
    (rate * steps_per_one).round() / steps_per_one
}

/// Where the evidence leaves the edge.
#[derive(Clone, Copy)]
struct Edges {
    held: Option<f64>,
    missed: Option<f64>,
    ceiling: Option<f64>,
    held_highest: Option<f64>,
    missed_lowest: Option<f64>,
}

impl Edges {
    /// `evidence` is ascending in rates.
    fn of(evidence: &[RateEvidence]) -> Edges {
        let rates = |verdict| {
            let judged = evidence.iter().filter(move |rate| rate.verdict == verdict);
            judged.map(|rate| rate.rate)
        };
        let missed_lowest = rates(Verdict::Missed).next();
        let held_highest = rates(Verdict::Held).next_back();
        let is_above = |rate: &f64| held_highest.is_none_or(|held| *rate > held);
        Edges {
            held: rates(Verdict::Held)
                .rfind(|&rate| missed_lowest.is_none_or(|missed| rate < missed)),
            missed: rates(Verdict::Missed).find(is_above),
            ceiling: rates(Verdict::Ceiling).find(is_above),
            held_highest,
            missed_lowest,
        }
    }

    fn lowest_stop(&self) -> Option<f64> {
        lower(self.missed_lowest, self.ceiling)
    }

    fn highest_stop(&self) -> Option<f64> {
        lower(self.missed, self.ceiling)
    }

    fn is_contested(&self) -> bool {
        self.missed_lowest.zip(self.held_highest).is_some_and(|(missed, held)| missed < held)
    }

    fn contests(&self, rate: &RateEvidence) -> bool {
        let between = self.missed_lowest.zip(self.held_highest);
        between.is_some_and(|(missed, held)| (missed..=held).contains(&rate.rate))
    }

    fn is_end(&self, rate: &RateEvidence) -> bool {
        [self.held, self.missed].contains(&Some(rate.rate))
    }

    fn generator_stops(&self) -> bool {
        self.ceiling.is_some() && self.highest_stop() == self.ceiling
    }

    fn nothing_held(&self) -> Stopped {
        if self.generator_stops() { Stopped::GeneratorIsTheLimit } else { Stopped::NothingHeld }
    }

    fn narrowed(&self) -> Stopped {
        match (self.is_contested(), self.generator_stops()) {
            (true, _) => Stopped::Contested,
            (false, true) => Stopped::GeneratorIsTheLimit,
            (false, false) => Stopped::Narrow,
        }
    }

    fn found(self, stopped: Stopped, evidence: Vec<RateEvidence>) -> Found {
        let Edges { held, missed, ceiling: generator_limit, .. } = self;
        Found { held, missed, generator_limit, stopped, evidence }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stopped::Narrow => "as narrow as asked for",
            Stopped::Contested => "a rate held above one that missed, so the interval spans both",
            Stopped::GeneratorIsTheLimit => "the load generator is the limit, not the server",
            Stopped::NothingHeld => "the lowest rate allowed missed",
            Stopped::RateMaxHeld => "the highest rate allowed held",
            Stopped::RunsSpent => "the runs allowed are spent",
            Stopped::Interrupted => "interrupted",
            Stopped::TimeSpent => "the time allowed is spent",
        })
    }
}

fn lower(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
