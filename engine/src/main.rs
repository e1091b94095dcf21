//! The program `foil`: allocator, command line, exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use engine::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { command: Command::Serve(flags) } = Cli::parse();
    match engine::app::serve(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
