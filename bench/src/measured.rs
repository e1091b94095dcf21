//! What a driver saw: latencies, counts, and what it cost itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use serde::Serialize;

use crate::plan::Wrong;
use crate::record::Latencies;
use crate::timing::ServerTiming;

/// A run, or a stretch of one. Stretches add up to the run.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// From the due time; in closed loop the same as `service`.
    pub latency: Latencies,
    /// From the moment it was sent.
    pub service: Latencies,
    /// How late the driver itself was: waiting for a connection is not in it.
    pub send_lag: Latencies,
    /// How long an answer lay ready, at least, before the driver read it.
    pub read_lag: Latencies,
    /// How long requests waited because every connection was awaiting an answer.
    pub blocked: Latencies,
    /// Where the server says its time went, of answers that say so.
    pub stages: Stages,
    /// Due inside the window. In closed loop the same as `sent`.
    pub due: u64,
    /// Of those, sent.
    pub sent: u64,
    /// Right answers that arrived inside the measured window.
    pub answered: u64,
    pub failures: Failures,
    pub wrong_answers: WrongAnswers,
    pub window: Duration,
    /// Run time of the driver's thread inside the window.
    pub own_cpu_ns: u64,
    /// Connections opened after the start: replaced ones and more for an open loop.
    pub opened: u64,
    /// Told to stop before its time.
    pub stopped: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Stages {
    /// What the server doesn't account for: the way there and back, its parsing, and the client.
    pub network: Latencies,
    pub queue: Latencies,
    pub lane: Latencies,
    pub model: Latencies,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failures {
    pub wrong_status: u64,
    pub wrong_body: u64,
    pub not_http: u64,
    /// The server ended the connection under a request.
    pub closed: u64,
    /// No connection could be opened for a request.
    pub refused: u64,
    pub unanswered: u64,
    /// Due, but never sent: every connection awaited an answer until the run was over.
    pub held: u64,
    /// Due, but never sent: the driver itself was too late.
    pub dropped: u64,
}

impl Failures {
    pub fn total(&self) -> u64 {
        let answers = self.wrong_status + self.wrong_body + self.not_http;
        let sends = self.held + self.dropped;
        answers + self.closed + self.refused + self.unanswered + sends
    }

    pub fn count(&mut self, wrong: Wrong) {
        match wrong {
            Wrong::Status => self.wrong_status += 1,
            Wrong::Body | Wrong::Values(_) => self.wrong_body += 1,
        }
    }

    fn add(&mut self, other: Failures) {
        self.wrong_status += other.wrong_status;
        self.wrong_body += other.wrong_body;
        self.not_http += other.not_http;
        self.closed += other.closed;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.held += other.held;
        self.dropped += other.dropped;
    }
}

/// So many are told in words: the rest are seldom wrong for another reason.
const WRONG_ANSWERS_MAX: usize = 3;

/// The first wrong answers, one of each request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct WrongAnswers(Vec<WrongAnswer>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrongAnswer {
    /// Which of the target's requests it answers, counted from zero.
    pub request: usize,
    pub told: String,
}

impl WrongAnswers {
    pub fn first(&self) -> &[WrongAnswer] {
        &self.0
    }

    /// `tell` is asked only where its answer is kept.
    pub fn note(&mut self, request: usize, tell: impl FnOnce() -> String) {
        let is_known = self.0.iter().any(|wrong| wrong.request == request);
        if !is_known && self.0.len() < WRONG_ANSWERS_MAX {
            self.0.push(WrongAnswer { request, told: tell() });
        }
    }

    fn add(&mut self, later: &WrongAnswers) {
        later.0.iter().for_each(|wrong| self.note(wrong.request, || wrong.told.clone()));
    }
}

impl Stages {
    pub fn record(&mut self, service_ns: u64, timing: ServerTiming) {
        let ns = |us: u32| u64::from(us) * 1_000;
        let accounted_ns = ns(timing.queue_us) + ns(timing.service_us());
        self.network.record(service_ns.saturating_sub(accounted_ns));
        self.queue.record(ns(timing.queue_us));
        self.lane.record(ns(timing.lane_us));
        self.model.record(ns(timing.model_us));
    }

    fn add(&mut self, other: &Stages) {
        self.network.add(&other.network);
        self.queue.add(&other.queue);
        self.lane.add(&other.lane);
        self.model.add(&other.model);
    }
}

impl Measured {
    pub fn requests_per_second(&self) -> f64 {
        self.answered as f64 / self.window.as_secs_f64()
    }

    pub fn add(&mut self, other: &Measured) {
        self.latency.add(&other.latency);
        self.service.add(&other.service);
        self.send_lag.add(&other.send_lag);
        self.read_lag.add(&other.read_lag);
        self.blocked.add(&other.blocked);
        self.stages.add(&other.stages);
        self.due += other.due;
        self.sent += other.sent;
        self.answered += other.answered;
        self.failures.add(other.failures);
        self.wrong_answers.add(&other.wrong_answers);
        self.window += other.window;
        self.own_cpu_ns += other.own_cpu_ns;
        self.opened += other.opened;
        self.stopped |= other.stopped;
    }

    /// As new, without giving memory back.
    pub fn clear(&mut self) {
        let spans = [&mut self.latency, &mut self.service];
        let waits = [&mut self.send_lag, &mut self.read_lag, &mut self.blocked];
        let stages = &mut self.stages;
        let stages = [&mut stages.network, &mut stages.queue, &mut stages.lane, &mut stages.model];
        spans.into_iter().chain(waits).chain(stages).for_each(Latencies::clear);
        (self.due, self.sent, self.answered, self.opened, self.own_cpu_ns) = (0, 0, 0, 0, 0);
        (self.failures, self.window, self.stopped) = (Failures::default(), Duration::ZERO, false);
        self.wrong_answers = WrongAnswers::default();
    }
}

/// Stretches that an onlooker gets while the run goes on. The driver swaps two sets of histograms and neither copies
/// nor allocates; an onlooker that doesn't give them back in time costs it an allocation, never a wait.
pub struct Feed {
    pub every: Duration,
    pub full: SyncSender<Measured>,
    /// Cleared ones come back here.
    pub spare: Receiver<Measured>,
    /// Ends the run early.
    pub stop: Arc<AtomicBool>,
}

impl Feed {
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub fn spare(&self) -> Measured {
        self.spare.try_recv().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(answered: u64, latency_us: u64) -> Measured {
        let mut measured = Measured { answered, due: answered, ..Measured::default() };
        measured.window = Duration::from_secs(1);
        (0..answered).for_each(|_| measured.latency.record(latency_us * 1_000));
        measured.failures.closed = 1;
        measured
    }

    #[test]
    fn stretches_add_up_to_the_run() {
        let mut whole = stretch(100, 10);
        whole.add(&stretch(300, 1_000));
        assert_eq!((whole.answered, whole.failures.total()), (400, 2));
        assert_eq!(whole.requests_per_second(), 200.0);
        assert!(whole.latency.summary().p50_us > Some(900.0), "three of four took 1 ms");
    }

    #[test]
    fn the_first_wrong_answers_of_different_requests_are_kept() {
        let noted = |requests: &[usize], told: &str| {
            let mut measured = Measured::default();
            requests
                .iter()
                .for_each(|&request| measured.wrong_answers.note(request, || told.to_owned()));
            measured
        };
        let mut whole = noted(&[4, 4], "early");
        whole.add(&noted(&[4, 5, 6, 7], "late"));
        let kept = whole.wrong_answers.first().iter().map(|wrong| (wrong.request, &*wrong.told));
        assert_eq!(Vec::from_iter(kept), [(4, "early"), (5, "late"), (6, "late")]);
    }

    #[test]
    fn a_cleared_stretch_is_as_new() {
        let mut measured = stretch(10, 10);
        measured.wrong_answers.note(1, || "wrong".to_owned());
        measured.clear();
        assert_eq!(measured.latency.summary().samples, 0);
        assert_eq!(measured.wrong_answers.first(), []);
        assert_eq!(
            (measured.answered, measured.failures.total(), measured.window),
            (0, 0, Duration::ZERO)
        );
    }

    #[test]
    fn what_the_server_does_not_account_for_is_the_network() {
        let mut stages = Stages::default();
        let timing = ServerTiming { queue_us: 10, lane_us: 20, model_us: 30, batch_rows: 1 };
        stages.record(100_000, timing);
        assert_eq!(stages.network.summary().samples, 1);
        assert!((stages.network.summary().max_us.expect("one") - 40.0).abs() < 0.1);
    }
}
