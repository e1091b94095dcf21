//! The command line of `foil`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub mod control;
pub mod fleet;
pub mod host;

/// Puts any model behind HTTP at the lowest latency a machine can give.
#[derive(Debug, Parser)]
#[command(name = "foil", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve models until SIGTERM or Ctrl-C.
    #[command(after_help = "Examples:
  foil serve model.py                 the one model class in model.py
  foil serve model.py:Digits          that class, whatever else the file holds
  foil serve models/                  a repository: models/<name>/<version>/model.py
  foil serve a.py b.py --http 0.0.0.0:8000 --cores 0,1")]
    Serve(Box<Serve>),

    #[command(flatten)]
    Fleet(fleet::FleetCommand),

    #[command(flatten)]
    Host(host::HostCommand),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Pretty,
    Json,
}

/// Whose metric names are on the metrics page beside our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricsCompat {
    /// nv_inference_* with Triton's labels.
    Triton,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Launcher {
    /// Plain child processes: nothing to install.
    Process,
    /// Each replica in a locked-down container of its own, from an image of this machine's Docker.
    Docker,
}

impl Launcher {
    pub fn name(self) -> &'static str {
        match self {
            Launcher::Process => "process",
            Launcher::Docker => "docker",
        }
    }

    pub fn named(name: &str) -> Option<Launcher> {
        [Launcher::Process, Launcher::Docker].into_iter().find(|launcher| launcher.name() == name)
    }
}

/// What the memory between engine and models is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lane {
    /// memfd where this system seals files, else posix; the log says which and why.
    Auto,
    /// Sealed anonymous memory, mapped by both sides.
    Memfd,
    /// Named shared memory, which the engine reads by system calls.
    Posix,
}

/// Whether Clipper's interface keeps the defects that programs may lean on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClipperMode {
    On,
    Strict,
}

/// Where an engine listens.
#[derive(Clone, Debug, Default, Args)]
pub struct Addresses {
    /// Where to answer the Open Inference Protocol [default: 127.0.0.1:8000].
    #[arg(long, env = "FOIL_HTTP", value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,

    /// Where to answer it over gRPC [default: 127.0.0.1:8001].
    #[arg(long, env = "FOIL_GRPC", value_name = "ADDRESS")]
    pub grpc: Option<SocketAddr>,

    /// Where Prometheus scrapes [default: 127.0.0.1:8002].
    #[arg(long, env = "FOIL_METRICS", value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
}

/// Every flag also reads the environment (`FOIL_HTTP`, …) and may stand in the file given by --config. Flags win over
/// the environment, the environment over the file.
#[derive(Clone, Debug, Default, Args)]
pub struct Serve {
    /// Python files with a model (`model.py`, `model.py:Class`) or model repository directories; without any, the engine
    /// looks after models that are deployed to it (foil deploy).
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,

    /// A TOML file with the same settings by the same names.
    #[arg(long, env = "FOIL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The model's name; goes with a single target.
    #[arg(long)]
    pub name: Option<String>,

    #[command(flatten)]
    pub addresses: Addresses,

    /// Speak Clipper's own interface as well: applications, and the containers written for it. `strict` keeps its defects.
    #[arg(long, env = "FOIL_CLIPPER", value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub clipper: Option<ClipperMode>,

    /// With --clipper: where applications are asked [default: 127.0.0.1:1337].
    #[arg(long, env = "FOIL_CLIPPER_QUERY", value_name = "ADDRESS")]
    pub clipper_query: Option<SocketAddr>,

    /// With --clipper: where applications, links and models are administered [default: 127.0.0.1:1338].
    #[arg(long, env = "FOIL_CLIPPER_ADMIN", value_name = "ADDRESS")]
    pub clipper_admin: Option<SocketAddr>,

    /// Where containers written for Clipper dial in (its RPC over ZeroMQ); without --clipper they bring their models [default: nowhere; with --clipper 127.0.0.1:7000].
    #[arg(long, env = "FOIL_CLIPPER_RPC", value_name = "ADDRESS")]
    pub clipper_rpc: Option<SocketAddr>,
    /// Add the metrics that another server's dashboards and autoscalers know.
    #[arg(long, env = "FOIL_METRICS_COMPAT")]
    pub metrics_compat: Option<MetricsCompat>,

    /// Write a line of the log for each request (FOIL_LOG=debug does it, too).
    #[arg(long, env = "FOIL_ACCESS_LOG")]
    pub access_log: bool,

    /// CPUs of the front end, one thread each [default: one on machines of up to 4, else a quarter].
    #[arg(long, env = "FOIL_CORES", value_name = "CPUS", value_delimiter = ',')]
    pub cores: Option<Vec<usize>>,

    /// What runs the models [default: process].
    #[arg(long, env = "FOIL_LAUNCHER")]
    pub launcher: Option<Launcher>,

    /// Fetch images that Docker does not have from their registries, instead of saying so.
    #[arg(long, env = "FOIL_PULL")]
    pub pull: bool,

    /// Shared memory between engine and models [default: auto].
    #[arg(long, env = "FOIL_LANE")]
    pub lane: Option<Lane>,

    /// Put batches on 2 MiB pages where the system has some reserved (vm.nr_hugepages).
    #[arg(long, env = "FOIL_HUGE_PAGES")]
    pub huge_pages: bool,

    /// A file with devices in place of this machine's, for tests and planning.
    #[arg(long, env = "FOIL_INVENTORY", value_name = "FILE", hide = true)]
    pub inventory: Option<PathBuf>,

    /// Run models as the engine's own user, even where the engine is root and could give each its own.
    #[arg(long, env = "FOIL_SHARED_USER")]
    pub shared_user: bool,

    /// Python interpreter for Python models [default: the one beside foil, else python3].
    #[arg(long, env = "FOIL_PYTHON", value_name = "FILE")]
    pub python: Option<PathBuf>,

    /// How long to keep accepting after SIGTERM, while already not ready [default: 0s].
    #[arg(long, env = "FOIL_DRAIN_DELAY", value_name = "DURATION")]
    pub drain_delay: Option<String>,

    /// Leave the Server-Timing header out of answers.
    #[arg(long, env = "FOIL_NO_SERVER_TIMING")]
    pub no_server_timing: bool,

    /// Answer HTTP on this Unix socket as well, for clients on this machine.
    #[arg(long, env = "FOIL_HTTP_SOCKET", value_name = "PATH")]
    pub http_socket: Option<PathBuf>,

    /// Let clients register POSIX shared memory by its name (Triton's system shared memory extension).
    #[arg(long, env = "FOIL_CLIENT_SHM")]
    pub client_shm: bool,

    /// Let clients pass sealed shared memory over this Unix socket: needs no names and ends with its connection.
    #[arg(long, env = "FOIL_CLIENT_SHM_SOCKET", value_name = "PATH")]
    pub client_shm_socket: Option<PathBuf>,

    /// Permissions of these two sockets [default: 600, this user alone].
    #[arg(long, env = "FOIL_SOCKET_MODE", value_name = "OCTAL")]
    pub socket_mode: Option<String>,

    /// Let replicas go live without running synthetic batches first.
    #[arg(long, env = "FOIL_NO_WARM_UP")]
    pub no_warm_up: bool,

    /// Where deployed models and learned latency profiles are kept, or `none` [default: $XDG_STATE_HOME/hydrofoil or ~/.local/state/hydrofoil].
    #[arg(long, env = "FOIL_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// How the log on stderr looks [default: pretty].
    #[arg(long, env = "FOIL_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    #[command(flatten)]
    pub control: control::ControlFlags,
}
