//! How many rows go into a batch: the controller's interface, and AIMD behind it.
//!
//! A controller is two calls. `decide` looks at the queue and the replicas and says what to do now; `observe`
//! learns from a batch that came back. It sees no task and holds no time but what it is told, so any of the
//! literature's controllers fits: they differ in what they remember.

use std::time::Duration;

use crate::clock::Time;

/// Service time a batch may take where the model has no SLO (`interfaces`: at most 100 ms).
const TARGET_WITHOUT_SLO: Duration = Duration::from_millis(100);

/// Full batches from one row to the model's maximum: the additive step is the maximum divided by this. At a few
/// milliseconds a batch that is well under a second, and a step too far costs 2 % of the maximum.
const FULL_BATCHES_TO_MAX: u32 = 64;

/// Batches the p99 is taken over, since the last back-off. Over 100, so that one outlier in a hundred is what p99 lets pass.
const WINDOW_BATCHES: usize = 128;

/// What waits, when a replica is idle. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueView {
    pub on_time_tasks: usize,
    pub late_tasks: usize,
    pub rows: u64,
    /// Due time of the earliest on-time task.
    pub head_due: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicasView {
    pub live: usize,
    /// Never zero when a decision is asked for.
    pub idle: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Pass over `skip` heads, which keep their place, and send at most `rows` (≥ 1).
    Dispatch { skip: usize, rows: u32 },
    /// This many heads (≥ 1) can't make it any more: they leave as past their deadline. Then ask again.
    Shed { tasks: usize },
    /// Nothing yet; ask again at the next event or at this instant, which lies ahead.
    WaitUntil(Time),
}

/// A batch that came back, or was given up after `service`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    pub rows: u32,
    pub service: Duration,
    /// More would have gone had the bound in rows been larger, or it was met exactly.
    pub at_bound: bool,
}

/// One model's batch sizes on one kind of device.
pub trait Controller {
    fn decide(&mut self, now: Time, queue: &QueueView, replicas: &ReplicasView) -> Decision;
    fn observe(&mut self, now: Time, observed: &Observed);
    /// The bound in rows it holds to now, ≥ 1; groups that run again keep to it too.
    fn rows_limit(&self) -> u32;
}

/// Additive increase, multiplicative decrease (Clipper, NSDI '17, §4.3), on the observed p99 of batch service
/// time: a step up after each batch that met the bound while p99 is within the target; down by 10 % when it is
/// not. Never waits, never sheds.
///
/// The target is half the SLO: a task that arrives just after a batch left waits for it whole, then rides in the
/// next.
#[derive(Debug)]
pub struct Aimd {
    rows_limit: u32,
    rows_max: u32,
    target: Duration,
    window: Window,
}

impl Aimd {
    pub fn new(rows_max: u32, slo: Option<Duration>) -> Aimd {
        assert!(rows_max >= 1, "a batch holds at least one row");
        let target = slo.map_or(TARGET_WITHOUT_SLO, |slo| slo / 2);
        Aimd { rows_limit: 1, rows_max, target, window: Window::new() }
    }

    pub fn target(&self) -> Duration {
        self.target
    }

    fn back_off(&mut self) {
        self.rows_limit = (u64::from(self.rows_limit) * 9 / 10).max(1) as u32;
        // What larger batches took says nothing about the smaller ones; keeping it would cut again and again.
        self.window.clear();
    }

    fn step_up(&mut self) {
        let step = self.rows_max.div_ceil(FULL_BATCHES_TO_MAX);
        self.rows_limit = self.rows_limit.saturating_add(step).min(self.rows_max);
    }
}

impl Controller for Aimd {
    fn decide(&mut self, _now: Time, _queue: &QueueView, _replicas: &ReplicasView) -> Decision {
        Decision::Dispatch { skip: 0, rows: self.rows_limit }
    }

    fn observe(&mut self, _now: Time, observed: &Observed) {
        self.window.push(observed.service);
        if self.window.p99() > self.target {
            self.back_off();
        } else if observed.at_bound {
            self.step_up();
        }
    }

    fn rows_limit(&self) -> u32 {
        self.rows_limit
    }
}

/// The latest service times, at most [`WINDOW_BATCHES`].
#[derive(Debug)]
struct Window {
    samples: [Duration; WINDOW_BATCHES],
    seen: usize,
}

impl Window {
    fn new() -> Window {
        Window { samples: [Duration::ZERO; WINDOW_BATCHES], seen: 0 }
    }

    fn clear(&mut self) {
        self.seen = 0;
    }

    fn push(&mut self, service: Duration) {
        self.samples[self.seen % WINDOW_BATCHES] = service;
        self.seen += 1;
    }

    /// By nearest rank: the largest of up to 99 samples, the second largest of 100 to 128.
    fn p99(&self) -> Duration {
        let samples = &self.samples[..self.seen.min(WINDOW_BATCHES)];
        let (mut largest, mut second) = (Duration::ZERO, Duration::ZERO);
        for &sample in samples {
            second = second.max(sample.min(largest));
            largest = largest.max(sample);
        }
        if samples.len() < 100 { largest } else { second }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLO: Duration = Duration::from_millis(20);

    fn full(rows: u32, service_ms: u64) -> Observed {
        Observed { rows, service: Duration::from_millis(service_ms), at_bound: true }
    }

    fn grown_to_max(rows_max: u32) -> Aimd {
        let mut aimd = Aimd::new(rows_max, Some(SLO));
        (0..FULL_BATCHES_TO_MAX).for_each(|_| aimd.observe(Time::ZERO, &full(1, 1)));
        assert_eq!(aimd.rows_limit(), rows_max);
        aimd
    }

    #[test]
    fn grows_while_under_the_target_and_stops_at_the_models_maximum() {
        let mut aimd = Aimd::new(64, Some(SLO));
        assert_eq!(aimd.target(), SLO / 2);
        aimd.observe(Time::ZERO, &full(1, 10));
        assert_eq!(aimd.rows_limit(), 2);
        grown_to_max(64);
        grown_to_max(4096);
    }

    #[test]
    fn backs_off_by_ten_percent_over_the_target() {
        let mut aimd = grown_to_max(100);
        aimd.observe(Time::ZERO, &full(100, 11));
        assert_eq!(aimd.rows_limit(), 90);
        aimd.observe(Time::ZERO, &full(90, 11));
        assert_eq!(aimd.rows_limit(), 81);
    }

    #[test]
    fn one_slow_batch_costs_one_back_off() {
        let mut aimd = grown_to_max(100);
        aimd.observe(Time::ZERO, &full(100, 11));
        aimd.observe(Time::ZERO, &full(90, 9));
        assert_eq!(aimd.rows_limit(), 92, "a step up: the slow batch is forgotten");
    }

    #[test]
    fn one_slow_batch_in_a_hundred_is_within_the_p99() {
        let mut aimd = grown_to_max(64);
        (0..100).for_each(|_| aimd.observe(Time::ZERO, &full(64, 5)));
        aimd.observe(Time::ZERO, &full(64, 500));
        assert_eq!(aimd.rows_limit(), 64);
        aimd.observe(Time::ZERO, &full(64, 500));
        assert_eq!(aimd.rows_limit(), 57);
    }

    #[test]
    fn a_batch_below_the_bound_is_no_reason_to_grow() {
        let mut aimd = Aimd::new(64, Some(SLO));
        let small = Observed { at_bound: false, ..full(1, 1) };
        (0..1000).for_each(|_| aimd.observe(Time::ZERO, &small));
        assert_eq!(aimd.rows_limit(), 1);
    }

    #[test]
    fn never_goes_below_one_row() {
        let mut aimd = Aimd::new(64, Some(SLO));
        (0..100).for_each(|_| aimd.observe(Time::ZERO, &full(1, 1000)));
        assert_eq!(aimd.rows_limit(), 1);
    }

    #[test]
    fn without_an_slo_batches_are_sized_to_a_hundred_milliseconds() {
        assert_eq!(Aimd::new(8, None).target(), Duration::from_millis(100));
    }
}
