//! The smallest batch that keeps up with the arrivals, and the largest worth waiting for.

use super::SloController;
use crate::clock::Time;

/// Head-room over the arrival rate that a sustainable batch must have.
const HEAD_ROOM: f64 = 1.1;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Target {
    /// Cost of the smallest batch whose rate is above the arrivals'; at most `cap`.
    pub(super) need: f64,
    /// Cost of the largest that the freshest arrivals fill in time (`r₉₅·g(b) + b/λ ≤ S`) and that leaves N replicas
    /// staggered (`g(b)·(r₉₅ + 1/N) ≤ S`).
    pub(super) cap: f64,
}

impl SloController {
    pub(super) fn find_target(&self, now: Time) -> Target {
        let rate = self.fast.at(now);
        let cap = self.find_cap(rate, self.fleet.peers as f64);
        let need = self.profile().smallest_at_rate(rate * HEAD_ROOM * self.fleet.share).ceil();
        Target { need: need.min(cap).max(1.0), cap }
    }

    /// Bisection on cost: both conditions are monotone in it.
    fn find_cap(&self, rate: f64, replicas: f64) -> f64 {
        let r95 = self.profile().residuals().main95();
        let stagger = if replicas > 1.5 { r95 + 1.0 / replicas } else { 0.0 };
        let slo = self.slo - super::nanos(self.config.allowance);
        let fresh = |cost: f64| {
            let centre = self.profile().centre(cost);
            centre * r95 + cost / rate.max(1e-12) <= slo && centre * stagger <= slo
        };
        let most = (self.config.cost_max as f64).min(self.profile().largest_within(slo).max(1.0));
        let (mut low, mut high) = (1.0, most.floor().max(1.0));
        if fresh(high) {
            return high;
        }
        while high - low > 0.5 {
            let middle = (low + high) / 2.0;
            if fresh(middle) { low = middle } else { high = middle }
        }
        self.profile().efficient(low.floor().max(1.0))
    }

    /// Cost per nanosecond of one replica at its best sustainable batch.
    pub(super) fn best_rate(&self, cap: f64) -> f64 {
        let service = self.profile().mean(cap);
        if service > 0.0 { cap / service } else { 0.0 }
    }
}
