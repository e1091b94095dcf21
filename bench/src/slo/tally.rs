//! What became of the requests of one run, counted over the times that nothing disturbed. Pure.

use crate::trace::{Ended, Record};

/// The promise of every model here.
pub(super) const SLO_NS: u64 = 20_000_000;
pub(super) const SLO_MS: f64 = 20.0;
/// Load before anything is counted: queues fill and the curve is learned again.
pub(super) const LEAD_NS: u64 = 500_000_000;
pub(super) const SECOND_NS: u64 = 1_000_000_000;
/// A request sent so long after it was due waited for the client.
const LATE_SEND_NS: u64 = 1_000_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Played {
    /// Every request that was planned.
    pub(super) due_ns: Vec<u64>,
    /// Those that were sent.
    pub(super) records: Vec<Record>,
    /// For each second after the lead, whether others had too much of it.
    pub(super) excluded: Vec<bool>,
}

/// How one request ended, from its due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    OnTime,
    Late,
    /// 503: turned away so that it can try elsewhere.
    Refused,
    /// 504: its time was up.
    Expired,
    /// Any other status, or a connection closed under it.
    Failed,
}

pub(super) fn outcome(record: &Record) -> Outcome {
    match record.ended {
        Ended::Answered { status: 200, .. } if record.ended_ns - record.due_ns <= SLO_NS => {
            Outcome::OnTime
        }
        Ended::Answered { status: 200, .. } => Outcome::Late,
        Ended::Answered { status: 503, .. } => Outcome::Refused,
        Ended::Answered { status: 504, .. } => Outcome::Expired,
        Ended::Answered { .. } | Ended::Closed => Outcome::Failed,
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) due: u64,
    pub(super) on_time: u64,
    pub(super) late: u64,
    pub(super) refused: u64,
    pub(super) expired: u64,
    /// Failed, or never answered.
    pub(super) failed: u64,
}

/// A second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub(super) due: f64,
    pub(super) on_time: f64,
}

impl Tally {
    pub(super) fn on_time_share(&self) -> f64 {
        share(self.on_time, self.due)
    }

    /// Of all that were due.
    pub(super) fn late_share(&self) -> f64 {
        share(self.late, self.due)
    }

    /// Whether the 99th percentile of the answers kept the promise.
    pub(super) fn p99_is_kept(&self) -> bool {
        share(self.late, self.late + self.on_time) <= 0.01
    }

    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::OnTime => self.on_time += 1,
            Outcome::Late => self.late += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Expired => self.expired += 1,
            Outcome::Failed => self.failed += 1,
        }
    }
}

/// Not a number of none.
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

impl Played {
    /// Requests due in calm seconds after the lead, at moments that `counts` accepts: nanoseconds after the lead.
    pub(super) fn tally(&self, counts: impl Fn(u64) -> bool) -> Tally {
        let counted = |due_ns: u64| {
            let after_ns = due_ns.checked_sub(LEAD_NS);
            after_ns.is_some_and(|after_ns| self.is_calm(after_ns) && counts(after_ns))
        };
        self.tally_of(counted)
    }

    /// All of them, the lead included.
    pub(super) fn whole(&self) -> Tally {
        self.tally_of(|_| true)
    }

    fn tally_of(&self, counted: impl Fn(u64) -> bool) -> Tally {
        let due = self.due_ns.iter().filter(|&&due_ns| counted(due_ns)).count() as u64;
        let mut tally = Tally { due, ..Tally::default() };
        let mut sent = 0;
        for record in self.records.iter().filter(|record| counted(record.due_ns)) {
            tally.count(outcome(record));
            sent += 1;
        }
        tally.failed += due.saturating_sub(sent);
        tally
    }

    /// Whether a moment after the lead lies in a second that counts.
    pub(super) fn is_calm(&self, after_ns: u64) -> bool {
        let second = usize::try_from(after_ns / SECOND_NS).unwrap_or(usize::MAX);
        self.excluded.get(second) == Some(&false)
    }

    pub(super) fn calm_seconds(&self) -> u64 {
        self.excluded.iter().filter(|excluded| !**excluded).count() as u64
    }

    /// Requests due and on-time answers a second, over the calm ones; not a number without any.
    pub(super) fn rates(&self) -> Rates {
        let (tally, seconds) = (self.tally(|_| true), self.calm_seconds() as f64);
        Rates { due: tally.due as f64 / seconds, on_time: tally.on_time as f64 / seconds }
    }

    /// By how much the late answers of calm seconds missed the promise, at the median: little means that the engine
    /// aimed too close to it, much that something was in the way.
    pub(super) fn late_by_ms(&self) -> Option<f64> {
        let calm = |record: &&Record| {
            record.due_ns.checked_sub(LEAD_NS).is_some_and(|after_ns| self.is_calm(after_ns))
        };
        let late = self.records.iter().filter(calm).filter(|it| outcome(it) == Outcome::Late);
        let mut by_ns: Vec<u64> = late.map(|it| it.ended_ns - it.due_ns - SLO_NS).collect();
        by_ns.sort_unstable();
        by_ns.get(by_ns.len() / 2).map(|&ns| ns as f64 / 1e6)
    }

    pub(super) fn late_sends(&self) -> u64 {
        let late = |record: &&Record| record.sent_ns - record.due_ns > LATE_SEND_NS;
        self.records.iter().filter(late).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn record(due_ms: u64, took_ms: u64, status: u16) -> Record {
        let (due_ns, ended_ns) = (due_ms * MS, (due_ms + took_ms) * MS);
        let ended = Ended::Answered { status, timing: None };
        Record { due_ns, sent_ns: due_ns, ended_ns, ended }
    }

    fn played() -> Played {
        let records = vec![
            record(100, 5, 200),
            record(600, 20, 200),
            record(700, 21, 200),
            record(800, 1, 503),
            record(900, 20, 504),
            record(1_000, 1, 500),
            record(1_600, 90, 200),
            record(2_600, 1, 200),
        ];
        let mut due_ns: Vec<u64> = records.iter().map(|record| record.due_ns).collect();
        due_ns.push(1_100 * MS);
        Played { due_ns, records, excluded: vec![false, true, false] }
    }

    #[test]
    fn outcomes_are_counted_from_the_due_time_in_calm_seconds_after_the_lead() {
        let tally = played().tally(|_| true);
        let counted = Tally { due: 7, on_time: 2, late: 1, refused: 1, expired: 1, failed: 2 };
        assert_eq!(tally, counted);
        assert_eq!(played().calm_seconds(), 2);
        assert_eq!(played().late_by_ms(), Some(1.0));
        assert_eq!(played().rates(), Rates { due: 3.5, on_time: 1.0 });
    }

    #[test]
    fn the_whole_run_counts_excluded_seconds_and_the_lead_too() {
        let tally = played().whole();
        assert_eq!((tally.due, tally.on_time, tally.late), (9, 3, 2));
    }

    #[test]
    fn a_window_narrows_what_counts() {
        let tally = played().tally(|after_ns| after_ns < 250 * MS);
        assert_eq!((tally.due, tally.on_time, tally.late), (2, 1, 1));
        assert_eq!(tally.on_time_share(), 0.5);
        assert!(!tally.p99_is_kept());
    }

    #[test]
    fn what_lies_past_the_last_second_does_not_count() {
        assert!(!played().is_calm(3 * SECOND_NS));
        assert!(Tally::default().on_time_share().is_nan());
        assert!(!Tally::default().p99_is_kept());
    }
}
