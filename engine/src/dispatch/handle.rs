//! The way into a model's dispatcher from any core: a bounded, lock-free hand-off.
//!
//! A handle is `Send` and cheap to clone. A task submitted from the dispatcher's own core takes the same way; no
//! other core is woken then. The answer comes back through [`Ticket`], completed on the core that asked.

use std::sync::Arc;
use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use tokio::sync::{mpsc, oneshot};

use super::ControlMsg;
use crate::clock::Time;
use crate::ids::{CoreId, Version};
use crate::query::types::{Deadline, TaskError, TaskInputs, TaskResult};

/// Asked of the caller when the hand-off itself is full; the dispatcher drains it every turn.
const HANDOFF_FULL_RETRY: Duration = Duration::from_millis(100);

/// A task on its way to its dispatcher.
#[derive(Debug)]
pub struct Submission {
    pub inputs: TaskInputs,
    pub deadline: Deadline,
    pub submitted: Time,
    pub reply: ReplyTo,
}

/// Who waits for the answer, and on which core.
#[derive(Debug)]
pub struct ReplyTo {
    pub origin: CoreId,
    pub waiter: oneshot::Sender<TaskResult>,
}

/// Awaited by the connection that asked. Dropping it cancels the task where it has not departed yet.
pub type Ticket = oneshot::Receiver<TaskResult>;

/// One model version, as the request path sees it.
#[derive(Clone, Debug)]
pub struct ModelHandle {
    pub name: Arc<str>,
    pub version: Version,
    pub spec: Arc<ModelSpec>,
    /// The core whose dispatcher owns the model.
    pub core: CoreId,
    submissions: mpsc::Sender<Submission>,
    /// Weak, so that the dispatcher still notices when its supervisor has gone.
    control: mpsc::WeakSender<ControlMsg>,
}

impl ModelHandle {
    pub fn new(
        name: Arc<str>,
        version: Version,
        spec: Arc<ModelSpec>,
        core: CoreId,
        submissions: mpsc::Sender<Submission>,
        control: &mpsc::Sender<ControlMsg>,
    ) -> ModelHandle {
        let control = control.downgrade();
        ModelHandle { name, version, spec, core, submissions, control }
    }

    /// What the model's batching knows and does; `None` when its dispatcher is busy with changes or has gone.
    pub async fn explain(&self) -> Option<serde_json::Value> {
        let (reply, answer) = oneshot::channel();
        self.control.upgrade()?.try_send(ControlMsg::Explain(reply)).ok()?;
        answer.await.ok()
    }

    /// Hands the task over, or says at once why not. Never waits.
    pub fn submit(
        &self,
        inputs: TaskInputs,
        deadline: Deadline,
        submitted: Time,
        origin: CoreId,
    ) -> Result<Ticket, TaskError> {
        let (waiter, ticket) = oneshot::channel();
        let reply = ReplyTo { origin, waiter };
        match self.submissions.try_send(Submission { inputs, deadline, submitted, reply }) {
            Ok(()) => Ok(ticket),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(TaskError::QueueFull { retry_after: HANDOFF_FULL_RETRY })
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(TaskError::Draining),
        }
    }
}
