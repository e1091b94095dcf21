//! `foil-bench launchers`: what a request costs a model in Docker above one in a process of the engine's own.
//!
//! Two engines serve the least model, one by each launcher; engine and model share one core, the spinning client has
//! another. Load goes to one at a time, in pairs of short runs whose order alternates. The figure is the median over
//! the pairs of how many times the processor time of a request in a process the one in Docker takes. Each runs the
//! Python that its launcher finds, the image's or this machine's: how these two differ is part of the figure.

use std::process::Command;

use serde_json::json;

use super::OverheadError;
use super::ask::Form;
use super::flags::{Cores, Engine, Runs};
use super::measure::{Pair, Scenario, Setup, pairs};
use super::servers::{Foil, NOOP, Server, Workplace};
use crate::compare::{Spread, ratios, spread};
use crate::report::Table;

const SCENARIOS: [Scenario; 2] = [
    Scenario { form: Form::Binary, connections: 1 },
    Scenario { form: Form::Binary, connections: 64 },
];

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One line of JSON after the table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub runs: Runs,
    #[command(flatten)]
    pub engine: Engine,
    #[command(flatten)]
    pub cores: Cores,
}

pub fn run(args: &Args) -> Result<(), OverheadError> {
    let setup = args.runs.setup(Some(args.cores.client()?))?;
    let workplace = Workplace::create()?;
    let process = serving(args, &workplace, "process")?;
    let mut docker = serving(args, &workplace, "docker")?;
    docker.counts(containers_of(docker.engine())?);
    let mut measured = Vec::with_capacity(SCENARIOS.len());
    for scenario in SCENARIOS {
        measured.push((scenario, measure(&setup, scenario, &process, &docker)?));
    }
    print!("{}", table(&measured));
    if args.json {
        println!("{}", as_json(&measured));
    }
    Ok(())
}

fn serving(
    args: &Args,
    workplace: &Workplace,
    launcher: &'static str,
) -> Result<Server, OverheadError> {
    let core = args.cores.server_core;
    workplace.write(&format!("{launcher}/noop/1/model.py"), NOOP)?;
    let settings = format!("launcher = \"{launcher}\"\ncpus = [{core}]\n");
    workplace.write(&format!("{launcher}/noop/model.toml"), &settings)?;
    let (program, python) = (&args.engine.program()?, args.engine.python.as_deref());
    let foil = Foil { program, python, core: Some(core), cores: &[core], target: launcher };
    Server::serving(workplace, &foil)
}

/// The first processes of an engine's containers.
fn containers_of(engine: u32) -> Result<Vec<u32>, OverheadError> {
    let label = format!("label=hydrofoil.engine={engine}");
    let ids = docker(&["ps", "--quiet", "--filter", &label])?;
    let ids: Vec<&str> = ids.lines().collect();
    let pids = docker(&[&["inspect", "--format", "{{.State.Pid}}"], &ids[..]].concat())?;
    Ok(pids.lines().filter_map(|pid| pid.parse().ok()).collect())
}

fn docker(arguments: &[&str]) -> Result<String, OverheadError> {
    let asked = Command::new("docker").args(arguments).output();
    let asked = asked.map_err(|source| OverheadError::Prepare { server: "docker", source })?;
    if !asked.status.success() {
        let output = String::from_utf8_lossy(&asked.stderr).into_owned();
        return Err(OverheadError::NotReady { server: "docker", output });
    }
    Ok(String::from_utf8_lossy(&asked.stdout).into_owned())
}

/// Of processor time for a request: in Docker, in a process.
fn measure(
    setup: &Setup,
    scenario: Scenario,
    process: &Server,
    docker: &Server,
) -> Result<Vec<(f64, f64)>, OverheadError> {
    let measured = pairs(setup, scenario, process, docker, None)?;
    let disturbed = measured.iter().filter(|pair| pair.is_disturbed()).count();
    if disturbed > 0 {
        let name = scenario.name();
        println!("{name}: {disturbed} pairs stayed disturbed by other work; run it again");
    }
    Ok(measured.iter().map(|Pair { floor, foil, .. }| (foil.cpu_us, floor.cpu_us)).collect())
}

type Measured = [(Scenario, Vec<(f64, f64)>)];

fn median(pairs: &[(f64, f64)], side: fn(&(f64, f64)) -> f64) -> Option<f64> {
    Some(spread(&pairs.iter().map(side).collect::<Vec<_>>())?.median)
}

fn table(measured: &Measured) -> Table {
    let header = ["CPU a request", "docker, us", "process, us", "ratio", "min", "max"];
    let mut table = Table::new(&header);
    for (scenario, pairs) in measured {
        let us = |side| median(pairs, side).map_or("-".into(), |us| format!("{us:.2}"));
        let ratio = ratios(pairs).map(|Spread { median, min, max }| [median, min, max]);
        let ratio = ratio.unwrap_or_default().map(|value| format!("{value:.3}"));
        let cells = [scenario.name(), us(|it| it.0), us(|it| it.1)];
        table.row(cells.into_iter().chain(ratio));
    }
    table
}

fn as_json(measured: &Measured) -> serde_json::Value {
    let figures = measured.iter().map(|(scenario, pairs)| {
        let figures = json!({
            "docker_cpu_ratio": ratios(pairs),
            "docker_cpu_us": median(pairs, |it| it.0),
            "process_cpu_us": median(pairs, |it| it.1),
            "pairs": pairs.len(),
        });
        (scenario.name(), figures)
    });
    figures.collect::<serde_json::Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_the_median_of_the_pairs_ratios() {
        let measured = [(SCENARIOS[0], vec![(11.0, 10.0), (24.0, 20.0), (10.0, 10.0)])];
        let figures = as_json(&measured);
        let ratio = &figures[SCENARIOS[0].name()]["docker_cpu_ratio"];
        assert!((ratio["median"].as_f64().expect("a number") - 1.1).abs() < 1e-9, "{figures}");
        assert!(table(&measured).to_string().contains("1.100"));
    }
}
