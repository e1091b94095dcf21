//! Pictures for a paper: goodput and misses over load, misses over time through a burst, batch sizes over time through
//! a slow-down. What is drawn is here; how, in `chart`.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use crate::arrivals::Load;
use crate::baselines::Kind;
use crate::cell::{Cell, LEAD_MS, SLO_MS, span_ms};
use crate::device::{Device, Shape, SlowDown};
use crate::run::Run;
use crate::workers;

mod chart;

use chart::{Chart, Line, Scale};

/// In the order of drawing: the oracle's dashes lie over ours, so that both are seen.
const KINDS: [Kind; 6] =
    [Kind::Static(32, 2.0), Kind::Aimd, Kind::Clockwork, Kind::Nexus, Kind::Ours, Kind::Oracle];

/// Milliseconds of a point of a curve over time.
const BIN_MS: f64 = 10.0;
/// The same where a point is the mean of few batches.
const BATCHES_BIN_MS: f64 = 40.0;

/// Shares that are drawn on a logarithmic axis are no smaller than this.
const SHARE_MIN: f64 = 1e-4;

pub(crate) fn draw(folder: &Path, seeds: &Range<u64>) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    for replicas in [1, 4] {
        let (goodput, missed) = over_load(replicas, seeds);
        let on = match replicas {
            1 => "one replica".to_owned(),
            several => format!("{several} replicas"),
        };
        Chart {
            title: format!("Goodput over load: l(b) = 2 + 0.25 b ms, {on}, SLO 20 ms"),
            labels: ["offered load ÷ capacity", "answered on time ÷ capacity"],
            scale: Scale::Linear,
            marked: None,
            lines: goodput,
        }
        .draw(&folder.join(format!("goodput_n{replicas}.svg")))?;
        Chart {
            title: format!("Requests shed or late over load: {on}, SLO 20 ms"),
            labels: ["offered load ÷ capacity", "share not on time"],
            scale: Scale::Logarithmic { least: SHARE_MIN },
            marked: None,
            lines: missed,
        }
        .draw(&folder.join(format!("missed_n{replicas}.svg")))?;
    }
    Chart {
        title: "A burst of 100 ms at 3 C on 0.8 C, one replica".to_owned(),
        labels: ["time, ms", "share not on time"],
        scale: Scale::Linear,
        marked: Some((400.0, 500.0, "burst")),
        lines: through_a_burst(seeds),
    }
    .draw(&folder.join("burst.svg"))?;
    let slow = slow_down();
    Chart {
        title: "Twice as slow for a second, at 0.6 C, one replica".to_owned(),
        labels: ["time, ms", "requests in a batch, mean"],
        scale: Scale::Linear,
        marked: Some((slow.from_ms, slow.to_ms, "twice as slow")),
        lines: sizes(slow, seeds),
    }
    .draw(&folder.join("slow_down.svg"))
}

/// Goodput over capacity, and the share missed; by offered load.
fn over_load(replicas: usize, seeds: &Range<u64>) -> (Vec<Line>, Vec<Line>) {
    let device = Device::new(Shape::Gpu);
    let c = device.capacity(replicas, SLO_MS);
    let loads: Vec<f64> = (1..=20).map(|tenth| f64::from(tenth) / 10.0).collect();
    let points: Vec<(Kind, f64)> =
        KINDS.iter().flat_map(|&kind| loads.iter().map(move |&load| (kind, load))).collect();
    let attained = workers::map(&points, |&(kind, load)| {
        let cell = Cell::new(device, replicas, Load::Poisson(load * c));
        seeds.clone().map(|seed| cell.attained(kind, seed)).sum::<f64>()
            / seeds.clone().count() as f64
    });
    let line = |nth: usize, of: fn(f64, f64) -> f64| {
        let attained = &attained[nth * loads.len()..(nth + 1) * loads.len()];
        let points = loads.iter().zip(attained).map(|(&load, &share)| (load, of(load, share)));
        Line { kind: KINDS[nth], points: points.collect() }
    };
    let goodput = (0..KINDS.len()).map(|nth| line(nth, |load, share| load * share));
    let missed = (0..KINDS.len()).map(|nth| line(nth, |_, share| 1.0 - share));
    (goodput.collect(), missed.collect())
}

fn through_a_burst(seeds: &Range<u64>) -> Vec<Line> {
    let device = Device::new(Shape::Gpu);
    let c = device.capacity(1, SLO_MS);
    let load = Load::Steps(vec![(0.0, 0.8 * c), (400.0, 3.0 * c), (500.0, 0.8 * c)]);
    let cell = Cell::new(device, 1, load);
    over_time(&KINDS, &cell, seeds, (300.0..700.0, BIN_MS), |run, from, to| {
        Some(1.0 - run.attained(from, to))
    })
}

fn slow_down() -> SlowDown {
    let span = span_ms(1);
    SlowDown { from_ms: LEAD_MS + 0.4 * span, to_ms: LEAD_MS + 0.8 * span, factor: 2.0 }
}

fn sizes(slow: SlowDown, seeds: &Range<u64>) -> Vec<Line> {
    let device = Device { slow_down: Some(slow), ..Device::new(Shape::Gpu) };
    let cell = Cell::new(device, 1, Load::Poisson(0.6 * device.capacity(1, SLO_MS)));
    let kinds = [Kind::Aimd, Kind::Clockwork, Kind::Nexus, Kind::Ours, Kind::Oracle];
    over_time(&kinds, &cell, seeds, (1_000.0..2_600.0, BATCHES_BIN_MS), mean_size)
}

fn mean_size(run: &Run, from_ms: f64, to_ms: f64) -> Option<f64> {
    let (from, to) = ((from_ms * 1e6) as u64, (to_ms * 1e6) as u64);
    let batches =
        || run.batches.iter().filter(|batch| batch.departed >= from && batch.departed < to);
    let tasks: usize = batches().map(|batch| batch.tasks).sum();
    (tasks > 0).then(|| tasks as f64 / batches().count() as f64)
}

/// A figure of each bin of time, the mean of the seeds that have one.
fn over_time(
    kinds: &[Kind],
    cell: &Cell,
    seeds: &Range<u64>,
    span: (Range<f64>, f64),
    figure: fn(&Run, f64, f64) -> Option<f64>,
) -> Vec<Line> {
    let (span, bin_ms) = span;
    let bins = ((span.end - span.start) / bin_ms) as u32;
    workers::map(kinds, |&kind| {
        let runs: Vec<Run> = seeds.clone().map(|seed| cell.run(kind, seed)).collect();
        let point = |bin: u32| {
            let from = span.start + f64::from(bin) * bin_ms;
            let figures: Vec<f64> =
                runs.iter().filter_map(|run| figure(run, from, from + bin_ms)).collect();
            let mean = figures.iter().sum::<f64>() / figures.len() as f64;
            (!figures.is_empty()).then_some((from + bin_ms / 2.0, mean))
        };
        Line { kind, points: (0..bins).filter_map(point).collect() }
    })
}
