//! A batch whose tasks are padded to the dearest of them: those of like cost go together.
//!
//! The head of the queue says what cost is wanted, so that nobody waits for ever for company; its nearest by the ratio
//! of costs join it, until the batch would be more padding than a bound allows. Others keep their place.

use super::{BatchBounds, Stop};
use crate::batch::CostRule;
use crate::batch::edf_list::EdfList;
use crate::batch::extent::{Extent, row_cost};
use crate::batch::task_table::Waiting;

/// Tasks among which like ones are looked for: some batches' worth, and a sort of them costs less than a batch.
const LOOK_AHEAD_TASKS_MAX: usize = 128;

/// A batch costs at most this much more than its tasks: beyond, two batches are sooner done.
pub(in crate::batch) const PADDING_MAX: f64 = 1.5;

/// How much less like a longer task is than one shorter by the same ratio: it pads all the others. Measured on lengths
/// as of conversations; 1 serves one request in a hundred less.
const LONGER: f64 = 1.5;

fn fits(batch: &Extent, bounds: &BatchBounds) -> Result<(), Stop> {
    let cost = batch.cost(CostRule::Padded);
    if batch.rows > u64::from(bounds.rows) || cost > bounds.cost {
        Err(Stop::Cost)
    } else if batch.bytes(CostRule::Padded) > bounds.bytes {
        Err(Stop::Bytes)
    } else if cost as f64 > PADDING_MAX * batch.cost_sum as f64 {
        Err(Stop::Exhausted)
    } else {
        Ok(())
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
        let ratio = (row_cost(task).max(1) as f64 / row_cost(&head).max(1) as f64).ln();
        if ratio > 0.0 { LONGER * ratio } else { -ratio }
    };
    // Stable: of equally like ones the more urgent first, the head itself before all.
    alike[1..].sort_by(|a, b| unlike(a).total_cmp(&unlike(b)));
    let (mut batch, mut stop) = (Extent::of([&head]), Stop::Exhausted);
    into.push(head);
    for task in &alike[1..] {
        let larger = batch.with(task);
        match fits(&larger, bounds) {
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
    use crate::batch::deadline_queue::DeadlineQueue;
    use crate::clock::Time;
    use crate::ids::{ShapeKey, TaskId};

    fn queue(tasks: impl IntoIterator<Item = (u32, u32)>) -> DeadlineQueue {
        let mut queue = DeadlineQueue::new();
        for (id, (rows, cost)) in tasks.into_iter().enumerate() {
            let due = Time::from_nanos(1 + id as u64);
            queue.insert(Waiting {
                id: TaskId(id as u64),
                rows,
                cost,
                class: 0,
                weight: 1,
                bytes: u64::from(cost),
                shape: ShapeKey(0),
                due,
                late_limit: due,
                arrived: Time::ZERO,
            });
        }
        queue
    }

    fn bounds(cost: u64, bytes: u64) -> BatchBounds {
        BatchBounds { skip: 0, rows: 64, cost, bytes, rule: CostRule::Padded }
    }

    fn taken(costs: &[u32], cost: u64) -> Vec<u32> {
        let mut batch = Vec::new();
        let mut queue = queue(costs.iter().map(|&cost| (1, cost)));
        queue.take_batch(&bounds(cost, u64::MAX), &mut batch);
        batch.iter().map(|task| task.cost).collect()
    }

    #[test]
    fn likeness_is_that_of_rows_and_bounds_count_every_row() {
        let tasks = [(4, 400), (1, 100), (2, 240), (1, 400)];
        let taken = |bounds| {
            let (mut batch, mut queue) = (Vec::new(), queue(tasks));
            let stop = queue.take_batch(&bounds, &mut batch);
            (batch.iter().map(|task| (task.rows, task.cost)).collect::<Vec<_>>(), stop)
        };
        // Seven rows of 120; an eighth of 400 would be mostly padding.
        let three = vec![(4, 400), (1, 100), (2, 240)];
        assert_eq!(taken(bounds(u64::MAX, u64::MAX)), (three.clone(), Stop::Exhausted));
        assert_eq!(taken(bounds(840, u64::MAX)).0, three);
        let two = vec![(4, 400), (1, 100)];
        assert_eq!(taken(bounds(839, u64::MAX)), (two.clone(), Stop::Cost));
        assert_eq!(taken(bounds(u64::MAX, 839)), (two, Stop::Bytes));
    }

    #[test]
    fn the_head_goes_with_its_like() {
        assert_eq!(taken(&[100, 1000, 110, 95], 10_000), [100, 95, 110]);
        assert_eq!(taken(&[100, 10, 1000], 10_000), [100], "a batch of it would be mostly padding");
    }

    #[test]
    fn the_padded_cost_keeps_to_the_bound() {
        assert_eq!(taken(&[100, 100, 100, 100], 310), [100, 100, 100]);
        assert_eq!(taken(&[100, 120, 100], 230), [100, 100]);
        assert_eq!(taken(&[500, 1], 10), [500], "one task always goes");
    }
}
