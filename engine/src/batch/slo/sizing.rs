//! What a head's slack allows: the batch with the most work expected on time.

use super::SloController;
use crate::batch::batch_size::QueueView;
use crate::batch::latency_profile::{LEVELS, Level, duration};
use crate::clock::Time;

/// Quantiles whose sizes are compared, from the most careful one.
const CANDIDATES: [Level; 6] =
    [Level::P995, Level::P97, Level::P90, Level::P80, Level::P50, Level::P20];

/// How a batch may turn out: a quantile and the probability it stands for.
const OUTCOMES: [(Level, f64); 5] = [
    (Level::P20, 0.35),
    (Level::P50, 0.3),
    (Level::P80, 0.2),
    (Level::P95, 0.125),
    (Level::P99, 0.025),
];

impl SloController {
    /// The cost to send when the head must be answered within `slack` nanoseconds and `waiting` cost waits; ≥ 1.
    ///
    /// A batch that meets the slack with probability `u` brings `u` of its work on time and `1 - u` late, and late
    /// work counts against it by κ.
    pub(super) fn size(&self, slack: f64, waiting: f64) -> f64 {
        let residuals = self.profile().residuals();
        let most = (self.config.cost_max as f64).min(waiting).min(self.largest_without_slo());
        let fits = |level: Level| {
            self.profile().largest_within(slack / residuals.ratio(level)).floor().min(most)
        };
        let (mut best, mut best_value) = (1.0, f64::NEG_INFINITY);
        for (level, u) in LEVELS.into_iter().rev() {
            let cost = fits(level);
            let value = cost * (u - self.config.kappa * (1.0 - u));
            if value > best_value {
                (best, best_value) = (cost, value);
            }
            if cost >= most {
                break;
            }
        }
        best.max(1.0)
    }

    /// As [`Self::size`] for the tasks from `rank` on, when their batch starts at `starts`; and what it is worth.
    ///
    /// Only those near the head are late when a batch takes a little longer than expected, not all of it: each task
    /// counts by its own deadline.
    pub(super) fn size_queued(
        &self,
        starts: Time,
        queue: &QueueView<'_>,
        rank: usize,
        scale: f64,
    ) -> (f64, f64) {
        let passed = queue.cost_of_first(rank);
        let waiting = (queue.on_time_cost() - passed) as f64;
        let Some(due) = queue.due(rank) else { return (1.0, 0.0) };
        let slack = self.slack(starts, due) / scale;
        let most = (self.config.cost_max as f64).min(waiting).min(self.largest_without_slo());
        let residuals = self.profile().residuals();
        let (mut best, mut best_value, mut tried) = (1.0, f64::NEG_INFINITY, 0.0);
        for level in CANDIDATES {
            let cost =
                self.profile().largest_within(slack / residuals.ratio(level)).floor().min(most);
            if cost < 1.0 || cost == tried {
                continue;
            }
            tried = cost;
            let value = self.worth(starts, queue, rank, passed + cost as u64, scale);
            if value > best_value {
                (best, best_value) = (cost, value);
            }
            if cost >= most {
                break;
            }
        }
        (best.max(1.0), best_value.max(0.0))
    }

    /// Weight expected on time, less κ times that expected late, of a batch from `rank` on up to the cost `through`.
    fn worth(
        &self,
        starts: Time,
        queue: &QueueView<'_>,
        rank: usize,
        through: u64,
        scale: f64,
    ) -> f64 {
        let passed = queue.weight_of_first(rank);
        let weight =
            queue.weight_of_first(queue.tasks_within_cost(through)).saturating_sub(passed) as f64;
        let centre = scale * self.profile().centre((through - queue.cost_of_first(rank)) as f64);
        let residuals = self.profile().residuals();
        let late = |level: Level| {
            let ends =
                starts.after(duration(centre * residuals.ratio(level)) + self.config.allowance);
            let before = queue.weight_due_before(ends).saturating_sub(passed);
            (before as f64).min(weight)
        };
        // Where nothing is late in the worst outcome left, nothing is in the better ones.
        let outcomes = OUTCOMES.iter().rev().map(|&(level, share)| share * late(level));
        let late: f64 = outcomes.take_while(|&late| late > 0.0).sum();
        weight - late - self.config.kappa * late
    }

    /// Without an SLO nothing but time itself bounds a batch.
    fn largest_without_slo(&self) -> f64 {
        if self.config.slo.is_some() {
            f64::INFINITY
        } else {
            self.profile().largest_within(self.slo / 2.0)
        }
    }
}
