//! Unlike replicas of one model: a device that is fast for many and two that are fast for few, behind one queue, beside
//! queues of their own with the best split of the requests that a search finds.

use std::ops::Range;

use engine::ids::DeviceClass;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::arrivals::Load;
use crate::bars::Bars;
use crate::baselines::Kind;
use crate::cell::LEAD_MS;
use crate::device::{Device, Shape};
use crate::run::Run;
use crate::workers;
use crate::world::{Request, Setup, play};

const SPAN_MS: f64 = 2_000.0;
const END_MS: f64 = LEAD_MS + SPAN_MS;

/// Milliseconds, by class of request: urgent and normal.
const SLOS_MS: [f64; 2] = [5.0, 25.0];
/// Share of urgent ones, before the mix shifts and after.
const URGENT: f64 = 0.15;
const URGENT_SHIFTED: f64 = 0.4;
/// Requests a millisecond of the mixes; and of the one that shifts.
const RATES: [f64; 4] = [1.0, 3.0, 6.0, 9.0];
const RATE_SHIFTED: f64 = 6.0;

const GPU: Shape = Shape::Affine { fixed: 3.0, each: 0.05 };
const CPU: Shape = Shape::Affine { fixed: 0.3, each: 1.0 };
const CPUS: usize = 2;

/// Which share of the urgent and of the normal go to the CPUs' own queue.
#[derive(Clone, Copy, Debug)]
struct Split {
    urgent: f64,
    normal: f64,
}

impl Bars {
    /// B11. A mix's figure is the mean of the two kinds' shares on time, so that neither is bought with the other
    /// however rare it is. `B11_vs_static`: ours less that of the best static split, the worst of the mixes and
    /// seeds. `B11`: urgent ones on time after the shift, ours less those of the split that was best before it.
    pub(crate) fn unlike_replicas(&mut self) {
        let mut lowest = f64::INFINITY;
        for rate in RATES {
            let best = best_split(rate, URGENT, &self.seeds);
            let gain = |seed| {
                let requests = requests(rate, URGENT, seed);
                of_both(&late_bound(&requests, seed)) - of_both(&split_apart(&requests, best, seed))
            };
            let gain = self.worst_low(gain);
            self.put(&format!("B11_vs_static_{rate}_per_ms"), gain);
            lowest = lowest.min(gain);
        }
        self.put("B11_vs_static", lowest);
        self.shifted_mix();
    }

    fn shifted_mix(&mut self) {
        let before = best_split(RATE_SHIFTED, URGENT, &self.seeds);
        let after = best_split(RATE_SHIFTED, URGENT_SHIFTED, &self.seeds);
        let ours = |class: usize| {
            move |seed| late_bound(&requests(RATE_SHIFTED, URGENT_SHIFTED, seed), seed)[class]
        };
        let apart = |split: Split, class: usize| {
            move |seed| {
                split_apart(&requests(RATE_SHIFTED, URGENT_SHIFTED, seed), split, seed)[class]
            }
        };
        let gain = self.worst_low(|seed| ours(0)(seed) - apart(before, 0)(seed));
        let gpu_alone = Split { urgent: 0.0, normal: 0.0 };
        let figures = [
            ("B11", gain),
            ("B11_urgent", self.worst_low(ours(0))),
            ("B11_normal", self.worst_low(ours(1))),
            ("B11_urgent_split_before", self.worst_low(apart(before, 0))),
            ("B11_urgent_split_after", self.worst_low(apart(after, 0))),
            ("B11_normal_split_after", self.worst_low(apart(after, 1))),
            ("B11_urgent_gpu_alone", self.worst_low(apart(gpu_alone, 0))),
        ];
        figures.into_iter().for_each(|(name, figure)| self.put(name, figure));
    }
}

fn of_both(shares: &[f64; 2]) -> f64 {
    (shares[0] + shares[1]) / 2.0
}

fn requests(rate: f64, urgent: f64, seed: u64) -> Vec<Request> {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x0C1A_55E5);
    let arrivals = Load::Poisson(rate).draw(END_MS, seed);
    let request = |arrives| {
        let class = u8::from(rng.random::<f64>() >= urgent);
        let slo = (SLOS_MS[usize::from(class)] * 1e6) as u64;
        Request { arrives, cost: 1, work: 1, slo, class, weight: 1 }
    };
    arrivals.into_iter().map(request).collect()
}

fn setup(devices: &[Shape], replicas: &[u8], slo_ms: f64, seed: u64) -> Setup {
    Setup {
        devices: devices.iter().map(|&shape| Device::new(shape)).collect(),
        replicas: replicas.iter().map(|&class| DeviceClass(class)).collect(),
        ..Setup::alike(Device::new(devices[0]), replicas.len(), slo_ms, seed)
    }
}

/// Shares on time of each kind, with one queue for all replicas. The model's SLO is the longer one; urgent requests
/// bring their own deadlines.
fn late_bound(requests: &[Request], seed: u64) -> [f64; 2] {
    let setup = setup(&[GPU, CPU], &[0, 1, 1], SLOS_MS[1], seed);
    shares(&[run(&setup, requests)])
}

fn run(setup: &Setup, requests: &[Request]) -> Run {
    play(setup, requests.iter().copied(), Kind::Ours.controller(setup))
}

/// The same with a queue for the GPU and one for the CPUs, each with our controller and the SLO of what it is for.
fn split_apart(requests: &[Request], split: Split, seed: u64) -> [f64; 2] {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x05B1_1700);
    let goes_to_cpu = |request: &Request| {
        let share = if request.class == 0 { split.urgent } else { split.normal };
        rng.random::<f64>() < share
    };
    let (cpu, gpu): (Vec<Request>, Vec<Request>) = requests.iter().copied().partition(goes_to_cpu);
    let gpu_setup = setup(&[GPU], &[0], SLOS_MS[1], seed);
    let cpu_setup = setup(&[CPU], &[0; CPUS], SLOS_MS[0], seed);
    shares(&[run(&gpu_setup, &gpu), run(&cpu_setup, &cpu)])
}

fn shares(runs: &[Run]) -> [f64; 2] {
    [0, 1].map(|class| {
        let of_run = |run: &Run| run.of_class(class, LEAD_MS, END_MS);
        let (on_time, all) = runs
            .iter()
            .map(of_run)
            .fold((0.0, 0.0), |sum, of_run| (sum.0 + of_run.0, sum.1 + of_run.1));
        if all == 0.0 { 1.0 } else { on_time / all }
    })
}

/// By search over a grid, on the mean of the seeds.
fn best_split(rate: f64, urgent: f64, seeds: &Range<u64>) -> Split {
    let drawn: Vec<_> = seeds.clone().map(|seed| (requests(rate, urgent, seed), seed)).collect();
    let grid: Vec<Split> = [0.0, 0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0]
        .into_iter()
        .flat_map(|urgent| [0.0, 0.05, 0.1, 0.2].map(|normal| Split { urgent, normal }))
        .collect();
    let score = |split: &Split| -> f64 {
        drawn.iter().map(|(all, seed)| of_both(&split_apart(all, *split, *seed))).sum()
    };
    let scores = workers::map(&grid, score);
    let best = scores.iter().zip(&grid).max_by(|a, b| a.0.total_cmp(b.0));
    best.map_or(Split { urgent: 1.0, normal: 0.0 }, |best| *best.1)
}
