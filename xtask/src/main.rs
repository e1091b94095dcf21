//! Hydrofoil's developer commands: `cargo xtask --help`.
#![forbid(unsafe_code)]

mod checks;
mod codegen;
mod demo;
mod lane_figures;
mod lanes;
mod overhead;
mod setup;
mod shell;

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
    /// The slow lanes, by hand: long fuzzing, many property cases, dependency policy.
    Nightly,
    /// Bare hyper against `foil serve`, interleaved, on one core.
    Overhead(overhead::Arguments),
    /// Every figure of the shared-memory lane, beside iceoryx2 and a bare futex.
    Lanes(lane_figures::Arguments),
    /// Makes schemas/src/generated from schemas/fbs. Needs `--features codegen`.
    Codegen {
        /// Change nothing; fail when the committed code is not what would be made.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup => setup::setup(),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Test => checks::test(),
        Command::Ci => checks::ci(),
        Command::Nightly => checks::nightly(),
        Command::Overhead(arguments) => overhead::overhead(&arguments),
        Command::Lanes(arguments) => lane_figures::lane_figures(&arguments),
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
