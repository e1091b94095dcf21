//! The simulator against mathematics: one replica that always takes everything, under Poisson arrivals.
//!
//! Batch sizes then form a Markov chain: the next batch is what arrived during this one, at least one. Its
//! stationary distribution gives the mean time in the system exactly.

use crate::arrivals::Load;
use crate::baselines::Kind;
use crate::device::{BATCH_MAX, Device, Shape};
use crate::world::{self, Setup, play};

/// Enough that nothing is ever late.
const SLO_MS: f64 = 1e6;
const RUN_MS: f64 = 600_000.0;
/// Sizes the chain distinguishes; larger ones are practically impossible at these rates.
const SIZES: usize = 160;

/// The largest relative difference of the mean time between chain and simulator, over several rates.
pub(crate) fn worst_difference(seed: u64) -> f64 {
    let device = Device::exact(Shape::Gpu);
    let differs = |rate: f64| (simulated(&device, rate, seed) / exact(&device, rate) - 1.0).abs();
    [0.1, 0.5, 1.0, 2.0, 3.0].into_iter().map(differs).fold(0.0, f64::max)
}

fn simulated(device: &Device, rate: f64, seed: u64) -> f64 {
    let arrivals = Load::Poisson(rate).draw(RUN_MS, seed);
    let setup = Setup::alike(*device, 1, SLO_MS, seed);
    let everything = Kind::Static(u64::from(BATCH_MAX), 0.0);
    let run = play(&setup, world::alike(&arrivals, SLO_MS), everything.controller(&setup));
    let total: f64 =
        run.requests.iter().map(|request| (request.ended - request.arrived) as f64 / 1e6).sum();
    total / run.requests.len() as f64
}

/// Mean milliseconds in the system.
fn exact(device: &Device, rate: f64) -> f64 {
    let millis = |size: usize| device.shape.millis(size as f64);
    let arrivals: Vec<Vec<f64>> = (1..=SIZES).map(|size| poisson(rate * millis(size))).collect();
    let mut share = vec![1.0 / SIZES as f64; SIZES];
    for _ in 0..2000 {
        let mut next = vec![0.0; SIZES];
        for (from, &weight) in share.iter().enumerate() {
            next[0] += weight * (arrivals[from][0] + arrivals[from][1]);
            for to in 2..=SIZES {
                next[to - 1] += weight * arrivals[from][to];
            }
        }
        share = next;
    }
    let (mut time, mut served) = (0.0, 0.0);
    for (from, &weight) in share.iter().enumerate() {
        let busy = millis(from + 1);
        for (next, &probability) in arrivals[from].iter().enumerate().skip(1) {
            // They came, on average, in the middle of the batch before theirs.
            time += weight * probability * next as f64 * (busy / 2.0 + millis(next));
        }
        time += weight * arrivals[from][0] * millis(1);
        served += weight * (rate * busy + arrivals[from][0]);
    }
    time / served
}

/// Probabilities of 0..=[`SIZES`] arrivals.
fn poisson(mean: f64) -> Vec<f64> {
    let mut log = -mean;
    let mut probabilities = vec![log.exp()];
    for count in 1..=SIZES {
        log += mean.ln() - (count as f64).ln();
        probabilities.push(log.exp());
    }
    probabilities
}
