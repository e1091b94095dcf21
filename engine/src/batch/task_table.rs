//! Every accepted task that has not left yet, by id.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::TaskView;
use crate::clock::Time;
use crate::ids::{ShapeKey, TaskId};

/// What decides about a task; copied freely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) id: TaskId,
    pub(super) rows: u32,
    pub(super) bytes: u64,
    pub(super) shape: ShapeKey,
    pub(super) due: Time,
    pub(super) late_limit: Time,
}

impl Waiting {
    pub(super) fn new(task: &TaskView) -> Waiting {
        Waiting {
            id: task.id,
            rows: task.rows,
            bytes: task.bytes,
            shape: task.shape,
            due: task.due,
            late_limit: task.late_limit,
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
    /// A replica died with it in flight. A second time, it leaves.
    pub(super) suspect: bool,
}

pub(super) type TaskTable = HashMap<TaskId, Task, BuildHasherDefault<IdHasher>>;

/// Hashes the engine's own consecutive numbers: no attacker chooses them, so one multiplication will do.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 / golden ratio, odd: Fibonacci hashing (Knuth, TAOCP 3, 6.4). The rotation brings the well-mixed
        // high bits down to where the table takes its bucket from.
        self.0 = (self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}
