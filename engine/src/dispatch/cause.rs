//! Why tasks leave in the event being handled: what the batcher, which sees neither outputs nor texts, can't say.

use std::sync::Arc;

use super::in_flight::{Accepted, Departed};
use super::lane::shm::rows_of;
use crate::clock::Time;
use crate::ids::TaskId;
use crate::observe::statistics::Compute;
use crate::query::types::{Prediction, Tensor, Timings};

pub enum Cause {
    None,
    Answered(Answered),
    Failed(Arc<str>),
    ReplicaLost(Arc<str>),
}

/// A batch that came back with outputs.
pub struct Answered {
    pub outputs: Vec<Tensor>,
    pub departed: Departed,
    pub replied: Time,
    pub compute: Compute,
}

impl Cause {
    /// A task's part of the outputs at hand.
    pub fn prediction(&self, id: TaskId, task: &Accepted) -> Prediction {
        let Cause::Answered(answered) = self else {
            unreachable!("the batcher answers tasks only for the batch whose reply is at hand")
        };
        answered.prediction(id, task)
    }

    /// When the reply at hand came, if there is one.
    pub fn replied(&self) -> Option<Time> {
        match self {
            Cause::Answered(answered) => Some(answered.replied),
            Cause::None | Cause::Failed(_) | Cause::ReplicaLost(_) => None,
        }
    }

    /// What the batch at hand took.
    pub fn compute(&self) -> Compute {
        match self {
            Cause::Answered(answered) => answered.compute,
            Cause::None | Cause::Failed(_) | Cause::ReplicaLost(_) => Compute::default(),
        }
    }

    /// What the model, or the end of its process, said.
    pub fn message(&self) -> Arc<str> {
        match self {
            Cause::Failed(message) | Cause::ReplicaLost(message) => message.clone(),
            Cause::None | Cause::Answered(_) => Arc::from("no further detail"),
        }
    }
}

impl Answered {
    fn prediction(&self, id: TaskId, task: &Accepted) -> Prediction {
        let Answered { outputs, departed, compute, .. } = self;
        let first_row =
            departed.first_row_of(id).expect("the batcher answers only tasks of the batch it sent");
        let rows = task.inputs.rows;
        let part = |whole| rows_of(whole, departed.rows, first_row, rows);
        Prediction {
            outputs: outputs.iter().map(part).collect(),
            timings: Timings {
                queue: departed.at.since(task.submitted),
                lane: compute.input + compute.output,
                model: compute.infer,
                batch_rows: departed.rows,
            },
        }
    }
}
