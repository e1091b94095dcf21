//! What a simulated device takes for a batch.

use engine::clock::Time;
use rand::Rng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Normal};

/// Milliseconds for a batch of `b`, without noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    /// `0.4 + 0.02 b`: a small model on a CPU.
    Cheap,
    /// `2 + 0.25 b`.
    Gpu,
    /// `8 + 0.05 b`: nearly all of it is paid once a batch.
    Fat,
    /// `2 + 4 ⌈b / 16⌉`: tiles.
    Stepped,
    /// `fixed + each · cost`.
    Affine { fixed: f64, each: f64 },
}

impl Shape {
    /// Those with a name.
    pub(crate) const ALL: [Shape; 4] = [Shape::Cheap, Shape::Gpu, Shape::Fat, Shape::Stepped];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Shape::Cheap => "cheap",
            Shape::Gpu => "gpu",
            Shape::Fat => "fat",
            Shape::Stepped => "stepped",
            Shape::Affine { .. } => "affine",
        }
    }

    pub(crate) fn millis(self, cost: f64) -> f64 {
        match self {
            Shape::Cheap => 0.4 + 0.02 * cost,
            Shape::Gpu => 2.0 + 0.25 * cost,
            Shape::Fat => 8.0 + 0.05 * cost,
            Shape::Stepped => 2.0 + 4.0 * (cost / 16.0).ceil(),
            Shape::Affine { fixed, each } => fixed + each * cost,
        }
    }
}

/// A stretch of time in which everything takes longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowDown {
    pub(crate) from_ms: f64,
    pub(crate) to_ms: f64,
    pub(crate) factor: f64,
}

/// One kind of device running one model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device {
    pub(crate) shape: Shape,
    /// Of the logarithm of a batch's time.
    pub(crate) sigma: f64,
    /// Share of batches that take `slow_mode` times as long.
    pub(crate) slow_share: f64,
    pub(crate) slow_mode: f64,
    pub(crate) slow_down: Option<SlowDown>,
}

/// The largest batch the simulated model takes.
pub(crate) const BATCH_MAX: u32 = 512;

impl Device {
    pub(crate) fn new(shape: Shape) -> Device {
        Device { shape, sigma: 0.03, slow_share: 0.0, slow_mode: 4.0, slow_down: None }
    }

    pub(crate) fn exact(shape: Shape) -> Device {
        Device { sigma: 0.0, ..Device::new(shape) }
    }

    /// What everything is multiplied by then.
    pub(crate) fn factor(&self, at: Time) -> f64 {
        let ms = at.as_nanos() as f64 / 1e6;
        let slow = self.slow_down.filter(|slow| ms >= slow.from_ms && ms < slow.to_ms);
        slow.map_or(1.0, |slow| slow.factor)
    }

    pub(crate) fn ratio(&self, rng: &mut SmallRng) -> f64 {
        let mode = if self.slow_share > 0.0 && rng.random::<f64>() < self.slow_share {
            self.slow_mode
        } else {
            1.0
        };
        mode * self.noise(rng)
    }

    fn noise(&self, rng: &mut SmallRng) -> f64 {
        match Normal::new(0.0, self.sigma) {
            Ok(normal) if self.sigma > 0.0 => normal.sample(rng).exp(),
            _ => 1.0,
        }
    }

    /// Milliseconds of the largest throughput under an SLO with N staggered replicas: batch and requests per ms.
    pub(crate) fn capacity(&self, replicas: usize, slo_ms: f64) -> f64 {
        let stagger = 1.0 + 1.0 / replicas as f64;
        let feasible = |cost: &u32| self.shape.millis(f64::from(*cost)) * stagger <= slo_ms + 1e-9;
        let rate = |cost: u32| f64::from(cost) / self.shape.millis(f64::from(cost));
        let best = (1..=BATCH_MAX).filter(feasible).map(rate).fold(0.0, f64::max);
        best * replicas as f64
    }

    /// The most that can be served on time when `rate` requests come per ms: only the freshest.
    pub(crate) fn overload_bound(&self, replicas: usize, rate: f64, slo_ms: f64) -> f64 {
        let millis = |cost: u32| self.shape.millis(f64::from(cost));
        let feasible = |cost: &u32| millis(*cost) + f64::from(*cost) / rate <= slo_ms + 1e-9;
        let best = (1..=BATCH_MAX)
            .filter(feasible)
            .map(|cost| f64::from(cost) / millis(cost))
            .fold(0.0, f64::max);
        best * replicas as f64
    }
}
