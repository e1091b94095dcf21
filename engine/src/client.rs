//! What the commands beside `foil serve` do: ask a running engine over its administrators' HTTP API, and say what it answered.
//!
//! A client knows the API and nothing of the engine's rooms. Every wait is bounded: an engine that goes silent is an
//! error that says what goes on without the client. What a command is asked for goes to standard output, how it gets
//! there to standard error.

use std::io;

use tokio::runtime::Builder;

use crate::cli::fleet::FleetCommand;

mod answers;
mod archive;
mod bundle;
mod commands;
mod deploy;
mod engine_link;
mod error;
mod events;
mod listings;
mod progress;
mod try_it;

pub use self::error::ClientError;

/// Runs one command to its end.
pub fn run(command: FleetCommand) -> Result<(), ClientError> {
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(ClientError::System)?;
    match runtime.block_on(carry_out(command)) {
        // Whoever reads has seen enough, as in `foil logs NAME | head`.
        Err(ClientError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

async fn carry_out(command: FleetCommand) -> Result<(), ClientError> {
    match command {
        FleetCommand::Deploy(deploy) => deploy::deploy(*deploy).await,
        FleetCommand::Ls(ls) => listings::ls(ls).await,
        FleetCommand::Ps(ps) => listings::ps(ps).await,
        FleetCommand::Scale(scale) => commands::scale(scale).await,
        FleetCommand::Logs(logs) => commands::logs(logs).await,
        FleetCommand::Rollback(rollback) => commands::rollback(rollback).await,
        FleetCommand::Promote(promote) => commands::promote(promote).await,
        FleetCommand::Rm(rm) => commands::rm(rm).await,
        FleetCommand::Slo(slo) => commands::slo(slo).await,
    }
}
