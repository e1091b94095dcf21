//! A batch whose tasks are padded to the dearest of them: those of like cost go together.
//!
//! The head of the queue says what cost is wanted, so that nobody waits for ever for company; its nearest by the ratio
//! of costs join it, until the batch would be more padding than a bound allows. Others keep their place.

use super::{BatchBounds, Stop};
use crate::batch::edf_list::EdfList;
use crate::batch::task_table::Waiting;

/// Tasks among which like ones are looked for: some batches' worth, and a sort of them costs less than a batch.
const LOOK_AHEAD_TASKS_MAX: usize = 128;

/// A batch costs at most this much more than its tasks: beyond, two batches are sooner done.
const PADDING_MAX: f64 = 1.5;

/// How much less like a longer task is than one shorter by the same ratio: it pads all the others. Measured on lengths
/// as of conversations; 1 serves one request in a hundred less.
const LONGER: f64 = 1.5;

struct Batch {
    tasks: u64,
    rows: u32,
    cost_sum: u64,
    cost_most: u64,
    bytes_most: u64,
}

impl Batch {
    fn with(&self, task: &Waiting) -> Batch {
        Batch {
            tasks: self.tasks + 1,
            rows: self.rows.saturating_add(task.rows),
            cost_sum: self.cost_sum + u64::from(task.cost),
            cost_most: self.cost_most.max(u64::from(task.cost)),
            bytes_most: self.bytes_most.max(task.bytes),
        }
    }

    fn cost(&self) -> u64 {
        self.tasks * self.cost_most
    }

    fn fits(&self, bounds: &BatchBounds) -> Result<(), Stop> {
        if self.rows > bounds.rows || self.cost() > bounds.cost {
            Err(Stop::Cost)
        } else if self.tasks * self.bytes_most > bounds.bytes {
            Err(Stop::Bytes)
        } else if self.cost() as f64 > PADDING_MAX * self.cost_sum as f64 {
            Err(Stop::Exhausted)
        } else {
            Ok(())
        }
    }
}

pub(super) fn take(
    queue: &mut EdfList,
    bounds: &BatchBounds,
    skip: usize,
    into: &mut Vec<Waiting>,
    alike: &mut Vec<Waiting>,
) -> Stop {
    alike.clear();
    alike.extend(queue.iter_from(skip).take(LOOK_AHEAD_TASKS_MAX));
    let Some(&head) = alike.first() else { return Stop::Exhausted };
    alike.retain(|task| task.shape == head.shape);
    let unlike = |task: &Waiting| {
        let ratio = (f64::from(task.cost.max(1)) / f64::from(head.cost.max(1))).ln();
        if ratio > 0.0 { LONGER * ratio } else { -ratio }
    };
    // Stable: of equally like ones the more urgent first, the head itself before all.
    alike[1..].sort_by(|a, b| unlike(a).total_cmp(&unlike(b)));
    let none = Batch { tasks: 0, rows: 0, cost_sum: 0, cost_most: 0, bytes_most: 0 };
    let (mut batch, mut stop) = (none.with(&head), Stop::Exhausted);
    into.push(head);
    for task in &alike[1..] {
        let larger = batch.with(task);
        match larger.fits(bounds) {
            Ok(()) => {
                batch = larger;
                into.push(*task);
            }
            // A shorter one may still fit.
            Err(why) => stop = why,
        }
    }
    for task in into.iter() {
        queue.remove(queue.key(task));
    }
    stop
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::CostRule;
    use crate::batch::deadline_queue::DeadlineQueue;
    use crate::clock::Time;
    use crate::ids::{ShapeKey, TaskId};

    fn queue(costs: &[u32]) -> DeadlineQueue {
        let mut queue = DeadlineQueue::new();
        for (id, &cost) in costs.iter().enumerate() {
            let due = Time::from_nanos(1 + id as u64);
            queue.insert(Waiting {
                id: TaskId(id as u64),
                rows: 1,
                cost,
                class: 0,
                weight: 1,
                bytes: 1,
                shape: ShapeKey(0),
                due,
                late_limit: due,
                arrived: Time::ZERO,
            });
        }
        queue
    }

    fn taken(costs: &[u32], cost: u64) -> Vec<u32> {
        let bounds = BatchBounds { skip: 0, rows: 64, cost, bytes: 1000, rule: CostRule::Padded };
        let mut batch = Vec::new();
        queue(costs).take_batch(&bounds, &mut batch);
        batch.iter().map(|task| task.cost).collect()
    }

    #[test]
    fn the_head_goes_with_its_like_first_and_never_with_much_padding() {
        assert_eq!(taken(&[100, 1000, 110, 3, 95, 3], 10_000), [100, 95, 110, 3]);
    }

    #[test]
    fn the_padded_cost_keeps_to_the_bound() {
        assert_eq!(taken(&[100, 100, 100, 100], 310), [100, 100, 100]);
        assert_eq!(taken(&[100, 120, 100], 230), [100, 100]);
        assert_eq!(taken(&[500, 1], 10), [500], "one task always goes");
    }
}
