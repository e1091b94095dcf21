//! The way into a model's dispatcher from any core: a bounded, lock-free hand-off.
//!
//! A handle is `Send` and cheap to clone. A task submitted from the dispatcher's own core takes the same way; no
//! other core is woken then. The answer comes back through [`Ticket`], completed on the core that asked.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use tokio::sync::{mpsc, oneshot};

use super::ControlMsg;
use super::hang_ups::HangUpNotes;
use super::parts::{self, PartsOut, Stream};
use crate::clock::Time;
use crate::ids::{ClassId, CoreId, Version};
use crate::labels::Labels;
use crate::observe::statistics::Statistics;
use crate::query::types::{TaskError, TaskInputs, TaskResult, Terms};
use crate::triton_config::TritonConfig;

/// Asked of the caller when the hand-off itself is full; the dispatcher drains it every turn.
const HANDOFF_FULL_RETRY: Duration = Duration::from_millis(100);

/// A task on its way to its dispatcher.
#[derive(Debug)]
pub struct Submission {
    pub inputs: TaskInputs,
    pub terms: Terms,
    pub submitted: Time,
    pub reply: ReplyTo,
}

/// Who waits for the answer, and on which core.
#[derive(Debug)]
pub struct ReplyTo {
    pub origin: CoreId,
    pub waiter: oneshot::Sender<TaskResult>,
    /// For who takes an answer in parts; the waiter then gets its end.
    pub parts: Option<Box<PartsOut>>,
}

/// Awaited by the connection that asked. Dropped before it is answered, it cancels the task.
#[derive(Debug)]
pub struct Ticket<'h> {
    answer: oneshot::Receiver<TaskResult>,
    notes: &'h HangUpNotes,
    answered: bool,
}

impl<'h> Ticket<'h> {
    pub fn new(answer: oneshot::Receiver<TaskResult>, notes: &'h HangUpNotes) -> Ticket<'h> {
        Ticket { answer, notes, answered: false }
    }
}

impl Future for Ticket<'_> {
    type Output = TaskResult;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<TaskResult> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        self.answered = true;
        // A dispatcher answers all it accepted; only one that ended with the engine leaves a ticket unanswered.
        Poll::Ready(answer.unwrap_or(Err(TaskError::Draining)))
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.answered {
            // Closed first, so that whoever reads the note finds that nobody waits. A note may lie there already.
            self.answer.close();
            let _noted = self.notes.try_send(());
        }
    }
}

/// One model version, as the request path sees it.
#[derive(Clone, Debug)]
pub struct ModelHandle {
    pub name: Arc<str>,
    pub version: Version,
    pub spec: Arc<ModelSpec>,
    /// The core whose dispatcher owns the model.
    pub core: CoreId,
    /// Of requests that name none.
    pub class: ClassId,
    /// What its config.pbtxt says, where it has one.
    pub config: Option<Arc<TritonConfig>>,
    /// What the classes of its outputs are called.
    pub labels: Labels,
    entrance: Entrance,
}

/// The ways into a dispatcher.
#[derive(Clone, Debug)]
pub struct Entrance {
    pub submissions: mpsc::Sender<Submission>,
    pub hang_ups: HangUpNotes,
    /// Weak, so that the dispatcher still notices when its supervisor has gone.
    pub control: mpsc::WeakSender<ControlMsg>,
}

impl ModelHandle {
    pub fn new(
        name: Arc<str>,
        version: Version,
        spec: Arc<ModelSpec>,
        core: CoreId,
        class: ClassId,
        entrance: Entrance,
    ) -> ModelHandle {
        let labels = Labels::default();
        ModelHandle { name, version, spec, core, class, config: None, labels, entrance }
    }

    pub fn with_labels(self, labels: Labels) -> ModelHandle {
        ModelHandle { labels, ..self }
    }

    #[must_use]
    pub fn with_config(self, config: Option<Arc<TritonConfig>>) -> ModelHandle {
        ModelHandle { config, ..self }
    }

    /// Whether both lead to the same dispatcher.
    pub fn is(&self, other: &ModelHandle) -> bool {
        self.entrance.submissions.same_channel(&other.entrance.submissions)
    }

    /// What the model's batching knows and does; `None` when its dispatcher is busy with changes or has gone.
    pub async fn explain(&self) -> Option<serde_json::Value> {
        let (reply, answer) = oneshot::channel();
        self.entrance.control.upgrade()?.try_send(ControlMsg::Explain(reply)).ok()?;
        answer.await.ok()
    }

    /// What was counted of the model, all of one moment; `None` as for [`ModelHandle::explain`].
    pub async fn statistics(&self) -> Option<Statistics> {
        let (reply, answer) = oneshot::channel();
        self.entrance.control.upgrade()?.try_send(ControlMsg::Statistics(reply)).ok()?;
        answer.await.ok()
    }

    /// Hands the task over, or says at once why not. Never waits.
    pub fn submit(
        &self,
        inputs: TaskInputs,
        terms: Terms,
        submitted: Time,
        origin: CoreId,
    ) -> Result<Ticket<'_>, TaskError> {
        let (waiter, answer) = oneshot::channel();
        let reply = ReplyTo { origin, waiter, parts: None };
        self.hand_over(Submission { inputs, terms, submitted, reply })?;
        Ok(Ticket::new(answer, &self.entrance.hang_ups))
    }

    /// The same for an answer in parts, however many the model gives. All of them are to have come by `ends`, which is
    /// for the whole what the terms' deadline is for the first.
    pub fn submit_for_parts(
        &self,
        inputs: TaskInputs,
        terms: Terms,
        ends: Time,
        submitted: Time,
        origin: CoreId,
    ) -> Result<Stream, TaskError> {
        let (waiter, answer) = oneshot::channel();
        let (out, parts) = parts::channel(ends);
        let reply = ReplyTo { origin, waiter, parts: Some(Box::new(out)) };
        self.hand_over(Submission { inputs, terms, submitted, reply })?;
        Ok(Stream::new(parts, answer, self.entrance.hang_ups.clone()))
    }

    fn hand_over(&self, submission: Submission) -> Result<(), TaskError> {
        match self.entrance.submissions.try_send(submission) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(TaskError::QueueFull { retry_after: HANDOFF_FULL_RETRY })
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(TaskError::Draining),
        }
    }
}
