//! One engine to a state directory: a lock that goes with its process, whatever ends it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOCK: &str = "deployments.lock";
/// Between two tries while another engine is on its way out.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "another engine (process {holder}) looks after the deployments in {state}; stop it, or give this one another \
         --state"
    )]
    Held { state: PathBuf, holder: String },
    #[error("the lock {path} can't be taken: {source}")]
    File { path: PathBuf, source: io::Error },
}

pub(super) struct StateLock {
    file: File,
}

impl StateLock {
    /// Waits as long for an engine that is about to go.
    pub(super) fn take(state: &Path, patience: Duration) -> Result<StateLock, LockError> {
        let path = state.join(LOCK);
        let failed = |source| LockError::File { path: path.clone(), source };
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut lock = StateLock { file: options.map_err(failed)? };
        let mut left = patience;
        loop {
            match lock.file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) if left.is_zero() => {
                    let state = state.to_owned();
                    return Err(LockError::Held { state, holder: lock.holder() });
                }
                Err(TryLockError::WouldBlock) => pause(&mut left),
            }
        }
        lock.sign().map_err(failed)?;
        Ok(lock)
    }

    fn holder(&mut self) -> String {
        let mut text = String::new();
        // What can't be read is only the less told.
        let _unread = self.file.read_to_string(&mut text);
        text.trim().to_owned()
    }

    fn sign(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }

    /// For the engine that takes this one's place.
    pub(super) fn release(&self) -> io::Result<()> {
        self.file.unlock()
    }

    /// It did not take it.
    pub(super) fn retake(&mut self) -> io::Result<()> {
        self.file.lock()?;
        self.sign()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "before anything is served there is no runtime to wait in"
)]
fn pause(left: &mut Duration) {
    std::thread::sleep(LOOK_EVERY);
    *left = left.saturating_sub(LOOK_EVERY);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_engine_is_told_who_holds_it_and_waits_for_one_that_goes() {
        let state = std::env::temp_dir().join(format!("foil-lock-{}", std::process::id()));
        std::fs::create_dir_all(&state).unwrap();
        let first = StateLock::take(&state, Duration::ZERO).unwrap();
        let error = StateLock::take(&state, Duration::ZERO).err().expect("held").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        let second = std::thread::spawn({
            let state = state.clone();
            move || StateLock::take(&state, Duration::from_secs(60)).is_ok()
        });
        first.release().unwrap();
        assert!(second.join().unwrap());
        drop(first);
        assert!(StateLock::take(&state, Duration::ZERO).is_ok());
        std::fs::remove_dir_all(&state).unwrap();
    }
}
