//! Many replicas behind one queue, and many models of one replica each: what is answered on time, and what an event of
//! the real batcher costs.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::clock::{Clock, Time};

use crate::arrivals::Load;
use crate::baselines::Kind;
use crate::cell::SLO_MS;
use crate::device::{Device, Shape};
use crate::workers;
use crate::world::{self, Setup, play_while};

const REPLICAS: [usize; 3] = [2, 64, 1_000];
const MODELS: [usize; 4] = [1, 10, 100, 1_000];
const LOADS: [f64; 2] = [0.9, 1.3];

/// Wall time a case may take; then it is cut, and says so: a batcher that walks over all its replicas at every event
/// would otherwise hold up everything else.
const CASE_WALL_MAX: Duration = Duration::from_secs(60);

/// Share of a run that is not counted.
const LEAD: f64 = 0.1;

#[derive(Clone, Copy, Debug)]
struct Case {
    models: usize,
    replicas: usize,
    load: f64,
    run_ms: f64,
    seed: u64,
}

/// What came of one model, or of all models of a case.
#[derive(Clone, Copy, Debug, Default)]
struct Played {
    /// Σ of goodput, per millisecond.
    goodput: f64,
    /// The lowest goodput of a model, over its bound.
    lowest: f64,
    events: u64,
    wall_s: f64,
    /// Virtual time at which its wall time was up.
    cut_ms: Option<f64>,
}

/// Prints a row per case of so much virtual time. Figures: goodput over its bound and the wall time of
/// an event in microseconds, by case; and how many were cut.
pub(crate) fn print(run_ms: f64, seed: u64) -> BTreeMap<String, f64> {
    println!(
        "\n2 s of virtual time: goodput over its bound (of the worst model), events, wall time an event"
    );
    let mut figures = BTreeMap::new();
    // The largest first: the others fill the remaining core.
    let replicas = REPLICAS.iter().rev().map(|&replicas| (1, replicas));
    let models = MODELS.iter().map(|&models| (models, 1));
    let cases: Vec<Case> = replicas
        .chain(models)
        .flat_map(|(models, replicas)| {
            LOADS.map(|load| Case { models, replicas, load, run_ms, seed })
        })
        .collect();
    let played = workers::map(&cases, measure);
    let mut unfinished = 0;
    for (case, played) in cases.iter().zip(&played) {
        let Case { models, replicas, load, .. } = case;
        let name = format!("scale_m{models}_n{replicas}_at_{load}");
        let event_us = played.wall_s * 1e6 / played.events.max(1) as f64;
        let done = match played.cut_ms {
            Some(cut_ms) => {
                unfinished += 1;
                format!("cut at {cut_ms:.1} ms")
            }
            None => {
                let ratio = played.goodput / (case.models as f64 * bound(case));
                figures.insert(name.clone(), (ratio * 1e5).round() / 1e5);
                format!("{ratio:.4} ({:.4})", played.lowest)
            }
        };
        println!(
            "{models:5} models x {replicas:4} replicas, {load} C: {done:18} {:10} events, {event_us:9.3} us each",
            played.events
        );
        figures.insert(format!("{name}_event_us"), (event_us * 1e3).round() / 1e3);
    }
    figures.insert("scale_unfinished".to_owned(), f64::from(unfinished));
    figures
}

fn rate(case: &Case) -> f64 {
    case.load * Device::new(Shape::Gpu).capacity(case.replicas, SLO_MS)
}

fn bound(case: &Case) -> f64 {
    let (device, rate) = (Device::new(Shape::Gpu), rate(case));
    if case.load <= 1.0 { rate } else { device.overload_bound(case.replicas, rate, SLO_MS) }
}

/// Models share nothing, so that playing them one after the other is playing them at once.
fn measure(case: &Case) -> Played {
    let clock = Clock::start();
    let ends = clock.now().after(CASE_WALL_MAX);
    let mut total = Played { lowest: f64::INFINITY, ..Played::default() };
    for model in 0..case.models {
        let played = play_model(case, case.seed * 10_000 + model as u64, clock, ends);
        total.goodput += played.goodput;
        total.lowest = total.lowest.min(played.lowest);
        total.events += played.events;
        total.wall_s += played.wall_s;
        total.cut_ms = played.cut_ms;
        if total.cut_ms.is_some() {
            break;
        }
    }
    total
}

fn play_model(case: &Case, seed: u64, clock: Clock, ends: Time) -> Played {
    let (device, rate) = (Device::new(Shape::Gpu), rate(case));
    let arrivals = Load::Poisson(rate).draw(case.run_ms, seed);
    let setup = Setup::alike(device, case.replicas, SLO_MS, seed);
    let controller = Kind::Ours.controller(&setup);
    let from = clock.now();
    let run =
        play_while(&setup, world::alike(&arrivals, SLO_MS), controller, || clock.now() < ends);
    let wall_s = clock.now().since(from).as_secs_f64();
    let goodput = run.attained(LEAD * case.run_ms, case.run_ms) * rate;
    let cut_ms = run.cut_at.map(|at| at as f64 / 1e6);
    Played { goodput, lowest: goodput / bound(case), events: run.events, wall_s, cut_ms }
}
