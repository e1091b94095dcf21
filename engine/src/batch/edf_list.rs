//! Tasks in order of a deadline, with access by rank: what planning a batch asks for.
//!
//! A sorted list in chunks: arrivals nearly always belong at the end and departures are nearly always a prefix,
//! so both touch one chunk; a rank, a sum over a prefix or a search by time is a binary search over the chunks and
//! another within one. Chunks are reused, so that a queue at its usual length allocates nothing.

use std::collections::VecDeque;
use std::ops::{AddAssign, Sub, SubAssign};

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

/// Of some tasks: how many, what they cost, and what they are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    tasks: u64,
    cost: u64,
    weight: u64,
}

impl Sums {
    fn of(task: &Waiting) -> Sums {
        Sums { tasks: 1, cost: u64::from(task.cost), weight: u64::from(task.weight) }
    }

    fn of_all<'a>(tasks: impl IntoIterator<Item = &'a Waiting>) -> Sums {
        let mut sums = Sums::default();
        tasks.into_iter().for_each(|task| sums += Sums::of(task));
        sums
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, more: Sums) {
        self.tasks += more.tasks;
        self.cost += more.cost;
        self.weight += more.weight;
    }
}

impl SubAssign for Sums {
    fn sub_assign(&mut self, less: Sums) {
        self.tasks -= less.tasks;
        self.cost -= less.cost;
        self.weight -= less.weight;
    }
}

impl Sub for Sums {
    type Output = Sums;

    fn sub(mut self, less: Sums) -> Sums {
        self -= less;
        self
    }
}

#[derive(Debug, Default)]
struct Chunk {
    /// In order of their keys; never empty while the chunk is in use.
    tasks: VecDeque<Waiting>,
    /// Of their keys, side by side: a search by time touches few cache lines.
    times: VecDeque<Time>,
    own: Sums,
    /// Up to the end of this chunk, from the same place for all chunks: departures from the first one change none.
    end: Sums,
}

impl Chunk {
    fn first(&self, tasks: usize) -> Sums {
        // Every task costs one and is worth one in most models: no walk then.
        if self.own.cost == self.own.tasks && self.own.weight == self.own.tasks {
            let tasks = tasks as u64;
            return Sums { tasks, cost: tasks, weight: tasks };
        }
        Sums::of_all(self.tasks.iter().take(tasks))
    }

    /// How many leading tasks cost at most `budget` together.
    fn within_cost(&self, budget: u64) -> usize {
        if self.own.cost == self.own.tasks {
            return self.own.tasks.min(budget) as usize;
        }
        let mut left = budget;
        let fits = |task: &&Waiting| {
            let fits = u64::from(task.cost) <= left;
            left = left.saturating_sub(u64::from(task.cost));
            fits
        };
        self.tasks.iter().take_while(fits).count()
    }
}

#[derive(Debug)]
pub(super) struct EdfList {
    chunks: VecDeque<Chunk>,
    all: Sums,
    order: Order,
    /// Emptied chunks, kept for their memory.
    spare: Vec<Chunk>,
}

impl EdfList {
    pub(super) fn new(order: Order) -> EdfList {
        EdfList { chunks: VecDeque::new(), all: Sums::default(), order, spare: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.all.tasks as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.tasks == 0
    }

    pub(super) fn cost(&self) -> u64 {
        self.all.cost
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
        self.chunks.get(at)?.tasks.get(rank - self.before_chunk(at).tasks as usize)
    }

    /// The time by which the task of this rank is ordered.
    pub(super) fn time(&self, rank: usize) -> Option<Time> {
        let at = self.chunk_of_rank(rank);
        let within = rank - self.before_chunk(at).tasks as usize;
        self.chunks.get(at)?.times.get(within).copied()
    }

    /// Tasks, from rank `from`.
    pub(super) fn iter_from(&self, from: usize) -> impl Iterator<Item = &Waiting> {
        let at = self.chunk_of_rank(from);
        let left = from - (self.before_chunk(at).tasks as usize).min(from);
        self.chunks.iter().skip(at).flat_map(|chunk| &chunk.tasks).skip(left)
    }

    /// What the first `tasks` cost together.
    pub(super) fn cost_of_first(&self, tasks: usize) -> u64 {
        self.sums_of_first(tasks).cost
    }

    /// What the first `tasks` are worth together.
    pub(super) fn weight_of_first(&self, tasks: usize) -> u64 {
        self.sums_of_first(tasks).weight
    }

    fn sums_of_first(&self, tasks: usize) -> Sums {
        let at = self.chunk_of_rank(tasks);
        let mut sums = self.before_chunk(at);
        if let Some(chunk) = self.chunks.get(at) {
            sums += chunk.first(tasks - sums.tasks as usize);
        }
        sums
    }

    /// How many leading tasks cost at most `budget` together.
    pub(super) fn tasks_within_cost(&self, budget: u64) -> usize {
        let base = self.base().cost;
        let at = self.chunks.partition_point(|chunk| chunk.end.cost - base <= budget);
        let before = self.before_chunk(at);
        let within = |chunk: &Chunk| chunk.within_cost(budget - before.cost);
        before.tasks as usize + self.chunks.get(at).map_or(0, within)
    }

    /// How many tasks have a time before `time`.
    pub(super) fn before(&self, time: Time) -> usize {
        let (at, within) = self.place_of(time);
        self.before_chunk(at).tasks as usize + within
    }

    /// What those are worth together.
    pub(super) fn weight_before(&self, time: Time) -> u64 {
        let (at, within) = self.place_of(time);
        let weight = self.before_chunk(at).weight;
        weight + self.chunks.get(at).map_or(0, |chunk| chunk.first(within).weight)
    }

    /// The chunk in which the first task not before `time` is, and how many of it are before.
    fn place_of(&self, time: Time) -> (usize, usize) {
        let is_before = |other: &Time| *other < time;
        let at = self.chunks.partition_point(|chunk| chunk.times.back().is_some_and(is_before));
        (at, self.chunks.get(at).map_or(0, |chunk| chunk.times.partition_point(is_before)))
    }

    fn chunk_of_rank(&self, rank: usize) -> usize {
        let base = self.base().tasks;
        self.chunks.partition_point(|chunk| chunk.end.tasks - base <= rank as u64)
    }

    /// Of the chunks before this one.
    fn before_chunk(&self, at: usize) -> Sums {
        let before = at.checked_sub(1).and_then(|before| self.chunks.get(before));
        before.map_or(Sums::default(), |chunk| chunk.end - self.base())
    }

    /// From where the chunks' ends count.
    fn base(&self) -> Sums {
        self.chunks.front().map_or(Sums::default(), |first| first.end - first.own)
    }

    pub(super) fn insert(&mut self, task: Waiting) {
        let key = self.key(&task);
        let at = self.chunk_of(key).min(self.chunks.len().saturating_sub(1));
        if self.chunks.is_empty() {
            let spare = self.spare.pop().unwrap_or_default();
            self.chunks.push_back(Chunk { end: Sums::default(), ..spare });
        }
        let order = self.order;
        let chunk = &mut self.chunks[at];
        let place = chunk.tasks.partition_point(|other| order.key(other) < key);
        assert!(
            chunk.tasks.get(place).is_none_or(|other| order.key(other) != key),
            "a task is queued once"
        );
        chunk.tasks.insert(place, task);
        chunk.times.insert(place, key.0);
        chunk.own += Sums::of(&task);
        self.all += Sums::of(&task);
        self.chunks.range_mut(at..).for_each(|chunk| chunk.end += Sums::of(&task));
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
        chunk.times.remove(place);
        self.discount(at, &task);
        Some(task)
    }

    pub(super) fn pop_first(&mut self) -> Option<Waiting> {
        let first = self.chunks.front_mut()?;
        let task = first.tasks.pop_front()?;
        first.times.pop_front();
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
        self.chunks[at].own -= Sums::of(task);
        self.all -= Sums::of(task);
        if at > 0 {
            self.chunks.range_mut(at..).for_each(|chunk| chunk.end -= Sums::of(task));
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
        second.times.extend(first.times.drain(keep..));
        second.own = Sums::of_all(&second.tasks);
        second.end = first.end;
        first.own -= second.own;
        first.end -= second.own;
        self.chunks.insert(at + 1, second);
    }

    pub(super) fn check_invariants(&self) {
        assert!(
            self.chunks.iter().all(|chunk| !chunk.tasks.is_empty()),
            "no chunk in use is empty"
        );
        assert_eq!(self.all, Sums::of_all(self.iter()));
        let mut end = self.base();
        for chunk in &self.chunks {
            assert_eq!(chunk.own, Sums::of_all(&chunk.tasks));
            end += chunk.own;
            assert_eq!(chunk.end, end, "sums add up");
        }
        assert!(self.iter().map(|task| self.key(task)).is_sorted(), "tasks stand in order");
        let times = self.chunks.iter().flat_map(|chunk| &chunk.times).copied();
        assert!(times.eq(self.iter().map(|task| self.key(task).0)), "times are those of the tasks");
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
            weight: 1 + id as u32 % 3,
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
            prop_assert_eq!(list.time(rank), sorted.get(rank).map(|task| task.due));
            prop_assert_eq!(list.iter_from(rank).next(), sorted.get(rank));
            prop_assert_eq!(list.cost_of_first(rank), sorted.iter().take(rank).map(|t| u64::from(t.cost)).sum::<u64>());
            prop_assert_eq!(list.before(Time::from_nanos(probe)), sorted.iter().filter(|t| t.due.as_nanos() < probe).count());
            prop_assert_eq!(list.weight_of_first(rank), sorted.iter().take(rank).map(|t| u64::from(t.weight)).sum::<u64>());
            prop_assert_eq!(list.weight_before(Time::from_nanos(probe)), sorted.iter().filter(|t| t.due.as_nanos() < probe).map(|t| u64::from(t.weight)).sum::<u64>());
            let mut spent = 0;
            let within = sorted.iter().take_while(|t| { spent += u64::from(t.cost); spent <= probe }).count();
            prop_assert_eq!(list.tasks_within_cost(probe), within);
        }
    }
}
