//! Why a command could not be carried out, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::bundle::BundleError;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "no engine listens at {0}. Start one with `foil serve`, which manages deployments where it is given no TARGET, or with \
         --deployments; or name one by --state DIR or --engine http://host:port"
    )]
    NoEngine(String),
    #[error("cannot connect to the engine at {at}: {source}")]
    Connect { at: String, source: io::Error },
    #[error(
        "there is no state directory, since nobody has a home here; name the one of foil serve by --state DIR, or an engine by \
         --engine http://host:port"
    )]
    NoState,
    #[error(
        "'{0}' is no address of an engine; write http://host:port, as foil serve --admin has it"
    )]
    Address(String),
    #[error("cannot read the administrators' token from {path}: {source}")]
    TokenFile { path: PathBuf, source: io::Error },
    #[error("the administrators' token is no text that a header can carry")]
    Token,
    /// What the engine says is a sentence for people.
    #[error("{sentence}")]
    Refused { sentence: String },
    #[error(
        "the engine said nothing for {after:?} while {doing}. What it has accepted goes on; see `foil ls`"
    )]
    Silent { doing: &'static str, after: Duration },
    #[error("the connection to the engine broke while {doing}: {source}")]
    Broken { doing: &'static str, source: hyper::Error },
    #[error(
        "the engine's answer makes no sense here ({why}); is it of another version than this foil?"
    )]
    Answer { why: String },
    #[error(
        "the engine ended its report before it was finished. What it has accepted goes on; see `foil ls`"
    )]
    Unfinished,
    /// Told as a whole: what happened, the last output, why, and what to do.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("cannot pack the model: {0}")]
    Pack(io::Error),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    #[error("cannot start: {0}")]
    System(io::Error),
}
