//! Every device under every load, ours beside every baseline: where is somebody better?

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::arrivals::Load;
use crate::baselines::Kind;
use crate::cell::{Cell, SLO_MS, span_ms};
use crate::device::{Device, Shape};
use crate::trace::Trace;
use crate::workers;

/// A baseline is better by this, or soft deadlines cost this, or the cell is not listed.
const TOLERANCE: f64 = 0.01;

/// Mean load of the traces, of capacity.
const TRACE_LOAD: f64 = 0.8;

/// Shares on time, means of the seeds.
struct Row {
    name: String,
    ours: f64,
    soft: f64,
    oracle: f64,
    best: f64,
    best_name: &'static str,
}

impl Row {
    fn behind(&self) -> f64 {
        self.best - self.ours
    }

    fn soft_costs(&self) -> f64 {
        self.ours - self.soft
    }
}

/// Prints every cell whose name contains `wanted`, then those where ours is not within a point of the best, and
/// those where soft deadlines cost more. Returns the figures.
pub(crate) fn print(
    seeds: Range<u64>,
    wanted: &str,
    traces: &[Arc<Trace>],
) -> BTreeMap<String, f64> {
    let mut cells = cells(traces);
    cells.retain(|(name, _)| name.contains(wanted));
    let rows = workers::map(&cells, |(name, cell)| row(name, cell, seeds.clone()));
    println!(
        "\nshare on time, mean of the seeds: ours, the same with soft deadlines, oracle, best baseline"
    );
    for row in &rows {
        println!(
            "{:28} {:7.4} {:7.4} {:7.4} {:7.4} {}",
            row.name, row.ours, row.soft, row.oracle, row.best, row.best_name
        );
    }
    let count = rows.len();
    let worse = list(&rows, &format!("of {count} cells where a baseline is better"), Row::behind);
    let dear = list(&rows, &format!("of {count} cells where soft deadlines cost"), Row::soft_costs);
    let most = |figure: fn(&Row) -> f64| rows.iter().map(figure).fold(f64::NEG_INFINITY, f64::max);
    BTreeMap::from([
        ("cells".to_owned(), count as f64),
        ("cells_worse_than_best_baseline".to_owned(), worse as f64),
        ("cells_worst_behind".to_owned(), most(Row::behind)),
        ("cells_where_soft_costs_a_point".to_owned(), dear as f64),
        ("cells_soft_cost".to_owned(), most(Row::soft_costs)),
    ])
}

/// Prints the cells in which this is more than a point, and returns how many they are.
fn list(rows: &[Row], what: &str, points: fn(&Row) -> f64) -> usize {
    let such: Vec<_> = rows.iter().filter(|row| points(row) > TOLERANCE).collect();
    println!("\n{} {what} by more than a point:", such.len());
    for row in &such {
        println!("{:28} by {:.2} points ({})", row.name, points(row) * 100.0, row.best_name);
    }
    such.len()
}

fn row(name: &str, cell: &Cell, seeds: Range<u64>) -> Row {
    let mean = |cell: &Cell, kind: Kind| {
        let total: f64 = seeds.clone().map(|seed| cell.attained(kind, seed)).sum();
        total / (seeds.end - seeds.start) as f64
    };
    let planned = planned(cell);
    let baselines =
        [Kind::Unbatched, Kind::Static(planned, 2.0), Kind::Aimd, Kind::Nexus, Kind::Clockwork];
    let scored = baselines.map(|kind| (mean(cell, kind), kind.name()));
    let (best, best_name) =
        scored.into_iter().fold((0.0, "none"), |best, one| if one.0 > best.0 { one } else { best });
    Row {
        name: name.to_owned(),
        ours: mean(cell, Kind::Ours),
        soft: mean(&Cell { hard: false, ..cell.clone() }, Kind::Ours),
        oracle: mean(cell, Kind::Oracle),
        best,
        best_name,
    }
}

/// Says how evenly the traces' requests come and how much faster they are played.
pub(crate) fn print_traces(traces: &[Arc<Trace>]) {
    for trace in traces {
        println!();
        trace.print();
        for replicas in [1, 4] {
            let rate = TRACE_LOAD * Device::new(Shape::Gpu).capacity(replicas, SLO_MS);
            println!(
                "  played {:.0} times faster for {TRACE_LOAD} C of the gpu device, N={replicas}",
                trace.compression(rate)
            );
        }
    }
}

/// The size an operator who knows the device would set.
fn planned(cell: &Cell) -> u64 {
    let fits = |size: &u64| cell.device.shape.millis(*size as f64) <= SLO_MS / 2.0;
    (1..=512).take_while(fits).last().unwrap_or(1)
}

fn cells(traces: &[Arc<Trace>]) -> Vec<(String, Cell)> {
    let slow_mode = Device { slow_share: 0.03, ..Device::new(Shape::Gpu) };
    let devices = Shape::ALL.map(|shape| (shape.name(), Device::new(shape)));
    let mut cells = Vec::new();
    for (device_name, device) in devices.into_iter().chain([("bimodal", slow_mode)]) {
        for replicas in [1, 4] {
            let c = device.capacity(replicas, SLO_MS);
            let traced = traces.iter().map(|trace| {
                (trace.name, Load::Trace { trace: Arc::clone(trace), rate: TRACE_LOAD * c })
            });
            for (load_name, load) in loads(c, replicas).into_iter().chain(traced) {
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
