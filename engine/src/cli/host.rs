//! The commands that look at this machine; no engine need run.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// List the CPUs and GPUs that models can run on.
    #[command(
        after_help = "Examples:\n  foil devices\n  foil devices --json > fleet.json\n  foil devices --inventory fleet.json"
    )]
    Devices(Devices),
}

#[derive(Debug, Args)]
pub struct Devices {
    /// Those of a file, as --json writes it, in place of this machine's.
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,

    /// Print JSON, which --inventory reads back.
    #[arg(long)]
    pub json: bool,
}
