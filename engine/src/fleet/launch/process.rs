//! A container as a child process: its own group, an environment reduced to what it needs, no inherited
//! descriptors, and a death signal for when the engine dies first.
#![expect(unsafe_code, reason = "the child must ask for its death signal between fork and exec")]

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, geteuid, kill_process_group, set_parent_process_death_signal, setpriority_pgrp,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::{Ended, LaunchError, Start};
use crate::fleet::log_tail::LogTail;
use crate::fleet::target::{Program, python_file};

/// What a container keeps of the engine's environment.
const KEPT: [&str; 14] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TZ",
];

/// What sizes the thread pools of the usual numeric libraries; a pinned model gets one thread per CPU of its own.
pub(super) const THREADS: [&str; 5] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
];

/// What a container gets of the engine's environment.
pub fn kept_environment() -> Vec<(&'static str, OsString)> {
    KEPT.iter().filter_map(|&key| Some((key, std::env::var_os(key)?))).collect()
}

/// A process that has ended left at most a pipe's worth to read: this is for one whose children live on and hold the pipe.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(100);

/// Of a model that loads beside others that serve: the kernel gives it a tenth of what they get, and what they leave.
const LOADING_NICENESS: i32 = 10;

/// Programs that containers run in.
#[derive(Clone, Debug)]
pub struct Programs {
    pub python: PathBuf,
    pub native: PathBuf,
}

impl Programs {
    /// Beside the running program first, as the wheel installs them; else by the search path.
    pub fn find(python: Option<PathBuf>) -> Programs {
        let beside = |name: &str| {
            let path = std::env::current_exe().ok()?.with_file_name(name);
            path.exists().then_some(path)
        };
        let find = |name: &str| beside(name).unwrap_or_else(|| PathBuf::from(name));
        Programs {
            python: python.unwrap_or_else(|| find("python3")),
            native: find("foil-container"),
        }
    }
}

/// A running container. Dropped, its whole group is killed.
pub struct Process {
    child: Child,
    group: Option<Pid>,
    /// Its priority is that of a model that loads.
    stands_back: bool,
    pub log: LogTail,
    /// Who still reads its streams.
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Must be called on a thread that lives as long as the engine: the death signal is tied to it.
    pub fn start(start: Start<'_>) -> Result<Process, LaunchError> {
        let mut command = command(start.program, start.programs)?;
        command.env_clear();
        command.envs(kept_environment());
        if let Some(cpus) = start.cpus {
            command.envs(THREADS.map(|key| (key, cpus.len().to_string())));
        }
        command.envs(start.env).env("FOIL_SOCKET", start.socket);
        if let Some(user) = start.user {
            // Its group has the same number; the supplementary groups are dropped with the user.
            command.uid(user).gid(user).env("HOME", start.home);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let cpus = start.cpus.map(cpu_set);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; both are bare system calls and
        // nothing here allocates or locks. The death signal comes after the change of user, which would clear it.
        unsafe {
            command.pre_exec(move || {
                if let Some(cpus) = &cpus {
                    sched_setaffinity(None, cpus)?;
                }
                Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
            });
        }
        let mut child = command.spawn().map_err(LaunchError::Process)?;
        let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let (log, mut readers) = (LogTail::default(), Vec::new());
        if let Some(out) = child.stdout.take() {
            let follow = log.clone().follow(out, start.label.clone(), start.clock);
            readers.push(tokio::task::spawn_local(follow));
        }
        if let Some(err) = child.stderr.take() {
            let follow = log.clone().follow(err, start.label, start.clock);
            readers.push(tokio::task::spawn_local(follow));
        }
        let mut process = Process { child, group, stands_back: false, log, readers };
        // Who isn't root could not take it back.
        if start.stands_back && geteuid().is_root() {
            process.stands_back = process.set_niceness(LOADING_NICENESS);
        }
        Ok(process)
    }

    /// It has loaded: from now on it counts as much as the others.
    pub fn has_loaded(&self) {
        if self.stands_back && !self.set_niceness(0) {
            tracing::warn!("a model that has loaded keeps a loading one's priority");
        }
    }

    /// Of all threads of all its processes; what they read from a disk goes by it, too.
    fn set_niceness(&self, niceness: i32) -> bool {
        self.group.is_some_and(|group| setpriority_pgrp(Some(group), niceness).is_ok())
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end, and until its last words are in the log.
    pub async fn ended(&mut self) -> io::Result<Ended> {
        let status = self.child.wait().await?;
        if tokio::time::timeout(LAST_WORDS_WAIT, self.heard()).await.is_err() {
            // What it started holds its streams; they are read on.
            self.readers.clear();
        }
        Ok(status.into())
    }

    async fn heard(&mut self) {
        while let Some(reader) = self.readers.last_mut() {
            // An error means that it won't read on either.
            let _ended = reader.await;
            self.readers.pop();
        }
    }

    /// Kills the whole group and reaps the child.
    pub async fn kill(&mut self) -> io::Result<Ended> {
        self.signal(Signal::KILL);
        self.ended().await
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It fails only when the group has ended already.
            let _ended = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    /// What the child started must not outlive it.
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn cpu_set(cpus: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU).for_each(|&cpu| set.set(cpu));
    set
}

impl Program {
    /// What a user of its own must be able to reach: the program, what lies beside the model (its weights), the engine's
    /// working directory.
    pub fn paths(&self, programs: &Programs) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = std::env::current_dir().into_iter().collect();
        match self {
            Program::Python { target } => {
                let file = python_file(target);
                paths.extend(file.parent().into_iter().flat_map(beside));
                paths.extend([programs.python.clone(), file.into()]);
            }
            Program::Native { directory, .. } => {
                paths.extend(beside(directory));
                paths.extend([programs.native.clone(), directory.clone()]);
            }
            Program::Entrypoint { directory } => paths.extend(beside(directory)),
            Program::Executable { file, directory } => {
                paths.extend(beside(directory));
                paths.push(file.clone());
            }
        }
        paths
    }

    /// The model's own files, as far as a start can't do without them.
    pub fn files(&self) -> Vec<PathBuf> {
        let directory = self.home().0;
        match self {
            Program::Python { target } => vec![directory, python_file(target).into()],
            Program::Executable { file, .. } => vec![directory, file.clone()],
            Program::Native { .. } | Program::Entrypoint { .. } => vec![directory],
        }
    }
}

/// Entries of a model's directory that are looked at; more than a model has files, few enough to take no time.
const ENTRIES_MAX: usize = 1000;

fn beside(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.take(ENTRIES_MAX).map(|entry| entry.path())
}

fn command(program: &Program, programs: &Programs) -> Result<Command, LaunchError> {
    Ok(match program {
        Program::Python { target } => {
            let mut command = Command::new(&programs.python);
            command.args(["-m", "hydrofoil.container", "--target", target]);
            command
        }
        Program::Native { kind, directory } => {
            let mut command = Command::new(&programs.native);
            command.args(["--kind", kind, "--path"]).arg::<&Path>(directory);
            command
        }
        Program::Executable { file, directory } => {
            let mut command = Command::new(file);
            command.current_dir(directory);
            command
        }
        Program::Entrypoint { .. } => return Err(LaunchError::NeedsImage),
    })
}
