//! Every device under every load, ours beside every baseline: where is somebody better?

use std::ops::Range;
use std::thread;

use crate::arrivals::Load;
use crate::baselines::Kind;
use crate::cell::{Cell, SLO_MS, span_ms};
use crate::device::{Device, Shape};

/// A baseline is better by this many points, or the cell is not listed.
const TOLERANCE: f64 = 0.01;

/// Threads that share the cells.
const WORKERS: usize = 2;

struct Row {
    name: String,
    ours: f64,
    oracle: f64,
    best: f64,
    best_name: &'static str,
}

/// Prints every cell with the worst seed's share on time, then those where ours is not within a point of the best.
pub(crate) fn print(seeds: Range<u64>, wanted: &str) {
    let mut cells = cells();
    cells.retain(|(name, _)| name.contains(wanted));
    let share = cells.len().div_ceil(WORKERS).max(1);
    let rows: Vec<Row> = thread::scope(|scope| {
        let measure = |part: &[(String, Cell)]| {
            part.iter().map(|(name, cell)| row(name, cell, seeds.clone())).collect()
        };
        let workers: Vec<_> = cells
            .chunks(share)
            .map(|part| scope.spawn(move || -> Vec<Row> { measure(part) }))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    println!("\nshare on time, mean of the seeds: ours, oracle, best baseline");
    for row in &rows {
        println!(
            "{:28} {:7.4} {:7.4} {:7.4} {}",
            row.name, row.ours, row.oracle, row.best, row.best_name
        );
    }
    let worse: Vec<_> = rows.iter().filter(|row| row.ours < row.best - TOLERANCE).collect();
    println!(
        "\n{} of {} cells where a baseline is better by more than a point:",
        worse.len(),
        rows.len()
    );
    for row in worse {
        println!(
            "{:28} by {:.2} points ({})",
            row.name,
            (row.best - row.ours) * 100.0,
            row.best_name
        );
    }
}

fn row(name: &str, cell: &Cell, seeds: Range<u64>) -> Row {
    let mean = |kind: Kind| {
        let total: f64 = seeds.clone().map(|seed| cell.attained(kind, seed)).sum();
        total / (seeds.end - seeds.start) as f64
    };
    let planned = planned(cell);
    let baselines =
        [Kind::Unbatched, Kind::Static(planned, 2.0), Kind::Aimd, Kind::Nexus, Kind::Clockwork];
    let (mut best, mut best_name) = (0.0, "none");
    for kind in baselines {
        let attained = mean(kind);
        if attained > best {
            (best, best_name) = (attained, kind.name());
        }
    }
    Row {
        name: name.to_owned(),
        ours: mean(Kind::Ours),
        oracle: mean(Kind::Oracle),
        best,
        best_name,
    }
}

/// The size an operator who knows the device would set.
fn planned(cell: &Cell) -> u64 {
    let fits = |size: &u64| cell.device.shape.millis(*size as f64) <= SLO_MS / 2.0;
    (1..=512).take_while(fits).last().unwrap_or(1)
}

fn cells() -> Vec<(String, Cell)> {
    let slow_mode = Device { slow_share: 0.03, ..Device::new(Shape::Gpu) };
    let devices = Shape::ALL.map(|shape| (shape.name(), Device::new(shape)));
    let mut cells = Vec::new();
    for (device_name, device) in devices.into_iter().chain([("bimodal", slow_mode)]) {
        for replicas in [1, 4] {
            for (load_name, load) in loads(device.capacity(replicas, SLO_MS), replicas) {
                let name = format!("{device_name} n{replicas} {load_name}");
                cells.push((name, Cell::new(device, replicas, load)));
            }
        }
    }
    cells
}

fn loads(c: f64, replicas: usize) -> Vec<(&'static str, Load)> {
    let span = span_ms(replicas);
    vec![
        ("uniform .9", Load::Uniform(0.9 * c)),
        ("poisson .6", Load::Poisson(0.6 * c)),
        ("poisson .9", Load::Poisson(0.9 * c)),
        ("poisson 1.0", Load::Poisson(c)),
        ("poisson 1.3", Load::Poisson(1.3 * c)),
        ("gamma cv 6", Load::Gamma { rate: 0.7 * c, cv: 6.0 }),
        ("mmpp", Load::Mmpp { rates: [0.4 * c, 1.5 * c], sojourns: [150.0, 75.0] }),
        ("step .5 to 1.4", Load::Steps(vec![(0.0, 0.5 * c), (500.0, 1.4 * c)])),
        ("burst 3", Load::Steps(vec![(0.0, 0.8 * c), (400.0, 3.0 * c), (500.0, 0.8 * c)])),
        ("ramp .3 to 1.5", Load::Ramp(0.3 * c, 1.5 * c)),
        ("diurnal .8", Load::Diurnal { rate: 0.8 * c, period: span / 2.0 }),
    ]
}
