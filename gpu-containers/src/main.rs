//! The program `foil-container`: one replica of one native model, started by the engine.
#![forbid(unsafe_code)]

mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use gpu_containers::models::{Kind, of_kind};
use gpu_containers::serve::{Identity, serve};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs one replica of a native model. The engine starts it and says how to reach it by environment variables.
#[derive(Debug, Parser)]
#[command(name = "foil-container", version, after_help = tools::NAMED)]
struct Arguments {
    /// Which model.
    #[arg(long)]
    kind: Kind,
    /// The version's directory, with its weights.
    #[arg(long, value_name = "DIRECTORY")]
    path: PathBuf,
    /// The engine's socket for this replica.
    #[arg(long, env = "FOIL_SOCKET", value_name = "PATH")]
    socket: PathBuf,
    /// Proves to the engine that this is the process it started.
    #[arg(long, env = "FOIL_NONCE", hide_env_values = true)]
    nonce: u64,
    /// Settings over the model's own, as JSON.
    #[arg(long, env = "FOIL_SETTINGS", default_value = "{}")]
    settings: String,
}

fn main() -> ExitCode {
    if let Some(exit) = tools::asked_for() {
        return exit;
    }
    let arguments = Arguments::parse();
    let Arguments { socket, nonce, settings, .. } = &arguments;
    let identity = Identity { socket, nonce: *nonce, settings };
    match serve(of_kind(arguments.kind), &arguments.path, &identity) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
