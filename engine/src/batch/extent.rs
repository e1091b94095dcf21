//! How large a batch is, from the tasks in it: what it costs, and what it takes in a slot.
//!
//! Where rows are padded, each is as long as the longest: a batch costs its rows times the dearest row, and takes its
//! rows times the largest one. That is exact, since tasks of one shape key that are padded differ in one length only,
//! and both cost and bytes of a row grow with it.

use super::CostRule;
use super::task_table::Waiting;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub(super) rows: u64,
    /// Sums over tasks, as if nothing were padded.
    pub(super) cost_sum: u64,
    bytes_sum: u64,
    row_cost_most: u64,
    row_bytes_most: u64,
}

/// What each row of a task costs.
pub(super) fn row_cost(task: &Waiting) -> u64 {
    u64::from(task.cost).div_ceil(u64::from(task.rows))
}

impl Extent {
    pub(super) fn of<'t>(tasks: impl IntoIterator<Item = &'t Waiting>) -> Extent {
        tasks.into_iter().fold(Extent::default(), |extent, task| extent.with(task))
    }

    pub(super) fn with(&self, task: &Waiting) -> Extent {
        Extent {
            rows: self.rows + u64::from(task.rows),
            cost_sum: self.cost_sum + u64::from(task.cost),
            bytes_sum: self.bytes_sum.saturating_add(task.bytes),
            row_cost_most: self.row_cost_most.max(row_cost(task)),
            row_bytes_most: self.row_bytes_most.max(task.bytes.div_ceil(u64::from(task.rows))),
        }
    }

    pub(super) fn cost(&self, rule: CostRule) -> u64 {
        match rule {
            CostRule::Sum => self.cost_sum,
            CostRule::Padded => self.rows.saturating_mul(self.row_cost_most),
        }
    }

    pub(super) fn bytes(&self, rule: CostRule) -> u64 {
        match rule {
            CostRule::Sum => self.bytes_sum,
            CostRule::Padded => self.rows.saturating_mul(self.row_bytes_most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::ids::{ShapeKey, TaskId};

    fn task(rows: u32, cost: u32, bytes: u64) -> Waiting {
        Waiting {
            id: TaskId(0),
            rows,
            cost,
            class: 0,
            weight: 1,
            bytes,
            shape: ShapeKey(0),
            due: Time::ZERO,
            late_limit: Time::ZERO,
            arrived: Time::ZERO,
        }
    }

    #[test]
    fn every_row_of_a_padded_batch_is_as_long_as_the_longest() {
        // Three rows of 10, and one of 50, at 8 bytes each.
        let extent = Extent::of(&[task(3, 30, 240), task(1, 50, 400)]);
        assert_eq!((extent.cost(CostRule::Padded), extent.bytes(CostRule::Padded)), (200, 1600));
        assert_eq!((extent.cost(CostRule::Sum), extent.bytes(CostRule::Sum)), (80, 640));
    }

    #[test]
    fn one_task_takes_what_it_brings() {
        let extent = Extent::of(&[task(3, 30, 240)]);
        assert_eq!((extent.cost(CostRule::Padded), extent.bytes(CostRule::Padded)), (30, 240));
    }
}
