//! What goes again after a failure, ahead of the queue; and whether the model fails so much that it is no use.
//!
//! Bounded without a limit of its own: while a group waits nothing else is sent, so groups and batches in flight
//! together never hold more tasks than batches in flight once did.

use std::collections::VecDeque;
use std::time::Duration;

use super::task_table::Waiting;
use crate::clock::Time;
use crate::ids::TaskId;

/// Groups of accepted tasks. A group may name tasks that left since; whoever takes it skips them.
#[derive(Debug, Default)]
pub(super) struct Reruns {
    groups: VecDeque<Vec<TaskId>>,
    tasks: usize,
    cost: u64,
    bytes: u64,
    /// No task passes its late limit before this.
    expires: Option<Time>,
}

impl Reruns {
    /// Tasks that have not left.
    pub(super) fn tasks(&self) -> usize {
        self.tasks
    }

    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn next_expiry(&self) -> Time {
        self.expires.unwrap_or(Time::NEVER)
    }

    /// Adds a group that goes next: the halves of a failed batch, so that one culprit is isolated before
    /// the next search starts.
    pub(super) fn push_first(&mut self, group: &[Waiting]) {
        self.count(group);
        self.groups.push_front(group.iter().map(|task| task.id).collect());
    }

    /// Adds a group that goes after those already here.
    pub(super) fn push_last(&mut self, group: &[Waiting]) {
        self.count(group);
        self.groups.push_back(group.iter().map(|task| task.id).collect());
    }

    pub(super) fn pop_group(&mut self) -> Option<Vec<TaskId>> {
        self.groups.pop_front()
    }

    /// Gives back what of a group did not fit into its batch; its tasks were never discounted.
    pub(super) fn put_back(&mut self, rest: Vec<TaskId>) {
        if !rest.is_empty() {
            self.groups.push_front(rest);
        }
    }

    /// A task was sent, or left.
    pub(super) fn discount(&mut self, task: &Waiting) {
        self.tasks -= 1;
        self.cost -= u64::from(task.cost);
        self.bytes -= task.bytes;
        if self.tasks == 0 {
            self.expires = None;
            self.groups.clear();
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.groups.iter().flatten().copied()
    }

    pub(super) fn set_next_expiry(&mut self, expires: Option<Time>) {
        self.expires = expires;
    }

    fn count(&mut self, group: &[Waiting]) {
        for task in group {
            self.tasks += 1;
            self.cost += u64::from(task.cost);
            self.bytes += task.bytes;
            self.expires = Some(self.next_expiry().min(task.late_limit));
        }
    }
}

/// A model that failed more than this ago may have recovered.
const FAILURES_REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// Batches remembered; under heavier load the window is shorter than ten seconds, which only makes it fresher.
const BATCHES_REMEMBERED_MAX: usize = 1024;

/// Bad rows in one batch whose search must not look like a model that always fails.
const BAD_ROWS_SEARCHED: usize = 2;

/// How batches ended lately.
#[derive(Debug)]
pub(super) struct FailureHistory {
    batches: VecDeque<(Time, Ending)>,
    failed: usize,
    /// Failures without a success that the searches themselves explain.
    allowance: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Answered,
    Failed,
}

impl FailureHistory {
    /// A search for one bad row among `rows_max` fails at most `log2(rows_max) + 1` times before it succeeds.
    pub(super) fn new(rows_max: u32) -> FailureHistory {
        let search = rows_max.max(1).ilog2() as usize + 1;
        let allowance = BAD_ROWS_SEARCHED * search;
        FailureHistory { batches: VecDeque::new(), failed: 0, allowance }
    }

    pub(super) fn push(&mut self, now: Time, ending: Ending) {
        self.batches.push_back((now, ending));
        self.failed += usize::from(ending == Ending::Failed);
        let oldest = now.before(FAILURES_REMEMBERED_FOR);
        while let Some(&(at, ending)) = self.batches.front() {
            if at >= oldest && self.batches.len() <= BATCHES_REMEMBERED_MAX {
                break;
            }
            self.batches.pop_front();
            self.failed -= usize::from(ending == Ending::Failed);
        }
    }

    /// Most batches failed, by more than searching for a few bad rows explains.
    pub(super) fn is_persistent(&self) -> bool {
        let answered = self.batches.len() - self.failed;
        self.failed > answered + self.allowance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(at: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(at))
    }

    fn history(failed: usize, answered: usize) -> FailureHistory {
        let mut history = FailureHistory::new(64);
        (0..answered).for_each(|_| history.push(Time::ZERO, Ending::Answered));
        (0..failed).for_each(|_| history.push(Time::ZERO, Ending::Failed));
        history
    }

    #[test]
    fn a_search_for_one_bad_row_is_no_persistent_failure() {
        assert!(!history(7, 0).is_persistent());
        assert!(!history(14, 0).is_persistent());
    }

    #[test]
    fn failing_most_of_the_time_is() {
        assert!(history(15, 0).is_persistent());
        assert!(history(115, 100).is_persistent());
        assert!(!history(114, 100).is_persistent());
    }

    #[test]
    fn failures_are_forgotten_after_ten_seconds() {
        let mut history = history(100, 0);
        history.push(seconds(10), Ending::Answered);
        assert!(history.is_persistent());
        history.push(seconds(11), Ending::Answered);
        assert!(!history.is_persistent());
    }

    #[test]
    fn the_history_is_bounded() {
        let history = history(10 * BATCHES_REMEMBERED_MAX, 10);
        assert_eq!(history.batches.len(), BATCHES_REMEMBERED_MAX);
        assert_eq!(history.failed, BATCHES_REMEMBERED_MAX);
    }
}
