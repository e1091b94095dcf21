//! `foil-bench peers`: ours beside other serving systems, on the same models, the same core and the same moments.
//!
//! For each cell (a model and a form) bare hyper (for gRPC bare h2) and ours stay up, and each peer in each of its settings is started
//! in turn and measured against ours in interleaved pairs, as in [`crate::overhead`]. What is finished is kept in a file
//! each; a run that was broken off goes on with what is missing. A peer that can't be started or answers wrongly is named
//! with the reason and left out; requests that fail under load are counted and shown.

mod cell;
mod check;
mod launch;
mod load;
mod plot;
mod ratios;
mod record;
mod report;
mod settings;
mod stage;
mod table;

use std::path::PathBuf;

use self::cell::Cell;
use self::launch::Place;
use self::record::{Made, Store};
use self::settings::Peer;
use self::stage::Run;
use crate::http::HttpError;
use crate::overhead::OverheadError;
use crate::overhead::flags::{Cores, Engine, Runs};

/// There are many settings, and a result of each stays.
const SECONDS: &str = "1";

#[derive(Clone, Debug, clap::Args)]
#[command(mut_arg("seconds", |arg| arg.default_value(SECONDS)))]
pub struct Args {
    /// One line of JSON at the end
    #[arg(long)]
    pub json: bool,
    /// Peers, as in mosec,triton,pytriton,litserve,mlserver,uvicorn; or all
    #[arg(long, value_delimiter = ',', default_values = settings::USUAL)]
    pub only: Vec<String>,
    /// Models and forms, as in noop/bin,mlp/json,noop/grpc; or all
    #[arg(long, value_delimiter = ',', default_values = cell::USUAL)]
    pub cells: Vec<String>,
    #[command(flatten)]
    pub runs: Runs,
    /// Measures everything anew, also what is there
    #[arg(long)]
    pub fresh: bool,
    #[command(flatten)]
    pub engine: Engine,
    /// The peers' programs
    #[arg(long, default_value = "bench/peers")]
    pub programs: PathBuf,
    /// The peers' environments, a folder for each
    #[arg(long, default_value = "target/peers")]
    pub environments: PathBuf,
    /// Where results are kept, a file for each cell and setting
    #[arg(long, default_value = "target/peers/results")]
    pub results: PathBuf,
    /// The file whose part between two marks becomes the tables
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Where the pictures go
    #[arg(long)]
    pub plots: Option<PathBuf>,
    /// What is measured, as git names it
    #[arg(long, default_value = "unknown")]
    pub revision: String,
    /// A peer that could not be set up and why, as in triton=REASON
    #[arg(long)]
    pub skipped: Vec<String>,
    #[command(flatten)]
    pub cores: Cores,
}

#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    #[error(
        "'{name}' is no cell; give some of noop, linear and mlp, each with /bin, /json or /grpc"
    )]
    NoSuchCell { name: String },
    #[error(
        "'{name}' is no peer; give some of mosec, triton, pytriton, litserve, mlserver, uvicorn"
    )]
    NoSuchPeer { name: String },
    #[error(
        "the right answers could not be computed: {source}; set up the peers' environments first"
    )]
    Reference { source: std::io::Error },
    #[error("the right answers could not be computed; the program's own words are above")]
    FailedReference,
    #[error(
        "the right answers to {cell} need the Python of one of the peers asked for, and none is set up; `cargo xtask peers` does"
    )]
    NoReference { cell: String },
    #[error("{server} answered the row of caller {seed} wrongly: {answer}")]
    WrongAnswer { server: &'static str, seed: u64, answer: String },
    #[error("{path} could not be written: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Server(#[from] OverheadError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

pub fn run(args: &Args) -> Result<(), PeersError> {
    let cells = cells_of(&args.cells)?;
    let peers = peers_of(&args.only)?;
    let store = Store::at(&args.results);
    let mut run = Run {
        setup: args.runs.setup(Some(args.cores.client()?))?,
        place: place_of(args)?,
        store: &store,
        wanted: Made::new(args.runs.pairs, args.runs.seconds, &stage::machine(), &args.revision),
        fresh: args.fresh,
        skipped: args.skipped.iter().map(|text| named(text)).collect(),
    };
    for cell in &cells {
        run.cell(*cell, &peers)?;
    }
    report::report(args, &run)
}

/// Absolute paths: peers run in folders of their own.
fn place_of(args: &Args) -> Result<Place, PeersError> {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    Ok(Place {
        foil: args.engine.program()?,
        foil_python: args.engine.python.clone(),
        programs: absolute(&args.programs),
        environments: absolute(&args.environments),
        core: args.cores.server_core,
    })
}

fn cells_of(names: &[String]) -> Result<Vec<Cell>, PeersError> {
    if names == ["all"] {
        return Ok(cell::all());
    }
    let of = |name: &String| {
        Cell::from_name(name).ok_or_else(|| PeersError::NoSuchCell { name: name.clone() })
    };
    names.iter().map(of).collect()
}

fn peers_of(names: &[String]) -> Result<Vec<&'static Peer>, PeersError> {
    if names == ["all"] {
        return Ok(settings::PEERS.iter().collect());
    }
    let of = |name: &String| {
        settings::peer(name).ok_or_else(|| PeersError::NoSuchPeer { name: name.clone() })
    };
    names.iter().map(of).collect()
}

fn named(text: &str) -> (String, String) {
    let (what, why) = text.split_once('=').unwrap_or((text, "no reason given"));
    (what.to_owned(), why.to_owned())
}
