//! Who no longer waits: clients that hung up while their tasks did.
//!
//! A ticket that is dropped unanswered leaves one note at the model's dispatcher, which looks through its tasks in
//! its next turns. The note carries nothing, so any number of them is one: the mailbox holds a single one, requests
//! that are answered pay nothing, and a dispatcher's turn looks at a bounded number of tasks.

use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::in_flight::{Accepted, InFlight};
use crate::ids::TaskId;

/// Tasks looked at in one turn, a look-up and a load each: half of what may come in one. The rest follow in the next
/// turns.
const LOOKS_PER_TURN_MAX: usize = 512;

/// One is enough: it says "look".
const NOTES_MAX: usize = 1;

/// Told by tickets.
pub type HangUpNotes = mpsc::Sender<()>;

/// The dispatcher's end.
#[derive(Debug)]
pub struct HangUps {
    notes: mpsc::Receiver<()>,
    /// A note came since the last look began.
    noted: bool,
    /// Of the look that is under way.
    to_look_at: Vec<TaskId>,
}

impl HangUps {
    pub fn channel() -> (HangUpNotes, HangUps) {
        let (sender, notes) = mpsc::channel(NOTES_MAX);
        (sender, HangUps { notes, noted: false, to_look_at: Vec::new() })
    }

    /// Somebody may have gone whose task is still there.
    pub fn is_pending(&mut self) -> bool {
        self.noted |= self.notes.try_recv().is_ok();
        self.is_looking()
    }

    /// A look is under way, or due. What comes later wakes whoever waits.
    pub fn is_looking(&self) -> bool {
        self.noted || !self.to_look_at.is_empty()
    }

    /// Ready when a note came; else wakes when one does.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let came = matches!(self.notes.poll_recv(context), Poll::Ready(Some(())));
        self.noted |= came;
        if came { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Those of the next few tasks whose client has gone.
    pub fn look(&mut self, tasks: &InFlight) -> Vec<TaskId> {
        if !self.is_pending() {
            return Vec::new();
        }
        if self.to_look_at.is_empty() {
            self.noted = false;
            self.to_look_at = tasks.waiting();
        }
        let from = self.to_look_at.len().saturating_sub(LOOKS_PER_TURN_MAX);
        let has_gone = |id: &TaskId| tasks.task(*id).is_some_and(Accepted::is_abandoned);
        self.to_look_at.drain(from..).filter(has_gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;
    use crate::dispatch::handle::{ReplyTo, Ticket};
    use crate::ids::{ClassId, CoreId};
    use crate::query::types::{TaskError, TaskInputs, Tensors};
    use tokio::sync::oneshot;

    /// `count` tasks that were accepted, and who waits for them.
    fn accepted(count: u64, notes: &HangUpNotes) -> (InFlight, Vec<Ticket<'_>>) {
        let mut tasks = InFlight::default();
        let mut tickets = Vec::new();
        for id in 0..count {
            let (waiter, answer) = oneshot::channel();
            tickets.push(Ticket::new(answer, notes));
            let reply = ReplyTo { origin: CoreId(0), waiter, parts: None };
            let inputs = TaskInputs { tensors: Tensors::new(), rows: 1 };
            let (submitted, due, class) = (Time::ZERO, Time::NEVER, ClassId::DEFAULT);
            tasks.accept(TaskId(id), Accepted { inputs, reply, submitted, due, class });
        }
        (tasks, tickets)
    }

    #[test]
    fn nobody_is_looked_for_until_a_ticket_is_dropped() {
        let (notes, mut hang_ups) = HangUps::channel();
        let (tasks, mut tickets) = accepted(3, &notes);
        assert!(!hang_ups.is_pending());
        drop(tickets.remove(1));
        assert!(hang_ups.is_pending());
        assert_eq!(hang_ups.look(&tasks), [TaskId(1)]);
        assert!(!hang_ups.is_pending(), "one look answers one note");
    }

    #[test]
    fn a_turn_looks_at_a_bounded_number_and_the_next_ones_at_the_rest() {
        let (notes, mut hang_ups) = HangUps::channel();
        let count = 2 * LOOKS_PER_TURN_MAX + 1;
        let (tasks, tickets) = accepted(count as u64, &notes);
        drop(tickets);
        let (mut turns, mut found) = (0, Vec::new());
        while hang_ups.is_pending() {
            let some = hang_ups.look(&tasks);
            assert!(some.len() <= LOOKS_PER_TURN_MAX);
            found.extend(some);
            turns += 1;
        }
        found.sort_unstable();
        assert_eq!((turns, found.len()), (3, count), "all found, none twice");
        found.dedup();
        assert_eq!(found.len(), count);
    }

    #[test]
    fn an_answered_ticket_leaves_no_note() {
        let (notes, mut hang_ups) = HangUps::channel();
        let (mut tasks, mut tickets) = accepted(1, &notes);
        let reply = tasks.leave(TaskId(0)).unwrap().reply;
        reply.waiter.send(Err(TaskError::Draining)).unwrap();
        let mut ticket = std::pin::pin!(tickets.remove(0));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(ticket.as_mut().poll(&mut context).is_ready());
        drop(tickets);
        assert!(!hang_ups.is_pending());
    }

    #[test]
    fn a_note_wakes_whoever_waits() {
        let (notes, mut hang_ups) = HangUps::channel();
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(hang_ups.poll(&mut context).is_pending());
        let (_tasks, tickets) = accepted(2, &notes);
        drop(tickets);
        assert!(hang_ups.poll(&mut context).is_ready());
        assert!(hang_ups.is_pending(), "and is remembered");
    }
}
