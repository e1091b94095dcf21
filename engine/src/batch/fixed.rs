//! Batches of a fixed size after a fixed delay, as other servers form them: for comparison, and for whoever knows
//! better than what is learned.
//!
//! Nothing is learned and nothing is given up before it expires. A batch leaves when it is full, or when the task
//! at its head has waited for the delay.

use std::time::Duration;

use super::batch_size::{Controller, Decision, Observed, QueueView, ReplicasView};
use crate::clock::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedBatches {
    /// Cost of a full batch, at least 1.
    pub size: u64,
    /// Longest wait of the head for company.
    pub delay: Duration,
}

impl Controller for FixedBatches {
    fn arrived(&mut self, _now: Time, _cost: u32, _due: Time) {}

    fn decide(
        &mut self,
        now: Time,
        queue: &QueueView<'_>,
        _replicas: &ReplicasView<'_>,
    ) -> Decision {
        let leaves = queue.arrived(0).map_or(now, |arrived| arrived.after(self.delay));
        if queue.on_time_cost() < self.size && leaves > now {
            return Decision::WaitUntil(leaves);
        }
        Decision::Dispatch { skip: 0, cost: self.size }
    }

    fn observe(&mut self, _now: Time, _observed: &Observed) {}

    fn cost_limit(&self) -> u64 {
        self.size
    }

    fn expected_service(&self, _cost: u64) -> Duration {
        Duration::ZERO
    }
}
