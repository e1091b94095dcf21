//! What runs say about rates: each a vote, and the votes of a rate together its verdict.

use std::fmt;

use serde::Serialize;

use super::{INVALID_PER_RATE_MAX, LEAD, RUNS_PER_RATE_MAX};

/// What a server is to keep at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Promise {
    pub slo_ns: u64,
    /// The share of all due requests to be answered right within the SLO, counted from when they were due. Failures
    /// are late ones, or a server that refuses whom it would serve late would pass.
    pub percentile: f64,
    pub failures_share_max: f64,
    /// Answers a second over requests due a second: below, the queue grows.
    pub achieved_share_min: f64,
}

/// What one run saw.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Observed {
    pub due: u64,
    /// Right answers inside the window, whenever they were due.
    pub answered: u64,
    /// Right answers, within the SLO of when they were due.
    pub on_time: u64,
    pub failures: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Miss {
    TooLate,
    TooManyFailures,
    TooSlow,
    NothingDue,
}

/// What one run says about its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    Held,
    Missed(Miss),
    /// The generator's own fault.
    Invalid,
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trial {
    pub rate: f64,
    pub vote: Vote,
    /// Requests in time beyond those that the promise wants.
    pub surplus: f64,
    /// What the run took of the search's time.
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// More runs are needed.
    Open,
    Held,
    Missed,
    /// The generator can't offer this rate.
    Ceiling,
}

/// All runs at one rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RateEvidence {
    pub rate: f64,
    pub held: u32,
    pub missed: u32,
    pub invalid: u32,
    /// Of all valid runs together.
    pub surplus: f64,
    pub verdict: Verdict,
}

impl Promise {
    pub fn surplus(&self, observed: &Observed) -> f64 {
        observed.on_time as f64 - self.percentile * observed.due as f64
    }

    /// The most telling reason where there are several.
    pub fn vote(&self, observed: &Observed) -> Vote {
        let due = observed.due as f64;
        let share = |count: u64| count as f64 / due;
        if observed.due == 0 {
            Vote::Missed(Miss::NothingDue)
        } else if share(observed.failures) > self.failures_share_max {
            Vote::Missed(Miss::TooManyFailures)
        } else if share(observed.answered) < self.achieved_share_min {
            Vote::Missed(Miss::TooSlow)
        } else if share(observed.on_time) < self.percentile {
            Vote::Missed(Miss::TooLate)
        } else {
            Vote::Held
        }
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Miss::TooLate => "too many were late",
            Miss::TooManyFailures => "too many failed",
            Miss::TooSlow => "the answers did not keep up",
            Miss::NothingDue => "nothing was due",
        })
    }
}

impl RateEvidence {
    fn new(rate: f64) -> RateEvidence {
        RateEvidence { rate, held: 0, missed: 0, invalid: 0, surplus: 0.0, verdict: Verdict::Open }
    }

    pub(super) fn runs(&self) -> u32 {
        self.held + self.missed
    }

    pub(super) fn may_run(&self, runs_max: u32) -> bool {
        self.runs() < runs_max && self.invalid < INVALID_PER_RATE_MAX
    }

    fn count(&mut self, trial: &Trial) {
        match trial.vote {
            Vote::Held => self.held += 1,
            Vote::Missed(_) => self.missed += 1,
            Vote::Invalid => self.invalid += 1,
        }
        if trial.vote != Vote::Invalid {
            self.surplus += trial.surplus;
        }
        self.verdict = self.judged();
    }

    /// A queue's bad moments are rare and long: most short runs look better than all of them together, so those must
    /// hold too.
    fn judged(&self) -> Verdict {
        let all = self.runs() >= RUNS_PER_RATE_MAX;
        let leads = self.held >= self.missed + LEAD || (all && self.held > self.missed);
        if leads && self.surplus >= 0.0 {
            Verdict::Held
        } else if self.missed >= self.held + LEAD || all {
            Verdict::Missed
        } else if self.invalid >= INVALID_PER_RATE_MAX {
            Verdict::Ceiling
        } else {
            Verdict::Open
        }
    }
}

/// Ascending in rates.
pub(super) fn pooled(trials: &[Trial]) -> Vec<RateEvidence> {
    let mut evidence: Vec<RateEvidence> = Vec::new();
    for trial in trials {
        let at = evidence.binary_search_by(|known| known.rate.total_cmp(&trial.rate));
        let at = at.unwrap_or_else(|at| {
            evidence.insert(at, RateEvidence::new(trial.rate));
            at
        });
        evidence[at].count(trial);
    }
    evidence
}
