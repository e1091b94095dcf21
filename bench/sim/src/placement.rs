//! What `foil plan` says of which replica runs where: how far it is from the best on small fleets, and how long it takes
//! for large ones.

mod exhaustive;
mod fleets;

use std::collections::BTreeMap;

use engine::clock::Clock;
use engine::fleet::placement::{self, Plan};

use self::fleets::Fleet;
use crate::workers;

/// Small fleets that are searched exhaustively.
const CASES: u64 = 4_000;
/// Models and devices of the large ones.
const MANY: usize = 1_000;
/// The time is the middle one of so many plans.
const ROUNDS: usize = 5;

/// How the plan compares with the best.
#[derive(Clone, Copy, Debug)]
struct Compared {
    ratio: f64,
    choices: u64,
}

pub(crate) fn print(seed: u64) -> BTreeMap<String, f64> {
    let compared: Vec<Compared> = workers::map(&seeds(seed, CASES), |&seed| compare(seed));
    let ratios: Vec<f64> = compared.iter().map(|it| it.ratio).collect();
    let worst = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    let choices: u64 = compared.iter().map(|it| it.choices).sum();
    println!("\nplacement");
    println!(
        "{CASES} small fleets, {choices} placements searched: worst {worst:.4} of the best, mean {mean:.4}"
    );
    let mut figures = BTreeMap::from([
        ("placement_of_best_worst".to_owned(), worst),
        ("placement_of_best_mean".to_owned(), mean),
        ("placement_cases".to_owned(), CASES as f64),
    ]);
    for (name, load) in [("half_full", 0.5), ("full", 1.0), ("overfull", 1.5)] {
        let fleet = Fleet::large(MANY, load, seed);
        let (ms, plan) = timed(&fleet);
        let of_ask = on_time(&plan) / fleet.rate_rows_s();
        println!(
            "{MANY} models on {MANY} GPUs, {name:9}: {ms:7.1} ms, {} replicas, {:.1} % of the rate on time, {} changes tried, {} kept",
            plan.seats.len(),
            of_ask * 100.0,
            plan.tried,
            plan.kept
        );
        figures.insert(format!("placement_{name}_ms"), ms);
        figures.insert(format!("placement_{name}_on_time"), of_ask);
    }
    figures
}

fn seeds(first: u64, count: u64) -> Vec<u64> {
    (first..first + count).collect()
}

fn compare(seed: u64) -> Compared {
    let fleet = Fleet::small(seed);
    let plan = placement::plan(&fleet.inventory, &fleet.demands);
    let found = exhaustive::best(&fleet, exhaustive::missing(&fleet.demands, &plan.seats));
    // What is worth nothing at best, or less, has no share to be held against.
    let ratio = if found.worth > 0.0 { plan.worth / found.worth } else { 1.0 };
    Compared { ratio, choices: found.tried }
}

fn timed(fleet: &Fleet) -> (f64, Plan) {
    let clock = Clock::start();
    let mut rounds: Vec<(f64, Plan)> = (0..ROUNDS)
        .map(|_| {
            let begins = clock.now();
            let plan = placement::plan(&fleet.inventory, &fleet.demands);
            (clock.now().since(begins).as_secs_f64() * 1e3, plan)
        })
        .collect();
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    rounds.swap_remove(ROUNDS / 2)
}

fn on_time(plan: &Plan) -> f64 {
    plan.standings.iter().map(|it| it.on_time_rows_s).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fewer than are measured: these run without optimisation.
    const TESTED: u64 = 200;

    #[test]
    fn small_fleets_are_planned_within_a_twentieth_of_the_best() {
        let compared = workers::map(&seeds(1, TESTED), |&seed| (seed, compare(seed)));
        for (seed, Compared { ratio, .. }) in &compared {
            assert!(*ratio >= 0.95, "seed {seed}: {ratio} of the best");
            assert!(*ratio <= 1.0 + 1e-9, "seed {seed}: the search missed something: {ratio}");
        }
        let choices: u64 = compared.iter().map(|(_, it)| it.choices).sum();
        assert!(choices > 100 * TESTED, "there was something to choose: {choices}");
    }

    #[test]
    fn a_plan_is_worth_what_its_seats_are() {
        for seed in 0..50 {
            let Fleet { inventory, demands } = Fleet::small(seed);
            let plan = placement::plan(&inventory, &demands);
            let worth = placement::worth(&inventory, &demands, &plan.seats);
            assert!((plan.worth - worth).abs() < 1e-6 * worth.abs().max(1.0), "seed {seed}");
        }
    }
}
