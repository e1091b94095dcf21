//! `foil-bench slo`: whether the engine keeps its promise, 20 ms at the 99th percentile, on real models and real time.
//!
//! The whole server lies on one core, its containers too; an open-loop client that never sleeps has the other and times
//! every request from when it was due. What a model can do is measured first, by full batches of fixed sizes back to
//! back: each goodput is held against the bound of that curve. Models that sleep their known time leave the core to the
//! engine, and a batch takes what the engine tells of it (`lane` and `model` of Server-Timing). Those that compute share
//! the core with the engine's own work for every request; theirs is the time from one batch to the next, so that the
//! bound is what that one core can do. Unlike replicas of one model (`unlike`) have deadlines of their own. Seconds in
//! which others had the cores don't count (`disturbance`).

mod bars;
mod causes;
mod curve;
mod disturbance;
mod figures;
mod replay;
mod served;
mod stage;
mod tally;
mod unlike;

use std::path::PathBuf;

use self::bars::{Bench, SECONDS, Subject, by_hand, unbatched};
use self::curve::Curve;
use self::figures::Figures;
use self::served::{Served, Work};
use self::stage::{Place, Stage};
use self::tally::SLO_MS;
use crate::driver::DriverError;
use crate::http::HttpError;
use crate::overhead::OverheadError;
use crate::overhead::flags::{Cores, Engine};
use crate::report::{Table, count};
use crate::threads::PinError;

const SECONDS_MAX: u32 = 60;
const BARS: [&str; 8] = ["B1", "B2", "B3", "B8", "B11", "B13", "B18", "B20"];
/// The one that has models of its own.
const UNLIKE: &str = "B11";

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One line of JSON after the table
    #[arg(long)]
    pub json: bool,
    /// Only these experiments, as in B1,B2
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Measured time of each cell; some take twice as long
    #[arg(long, default_value_t = SECONDS)]
    pub seconds: u32,
    #[command(flatten)]
    pub engine: Engine,
    /// The simulator's program, for B20; left out without it
    #[arg(long)]
    pub simulator: Option<PathBuf>,
    /// Where captured runs for the simulator stay; by default with other temporary files
    #[arg(long)]
    pub captures: Option<PathBuf>,
    /// Counts disturbed seconds like the others: for trying on a busy machine, where few figures come out otherwise
    #[arg(long)]
    pub count_disturbed: bool,
    #[command(flatten)]
    pub cores: Cores,
}

#[derive(Debug, thiserror::Error)]
pub enum SloError {
    #[error("give 1 to {SECONDS_MAX} seconds")]
    Seconds,
    #[error("there is no experiment '{name}'; name some of {BARS:?}")]
    UnknownBar { name: String },
    #[error("nothing can be served within {SLO_MS} ms by this model on this machine")]
    NoLoad,
    #[error("no batch of {rows} rows was answered; is the engine older than fixed_batches?")]
    NoBatches { rows: u32 },
    #[error("the page /batching does not tell why requests were turned away")]
    NoReasons,
    #[error("the simulator could not be run: {0}")]
    Simulator(std::io::Error),
    #[error("the simulator does not end with replay_on_time; it must know --replay")]
    NoReplay,
    #[error(transparent)]
    Server(#[from] OverheadError),
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

pub fn run(args: &Args) -> Result<(), SloError> {
    let place = place_of(args)?;
    let mut figures = Figures::default();
    if wanted(args, "B1") {
        for work in [Work::Compute, Work::Mlp] {
            ways(args, &place, work, &mut figures)?;
        }
    }
    if BARS.iter().any(|bar| *bar != UNLIKE && wanted(args, bar)) {
        promise(args, &place, &mut figures)?;
    }
    if wanted(args, UNLIKE) {
        unlike::measure(&place, args.seconds, &mut figures)?;
    }
    print!("{}", figures.for_people());
    if args.json {
        println!("{}", figures.as_json());
    }
    Ok(())
}

fn place_of(args: &Args) -> Result<Place, SloError> {
    if !(1..=SECONDS_MAX).contains(&args.seconds) {
        return Err(SloError::Seconds);
    }
    if let Some(name) = args.only.iter().find(|name| !BARS.contains(&name.as_str())) {
        return Err(SloError::UnknownBar { name: name.clone() });
    }
    Ok(Place {
        foil: args.engine.program()?,
        python: args.engine.python.clone(),
        server_core: args.cores.server_core,
        client_core: args.cores.client()?,
        count_disturbed: args.count_disturbed,
    })
}

fn wanted(args: &Args, bar: &str) -> bool {
    args.only.is_empty() || args.only.iter().any(|name| name == bar)
}

/// B1 of a model that computes.
fn ways(args: &Args, place: &Place, work: Work, figures: &mut Figures) -> Result<(), SloError> {
    let curve = curve(place, work)?;
    let mut models = vec![Served::learned(1), unbatched()];
    models.extend(by_hand(curve.capacity(1, SLO_MS), work));
    let mut stage = Stage::open(place, work, &models)?;
    let mut bench = Bench { stage: &mut stage, figures, seconds: args.seconds };
    bench.warm_up(&Subject { served: Served::learned(1), curve: &curve })?;
    bench.ways(work, &curve)?;
    figures.add(stage.shares());
    Ok(())
}

/// Everything with the model that sleeps its known time.
fn promise(args: &Args, place: &Place, figures: &mut Figures) -> Result<(), SloError> {
    let work = Work::Sleep;
    let curve = curve(place, work)?;
    let subjects =
        [1, 4].map(|replicas| Subject { served: Served::learned(replicas), curve: &curve });
    let mut models: Vec<Served> = subjects.iter().map(|subject| subject.served.clone()).collect();
    models.push(unbatched());
    models.extend(by_hand(curve.capacity(1, SLO_MS), work));
    let mut stage = Stage::open(place, work, &models)?;
    let mut bench = Bench { stage: &mut stage, figures, seconds: args.seconds };
    for subject in &subjects {
        bench.warm_up(subject)?;
    }
    if wanted(args, "B1") {
        bench.ways(work, &curve)?;
    }
    for subject in &subjects {
        under_load(args, &mut bench, subject)?;
    }
    let [one, _] = &subjects;
    if wanted(args, "B13") {
        bench.tail(one)?;
    }
    if wanted(args, "B20") {
        fidelity(args, &mut bench, one)?;
    }
    figures.add(stage.shares());
    Ok(())
}

fn under_load(args: &Args, bench: &mut Bench<'_>, subject: &Subject<'_>) -> Result<(), SloError> {
    if wanted(args, "B2") {
        bench.loads(subject)?;
    }
    if wanted(args, "B3") {
        bench.violations(subject)?;
    }
    if wanted(args, "B8") {
        bench.burst(subject)?;
    }
    if wanted(args, "B18") {
        bench.step(subject)?;
    }
    Ok(())
}

fn fidelity(args: &Args, bench: &mut Bench<'_>, subject: &Subject<'_>) -> Result<(), SloError> {
    let Some(simulator) = &args.simulator else {
        println!("B20 is left out: give the simulator's program with --simulator");
        return Ok(());
    };
    let folder = args.captures.clone().unwrap_or_else(std::env::temp_dir);
    bench.fidelity(subject, simulator, &folder)
}

fn curve(place: &Place, work: Work) -> Result<Curve, SloError> {
    let models: Vec<Served> = work.sizes().iter().map(|&rows| Served::full(rows)).collect();
    let curve = Stage::open(place, work, &models)?.curve()?;
    let mut table = Table::new(&[work.name(), "ms", "rows/s"]);
    for point in curve.points() {
        let rate = f64::from(point.rows) / point.ms * 1e3;
        table.row([point.rows.to_string(), format!("{:.3}", point.ms), count(rate)]);
    }
    let [one, four] = [1, 4].map(|replicas| curve.capacity(replicas, SLO_MS));
    if one.rows == 0 {
        return Err(SloError::NoLoad);
    }
    print!("{table}");
    println!(
        "C = {} a second by batches of {}; of four replicas {} by batches of {}",
        count(one.per_second),
        one.rows,
        count(four.per_second),
        four.rows
    );
    Ok(curve)
}
