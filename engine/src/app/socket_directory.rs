//! Where replicas meet their engine.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::fleet::launch::{ENGINE_LOCK, users};

/// A private directory for the replicas' sockets, removed with the engine. An engine that is killed leaves its own
/// behind; the lock tells the next one that nobody uses it any more.
pub(super) struct SocketDirectory {
    pub(super) path: PathBuf,
    /// Held while the engine lives.
    _lock: File,
}

const SOCKET_DIRECTORY: &str = "hydrofoil-";

impl SocketDirectory {
    /// `shared`: users of replicas must be able to pass through to their own directories.
    pub(super) fn make(clock: Clock, shared: bool) -> io::Result<SocketDirectory> {
        let root =
            std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let usable = root.is_dir()
            && !(shared && users::first_unreachable(std::slice::from_ref(&root)).is_some());
        let root = if usable { root } else { std::env::temp_dir() };
        let mode = if shared { 0o711 } else { 0o700 };
        remove_abandoned(&root)?;
        shm_rpc::sweep(clock.wall());
        let path = root.join(format!("{SOCKET_DIRECTORY}{}", std::process::id()));
        DirBuilder::new().mode(mode).create(&path)?;
        let lock = File::create(path.join(ENGINE_LOCK))?;
        lock.lock()?;
        Ok(SocketDirectory { path, _lock: lock })
    }
}

/// Removes what killed engines left. What another user owns, or a live engine holds, stays.
fn remove_abandoned(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)?.flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(SOCKET_DIRECTORY));
        if number.is_none_or(|number| number.parse::<u32>().is_err()) {
            continue;
        }
        let abandoned =
            File::open(entry.path().join(ENGINE_LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if abandoned && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::debug!(%error, "a dead engine's directory could not be removed");
        }
    }
    Ok(())
}

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.path);
    }
}
