//! The program `foil`: allocator, command line, exit code.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::process::ExitCode;

use clap::Parser;
use engine::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(flags) => said(engine::app::serve(*flags)),
        Command::Fleet(command) => said(engine::client::run(command)),
        Command::Host(command) => said(engine::host::run(command)),
    }
}

fn said<E: Display>(done: Result<(), E>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
