//! Tasks in order of a deadline, with access by rank: what planning a batch asks for.
//!
//! A sorted list in chunks: arrivals nearly always belong at the end and departures are nearly always a prefix,
//! so both touch one chunk; a rank, a sum over a prefix or a search by time is a binary search over the chunks and
//! another within one. Chunks are reused, so that a queue at its usual length allocates nothing.

use std::collections::VecDeque;

use super::task_table::Waiting;
use crate::clock::Time;
use crate::ids::TaskId;

/// Tasks in a chunk. An insertion in the middle moves at most half of them (4 KiB) and changes the totals of all
/// chunks behind it, of which 10 000 tasks fill some hundred.
const CHUNK_TASKS_MAX: usize = 128;

pub(super) type Key = (Time, TaskId);

/// What tasks stand in order of; ties by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Due,
    LateLimit,
}

impl Order {
    fn key(self, task: &Waiting) -> Key {
        match self {
            Order::Due => (task.due, task.id),
            Order::LateLimit => (task.late_limit, task.id),
        }
    }
}

#[derive(Debug, Default)]
struct Chunk {
    /// In order of their keys; never empty while the chunk is in use.
    tasks: VecDeque<Waiting>,
    cost: u64,
    weight: u64,
    /// Up to the end of this chunk, from the same place for all chunks: departures from the first one change none.
    tasks_end: u64,
    cost_end: u64,
    weight_end: u64,
}

impl Chunk {
    fn cost_of_first(&self, tasks: usize) -> u64 {
        // Every task costs the same as its neighbours in most models: no walk then.
        if self.cost == self.tasks.len() as u64 {
            return tasks as u64;
        }
        self.tasks.iter().take(tasks).map(|task| u64::from(task.cost)).sum()
    }

    fn weight_of_first(&self, tasks: usize) -> u64 {
        if self.weight == self.tasks.len() as u64 {
            return tasks as u64;
        }
        self.tasks.iter().take(tasks).map(|task| u64::from(task.weight)).sum()
    }
}

#[derive(Debug)]
pub(super) struct EdfList {
    chunks: VecDeque<Chunk>,
    len: usize,
    cost: u64,
    weight: u64,
    order: Order,
    /// Emptied chunks, kept for their memory.
    spare: Vec<Chunk>,
}

impl EdfList {
    pub(super) fn new(order: Order) -> EdfList {
        EdfList { chunks: VecDeque::new(), len: 0, cost: 0, weight: 0, order, spare: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    pub(super) fn first(&self) -> Option<&Waiting> {
        self.chunks.front().and_then(|chunk| chunk.tasks.front())
    }

    pub(super) fn key(&self, task: &Waiting) -> Key {
        self.order.key(task)
    }

    /// The first key's time.
    pub(super) fn first_time(&self) -> Time {
        self.first().map_or(Time::NEVER, |task| self.key(task).0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.chunks.iter().flat_map(|chunk| &chunk.tasks)
    }

    /// The task of this rank, from zero.
    pub(super) fn get(&self, rank: usize) -> Option<&Waiting> {
        let at = self.chunk_of_rank(rank);
        self.chunks.get(at)?.tasks.get(rank - self.before_chunk(at).0)
    }

    /// Tasks, from rank `from`.
    pub(super) fn iter_from(&self, from: usize) -> impl Iterator<Item = &Waiting> {
        let at = self.chunk_of_rank(from);
        let left = from - self.before_chunk(at).0.min(from);
        self.chunks.iter().skip(at).flat_map(|chunk| &chunk.tasks).skip(left)
    }

    /// What the first `tasks` cost together.
    pub(super) fn cost_of_first(&self, tasks: usize) -> u64 {
        let at = self.chunk_of_rank(tasks);
        let (passed, cost) = self.before_chunk(at);
        cost + self.chunks.get(at).map_or(0, |chunk| chunk.cost_of_first(tasks - passed))
    }

    /// What the first `tasks` are worth together.
    pub(super) fn weight_of_first(&self, tasks: usize) -> u64 {
        let at = self.chunk_of_rank(tasks);
        let (passed, _) = self.before_chunk(at);
        let within = |chunk: &Chunk| chunk.weight_of_first(tasks - passed);
        self.weight_before_chunk(at) + self.chunks.get(at).map_or(0, within)
    }

    fn weight_before_chunk(&self, at: usize) -> u64 {
        let before = at.checked_sub(1).and_then(|at| self.chunks.get(at));
        let base = self.chunks.front().map_or(0, |first| first.weight_end - first.weight);
        before.map_or(0, |before| before.weight_end - base)
    }

    /// How many leading tasks cost at most `budget` together.
    pub(super) fn tasks_within_cost(&self, budget: u64) -> usize {
        let (_, base) = self.base();
        let at = self.chunks.partition_point(|chunk| chunk.cost_end - base <= budget);
        let (tasks, cost) = self.before_chunk(at);
        let mut left = budget - cost;
        let fits = |task: &&Waiting| {
            let fits = u64::from(task.cost) <= left;
            left = left.saturating_sub(u64::from(task.cost));
            fits
        };
        tasks + self.chunks.get(at).map_or(0, |chunk| chunk.tasks.iter().take_while(fits).count())
    }

    /// How many tasks have a time before `time`.
    pub(super) fn before(&self, time: Time) -> usize {
        let (at, within) = self.place_of(time);
        self.before_chunk(at).0 + within
    }

    /// What those are worth together.
    pub(super) fn weight_before(&self, time: Time) -> u64 {
        let (at, within) = self.place_of(time);
        let weight = self.weight_before_chunk(at);
        weight + self.chunks.get(at).map_or(0, |chunk| chunk.weight_of_first(within))
    }

    /// The chunk in which the first task not before `time` is, and how many of it are before.
    fn place_of(&self, time: Time) -> (usize, usize) {
        let is_before = |task: &Waiting| self.key(task).0 < time;
        let at = self.chunks.partition_point(|chunk| chunk.tasks.back().is_some_and(is_before));
        (at, self.chunks.get(at).map_or(0, |chunk| chunk.tasks.partition_point(is_before)))
    }

    fn chunk_of_rank(&self, rank: usize) -> usize {
        let (base, _) = self.base();
        self.chunks.partition_point(|chunk| chunk.tasks_end - base <= rank as u64)
    }

    /// Tasks in the chunks before this one, and what they cost.
    fn before_chunk(&self, at: usize) -> (usize, u64) {
        let Some(before) = at.checked_sub(1).and_then(|at| self.chunks.get(at)) else {
            return (0, 0);
        };
        let (tasks, cost) = self.base();
        ((before.tasks_end - tasks) as usize, before.cost_end - cost)
    }

    /// From where the chunks' totals count.
    fn base(&self) -> (u64, u64) {
        self.chunks.front().map_or((0, 0), |first| {
            (first.tasks_end - first.tasks.len() as u64, first.cost_end - first.cost)
        })
    }

    pub(super) fn insert(&mut self, task: Waiting) {
        let key = self.key(&task);
        let at = self.chunk_of(key).min(self.chunks.len().saturating_sub(1));
        if self.chunks.is_empty() {
            let spare = self.spare.pop().unwrap_or_default();
            self.chunks.push_back(Chunk { tasks_end: 0, cost_end: 0, weight_end: 0, ..spare });
        }
        let order = self.order;
        let chunk = &mut self.chunks[at];
        let place = chunk.tasks.partition_point(|other| order.key(other) < key);
        assert!(
            chunk.tasks.get(place).is_none_or(|other| order.key(other) != key),
            "a task is queued once"
        );
        chunk.tasks.insert(place, task);
        chunk.cost += u64::from(task.cost);
        chunk.weight += u64::from(task.weight);
        self.weight += u64::from(task.weight);
        self.len += 1;
        self.cost += u64::from(task.cost);
        for chunk in self.chunks.range_mut(at..) {
            chunk.tasks_end += 1;
            chunk.cost_end += u64::from(task.cost);
            chunk.weight_end += u64::from(task.weight);
        }
        if self.chunks[at].tasks.len() > CHUNK_TASKS_MAX {
            self.split(at);
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Waiting> {
        let at = self.chunk_of(key);
        let order = self.order;
        let chunk = self.chunks.get_mut(at)?;
        let place = chunk.tasks.binary_search_by_key(&key, |task| order.key(task)).ok()?;
        let task = chunk.tasks.remove(place)?;
        self.discount(at, &task);
        Some(task)
    }

    pub(super) fn pop_first(&mut self) -> Option<Waiting> {
        let task = self.chunks.front_mut()?.tasks.pop_front()?;
        self.discount(0, &task);
        Some(task)
    }

    /// The chunk that holds `key`, or would.
    fn chunk_of(&self, key: Key) -> usize {
        let is_before = |task: &Waiting| self.key(task) < key;
        let ends_before = |chunk: &Chunk| chunk.tasks.back().is_some_and(is_before);
        match self.chunks.back() {
            Some(last) if ends_before(last) => self.chunks.len(),
            _ => self.chunks.partition_point(ends_before),
        }
    }

    fn discount(&mut self, at: usize, task: &Waiting) {
        let chunk = &mut self.chunks[at];
        chunk.cost -= u64::from(task.cost);
        chunk.weight -= u64::from(task.weight);
        self.weight -= u64::from(task.weight);
        self.len -= 1;
        self.cost -= u64::from(task.cost);
        if at > 0 {
            for chunk in self.chunks.range_mut(at..) {
                chunk.tasks_end -= 1;
                chunk.cost_end -= u64::from(task.cost);
                chunk.weight_end -= u64::from(task.weight);
            }
        }
        if self.chunks[at].tasks.is_empty() {
            let emptied = if at == 0 { self.chunks.pop_front() } else { self.chunks.remove(at) };
            self.spare.extend(emptied);
        }
    }

    /// Halves a chunk that is too long; one that grew at its end gives only its last task, so that a queue filled
    /// in order has full chunks.
    fn split(&mut self, at: usize) {
        let mut second = self.spare.pop().unwrap_or_default();
        let is_last = at + 1 == self.chunks.len();
        let first = &mut self.chunks[at];
        let keep = if is_last { first.tasks.len() - 1 } else { first.tasks.len() / 2 };
        second.tasks.extend(first.tasks.drain(keep..));
        second.cost = second.tasks.iter().map(|task| u64::from(task.cost)).sum();
        first.cost -= second.cost;
        (second.tasks_end, second.cost_end) = (first.tasks_end, first.cost_end);
        second.weight_end = first.weight_end;
        first.tasks_end -= second.tasks.len() as u64;
        first.cost_end -= second.cost;
        second.weight = second.tasks.iter().map(|task| u64::from(task.weight)).sum();
        first.weight -= second.weight;
        first.weight_end -= second.weight;
        self.chunks.insert(at + 1, second);
    }

    pub(super) fn check_invariants(&self) {
        assert_eq!(self.len, self.chunks.iter().map(|chunk| chunk.tasks.len()).sum::<usize>());
        assert_eq!(self.cost, self.chunks.iter().map(|chunk| chunk.cost).sum::<u64>());
        assert!(
            self.chunks.iter().all(|chunk| !chunk.tasks.is_empty()),
            "no chunk in use is empty"
        );
        let costs =
            |chunk: &Chunk| chunk.tasks.iter().map(|task| u64::from(task.cost)).sum::<u64>();
        assert!(self.chunks.iter().all(|chunk| chunk.cost == costs(chunk)));
        let (mut tasks, mut cost) = self.base();
        for chunk in &self.chunks {
            tasks += chunk.tasks.len() as u64;
            cost += chunk.cost;
            assert_eq!((chunk.tasks_end, chunk.cost_end), (tasks, cost), "totals add up");
        }
        assert!(self.iter().map(|task| self.key(task)).is_sorted(), "tasks stand in order");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::ShapeKey;

    fn task(id: u64, due: u64, cost: u32) -> Waiting {
        let due = Time::from_nanos(due);
        Waiting {
            id: TaskId(id),
            rows: 1,
            cost,
            bytes: 1,
            class: 0,
            weight: 1,
            shape: ShapeKey(0),
            due,
            late_limit: due,
            arrived: Time::ZERO,
        }
    }

    fn key(task: &Waiting) -> Key {
        (task.due, task.id)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert { due: u64, cost: u32 },
        Pop,
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0u64..500, 1u32..4).prop_map(|(due, cost)| Step::Insert { due, cost }),
            1 => Just(Step::Pop),
            1 => (0usize..500).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_map(steps in prop::collection::vec(step(), 1..900), probe in 0u64..500) {
            let (mut list, mut map) = (EdfList::new(Order::Due), BTreeMap::new());
            for (id, step) in steps.iter().enumerate() {
                match *step {
                    Step::Insert { due, cost } => {
                        let task = task(id as u64, due, cost);
                        list.insert(task);
                        map.insert(key(&task), task);
                    }
                    Step::Pop => prop_assert_eq!(list.pop_first(), map.pop_first().map(|(_, task)| task)),
                    Step::Remove(nth) => {
                        let key = map.keys().nth(nth).copied().unwrap_or((Time::ZERO, TaskId(nth as u64 + 10_000)));
                        prop_assert_eq!(list.remove(key), map.remove(&key));
                    }
                }
            }
            list.check_invariants();
            let sorted: Vec<_> = map.values().copied().collect();
            prop_assert_eq!(list.iter().copied().collect::<Vec<_>>(), sorted.clone());
            let rank = probe as usize;
            prop_assert_eq!(list.get(rank), sorted.get(rank));
            prop_assert_eq!(list.iter_from(rank).next(), sorted.get(rank));
            prop_assert_eq!(list.cost_of_first(rank), sorted.iter().take(rank).map(|t| u64::from(t.cost)).sum::<u64>());
            prop_assert_eq!(list.before(Time::from_nanos(probe)), sorted.iter().filter(|t| t.due.as_nanos() < probe).count());
            prop_assert_eq!(list.weight_before(Time::from_nanos(probe)), sorted.iter().filter(|t| t.due.as_nanos() < probe).map(|t| u64::from(t.weight)).sum::<u64>());
            let mut spent = 0;
            let within = sorted.iter().take_while(|t| { spent += u64::from(t.cost); spent <= probe }).count();
            prop_assert_eq!(list.tasks_within_cost(probe), within);
        }
    }
}
