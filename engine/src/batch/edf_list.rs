//! Tasks in order of a deadline, with access by rank: what planning a batch asks for.
//!
//! A sorted list in chunks: arrivals nearly always belong at the end and departures are nearly always a prefix,
//! so both touch one chunk; a rank, a sum over a prefix or a search by time walks the chunks' totals, one per
//! [`CHUNK_TASKS_MAX`] tasks. Chunks are reused, so that a queue at its usual length allocates nothing.

use std::collections::VecDeque;

use super::task_table::Waiting;
use crate::clock::Time;
use crate::ids::TaskId;

/// Tasks in a chunk. An insertion in the middle moves at most half of them (4 KiB); a walk over 10 000 tasks
/// passes some hundred chunks.
const CHUNK_TASKS_MAX: usize = 128;

pub(super) type Key = (Time, TaskId);

#[derive(Debug, Default)]
struct Chunk {
    /// In order of their keys; never empty while the chunk is in use.
    tasks: VecDeque<Waiting>,
    cost: u64,
    weight: u64,
}

#[derive(Debug)]
pub(super) struct EdfList {
    chunks: VecDeque<Chunk>,
    len: usize,
    cost: u64,
    weight: u64,
    key_of: fn(&Waiting) -> Key,
    /// Emptied chunks, kept for their memory.
    spare: Vec<Chunk>,
}

impl EdfList {
    pub(super) fn new(key_of: fn(&Waiting) -> Key) -> EdfList {
        EdfList { chunks: VecDeque::new(), len: 0, cost: 0, weight: 0, key_of, spare: Vec::new() }
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
        (self.key_of)(task)
    }

    /// The first key's time.
    pub(super) fn first_time(&self) -> Time {
        self.first().map_or(Time::NEVER, |task| (self.key_of)(task).0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.chunks.iter().flat_map(|chunk| &chunk.tasks)
    }

    /// The task of this rank, from zero.
    pub(super) fn get(&self, rank: usize) -> Option<&Waiting> {
        let mut left = rank;
        for chunk in &self.chunks {
            if left < chunk.tasks.len() {
                return chunk.tasks.get(left);
            }
            left -= chunk.tasks.len();
        }
        None
    }

    /// Tasks, from rank `from`.
    pub(super) fn iter_from(&self, from: usize) -> impl Iterator<Item = &Waiting> {
        let (mut skipped, mut first_chunk) = (0, 0);
        while let Some(chunk) = self.chunks.get(first_chunk) {
            if skipped + chunk.tasks.len() > from {
                break;
            }
            skipped += chunk.tasks.len();
            first_chunk += 1;
        }
        self.chunks
            .iter()
            .skip(first_chunk)
            .flat_map(|chunk| &chunk.tasks)
            .skip(from - skipped.min(from))
    }

    /// What the first `tasks` cost together.
    pub(super) fn cost_of_first(&self, tasks: usize) -> u64 {
        if tasks >= self.len {
            return self.cost;
        }
        let (mut left, mut cost) = (tasks, 0);
        for chunk in &self.chunks {
            if left < chunk.tasks.len() {
                // Every task costs the same as its neighbours in most models: no walk then.
                let len = chunk.tasks.len() as u64;
                return cost
                    + if chunk.cost == len {
                        left as u64
                    } else {
                        chunk.tasks.iter().take(left).map(|task| u64::from(task.cost)).sum()
                    };
            }
            left -= chunk.tasks.len();
            cost += chunk.cost;
        }
        cost
    }

    /// What the first `tasks` are worth together.
    pub(super) fn weight_of_first(&self, tasks: usize) -> u64 {
        if tasks >= self.len {
            return self.weight;
        }
        let (mut left, mut weight) = (tasks, 0);
        for chunk in &self.chunks {
            if left < chunk.tasks.len() {
                // All worth one, in most models: no walk then.
                let all_one = chunk.weight == chunk.tasks.len() as u64;
                let part =
                    || chunk.tasks.iter().take(left).map(|task| u64::from(task.weight)).sum();
                return weight + if all_one { left as u64 } else { part() };
            }
            left -= chunk.tasks.len();
            weight += chunk.weight;
        }
        weight
    }

    /// How many leading tasks cost at most `budget` together.
    pub(super) fn tasks_within_cost(&self, budget: u64) -> usize {
        let (mut left, mut tasks) = (budget, 0);
        for chunk in &self.chunks {
            if chunk.cost <= left {
                left -= chunk.cost;
                tasks += chunk.tasks.len();
                continue;
            }
            for task in &chunk.tasks {
                if u64::from(task.cost) > left {
                    return tasks;
                }
                left -= u64::from(task.cost);
                tasks += 1;
            }
        }
        tasks
    }

    /// How many tasks have a time before `time`.
    pub(super) fn before(&self, time: Time) -> usize {
        let key_of = self.key_of;
        let is_before =
            |chunk: &Chunk| chunk.tasks.back().is_some_and(|task| key_of(task).0 < time);
        let whole = self.chunks.partition_point(is_before);
        let counted: usize = self.chunks.iter().take(whole).map(|chunk| chunk.tasks.len()).sum();
        let part = self
            .chunks
            .get(whole)
            .map_or(0, |chunk| chunk.tasks.partition_point(|task| key_of(task).0 < time));
        counted + part
    }

    pub(super) fn insert(&mut self, task: Waiting) {
        let key = (self.key_of)(&task);
        let at = self.chunk_of(key).min(self.chunks.len().saturating_sub(1));
        if self.chunks.is_empty() {
            self.chunks.push_back(self.spare.pop().unwrap_or_default());
        }
        let key_of = self.key_of;
        let chunk = &mut self.chunks[at];
        let place = chunk.tasks.partition_point(|other| key_of(other) < key);
        assert!(
            chunk.tasks.get(place).is_none_or(|other| key_of(other) != key),
            "a task is queued once"
        );
        chunk.tasks.insert(place, task);
        chunk.cost += u64::from(task.cost);
        chunk.weight += u64::from(task.weight);
        self.weight += u64::from(task.weight);
        self.len += 1;
        self.cost += u64::from(task.cost);
        if self.chunks[at].tasks.len() > CHUNK_TASKS_MAX {
            self.split(at);
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Waiting> {
        let at = self.chunk_of(key);
        let key_of = self.key_of;
        let chunk = self.chunks.get_mut(at)?;
        let place = chunk.tasks.binary_search_by_key(&key, key_of).ok()?;
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
        let key_of = self.key_of;
        let ends_before = |chunk: &Chunk| chunk.tasks.back().is_some_and(|task| key_of(task) < key);
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
        if chunk.tasks.is_empty() {
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
        second.weight = second.tasks.iter().map(|task| u64::from(task.weight)).sum();
        first.weight -= second.weight;
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
        assert!(self.iter().map(self.key_of).is_sorted(), "tasks stand in order");
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
            let (mut list, mut map) = (EdfList::new(key), BTreeMap::new());
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
            let mut spent = 0;
            let within = sorted.iter().take_while(|t| { spent += u64::from(t.cost); spent <= probe }).count();
            prop_assert_eq!(list.tasks_within_cost(probe), within);
        }
    }
}
