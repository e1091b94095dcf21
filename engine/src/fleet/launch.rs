//! Starting a container, whatever it is. Whoever keeps one does not know which launcher it came from.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use self::docker::{Docker, DockerContainer, DockerError};
pub use self::memory::{MemoryError, default_memory_bytes, parse_memory};
use self::process::{Process, Programs};
use super::log_tail::LogTail;
use super::target::Program;
use crate::cli::Launcher;
use crate::clock::Clock;
use crate::ids::{ReplicaId, Version};

pub mod docker;
mod memory;
pub mod process;
pub mod users;

/// In an engine's directory of sockets; held while it lives.
pub const ENGINE_LOCK: &str = "lock";

/// A container that was asked to end gets this long before it is killed.
const END_GRACE: Duration = Duration::from_secs(2);

/// Where a model's containers run, as its model.toml has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    pub launcher: Option<Launcher>,
    pub image: Option<String>,
    /// Bytes that one of them may use; only Docker bounds them.
    pub memory_bytes: Option<u64>,
}

/// What one incarnation is started with.
pub struct Start<'a> {
    pub program: &'a Program,
    pub programs: &'a Programs,
    /// `FOIL_…` for the handshake, and the model's own.
    pub env: Vec<(String, OsString)>,
    /// Its model's name, as far as it is known.
    pub model: String,
    pub version: Version,
    pub replica: ReplicaId,
    /// In front of each line it prints.
    pub label: String,
    pub clock: Clock,
    /// Its home, where its socket lies too.
    pub home: &'a Path,
    pub socket: &'a Path,
    /// A user of its own; None: the engine's.
    pub user: Option<u32>,
    /// Where it is pinned; None: anywhere.
    pub cpus: Option<&'a [usize]>,
    /// In Docker: the NUMA node whose memory it gets; None: any.
    pub memory_node: Option<u32>,
    /// In Docker: the GPU, or the slice of one, that it gets.
    pub gpu: Option<&'a str>,
    /// It loads while others serve: until it has loaded they come first.
    pub stands_back: bool,
    /// In Docker: in place of our own.
    pub image: Option<&'a str>,
    /// In Docker: more than this it may not have.
    pub memory_bytes: u64,
}

/// A running container. Dropped, all of it is killed.
pub enum Container {
    Process(Process),
    Docker(DockerContainer),
}

/// Why a container is not there.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("its process could not be started: {0}")]
    Process(io::Error),
    #[error(
        "it runs what its image runs, and there is none without Docker; say launcher = \"docker\""
    )]
    NeedsImage,
    #[error("{path} can't be read by the user that the container runs as; open it (chmod -R o+rX)", path = .0.display())]
    Unreadable(PathBuf),
    #[error(transparent)]
    Docker(#[from] DockerError),
}

/// Why nobody can say how a container ended.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    #[error("it could not be waited for: {0}")]
    Process(io::Error),
    #[error(transparent)]
    Docker(DockerError),
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

/// What runs containers here.
pub struct Launchers {
    /// Of models that name none.
    pub default: Launcher,
    pub docker: Rc<Docker>,
}

/// Why probably, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    pub cause: String,
    pub fix: String,
}

impl Launchers {
    /// What can be used now.
    pub async fn available(&self) -> Vec<Launcher> {
        let docker = self.docker.is_there().await.then_some(Launcher::Docker);
        [Launcher::Process].into_iter().chain(docker).collect()
    }

    /// What runs a model: what it names, else what its image needs, else the engine's own choice.
    pub fn of(&self, place: &Place) -> Launcher {
        let image = place.image.as_ref().map(|_| Launcher::Docker);
        place.launcher.or(image).unwrap_or(self.default)
    }

    /// Must be called on a thread that lives as long as the engine. May be dropped at any time.
    pub async fn start(
        &self,
        launcher: Launcher,
        start: Start<'_>,
    ) -> Result<Container, LaunchError> {
        match launcher {
            Launcher::Process => Process::start(start).map(Container::Process),
            Launcher::Docker => {
                if let Some(path) = start.unreadable() {
                    return Err(LaunchError::Unreadable(path));
                }
                Ok(Container::Docker(DockerContainer::start(self.docker.clone(), start).await?))
            }
        }
    }
}

impl Start<'_> {
    /// What a container of another user would need to read and can't. The way there does not matter to a mount.
    fn unreadable(&self) -> Option<PathBuf> {
        self.user?;
        users::first_unreadable(&self.program.files())
    }
}

impl Container {
    pub fn log(&self) -> &LogTail {
        match self {
            Container::Process(process) => &process.log,
            Container::Docker(container) => &container.log,
        }
    }

    /// As the engine's host numbers it; None where it is not to be seen.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Container::Process(process) => process.pid(),
            Container::Docker(container) => container.pid(),
        }
    }

    /// Of a container of Docker's.
    pub fn id(&self) -> Option<Arc<str>> {
        match self {
            Container::Process(_) => None,
            Container::Docker(container) => Some(container.id()),
        }
    }

    /// It has loaded and need not stand back any more. Before its warm-up, which is to learn how fast it is.
    pub fn has_loaded(&self) {
        match self {
            Container::Process(process) => process.has_loaded(),
            Container::Docker(container) => container.has_loaded(),
        }
    }

    /// Waits for its end; may be dropped and called again.
    pub async fn ended(&mut self) -> Result<Ended, WaitError> {
        match self {
            Container::Process(process) => process.ended().await.map_err(WaitError::Process),
            Container::Docker(container) => container.ended().await,
        }
    }

    /// Kills all of it and leaves nothing behind.
    pub async fn kill(&mut self) -> Result<Ended, WaitError> {
        match self {
            Container::Process(process) => process.kill().await.map_err(WaitError::Process),
            Container::Docker(container) => container.kill().await,
        }
    }

    /// Waits for its end within the grace it has, then kills it.
    pub async fn end(&mut self) -> Result<Ended, WaitError> {
        match tokio::time::timeout(END_GRACE, self.ended()).await {
            Ok(ended) => ended,
            Err(_) => self.kill().await,
        }
    }
}

impl Advice {
    fn new(cause: &str, fix: &str) -> Advice {
        Advice { cause: cause.to_owned(), fix: fix.to_owned() }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Probably {}: {}", self.cause, self.fix)
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
        if self.oom {
            f.write_str(
                ", out of memory: it wanted more than it may have (`memory` in model.toml)",
            )?;
        }
        Ok(())
    }
}
