//! Starting a container, whatever it is. Whoever keeps one does not know which launcher it came from.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use self::process::{Process, Programs};
use super::log_tail::LogTail;
use super::target::Program;
use crate::clock::Clock;

pub mod process;
pub mod users;

/// A container that was asked to end gets this long before it is killed.
const END_GRACE: Duration = Duration::from_secs(2);

/// What one incarnation is started with.
pub struct Start<'a> {
    pub program: &'a Program,
    pub programs: &'a Programs,
    /// `FOIL_…` for the handshake, and the model's own.
    pub env: Vec<(String, OsString)>,
    /// In front of each line it prints.
    pub label: String,
    pub clock: Clock,
    /// Its home, where its socket lies too.
    pub home: &'a Path,
    /// A user of its own; None: the engine's.
    pub user: Option<u32>,
    /// Where it is pinned; None: anywhere.
    pub cpus: Option<&'a [usize]>,
}

/// A running container. Dropped, all of it is killed.
pub enum Container {
    Process(Process),
}

/// Why a container is not there.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("its process could not be started: {0}")]
    Process(io::Error),
}

/// Why nobody can say how a container ended.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    #[error("it could not be waited for: {0}")]
    Process(io::Error),
}

/// How a container ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// What it said itself.
    pub code: Option<i32>,
    /// What killed it.
    pub signal: Option<i32>,
    /// It wanted more memory than it may have.
    pub oom: bool,
}

impl Container {
    /// Must be called on a thread that lives as long as the engine.
    pub fn start(start: Start<'_>) -> Result<Container, LaunchError> {
        Process::start(start).map(Container::Process).map_err(LaunchError::Process)
    }

    pub fn log(&self) -> &LogTail {
        match self {
            Container::Process(process) => &process.log,
        }
    }

    /// As the engine's host numbers it.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Container::Process(process) => process.pid(),
        }
    }

    /// Waits for its end; may be dropped and called again.
    pub async fn ended(&mut self) -> Result<Ended, WaitError> {
        match self {
            Container::Process(process) => process.ended().await.map_err(WaitError::Process),
        }
    }

    /// Kills all of it and leaves nothing behind.
    pub async fn kill(&mut self) -> Result<Ended, WaitError> {
        match self {
            Container::Process(process) => process.kill().await.map_err(WaitError::Process),
        }
    }

    /// Waits for its end within the grace it has, then kills it.
    pub async fn end(&mut self) -> Result<Ended, WaitError> {
        match self {
            Container::Process(process) => process.end().await.map_err(WaitError::Process),
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Ended {
        Ended { code: status.code(), signal: status.signal(), oom: false }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (_, Some(signal)) => write!(f, "{}", ExitStatus::from_raw(signal))?,
            (Some(code), None) => write!(f, "exit status: {code}")?,
            (None, None) => f.write_str("a status that nobody knows")?,
        }
        Ok(())
    }
}
