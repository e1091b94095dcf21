//! A second run for a batch that is overdue, within a budget of device time (Dean & Barroso 2013).

use super::SloController;
use crate::batch::batch_size::{Decision, ReplicasView, Running};
use crate::batch::latency_profile::{Level, duration, nanos};
use crate::clock::Time;

/// Out for this many times its centre, a batch is overdue.
const OVERDUE: f64 = 1.3;

/// Share of the replicas' time, idle or not, that copies may take.
const BUDGET_SHARE: f64 = 0.02;
/// How much of it may be saved up, in copies of the size at hand.
const BUDGET_COPIES_MAX: f64 = 4.0;

/// Load above which every copy would cost someone else's place.
const LOAD_MAX: f64 = 0.85;

/// Device time that copies may still take, nanoseconds.
#[derive(Debug, Default)]
pub(super) struct HedgeBudget {
    saved: f64,
    earned_until: Time,
}

impl HedgeBudget {
    /// Pays for a copy that takes `service`, if the time since has earned it.
    fn spend(&mut self, now: Time, live: usize, service: f64) -> bool {
        let earned = BUDGET_SHARE * live as f64 * nanos(now.since(self.earned_until));
        self.earned_until = now;
        self.saved = (self.saved + earned).min(BUDGET_COPIES_MAX * service);
        let affordable = self.saved >= service;
        if affordable {
            self.saved -= service;
        }
        affordable
    }
}

impl SloController {
    /// A copy for the idle replica asked about, or when to look again. Nothing when there is no reason to.
    pub(super) fn decide_hedge(
        &mut self,
        now: Time,
        replicas: &ReplicasView<'_>,
    ) -> Option<Decision> {
        if !self.config.may_hedge || replicas.live() < 2 || self.profile.is_empty() {
            return None;
        }
        let best = self.best_rate(self.sustained()) * replicas.live() as f64;
        if self.slow.at(now) > LOAD_MAX * best {
            return None;
        }
        let scale = self.scales.of(replicas.asked());
        for running in replicas.running().filter(|running| !running.hedged) {
            let cost = running.cost as f64;
            let overdue = self.overdue_at(&running) <= now;
            let due_before = self.expected_end(&running);
            let ends = now.after(duration(scale * self.profile.quantile(cost, Level::P50)));
            let in_time = ends.after(self.config.allowance) < running.last_due;
            let late = running.first_due < due_before;
            if overdue
                && late
                && in_time
                && self.hedges.spend(now, replicas.live(), scale * self.profile.mean(cost))
            {
                return Some(Decision::Hedge { batch: running.batch, due_before });
            }
        }
        None
    }

    /// When the next batch in flight will be overdue.
    pub(super) fn next_overdue(&self, now: Time, replicas: &ReplicasView<'_>) -> Option<Time> {
        if !self.config.may_hedge || replicas.live() < 2 || self.profile.is_empty() {
            return None;
        }
        let open = replicas.running().filter(|running| !running.hedged);
        open.map(|running| self.overdue_at(&running)).filter(|&at| at > now).min()
    }

    /// When a batch that turned out overdue will be back: as others did that were.
    fn expected_end(&self, running: &Running) -> Time {
        let ratio = self.profile.residuals().median_beyond(OVERDUE);
        if ratio <= OVERDUE {
            return Time::NEVER;
        }
        let centre = self.scales.of(running.replica) * self.profile.centre(running.cost as f64);
        running.departed.after(duration(ratio * centre) + self.config.allowance)
    }

    /// Where batches are now and then much slower, the largest that a copy could still save, given the head's slack.
    pub(super) fn largest_hedged(&self, now: Time, slack: f64, live: usize) -> f64 {
        let residuals = self.profile.residuals();
        let median = residuals.ratio(Level::P50);
        let has_slow_mode = residuals.ratio(Level::P99) > OVERDUE * median;
        let best = self.best_rate(self.sustained()) * live as f64;
        if !self.config.may_hedge
            || live < 2
            || !has_slow_mode
            || self.slow.at(now) > LOAD_MAX * best
        {
            return f64::INFINITY;
        }
        self.profile.largest_within(slack / (OVERDUE + median)).floor()
    }

    fn overdue_at(&self, running: &Running) -> Time {
        let centre = self.scales.of(running.replica) * self.profile.centre(running.cost as f64);
        running.departed.after(duration(OVERDUE * centre))
    }
}
