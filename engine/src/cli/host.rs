//! The commands that look at this machine; no engine need run.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Addresses;

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// List the CPUs and GPUs that models can run on.
    #[command(
        after_help = "Examples:\n  foil devices\n  foil devices --json > fleet.json\n  foil devices --inventory fleet.json"
    )]
    Devices(Devices),

    /// Check whether this machine is fit for serving; each fault comes with the command that mends it.
    #[command(
        after_help = "Examples:\n  foil doctor\n  foil doctor --http 0.0.0.0:9000\n  foil doctor --json\n
It changes nothing, takes some seconds at most, and exits with 1 where a check fails."
    )]
    Doctor(Doctor),

    /// Show where models would run, and why: on this machine, or on a fleet that a file lists.
    #[command(
        after_help = "Examples:\n  foil plan models.toml\n  foil plan models.toml --inventory fleet.json"
    )]
    Plan(Plan),
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

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub addresses: Addresses,

    /// Python interpreter for Python models [default: the one beside foil, else python3].
    #[arg(long, env = "FOIL_PYTHON", value_name = "FILE")]
    pub python: Option<PathBuf>,

    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Plan {
    /// A TOML file of models, each with a name, rate (rows a second), slo, replicas, and device, memory, gpu_memory, threads … as in model.toml.
    #[arg(value_name = "MODELS.toml")]
    pub models: PathBuf,

    /// The devices of a file, as foil devices --json writes it, in place of this machine's; it may list many hosts.
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,

    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
