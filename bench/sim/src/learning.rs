//! What a profile learns, without a queue: how fast, and how well it predicts.

use engine::batch::latency_profile::{LatencyProfile, Level, Noticed};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::bars::Bars;
use crate::device::{Device, Shape};

/// Seeds of a re-learning; a few batches each.
const RELEARNING_SEEDS: u64 = 200;

/// Batches after which a profile is settled.
const SETTLED_BATCHES: usize = 1000;
/// The same, after a regime.
const RESETTLED_BATCHES: usize = 100;

impl Bars {
    /// B6: batches until the centre is within 10 % of the truth again.
    pub(crate) fn relearning(&mut self) {
        for (sigma, name, quantile) in [(0.03, "", 1.0), (0.1, "_p95_noisy", 0.95)] {
            let mut counts: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
            for seed in self.seeds.start..self.seeds.start + RELEARNING_SEEDS {
                for (count, batches) in counts.iter_mut().zip(batches_to_relearn(sigma, seed)) {
                    count.push(batches);
                }
            }
            for (mut count, direction) in counts.into_iter().zip(["down", "up"]) {
                count.sort_unstable_by(f64::total_cmp);
                let at = ((count.len() as f64 * quantile).ceil() as usize).max(1) - 1;
                self.put(&format!("B6_{direction}_batches{name}"), count[at]);
            }
        }
    }

    /// B14: how often a batch stays within its predicted 99th percentile; the worst two ends.
    pub(crate) fn calibration(&mut self) {
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for seed in self.seeds.clone() {
            for (sigma, slow_share) in [(0.03, 0.0), (0.1, 0.0), (0.03, 0.03)] {
                let device = Device { sigma, slow_share, ..Device::new(Shape::Gpu) };
                let covered = coverage(&device, seed);
                (low, high) = (low.min(covered), high.max(covered));
            }
        }
        let error = self.worst_high(|seed| median_errors(seed)[0]);
        let after = self.worst_high(|seed| median_errors(seed)[1]);
        self.put("B14_median_error", error);
        self.put("B14_median_error_after_regime", after);
        self.put("B14_low", low);
        self.put("B14_high", high);
    }
}

fn learned(device: &Device, rng: &mut SmallRng, batches: usize) -> LatencyProfile {
    let mut profile = LatencyProfile::default();
    for _ in 0..batches {
        let (cost, service) = batch(device, rng, 1.0);
        profile.observe(cost, service, 1.0);
    }
    profile
}

fn batch(device: &Device, rng: &mut SmallRng, factor: f64) -> (f64, f64) {
    let cost = f64::from(rng.random_range(4u32..48));
    (cost, device.shape.millis(cost) * device.ratio(rng) * factor * 1e6)
}

/// Batches after a model became twice as slow, and after it came back.
fn batches_to_relearn(sigma: f64, seed: u64) -> [f64; 2] {
    let device = Device { sigma, ..Device::new(Shape::Gpu) };
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut profile = learned(&device, &mut rng, 200);
    [2.0, 1.0].map(|factor| {
        let right = |profile: &LatencyProfile| {
            [4.0, 16.0, 40.0].iter().all(|&cost| {
                (profile.centre(cost) / (device.shape.millis(cost) * factor * 1e6) - 1.0).abs()
                    < 0.1
            })
        };
        let mut batches = 0.0;
        let mut noticed = false;
        while !(noticed && right(&profile)) && batches < 100.0 {
            let (cost, service) = batch(&device, &mut rng, factor);
            noticed |= profile.observe(cost, service, 1.0) != Noticed::Nothing || right(&profile);
            batches += 1.0;
        }
        (0..200).for_each(|_| {
            let (cost, service) = batch(&device, &mut rng, factor);
            profile.observe(cost, service, 1.0);
        });
        batches
    })
}

fn coverage(device: &Device, seed: u64) -> f64 {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut profile = learned(device, &mut rng, SETTLED_BATCHES);
    let within = (0..10_000).filter(|_| {
        let (cost, service) = batch(device, &mut rng, 1.0);
        let within = service <= profile.quantile(cost, Level::P99);
        profile.observe(cost, service, 1.0);
        within
    });
    within.count() as f64 / 10_000.0
}

/// How far the predicted median is from the true one at most, over sizes: settled, and after twice as slow began.
fn median_errors(seed: u64) -> [f64; 2] {
    let device = Device::new(Shape::Gpu);
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut profile = learned(&device, &mut rng, SETTLED_BATCHES);
    let error = |profile: &LatencyProfile, factor: f64| {
        let of_cost = |cost: u32| {
            let cost = f64::from(cost);
            let truth = device.shape.millis(cost) * factor * 1e6;
            (profile.quantile(cost, Level::P50) / truth - 1.0).abs()
        };
        (4..48).map(of_cost).fold(0.0, f64::max)
    };
    let settled = error(&profile, 1.0);
    for _ in 0..RESETTLED_BATCHES {
        let (cost, service) = batch(&device, &mut rng, 2.0);
        profile.observe(cost, service, 1.0);
    }
    [settled, error(&profile, 2.0)]
}
