//! The promises in time, as figures: each is the worst of the seeds.

use std::collections::BTreeMap;

use engine::batch::latency_profile::{LatencyProfile, Level, Noticed};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::arrivals::Load;
use crate::baselines::Kind;
use crate::chain;
use crate::device::{Device, Shape, SlowDown};
use crate::optimum;
use crate::run::Run;
use crate::world::{self, Setup, play};

/// The SLO of every experiment, milliseconds.
pub(crate) const SLO_MS: f64 = 20.0;
/// Time before anything is counted.
pub(crate) const LEAD_MS: f64 = 200.0;

/// Milliseconds counted: shorter for more replicas, which take more requests.
pub(crate) fn span_ms(replicas: usize) -> f64 {
    if replicas == 1 { 2500.0 } else { 900.0 }
}

/// One experiment: who serves what, on what.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) device: Device,
    pub(crate) replicas: usize,
    pub(crate) load: Load,
    pub(crate) hard: bool,
    pub(crate) end_ms: f64,
}

impl Cell {
    pub(crate) fn new(device: Device, replicas: usize, load: Load) -> Cell {
        Cell { device, replicas, load, hard: true, end_ms: LEAD_MS + span_ms(replicas) }
    }

    pub(crate) fn run(&self, kind: Kind, seed: u64) -> Run {
        let arrivals = self.load.draw(self.end_ms, seed);
        let alike = Setup::alike(self.device, self.replicas, SLO_MS, seed);
        let setup = Setup { hard: self.hard, ..alike };
        play(&setup, world::alike(&arrivals, SLO_MS), kind.controller(&setup))
    }

    pub(crate) fn attained(&self, kind: Kind, seed: u64) -> f64 {
        self.run(kind, seed).attained(LEAD_MS, self.end_ms)
    }
}

/// The figures by name, and the seeds they come from.
pub(crate) struct Bars {
    pub(crate) seeds: std::ops::Range<u64>,
    pub(crate) figures: BTreeMap<String, f64>,
}

impl Bars {
    /// Those whose name begins with `wanted`; all of them when that is empty.
    pub(crate) fn measure(seeds: std::ops::Range<u64>, wanted: &str) -> Bars {
        type PerReplicas = (&'static str, fn(&mut Bars, usize));
        const PER_REPLICAS: [PerReplicas; 8] = [
            ("B2", Bars::loads),
            ("B3", Bars::violations),
            ("B4 B5", Bars::bursty),
            ("B6", Bars::slow_down),
            ("B7", Bars::cold_start),
            ("B8", Bars::burst),
            ("B18", Bars::step),
            ("soft", Bars::soft),
        ];
        type Once = (&'static str, fn(&mut Bars));
        const ONCE: [Once; 5] = [
            ("B6", Bars::relearning),
            ("B9", Bars::hedging),
            ("B10", Bars::binding),
            ("B14", Bars::calibration),
            ("B20", Bars::fidelity),
        ];
        let mut bars = Bars { seeds, figures: BTreeMap::new() };
        let is_wanted = |names: &str| names.split(' ').any(|name| name.starts_with(wanted));
        for (_, measure) in PER_REPLICAS.iter().filter(|(names, _)| is_wanted(names)) {
            [1, 4].into_iter().for_each(|replicas| measure(&mut bars, replicas));
        }
        for (_, measure) in ONCE.iter().filter(|(names, _)| is_wanted(names)) {
            measure(&mut bars);
        }
        bars
    }

    fn put(&mut self, name: &str, figure: f64) {
        self.figures.insert(name.to_owned(), (figure * 1e5).round() / 1e5);
    }

    fn worst_low(&self, figure: impl Fn(u64) -> f64) -> f64 {
        self.seeds.clone().map(figure).fold(f64::INFINITY, f64::min)
    }

    fn worst_high(&self, figure: impl Fn(u64) -> f64) -> f64 {
        self.seeds.clone().map(figure).fold(f64::NEG_INFINITY, f64::max)
    }

    /// B2: goodput over its bound at every load; and the deepest fall from one load to a higher one.
    fn loads(&mut self, replicas: usize) {
        let device = Device::new(Shape::Gpu);
        let capacity = device.capacity(replicas, SLO_MS);
        let (mut lowest, mut at_capacity, mut highest, mut fall) =
            (f64::INFINITY, 0.0, 0.0f64, 0.0f64);
        for share in [0.25, 0.5, 0.75, 0.9, 0.95, 1.0, 1.1, 1.2, 1.3, 1.5, 1.75, 2.0] {
            let rate = share * capacity;
            let cell = Cell::new(device, replicas, Load::Poisson(rate));
            let attained = self.worst_low(|seed| cell.attained(Kind::Ours, seed));
            let bound =
                if share <= 1.0 { rate } else { device.overload_bound(replicas, rate, SLO_MS) };
            let ratio = attained * rate / bound;
            if share == 1.0 {
                at_capacity = ratio;
            } else {
                lowest = lowest.min(ratio);
            }
            fall = fall.max(1.0 - attained * rate / highest.max(f64::MIN_POSITIVE));
            highest = highest.max(attained * rate);
        }
        self.put(&format!("B2_n{replicas}"), lowest);
        self.put(&format!("B2_n{replicas}_at_capacity"), at_capacity);
        self.put(&format!("B2_n{replicas}_fall"), fall);
    }

    fn violations(&mut self, replicas: usize) {
        let device = Device::new(Shape::Gpu);
        let cell =
            Cell::new(device, replicas, Load::Poisson(0.9 * device.capacity(replicas, SLO_MS)));
        let missed = self.worst_high(|seed| 1.0 - cell.attained(Kind::Ours, seed));
        let late = self.worst_high(|seed| cell.run(Kind::Ours, seed).late(LEAD_MS, cell.end_ms));
        self.put(&format!("B3_n{replicas}"), missed);
        self.put(&format!("B3_n{replicas}_late"), late);
    }

    /// B4 and B5: against the oracle, and on one replica against the optimum.
    fn bursty(&mut self, replicas: usize) {
        let device = Device::new(Shape::Gpu);
        let c = device.capacity(replicas, SLO_MS);
        let gamma = Load::Gamma { rate: 0.7 * c, cv: 6.0 };
        let mmpp = Load::Mmpp { rates: [0.4 * c, 1.5 * c], sojourns: [150.0, 75.0] };
        for (bar, load) in [("B4", gamma), ("B5", mmpp)] {
            let cell = Cell::new(device, replicas, load);
            let ratio = |seed| cell.attained(Kind::Ours, seed) / cell.attained(Kind::Oracle, seed);
            let points = |seed| cell.attained(Kind::Oracle, seed) - cell.attained(Kind::Ours, seed);
            let (ratio, points) = (self.worst_low(ratio), self.worst_high(points));
            self.put(&format!("{bar}_n{replicas}"), ratio);
            self.put(&format!("{bar}_n{replicas}_points_below_oracle"), points);
            if replicas == 1 {
                let optimum = self.worst_low(|seed| of_optimum(&cell, seed));
                self.put(&format!("{bar}_n1_of_optimum"), optimum);
            }
        }
    }

    /// B6: twice as slow from 40 to 80 % of the run.
    fn slow_down(&mut self, replicas: usize) {
        for (shape, name) in [(Shape::Gpu, ""), (Shape::Fat, "_fat")] {
            let span = span_ms(replicas);
            let (from_ms, to_ms) = (LEAD_MS + 0.4 * span, LEAD_MS + 0.8 * span);
            let slow_down = Some(SlowDown { from_ms, to_ms, factor: 2.0 });
            let device = Device { slow_down, ..Device::new(shape) };
            let mut worst = f64::INFINITY;
            for share in [0.3, 0.6] {
                let cell = Cell::new(
                    device,
                    replicas,
                    Load::Poisson(share * device.capacity(replicas, SLO_MS)),
                );
                let ratio =
                    |seed| cell.attained(Kind::Ours, seed) / cell.attained(Kind::Oracle, seed);
                worst = worst.min(self.worst_low(ratio));
            }
            self.put(&format!("B6_n{replicas}{name}"), worst);
        }
    }

    /// B7: straight into 0.9 C, with what warm-up learned and, to compare, with nothing.
    fn cold_start(&mut self, replicas: usize) {
        for (shape, name) in [(Shape::Gpu, ""), (Shape::Fat, "_fat")] {
            let device = Device::new(shape);
            let load = Load::Poisson(0.9 * device.capacity(replicas, SLO_MS));
            let cell = Cell::new(device, replicas, load);
            for (kind, how) in [(Kind::Ours, ""), (Kind::Cold, "_without_warm_up")] {
                let attained = self.worst_low(|seed| cell.run(kind, seed).attained(0.0, 500.0));
                self.put(&format!("B7_n{replicas}{name}{how}"), attained);
            }
        }
    }

    fn burst(&mut self, replicas: usize) {
        let device = Device::new(Shape::Gpu);
        let c = device.capacity(replicas, SLO_MS);
        let load = Load::Steps(vec![(0.0, 0.8 * c), (400.0, 3.0 * c), (500.0, 0.8 * c)]);
        let cell = Cell::new(device, replicas, load);
        let during = self.worst_low(|seed| cell.run(Kind::Ours, seed).attained(400.0, 500.0));
        let from = 500.0 + 2.0 * SLO_MS;
        let after = self.worst_low(|seed| cell.run(Kind::Ours, seed).attained(from, from + 200.0));
        self.put(&format!("B8_n{replicas}"), during);
        self.put(&format!("B8_n{replicas}_after"), after);
    }

    fn step(&mut self, replicas: usize) {
        let device = Device::new(Shape::Gpu);
        let c = device.capacity(replicas, SLO_MS);
        let cell = Cell::new(device, replicas, Load::Steps(vec![(0.0, 0.5 * c), (500.0, 1.4 * c)]));
        let from = 500.0 + 2.0 * SLO_MS;
        let answered =
            self.worst_low(|seed| cell.run(Kind::Ours, seed).answered(from, from + 200.0) / c);
        self.put(&format!("B18_n{replicas}"), answered);
    }

    /// What soft deadlines cost on-time goodput, in shares of the requests: the worst of several loads.
    fn soft(&mut self, replicas: usize) {
        let device = Device::new(Shape::Gpu);
        let c = device.capacity(replicas, SLO_MS);
        let mut cost = f64::NEG_INFINITY;
        let mmpp = Load::Mmpp { rates: [0.4 * c, 1.5 * c], sojourns: [150.0, 75.0] };
        let gamma = Load::Gamma { rate: 0.7 * c, cv: 6.0 };
        let poisson = [0.6, 0.9, 1.0, 1.3].map(|share| Load::Poisson(share * c));
        for load in poisson.into_iter().chain([mmpp, gamma]) {
            let hard = Cell::new(device, replicas, load);
            let soft = Cell { hard: false, ..hard.clone() };
            let lost = |seed| hard.attained(Kind::Ours, seed) - soft.attained(Kind::Ours, seed);
            cost = cost.max(self.worst_high(lost));
        }
        self.put(&format!("soft_cost_n{replicas}"), cost);
    }

    fn hedging(&mut self) {
        let device = Device { slow_share: 0.03, ..Device::new(Shape::Gpu) };
        let cell = Cell::new(device, 4, Load::Poisson(0.6 * device.capacity(4, SLO_MS)));
        let late = self.worst_high(|seed| cell.run(Kind::Ours, seed).late(LEAD_MS, cell.end_ms));
        let share = |seed| cell.run(Kind::Ours, seed).hedged as f64 / (4.0 * cell.end_ms * 1e6);
        let hedged = self.worst_high(share);
        self.put("B9", late);
        self.put("B9_hedged", hedged);
    }

    /// B10: four replicas behind one queue against four queues of their own, taken in turn.
    fn binding(&mut self) {
        let device = Device::new(Shape::Gpu);
        let cell = Cell::new(device, 4, Load::Poisson(device.capacity(4, SLO_MS)));
        let gain = |seed| cell.attained(Kind::Ours, seed) - early_bound(&cell, seed);
        let gain = self.worst_low(gain);
        self.put("B10", gain);
    }

    /// B6: batches until the centre is within 10 % of the truth again.
    fn relearning(&mut self) {
        for (sigma, name, quantile) in [(0.03, "", 1.0), (0.1, "_p95_noisy", 0.95)] {
            let mut counts: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
            for seed in 0..200 {
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

    /// B20: the simulator against an exact chain.
    fn fidelity(&mut self) {
        let worst = chain::worst_difference(self.seeds.start);
        self.put("B20_chain", worst);
    }

    /// B14: how often a batch stays within its predicted 99th percentile; the worst two ends.
    fn calibration(&mut self) {
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for seed in self.seeds.clone() {
            for (sigma, slow_share) in [(0.03, 0.0), (0.1, 0.0), (0.03, 0.03)] {
                let device = Device { sigma, slow_share, ..Device::new(Shape::Gpu) };
                let covered = coverage(&device, seed);
                (low, high) = (low.min(covered), high.max(covered));
            }
        }
        self.put("B14_low", low);
        self.put("B14_high", high);
    }
}

/// On-time share over what a clairvoyant would have had without noise.
fn of_optimum(cell: &Cell, seed: u64) -> f64 {
    let arrivals = cell.load.draw(cell.end_ms, seed);
    let service = |batch: usize| (cell.device.shape.millis(batch as f64) * 1e6) as u64;
    let best = optimum::attainable(&arrivals, (SLO_MS * 1e6) as u64, service);
    cell.run(Kind::Ours, seed).attained(0.0, cell.end_ms) / best
}

fn early_bound(cell: &Cell, seed: u64) -> f64 {
    let arrivals = cell.load.draw(cell.end_ms, seed);
    let (mut on_time, mut all) = (0.0, 0.0);
    for replica in 0..cell.replicas {
        let own: Vec<_> = arrivals.iter().copied().skip(replica).step_by(cell.replicas).collect();
        let seed = seed * 100 + replica as u64;
        let setup = Setup::alike(cell.device, 1, SLO_MS, seed);
        let run = play(&setup, world::alike(&own, SLO_MS), Kind::Ours.controller(&setup));
        let counted = own.iter().filter(|&&at| at as f64 >= LEAD_MS * 1e6).count() as f64;
        on_time += run.attained(LEAD_MS, cell.end_ms) * counted;
        all += counted;
    }
    on_time / all
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
    let mut profile = learned(device, &mut rng, 1000);
    let within = (0..10_000).filter(|_| {
        let (cost, service) = batch(device, &mut rng, 1.0);
        let within = service <= profile.quantile(cost, Level::P99);
        profile.observe(cost, service, 1.0);
        within
    });
    within.count() as f64 / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(bar: &str) -> BTreeMap<String, f64> {
        Bars::measure(1..3, bar).figures
    }

    #[test]
    fn a_burst_is_served_in_part_and_forgotten() {
        let figures = figures("B8");
        for replicas in [1, 4] {
            assert!(figures[&format!("B8_n{replicas}")] >= 0.3, "{figures:?}");
            assert!(figures[&format!("B8_n{replicas}_after")] >= 0.99, "{figures:?}");
        }
    }

    #[test]
    fn overload_does_not_bring_goodput_down() {
        let figures = figures("B18");
        assert!(figures.values().all(|&of_capacity| of_capacity >= 0.95), "{figures:?}");
    }

    #[test]
    fn nearly_everything_is_on_time_at_nine_tenths_of_capacity() {
        let figures = figures("B3");
        assert!(figures.values().all(|&missed| missed <= 0.01), "{figures:?}");
    }

    #[test]
    fn what_is_late_may_cost_what_is_not_a_point() {
        let figures = figures("soft");
        assert!(figures.values().all(|&cost| cost <= 0.01), "{figures:?}");
    }

    #[test]
    fn the_predicted_tail_is_the_real_one() {
        let figures = figures("B14");
        assert!(figures.values().all(|&covered| (0.985..=0.995).contains(&covered)), "{figures:?}");
    }

    #[test]
    fn a_seed_replays_exactly() {
        assert_eq!(figures("B3"), figures("B3"));
    }
}
