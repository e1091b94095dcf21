//! `foil-sim`: the engine's own batcher under virtual time, beside the literature's controllers.
//!
//! Floor plan: `world` plays one model's batcher; `device`, `arrivals` and `trace` are what it meets; `baselines` are
//! the other controllers; `cell` is one experiment. What is measured: `reproduction`, `bars` (with `learning`,
//! `unlike`, `tokens`, `classes`), `matrix`, `scale`, `replay`, `placement`; `chain` and `optimum` are what mathematics says.

mod arrivals;
mod bars;
mod baselines;
mod cell;
mod chain;
mod classes;
mod device;
#[cfg(test)]
mod laws;
mod learning;
mod matrix;
mod optimum;
mod placement;
mod plots;
mod replay;
mod reproduction;
mod run;
mod scale;
mod tokens;
mod trace;
mod unlike;
mod workers;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bars::Bars;
use clap::{Parser, ValueEnum};
use replay::{Capture, ReplayError};
use trace::{Trace, TraceError};

/// Measures how many requests the engine's batching answers on time, in virtual time: nothing is served.
#[derive(Debug, Parser)]
#[command(name = "foil-sim", version)]
struct Options {
    /// Seeds of each experiment; bars report the worst, the matrix the mean.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS")]
    only: Vec<Part>,
    /// Of the bars, those whose name begins so, as in B9.
    #[arg(long, value_name = "NAME", default_value = "")]
    bars: String,
    /// Of the matrix, the cells whose name contains this, as in 'fat n1'.
    #[arg(long, value_name = "CELLS", default_value = "", num_args = 0..=1, default_missing_value = "")]
    matrix: String,
    /// Virtual milliseconds of the runs with many replicas or models.
    #[arg(long, value_name = "MS", default_value_t = 2_000.0)]
    scale_ms: f64,
    /// A trace of TIMESTAMP,ContextTokens,GeneratedTokens; else the one in ../shared/traces, where there is one.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Only play a capture of the real engine again.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Draw goodput over load, misses over time and batch sizes over time as SVG into this folder.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// End with one JSON object of the figures.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The design's prototype again: baselines and oracle.
    Reproduction,
    /// The promises.
    Bars,
    /// Every device under every load beside every baseline.
    Matrix,
    /// Many replicas and many models.
    Scale,
    /// The plan of who runs where, beside the best that exhaustive search finds, and its time for many.
    Placement,
    /// None of these.
    None,
}

/// Where the trace lies for those who have it, from the repository's root.
const TRACE: &str = "../shared/traces/azure-llm-2023-conversation.csv";

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Trace(#[from] TraceError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("no plots in {folder}: {error}")]
    Plots { folder: PathBuf, error: Box<dyn std::error::Error> },
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let seeds = options.seed..options.seed + options.seeds;
    println!("seeds {} to {}", seeds.start, seeds.end - 1);
    let figures = match &options.replay {
        Some(path) => replay(path, options.seed)?,
        None => measure(options, seeds.clone())?,
    };
    if let Some(folder) = &options.plot {
        plots::draw(folder, &seeds)
            .map_err(|error| Failure::Plots { folder: folder.clone(), error })?;
        println!("plots: {}", folder.display());
    }
    if options.json {
        println!("{}", json(&figures));
    }
    Ok(())
}

/// Counts as whole numbers, for readers that want those.
fn json(figures: &BTreeMap<String, f64>) -> serde_json::Value {
    let number = |figure: f64| match figure.fract() {
        0.0 => serde_json::json!(figure as i64),
        _ => serde_json::json!(figure),
    };
    figures.iter().map(|(name, &figure)| (name.clone(), number(figure))).collect()
}

fn replay(path: &Path, seed: u64) -> Result<BTreeMap<String, f64>, Failure> {
    let (on_time, total) = Capture::read(path)?.play(seed);
    let figures = [("replay_on_time", on_time), ("replay_total", total)];
    Ok(figures.map(|(name, count)| (name.to_owned(), count as f64)).into())
}

fn measure(options: &Options, seeds: Range<u64>) -> Result<BTreeMap<String, f64>, Failure> {
    let is_wanted = |part| options.only.is_empty() || options.only.contains(&part);
    let mut figures = BTreeMap::new();
    if is_wanted(Part::Reproduction) {
        figures.extend(reproduction::print(options.seed));
    }
    if is_wanted(Part::Bars) {
        let bars = Bars::measure(seeds.clone(), &options.bars);
        println!("\nbars, the worst of the seeds");
        for (name, figure) in &bars.figures {
            println!("{name:36} {figure:9.5}");
        }
        figures.extend(bars.figures);
    }
    if is_wanted(Part::Matrix) {
        let traces = traces(options)?;
        matrix::print_traces(&traces);
        figures.extend(matrix::print(seeds, &options.matrix, &traces));
    }
    if is_wanted(Part::Scale) {
        figures.extend(scale::print(options.scale_ms, options.seed));
    }
    if is_wanted(Part::Placement) {
        figures.extend(placement::print(options.seed));
    }
    Ok(figures)
}

/// The real one where there is one, and a synthetic one.
fn traces(options: &Options) -> Result<Vec<Arc<Trace>>, Failure> {
    let mut traces = Vec::new();
    match &options.trace {
        Some(path) => traces.push(Trace::read(path)?),
        None if Path::new(TRACE).exists() => traces.push(Trace::read(Path::new(TRACE))?),
        None => {}
    }
    traces.push(Trace::synthetic(options.seed));
    Ok(traces.into_iter().map(Arc::new).collect())
}
