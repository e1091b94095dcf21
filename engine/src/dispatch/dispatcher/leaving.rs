//! How tasks end: turned away, answered one way or another, or forgotten because their client has gone.

use std::time::Duration;

use super::{Accepted, Dispatcher};
use crate::batch::{Leave, Refusal, TaskView};
use crate::clock::Time;
use crate::dispatch::explain::Subject;
use crate::ids::TaskId;
use crate::observe::metrics::ClassOutcome;
use crate::query::types::{TaskError, TaskResult};

impl Dispatcher {
    pub(super) fn admit(&mut self, now: Time, view: TaskView) -> Result<(), TaskError> {
        let (bytes, limit) = (view.bytes, self.task_bytes_max);
        if bytes > limit {
            return Err(TaskError::TooLarge { bytes, limit });
        }
        let mut refusal = self.batcher.handle_arrival(now, view);
        if matches!(refusal, Err(Refusal::QueueFull { .. })) && self.make_room(now) {
            refusal = self.batcher.handle_arrival(now, view);
        }
        refusal.map_err(|refusal| match refusal {
            Refusal::QueueFull { retry_after } => TaskError::QueueFull { retry_after },
            Refusal::Hopeless { retry_after } => TaskError::Overloaded { retry_after },
            Refusal::DeadlinePassed => TaskError::DeadlinePassed,
        })
    }

    /// Forgets all tasks whose client has gone, if there may be any.
    fn make_room(&mut self, now: Time) -> bool {
        if !self.hang_ups.is_pending() {
            return false;
        }
        let abandoned = self.in_flight.abandoned();
        self.cancel(now, &abandoned)
    }

    /// Forgets some of them: what is left is for the next turns.
    pub(super) fn take_hang_ups(&mut self, now: Time) {
        let gone = self.hang_ups.look(&self.in_flight);
        self.cancel(now, &gone);
    }

    /// True when somebody left. What runs already stays until its batch is back: its rows can't be taken out, and the
    /// batch's account of who has which row stays right.
    fn cancel(&mut self, now: Time, tasks: &[TaskId]) -> bool {
        let waiting = tasks.iter().filter(|&&task| !self.batcher.is_in_flight(task));
        let waiting: Vec<_> = waiting.copied().collect();
        waiting.iter().for_each(|&task| self.batcher.handle_cancel(now, task));
        if !waiting.is_empty() {
            self.carry_out(now);
        }
        !waiting.is_empty()
    }

    /// Tasks whose client has gone are not run.
    pub(super) fn without_abandoned(&mut self, now: Time, mut tasks: Vec<TaskId>) -> Vec<TaskId> {
        let gone = |id: &TaskId| self.in_flight.task(*id).is_none_or(Accepted::is_abandoned);
        if !tasks.iter().any(gone) {
            return tasks;
        }
        let abandoned: Vec<_> = tasks.iter().copied().filter(gone).collect();
        tasks.retain(|id| !abandoned.contains(id));
        for id in abandoned {
            self.batcher.handle_cancel(now, id);
        }
        tasks
    }

    /// Nobody is coming to run what waits.
    pub(super) fn answer_waiting(&mut self, now: Time, error: &TaskError) {
        for id in self.in_flight.waiting() {
            if let Some(task) = self.in_flight.leave(id) {
                self.answer(task, Err(error.clone()));
            }
            self.batcher.handle_cancel(now, id);
        }
    }

    pub(super) fn leave(&mut self, id: TaskId, why: Leave) {
        let Some(task) = self.in_flight.leave(id) else { return };
        let result = match why {
            Leave::Answered => Ok(self.cause.prediction(id, &task)),
            Leave::DeadlinePassed => Err(TaskError::DeadlinePassed),
            Leave::Shed(_) => {
                Err(TaskError::Overloaded { retry_after: self.batcher.predicted_drain() })
            }
            Leave::Raised => Err(TaskError::ModelRaised { message: self.cause.message() }),
            Leave::Refused => Err(TaskError::InputRefused { message: self.cause.message() }),
            Leave::BadOutput => Err(TaskError::BadOutput { message: self.cause.message() }),
            Leave::Lost | Leave::Quarantined if task.has_begun() => {
                Err(TaskError::StreamBroken { last_output: self.cause.message() })
            }
            Leave::Quarantined => {
                self.recorder.quarantined();
                Err(TaskError::Quarantined { last_output: self.cause.message() })
            }
            Leave::Lost => Err(TaskError::ReplicaLost { last_output: self.cause.message() }),
            Leave::TimedOut => Err(TaskError::BatchTimeout {
                limit: Duration::from_micros(self.spec.batch_timeout_us),
            }),
            Leave::Cancelled => return self.count_cancelled(&task),
        };
        self.answer(task, result);
    }

    /// Counts it for its class, and hands it to who waits.
    pub(super) fn answer(&mut self, task: Accepted, result: TaskResult) {
        let outcome = self.outcome(&task, &result);
        self.recorder.class(task.class, outcome);
        match &result {
            Ok(prediction) => {
                let (rows, queue) = (task.inputs.rows, prediction.timings.queue);
                self.recorder.predicted(rows, queue, &self.cause.compute());
            }
            Err(_) => self.count_failed(&task, outcome),
        }
        self.outbox.put(task.reply, result);
        self.answered = true;
    }

    pub(super) fn count_cancelled(&self, task: &Accepted) {
        self.recorder.class(task.class, ClassOutcome::Cancelled);
        self.count_failed(task, ClassOutcome::Cancelled);
    }

    fn count_failed(&self, task: &Accepted, outcome: ClassOutcome) {
        let waited = self.clock.now().since(task.submitted);
        self.recorder.failed_after(waited);
        if outcome == ClassOutcome::Shed {
            self.recorder.shed_after(waited);
        }
    }

    fn outcome(&self, task: &Accepted, result: &TaskResult) -> ClassOutcome {
        let in_time = self.cause.replied().is_none_or(|replied| replied <= task.due);
        match result {
            _ if task.is_abandoned() => ClassOutcome::Cancelled,
            Ok(_) if in_time => ClassOutcome::OnTime,
            Ok(_) => ClassOutcome::Late,
            Err(error) => without_prediction(error),
        }
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            batcher: &self.batcher,
            in_flight: &self.in_flight,
            recorder: &self.recorder,
            names: &self.names,
            recent: &self.recent,
            warm_ups: &self.warm_ups,
        }
    }
}

fn without_prediction(error: &TaskError) -> ClassOutcome {
    match error {
        TaskError::QueueFull { .. }
        | TaskError::Overloaded { .. }
        | TaskError::NoReplica { .. }
        | TaskError::Draining => ClassOutcome::Shed,
        TaskError::DeadlinePassed => ClassOutcome::Expired,
        TaskError::TooLarge { .. }
        | TaskError::ModelRaised { .. }
        | TaskError::InputRefused { .. }
        | TaskError::BadOutput { .. }
        | TaskError::ReplicaLost { .. }
        | TaskError::Quarantined { .. }
        | TaskError::BatchTimeout { .. }
        | TaskError::StreamBroken { .. }
        | TaskError::NotOnePart { .. } => ClassOutcome::Failed,
        TaskError::ReaderTooSlow { .. } => ClassOutcome::Cancelled,
    }
}
