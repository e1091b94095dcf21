//! What a driver writes down: every request's fate, in the window, stretch by stretch.

use std::sync::mpsc::TrySendError;
use std::time::Duration;

use crate::clock::nanos;
use crate::measured::{Feed, Measured};
use crate::plan::{Edge, Request};
use crate::proc::own_thread_cpu_ns;
use crate::timing::ServerTiming;
use crate::trace::Trace;

/// A request that was sent: when it was due, how much of its wait was for a connection, when its first byte was written,
/// and which of the target's it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) due_ns: u64,
    pub(crate) blocked_ns: u64,
    pub(crate) sent_ns: u64,
    pub(crate) request: usize,
}

/// An answer as the driver found it.
pub(crate) struct Answer<'a> {
    pub(crate) sent: Sent,
    /// When the driver learned that there is something to read.
    pub(crate) readable_ns: u64,
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    /// The length of the JSON ahead of binary tensors, where the answer has them.
    pub(crate) header_bytes: Option<usize>,
    pub(crate) timing: Option<ServerTiming>,
}

pub(crate) struct Ledger {
    window_ns: (u64, u64),
    next_edge: Option<Edge>,
    pub(crate) measured: Measured,
    pub(crate) trace: Option<Trace>,
    pub(crate) feed: Option<Feed>,
    /// Where the stretch under way began, on the clock and in the driver's run time.
    stretch: Mark,
}

#[derive(Clone, Copy, Default)]
struct Mark {
    at_ns: u64,
    cpu_ns: u64,
}

impl Ledger {
    pub(crate) fn new(trace: Option<Trace>, feed: Option<Feed>) -> Ledger {
        Ledger {
            window_ns: (0, 0),
            next_edge: Some(Edge::MeasureStarts),
            measured: Measured::default(),
            trace,
            feed,
            stretch: Mark::default(),
        }
    }

    // ---- time ----

    pub(crate) fn open_window(&mut self, warm_up: Duration, measure: Duration) {
        let opens_ns = nanos(warm_up);
        self.window_ns = (opens_ns, opens_ns + nanos(measure));
    }

    pub(crate) fn window_end_ns(&self) -> u64 {
        self.window_ns.1
    }

    /// The window ends now instead of when it was to.
    pub(crate) fn end_window(&mut self, now_ns: u64) {
        self.window_ns = (self.window_ns.0.min(now_ns), self.window_ns.1.min(now_ns));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.next_edge.is_none()
    }

    pub(crate) fn turn(&mut self, now_ns: u64, at_edge: &mut dyn FnMut(Edge)) {
        if let Some(trace) = &mut self.trace {
            trace.turn(now_ns);
        }
        if self.next_edge == Some(Edge::MeasureStarts) && now_ns >= self.window_ns.0 {
            at_edge(Edge::MeasureStarts);
            self.next_edge = Some(Edge::MeasureEnds);
            self.stretch = Mark { at_ns: self.window_ns.0, cpu_ns: own_cpu_ns() };
        }
        if self.next_edge == Some(Edge::MeasureEnds) {
            self.cut_when_due(now_ns);
        }
        if self.next_edge == Some(Edge::MeasureEnds) && now_ns >= self.window_ns.1 {
            self.close_stretch(self.window_ns.1);
            at_edge(Edge::MeasureEnds);
            self.next_edge = None;
        }
    }

    fn cut_when_due(&mut self, now_ns: u64) {
        let Some(every) = self.feed.as_ref().map(|feed| feed.every) else { return };
        if now_ns < self.stretch.at_ns + nanos(every) || now_ns >= self.window_ns.1 {
            return;
        }
        self.close_stretch(now_ns);
        let Some(feed) = &self.feed else { return };
        let full = std::mem::replace(&mut self.measured, feed.spare());
        if let Err(error) = feed.full.try_send(full) {
            // Nobody took the one before: this one goes on with what it holds.
            let (TrySendError::Full(kept) | TrySendError::Disconnected(kept)) = error;
            self.measured = kept;
        }
    }

    fn close_stretch(&mut self, now_ns: u64) {
        let now = Mark { at_ns: now_ns, cpu_ns: own_cpu_ns() };
        self.measured.window += Duration::from_nanos(now.at_ns.saturating_sub(self.stretch.at_ns));
        self.measured.own_cpu_ns += now.cpu_ns.saturating_sub(self.stretch.cpu_ns);
        self.stretch = now;
    }

    fn is_measured(&self, at_ns: u64) -> bool {
        (self.window_ns.0..self.window_ns.1).contains(&at_ns)
    }

    // ---- requests ----

    pub(crate) fn due(&mut self, due_ns: u64) {
        self.measured.due += u64::from(self.is_measured(due_ns));
    }

    /// Never sent, because every connection awaited an answer.
    pub(crate) fn held(&mut self, count: u64) {
        self.measured.failures.held += count;
    }

    /// Never sent, and that was the driver's.
    pub(crate) fn dropped(&mut self, count: u64) {
        self.measured.failures.dropped += count;
    }

    /// Sent, and no answer came in time.
    pub(crate) fn unanswered(&mut self, count: u64) {
        self.measured.failures.unanswered += count;
    }

    pub(crate) fn sent(&mut self, sent: Sent) {
        if self.is_measured(sent.due_ns) {
            self.measured.sent += 1;
            let waited_ns = sent.sent_ns - sent.due_ns;
            self.measured.send_lag.record(waited_ns.saturating_sub(sent.blocked_ns));
            if sent.blocked_ns > 0 {
                self.measured.blocked.record(sent.blocked_ns);
            }
        }
    }

    pub(crate) fn answered(&mut self, now_ns: u64, answer: &Answer<'_>, asked: &Request) {
        let &Answer { sent, readable_ns, status, body, header_bytes, timing } = answer;
        if let Some(trace) = &mut self.trace {
            trace.answered(now_ns, sent, status, timing);
        }
        if let Err(wrong) = asked.expect.check(status, body, header_bytes) {
            if self.is_measured(sent.due_ns) {
                self.measured.failures.count(wrong);
            }
            self.measured
                .wrong_answers
                .note(sent.request, || asked.expect.tell(wrong, status, body));
            return;
        }
        if self.is_measured(now_ns) {
            self.measured.answered += 1;
        }
        if self.is_measured(sent.due_ns) {
            self.measured.latency.record(now_ns - sent.due_ns);
            self.measured.service.record(now_ns - sent.sent_ns);
            self.measured.read_lag.record(now_ns.saturating_sub(readable_ns));
            if let Some(timing) = timing {
                self.measured.stages.record(now_ns - sent.sent_ns, timing);
            }
        }
    }

    pub(crate) fn not_http(&mut self, sent: Sent) {
        self.measured.failures.not_http += u64::from(self.is_measured(sent.due_ns));
    }

    /// `established`: the connection stood before it was lost.
    pub(crate) fn lost(&mut self, now_ns: u64, sent: Sent, established: bool) {
        let counts = u64::from(self.is_measured(sent.due_ns));
        let failures = &mut self.measured.failures;
        let count = if established { &mut failures.closed } else { &mut failures.refused };
        *count += counts;
        if let Some(trace) = &mut self.trace {
            trace.lost(now_ns, sent);
        }
    }

    pub(crate) fn opened(&mut self) {
        self.measured.opened += 1;
    }
}

/// Zero where the kernel doesn't tell.
fn own_cpu_ns() -> u64 {
    own_thread_cpu_ns().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Expect;
    use crate::synthetic::{Behaviour, Delay, Stall};

    const MS: u64 = 1_000_000;
    const SPAN_MS: u64 = 20_000;

    /// A server of 1 ms that stands still for 200 ms of 20 s, without a network.
    fn stalling() -> Behaviour {
        let stall = Stall { start_ns: 8_000 * MS, span_ns: 200 * MS };
        Behaviour::new(Delay::Constant { us: 1_000 }, Some(stall), 1)
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(None, None);
        ledger.open_window(Duration::ZERO, Duration::from_millis(SPAN_MS));
        ledger.turn(0, &mut |_| {});
        ledger
    }

    /// Sends when it is due and reads the answer when it comes.
    fn ask(ledger: &mut Ledger, server: &mut Behaviour, due_ns: u64, sent_ns: u64) -> u64 {
        let sent = Sent { due_ns, blocked_ns: 0, sent_ns, request: 0 };
        let asked = Request { bytes: Vec::new(), expect: Expect::default() };
        ledger.due(due_ns);
        ledger.sent(sent);
        let now_ns = server.leaves_ns(sent_ns);
        let answer = Answer {
            sent,
            readable_ns: now_ns,
            status: 200,
            body: &[],
            header_bytes: None,
            timing: None,
        };
        ledger.answered(now_ns, &answer, &asked);
        now_ns
    }

    fn at(ledger: &Ledger, quantile: f64) -> f64 {
        let ns = ledger.measured.latency.percentile_ns(quantile, 1).expect("samples");
        ns as f64 / MS as f64
    }

    /// The share that waits longer than x ms of a stall is (200 - x) / 20,000: a thousandth waits 180 ms.
    #[test]
    fn an_open_loop_shows_a_stall_as_theory_says() {
        let (mut ledger, mut server) = (ledger(), stalling());
        for due_ns in (0..SPAN_MS).map(|ms| ms * MS) {
            ask(&mut ledger, &mut server, due_ns, due_ns);
        }
        assert!((at(&ledger, 0.999) / 180.0 - 1.0).abs() < 0.01, "{}", at(&ledger, 0.999));
        assert!((at(&ledger, 0.5) - 1.0).abs() < 0.01);
        assert!(ledger.measured.send_lag.summary().max_us < Some(1.0));
    }

    /// Asked one by one from the send, as coordinated omission has it: one request of 20,000 meets the stall.
    #[test]
    fn a_loop_that_waits_for_answers_hides_it() {
        let (mut ledger, mut server, mut now_ns) = (ledger(), stalling(), 0);
        while now_ns < SPAN_MS * MS {
            now_ns = ask(&mut ledger, &mut server, now_ns, now_ns);
        }
        assert!((at(&ledger, 0.999) - 1.0).abs() < 0.01, "{}", at(&ledger, 0.999));
        assert!((at(&ledger, 1.0) / 200.0 - 1.0).abs() < 0.01);
    }

    /// The same schedule on one connection: what is sent late counts from when it was due all the same.
    #[test]
    fn one_connection_does_not_hide_it_from_the_due_time() {
        let (mut ledger, mut server, mut free_ns) = (ledger(), stalling(), 0);
        for due_ns in (0..SPAN_MS / 2).map(|at| at * 2 * MS) {
            free_ns = ask(&mut ledger, &mut server, due_ns, free_ns.max(due_ns));
        }
        assert!(at(&ledger, 0.999) > 180.0, "{}", at(&ledger, 0.999));
        let service_ns = ledger.measured.service.percentile_ns(0.999, 1).expect("samples");
        assert!(service_ns < 2 * MS, "from the send it looks well");
    }
}
