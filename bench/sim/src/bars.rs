//! The promises in time, as figures: each is the worst of the seeds.

use std::collections::BTreeMap;

use crate::arrivals::Load;
use crate::baselines::Kind;
use crate::cell::{Cell, LEAD_MS, SLO_MS, span_ms};
use crate::device::{Device, Shape, SlowDown};
use crate::world::{self, Setup, play};
use crate::{chain, optimum, workers};

/// The figures by name, and the seeds they come from.
pub(crate) struct Bars {
    pub(crate) seeds: std::ops::Range<u64>,
    pub(crate) figures: BTreeMap<String, f64>,
}

/// Bars measured for one replica and for four: their names, and how.
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
const ONCE: [Once; 8] = [
    ("B6", Bars::relearning),
    ("B9", Bars::hedging),
    ("B10", Bars::binding),
    ("B11", Bars::unlike_replicas),
    ("B12", Bars::tokens),
    ("B14", Bars::calibration),
    ("B20", Bars::fidelity),
    ("classes", Bars::classes),
];

impl Bars {
    /// Those whose name begins with `wanted`; all of them when that is empty.
    pub(crate) fn measure(seeds: std::ops::Range<u64>, wanted: &str) -> Bars {
        type Job = Box<dyn Fn(&mut Bars) + Sync>;
        let is_wanted = |names: &str| names.split(' ').any(|name| name.starts_with(wanted));
        let mut jobs: Vec<Job> = Vec::new();
        for (_, measure) in ONCE.iter().filter(|(names, _)| is_wanted(names)) {
            jobs.push(Box::new(*measure));
        }
        for (_, measure) in PER_REPLICAS.iter().filter(|(names, _)| is_wanted(names)) {
            for replicas in [4, 1] {
                jobs.push(Box::new(move |bars| measure(bars, replicas)));
            }
        }
        let empty = || Bars { seeds: seeds.clone(), figures: BTreeMap::new() };
        let measured = workers::map(&jobs, |job| {
            let mut bars = empty();
            job(&mut bars);
            bars.figures
        });
        Bars { figures: measured.into_iter().flatten().collect(), ..empty() }
    }

    pub(crate) fn put(&mut self, name: &str, figure: f64) {
        self.figures.insert(name.to_owned(), (figure * 1e5).round() / 1e5);
    }

    pub(crate) fn worst_low(&self, figure: impl Fn(u64) -> f64) -> f64 {
        self.seeds.clone().map(figure).fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn worst_high(&self, figure: impl Fn(u64) -> f64) -> f64 {
        self.seeds.clone().map(figure).fold(f64::NEG_INFINITY, f64::max)
    }

    /// B2: goodput over its bound at every load; and the deepest fall from one load to a higher one.
    fn loads(&mut self, replicas: usize) {
        let device = Device::new(Shape::Gpu);
        let capacity = device.capacity(replicas, SLO_MS);
        let (mut elsewhere, mut at_capacity) = (f64::INFINITY, f64::INFINITY);
        let mut goodputs: Vec<Vec<f64>> = Vec::new();
        for share in [0.25, 0.5, 0.75, 0.9, 0.95, 1.0, 1.1, 1.2, 1.3, 1.5, 1.75, 2.0] {
            let rate = share * capacity;
            let cell = Cell::new(device, replicas, Load::Poisson(rate));
            let attained: Vec<f64> =
                self.seeds.clone().map(|seed| cell.attained(Kind::Ours, seed)).collect();
            let bound =
                if share <= 1.0 { rate } else { device.overload_bound(replicas, rate, SLO_MS) };
            let worst = attained.iter().copied().fold(f64::INFINITY, f64::min) * rate / bound;
            let lowest = if share == 1.0 { &mut at_capacity } else { &mut elsewhere };
            *lowest = lowest.min(worst);
            goodputs.push(attained.iter().map(|share| share * rate).collect());
        }
        self.put(&format!("B2_n{replicas}"), elsewhere.min(at_capacity));
        self.put(&format!("B2_n{replicas}_at_capacity"), at_capacity);
        self.put(&format!("B2_n{replicas}_elsewhere"), elsewhere);
        self.put(&format!("B2_n{replicas}_fall"), deepest_fall(&goodputs));
    }

    fn violations(&mut self, replicas: usize) {
        let device = Device::new(Shape::Gpu);
        let cell =
            Cell::new(device, replicas, Load::Poisson(0.9 * device.capacity(replicas, SLO_MS)));
        let missed = self.worst_high(|seed| 1.0 - cell.attained(Kind::Ours, seed));
        let late =
            self.worst_high(|seed| cell.run(Kind::Ours, seed).late_of_sent(LEAD_MS, cell.end_ms));
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

    /// B20: the simulator against an exact chain.
    fn fidelity(&mut self) {
        let worst = chain::worst_difference(self.seeds.start);
        self.put("B20_chain", worst);
    }
}

/// Of goodputs by load and seed: how far a seed's falls below its highest at any lower load.
fn deepest_fall(goodputs: &[Vec<f64>]) -> f64 {
    let mut highest = vec![f64::MIN_POSITIVE; goodputs.first().map_or(0, Vec::len)];
    let mut fall = 0.0f64;
    for goodput in goodputs {
        for (highest, goodput) in highest.iter_mut().zip(goodput) {
            fall = fall.max(1.0 - goodput / *highest);
            *highest = highest.max(*goodput);
        }
    }
    fall
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
        for end in ["B14_low", "B14_high"] {
            assert!((0.985..=0.995).contains(&figures[end]), "{figures:?}");
        }
        assert!(figures["B14_median_error"] <= 0.05, "{figures:?}");
        assert!(figures["B14_median_error_after_regime"] <= 0.05, "{figures:?}");
    }

    #[test]
    fn a_seed_replays_exactly() {
        assert_eq!(figures("B3"), figures("B3"));
    }
}
