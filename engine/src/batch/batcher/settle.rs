//! What follows the end of a batch: who leaves, and who runs again with whom.

use super::Batcher;
use crate::batch::batch_size::{Controller, Observed};
use crate::batch::replicas::Outgoing;
use crate::batch::reruns::Ending;
use crate::batch::task_table::{Place, Waiting};
use crate::batch::{Effect, Leave, Outcome};
use crate::ids::TaskId;
use std::time::Duration;

impl<C: Controller> Batcher<C> {
    pub(super) fn settle(&mut self, batch: Outgoing, outcome: Outcome) {
        self.discount_copies(&batch);
        match outcome {
            Outcome::Answered { service } => self.settle_answered(&batch, service),
            Outcome::Raised { .. } => self.settle_failed(&batch, Leave::Raised),
            Outcome::BadOutput { .. } => self.settle_failed(&batch, Leave::BadOutput),
            Outcome::RowRefused { row, .. } => self.settle_refused(&batch, row),
            Outcome::Withdrawn => {
                let unsent = self.survivors(&batch);
                self.run_again_last(&unsent);
            }
        }
        self.replicas.reuse(batch.members);
    }

    /// One batch less holds each member.
    fn discount_copies(&mut self, batch: &Outgoing) {
        for member in &batch.members {
            if let Some(task) = self.tasks.get_mut(&member.task) {
                task.copies -= 1;
            }
        }
    }

    fn observe(&mut self, batch: &Outgoing, service: Duration, censored: bool) {
        let observed = Observed {
            replica: batch.replica,
            device: batch.device,
            batch: batch.id,
            cost: batch.cost,
            service,
            at_bound: batch.at_bound,
            censored,
        };
        self.controller.observe(self.now, &observed);
    }

    fn settle_answered(&mut self, batch: &Outgoing, service: Duration) {
        self.observe(batch, service, false);
        self.failures.push(self.now, Ending::Answered);
        for member in &batch.members {
            if self.tasks.remove(&member.task).is_some() {
                let why = Leave::Answered;
                self.effects.push_back(Effect::Leave { task: member.task, why });
            }
        }
    }

    /// The model failed as a whole; nobody knows yet because of whom.
    fn settle_failed(&mut self, batch: &Outgoing, why: Leave) {
        self.failures.push(self.now, Ending::Failed);
        let survivors = self.survivors(batch);
        if batch.members.len() == 1 || self.failures.is_persistent() {
            self.leave_all(&survivors, why);
        } else {
            self.bisect(survivors, why);
        }
    }

    /// The model blames a caller. Its neighbours are innocent; while nobody knows who it is, so may be all.
    fn settle_refused(&mut self, batch: &Outgoing, row: Option<u32>) {
        let mut survivors = self.survivors(batch);
        if batch.members.len() == 1 {
            return self.leave_all(&survivors, Leave::Refused);
        }
        let Some(culprit) = row.and_then(|row| batch.task_of_row(row)) else {
            return self.bisect(survivors, Leave::DeadlinePassed);
        };
        self.leave(culprit, Leave::Refused);
        survivors.retain(|task| task.id != culprit);
        let neighbours = self.with_time_left(survivors, Leave::DeadlinePassed);
        self.run_again_last(&neighbours);
    }

    /// A replica died with this batch. Whoever was in it may be what killed it: each runs alone, once. Where another
    /// replica has a copy, that one's end counts: were both held against its tasks, innocent ones would never run alone.
    pub(super) fn settle_lost(&mut self, batch: Outgoing) {
        self.discount_copies(&batch);
        let why = if batch.overran { Leave::TimedOut } else { Leave::Lost };
        let (again, first): (Vec<_>, Vec<_>) =
            self.survivors(&batch).into_iter().partition(|task| self.is_suspect(task.id));
        self.leave_all(&again, if batch.overran { why } else { Leave::Quarantined });
        for suspect in self.with_time_left(first, why) {
            if let Some(task) = self.tasks.get_mut(&suspect.id) {
                task.suspect = true;
            }
            self.run_again_last(&[suspect]);
        }
        self.replicas.reuse(batch.members);
    }

    /// Cuts the tasks in two groups that go next, without those whose time is up: they leave with the failure.
    fn bisect(&mut self, tasks: Vec<Waiting>, why: Leave) {
        let tasks = self.with_time_left(tasks, why);
        let (first, second) = tasks.split_at(tasks.len().div_ceil(2));
        for half in [second, first].into_iter().filter(|half| !half.is_empty()) {
            self.mark_rerun(half);
            self.reruns.push_first(half);
        }
    }

    fn run_again_last(&mut self, group: &[Waiting]) {
        if !group.is_empty() {
            self.mark_rerun(group);
            self.reruns.push_last(group);
        }
    }

    fn mark_rerun(&mut self, group: &[Waiting]) {
        for task in group {
            let entry = self.tasks.get_mut(&task.id);
            entry.expect("a survivor has not left").place = Place::Rerun;
        }
    }

    /// Members that have not left and that no other batch holds.
    fn survivors(&self, batch: &Outgoing) -> Vec<Waiting> {
        let entries = batch.members.iter().filter_map(|member| self.tasks.get(&member.task));
        entries.filter(|task| task.copies == 0).map(|task| task.waiting).collect()
    }

    /// Lets those go, as `why`, that another run alone would bring past their late limit.
    fn with_time_left(&mut self, tasks: Vec<Waiting>, why: Leave) -> Vec<Waiting> {
        let (in_time, hopeless): (Vec<_>, Vec<_>) =
            tasks.into_iter().partition(|task| self.finish_of(task.cost) < task.late_limit);
        self.leave_all(&hopeless, why);
        in_time
    }

    fn leave_all(&mut self, tasks: &[Waiting], why: Leave) {
        tasks.iter().for_each(|task| self.leave(task.id, why));
    }

    fn is_suspect(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.suspect)
    }
}
