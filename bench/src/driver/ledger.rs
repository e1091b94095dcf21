//! What the driver writes down: every request's fate, in the window, stretch by stretch.

use std::sync::mpsc::TrySendError;
use std::time::Duration;

use super::connection::{Answered, Sent};
use super::trace::Trace;
use crate::clock::nanos;
use crate::measured::{Feed, Measured};
use crate::plan::{Edge, Request};
use crate::proc::own_thread_cpu_ns;
use crate::timing::ServerTiming;

pub(super) struct Ledger {
    window_ns: (u64, u64),
    next_edge: Option<Edge>,
    pub(super) measured: Measured,
    pub(super) trace: Option<Trace>,
    pub(super) feed: Option<Feed>,
    /// Where the stretch under way began, on the clock and in the driver's run time.
    stretch: Mark,
}

#[derive(Clone, Copy, Default)]
struct Mark {
    at_ns: u64,
    cpu_ns: u64,
}

impl Ledger {
    pub(super) fn new(trace: Option<Trace>, feed: Option<Feed>) -> Ledger {
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

    pub(super) fn open_window(&mut self, warm_up: Duration, measure: Duration) {
        let opens_ns = nanos(warm_up);
        self.window_ns = (opens_ns, opens_ns + nanos(measure));
    }

    pub(super) fn window_end_ns(&self) -> u64 {
        self.window_ns.1
    }

    /// The window ends now instead of when it was to.
    pub(super) fn end_window(&mut self, now_ns: u64) {
        self.window_ns = (self.window_ns.0.min(now_ns), self.window_ns.1.min(now_ns));
    }

    pub(super) fn has_ended(&self) -> bool {
        self.next_edge.is_none()
    }

    pub(super) fn turn(&mut self, now_ns: u64, at_edge: &mut dyn FnMut(Edge)) {
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

    pub(super) fn due(&mut self, due_ns: u64) {
        self.measured.due += u64::from(self.is_measured(due_ns));
    }

    pub(super) fn dropped(&mut self, count: u64) {
        self.measured.failures.dropped += count;
    }

    pub(super) fn sent(&mut self, sent: Sent) {
        if self.is_measured(sent.due_ns) {
            self.measured.sent += 1;
            let waited_ns = sent.sent_ns - sent.due_ns;
            self.measured.send_lag.record(waited_ns.saturating_sub(sent.blocked_ns));
            if sent.blocked_ns > 0 {
                self.measured.blocked.record(sent.blocked_ns);
            }
        }
    }

    pub(super) fn answered(
        &mut self,
        now_ns: u64,
        answered: &Answered,
        bytes: &[u8],
        asked: &Request,
    ) {
        let timing = answered.frame.server_timing(bytes).and_then(ServerTiming::parse);
        if let Some(trace) = &mut self.trace {
            trace.answered(now_ns, answered, timing);
        }
        if let Err(wrong) = asked.expect.check(answered.frame.status, &answered.frame.body(bytes)) {
            self.measured.failures.count(wrong);
            return;
        }
        if self.is_measured(now_ns) {
            self.measured.answered += 1;
        }
        let Sent { due_ns, sent_ns, .. } = answered.sent;
        if self.is_measured(due_ns) {
            self.measured.latency.record(now_ns - due_ns);
            self.measured.service.record(now_ns - sent_ns);
            if let Some(timing) = timing {
                self.measured.stages.record(now_ns - sent_ns, timing);
            }
        }
    }

    pub(super) fn not_http(&mut self) {
        self.measured.failures.not_http += 1;
    }

    /// `established`: the connection stood before it was lost.
    pub(super) fn lost(&mut self, now_ns: u64, sent: Sent, established: bool) {
        let failures = &mut self.measured.failures;
        let count = if established { &mut failures.closed } else { &mut failures.refused };
        *count += 1;
        if let Some(trace) = &mut self.trace {
            trace.lost(now_ns, sent);
        }
    }

    pub(super) fn opened(&mut self) {
        self.measured.opened += 1;
    }

    pub(super) fn finish(mut self, unanswered: u64, dropped: u64) -> (Measured, Option<Trace>) {
        self.measured.failures.unanswered += unanswered;
        self.measured.failures.dropped += dropped;
        (self.measured, self.trace)
    }
}

/// Zero where the kernel doesn't tell.
fn own_cpu_ns() -> u64 {
    own_thread_cpu_ns().unwrap_or(0)
}
