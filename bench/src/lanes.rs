//! `foil-bench lanes`: every figure of the shared-memory lane in one run, beside its peers.
//!
//! The measuring is done by other programs, each of two processes; `cargo xtask lanes` builds them and names them here.
//! The lane awake and iceoryx2 take turns, one short run each; what is compared inside one program takes turns there.

mod programs;
mod report;
mod syscalls;

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use self::programs::{Figures, Program, merge};
use crate::compare::{Spread, ratios, spread};
use crate::overhead::flags::Engine;
use crate::overhead::{self, OverheadError};

const ROUNDS_MAX: usize = 101;
/// A host moves its guests' cores between moments, and what a cache line's way costs changes several times over: short
/// pairs, and several a round.
const AWAKE_PAIRS: usize = 3;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One line of JSON after the table
    #[arg(long)]
    pub json: bool,
    /// Interleaved rounds of each comparison
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// The benchmark `lane` of the crate shm-rpc
    #[arg(long)]
    pub lane: PathBuf,
    /// The benchmark `handover` of the crate engine
    #[arg(long)]
    pub handover: PathBuf,
    /// The program of bench/iceoryx2; without it the lane awake has no peer
    #[arg(long)]
    pub iceoryx2: Option<PathBuf>,
    /// A Python that imports hydrofoil
    #[arg(long)]
    pub python: PathBuf,
    /// A script for that Python that prints what viewing a batch there takes
    #[arg(long)]
    pub handover_python: Option<PathBuf>,
    /// The engine's program; by default the one beside this program, else the one on PATH
    #[arg(long)]
    pub foil: Option<PathBuf>,
    /// The core of the engine's side
    #[arg(long, default_value_t = 0)]
    pub engine_core: usize,
    /// The core of the container's side
    #[arg(long, default_value_t = 1)]
    pub container_core: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum LanesError {
    #[error("give 1 to {ROUNDS_MAX} rounds")]
    Rounds,
    #[error("{program} could not be started: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("{program} failed with {status}")]
    Failed { program: String, status: std::process::ExitStatus },
    #[error("{program} did not end with a line of JSON but with: {line}")]
    NoFigures { program: String, line: String },
    #[error("{program} does not tell {figure}")]
    NoFigure { program: String, figure: &'static str },
    #[error(transparent)]
    Engine(#[from] OverheadError),
}

pub fn run(args: &Args) -> Result<(), LanesError> {
    if !(1..=ROUNDS_MAX).contains(&args.rounds) {
        return Err(LanesError::Rounds);
    }
    let mut figures = Figures::new();
    awake(args, &mut figures)?;
    let rounds = args.rounds.to_string();
    let lane = lane(args);
    eprintln!("lanes: asleep, and gathering");
    merge(&mut figures, lane.run(&["--only", "sleep,gather", "--rounds", &rounds])?);
    eprintln!("lanes: handing a batch over");
    let handover = Program::new(&args.handover).with(&["--json", "--cores", &cores(args)]);
    merge(&mut figures, handover.run(&["--rounds", &rounds])?);
    merge(&mut figures, python(args)?);
    eprintln!("lanes: counting system calls");
    merge(&mut figures, syscalls::per_batch(args));
    eprintln!("lanes: memory of an engine and its container");
    let engine = Engine { foil: args.foil.clone(), python: Some(args.python.clone()) };
    let pss_mib = overhead::pss_mib(&engine, args.engine_core)?;
    figures.insert("pss_mib".to_owned(), json!(rounded(pss_mib)));
    // The pair that is quoted without saying which is the one on one core.
    for (plain, one_core) in
        [("rtt_sleep_us", "rtt_sleep_one_core_us"), ("bare_futex_us", "bare_futex_one_core_us")]
    {
        let found = figures.get(one_core).cloned().unwrap_or(Value::Null);
        figures.insert(plain.to_owned(), found);
    }
    print!("{}", report::table(&figures));
    if args.json {
        println!("{}", Value::Object(figures));
    }
    Ok(())
}

fn lane(args: &Args) -> Program {
    Program::new(&args.lane).with(&["--json", "--cores", &cores(args)])
}

fn cores(args: &Args) -> String {
    format!("{},{}", args.engine_core, args.container_core)
}

/// The lane and iceoryx2 in turns, both sides of each spinning.
fn awake(args: &Args, figures: &mut Figures) -> Result<(), LanesError> {
    let cores = [args.engine_core, args.container_core].map(|core| core.to_string());
    let lane = lane(args);
    let peer = args.iceoryx2.as_deref().map(|path| Program::new(path).with(&cores));
    let (mut ours, mut theirs, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    let pairs = args.rounds * AWAKE_PAIRS;
    for pair in 0..pairs {
        eprintln!("lanes: awake, pair {} of {pairs}", pair + 1);
        let names = ["rtt_spin_ns", "cache_line_rtt_ns"];
        let lane = || lane.figures(&["--only", "spin", "--rounds", "1"], names);
        let peer = || peer.as_ref().map(|peer| peer.figures(&[], ["iceoryx2_ns"])).transpose();
        let ([our, line], their) = if pair.is_multiple_of(2) {
            let our = lane()?;
            (our, peer()?)
        } else {
            let their = peer()?;
            (lane()?, their)
        };
        ours.push(our);
        lines.push(line);
        theirs.extend(their.into_iter().flatten());
    }
    let both: Vec<_> = ours.iter().copied().zip(theirs.iter().copied()).collect();
    let median = |found: Option<Spread>| json!(found.map(|it| rounded(it.median)));
    let found = [
        ("rtt_spin_ns", median(spread(&ours))),
        ("cache_line_rtt_ns", median(spread(&lines))),
        ("iceoryx2_ns", median(spread(&theirs))),
        ("rtt_spin_over_iceoryx2", median(ratios(&both))),
    ];
    figures.extend(found.map(|(name, value)| (name.to_owned(), value)));
    Ok(())
}

/// What viewing a batch in Python takes, if there is a script that knows.
fn python(args: &Args) -> Result<Map<String, Value>, LanesError> {
    let figure = "handover_python_us";
    let Some(script) = &args.handover_python else {
        println!("{figure} is not measured: there is no script for it");
        return Ok(Map::from_iter([(figure.to_owned(), Value::Null)]));
    };
    eprintln!("lanes: viewing a batch in Python");
    let Args { handover, python, .. } = args;
    Program::new(handover).with(&["python".as_ref(), python.as_path(), script]).run(&[])
}

/// Three decimals are more than any of this is good for.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
