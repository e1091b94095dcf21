//! Whether a run may be believed: the load generator's judgement of itself. Pure.
//!
//! What the server fails to answer is the server's result. What was asked too late, or read too late, is the load
//! generator's fault, and no figure of such a run should be used.

use std::time::Duration;

use serde::Serialize;

use crate::measured::Measured;
use crate::report::count;

/// Below this nobody's objective is.
const LAG_MIN: Duration = Duration::from_micros(100);
/// Of the objective: a lag that changes no conclusion.
const LAG_SHARE: f64 = 0.02;
/// Requests that may be missing from the schedule.
const SHORTFALL_MAX: f64 = 0.01;
/// Above this share of waits for a connection, the limit of connections shapes the result.
const HELD_BACK_SHARE: f64 = 0.01;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub valid: bool,
    /// Why it is not valid.
    pub reasons: Vec<String>,
    /// What to know before using the figures.
    pub remarks: Vec<String>,
}

/// What a judge needs to know of the plan.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub open_loop: bool,
    pub slo: Option<Duration>,
    pub connections_max: usize,
}

impl Terms {
    /// The p99 of the lag above which a run is invalid.
    pub fn lag_max(&self) -> Duration {
        self.slo.map_or(LAG_MIN, |slo| slo.mul_f64(LAG_SHARE).max(LAG_MIN))
    }
}

pub fn judge(measured: &Measured, terms: Terms) -> Verdict {
    let mut verdict = Verdict { valid: true, ..Verdict::default() };
    if measured.answered == 0 {
        verdict.remarks.push("not one right answer came".to_owned());
    }
    if measured.stopped {
        verdict
            .remarks
            .push("stopped before its time; the figures are of what was measured".to_owned());
    }
    if measured.opened > measured.sent / 2 {
        verdict.remarks.push(format!(
            "{} connections for {} requests: the server does not keep them open, and opening them is part of the latency",
            count(measured.opened as f64),
            count(measured.sent as f64)
        ));
    }
    if terms.open_loop {
        judge_schedule(measured, terms, &mut verdict);
    }
    verdict.valid = verdict.reasons.is_empty();
    verdict
}

/// A closed loop has no schedule to miss.
fn judge_schedule(measured: &Measured, terms: Terms, verdict: &mut Verdict) {
    let limit = terms.lag_max();
    let lags = [
        (
            &measured.send_lag,
            "requests were sent",
            "give the load generator a core of its own (--core)",
        ),
        (
            &measured.read_lag,
            "answers lay unread",
            "ask for a lower rate, or answers that are cheaper to check",
        ),
    ];
    for (lag, what, mend) in lags {
        // Of few samples the largest is the p99.
        let p99 = lag.percentile_ns(0.99, 1).map(Duration::from_nanos);
        if let Some(p99) = p99.filter(|&p99| p99 > limit) {
            let told = format!("{what} {p99:.0?} late at p99, allowed are {limit:.0?}; {mend}");
            verdict.reasons.push(told);
        }
    }
    let failures = measured.failures;
    let missing = measured.due.saturating_sub(measured.sent).saturating_sub(failures.held);
    let share = missing as f64 / measured.due.max(1) as f64;
    if share > SHORTFALL_MAX {
        let (percent, due) = (share * 100.0, count(measured.due as f64));
        verdict.reasons.push(format!("{percent:.1} % of {due} scheduled requests were not sent"));
    }
    let waited = measured.blocked.summary().samples + failures.held;
    let share = waited as f64 / measured.due.max(1) as f64;
    if share > HELD_BACK_SHARE {
        let (percent, most) = (share * 100.0, terms.connections_max);
        verdict.remarks.push(format!(
            "{percent:.1} % of the requests waited for one of {most} connections; their wait is in the latency"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Latencies;

    const OPEN: Terms = Terms { open_loop: true, slo: None, connections_max: 64 };

    fn spans(us: u64, count: u64) -> Latencies {
        let mut spans = Latencies::default();
        (0..count).for_each(|_| spans.record(us * 1_000));
        spans
    }

    fn punctual() -> Measured {
        Measured {
            due: 1_000,
            sent: 1_000,
            answered: 1_000,
            send_lag: spans(10, 1_000),
            ..Measured::default()
        }
    }

    #[test]
    fn a_punctual_run_is_valid_and_needs_no_remark() {
        assert_eq!(judge(&punctual(), OPEN), Verdict { valid: true, ..Verdict::default() });
    }

    #[test]
    fn lag_is_measured_against_the_objective() {
        let late = Measured { send_lag: spans(300, 1_000), ..punctual() };
        assert!(!judge(&late, OPEN).valid);
        let loose = Terms { slo: Some(Duration::from_millis(20)), ..OPEN };
        assert!(judge(&late, loose).valid, "2 % of 20 ms are 400 µs");
        let tight = Terms { slo: Some(Duration::from_millis(1)), ..OPEN };
        assert!(!judge(&late, tight).valid);
        assert!(judge(&late, Terms { open_loop: false, ..OPEN }).valid, "no schedule, no lag");
    }

    #[test]
    fn one_late_request_in_a_hundred_is_allowed_and_two_are_not() {
        let mut lag = spans(10, 990);
        lag.add(&spans(5_000, 10));
        assert!(judge(&Measured { send_lag: lag.clone(), ..punctual() }, OPEN).valid);
        lag.add(&spans(5_000, 10));
        assert!(!judge(&Measured { send_lag: lag, ..punctual() }, OPEN).valid);
    }

    #[test]
    fn answers_read_late_are_the_generators_fault_too() {
        let verdict = judge(&Measured { read_lag: spans(900, 1_000), ..punctual() }, OPEN);
        assert!(!verdict.valid && verdict.reasons[0].contains("unread"), "{verdict:?}");
    }

    #[test]
    fn a_shortfall_is_ours_unless_connections_were_what_lacked() {
        let short = Measured { sent: 980, ..punctual() };
        assert!(!judge(&short, OPEN).valid);
        assert!(judge(&Measured { sent: 991, ..punctual() }, OPEN).valid);
        let mut held = short;
        held.failures.held = 20;
        let verdict = judge(&held, OPEN);
        assert!(verdict.valid && verdict.remarks[0].contains("64 connections"), "{verdict:?}");
    }

    #[test]
    fn what_the_server_fails_to_answer_is_its_own_result() {
        let mut failing = punctual();
        (failing.answered, failing.failures.closed) = (0, 1_000);
        let verdict = judge(&failing, OPEN);
        assert!(verdict.valid && !verdict.remarks.is_empty(), "{verdict:?}");
    }
}
