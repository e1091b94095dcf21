//! Hydrofoil's developer commands: `cargo xtask --help`.
#![forbid(unsafe_code)]

mod ahead;
mod checks;
mod codegen;
mod conformance;
mod demo;
mod deploy;
mod description;
mod docker;
mod fuzz;
mod gpu_check;
mod images;
mod instructions;
mod lane_figures;
mod lanes;
mod launchers;
mod neighbours;
mod overhead;
mod peers;
mod prove;
mod setup;
mod shell;
mod slo;
mod steps;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Hydrofoil's developer commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// System packages, .venv/ with the wheel in it. The other commands call it.
    Setup,
    /// The main job on real input: train, serve, ask, check, show latency.
    Demo(demo::Arguments),
    /// Every test this machine can run.
    Test,
    /// What the continuous integration runs: everything of `test`, lints, docs, a short fuzz run, the demo.
    Ci,
    /// What the continuous integration builds beside its lanes.
    #[command(hide = true)]
    Ahead,
    /// The slow lanes, by hand: long fuzzing, many property cases, dependency policy.
    Nightly,
    /// Every fuzz target, its share of the seconds each.
    Fuzz {
        /// Of all targets together.
        #[arg(long, default_value_t = 3600)]
        seconds: u32,
    },
    /// schemathesis against `foil serve`, by docs/openapi.json.
    Description,
    /// Real clients of the Open Inference Protocol against `foil serve`, and its answers beside Triton's.
    Conformance(conformance::Arguments),
    /// Bare hyper against `foil serve`, interleaved, on one core.
    Overhead(overhead::Arguments),
    /// A model in Docker against one in a process, interleaved, on one core.
    Launchers(launchers::Arguments),
    /// The load generator against known delays, and wrk, perf_analyzer and MLPerf's LoadGen on the same servers.
    Prove(prove::Arguments),
    /// Other serving systems against `foil serve`, interleaved, on one core; tables go into bench/RESULTS.md.
    Peers(peers::Arguments),
    /// Every figure of the shared-memory lane, beside iceoryx2 and a bare futex.
    Lanes(lane_figures::Arguments),
    /// The batching's promises in virtual time, beside the literature's controllers and the optimum.
    #[command(disable_help_flag = true)]
    Sim {
        /// What foil-sim takes: --json, --matrix, --plot DIR, --seeds N; --help shows all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The plan of who runs where: beside exhaustive search on small fleets, and its time for a thousand models.
    Placement {
        /// The last line is a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Whether the engine keeps a promise of 20 ms, on real models, against what they can do.
    Slo(slo::Arguments),
    /// What a model that is loaded anew costs its neighbours' p99, in interleaved pairs.
    Reload(neighbours::Arguments),
    /// What cpusets do for a model's p99 while another takes all the CPU that it can get, in interleaved pairs.
    Pinning(neighbours::Arguments),
    /// From `foil deploy` to a first answer, back to the version before, and from an engine's death to a first answer.
    Deploy(deploy::Arguments),
    /// The Docker images that models run in, on a base of your choice; what is unchanged is not made again.
    Images(images::Arguments),
    /// What is promised of GPUs: makes a bundle for a host that has one, and runs it here as far as it goes.
    GpuCheck(gpu_check::Arguments),
    /// Instructions per request, against their budget.
    Instructions(instructions::Arguments),
    /// Makes schemas/src/generated from schemas/fbs and schemas/proto. Needs `--features codegen`.
    Codegen {
        /// Change nothing; fail when the committed code is not what would be made.
        #[arg(long)]
        check: bool,
    },
}

/// Nothing is set up for it: it serves nothing.
fn sim(arguments: &[String]) -> shell::Done {
    let build = ["run", "--quiet", "--release", "--locked", "--package", "simulator", "--"];
    shell::run(shell::cargo(&build).args(arguments))
}

fn placement(json: bool) -> shell::Done {
    let mut arguments = vec!["--only".to_owned(), "placement".to_owned()];
    arguments.extend(json.then(|| "--json".to_owned()));
    sim(&arguments)
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup => setup::setup(),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Test => checks::test(),
        Command::Ci => checks::ci(),
        Command::Ahead => ahead::build(),
        Command::Nightly => checks::nightly(),
        Command::Fuzz { seconds } => fuzz::fuzz(seconds, fuzz::Build::Fast),
        Command::Description => description::description(),
        Command::Conformance(arguments) => conformance::conformance(&arguments),
        Command::Overhead(arguments) => overhead::overhead(&arguments),
        Command::Launchers(arguments) => launchers::launchers(&arguments),
        Command::Prove(arguments) => prove::prove(&arguments),
        Command::Peers(arguments) => peers::peers(&arguments),
        Command::Lanes(arguments) => lane_figures::lane_figures(&arguments),
        Command::Sim { arguments } => sim(&arguments),
        Command::Placement { json } => placement(json),
        Command::Slo(arguments) => slo::slo(&arguments),
        Command::Deploy(arguments) => deploy::deploy(&arguments),
        Command::Reload(arguments) => neighbours::neighbours("reload", &arguments),
        Command::Pinning(arguments) => neighbours::neighbours("pinning", &arguments),
        Command::Images(arguments) => images::images(&arguments),
        Command::GpuCheck(arguments) => gpu_check::gpu_check(&arguments),
        Command::Instructions(arguments) => instructions::instructions(&arguments),
        Command::Codegen { check } => codegen::codegen(check),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
