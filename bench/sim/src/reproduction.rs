//! The design's prototype again: its baselines and its oracle, cell by cell, beside what was published.
//!
//! A baseline or an oracle weaker than those would make every ratio to it void. Each cell draws enough seeds that
//! its mean is known to about a point; where a controller hangs on the seed (AIMD at capacity), the spread is shown.

use std::collections::BTreeMap;

use crate::arrivals::Load;
use crate::baselines::Kind;
use crate::cell::{Cell, LEAD_MS, SLO_MS, span_ms};
use crate::device::{Device, Shape, SlowDown};
use crate::workers;

/// Points that are put down to the seeds.
const TOLERANCE_POINTS: f64 = 2.0;

/// A difference that more than this share of all means of three seeds have is put down to the published seeds.
const CHANCE: f64 = 0.05;

/// Seeds of a cell, of so many that are drawn: those that offer what the published ones did. Bursty loads differ by
/// several points in what they offer, and with it, for everybody alike, in how much of it can be on time.
const SEEDS: usize = 24;
const SEEDS_DRAWN: u64 = 200;

/// The whole of a run, its lead included: the published shares of the slow-downs tell so.
fn end_ms(replicas: usize) -> f64 {
    span_ms(replicas)
}

const KINDS: [Kind; 4] = [Kind::Aimd, Kind::Nexus, Kind::Clockwork, Kind::Oracle];

/// As published: what the seeds offered a second (goodput over share on time), and per cent on time in the order of
/// [`KINDS`]; an oracle's from its goodput.
struct Published {
    name: &'static str,
    replicas: usize,
    offered_per_s: f64,
    per_cent: [f64; 4],
}

const fn row(
    name: &'static str,
    replicas: usize,
    offered_per_s: f64,
    per_cent: [f64; 4],
) -> Published {
    Published { name, replicas, offered_per_s, per_cent }
}

const PUBLISHED: [Published; 16] = [
    row("poisson .9", 1, 2_879.0, [98.7, 99.7, 95.1, 99.6]),
    row("poisson 1.0", 1, 3_205.0, [78.9, 95.7, 89.5, 95.9]),
    row("poisson 1.3", 1, 4_169.0, [0.7, 75.6, 75.4, 77.2]),
    row("mmpp", 1, 2_444.0, [47.0, 82.0, 82.1, 82.9]),
    row("gamma cv 6", 1, 2_138.0, [70.1, 85.3, 83.7, 87.7]),
    row("slow .3", 1, 958.0, [98.8, 99.1, 97.0, 99.5]),
    row("slow .6", 1, 1_921.0, [57.9, 69.7, 82.1, 85.6]),
    row("bimodal .5 %", 1, 1_922.0, [99.4, 99.7, 99.0, 99.9]),
    row("bimodal 3 %", 1, 1_921.0, [96.0, 96.7, 87.3, 97.8]),
    row("poisson .9", 4, 12_617.0, [76.2, 99.5, 99.8, 99.9]),
    row("poisson 1.0", 4, 14_050.0, [4.9, 89.7, 91.3, 95.6]),
    row("poisson 1.3", 4, 18_209.0, [0.0, 68.9, 70.4, 75.7]),
    row("mmpp", 4, 11_643.0, [37.4, 75.4, 76.1, 78.8]),
    row("gamma cv 6", 4, 9_750.0, [84.3, 96.0, 95.4, 96.5]),
    row("slow .6", 4, 8_396.0, [47.5, 49.7, 79.5, 84.8]),
    row("bimodal 3 %", 4, 8_403.0, [98.8, 98.4, 91.5, 99.1]),
];

fn cell(name: &str, replicas: usize) -> Cell {
    let (from_ms, to_ms) = (0.4 * end_ms(replicas), 0.8 * end_ms(replicas));
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
    Cell { end_ms: end_ms(replicas), ..Cell::new(device, replicas, load) }
}

/// A controller's shares on time, one a seed, in per cent.
struct Ours {
    shares: Vec<f64>,
}

impl Ours {
    fn mean(&self) -> f64 {
        self.shares.iter().sum::<f64>() / self.shares.len() as f64
    }

    /// Of the mean.
    fn standard_error(&self) -> f64 {
        let (mean, count) = (self.mean(), self.shares.len() as f64);
        let squares: f64 = self.shares.iter().map(|share| (share - mean).powi(2)).sum();
        (squares / (count - 1.0) / count).sqrt()
    }

    /// Share of all means of three of the seeds, as was published, that lie as far from ours as this.
    fn as_far_by_chance(&self, published: f64) -> f64 {
        let (mean, shares) = (self.mean(), &self.shares);
        let far = (published - mean).abs();
        let (mut all, mut such) = (0u32, 0u32);
        for first in 0..shares.len() {
            for second in 0..first {
                for third in 0..second {
                    let three = (shares[first] + shares[second] + shares[third]) / 3.0;
                    all += 1;
                    such += u32::from((three - mean).abs() >= far);
                }
            }
        }
        f64::from(such) / f64::from(all.max(1))
    }
}

/// The seeds whose offered load is nearest to this.
fn seeds_that_offer(cell: &Cell, per_s: f64, first: u64) -> Vec<u64> {
    let mut seeds: Vec<(f64, u64)> = (first..first + SEEDS_DRAWN)
        .map(|seed| {
            let arrivals = cell.load.draw(cell.end_ms, seed);
            let counted = arrivals.iter().filter(|&&at| at as f64 >= LEAD_MS * 1e6).count();
            let offered_per_s = counted as f64 * 1e3 / (cell.end_ms - LEAD_MS);
            ((offered_per_s - per_s).abs(), seed)
        })
        .collect();
    seeds.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    seeds.into_iter().take(SEEDS).map(|(_, seed)| seed).collect()
}

fn measure(cell: &Cell, kind: Kind, seeds: &[u64]) -> Ours {
    Ours { shares: seeds.iter().map(|&seed| 100.0 * cell.attained(kind, seed)).collect() }
}

/// Prints ours beside the published. Figures in points: the largest difference, the largest of each controller, the
/// largest that three seeds would not show by chance, and by how much our oracle is weaker at most.
pub(crate) fn print(first_seed: u64) -> BTreeMap<String, f64> {
    println!(
        "\nper cent on time: ours (mean of {SEEDS} seeds ± its standard error), published, difference"
    );
    println!("! more than {TOLERANCE_POINTS} points; ~ the same, but three seeds differ as much");
    println!("{:20} {}", "", KINDS.map(|kind| format!("{:^27}", kind.name())).join(" "));
    let rows = workers::map(&PUBLISHED, |row| {
        let cell = cell(row.name, row.replicas);
        let seeds = seeds_that_offer(&cell, row.offered_per_s, first_seed);
        KINDS.map(|kind| measure(&cell, kind, &seeds))
    });
    let mut figures = BTreeMap::new();
    for (row, ours) in PUBLISHED.iter().zip(&rows) {
        let cells = KINDS.iter().zip(ours).zip(row.per_cent);
        let shown =
            cells.map(|((kind, ours), published)| compare(*kind, ours, published, &mut figures));
        println!("{:17} n{}{}", row.name, row.replicas, shown.collect::<String>());
    }
    figures
}

fn compare(kind: Kind, ours: &Ours, published: f64, figures: &mut BTreeMap<String, f64>) -> String {
    let mut worst = |name: &str, points: f64| {
        let figure = figures.entry(format!("reproduction_{name}")).or_insert(0.0);
        *figure = figure.max((points * 100.0).round() / 100.0);
    };
    let difference = ours.mean() - published;
    let is_far = difference.abs() > TOLERANCE_POINTS;
    let is_chance = ours.as_far_by_chance(published) >= CHANCE;
    worst("worst_points", difference.abs());
    worst(&format!("worst_points_{}", kind.name()), difference.abs());
    worst("points_beyond_chance", if is_chance { 0.0 } else { difference.abs() });
    if kind == Kind::Oracle {
        worst("points_oracle_weaker", -difference);
    }
    let flag = match (is_far, is_chance) {
        (false, _) => ' ',
        (true, true) => '~',
        (true, false) => '!',
    };
    let (mean, error) = (ours.mean(), ours.standard_error());
    format!(" {mean:6.2} ±{error:4.2} {published:5.1} {difference:+6.2}{flag}")
}
