//! What batches of one model take on one kind of device: a centre curve over cost, and how far from it they fall.
//!
//! A tail per batch size can't be learned: there are never enough batches of each size. So the centre `g(cost)` is
//! learned per size (`curve`) and the spread once for all of them, as quantiles of the ratio
//! `actual / g(cost)` (`residuals`). A batch of cost `c` is then expected to take `g(c) · r_u` with probability `u`.
//!
//! * **Outliers.** Once warm, a batch far from the centre hardly moves it; its size lives in the residuals.
//! * **Regimes.** A cumulative sum of the log ratio (Page 1954), of which one batch contributes at most
//!   `STEP_UP_MAX`, notices a model that became slower or faster: every bucket is then scaled by the median ratio of
//!   the run that told, and the run's ratios are taken out of the residuals again.
//! * **Censored batches** (killed, or not back yet) count as at least the 99th percentile: forgetting them would
//!   leave only those that were fast enough to be seen.
//!
//! Durations here are nanoseconds as `f64`: a profile multiplies and divides.

use std::time::Duration;

mod curve;
mod residuals;

pub use curve::{Bucket, Curve};
pub use residuals::{LEVELS, Level, Residuals};

/// Batches before a ratio means anything.
const WARM_BATCHES: u32 = 4;

/// Most that one batch adds to the evidence for a slower regime. Two times slower is noticed with the third batch where
/// batches that far off were never seen; with the fourth where one in a hundred is, as three in a row would come by
/// chance every minute then. One alone is forgotten after three ordinary ones.
const STEP_UP_MAX: f64 = 0.45;
const STEP_UP_MAX_SLOW_MODE: f64 = 0.35;
/// Batches before it is believed that none is ever that far off.
const TAIL_BATCHES: u32 = 64;
/// As above for a faster regime, believed more slowly: the first fast batches may be luck.
const STEP_DOWN_MAX: f64 = 0.28;
/// Taken off the evidence with each batch: a centre wrong by less is left to the buckets' own memory.
const DRIFT: f64 = 0.1;
/// Evidence that makes a regime.
const THRESHOLD: f64 = 0.9;

/// Evidence from which far batches no longer move their buckets: two in a row.
const SUSPICION: f64 = 0.3;

/// Ratios of the run at hand that are remembered for its median.
const RUN_MAX: usize = 16;

/// A batch this far from its centre is an outlier or the start of a regime: either way it moves the centre little.
const FAR: f64 = 0.25;
const FAR_STEP: f64 = 0.1;

/// Batches after a regime began whose ratios still refine its factor, the median of a few.
const REFINED_BY: u32 = 16;
/// Ratios that factor is worth at first.
const FACTOR_WORTH: f64 = 4.0;

/// With one size measured, twice as much is tried where there is room for this many times its service: until then
/// nothing says how much of that is paid per batch, and a device that is slow to start would never be known.
const TRY_ROOM: f64 = 1.0;

/// The first batch of a size that takes this many times what is expected compiled something, or touched memory for the
/// first time. Well above a regime, which its size's second batch would tell of.
const FIRST_FAR: f64 = 3.0;

/// Ratios outside are clamped: a batch a thousand times slower says no more than one sixteen times slower.
const RATIO_MIN: f64 = 1.0 / 16.0;
const RATIO_MAX: f64 = 16.0;

pub fn nanos(span: Duration) -> f64 {
    // Exact below 100 days, as the 128 bits of `as_nanos` are, and several times as fast.
    span.as_secs() as f64 * 1e9 + f64::from(span.subsec_nanos())
}

pub fn duration(nanos: f64) -> Duration {
    Duration::from_nanos(nanos.max(0.0) as u64)
}

/// What [`LatencyProfile::observe`] noticed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noticed {
    Nothing,
    /// Everything now takes this many times as long as it did.
    Regime(f64),
}

#[derive(Clone, Debug, Default)]
pub struct LatencyProfile {
    curve: Curve,
    residuals: Residuals,
    batches: u32,
    slower: Run,
    faster: Run,
    regimes: u64,
    /// Batches since the latest regime began, up to [`REFINED_BY`].
    refined: u32,
}

impl LatencyProfile {
    /// Nothing was ever observed: [`Self::centre`] is zero.
    pub fn is_empty(&self) -> bool {
        self.curve.largest_cost() == 0.0
    }

    pub fn batches(&self) -> u32 {
        self.batches
    }

    pub fn regimes(&self) -> u64 {
        self.regimes
    }

    pub fn curve(&self) -> &Curve {
        &self.curve
    }

    pub fn residuals(&self) -> &Residuals {
        &self.residuals
    }

    /// Centre of what a batch of `cost` takes, in nanoseconds: finite, not negative, non-decreasing.
    pub fn centre(&self, cost: f64) -> f64 {
        self.curve.at(cost)
    }

    /// `centre · r_u`.
    pub fn quantile(&self, cost: f64, level: Level) -> f64 {
        self.centre(cost) * self.residuals.ratio(level)
    }

    /// `centre ·` the mean ratio.
    pub fn mean(&self, cost: f64) -> f64 {
        self.centre(cost) * self.residuals.mean()
    }

    /// The largest cost whose centre is at most `span` nanoseconds; what was never nearly measured is not
    /// believed: at most twice the largest cost seen, 1 when nothing was. Where one size alone was seen and fits, twice
    /// as much, whatever its centre.
    pub fn largest_within(&self, span: f64) -> f64 {
        let largest = self.curve.largest_cost();
        if self.curve.sizes() < 2 && span >= TRY_ROOM * self.curve.at(largest) {
            return (2.0 * largest).max(1.0);
        }
        self.curve.largest_within(span).min((2.0 * largest).max(1.0))
    }

    /// The smallest cost whose batches, one after the other, get through `rate` cost per nanosecond.
    pub fn smallest_at_rate(&self, rate: f64) -> f64 {
        self.curve.smallest_at_rate(rate * self.residuals.mean())
    }

    /// `cost`, or less where a device that works in tiles does clearly more per unit of time then.
    pub fn efficient(&self, cost: f64) -> f64 {
        self.curve.efficient(cost)
    }

    /// A batch of `cost` took `service` nanoseconds on a replica that is `scale` times as slow as the centre.
    pub fn observe(&mut self, cost: f64, service: f64, scale: f64) -> Noticed {
        self.learn(cost, service, scale)
    }

    /// As [`Self::observe`], for a synthetic batch that runs before the replica is ready: it says where the curve
    /// lies and little about the spread under load.
    pub fn warm(&mut self, cost: f64, service: f64) {
        self.curve.update(cost, service.max(1.0), self.residuals.spread());
        self.batches = self.batches.saturating_add(1);
    }

    /// A batch of `cost` was given up, or is not back yet, after `service` nanoseconds.
    pub fn observe_censored(&mut self, cost: f64, service: f64, scale: f64) -> Noticed {
        let at_least = self.quantile(cost, Level::P99) * scale;
        self.learn(cost, service.max(at_least), scale)
    }

    /// Whether a batch of `cost` can tell of a regime: what is expected of it was measured.
    pub fn is_known(&self, cost: f64) -> bool {
        self.curve.is_known(cost)
    }

    /// Batches that are not back yet are out for at least these multiples of what they should take. Together with
    /// those that came back they may tell of a slower regime; alone they leave no trace.
    pub fn observe_running(&mut self, ratios: &[f64]) -> Noticed {
        let most = self.step_up_max();
        let steps = ratios.iter().map(|ratio| ratio.ln().min(most) - DRIFT);
        let evidence: f64 = steps.filter(|&step| step > 0.0).sum();
        if evidence <= 0.0 || self.slower.evidence + evidence <= THRESHOLD {
            return Noticed::Nothing;
        }
        let mut run = std::mem::take(&mut self.slower);
        let returned = run.ratios().len();
        ratios.iter().for_each(|&ratio| run.push(most, ratio));
        self.begin_regime(&run, returned)
    }

    /// Starts from what an earlier life of the same model on the same device learned, at low weight.
    pub fn with_prior(buckets: &[Bucket]) -> LatencyProfile {
        LatencyProfile { curve: Curve::from_prior(buckets), ..LatencyProfile::default() }
    }

    /// What someone knows who need not learn: the centre at costs in ascending order, and how ratios fall.
    pub fn known(centres: &[(f64, f64)], ratios: impl IntoIterator<Item = f64>) -> LatencyProfile {
        let mut residuals = Residuals::default();
        ratios.into_iter().for_each(|ratio| residuals.add(ratio.clamp(RATIO_MIN, RATIO_MAX)));
        let curve = Curve::known(centres);
        LatencyProfile { curve, residuals, batches: WARM_BATCHES + 1, ..LatencyProfile::default() }
    }

    fn learn(&mut self, cost: f64, service: f64, scale: f64) -> Noticed {
        let service = service.max(1.0) / scale;
        self.batches = self.batches.saturating_add(1);
        let expected = self.centre(cost);
        if expected <= 0.0 {
            self.curve.update(cost, service, self.residuals.spread());
            return Noticed::Nothing;
        }
        if self.curve.is_first(cost) && service > FIRST_FAR * expected {
            return Noticed::Nothing;
        }
        let ratio = (service / expected).clamp(RATIO_MIN, RATIO_MAX);
        let extrapolated = cost > 1.5 * self.curve.largest_cost();
        if self.batches <= WARM_BATCHES || extrapolated || !self.curve.is_known(cost) {
            // A guess missed: says something about the curve, nothing about the spread.
            self.curve.update(cost, service, self.residuals.spread());
            return Noticed::Nothing;
        }
        self.residuals.add(ratio);
        let noticed = self.notice(ratio);
        let ratio = if let Noticed::Regime(factor) = noticed { ratio / factor } else { ratio };
        if self.refined < REFINED_BY && self.regimes > 0 {
            self.refined += 1;
            let share = 1.0 / (FACTOR_WORTH + f64::from(self.refined));
            self.curve.rescale(ratio.clamp(1.0 - FAR, 1.0 + FAR).powf(share));
        }
        let far = (ratio - 1.0).abs() > FAR;
        if far && self.slower.evidence.max(self.faster.evidence) > SUSPICION {
            // A regime may be on its way, whose factor will move all buckets alike.
            return noticed;
        }
        let step = if far { FAR_STEP } else { FAR };
        let bounded = ratio.clamp(1.0 - step, 1.0 + step);
        self.curve.update(cost, bounded * self.centre(cost), self.residuals.spread());
        noticed
    }

    fn step_up_max(&self) -> f64 {
        let has_slow_mode = self.residuals.ratio(Level::P99) > 1.0 + FAR;
        let trusts_tail = self.batches >= TAIL_BATCHES && !has_slow_mode;
        if trusts_tail { STEP_UP_MAX } else { STEP_UP_MAX_SLOW_MODE }
    }

    fn notice(&mut self, ratio: f64) -> Noticed {
        let log = ratio.ln();
        self.slower.push(log.min(self.step_up_max()) - DRIFT, ratio);
        self.faster.push((-log).min(STEP_DOWN_MAX) - DRIFT, ratio);
        let run = if self.slower.evidence > THRESHOLD {
            std::mem::take(&mut self.slower)
        } else if self.faster.evidence > THRESHOLD {
            std::mem::take(&mut self.faster)
        } else {
            return Noticed::Nothing;
        };
        self.begin_regime(&run, RUN_MAX)
    }

    /// Everything takes as much longer as the run says; the residuals forget its first ratios, those they were told.
    fn begin_regime(&mut self, run: &Run, told: usize) -> Noticed {
        let factor = run.median();
        let ratios = run.ratios();
        self.residuals.take_back(&ratios[..told.min(ratios.len())]);
        self.curve.rescale(factor);
        self.curve.doubt();
        self.refined = 0;
        self.slower = Run::default();
        self.faster = Run::default();
        self.regimes += 1;
        Noticed::Regime(factor)
    }
}

/// Evidence for a regime since it last was nothing.
#[derive(Clone, Debug, Default)]
struct Run {
    evidence: f64,
    latest: [f64; RUN_MAX],
    seen: usize,
}

impl Run {
    fn push(&mut self, step: f64, ratio: f64) {
        self.evidence += step;
        if self.evidence <= 0.0 {
            *self = Run::default();
            return;
        }
        self.latest[self.seen % RUN_MAX] = ratio;
        self.seen += 1;
    }

    fn ratios(&self) -> &[f64] {
        &self.latest[..self.seen.min(RUN_MAX)]
    }

    fn median(&self) -> f64 {
        let mut sorted = self.latest;
        let sorted = &mut sorted[..self.seen.min(RUN_MAX)];
        sorted.sort_unstable_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return 1.0 };
        (sorted[last / 2] + sorted[last.div_ceil(2)]) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: f64 = 1e6;

    fn affine(cost: f64) -> f64 {
        (2.0 + 0.25 * cost) * MS
    }

    fn learned() -> LatencyProfile {
        let mut profile = LatencyProfile::default();
        for _ in 0..8 {
            for cost in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0] {
                profile.observe(cost, affine(cost), 1.0);
            }
        }
        profile
    }

    #[test]
    fn learns_an_affine_curve_and_inverts_it() {
        let profile = learned();
        for cost in [1.0, 3.0, 24.0, 50.0] {
            let wrong = profile.centre(cost) / affine(cost) - 1.0;
            assert!(wrong.abs() < 0.01, "{cost}: {wrong}");
        }
        assert!((profile.largest_within(affine(32.0)) - 32.0).abs() < 0.5);
    }

    #[test]
    fn an_unknown_model_sends_one_then_at_most_doubles() {
        let mut profile = LatencyProfile::default();
        assert_eq!(profile.largest_within(1e12), 1.0);
        profile.observe(1.0, affine(1.0), 1.0);
        assert_eq!(profile.largest_within(1e12), 2.0);
    }

    #[test]
    fn twice_as_slow_is_believed_with_the_fourth_batch_and_back_with_the_tenth() {
        let mut profile = learned();
        let count = |profile: &mut LatencyProfile, factor: f64| {
            (1..20).find(|_| profile.observe(32.0, factor * affine(32.0), 1.0) != Noticed::Nothing)
        };
        assert!(count(&mut profile, 2.0).is_some_and(|batches| batches <= 4));
        assert!(
            (profile.centre(8.0) / affine(8.0) - 2.0).abs() < 0.2,
            "sizes not seen since move along"
        );
        assert!(count(&mut profile, 1.0).is_some_and(|batches| batches <= 10));
    }

    /// One connection on a machine whose speed wavers: each regime scales all sizes, and only one of them ever runs.
    #[test]
    fn sizes_that_do_not_run_are_not_scaled_out_of_reach() {
        let mut profile = learned();
        for round in 0..200 {
            let factor = if round % 2 == 0 { 3.0 } else { 1.0 };
            // What comes back slowly is followed by the size's own mean and is no regime.
            (0..6).for_each(|_| {
                profile.observe(1.0, factor * affine(1.0), 1.0);
            });
            for step in 0..20 {
                let fading = 1.0 + (factor - 1.0) * 0.8_f64.powi(step);
                profile.observe(1.0, fading * affine(1.0), 1.0);
            }
        }
        assert!(profile.regimes() > 20, "{}", profile.regimes());
        let (one, all) = (profile.centre(1.0), profile.centre(64.0));
        assert!((one..=130.0 * one).contains(&all), "{one} {all}");
        (0..3).for_each(|_| {
            profile.observe(64.0, affine(64.0), 1.0);
        });
        let relearned = profile.centre(64.0) / affine(64.0);
        assert!((0.8..1.3).contains(&relearned), "{relearned}");
    }

    #[test]
    fn a_slow_mode_is_no_regime_and_hardly_moves_the_centre() {
        let mut profile = learned();
        for batch in 0..1000 {
            let factor = if batch % 33 == 0 { 4.0 } else { 1.0 };
            assert_eq!(profile.observe(16.0, factor * affine(16.0), 1.0), Noticed::Nothing);
        }
        assert!((profile.centre(16.0) / affine(16.0) - 1.0).abs() < 0.05);
        assert!(profile.quantile(16.0, Level::P99) > 3.5 * affine(16.0), "the tail shows it");
        assert!(profile.quantile(16.0, Level::P95) < 1.2 * affine(16.0));
    }

    #[test]
    fn the_first_batch_of_each_size_compiles_and_poisons_nothing() {
        let mut profile = LatencyProfile::default();
        for cost in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0] {
            (0..2).for_each(|_| profile.warm(cost, affine(cost)));
        }
        // 37 and 64 have no factor in common: every size comes once before any comes again.
        for batch in 0..192 {
            let rows: u32 = batch * 37 % 64 + 1;
            let is_first = batch < 64 && !rows.is_power_of_two();
            let (cost, compiles) = (f64::from(rows), if is_first { 500.0 * MS } else { 0.0 });
            assert_eq!(profile.observe(cost, affine(cost) + compiles, 1.0), Noticed::Nothing);
            assert!((profile.centre(cost) / affine(cost) - 1.0).abs() < 0.05, "{batch}");
            assert!(profile.quantile(cost, Level::P99) < 1.2 * affine(cost), "{batch}");
        }
    }

    #[test]
    fn what_is_not_back_yet_counts_as_slow() {
        let mut profile = learned();
        (0..4).for_each(|_| {
            profile.observe_censored(16.0, 1.7 * affine(16.0), 1.0);
        });
        assert!(profile.centre(16.0) > 1.5 * affine(16.0));
    }

    proptest! {
        #[test]
        fn is_finite_positive_and_never_falls_with_cost(
            batches in prop::collection::vec((1u32..5000, 0.0f64..1e11), 1..200)
        ) {
            let mut profile = LatencyProfile::default();
            for (cost, service) in batches {
                profile.observe(f64::from(cost), service, 1.0);
                let mut before = 0.0;
                for cost in (0..14).map(|octave| f64::from(1 << octave)) {
                    let centre = profile.centre(cost);
                    prop_assert!(centre.is_finite() && centre > 0.0, "{centre}");
                    prop_assert!(centre >= before * 0.999_999, "{centre} after {before}");
                    before = centre;
                }
                let within = profile.largest_within(1e7);
                // Of the only size known, twice as much is tried where that size itself fits.
                let fits = if profile.curve.sizes() < 2 { within / 2.0 } else { within };
                prop_assert!(within <= 1.0 || profile.centre(fits) <= 1.001e7);
            }
        }
    }
}
