//! What a batch costs beside its tasks, where they are padded to the dearest of them.

use super::Batcher;
use crate::batch::CostRule;
use crate::batch::batch_size::Controller;
use crate::batch::deadline_queue::PADDING_MAX;
use crate::batch::extent::Extent;
use crate::batch::task_table::Waiting;

/// Share of a new batch in the padding that is expected: some twenty batches are remembered.
const PADDING_SHARE: f64 = 0.05;

/// How many times what a batch is expected to take the head must have, for the batch to be larger than was asked for:
/// the next head waits behind it too. At 1, padded lengths as of conversations lose a hundredth of their goodput.
const GRANT_ROOM: u32 = 4;

impl<C: Controller> Batcher<C> {
    /// What the controller grants when it wants all that waits follows from the padding of late; this batch may have
    /// more, where time is plenty.
    pub(super) fn cost_with_padding(&self, cost: u64) -> u64 {
        if self.config.cost_rule == CostRule::Sum {
            return cost;
        }
        let wants_all = cost >= self.queue.view(self.padding).on_time_cost();
        let Some(head) = self.queue.head().filter(|_| wants_all) else { return cost };
        let most = self.queue.view(PADDING_MAX).on_time_cost().min(self.config.batch_cost_max);
        let room = self.controller.expected_service(most).saturating_mul(GRANT_ROOM);
        if self.now.after(room) <= head.due { cost.max(most) } else { cost }
    }

    /// What a batch costs; and what the queue is expected to be padded by follows slowly.
    pub(super) fn cost_of(&mut self, tasks: &[Waiting]) -> u64 {
        let extent = Extent::of(tasks);
        let cost = extent.cost(self.config.cost_rule);
        if self.config.cost_rule == CostRule::Padded {
            let padding = cost as f64 / extent.cost_sum.max(1) as f64;
            self.padding += PADDING_SHARE * (padding - self.padding);
        }
        cost
    }
}
