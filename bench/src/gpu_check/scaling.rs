//! The step that loads 1, 2, 4 and 8 front-end cores with as many models, as far as the CPUs go.
//!
//! Each front-end core has a CPU beside it, where its model and the model's clients run, with every size alike. So a
//! front end twice as large has twice of everything, and what is missing from twice the answers is the front end's:
//! connections that came to another core than their model's, and whatever the machine shares.

use std::time::Duration;

use serde_json::json;

use super::partition::{Pair, pairs};
use super::serving::{Client, Question, Served};
use super::site::{Left, Site};
use super::step::{Due, Findings, Stop, fail};

const LINEAR_MIN: f64 = 0.85;
/// Of each model's clients: as in the figures of one core.
const CONNECTIONS: usize = 64;
const WINDOW: Duration = Duration::from_secs(3);
/// Runs of each size; the best is taken, for others' work can only slow one.
const RUNS: usize = 2;
const NOOP: &str = "runtime = \"native\"\nkind = \"noop\"\n";
/// The last by name: the others are on their cores by then.
const ROAMS: &str = "roams";
/// What the least model takes.
const FEATURES: u64 = 784;

pub(super) fn scaling(site: &Site, _: Left) -> Result<Findings, Stop> {
    let (sizes, all) = pairs(&site.cores);
    if sizes.is_empty() {
        return Err(fail("one CPU is too few to serve and to ask"));
    }
    let mut found = Vec::new();
    for &size in &sizes {
        found.push((size, answers_per_s(site, &all[..size])?));
    }
    Ok(findings(&found, &site.cores))
}

fn answers_per_s(site: &Site, pairs: &[Pair]) -> Result<f64, Stop> {
    let repository = format!("scaling-{}", pairs.len());
    let mut asked = Vec::new();
    for (number, pair) in pairs.iter().enumerate() {
        let model = format!("noop{number}");
        let toml = format!("{NOOP}cpus = [{}]\n", pair.beside);
        site.workplace.write(&format!("{repository}/{model}/model.toml"), &toml)?;
        site.workplace.write(&format!("{repository}/{model}/1/none"), "")?;
        asked.push((Question::row(&model, FEATURES), Client::Shares(pair.beside)));
    }
    // It may run anywhere, so that no other has CPUs of its own: a model that spins there would take its clients' time.
    site.workplace.write(&format!("{repository}/{ROAMS}/model.toml"), NOOP)?;
    site.workplace.write(&format!("{repository}/{ROAMS}/1/none"), "")?;
    let fronts: Vec<usize> = pairs.iter().map(|pair| pair.front).collect();
    let served = Served::start(site, &repository, &fronts)?;
    let mut best = 0_f64;
    for _ in 0..RUNS {
        best = best.max(served.load_all(&asked, CONNECTIONS, WINDOW)?);
    }
    Ok(best)
}

fn findings(found: &[(usize, f64)], cores: &[Vec<usize>]) -> Findings {
    let one = found[0].1;
    let rates: Vec<_> = found.iter().map(|(size, rate)| json!([size, rate])).collect();
    let mut findings = Findings::of(json!({ "cores": cores, "answers_per_s": rates }));
    if let [(size, _)] = found {
        let cpus = cores.concat().len();
        let note = format!("{cpus} CPUs are too few for more than {size} front-end core");
        findings = findings.noted(note);
    }
    for &(size, rate) in found {
        let name = format!("{size} front-end {}", if size == 1 { "core" } else { "cores" });
        findings = findings.figure(name, rate, "answers/s", None);
        if size > 1 {
            let name = format!("{size} by {size} × one");
            findings = findings.figure(
                name,
                rate / (size as f64 * one),
                "",
                Some(Due::AtLeast(LINEAR_MIN)),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::step::Verdict;
    use super::*;

    #[test]
    fn each_size_is_held_against_as_many_times_one() {
        let found = findings(&[(1, 100.0), (2, 190.0), (8, 640.0)], &[]);
        let ratio = |name: &str| {
            let figure = found.figures.iter().find(|figure| figure.name == name);
            figure.map(|figure| (figure.value, figure.verdict)).expect("it is there")
        };
        assert_eq!(ratio("2 by 2 × one"), (0.95, Verdict::Pass));
        assert_eq!(ratio("8 by 8 × one"), (0.8, Verdict::Miss));
        let one = findings(&[(1, 100.0)], &[vec![0, 1]]);
        assert_eq!(one.figures.len(), 1, "one alone is held against nothing");
        assert_eq!(one.note, "2 CPUs are too few for more than 1 front-end core");
    }
}
