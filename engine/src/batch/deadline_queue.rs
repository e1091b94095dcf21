//! What waits for its first batch: on-time tasks by due time, late ones by late limit.
//!
//! Ties are broken by task id, which grows with arrival. Looking for tasks of one shape is bounded; beyond that a
//! batch leaves smaller than it might.

use super::CostRule;
use super::batch_size::QueueView;
use super::edf_list::{EdfList, Key, Order};
use super::task_table::Waiting;
use crate::clock::Time;
use crate::ids::ShapeKey;

mod padded;

pub(super) use padded::PADDING_MAX;

/// Entries looked at to fill one batch once another shape got in between. Four full batches of the usual 64 rows;
/// at some 10 ns an entry the search stays below the cost of sending a batch.
const LOOK_AHEAD_TASKS_MAX: usize = 256;

fn by_due(task: &Waiting) -> Key {
    (task.due, task.id)
}

fn by_late_limit(task: &Waiting) -> Key {
    (task.late_limit, task.id)
}

#[derive(Debug)]
pub(super) struct DeadlineQueue {
    on_time: EdfList,
    late: EdfList,
    bytes: u64,
    /// Reused by searches.
    keys: Vec<Key>,
    alike: Vec<Waiting>,
}

/// Bounds of one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchBounds {
    /// Leading tasks passed over; they keep their place.
    pub(super) skip: usize,
    pub(super) rows: u32,
    pub(super) cost: u64,
    pub(super) bytes: u64,
    pub(super) rule: CostRule,
}

/// Why a batch took no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nothing else could join.
    Exhausted,
    /// The bound in cost or rows cut it short or was met exactly.
    Cost,
    Bytes,
}

impl DeadlineQueue {
    pub(super) fn new() -> DeadlineQueue {
        DeadlineQueue {
            on_time: EdfList::new(Order::Due),
            late: EdfList::new(Order::LateLimit),
            bytes: 0,
            keys: Vec::new(),
            alike: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.on_time.len() + self.late.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.on_time.is_empty() && self.late.is_empty()
    }

    pub(super) fn late_len(&self) -> usize {
        self.late.len()
    }

    pub(super) fn cost(&self) -> u64 {
        self.on_time.cost() + self.late.cost()
    }

    pub(super) fn view(&self, padding: f64) -> QueueView<'_> {
        QueueView { on_time: &self.on_time, late: &self.late, padding }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When [`Self::pop_expired`] next has something to do.
    pub(super) fn next_expiry(&self) -> Time {
        self.on_time.first_time().min(self.late.first_time())
    }

    pub(super) fn insert(&mut self, task: Waiting) {
        self.bytes += task.bytes;
        self.on_time.insert(task);
    }

    /// A soft task that is not to compete with those on time.
    pub(super) fn insert_late(&mut self, task: Waiting) {
        self.bytes += task.bytes;
        self.late.insert(task);
    }

    pub(super) fn remove(&mut self, task: &Waiting) {
        let found =
            self.on_time.remove(by_due(task)).or_else(|| self.late.remove(by_late_limit(task)));
        assert!(found.is_some(), "a queued task is in one of the two queues");
        self.bytes -= task.bytes;
    }

    /// Takes out one task past its late limit. Soft ones past their due time turn late on the way.
    pub(super) fn pop_expired(&mut self, now: Time) -> Option<Waiting> {
        while self.on_time.first_time() <= now {
            let task = self.on_time.pop_first()?;
            if task.late_limit <= now {
                self.bytes -= task.bytes;
                return Some(task);
            }
            self.late.insert(task);
        }
        if self.late.first_time() > now {
            return None;
        }
        let task = self.late.pop_first()?;
        self.bytes -= task.bytes;
        Some(task)
    }

    pub(super) fn head(&self) -> Option<&Waiting> {
        self.on_time.first()
    }

    pub(super) fn late_cost(&self) -> u64 {
        self.late.cost()
    }

    /// Turns the earliest on-time task late where it `may_be_late`; else takes it out.
    pub(super) fn give_up_head(&mut self, may_be_late: bool) -> Option<Waiting> {
        let task = self.on_time.pop_first()?;
        if may_be_late && !task.is_hard() {
            self.late.insert(task);
            return None;
        }
        self.bytes -= task.bytes;
        Some(task)
    }

    /// Takes a batch: the first task and those of its shape that follow and fit.
    pub(super) fn take_batch(&mut self, bounds: &BatchBounds, into: &mut Vec<Waiting>) -> Stop {
        into.clear();
        let mut room =
            Room { shape: None, rows: bounds.rows, cost: bounds.cost, bytes: bounds.bytes };
        let queue = if self.on_time.is_empty() { &mut self.late } else { &mut self.on_time };
        let skip = bounds.skip.min(queue.len().saturating_sub(1));
        let stop = match bounds.rule {
            CostRule::Sum => take(queue, skip, &mut room, into, &mut self.keys),
            CostRule::Padded => padded::take(queue, bounds, skip, into, &mut self.alike),
        };
        self.bytes -= into.iter().map(|task| task.bytes).sum::<u64>();
        stop
    }

    pub(super) fn check_invariants(&self, now: Time) {
        self.on_time.check_invariants();
        self.late.check_invariants();
        let all = self.on_time.iter().chain(self.late.iter());
        assert_eq!(self.bytes, all.map(|task| task.bytes).sum::<u64>());
        assert!(self.late.iter().all(|task| !task.is_hard()), "a hard task is never late");
        assert!(self.next_expiry() > now, "what expired has left");
    }
}

/// What is left of a batch's bounds. The first task fixes the shape and always fits.
struct Room {
    shape: Option<ShapeKey>,
    rows: u32,
    cost: u64,
    bytes: u64,
}

enum Fit {
    Joins,
    OtherShape,
    Stops(Stop),
}

impl Room {
    fn fit(&self, task: &Waiting) -> Fit {
        let Some(shape) = self.shape else { return Fit::Joins };
        if self.is_full() {
            Fit::Stops(Stop::Cost)
        } else if task.shape != shape {
            Fit::OtherShape
        } else if task.rows > self.rows || u64::from(task.cost) > self.cost {
            Fit::Stops(Stop::Cost)
        } else if task.bytes > self.bytes {
            Fit::Stops(Stop::Bytes)
        } else {
            Fit::Joins
        }
    }

    fn join(&mut self, task: &Waiting) {
        self.shape = Some(task.shape);
        self.rows = self.rows.saturating_sub(task.rows);
        self.cost = self.cost.saturating_sub(u64::from(task.cost));
        self.bytes = self.bytes.saturating_sub(task.bytes);
    }

    fn exhausted(&self) -> Stop {
        if self.is_full() { Stop::Cost } else { Stop::Exhausted }
    }

    fn is_full(&self) -> bool {
        self.rows == 0 || self.cost == 0
    }
}

/// Moves what fits from `queue` into the batch; one pass from the front while the shape stays the same.
fn take(
    queue: &mut EdfList,
    skip: usize,
    room: &mut Room,
    into: &mut Vec<Waiting>,
    keys: &mut Vec<Key>,
) -> Stop {
    if skip > 0 {
        return take_scattered(queue, skip, room, into, keys);
    }
    while let Some(&task) = queue.first() {
        match room.fit(&task) {
            Fit::Joins => {
                queue.pop_first();
                room.join(&task);
                into.push(task);
            }
            Fit::OtherShape => return take_scattered(queue, 0, room, into, keys),
            Fit::Stops(stop) => return stop,
        }
    }
    room.exhausted()
}

/// As [`take`], passing over the first `skip` tasks and, within bounds, over other shapes.
fn take_scattered(
    queue: &mut EdfList,
    skip: usize,
    room: &mut Room,
    into: &mut Vec<Waiting>,
    keys: &mut Vec<Key>,
) -> Stop {
    keys.clear();
    let mut stop = None;
    for task in queue.iter_from(skip).take(LOOK_AHEAD_TASKS_MAX) {
        match room.fit(task) {
            Fit::Joins => {
                room.join(task);
                keys.push(queue.key(task));
            }
            Fit::OtherShape => {}
            Fit::Stops(why) => {
                stop = Some(why);
                break;
            }
        }
    }
    into.extend(keys.iter().filter_map(|&key| queue.remove(key)));
    stop.unwrap_or_else(|| room.exhausted())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TaskId;

    fn task(id: u64, due: u64, late_limit: u64, shape: u64) -> Waiting {
        Waiting {
            id: TaskId(id),
            rows: 1,
            cost: 1,
            class: 0,
            weight: 1,
            bytes: 10,
            shape: ShapeKey(shape),
            due: Time::from_nanos(due),
            late_limit: Time::from_nanos(late_limit),
            arrived: Time::ZERO,
        }
    }

    fn bounds(rows: u32) -> BatchBounds {
        BatchBounds { skip: 0, rows, cost: u64::MAX, bytes: 1000, rule: CostRule::Sum }
    }

    fn ids(tasks: &[Waiting]) -> Vec<u64> {
        tasks.iter().map(|task| task.id.0).collect()
    }

    #[test]
    fn takes_the_earliest_due_first_and_ties_in_order_of_arrival() {
        let mut queue = DeadlineQueue::new();
        for (id, due) in [(1, 30), (2, 10), (3, 20), (4, 10)] {
            queue.insert(task(id, due, due, 0));
        }
        let mut batch = Vec::new();
        assert_eq!(queue.take_batch(&bounds(3), &mut batch), Stop::Cost);
        assert_eq!(ids(&batch), [2, 4, 3]);
        queue.check_invariants(Time::ZERO);
    }

    #[test]
    fn passes_over_other_shapes_and_keeps_their_place() {
        let mut queue = DeadlineQueue::new();
        for (id, shape) in [(1, 7), (2, 8), (3, 7), (4, 8), (5, 7)] {
            queue.insert(task(id, 10 + id, 10 + id, shape));
        }
        let mut batch = Vec::new();
        assert_eq!(queue.take_batch(&bounds(8), &mut batch), Stop::Exhausted);
        assert_eq!(ids(&batch), [1, 3, 5]);
        queue.take_batch(&bounds(8), &mut batch);
        assert_eq!(ids(&batch), [2, 4]);
    }

    #[test]
    fn looks_no_further_ahead_than_its_bound() {
        let mut queue = DeadlineQueue::new();
        queue.insert(task(0, 1, 1, 7));
        for id in 1..=LOOK_AHEAD_TASKS_MAX as u64 {
            queue.insert(task(id, 2, 2, 8));
        }
        queue.insert(task(9999, 3, 3, 7));
        let mut batch = Vec::new();
        queue.take_batch(&bounds(8), &mut batch);
        assert_eq!(ids(&batch), [0]);
    }

    #[test]
    fn late_tasks_wait_until_no_on_time_task_does() {
        let mut queue = DeadlineQueue::new();
        queue.insert(task(1, 5, 100, 0));
        queue.insert(task(2, 10, 100, 0));
        assert_eq!(queue.give_up_head(true), None, "soft");
        assert_eq!(queue.late_len(), 1);
        let mut batch = Vec::new();
        queue.take_batch(&bounds(8), &mut batch);
        assert_eq!(ids(&batch), [2]);
        queue.take_batch(&bounds(8), &mut batch);
        assert_eq!(ids(&batch), [1]);
    }

    #[test]
    fn a_batch_stops_at_its_bytes() {
        let mut queue = DeadlineQueue::new();
        (0..4).for_each(|id| queue.insert(task(id, 10, 10, 0)));
        let mut batch = Vec::new();
        assert_eq!(
            queue.take_batch(&BatchBounds { bytes: 25, ..bounds(8) }, &mut batch),
            Stop::Bytes
        );
        assert_eq!(ids(&batch), [0, 1]);
    }

    #[test]
    fn skipped_heads_stay_first() {
        let mut queue = DeadlineQueue::new();
        (0..4).for_each(|id| queue.insert(task(id, 10 + id, 10 + id, 0)));
        let mut batch = Vec::new();
        queue.take_batch(&BatchBounds { skip: 2, ..bounds(8) }, &mut batch);
        assert_eq!(ids(&batch), [2, 3]);
        assert_eq!(queue.view(1.0).due(0), Some(Time::from_nanos(10)));
    }

    #[test]
    fn a_soft_task_past_due_turns_late_and_expires_at_its_late_limit() {
        let mut queue = DeadlineQueue::new();
        queue.insert(task(1, 5, 50, 0));
        queue.insert(task(2, 6, 6, 0));
        assert_eq!(queue.pop_expired(Time::from_nanos(6)).map(|task| task.id), Some(TaskId(2)));
        assert_eq!(queue.pop_expired(Time::from_nanos(6)), None);
        assert_eq!(queue.next_expiry(), Time::from_nanos(50));
        assert_eq!(queue.pop_expired(Time::from_nanos(50)).map(|task| task.id), Some(TaskId(1)));
        assert!(queue.is_empty());
    }
}
