//! What a change may cost: limits on the ratios of two servers, read from a file and held against intervals. Pure.
//!
//! A limit is broken when even the interval's favourable end is past it: for a latency the low end, for a rate the
//! high one. Judged by the median, a limit of 5 % fails every second run of a change that costs exactly 5 %, and noise
//! fails it for changes that cost less; judged this way noise fails it once in forty. The price is that a breach must be
//! larger than the noise to be seen, so a limit inside the interval is said to be undecided: more pairs would tell.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::interval::Interval;

/// What can be limited; a ratio is B's figure over A's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    P50,
    P99,
    P999,
    /// Right answers a second. Its limit is the least.
    RpsMin,
}

/// `[ratios]` with a limit for each figure that matters.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    ratios: BTreeMap<Figure, f64>,
}

#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    #[error("the budget can't be read: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("the budget limits nothing; give [ratios] p50, p99, p999 or rps_min")]
    Empty,
    #[error("the limit of {figure} is {limit}; a ratio is a number above zero")]
    Limit { figure: Figure, limit: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The whole interval is within the limit.
    Kept,
    /// The limit lies inside the interval.
    Undecided,
    /// The whole interval is past the limit.
    Broken,
    /// A limited figure that too few samples or pairs could give.
    Unmeasured,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Judged {
    pub figure: Figure,
    pub limit: f64,
    pub ratio: Option<Interval>,
    pub standing: Standing,
}

impl Budget {
    pub fn parse(text: &str) -> Result<Budget, BudgetError> {
        let budget: Budget = toml::from_str(text)?;
        if budget.ratios.is_empty() {
            return Err(BudgetError::Empty);
        }
        let sane = |limit: f64| limit.is_finite() && limit > 0.0;
        match budget.ratios.iter().find(|(_, limit)| !sane(**limit)) {
            Some((&figure, &limit)) => Err(BudgetError::Limit { figure, limit }),
            None => Ok(budget),
        }
    }

    /// One line for each limit.
    pub fn judge(&self, ratio: impl Fn(Figure) -> Option<Interval>) -> Vec<Judged> {
        let judged = |(&figure, &limit): (&Figure, &f64)| {
            let ratio = ratio(figure);
            let standing =
                ratio.map_or(Standing::Unmeasured, |ratio| figure.standing(ratio, limit));
            Judged { figure, limit, ratio, standing }
        };
        self.ratios.iter().map(judged).collect()
    }
}

impl Figure {
    fn standing(self, ratio: Interval, limit: f64) -> Standing {
        let (favourable, unfavourable, limit) = match self {
            Figure::P50 | Figure::P99 | Figure::P999 => (ratio.low, ratio.high, limit),
            Figure::RpsMin => (-ratio.high, -ratio.low, -limit),
        };
        if favourable > limit {
            Standing::Broken
        } else if unfavourable > limit {
            Standing::Undecided
        } else {
            Standing::Kept
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Figure::P50 => "p50",
            Figure::P99 => "p99",
            Figure::P999 => "p999",
            Figure::RpsMin => "rps_min",
        })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Standing::Kept => "kept",
            Standing::Undecided => "undecided: more pairs would tell",
            Standing::Broken => "broken",
            Standing::Unmeasured => "unmeasured",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(text: &str, low: f64, high: f64) -> Standing {
        let budget = Budget::parse(text).expect("a budget");
        let median = f64::midpoint(low, high);
        budget.judge(|_| Some(Interval { median, low, high }))[0].standing
    }

    #[test]
    fn a_latency_breaks_its_limit_only_when_the_low_end_is_past_it() {
        let limit = "[ratios]\np99 = 1.10";
        assert_eq!(standing(limit, 0.9, 1.10), Standing::Kept);
        assert_eq!(standing(limit, 1.05, 1.30), Standing::Undecided);
        assert_eq!(standing(limit, 1.11, 1.30), Standing::Broken);
    }

    #[test]
    fn a_rate_breaks_its_limit_only_when_the_high_end_is_below_it() {
        let limit = "[ratios]\nrps_min = 0.95";
        assert_eq!(standing(limit, 0.95, 1.2), Standing::Kept);
        assert_eq!(standing(limit, 0.90, 0.96), Standing::Undecided);
        assert_eq!(standing(limit, 0.80, 0.94), Standing::Broken);
    }

    #[test]
    fn a_limited_figure_that_was_not_measured_does_not_pass() {
        let budget = Budget::parse("[ratios]\np50 = 1.05\np999 = 1.5").expect("a budget");
        let one = Interval { median: 1.0, low: 1.0, high: 1.0 };
        let judged = budget.judge(|figure| (figure == Figure::P50).then_some(one));
        let standings: Vec<_> = judged.iter().map(|judged| judged.standing).collect();
        assert_eq!(standings, [Standing::Kept, Standing::Unmeasured]);
    }

    #[test]
    fn a_budget_that_limits_nothing_or_something_unknown_is_refused() {
        assert!(matches!(Budget::parse("[ratios]"), Err(BudgetError::Empty)));
        assert!(matches!(Budget::parse("[ratios]\np77 = 1.0"), Err(BudgetError::Toml(_))));
        assert!(matches!(Budget::parse("[absolute]\np50 = 1.0"), Err(BudgetError::Toml(_))));
        let limit = Budget::parse("[ratios]\np50 = -1.0").map_err(|error| error.to_string());
        assert_eq!(limit, Err("the limit of p50 is -1; a ratio is a number above zero".to_owned()));
    }
}
