//! `foil-bench`: the load generator and the measurements, as a command.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::process::ExitCode;

use bench::synthetic::command as synthetic;
use bench::{
    floor, gpu_check, grpc, lanes, mlperf, overhead, pairs, peers, pinning, prove, reload, run,
    search, slo, sweep, threads, two_cores,
};
use clap::{Parser, Subcommand};

/// The engine's allocator, so that the floor differs from it by nothing but the work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A measurement that can't be trusted: no figure of it should be used.
const EXIT_INVALID: u8 = 3;

/// A change that costs more than it may.
const EXIT_OVER_BUDGET: u8 = 4;

#[derive(Parser)]
#[command(name = "foil-bench", version, about = "Loads and measures prediction servers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    MaxRate(search::command::Args),
    Sweep(sweep::command::Args),
    Compare(pairs::Args),
    Mlperf(mlperf::command::Args),
    /// Compares foil with bare hyper in interleaved pairs, each on one core
    Overhead(overhead::Args),
    /// Compares a model in Docker with one in a process, in interleaved pairs on one core
    Launchers(overhead::launchers::Args),
    /// Gathers every figure of the shared-memory lane; `cargo xtask lanes` knows the programs it wants
    Lanes(lanes::Args),
    /// Measures whether the engine keeps a promise of 20 ms, against what its models can do
    Slo(slo::Args),
    /// The load generator against what is known, and against the tools that others trust
    Prove(prove::Args),
    /// A server whose latency is known, to test load generators by
    Synthetic(synthetic::Args),
    /// Compares foil with other serving systems; `cargo xtask peers` sets them up
    Peers(peers::Args),
    /// Measures what a model that is loaded anew costs its neighbours
    Reload(reload::Args),
    /// Measures what cpusets do for a model's p99 while another takes all the CPU that it can get
    Pinning(pinning::Args),
    /// Compares what a request costs on two cores with two models and on one with one
    TwoCores(two_cores::Args),
    /// Checks on a machine with a GPU what is promised of it; `cargo xtask gpu-check` makes the bundle
    GpuCheck(gpu_check::Args),
    /// Bare hyper, or bare h2: what any HTTP server on this machine costs
    Floor {
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Pins the server to this core
        #[arg(long)]
        core: Option<usize>,
        /// HTTP/2, with the frames of gRPC
        #[arg(long)]
        grpc: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args).map(run_code).map_err(Failure::from),
        Command::MaxRate(args) => {
            search::command::run(&args).map(max_rate_code).map_err(Failure::from)
        }
        Command::Sweep(args) => sweep::command::run(&args).map(sweep_code).map_err(Failure::from),
        Command::Compare(args) => pairs::run(&args).map(compare_code).map_err(Failure::from),
        Command::Mlperf(args) => {
            mlperf::command::run(&args).map(mlperf_code).map_err(Failure::from)
        }
        Command::Overhead(args) => overhead::run(&args).map(overhead_code).map_err(Failure::from),
        Command::Launchers(args) => {
            overhead::launchers::run(&args).map(|()| ExitCode::SUCCESS).map_err(Failure::from)
        }
        Command::Lanes(args) => {
            lanes::run(&args).map(|()| ExitCode::SUCCESS).map_err(Failure::from)
        }
        Command::Reload(args) => {
            reload::run(&args).map(|()| ExitCode::SUCCESS).map_err(Failure::from)
        }
        Command::Pinning(args) => {
            pinning::run(&args).map(|()| ExitCode::SUCCESS).map_err(Failure::from)
        }
        Command::Slo(args) => slo::run(&args).map(|()| ExitCode::SUCCESS).map_err(Failure::from),
        Command::Prove(args) => prove::run(&args).map(exit_code).map_err(Failure::from),
        Command::Synthetic(args) => {
            synthetic::run(&args).map(|()| ExitCode::SUCCESS).map_err(Failure::from)
        }
        Command::Peers(args) => {
            peers::run(&args).map(|()| ExitCode::SUCCESS).map_err(Failure::from)
        }
        Command::TwoCores(args) => {
            two_cores::run(&args).map(|()| ExitCode::SUCCESS).map_err(Failure::from)
        }
        Command::GpuCheck(args) => gpu_check::run(&args).map(exit_code).map_err(Failure::from),
        Command::Floor { listen, core, grpc } => {
            serve_floor(listen, core, grpc).map(|()| ExitCode::SUCCESS)
        }
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
    MaxRate(#[from] search::command::MaxRateError),
    #[error(transparent)]
    Sweep(#[from] sweep::command::SweepError),
    #[error(transparent)]
    Compare(#[from] pairs::CompareError),
    #[error(transparent)]
    Mlperf(#[from] mlperf::command::MlperfError),
    #[error(transparent)]
    Overhead(#[from] overhead::OverheadError),
    #[error(transparent)]
    Lanes(#[from] lanes::LanesError),
    #[error(transparent)]
    Slo(#[from] slo::SloError),
    #[error(transparent)]
    Prove(#[from] prove::ProveError),
    #[error(transparent)]
    Synthetic(#[from] synthetic::SyntheticError),
    #[error(transparent)]
    Peers(#[from] peers::PeersError),
    #[error(transparent)]
    Reload(#[from] reload::ReloadError),
    #[error(transparent)]
    Pinning(#[from] pinning::PinningError),
    #[error(transparent)]
    TwoCores(#[from] two_cores::TwoCoresError),
    #[error(transparent)]
    GpuCheck(#[from] gpu_check::GpuCheckError),
    #[error(transparent)]
    Pin(#[from] threads::PinError),
    #[error("the floor can't listen: {0}")]
    Floor(#[from] std::io::Error),
}

fn run_code(ending: run::Ending) -> ExitCode {
    match ending {
        run::Ending::AllRight => ExitCode::SUCCESS,
        run::Ending::Failures => ExitCode::FAILURE,
        run::Ending::Invalid => ExitCode::from(EXIT_INVALID),
    }
}

fn exit_code(all_right: bool) -> ExitCode {
    if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn max_rate_code(stopped: search::Stopped) -> ExitCode {
    use search::Stopped::{
        Contested, GeneratorIsTheLimit, Interrupted, Narrow, NothingHeld, RateMaxHeld, RunsSpent,
        TimeSpent,
    };
    match stopped {
        Narrow | Contested => ExitCode::SUCCESS,
        NothingHeld | RateMaxHeld | RunsSpent | TimeSpent | Interrupted => ExitCode::FAILURE,
        GeneratorIsTheLimit => ExitCode::from(EXIT_INVALID),
    }
}

fn sweep_code(all_measured: bool) -> ExitCode {
    if all_measured { ExitCode::SUCCESS } else { ExitCode::from(EXIT_INVALID) }
}

fn compare_code(ending: pairs::Ending) -> ExitCode {
    match ending {
        pairs::Ending::Kept => ExitCode::SUCCESS,
        pairs::Ending::Invalid => ExitCode::from(EXIT_INVALID),
        pairs::Ending::OverBudget => ExitCode::from(EXIT_OVER_BUDGET),
    }
}

fn mlperf_code(ending: mlperf::command::Ending) -> ExitCode {
    match ending {
        mlperf::command::Ending::Valid => ExitCode::SUCCESS,
        mlperf::command::Ending::Short => ExitCode::FAILURE,
        mlperf::command::Ending::Invalid => ExitCode::from(EXIT_INVALID),
    }
}

fn overhead_code(validity: overhead::Validity) -> ExitCode {
    match validity {
        overhead::Validity::Valid | overhead::Validity::Unchecked => ExitCode::SUCCESS,
        overhead::Validity::Invalid => ExitCode::from(EXIT_INVALID),
    }
}

fn serve_floor(listen: SocketAddr, core: Option<usize>, grpc: bool) -> Result<(), Failure> {
    if let Some(core) = core {
        threads::pin(core)?;
    }
    if grpc {
        grpc::floor::serve(listen)?
    } else {
        floor::serve(listen)?
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
