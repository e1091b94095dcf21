//! Flags for models that come and go while the engine runs, and for who may make them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// By Triton's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModelControlMode {
    /// All models of the repositories at start; others when an administrator says so.
    None,
    /// Those named by --load-model at start; others when an administrator says so.
    Explicit,
    /// All models at start, and from then on whatever the repositories hold.
    Poll,
}

#[derive(Clone, Debug, Default, Args)]
pub struct ControlFlags {
    /// Which models of the repositories are served, and who decides it while the engine runs [default: none].
    #[arg(long, env = "FOIL_MODEL_CONTROL_MODE", value_name = "MODE")]
    pub model_control_mode: Option<ModelControlMode>,

    /// With mode explicit: a model to load at start, `*` for all; may be given several times.
    #[arg(long, env = "FOIL_LOAD_MODEL", value_name = "NAME", value_delimiter = ',')]
    pub load_model: Vec<String>,

    /// With mode poll: seconds between two looks at the repositories [default: 15].
    #[arg(long, env = "FOIL_REPOSITORY_POLL_SECS", value_name = "SECONDS")]
    pub repository_poll_secs: Option<u64>,

    /// Look after models that are deployed to this engine (foil deploy), and keep what is wanted of them in --state; so
    /// without a TARGET.
    #[arg(long, env = "FOIL_DEPLOYMENTS")]
    pub deployments: bool,

    /// Where administrators may deploy, load and unload models, besides all that --http answers; off unless given. Loading
    /// a model runs its code: on other than loopback this needs a token.
    #[arg(long, env = "FOIL_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,

    /// A file with the administrators' token; or put the token itself into the environment as FOIL_ADMIN_TOKEN.
    #[arg(long, env = "FOIL_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
}
