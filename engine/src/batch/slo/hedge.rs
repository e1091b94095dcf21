//! A second run for a batch that is overdue, within a budget of device time (Dean & Barroso 2013).

use super::SloController;
use crate::batch::batch_size::{Decision, ReplicasView, Running};
use crate::batch::latency_profile::{Level, duration, nanos};
use crate::clock::Time;

/// How far beyond the 90th percentile a batch is overdue: past the 98th where the noise is normal. Later than needed, a
/// copy comes too late: at a fixed 1.3 the late share with 3 % of four times slower batches was twice as high.
const OVERDUE_GUARD: f64 = 1.05;
const OVERDUE_MIN: f64 = 1.06;
/// Also what makes a slow mode: batches further from the centre than any noise.
const OVERDUE_MAX: f64 = 1.3;

/// Share of a batch's time until some replica is free for a copy.
const FREE_AFTER: f64 = 0.33;
/// More waits than this many batches that a copy could save: the queue comes first.
const RESCUABLE_ROUNDS: f64 = 2.0;

/// Share of the replicas' time, idle or not, that copies may take.
const BUDGET_SHARE: f64 = 0.019;
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
        if self.profile().is_empty() || !self.has_room_for_copies(now) {
            return None;
        }
        let scale = self.scales.of(replicas.asked());
        for running in replicas.nearly_back(now).filter(|running| !running.hedged) {
            if self.overdue_at(&running) > now {
                continue;
            }
            let cost = running.cost as f64;
            let due_before = self.expected_end(&running);
            let ends = now.after(duration(scale * self.profile().quantile(cost, Level::P50)));
            let in_time = ends.after(self.config.allowance) < running.last_due;
            let late = running.first_due < due_before;
            let service = scale * self.profile().mean(cost);
            if late && in_time && self.hedges.spend(now, replicas.live(), service) {
                return Some(Decision::Hedge { batch: running.batch, due_before });
            }
        }
        None
    }

    /// When the next batch in flight will be overdue.
    pub(super) fn next_overdue(&self, now: Time, replicas: &ReplicasView<'_>) -> Option<Time> {
        if !self.config.may_hedge || replicas.live() < 2 || self.profile().is_empty() {
            return None;
        }
        let mut next = Time::NEVER;
        for running in replicas.running() {
            if running.nearly_back >= next {
                break; // No batch is overdue before it is nearly back.
            }
            if running.hedged {
                continue;
            }
            let at = self.overdue_at(&running);
            if at > now {
                next = next.min(at);
            }
        }
        (next < Time::NEVER).then_some(next)
    }

    /// When a batch that turned out overdue will be back: as others did that were.
    fn expected_end(&self, running: &Running) -> Time {
        let ratio = self.profile().residuals().median_beyond(self.overdue());
        if ratio <= self.overdue() {
            return Time::NEVER;
        }
        let centre = self.centre_of(running);
        running.departed.after(duration(ratio * centre) + self.config.allowance)
    }

    /// `cost`, or less where batches are now and then much slower and a smaller one could still be saved by a copy.
    /// Not while more waits than that: a queue that grows loses more than a slow batch does.
    pub(super) fn kept_rescuable(&self, now: Time, cost: f64, waiting: f64, slack: f64) -> f64 {
        if !self.hedges_slow_mode(now) {
            return cost;
        }
        let rounds = self.overdue() + FREE_AFTER + self.profile().residuals().ratio(Level::P50);
        let largest = self.profile().largest_within(slack / rounds).floor();
        let keeps_up = largest >= self.target.need && waiting <= RESCUABLE_ROUNDS * largest;
        if keeps_up { cost.min(largest) } else { cost }
    }

    /// Batches are now and then much slower than usual, and there is room for copies. Waiting for company costs more
    /// then than it gains: a smaller batch may be in time even when it is slow.
    pub(super) fn hedges_slow_mode(&self, now: Time) -> bool {
        let residuals = self.profile().residuals();
        let has_slow_mode = residuals.ratio(Level::P99) > OVERDUE_MAX * residuals.ratio(Level::P50);
        has_slow_mode && self.has_room_for_copies(now)
    }

    fn has_room_for_copies(&self, now: Time) -> bool {
        let several = self.fleet.live_in_all() >= 2;
        self.config.may_hedge && several && self.slow.at(now) <= LOAD_MAX * self.capacity()
    }

    /// Out for this many times its centre, a batch is overdue: beyond nearly all of those that are not slow.
    pub(super) fn overdue(&self) -> f64 {
        let usual = self.profile().residuals().ratio(Level::P90);
        (OVERDUE_GUARD * usual).clamp(OVERDUE_MIN, OVERDUE_MAX)
    }

    fn overdue_at(&self, running: &Running) -> Time {
        let centre = self.centre_of(running);
        running.departed.after(duration(self.overdue() * centre))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is asked for and when: since the start copies never take more than their share, and in no stretch
        /// of time more than that and what may be saved up.
        #[test]
        fn copies_keep_to_their_share_of_the_replicas_time(
            live in 2usize..100,
            asked in prop::collection::vec((0u64..200_000_000, 1e3f64..1e9), 1..200)
        ) {
            let (mut budget, mut now) = (HedgeBudget::default(), Time::ZERO);
            let dearest = asked.iter().map(|&(_, service)| service).fold(0.0, f64::max);
            let mut spent = vec![(now, 0.0)];
            for (gap, service) in asked {
                now = now.after(Duration::from_nanos(gap));
                if budget.spend(now, live, service) {
                    let before = spent[spent.len() - 1].1;
                    spent.push((now, before + service));
                }
            }
            let share = |from: Time, to: Time| BUDGET_SHARE * live as f64 * nanos(to.since(from));
            for (at, &(to, by_then)) in spent.iter().enumerate() {
                prop_assert!(by_then <= share(Time::ZERO, to) * 1.000_001, "{by_then} by {to:?}");
                for &(from, before) in &spent[..at] {
                    let most = share(from, to) + BUDGET_COPIES_MAX * dearest;
                    prop_assert!(by_then - before <= most * 1.000_001, "{from:?} to {to:?}");
                }
            }
        }
    }
}
