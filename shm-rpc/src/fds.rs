//! The four descriptors that are a lane to whoever receives them, in the order they are sent.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// Three segments and the engine's bell. Closed on drop; mappings made from them live on.
#[derive(Debug)]
pub struct LaneFds {
    engine_out: OwnedFd,
    container_out: OwnedFd,
    request_data: OwnedFd,
    bell: OwnedFd,
}

impl LaneFds {
    pub(crate) fn from_fds(fds: [OwnedFd; 4]) -> LaneFds {
        let [engine_out, container_out, request_data, bell] = fds;
        LaneFds { engine_out, container_out, request_data, bell }
    }

    pub(crate) fn into_fds(self) -> [OwnedFd; 4] {
        [self.engine_out, self.container_out, self.request_data, self.bell]
    }

    /// Engine out, container out, request data, bell. For peers that map nothing, and for tests.
    pub fn as_fds(&self) -> [BorrowedFd<'_>; 4] {
        [&self.engine_out, &self.container_out, &self.request_data, &self.bell].map(AsFd::as_fd)
    }
}
