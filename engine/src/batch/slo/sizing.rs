//! What a head's slack allows: the batch with the most work expected on time.

use super::SloController;
use crate::batch::latency_profile::{LEVELS, Level};

impl SloController {
    /// The cost to send when the head must be answered within `slack` nanoseconds and `waiting` cost waits; ≥ 1.
    ///
    /// A batch that meets the slack with probability `u` brings `u` of its work on time and `1 - u` late, and late
    /// work counts against it by κ.
    pub(super) fn size(&self, slack: f64, waiting: f64) -> f64 {
        let residuals = self.profile.residuals();
        let most = (self.config.cost_max as f64).min(waiting).min(self.largest_without_slo());
        let fits = |level: Level| {
            self.profile.largest_within(slack / residuals.ratio(level)).floor().min(most)
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

    /// Without an SLO nothing but time itself bounds a batch.
    fn largest_without_slo(&self) -> f64 {
        if self.config.slo.is_some() {
            f64::INFINITY
        } else {
            self.profile.largest_within(self.slo / 2.0)
        }
    }
}
