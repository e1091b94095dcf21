//! What must hold for any device under any overload, drawn at random.

use engine::ids::DeviceClass;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::arrivals::Load;
use crate::baselines::Kind;
use crate::cell::{Cell, SLO_MS};
use crate::device::{Device, Shape};
use crate::run::Run;
use crate::world::{self, Setup, play};

/// Devices drawn for each law.
const CASES: u64 = 12;

/// A device that serves several at a time within the SLO, how many replicas, and a generator for the rest.
fn draw(seed: u64) -> (Device, usize, SmallRng) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let fixed = rng.random_range(0.3..6.0);
    // From batching that hardly pays to batching that is everything.
    let each = fixed * 10f64.powf(rng.random_range(-2.0..-0.3));
    let replicas = [1, 2, 4][rng.random_range(0..3)];
    (Device::new(Shape::Affine { fixed, each }), replicas, rng)
}

fn serve(device: Device, replicas: usize, load: &Load, end_ms: f64, seed: u64) -> Run {
    let setup = Setup::alike(device, replicas, SLO_MS, seed);
    let arrivals = load.draw(end_ms, seed);
    play(&setup, world::alike(&arrivals, SLO_MS), Kind::Ours.controller(&setup))
}

#[test]
fn i7_goodput_stays_at_capacity_however_much_more_is_asked() {
    for seed in 0..CASES {
        let (device, replicas, mut rng) = draw(seed);
        let c = device.capacity(replicas, SLO_MS);
        let factor = rng.random_range(1.05..3.0);
        let end_ms = 40.0 * SLO_MS;
        let run = serve(device, replicas, &Load::Poisson(factor * c), end_ms, seed);
        let mut from = 4.0 * SLO_MS;
        while from + 10.0 * SLO_MS <= end_ms {
            let of_capacity = run.answered(from, from + 10.0 * SLO_MS) / c;
            assert!(
                of_capacity >= 0.9,
                "seed {seed}, {device:?}, N={replicas}, {factor} C, from {from} ms: {of_capacity}"
            );
            from += SLO_MS;
        }
    }
}

#[test]
fn i8_what_was_too_much_is_forgotten_within_two_slos() {
    for seed in 0..CASES {
        let (device, replicas, mut rng) = draw(seed ^ 0x18);
        let c = device.capacity(replicas, SLO_MS);
        let (factor, burst_ms) = (rng.random_range(1.2..4.0), rng.random_range(40.0..300.0));
        let calm = rng.random_range(0.3..0.85);
        let returns = 200.0 + burst_ms;
        let load = Load::Steps(vec![(0.0, calm * c), (200.0, factor * c), (returns, calm * c)]);
        let (from, to) = (returns + 2.0 * SLO_MS, returns + 22.0 * SLO_MS);
        let attained = serve(device, replicas, &load, to, seed).attained(from, to);
        assert!(
            attained >= 0.99,
            "seed {seed}, {device:?}, N={replicas}, {factor} C for {burst_ms} ms on {calm} C: {attained}"
        );
    }
}

#[test]
fn i11_a_seed_replays_exactly() {
    for seed in 0..CASES {
        let (device, replicas, mut rng) = draw(seed ^ 0x11);
        let device = Device { slow_share: 0.02, ..device };
        let rate = rng.random_range(0.5..1.5) * device.capacity(replicas, SLO_MS);
        let ends = || {
            let cell = Cell::new(device, replicas, Load::Poisson(rate));
            let run = cell.run(Kind::Ours, seed);
            let ends: Vec<_> =
                run.requests.iter().map(|request| (request.ended, request.end)).collect();
            (ends, run.events, run.hedged)
        };
        assert!(ends() == ends(), "seed {seed}");
    }
}

#[test]
fn unlike_replicas_and_soft_deadlines_lose_nobody() {
    let (device, _, _) = draw(3);
    let setup = Setup {
        devices: vec![device, Device::new(Shape::Cheap)],
        replicas: vec![DeviceClass(0), DeviceClass(1), DeviceClass(1)],
        hard: false,
        ..Setup::alike(device, 3, SLO_MS, 3)
    };
    let arrivals = Load::Poisson(3.0).draw(500.0, 3);
    let run = play(&setup, world::alike(&arrivals, SLO_MS), Kind::Ours.controller(&setup));
    assert_eq!(run.requests.len(), arrivals.len());
    assert_eq!(run.ended(crate::run::End::Open), 0);
}
