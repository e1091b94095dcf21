//! The design's prototype again: its baselines and its oracle, cell by cell, beside what was published.
//!
//! A baseline or an oracle weaker than those would make every ratio to it void. Each cell draws enough seeds that
//! its mean is known to about a point; where a controller hangs on the seed (AIMD at capacity), the spread is shown.

use std::collections::BTreeMap;

use crate::arrivals::Load;
use crate::bars::{Cell, LEAD_MS, SLO_MS, span_ms};
use crate::baselines::Kind;
use crate::device::{Device, Shape, SlowDown};
use crate::workers;

/// Points that are put down to the seeds.
const TOLERANCE_POINTS: f64 = 2.0;

/// Seeds of a cell: means of three, as published, differ by up to five points where a controller is near its edge.
const SEEDS: u64 = 24;

const KINDS: [Kind; 4] = [Kind::Aimd, Kind::Nexus, Kind::Clockwork, Kind::Oracle];

/// Per cent on time as published, in the order of [`KINDS`]; an oracle's from its goodput.
struct Published {
    name: &'static str,
    replicas: usize,
    per_cent: [f64; 4],
}

const fn published(name: &'static str, replicas: usize, per_cent: [f64; 4]) -> Published {
    Published { name, replicas, per_cent }
}

const PUBLISHED: [Published; 16] = [
    published("poisson .9", 1, [98.7, 99.7, 95.1, 99.6]),
    published("poisson 1.0", 1, [78.9, 95.7, 89.5, 95.9]),
    published("poisson 1.3", 1, [0.7, 75.6, 75.4, 77.2]),
    published("mmpp", 1, [47.0, 82.0, 82.1, 82.9]),
    published("gamma cv 6", 1, [70.1, 85.3, 83.7, 87.7]),
    published("slow .3", 1, [98.8, 99.1, 97.0, 99.5]),
    published("slow .6", 1, [57.9, 69.7, 82.1, 85.6]),
    published("bimodal .5 %", 1, [99.4, 99.7, 99.0, 99.9]),
    published("bimodal 3 %", 1, [96.0, 96.7, 87.3, 97.8]),
    published("poisson .9", 4, [76.2, 99.5, 99.8, 99.9]),
    published("poisson 1.0", 4, [4.9, 89.7, 91.3, 95.6]),
    published("poisson 1.3", 4, [0.0, 68.9, 70.4, 75.7]),
    published("mmpp", 4, [37.4, 75.4, 76.1, 78.8]),
    published("gamma cv 6", 4, [84.3, 96.0, 95.4, 96.6]),
    published("slow .6", 4, [47.5, 49.7, 79.5, 84.8]),
    published("bimodal 3 %", 4, [98.8, 98.4, 91.5, 99.0]),
];

fn cell(name: &str, replicas: usize) -> Cell {
    let span = span_ms(replicas);
    let (from_ms, to_ms) = (LEAD_MS + 0.4 * span, LEAD_MS + 0.8 * span);
    let slow_down = Some(SlowDown { from_ms, to_ms, factor: 2.0 });
    let device = Device::new(Shape::Gpu);
    let c = device.capacity(replicas, SLO_MS);
    let (device, load) = match name {
        "poisson .9" => (device, Load::Poisson(0.9 * c)),
        "poisson 1.0" => (device, Load::Poisson(c)),
        "poisson 1.3" => (device, Load::Poisson(1.3 * c)),
        "mmpp" => (device, Load::Mmpp { rates: [0.4 * c, 1.5 * c], sojourns: [150.0, 75.0] }),
        "gamma cv 6" => (device, Load::Gamma { rate: 0.7 * c, cv: 6.0 }),
        "slow .3" => (Device { slow_down, ..device }, Load::Poisson(0.3 * c)),
        "slow .6" => (Device { slow_down, ..device }, Load::Poisson(0.6 * c)),
        "bimodal .5 %" => (Device { slow_share: 0.005, ..device }, Load::Poisson(0.6 * c)),
        _ => (Device { slow_share: 0.03, ..device }, Load::Poisson(0.6 * c)),
    };
    Cell::new(device, replicas, load)
}

/// Mean over the seeds and its standard error, in per cent.
struct Ours {
    mean: f64,
    error: f64,
}

fn measure(cell: &Cell, kind: Kind, first: u64) -> Ours {
    let seeds = first..first + SEEDS;
    let shares: Vec<f64> = seeds.map(|seed| 100.0 * cell.attained(kind, seed)).collect();
    let count = shares.len() as f64;
    let mean = shares.iter().sum::<f64>() / count;
    let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Ours { mean, error: (variance / count).sqrt() }
}

/// Prints ours beside the published, and returns the largest shortfall of each as figures: in points, positive
/// where ours is weaker than what was published; and the largest difference either way.
pub(crate) fn print(first_seed: u64) -> BTreeMap<String, f64> {
    println!("\nper cent on time, ours (mean of {SEEDS} seeds ± its standard error) and published");
    println!("{:20} {}", "", KINDS.map(|kind| format!("{:^26}", kind.name())).join(" "));
    let rows = workers::map(&PUBLISHED, |row| {
        let cell = cell(row.name, row.replicas);
        KINDS.map(|kind| measure(&cell, kind, first_seed))
    });
    let (mut worst, mut weakest_oracle) = (0.0f64, f64::NEG_INFINITY);
    for (row, ours) in PUBLISHED.iter().zip(&rows) {
        let mut line = format!("{:17} n{}", row.name, row.replicas);
        for (ours, published) in ours.iter().zip(row.per_cent) {
            let difference = ours.mean - published;
            let flag = if difference.abs() > TOLERANCE_POINTS { '!' } else { ' ' };
            line += &format!(
                " {:6.2} ±{:4.2} {:5.1} {:+6.2}{flag}",
                ours.mean, ours.error, published, difference
            );
            worst = worst.max(difference.abs());
        }
        weakest_oracle = weakest_oracle.max(row.per_cent[3] - ours[3].mean);
        println!("{line}");
    }
    BTreeMap::from([
        ("reproduction_worst_points".to_owned(), worst),
        ("reproduction_oracle_weaker_points".to_owned(), weakest_oracle),
    ])
}
