//! Which requests are due and not sent yet: every one of a closed loop when somebody can ask it, those of an open loop
//! at their times. Pure.

use std::collections::VecDeque;
use std::iter::Peekable;

use crate::ledger::Ledger;
use crate::plan::{Due, Plan};

/// Requests that are due and wait to be sent. Past it they count as held: the server is far behind.
const BACKLOG_MAX: usize = 1 << 16;

pub(crate) struct Schedule {
    /// None: the loop is closed.
    arrivals: Option<Peekable<Due>>,
    /// The oldest first.
    backlog: VecDeque<Waiting>,
    sent: u64,
    requests_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) due_ns: u64,
    /// When the driver saw that it is due.
    pub(crate) noticed_ns: u64,
    /// How many were sent before it.
    pub(crate) number: u64,
}

impl Schedule {
    pub(crate) fn new(plan: &Plan) -> Schedule {
        Schedule {
            arrivals: plan.load.due_times().map(Iterator::peekable),
            backlog: VecDeque::new(),
            sent: 0,
            requests_max: plan.requests_max,
        }
    }

    pub(crate) fn is_open_loop(&self) -> bool {
        self.arrivals.is_some()
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.sent >= self.requests_max
    }

    pub(crate) fn waiting(&self) -> usize {
        self.backlog.len()
    }

    /// Of an open loop, those that weren't taken yet.
    pub(crate) fn next_due_ns(&mut self) -> Option<u64> {
        self.arrivals.as_mut().and_then(|due| due.peek().copied())
    }

    /// Those of an open loop that are due by now, into the backlog.
    pub(crate) fn take_arrivals(&mut self, now_ns: u64, ledger: &mut Ledger) {
        let end_ns = ledger.window_end_ns();
        let mut left = self.requests_max - self.sent - self.backlog.len() as u64;
        let Some(arrivals) = &mut self.arrivals else { return };
        let is_due = |due_ns: &u64| *due_ns <= now_ns && *due_ns < end_ns;
        while let Some(due_ns) = (left > 0).then(|| arrivals.next_if(is_due)).flatten() {
            left -= 1;
            ledger.due(due_ns);
            if self.backlog.len() < BACKLOG_MAX {
                self.backlog.push_back(Waiting { due_ns, noticed_ns: now_ns, number: 0 });
            } else {
                ledger.held(1);
            }
        }
    }

    /// The one to send: of an open loop the oldest that waits, of a closed loop one that is due now.
    pub(crate) fn next(&mut self, now_ns: u64, ledger: &mut Ledger) -> Option<Waiting> {
        if self.is_exhausted() || now_ns >= ledger.window_end_ns() {
            return None;
        }
        let waiting = if self.is_open_loop() {
            self.backlog.pop_front()?
        } else {
            ledger.due(now_ns);
            Waiting { due_ns: now_ns, noticed_ns: now_ns, number: 0 }
        };
        self.sent += 1;
        Some(Waiting { number: self.sent - 1, ..waiting })
    }

    /// What is unsent at the window's end never will be. Those noticed before `now_ns` could have been sent but for the
    /// server; the rest were noticed too late.
    pub(crate) fn give_up(&mut self, now_ns: u64, ledger: &mut Ledger) {
        if now_ns < ledger.window_end_ns() {
            return;
        }
        let waiting = self.backlog.len() as u64;
        let is_late = |waiting: &Waiting| waiting.noticed_ns == now_ns;
        let late = self.backlog.drain(..).filter(is_late).count() as u64;
        ledger.dropped(late);
        ledger.held(waiting - late);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::Load;

    fn start(load: Load, requests_max: u64) -> (Schedule, Ledger) {
        let plan = Plan { load, requests_max, ..Plan::closed(1, Duration::from_nanos(100)) };
        let mut ledger = Ledger::new(None, None);
        ledger.open_window(plan.warm_up, plan.measure);
        (Schedule::new(&plan), ledger)
    }

    #[test]
    fn a_closed_loop_is_always_due_while_the_window_lasts() {
        let (mut schedule, mut ledger) = start(Load::Closed, u64::MAX);
        schedule.take_arrivals(10, &mut ledger);
        assert_eq!(schedule.waiting(), 0);
        for (now_ns, number) in [(10, 0), (20, 1)] {
            let expected = Waiting { due_ns: now_ns, noticed_ns: now_ns, number };
            assert_eq!(schedule.next(now_ns, &mut ledger), Some(expected));
        }
        assert_eq!(schedule.next(100, &mut ledger), None);
    }

    #[test]
    fn an_open_loop_hands_out_what_is_due_the_oldest_first() {
        let (mut schedule, mut ledger) = start(Load::Listed(vec![5, 6, 50, 100]), u64::MAX);
        schedule.take_arrivals(7, &mut ledger);
        assert_eq!(schedule.next_due_ns(), Some(50));
        let expected = Waiting { due_ns: 5, noticed_ns: 7, number: 0 };
        assert_eq!(schedule.next(9, &mut ledger), Some(expected));
        schedule.take_arrivals(200, &mut ledger);
        assert_eq!(schedule.next(200, &mut ledger), None, "the window is over");
        assert_eq!((schedule.waiting(), ledger.measured.due), (2, 3));
    }

    #[test]
    fn no_more_are_sent_than_were_asked_for() {
        let (mut schedule, mut ledger) = start(Load::Listed(vec![1, 2, 3]), 2);
        schedule.take_arrivals(3, &mut ledger);
        let sent = std::iter::from_fn(|| schedule.next(3, &mut ledger)).count();
        assert_eq!((sent, schedule.is_exhausted(), schedule.waiting()), (2, true, 0));
    }

    #[test]
    fn what_waited_in_vain_was_held_and_what_was_noticed_too_late_is_dropped() {
        let (mut schedule, mut ledger) = start(Load::Listed(vec![1, 2, 98, 99]), u64::MAX);
        schedule.take_arrivals(98, &mut ledger);
        schedule.give_up(98, &mut ledger);
        assert_eq!(schedule.waiting(), 3, "the window still lasts");
        schedule.take_arrivals(101, &mut ledger);
        schedule.give_up(101, &mut ledger);
        let failures = ledger.measured.failures;
        assert_eq!((schedule.waiting(), failures.held, failures.dropped), (0, 3, 1));
    }

    #[test]
    fn a_backlog_has_an_end_and_the_rest_is_held() {
        let count = BACKLOG_MAX as u64 + 10;
        let (mut schedule, mut ledger) = start(Load::Listed(vec![1; count as usize]), u64::MAX);
        schedule.take_arrivals(1, &mut ledger);
        assert_eq!((ledger.measured.due, ledger.measured.failures.held), (count, 10));
    }
}
