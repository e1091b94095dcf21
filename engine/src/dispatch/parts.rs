//! Answers that come in parts, on their way from a dispatcher to who asked.
//!
//! Parts go straight to their reader, each as it comes; the end takes the way of every answer, through the outbox. A
//! reader that is slower than the model finds up to [`PARTS_WAITING_MAX`] parts waiting; then its stream is ended with an
//! error that says so, since a replica that waits for one reader would keep all others waiting. A reader that drops its
//! end cancels the task.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use tokio::sync::{mpsc, oneshot};

use super::hang_ups::HangUpNotes;
use crate::clock::Time;
use crate::query::types::{Prediction, TaskError, TaskResult, Timings};

/// Parts that wait for their reader. A part is at most a reply slot, mostly a token; at a hundred tokens a second a reader
/// may pause for more than half a second.
pub const PARTS_WAITING_MAX: usize = 64;

/// The dispatcher's end.
#[derive(Debug)]
pub struct PartsOut {
    to: mpsc::Sender<Prediction>,
    /// When the last part is to have come; [`Time::NEVER`]: whenever it does.
    pub ends: Time,
    /// One was handed on: the task can't be run again.
    pub begun: bool,
}

/// Why a part was not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHandedOn {
    TooSlow,
    Gone,
}

pub fn channel(ends: Time) -> (PartsOut, mpsc::Receiver<Prediction>) {
    let (to, parts) = mpsc::channel(PARTS_WAITING_MAX);
    (PartsOut { to, ends, begun: false }, parts)
}

impl PartsOut {
    pub fn hand_on(&mut self, part: Prediction) -> Result<(), NotHandedOn> {
        use mpsc::error::TrySendError::{Closed, Full};
        self.begun = true;
        self.to.try_send(part).map_err(|refused| match refused {
            Full(_) => NotHandedOn::TooSlow,
            Closed(_) => NotHandedOn::Gone,
        })
    }
}

/// What a stream has to say next.
#[derive(Clone, Debug)]
pub enum Event {
    Part(Prediction),
    /// All was said; of the whole answer.
    End(Timings),
}

/// The reader's end. Dropped before its end came, it cancels the task.
#[derive(Debug)]
pub struct Stream {
    parts: mpsc::Receiver<Prediction>,
    answer: oneshot::Receiver<TaskResult>,
    notes: HangUpNotes,
    /// Came, and waits until all parts before it are taken.
    end: Option<TaskResult>,
    answered: bool,
}

impl Stream {
    pub(super) fn new(
        parts: mpsc::Receiver<Prediction>,
        answer: oneshot::Receiver<TaskResult>,
        notes: HangUpNotes,
    ) -> Stream {
        Stream { parts, answer, notes, end: None, answered: false }
    }

    /// The next part, or the end; an error is an end too, and nothing is to be asked for behind one.
    pub async fn next(&mut self) -> Result<Event, TaskError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, TaskError>> {
        if !self.answered
            && let Poll::Ready(answer) = std::pin::Pin::new(&mut self.answer).poll(context)
        {
            self.answered = true;
            self.end = Some(answer.unwrap_or(Err(TaskError::Draining)));
        }
        // All parts were sent before the end.
        if self.answered {
            let part = self.parts.try_recv().ok();
            return Poll::Ready(part.map_or_else(|| self.take_end(), |part| Ok(Event::Part(part))));
        }
        match ready!(self.parts.poll_recv(context)) {
            Some(part) => Poll::Ready(Ok(Event::Part(part))),
            // The answer is on its way through the outbox and wakes us.
            None => Poll::Pending,
        }
    }

    /// A model that answers in one piece gives its outputs with the end.
    fn take_end(&mut self) -> Result<Event, TaskError> {
        let prediction = self.end.take().unwrap_or(Err(TaskError::Draining))?;
        if prediction.outputs.is_empty() {
            return Ok(Event::End(prediction.timings));
        }
        let end = Prediction { outputs: Default::default(), timings: prediction.timings };
        self.end = Some(Ok(end));
        Ok(Event::Part(prediction))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.answered {
            // As for a ticket: closed first, then told.
            self.answer.close();
            let _noted = self.notes.try_send(());
        }
    }
}
