//! What may go now, to whom, how many; and what can no longer make it.
//!
//! [`Batcher`] is a pure state machine: events and `now` go in, effects and the next wake-up come out. It never
//! sees a byte of a tensor, only [`TaskView`]s, and it neither reads a clock nor draws a random number, so that
//! equal events give equal effects and the simulator drives the very same code.
//!
//! # A task's life
//!
//! ```text
//!              ┌────────── on time ──┐                      ┌──► Answered
//!   arrival ──►│ by due (EDF)        ├──► in flight ────────┼──► Raised · Refused · BadOutput
//!      │       └─┬───────────────────┘    │     ▲           └──► Lost · TimedOut · Quarantined
//!      │  soft, too late for its SLO      │     │
//!      ▼         ▼                        ▼     │
//!   Refusal    late, by late limit     again: groups that run before the queue
//! ```
//!
//! From every state a task may leave as `DeadlinePassed` (at its late limit, which is its due time when hard) or
//! as `Cancelled`. It leaves exactly once, and is forgotten then: what a batch still says about it is ignored.
//!
//! * **On time.** Earliest due first. The controller says which heads can't be on time any more, or are given up so
//!   that others are: hard ones leave as `Shed`; soft ones turn late, unless the late would outlast their limit.
//! * **Late.** Earliest late limit first. Served only when no on-time task waits, never in a batch with one.
//! * **In flight.** At most [`CREDITS_PER_REPLICA`] batches per replica, and no task is bound to a replica before
//!   it is idle. A batch out longer than `batch_timeout` costs the replica its life: `Kill`, once; nothing more is
//!   sent there, and the shell reports the death as for any other.
//! * **Again.** Groups that failed together and are sent ahead of the queue, each as a batch of its own:
//!   - a failed batch of several tasks is cut in two, until the task at fault is alone and leaves with the error;
//!   - the neighbours of a refused row go as one group;
//!   - what a lost replica had in flight is suspect: each task runs alone, once; lost again, it leaves, `Quarantined`.
//!
//!   Only tasks whose late limit leaves room for another run go again. A model that mostly fails is not bisected:
//!   everything in its failed batch leaves with the error.
//!
//! # When decisions are made
//!
//! `handle_*` records; [`Batcher::poll_effect`] decides, at the latest `now` it was told, once all earlier effects
//! are taken. A shell that hands over everything that came in one turn and then polls gets one batch from it
//! instead of a batch of one and a remainder. Once `poll_effect` returns `None`, an idle replica has either nothing
//! to do or was told to wait until [`Batcher::next_timeout`], at most half an SLO.
//!
//! # Laws
//!
//! Asserted where the step is taken, by [`Batcher::check_invariants`], and by random event sequences in the tests:
//! an accepted task leaves exactly once; a batch has at least one row, at most the model's rows and the slot's
//! bytes, at most the controller's rows unless it is a single task (tasks are never split), and one shape key;
//! no replica has more batches out than credits; no arrival takes the queue past its bounds in tasks and bytes;
//! nothing past its late limit is sent; equal events give equal effects.
//!
//! # Copies
//!
//! A batch that is overdue may be sent again to an idle replica. Its tasks are then in two batches: the first answer
//! counts; a failure or a loss counts only when no other batch holds the task.
//!
//! # Replies in parts
//!
//! A batch of which a part was handed on is told of by [`Batcher::handle_part`]: it may take as long again for the next,
//! its task does not run again whatever becomes of the replica, and the late limit it came with, which was for the first
//! word, gives way to the one it has for its last. Such models get one task a batch (a cost limit of one) and no copies.
//!
//! Deliberately absent: tenants.

use std::time::Duration;

use crate::clock::Time;
use crate::ids::{BatchId, ReplicaId, ShapeKey, TaskId};

pub mod batch_size;
pub mod batcher;
pub mod batching;
mod deadline_queue;
mod edf_list;
mod extent;
pub mod fixed;
pub mod latency_profile;
mod rate;
mod replicas;
mod reruns;
pub mod shed_log;
pub mod slo;
mod task_table;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

pub use batch_size::{Controller, Decision, Observed, QueueView, ReplicasView, Running, Shed};
pub use batcher::Batcher;
pub use batching::Batching;
pub use replicas::CREDITS_PER_REPLICA;

/// Bounds of one model's queue and batches.
#[derive(Clone, Debug)]
pub struct BatcherConfig {
    pub queue_tasks_max: usize,
    pub queue_bytes_max: u64,
    /// The model's `max_batch`.
    pub batch_rows_max: u32,
    /// What the tensors of one batch may take in a slot.
    pub batch_bytes_max: u64,
    /// What a batch of several tasks may cost at most; a single task always goes.
    pub batch_cost_max: u64,
    pub cost_rule: CostRule,
    /// Whether an overdue batch may be sent to a second replica.
    pub copies: Copies,
    pub slo: Option<Duration>,
    /// From a batch's departure to its outcome; past that its replica is killed.
    pub batch_timeout: Duration,
}

/// Whether a batch may be with two replicas at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Copies {
    #[default]
    Allowed,
    /// What the second would say can't be told apart from what the first said.
    Never,
}

/// What a batch costs, given what its tasks do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CostRule {
    /// Their sum: rows, or tokens that lie end to end.
    #[default]
    Sum,
    /// Each row is padded to the dearest: what that one costs times their number.
    Padded,
}

/// All the batcher sees of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskView {
    pub id: TaskId,
    /// At least 1, at most `batch_rows_max`: refused before it gets here.
    pub rows: u32,
    /// At most `batch_bytes_max`: refused before it gets here.
    pub bytes: u64,
    /// Rows, or what the model declares.
    pub cost: u32,
    pub shape: ShapeKey,
    /// Its SLO class, as the log of what was shed shows it.
    pub class: u8,
    /// What its answer is worth, at least 1: the weight of its class, times its rows.
    pub weight: u32,
    pub due: Time,
    /// Equals `due` when the deadline is hard; never earlier.
    pub late_limit: Time,
    pub arrived: Time,
}

/// Why an arrival was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the queue is full; retry in {retry_after:?}, when it is expected to have drained")]
    QueueFull { retry_after: Duration },
    #[error(
        "no replica can answer before the deadline; retry in {retry_after:?}, or allow more time"
    )]
    Hopeless { retry_after: Duration },
    #[error("the deadline passed before the task reached the queue; allow more time")]
    DeadlinePassed,
}

/// What became of a batch. `service` is the time from departure to reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered {
        service: Duration,
    },
    Raised {
        service: Duration,
    },
    /// The model blames the caller for one row of the batch, or for one that it can't name.
    RowRefused {
        row: Option<u32>,
        service: Duration,
    },
    BadOutput {
        service: Duration,
    },
    /// The shell did not send it (all of its clients had gone): nothing ran and nothing is learnt.
    Withdrawn,
}

/// What the shell must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send these tasks, in this order, as one batch.
    Dispatch { replica: ReplicaId, batch: BatchId, tasks: Vec<TaskId> },
    /// The task's one and only end.
    Leave { task: TaskId, why: Leave },
    /// The batch took longer than `batch_timeout`: end the replica, then report it down.
    Kill { replica: ReplicaId, batch: BatchId },
}

/// How a task left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    Answered,
    DeadlinePassed,
    /// Given up before its deadline, so that the caller can try elsewhere.
    Shed(Shed),
    Raised,
    /// The model blamed this task's rows on the caller.
    Refused,
    BadOutput,
    /// Its replica died under it, and no time is left for another run.
    Lost,
    /// Two replicas died under it, or one in the midst of its answer.
    Quarantined,
    /// Its replica was killed for overrunning `batch_timeout`, and it may not run again.
    TimedOut,
    Cancelled,
}
