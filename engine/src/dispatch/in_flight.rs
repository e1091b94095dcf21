//! The dispatcher's own record of what it accepted: who waits for which rows, and which batch carries them.
//! A task is in the table from acceptance until it leaves; the rows stay here until its last answer, so that a
//! lost replica costs no data.

use std::collections::HashSet;
use std::time::Duration;

use super::handle::ReplyTo;
use crate::classes::CLASSES_MAX;
use crate::clock::Time;
use crate::ids::{BatchId, ById, ClassId, ReplicaId, TaskId};
use crate::query::types::TaskInputs;

/// A task between acceptance and its one answer.
#[derive(Debug)]
pub struct Accepted {
    pub inputs: TaskInputs,
    pub reply: ReplyTo,
    pub submitted: Time,
    pub due: Time,
    pub class: ClassId,
}

impl Accepted {
    /// A part of the answer is out.
    pub fn has_begun(&self) -> bool {
        self.reply.parts.as_ref().is_some_and(|parts| parts.begun)
    }

    /// The client has gone: nobody waits for the answer.
    pub fn is_abandoned(&self) -> bool {
        self.reply.waiter.is_closed()
    }
}

/// A batch between departure and reply.
#[derive(Debug)]
pub struct Departed {
    pub replica: ReplicaId,
    pub at: Time,
    /// What it took to gather it and hand it over.
    pub gathered: Duration,
    pub rows: u32,
    /// Each task and its first row, in order of departure.
    pub tasks: Vec<(TaskId, u32)>,
}

impl Departed {
    /// Where a task's rows start in the batch. Tasks mostly depart in the order of their ids.
    pub fn first_row_of(&self, id: TaskId) -> Option<u32> {
        let by_id = self.tasks.binary_search_by_key(&id, |&(task, _)| task);
        by_id
            .ok()
            .map(|index| self.tasks[index].1)
            .or_else(|| self.tasks.iter().find(|&&(task, _)| task == id).map(|&(_, row)| row))
    }
}

#[derive(Debug, Default)]
pub struct InFlight {
    tasks: ById<TaskId, Accepted>,
    batches: ById<BatchId, Departed>,
}

impl InFlight {
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Accepted and not answered.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    pub fn accept(&mut self, id: TaskId, task: Accepted) {
        let before = self.tasks.insert(id, task);
        assert!(before.is_none(), "a task's id is used once");
    }

    pub fn task(&self, id: TaskId) -> Option<&Accepted> {
        self.tasks.get(&id)
    }

    pub fn task_mut(&mut self, id: TaskId) -> Option<&mut Accepted> {
        self.tasks.get_mut(&id)
    }

    pub fn batch(&self, id: BatchId) -> Option<&Departed> {
        self.batches.get(&id)
    }

    pub fn leave(&mut self, id: TaskId) -> Option<Accepted> {
        self.tasks.remove(&id)
    }

    pub fn depart(&mut self, id: BatchId, batch: Departed) {
        let before = self.batches.insert(id, batch);
        assert!(before.is_none(), "a batch's id is used once");
    }

    /// Rows that went out with a batch; zero when no such batch is out.
    pub fn rows(&self, id: BatchId) -> u32 {
        self.batches.get(&id).map_or(0, |batch| batch.rows)
    }

    pub fn arrive(&mut self, id: BatchId) -> Option<Departed> {
        self.batches.remove(&id)
    }

    /// Forgets the batches a lost replica had; their tasks stay.
    pub fn forget_replica(&mut self, replica: ReplicaId) {
        self.batches.retain(|_, batch| batch.replica != replica);
    }

    /// Tasks whose client has gone.
    pub fn abandoned(&self) -> Vec<TaskId> {
        self.tasks.iter().filter(|(_, task)| task.is_abandoned()).map(|(&id, _)| id).collect()
    }

    /// By class, the tasks that are with no replica. Walks over all: for people who ask.
    pub fn waiting_by_class(&self) -> [usize; CLASSES_MAX] {
        let out = self.batches.values().flat_map(|batch| &batch.tasks);
        let out: HashSet<TaskId> = out.map(|&(task, _)| task).collect();
        let mut waiting = [0; CLASSES_MAX];
        for (_, task) in self.tasks.iter().filter(|(id, _)| !out.contains(id)) {
            waiting[usize::from(task.class.0)] += 1;
        }
        waiting
    }

    /// Every task that has not left.
    pub fn waiting(&self) -> Vec<TaskId> {
        self.tasks.keys().copied().collect()
    }
}
