//! Requests of unlike length: batches sized by what they cost beside batches that count requests.

use engine::batch::CostRule;
use engine::batch::latency_profile::LatencyProfile;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::arrivals::Load;
use crate::bars::Bars;
use crate::baselines::{Kind, ours};
use crate::cell::{LEAD_MS, SLO_MS};
use crate::device::{BATCH_MAX, Device, Shape};
use crate::run::Run;
use crate::trace::{TOKENS, draw_tokens};
use crate::world::{Request, Setup, play};

/// Milliseconds a batch, and a token. A padded batch of ten lengths as they come (the longest of ten has some 3,600
/// tokens) then takes half an SLO: room for unlike lengths to matter, and for a request of the longest.
const FIXED_MS: f64 = 2.0;
const TOKEN_MS: f64 = 0.000_25;

/// Requests that the mean length is taken over.
const SAMPLES: u32 = 100_000;

/// Padded cost over true cost at which a batch of like lengths stops to grow in the design.
const PADDING: f64 = 1.5;

const END_MS: f64 = LEAD_MS + 2_500.0;

/// What the batcher is told of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    /// That it is one.
    One,
    /// How long it is, and how the device adds lengths up.
    Tokens,
}

impl Bars {
    /// B12: goodput with costs told over goodput with requests counted, where batches are padded to their longest and
    /// where they are not; and the late share with costs told.
    pub(crate) fn tokens(&mut self) {
        for (rule, name) in [(CostRule::Padded, ""), (CostRule::Sum, "_ragged")] {
            let rate = capacity(rule);
            let on_time = |told, seed| serve(rule, told, rate, seed).attained(LEAD_MS, END_MS);
            let ratio = |seed| on_time(Told::Tokens, seed) / on_time(Told::One, seed);
            let late = |seed| serve(rule, Told::Tokens, rate, seed).late(LEAD_MS, END_MS);
            let (ratio, late) = (self.worst_low(ratio), self.worst_high(late));
            let told = self.worst_low(|seed| on_time(Told::Tokens, seed));
            let counted = self.worst_low(|seed| on_time(Told::One, seed));
            self.put(&format!("B12{name}"), ratio);
            self.put(&format!("B12_late{name}"), late);
            self.put(&format!("B12_attained{name}"), told);
            self.put(&format!("B12_attained_counting{name}"), counted);
        }
    }
}

fn device() -> Device {
    Device::new(Shape::Affine { fixed: FIXED_MS, each: TOKEN_MS })
}

/// Requests per millisecond at load 1: of the batch of requests of mean length that takes half an SLO, so that whoever
/// just misses one is on time with the next. Where batches are padded, of one that is padded by [`PADDING`]: counting
/// then has about the share on time that the design's prototype published for it.
fn capacity(rule: CostRule) -> f64 {
    let padding = if rule == CostRule::Padded { PADDING } else { 1.0 };
    let busy_ms = SLO_MS / 2.0;
    (busy_ms - FIXED_MS) / (TOKEN_MS * padding * mean_tokens()) / busy_ms
}

fn mean_tokens() -> f64 {
    let mut rng = SmallRng::seed_from_u64(0x0070_CE25);
    work(CostRule::Sum, &draw(SAMPLES, &mut rng)) / f64::from(SAMPLES)
}

fn draw(count: u32, rng: &mut SmallRng) -> Vec<u32> {
    (0..count).map(|_| draw_tokens(rng)).collect()
}

/// What the device has to do for a batch.
fn work(rule: CostRule, tokens: &[u32]) -> f64 {
    let (sum, most) = (tokens.iter().sum::<u32>(), tokens.iter().max().copied().unwrap_or(0));
    f64::from(match rule {
        CostRule::Sum => sum,
        CostRule::Padded => most * tokens.len() as u32,
    })
}

fn serve(rule: CostRule, told: Told, rate: f64, seed: u64) -> Run {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x0070_4E25);
    let arrivals = Load::Poisson(rate).draw(END_MS, seed);
    let (batch_cost_max, cost_rule) = match told {
        Told::One => (u64::from(BATCH_MAX), CostRule::Sum),
        Told::Tokens => (u64::from(BATCH_MAX) * TOKENS.1 as u64, rule),
    };
    let setup = Setup {
        batch_cost_max,
        cost_rule,
        work_rule: rule,
        ..Setup::alike(device(), 1, SLO_MS, seed)
    };
    let requests = arrivals.into_iter().map(|arrives| {
        let work = draw_tokens(&mut rng);
        let cost = if told == Told::One { 1 } else { work };
        Request { arrives, cost, work, slo: (SLO_MS * 1e6) as u64, class: 0, weight: 1 }
    });
    match told {
        Told::Tokens => play(&setup, requests, Kind::Ours.controller(&setup)),
        Told::One => play(&setup, requests, ours(&setup, [warmed_by_count(rule)])),
    }
}

/// What warm-up tells a controller that counts: two batches of 1, 2, 4, … requests as they come.
fn warmed_by_count(rule: CostRule) -> LatencyProfile {
    let mut rng = SmallRng::seed_from_u64(0x0003_A23A);
    let device = device();
    let mut profile = LatencyProfile::default();
    let mut count = 1;
    while count <= BATCH_MAX {
        for _ in 0..2 {
            let work = work(rule, &draw(count, &mut rng));
            let millis = device.shape.millis(work) * device.ratio(&mut rng);
            if millis <= SLO_MS {
                profile.warm(f64::from(count), millis * 1e6);
            }
        }
        count *= 2;
    }
    profile
}
