//! `foil-bench`: the load generator and the measurements, as a command.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::process::ExitCode;

use bench::{floor, lanes, overhead, run, slo, threads, two_cores};
use clap::{Parser, Subcommand};

/// The engine's allocator, so that the floor differs from it by nothing but the work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A measurement that can't be trusted: no figure of it should be used.
const EXIT_INVALID: u8 = 3;

#[derive(Parser)]
#[command(name = "foil-bench", version, about = "Loads and measures prediction servers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Loads one model of a server, open or closed loop
    Run(run::Args),
    /// Compares foil with bare hyper in interleaved pairs, each on one core
    Overhead(overhead::Args),
    /// Gathers every figure of the shared-memory lane; `cargo xtask lanes` knows the programs it wants
    Lanes(lanes::Args),
    /// Measures whether the engine keeps a promise of 20 ms, against what its models can do
    Slo(slo::Args),
    /// Compares what a request costs on two cores with two models and on one with one
    TwoCores(two_cores::Args),
    /// Bare hyper: what any HTTP server on this machine costs
    Floor {
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Pins the server to this core
        #[arg(long)]
        core: Option<usize>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args).map(exit_code).map_err(Failure::from),
        Command::Overhead(args) => overhead::run(&args).map(overhead_code).map_err(Failure::from),
        Command::Lanes(args) => {
            lanes::run(&args).map(|()| ExitCode::SUCCESS).map_err(Failure::from)
        }
        Command::Slo(args) => slo::run(&args).map(|()| ExitCode::SUCCESS).map_err(Failure::from),
        Command::TwoCores(args) => {
            two_cores::run(&args).map(|()| ExitCode::SUCCESS).map_err(Failure::from)
        }
        Command::Floor { listen, core } => serve_floor(listen, core).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("foil-bench: {error}");
        ExitCode::FAILURE
    })
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Run(#[from] run::RunError),
    #[error(transparent)]
    Overhead(#[from] overhead::OverheadError),
    #[error(transparent)]
    Lanes(#[from] lanes::LanesError),
    #[error(transparent)]
    Slo(#[from] slo::SloError),
    #[error(transparent)]
    TwoCores(#[from] two_cores::TwoCoresError),
    #[error(transparent)]
    Pin(#[from] threads::PinError),
    #[error("the floor can't listen: {0}")]
    Floor(#[from] std::io::Error),
}

fn exit_code(all_right: bool) -> ExitCode {
    if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn overhead_code(validity: overhead::Validity) -> ExitCode {
    match validity {
        overhead::Validity::Valid | overhead::Validity::Unchecked => ExitCode::SUCCESS,
        overhead::Validity::Invalid => ExitCode::from(EXIT_INVALID),
    }
}

fn serve_floor(listen: SocketAddr, core: Option<usize>) -> Result<(), Failure> {
    if let Some(core) = core {
        threads::pin(core)?;
    }
    Ok(floor::serve(listen)?)
}
