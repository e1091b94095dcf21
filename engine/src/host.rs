//! What the commands do that look at this machine: no engine need run, and none is asked.

use std::io::{self, Write};

use crate::cli::host::HostCommand;
use crate::fleet::devices::inventory::InventoryError;

mod devices;
mod doctor;
mod plan;

pub use self::plan::{ModelFault, ModelsFileError};

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    #[error("{count} of the checks failed; the lines after an arrow mend them")]
    Unfit { count: usize },
    #[error(transparent)]
    Models(#[from] ModelsFileError),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Runs one command to its end.
pub fn run(command: HostCommand) -> Result<(), HostError> {
    let done = match command {
        HostCommand::Devices(flags) => devices::devices(&flags),
        HostCommand::Doctor(flags) => doctor::doctor(&flags),
        HostCommand::Plan(flags) => plan::plan(&flags),
    };
    match done {
        // Whoever reads has seen enough, as in `foil devices | head`.
        Err(HostError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// To standard output, at once.
fn print(text: &str) -> Result<(), HostError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
