//! A Unix socket under a path: made with the mode that was asked for, in place of one that nobody listens to any more,
//! removed with its owner.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Handshakes the kernel completes before they are accepted: a burst of new clients between two turns of the loop.
const BACKLOG: i32 = 1024;
/// Whoever may connect reaches what the engine's user owns.
pub const MODE_DEFAULT: u32 = 0o600;

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{path} exists and is no socket; remove it or choose another path")]
    NoSocket { path: PathBuf },
    #[error("another server listens on {path}; stop it or choose another path")]
    Taken { path: PathBuf },
    #[error(
        "cannot listen on {path}: {source}; a path has at most 107 bytes, in a directory that exists"
    )]
    Listen { path: PathBuf, source: io::Error },
}

/// Removes the path when it is dropped, if it is still the one that was made.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
    /// Somebody else looks after it.
    left: Cell<bool>,
}

/// Device, inode, and when it last changed: inodes are used again.
type Identity = (u64, u64, (i64, i64));

/// A listener that never blocks, and its file.
pub fn listen(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), SocketError> {
    remove_abandoned(path)?;
    made(path, mode).map_err(|source| SocketError::Listen { path: path.to_owned(), source })
}

fn made(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens, nobody can connect.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    let file = SocketFile::adopt(path)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// What a server that was killed left behind refuses connections.
fn remove_abandoned(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Listen { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NoSocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
        Ok(_) => Err(SocketError::Taken { path: path.to_owned() }),
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino(), (found.ctime(), found.ctime_nsec())))
}

impl SocketFile {
    /// Looks after a socket that is there.
    pub fn adopt(path: &Path) -> io::Result<SocketFile> {
        let identity = identity(path)?;
        Ok(SocketFile { path: path.to_owned(), identity, left: Cell::new(false) })
    }

    /// It stays when this is dropped.
    pub fn leave(&self) {
        self.left.set(true);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.left.get() && identity(&self.path).is_ok_and(|identity| identity == self.identity)
        {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let name = format!("hydrofoil-socket-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_socket_has_its_mode_and_goes_with_its_owner() {
        let scratch = Scratch::new("mode");
        let path = scratch.0.join("http");
        let (listener, file) = listen(&path, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        let mut client = UnixStream::connect(&path).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn only_a_socket_that_nobody_listens_to_is_replaced() {
        let scratch = Scratch::new("stale");
        let path = scratch.0.join("http");
        let (listener, old) = listen(&path, MODE_DEFAULT).unwrap();
        assert!(matches!(listen(&path, MODE_DEFAULT), Err(SocketError::Taken { .. })));
        drop(listener);
        let (_listener, file) = listen(&path, MODE_DEFAULT).unwrap();
        drop(old);
        assert!(path.exists(), "the first owner leaves the second one's alone");
        drop(file);
        fs::write(&path, "notes").unwrap();
        assert!(matches!(listen(&path, MODE_DEFAULT), Err(SocketError::NoSocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"notes");
    }

    #[test]
    fn a_path_that_can_not_be_is_refused_with_its_reason() {
        let error = listen(Path::new(&format!("/tmp/{}", "x".repeat(200))), MODE_DEFAULT);
        assert!(error.unwrap_err().to_string().contains("107 bytes"));
        let error = listen(Path::new("/nowhere/at/all"), MODE_DEFAULT);
        assert!(error.unwrap_err().to_string().contains("exists"));
    }
}
