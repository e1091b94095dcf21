//! `foil-sim`: the engine's own batcher under virtual time, beside the literature's controllers.

mod arrivals;
mod bars;
mod baselines;
mod chain;
mod device;
mod optimum;
mod world;

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
    /// End with one JSON object of the figures.
    #[arg(long)]
    json: bool,
}

fn main() {
    let options = Options::parse();
    let seeds = options.seed..options.seed + options.seeds;
    println!("seeds {} to {}; the worst of them is shown", seeds.start, seeds.end - 1);
    let bars = Bars::measure(seeds);
    for (name, figure) in &bars.figures {
        println!("{name:32} {figure:9.5}");
    }
    if options.json {
        println!("{}", serde_json::json!(bars.figures));
    }
}
