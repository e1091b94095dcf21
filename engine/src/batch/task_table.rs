//! Every accepted task that has not left yet, by id.

use super::TaskView;
use crate::clock::Time;
use crate::ids::{ById, ShapeKey, TaskId};

/// What decides about a task; copied freely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) id: TaskId,
    pub(super) rows: u32,
    pub(super) cost: u32,
    pub(super) class: u8,
    pub(super) weight: u32,
    pub(super) bytes: u64,
    pub(super) shape: ShapeKey,
    pub(super) due: Time,
    pub(super) late_limit: Time,
    pub(super) arrived: Time,
}

impl Waiting {
    pub(super) fn new(task: &TaskView) -> Waiting {
        Waiting {
            id: task.id,
            rows: task.rows,
            cost: task.cost,
            class: task.class,
            weight: task.weight,
            bytes: task.bytes,
            shape: task.shape,
            due: task.due,
            late_limit: task.late_limit,
            arrived: task.arrived,
        }
    }

    pub(super) fn is_hard(&self) -> bool {
        self.due == self.late_limit
    }
}

/// Which structure holds a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Queued,
    Rerun,
    InFlight,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) waiting: Waiting,
    pub(super) place: Place,
    /// Batches in flight that hold it: two while it is hedged.
    pub(super) copies: u8,
    /// A replica died with it in flight, or a part of its answer was handed on. It leaves with the next that dies.
    pub(super) suspect: bool,
}

pub(super) type TaskTable = ById<TaskId, Task>;
