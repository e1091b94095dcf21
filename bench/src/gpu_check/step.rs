//! What a step is, what may become of it, and what is due. Pure.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::site::{Left, Site};

/// One thing to find out.
pub(super) struct Step {
    pub(super) name: &'static str,
    /// It is begun only while at least as much is left, and stops what it waits for when it is over.
    pub(super) budget: Duration,
    pub(super) run: fn(&Site, Left) -> Result<Findings, Stop>,
}

/// Why a step found out nothing. The sentence goes into the report as it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// What it needs is not here.
    Skip(String),
    /// What should hold does not, or could not be looked at though everything is here.
    Fail(String),
}

pub(super) fn skip(why: impl Into<String>) -> Stop {
    Stop::Skip(why.into())
}

pub(super) fn fail(why: impl ToString) -> Stop {
    Stop::Fail(why.to_string())
}

/// What a step found out: figures, and whatever else is worth keeping.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// In a few words, where figures don't say it.
    pub(super) note: String,
    pub(super) figures: Vec<Figure>,
    pub(super) detail: Value,
}

impl Findings {
    pub(super) fn of(detail: Value) -> Findings {
        Findings { detail, ..Findings::default() }
    }

    pub(super) fn noted(self, note: impl Into<String>) -> Findings {
        Findings { note: note.into(), ..self }
    }

    pub(super) fn figure(
        mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        due: Option<Due>,
    ) -> Findings {
        let verdict = verdict(value, due);
        self.figures.push(Figure { name: name.into(), value, unit, due, verdict });
        self
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) due: Option<Due>,
    pub(super) verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Due {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Pass,
    Miss,
    /// Nothing is due.
    Noted,
}

/// What is not a number keeps no promise.
pub(super) fn verdict(value: f64, due: Option<Due>) -> Verdict {
    let kept = match due {
        None => return Verdict::Noted,
        Some(Due::AtLeast(least)) => value >= least,
        Some(Due::AtMost(most)) => value <= most,
    };
    if kept { Verdict::Pass } else { Verdict::Miss }
}

/// Whether a step may begin with so much of the whole left; if not, why.
pub(super) fn begins(budget: Duration, left: Duration) -> Result<(), Stop> {
    if budget <= left {
        return Ok(());
    }
    let (needs, left) = (budget.as_secs(), left.as_secs());
    Err(skip(format!("no time: it may take {needs} s and {left} s are left")))
}

/// By how many percent `served` falls short of `bare`.
pub(super) fn short_of_percent(served: f64, bare: f64) -> f64 {
    (1.0 - served / bare) * 100.0
}

/// The largest distance of two answers, by the largest number in them; None where they have not the same length.
pub(super) fn distance(found: &[f32], expected: &[f32]) -> Option<f64> {
    if found.len() != expected.len() || found.is_empty() {
        return None;
    }
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
    let apart = found.iter().zip(expected).map(|(one, other)| f64::from((one - other).abs()));
    // A comparison would pass over what is not a number.
    let most =
        apart.fold(0.0, |most: f64, it| if it.is_nan() { f64::INFINITY } else { most.max(it) });
    Some(most / f64::from(scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_due_figure_is_kept_up_to_its_bound() {
        assert_eq!(verdict(0.85, Some(Due::AtLeast(0.85))), Verdict::Pass);
        assert_eq!(verdict(0.84, Some(Due::AtLeast(0.85))), Verdict::Miss);
        assert_eq!(verdict(60.0, Some(Due::AtMost(60.0))), Verdict::Pass);
        assert_eq!(verdict(60.1, Some(Due::AtMost(60.0))), Verdict::Miss);
        assert_eq!(verdict(f64::NAN, Some(Due::AtMost(60.0))), Verdict::Miss);
        assert_eq!(verdict(1.0, None), Verdict::Noted);
    }

    #[test]
    fn a_step_that_may_not_end_in_time_is_not_begun() {
        let s = Duration::from_secs;
        assert_eq!(begins(s(60), s(60)), Ok(()));
        let why = "no time: it may take 60 s and 59 s are left".to_owned();
        assert_eq!(begins(s(60), s(59)), Err(Stop::Skip(why)));
    }

    #[test]
    fn overhead_is_what_is_missing_from_the_bare_rate() {
        assert!((short_of_percent(95.0, 100.0) - 5.0).abs() < 1e-9);
        assert!(short_of_percent(101.0, 100.0) < 0.0);
        assert!(short_of_percent(1.0, 0.0).is_infinite());
    }

    #[test]
    fn answers_are_apart_by_their_worst_number() {
        assert_eq!(distance(&[1.0, -2.0], &[1.0, -2.0]), Some(0.0));
        assert_eq!(distance(&[1.0, -2.0], &[1.5, -2.0]), Some(0.25));
        assert_eq!(distance(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(distance(&[], &[]), None);
        assert_eq!(distance(&[f32::NAN, 1.0], &[1.0, 1.0]), Some(f64::INFINITY));
        assert_eq!(distance(&[0.0], &[0.0]), Some(0.0));
    }
}
