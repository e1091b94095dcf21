//! Which synthetic batch a replica runs next, and when it has run enough. Pure.
//!
//! Sizes double from 1 to the largest batch, which comes last even when it is no power of two. A size is measured by
//! two batches that agree; where they differ much, one of them compiled, allocated or was preempted, and another runs
//! until the two fastest agree: those count. The first batch of a size is where compilers and allocators work, so a
//! mean over all would be wrong for good; the fastest alone would be too good.
//!
//! Warm-up ends after the largest size, after the first size that took longer than the SLO (no larger one is ever
//! worth sending), or when its time is spent. A size cut off before its second batch says nothing.

use std::time::Duration;

/// Two batches of one size further apart than this are not both ordinary: noise is a tenth of it.
const APART: f64 = 1.5;

/// Batches of one size, where no two agree: a machine that disturbs four of five has no ordinary batch.
const TRIES_MAX: usize = 5;

/// Time that measured sizes may take, each counted once: with its second batch a start is longer by twice this, 2 s,
/// which the slowest of models (no size fits it twice) take to load anyway.
const MEASURED_MAX: Duration = Duration::from_secs(1);

/// Time that all batches may take, however it is spent. A compiler may need seconds for the first batch of a size, and
/// sparing callers those is worth as much of a start; more is a matter for the model's own `load`.
const TOTAL_MAX: Duration = Duration::from_secs(10);

/// What a warm-up is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// The first replica of its kind: each size is measured.
    Measure,
    /// What its batches take is known: each size runs once, so that no caller meets its first batch.
    Touch,
}

/// Bounds of one warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The largest batch, at least 1.
    pub rows_max: u32,
    /// A batch that takes longer is the last.
    pub slo: Duration,
    pub care: Care,
}

/// A batch that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    pub rows: u32,
    pub service: Duration,
}

#[derive(Debug)]
pub struct Plan {
    bounds: Bounds,
    /// Rows of the size at hand; None: done.
    rows: Option<u32>,
    /// What batches of that size took, ascending.
    tries: Vec<Duration>,
    measured: Vec<Measured>,
    batches: u32,
    /// Each measured size once.
    counted: Duration,
    total: Duration,
}

impl Plan {
    pub fn new(bounds: Bounds) -> Plan {
        assert!(bounds.rows_max >= 1, "a batch holds at least one row");
        Plan {
            bounds,
            rows: Some(1),
            tries: Vec::new(),
            measured: Vec::new(),
            batches: 0,
            counted: Duration::ZERO,
            total: Duration::ZERO,
        }
    }

    /// Rows of the next batch; None when enough has run.
    pub fn next_rows(&self) -> Option<u32> {
        self.rows
    }

    /// Batches that came back.
    pub fn batches(&self) -> u32 {
        self.batches
    }

    /// All of them together.
    pub fn took(&self) -> Duration {
        self.total
    }

    /// What counts, in ascending order of rows.
    pub fn measured(&self) -> &[Measured] {
        &self.measured
    }

    /// The batch asked for came back after `service`.
    pub fn handle_reply(&mut self, service: Duration) {
        let Some(rows) = self.rows else { return };
        self.batches += 1;
        self.total += service;
        let after = self.tries.partition_point(|&other| other < service);
        self.tries.insert(after, service);
        if self.knows_size() {
            self.end_size(rows);
        }
        if self.total >= TOTAL_MAX {
            self.rows = None;
        }
    }

    /// Nothing more is sent, whatever is left.
    pub fn stop(&mut self) {
        self.rows = None;
    }

    fn knows_size(&self) -> bool {
        match (self.bounds.care, self.tries.as_slice()) {
            (Care::Touch, _) => true,
            (Care::Measure, [fastest, next, ..]) => {
                let agree = next.as_secs_f64() <= APART * fastest.as_secs_f64();
                agree || self.tries.len() >= TRIES_MAX
            }
            (Care::Measure, _) => false,
        }
    }

    fn end_size(&mut self, rows: u32) {
        let fastest = self.tries[0];
        if self.bounds.care == Care::Measure {
            let counting = self.tries.iter().take(2);
            self.measured.extend(counting.map(|&service| Measured { rows, service }));
        }
        self.tries.clear();
        self.counted += fastest;
        // A larger batch takes no less than this one did.
        let spent = self.counted + fastest > MEASURED_MAX;
        let larger =
            (rows < self.bounds.rows_max).then(|| rows.saturating_mul(2).min(self.bounds.rows_max));
        self.rows = larger.filter(|_| !spent && fastest <= self.bounds.slo);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(rows_max: u32) -> Bounds {
        Bounds { rows_max, slo: Duration::from_millis(20), care: Care::Measure }
    }

    /// Rows of the batches that run when the `nth` of a size takes `service(rows, nth)` milliseconds.
    fn run(plan: &mut Plan, service: impl Fn(u32, usize) -> f64) -> Vec<u32> {
        let mut ran: Vec<u32> = Vec::new();
        while let Some(rows) = plan.next_rows() {
            assert!(ran.len() < 1000, "a warm-up ends");
            let nth = ran.iter().filter(|&&other| other == rows).count();
            ran.push(rows);
            plan.handle_reply(Duration::from_secs_f64(service(rows, nth) / 1e3));
        }
        ran
    }

    fn affine(rows: u32) -> f64 {
        2.0 + 0.25 * f64::from(rows)
    }

    #[test]
    fn two_batches_of_each_power_of_two_and_of_the_largest() {
        let mut plan = Plan::new(bounds(12));
        assert_eq!(run(&mut plan, |rows, _| affine(rows)), [1, 1, 2, 2, 4, 4, 8, 8, 12, 12]);
        assert_eq!(plan.measured().len(), 10);
        assert_eq!(plan.batches(), 10);
        assert_eq!(run(&mut Plan::new(bounds(1)), |_, _| 1.0), [1, 1]);
    }

    #[test]
    fn the_first_batch_of_a_size_does_not_count_where_it_compiled() {
        let mut plan = Plan::new(bounds(4));
        let compiles = |rows, nth| if nth == 0 { 400.0 } else { affine(rows) };
        assert_eq!(run(&mut plan, compiles), [1, 1, 1, 2, 2, 2, 4, 4, 4]);
        for Measured { rows, service } in plan.measured() {
            assert!((service.as_secs_f64() * 1e3 - affine(*rows)).abs() < 1e-6);
        }
    }

    #[test]
    fn a_size_is_tried_until_two_agree_or_five_did_not() {
        let mut plan = Plan::new(bounds(1));
        let disturbed = |_, nth| [300.0, 2.0, 9.0, 2.1][nth];
        assert_eq!(run(&mut plan, disturbed).len(), 4);
        let counted: Vec<_> = plan.measured().iter().map(|it| it.service.as_micros()).collect();
        assert_eq!(counted, [2000, 2100]);
        assert_eq!(run(&mut Plan::new(bounds(1)), |_, nth| 2f64.powi(nth as i32)).len(), 5);
    }

    #[test]
    fn a_batch_that_was_preempted_does_not_count_either() {
        let mut plan = Plan::new(bounds(1));
        let preempted = |_, nth| if nth == 1 { 9.0 } else { 1.0 };
        assert_eq!(run(&mut plan, preempted), [1, 1, 1]);
        assert!(plan.measured().iter().all(|it| it.service == Duration::from_millis(1)));
    }

    #[test]
    fn the_first_size_beyond_the_slo_is_the_last() {
        let mut plan = Plan::new(bounds(1024));
        // 2 + 0.25 · 64 = 18 ms fits 20 ms; 34 ms does not.
        let last = run(&mut plan, |rows, _| affine(rows)).last().copied();
        assert_eq!(last, Some(128));
        assert_eq!(plan.measured().last().map(|it| it.rows), Some(128), "and is worth knowing");
    }

    #[test]
    fn a_slow_model_is_given_two_seconds_and_a_slower_one_its_first_batches() {
        let patient = Bounds { slo: Duration::from_secs(60), ..bounds(1024) };
        assert_eq!(run(&mut Plan::new(patient), |_, _| 300.0), [1, 1, 2, 2, 4, 4]);
        assert_eq!(run(&mut Plan::new(patient), |_, _| 3_000.0), [1, 1]);
        let mut plan = Plan::new(patient);
        assert_eq!(run(&mut plan, |_, _| 11_000.0), [1]);
        assert!(plan.measured().is_empty(), "one batch may have compiled: it says nothing");
    }

    #[test]
    fn compilers_get_ten_seconds_in_all() {
        let patient = Bounds { slo: Duration::from_secs(60), ..bounds(1024) };
        let ran = run(&mut Plan::new(patient), |_, nth| if nth == 0 { 4_000.0 } else { 1.0 });
        assert_eq!(ran, [1, 1, 1, 2, 2, 2, 4]);
    }

    #[test]
    fn a_known_model_runs_each_size_once() {
        let mut plan = Plan::new(Bounds { care: Care::Touch, ..bounds(8) });
        assert_eq!(run(&mut plan, |rows, _| affine(rows)), [1, 2, 4, 8]);
        assert!(plan.measured().is_empty());
    }

    #[test]
    fn nothing_follows_a_stop() {
        let mut plan = Plan::new(bounds(8));
        plan.stop();
        plan.handle_reply(Duration::from_millis(1));
        assert_eq!((plan.next_rows(), plan.batches()), (None, 0));
    }
}
