//! Answers on their way out of a dispatcher: completed at once for connections of its own core, gathered per core
//! for the others, so that a batch wakes each other core once.

use tokio::sync::mpsc::error::TrySendError;

use super::handle::ReplyTo;
use super::{CoreLinks, CoreMsg, Delivery};
use crate::ids::CoreId;
use crate::query::types::TaskResult;

pub struct Outbox {
    home: CoreId,
    links: CoreLinks,
    /// By core; the home core's stays empty.
    waiting: Vec<Vec<Delivery>>,
}

impl Outbox {
    pub fn new(home: CoreId, links: CoreLinks) -> Outbox {
        let waiting = links.iter().map(|_| Vec::new()).collect();
        Outbox { home, links, waiting }
    }

    pub fn put(&mut self, to: ReplyTo, result: TaskResult) {
        let delivery = Delivery { waiter: to.waiter, result };
        if to.origin == self.home {
            complete([delivery]);
        } else {
            self.waiting[to.origin.0].push(delivery);
        }
    }

    /// Sends what is gathered, one message a core.
    pub fn flush(&mut self) {
        for (core, waiting) in self.waiting.iter_mut().enumerate() {
            if waiting.is_empty() {
                continue;
            }
            let message = CoreMsg::Answers(std::mem::take(waiting));
            match self.links[core].try_send(message) {
                Ok(()) => {}
                // Waking each waiter from here costs more and loses nothing.
                Err(TrySendError::Full(message) | TrySendError::Closed(message)) => {
                    complete_message(message);
                }
            }
        }
    }
}

/// Completes each waiter; one whose client has gone is dropped.
pub fn complete(deliveries: impl IntoIterator<Item = Delivery>) {
    for Delivery { waiter, result } in deliveries {
        drop(waiter.send(result));
    }
}

fn complete_message(message: CoreMsg) {
    if let CoreMsg::Answers(deliveries) = message {
        complete(deliveries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::types::TaskError;
    use tokio::sync::{mpsc, oneshot};

    fn outbox(mailbox_messages: usize) -> (Outbox, mpsc::Receiver<CoreMsg>) {
        let (home, _) = mpsc::channel(1);
        let (other, mailbox) = mpsc::channel(mailbox_messages);
        (Outbox::new(CoreId(0), [home, other].into()), mailbox)
    }

    fn reply_to(core: usize) -> (ReplyTo, oneshot::Receiver<TaskResult>) {
        let (waiter, ticket) = oneshot::channel();
        (ReplyTo { origin: CoreId(core), waiter, parts: None }, ticket)
    }

    #[test]
    fn answers_its_own_core_at_once_and_others_with_one_message_a_flush() {
        let (mut outbox, mut mailbox) = outbox(4);
        let (near, mut near_ticket) = reply_to(0);
        let far: Vec<_> = (0..3).map(|_| reply_to(1)).collect();
        outbox.put(near, Err(TaskError::Draining));
        for (to, _ticket) in far {
            outbox.put(to, Err(TaskError::Draining));
        }
        assert!(near_ticket.try_recv().is_ok());
        outbox.flush();
        let Ok(CoreMsg::Answers(deliveries)) = mailbox.try_recv() else { panic!("no message") };
        assert_eq!(deliveries.len(), 3);
        assert!(mailbox.try_recv().is_err());
    }

    #[test]
    fn a_full_mailbox_loses_no_answer() {
        let (mut outbox, _mailbox) = outbox(1);
        let mut tickets = Vec::new();
        for _ in 0..3 {
            let (to, ticket) = reply_to(1);
            outbox.put(to, Err(TaskError::Draining));
            outbox.flush();
            tickets.push(ticket);
        }
        let answered = tickets.iter_mut().filter_map(|ticket| ticket.try_recv().ok()).count();
        assert_eq!(
            answered, 2,
            "the first waits in the mailbox, the others were completed directly"
        );
    }
}
