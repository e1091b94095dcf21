//! Descriptors the runtime watches for us. The one unsafe call of the dispatcher.
#![expect(
    unsafe_code,
    reason = "tokio asks for a promise about the descriptor that only its owner can give"
)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a duplicate of `fd` for readiness to read, edge by edge. Must be called on the runtime that will wait.
pub fn watch(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let owned = fd.try_clone_to_owned()?;
    // SAFETY: `owned` is an open descriptor that the AsyncFd takes over; OwnedFd always names the same descriptor,
    // and nobody else can close or replace it before the AsyncFd is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(owned, Interest::READABLE) };
    watched.map_err(io::Error::from)
}
