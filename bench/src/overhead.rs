//! `foil-bench overhead`: what the engine costs above bare hyper on the same core.
//!
//! Each server's whole process tree is pinned to one core, the spinning client to another. All servers stay up; load
//! goes to one at a time, in pairs of short runs whose order alternates, and figures are taken pair by pair. A pair
//! during which the client lost its core to others is repeated, and so counted.

pub(crate) mod ask;
mod cross_core;
pub mod flags;
pub mod launchers;
pub(crate) mod measure;
pub(crate) mod servers;
mod summary;
mod unix;

use std::path::PathBuf;

use self::ask::{Dialect, Form};
use self::flags::{Cores, Engine, PAIRS_MAX, Runs, SECONDS_MAX, SECONDS_MIN};
use self::measure::{Pair, Scenario, Setup};
use self::servers::{Foil, NOOP_FILE, Server, Workplace};
use self::summary::Findings;
use crate::driver::DriverError;
use crate::grpc::GrpcError;
use crate::http::HttpError;
use crate::measured::Failures;
use crate::payload::Encoding;
use crate::threads::PinError;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One line of JSON after the table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub runs: Runs,
    #[command(flatten)]
    pub engine: Engine,
    /// A Python that imports mosec and numpy, to check the floor by
    #[arg(long)]
    pub mosec_python: Option<PathBuf>,
    #[command(flatten)]
    pub cores: Cores,
}

/// Whether the floor is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    Valid,
    /// No peer to check it by.
    Unchecked,
    Invalid,
}

#[derive(Debug, thiserror::Error)]
pub enum OverheadError {
    #[error("give 1 to {PAIRS_MAX} pairs of {SECONDS_MIN} to {SECONDS_MAX} seconds")]
    Numbers,
    #[error("the client and the server need a core each; give two different ones")]
    OneCore,
    #[error("no foil beside this program; give its path with --foil")]
    NoFoil,
    #[error("{server} could not be prepared: {source}")]
    Prepare { server: &'static str, source: std::io::Error },
    #[error("{server} was not ready in time or ended; its last output:\n{output}")]
    NotReady { server: &'static str, output: String },
    #[error("{server} answered wrongly before the measurement: {answer}")]
    WrongAnswer { server: &'static str, answer: String },
    #[error("{server} failed requests under load, so nothing is measured: {failures:?}")]
    Failed { server: &'static str, failures: Failures },
    #[error("{server} answered nothing at all under load")]
    Silent { server: &'static str },
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Grpc(#[from] GrpcError),
}

pub fn run(args: &Args) -> Result<Validity, OverheadError> {
    let Cores { server_core, client_core } = args.cores;
    let setup = args.runs.setup(Some(args.cores.client()?))?;
    let workplace = Workplace::create()?;
    let alone = Foil {
        program: &args.engine.program()?,
        python: args.engine.python.as_deref(),
        core: Some(server_core),
        cores: &[server_core],
        target: NOOP_FILE,
    };
    let floor = Server::floor(&workplace, server_core)?;
    let foil = Server::serving(&workplace, &alone)?;
    let mosec = match &args.mosec_python {
        Some(python) => Some(Server::mosec(&workplace, python, server_core)?),
        None => None,
    };
    let mut findings = measure_all(&setup, &floor, &foil, mosec.as_ref())?;
    findings.pss_mib = foil.pss_mib();
    findings.unix = Some(unix::measure(&setup, &foil)?);
    drop((floor, foil, mosec));
    measure_grpc(&mut findings, &setup, &workplace, &alone)?;
    let cores = [server_core, client_core];
    let pair = Server::serving(&workplace, &Foil { core: None, cores: &cores, ..alone })?;
    findings.cross_core = cross_core::measure(&setup, &pair, cores)?;
    print!("{}", findings.for_people());
    if args.json {
        println!("{}", findings.as_json());
    }
    Ok(findings.validity())
}

/// Memory of the engine and its NumPy container on one core, after some requests.
pub fn pss_mib(engine: &Engine, core: usize) -> Result<f64, OverheadError> {
    const REQUESTS: usize = 100;
    let workplace = Workplace::create()?;
    let (program, python) = (&engine.program()?, engine.python.as_deref());
    let foil = Foil { program, python, core: Some(core), cores: &[core], target: NOOP_FILE };
    let server = Server::serving(&workplace, &foil)?;
    for _ in 0..REQUESTS {
        server.target(Encoding::Binary)?;
    }
    Ok(server.pss_mib())
}

/// One after the other with their floor, after those of HTTP have gone.
fn measure_grpc(
    findings: &mut Findings,
    setup: &Setup,
    workplace: &Workplace,
    alone: &Foil<'_>,
) -> Result<(), OverheadError> {
    let core = alone.cores[0];
    let floor = Server::grpc_floor(workplace, core)?;
    let foil = Server::serving_over(workplace, alone, Dialect::oip(Form::Grpc))?;
    for connections in [1, 64] {
        let scenario = Scenario { form: Form::Grpc, connections };
        let pairs = measure::pairs(setup, scenario, &floor, &foil, None)?;
        findings.scenarios.push((scenario, pairs));
    }
    Ok(())
}

fn measure_all(
    setup: &Setup,
    floor: &Server,
    foil: &Server,
    mosec: Option<&Server>,
) -> Result<Findings, OverheadError> {
    let mut findings = Findings::default();
    for form in [Form::Binary, Form::Json] {
        for connections in [1, 64] {
            let scenario = Scenario { form, connections };
            // Where the peer is at its best.
            let third = mosec.filter(|_| form == Form::Binary && connections == 64);
            let pairs: Vec<Pair> = measure::pairs(setup, scenario, floor, foil, third)?;
            findings.scenarios.push((scenario, pairs));
        }
    }
    Ok(findings)
}
