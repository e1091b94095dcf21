//! Parts of answers: handed on as they come, each with a verdict for its replica.
//!
//! A part nobody waits for is answered with `stop`. So a task that has left for whatever reason costs its replica what
//! it takes to the next part, and no longer. Warm-ups take the first part and stop.

use super::Dispatcher;
use crate::clock::Time;
use crate::dispatch::in_flight::Departed;
use crate::dispatch::lane::{Part, Verdict};
use crate::dispatch::parts::{NotHandedOn, PARTS_WAITING_MAX};
use crate::ids::TaskId;
use crate::query::types::{Prediction, TaskError, Timings};

/// What became of a part.
enum Passed {
    /// To who waits for it; all is to have come by then.
    On {
        ends: Time,
    },
    /// The task has left, or there never was one.
    Unwanted,
    Not(TaskId, NotHandedOn),
    /// Who asked takes one answer.
    OneExpected(TaskId),
}

impl Dispatcher {
    pub(super) fn pass_on(&mut self, now: Time, index: usize, part: Part) {
        let (replica, batch) = (self.lanes[index].replica, part.batch);
        let passed = self.hand_on(now, part);
        let goes_on = matches!(passed, Passed::On { .. });
        self.lanes[index].tell(if goes_on { Verdict::GoOn } else { Verdict::Stop });
        match passed {
            Passed::On { ends } => self.batcher.handle_part(now, replica, batch, ends),
            Passed::Unwanted => {}
            Passed::Not(task, NotHandedOn::Gone) => self.batcher.handle_cancel(now, task),
            Passed::Not(task, NotHandedOn::TooSlow) => {
                self.end(now, task, TaskError::ReaderTooSlow { parts: PARTS_WAITING_MAX });
            }
            Passed::OneExpected(task) => {
                self.end(now, task, TaskError::NotOnePart { given: "a part" });
            }
        }
        self.carry_out(now);
    }

    fn hand_on(&mut self, now: Time, part: Part) -> Passed {
        let Some(departed) = self.in_flight.batch(part.batch) else { return Passed::Unwanted };
        // Batches of such models hold one task; those of a warm-up none.
        let Some(&(id, _)) = departed.tasks.first() else { return Passed::Unwanted };
        let (at, batch_rows) = (departed.at, departed.rows);
        let Some(task) = self.in_flight.task_mut(id) else { return Passed::Unwanted };
        if task.is_abandoned() {
            return Passed::Not(id, NotHandedOn::Gone);
        }
        let Some(parts) = &mut task.reply.parts else { return Passed::OneExpected(id) };
        let service = now.since(at);
        let model = part.model.min(service);
        let queue = at.since(task.submitted);
        let timings = Timings { queue, lane: service - model, model, batch_rows };
        self.recorder.lane_bytes(part.outputs.iter().map(|tensor| tensor.data.bytes()).sum());
        self.answered = true;
        let prediction = Prediction { outputs: part.outputs.into_iter().collect(), timings };
        match parts.hand_on(prediction) {
            Ok(()) => Passed::On { ends: parts.ends },
            Err(why) => Passed::Not(id, why),
        }
    }

    /// Answers a task that a replica still has.
    fn end(&mut self, now: Time, id: TaskId, error: TaskError) {
        if let Some(task) = self.in_flight.leave(id) {
            self.answer(task, Err(error));
        }
        self.batcher.handle_cancel(now, id);
    }

    /// Whether everybody has left who was in the batch.
    pub(super) fn is_unwanted(&self, departed: &Departed) -> bool {
        departed.tasks.iter().all(|&(id, _)| self.in_flight.task(id).is_none())
    }
}
