//! One engine takes the place of another without a client noticing: the way out for the old one, the way in for the new.
//!
//! SIGUSR2 starts the program again, from the path it was started from, with the same arguments and environment: what
//! lies there now is the new one. It is handed every listener (see [`handover`](crate::handover)), brings its models to
//! life beside the old ones and opens its doors; the old engine then stops to accept and drains. Until that moment
//! nothing has changed: a new engine that ends, or takes too long, is the end of the upgrade and of nothing else.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Engine, ServeError, service_manager, system};
use crate::fleet::supervisor::Fleet;
use crate::handover;

/// Beyond what one model may take to load: a host full of them loads a few at a time.
const LOADS_MAX: u32 = 10;

/// For a new engine that has closed its socket to end.
const END_WAIT: Duration = Duration::from_secs(1);

/// What runs, to be run again.
pub(super) struct Program {
    path: io::Result<PathBuf>,
    arguments: Vec<OsString>,
}

impl Program {
    /// Asked at the start: later the system can only say that the file was deleted.
    pub(super) fn of_this_process() -> Program {
        Program { path: std::env::current_exe(), arguments: std::env::args_os().skip(1).collect() }
    }

    fn start(&self, stdin: UnixStream) -> io::Result<Child> {
        let path = self.path.as_ref().map_err(|error| io::Error::from(error.kind()))?;
        let (key, value) = handover::variable();
        let mut command = Command::new(path);
        command.args(&self.arguments).env(key, value).stdin(OwnedFd::from(stdin));
        command.kill_on_drop(true).spawn()
    }
}

/// Why the old engine goes on.
#[derive(Debug, thiserror::Error)]
enum UpgradeError {
    #[error(
        "applications of --clipper are in memory and would be lost; stop this engine and start the new one"
    )]
    Clipper,
    #[error("the new engine could not be started: {0}")]
    Start(io::Error),
    #[error("the listeners could not be handed over: {0}")]
    Send(io::Error),
    #[error("the new engine ended with {0} before its models were ready; its reason is above")]
    Ended(ExitStatus),
    #[error("the new engine's models were not ready within {0:?} (limits.load_s × {LOADS_MAX})")]
    Late(Duration),
}

/// What a person or a service manager asks of the engine.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    usr2: Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    End,
    Upgrade,
}

impl Signals {
    pub(super) fn listen() -> Result<Signals, ServeError> {
        let listen = |kind| signal(kind).map_err(system("listen for signals"));
        Ok(Signals {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            usr2: listen(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.term.recv() => Wish::End,
            _ = self.int.recv() => Wish::End,
            _ = self.usr2.recv() => Wish::Upgrade,
        }
    }
}

impl Engine {
    /// The engine before this one, if there is one, answers no more clients from now on.
    pub(super) fn relieve_predecessor(&mut self) -> Result<(), ServeError> {
        self.open.send_replace(true);
        let Some(predecessor) = self.doors.predecessor() else { return Ok(()) };
        predecessor.relieve().map_err(system("relieve the engine before this one"))
    }

    /// True: another engine answers on every listener of this one.
    pub(super) async fn upgrade(&self, fleet: &Fleet, program: &Program) -> bool {
        eprintln!("upgrading: starting {}", program.shown());
        fleet.hand_over(true).await;
        match self.successor(program).await {
            Ok(pid) => {
                service_manager::is_now(pid);
                eprintln!("upgraded: process {pid} answers from now on");
                self.local.leave_files();
                true
            }
            Err(error) => {
                tracing::error!("not upgraded, and nothing has changed: {error}");
                fleet.hand_over(false).await;
                false
            }
        }
    }

    async fn successor(&self, program: &Program) -> Result<u32, UpgradeError> {
        if self.config.clipper.is_some() || self.config.clipper_rpc.is_some() {
            return Err(UpgradeError::Clipper);
        }
        let (ours, theirs) = UnixStream::pair().map_err(UpgradeError::Start)?;
        let child = program.start(theirs).map_err(UpgradeError::Start)?;
        let pid = child.id().unwrap_or_default();
        match handover::send(&ours, self.doors.kept()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(UpgradeError::Ended(end(child).await?));
            }
            Err(error) => return Err(UpgradeError::Send(error)),
        }
        let bound = Duration::from_secs(self.config.limits.load_s) * LOADS_MAX;
        let relieved = async {
            let relieved = tokio::task::spawn_blocking(move || handover::is_relief(&ours));
            relieved.await.unwrap_or(false)
        };
        match tokio::time::timeout(bound, relieved).await {
            Ok(true) => {}
            Ok(false) => return Err(UpgradeError::Ended(end(child).await?)),
            Err(_) => return Err(UpgradeError::Late(bound)),
        }
        // Dropped, it would be killed; it outlives this process.
        std::mem::forget(child);
        Ok(pid)
    }
}

/// Its socket has closed; it may still be on its way out, and how it ends says more than that it was killed.
async fn end(mut child: Child) -> Result<ExitStatus, UpgradeError> {
    if let Ok(ended) = tokio::time::timeout(END_WAIT, child.wait()).await {
        return ended.map_err(UpgradeError::Start);
    }
    child.kill().await.map_err(UpgradeError::Start)?;
    child.wait().await.map_err(UpgradeError::Start)
}

impl Program {
    fn shown(&self) -> String {
        self.path.as_ref().map_or_else(ToString::to_string, |path| path.display().to_string())
    }
}
