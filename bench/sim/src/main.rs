//! `foil-sim`: the engine's own batcher under virtual time, beside the literature's controllers.

mod arrivals;
mod bars;
mod baselines;
mod cell;
mod chain;
mod classes;
mod device;
mod learning;
mod matrix;
mod optimum;
mod plots;
mod replay;
mod reproduction;
mod run;
mod tokens;
mod trace;
mod unlike;
mod workers;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use bars::Bars;
use clap::Parser;

/// Measures how many requests the engine's batching answers on time, in virtual time: nothing is served.
#[derive(Debug, Parser)]
#[command(name = "foil-sim", version)]
struct Options {
    /// Seeds of each experiment; the worst one is reported.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also compare with every baseline in every cell whose name contains this; all of them take some minutes.
    #[arg(long, value_name = "CELLS", num_args = 0..=1, default_missing_value = "")]
    matrix: Option<String>,
    /// Measure only bars whose name begins so, as in B9; `none` for none.
    #[arg(long, default_value = "")]
    bars: String,
    /// First compare the baselines and the oracle with what the design's prototype published.
    #[arg(long)]
    reproduce: bool,
    /// Draw goodput over load, misses over time and batch sizes over time as SVG into this folder.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// End with one JSON object of the figures.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let seeds = options.seed..options.seed + options.seeds;
    println!("seeds {} to {}; the worst of them is shown", seeds.start, seeds.end - 1);
    if options.reproduce {
        reproduction::print(options.seed);
    }
    let bars = Bars::measure(seeds.clone(), &options.bars);
    for (name, figure) in &bars.figures {
        println!("{name:32} {figure:9.5}");
    }
    if let Some(wanted) = &options.matrix {
        matrix::print(seeds, wanted);
    }
    if let Some(folder) = &options.plot {
        if let Err(error) = plots::draw(folder, options.seed) {
            eprintln!("no plots in {}: {error}", folder.display());
            return ExitCode::FAILURE;
        }
        println!("plots: {}", folder.display());
    }
    if options.json {
        println!("{}", serde_json::json!(bars.figures));
    }
    ExitCode::SUCCESS
}
