//! Why a life of a replica ended, for the log, for whoever started `foil`, and for callers of a model without any.

use std::sync::Arc;

use crate::dispatch::ReplicaFault;
use crate::fleet::launch::docker::DockerError;
use crate::fleet::launch::{Ended, LaunchError, WaitError};
use crate::fleet::placement::NoSeat;
use crate::fleet::sample::SampleError;
use crate::fleet::triton::MismatchError;
use crate::fleet::welcome::WelcomeError;
use crate::observe::metrics::Loss;

/// Why an incarnation ended, or never came to life.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    #[error("its private directory could not be made: {0}")]
    Home(std::io::Error),
    #[error(transparent)]
    NoSeat(#[from] Box<NoSeat>),
    #[error("{why}")]
    NoGpuRuntime { why: String },
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("its process ended with {0}")]
    Exited(Ended),
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error(transparent)]
    Welcome(#[from] WelcomeError),
    #[error("it did not say hello within {seconds} s (limits.hello_s)")]
    HelloLate { seconds: u64 },
    #[error("it did not finish loading within {seconds} s (limits.load_s)")]
    LoadLate { seconds: u64 },
    #[error(
        "it declares another model than before; load it anew, or restart foil, to serve a changed file"
    )]
    Changed,
    #[error(
        "a model named '{name}' version {version} is served already; give one of them another --name"
    )]
    NameTaken { name: String, version: u64 },
    #[error(transparent)]
    Mismatch(#[from] Box<MismatchError>),
    #[error(transparent)]
    Sample(#[from] SampleError),
    #[error("in its warm-up, {0}")]
    WarmUp(Box<LifeError>),
    #[error("it was not warmed up within {seconds} s (limits.load_s)")]
    WarmUpLate { seconds: u64 },
    #[error("{}", .0.why)]
    Fault(ReplicaFault),
    #[error("it gave up its device: {why}")]
    Moved { why: Arc<str> },
    #[error("it may have been broken: {why}")]
    Suspect { why: Arc<str> },
    #[error("the engine is shutting down")]
    Stopping,
}

impl LifeError {
    /// Its sentence has the probable cause and what helps already.
    pub fn says_what_to_do(&self) -> bool {
        matches!(self, LifeError::Launch(_) | LifeError::NoSeat(_) | LifeError::NoGpuRuntime { .. })
    }

    /// Docker had no GPU to give, and says why.
    pub fn no_gpu_runtime(&self) -> Option<&DockerError> {
        match self {
            LifeError::Launch(LaunchError::Docker(error @ DockerError::NoGpuRuntime { .. })) => {
                Some(error)
            }
            _ => None,
        }
    }

    /// It ran, and got nowhere.
    pub fn is_stuck(&self) -> bool {
        matches!(self, LifeError::Fault(ReplicaFault { loss: Loss::TimedOut | Loss::Silent, .. }))
    }
}
