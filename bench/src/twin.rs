//! This program once more, in another role and on another core: the far side of a transport under measurement.

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::clock::wait_until;
use crate::threads::{PinError, spawn_on};

/// A twin that was told to leave has nothing left to do.
const LEAVE_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    #[error("this program can't find itself: {0}")]
    Lost(io::Error),
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error("the other process did not leave within {LEAVE_WAIT:?}")]
    Stays,
    #[error("the other process failed: {0}")]
    Failed(ExitStatus),
}

/// The other process. Killed, if it still runs, and reaped when dropped.
pub struct Twin {
    child: Child,
}

impl Twin {
    pub fn start(core: usize, arguments: &[&OsStr]) -> Result<Twin, TwinError> {
        let own = std::env::current_exe().map_err(TwinError::Lost)?;
        let mut command = Command::new(own);
        // What it has to say goes to stderr: stdout is the report's.
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Twin { child: spawn_on(Some(core), &mut command)? })
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// To be asked while waiting for it: one that has ended never comes.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end of a twin that was told to leave.
    pub fn leaves(mut self) -> Result<(), TwinError> {
        let mut ended = None;
        wait_until(LEAVE_WAIT, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some()
        });
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(TwinError::Failed(status)),
            None => Err(TwinError::Stays),
        }
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        if !self.has_ended() {
            // It may end by itself in between; then there is nothing to kill, and `wait` reaps it.
            let _ended = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}
