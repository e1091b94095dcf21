//! One Unix socket per replica: how descriptors reach the container, and how each side learns
//! that the other is gone.
//!
//! SOCK_SEQPACKET keeps messages whole. The listener takes exactly one connection and unlinks its
//! path; the engine's session never blocks and receives without a control buffer, so the kernel
//! drops descriptors a container tries to push into the engine. What messages mean is in
//! `schemas`. An empty message is no message: it reads as the end of the connection.

use crate::LaneFds;
use crate::error::LaneError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags,
    SocketType, accept_with, bind, connect, listen, recv, recvmsg, sendmsg, shutdown, socket_with,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// One replica connects; nobody has to wait behind it.
const BACKLOG: i32 = 1;
/// The engine answers a hello within milliseconds; a minute of silence means that it hangs.
const ENGINE_SILENT_MAX: Duration = Duration::from_secs(60);
/// Exactly the descriptors of a lane.
const LANE_FDS: usize = 4;

/// The engine's end before the container came.
pub struct EngineListener {
    socket: OwnedFd,
    path: PathBuf,
    taken: bool,
}

impl EngineListener {
    /// Listens on a path that does not exist yet.
    pub fn bind(path: &Path) -> Result<EngineListener, LaneError> {
        let address = SocketAddrUnix::new(path).map_err(LaneError::system("name a socket"))?;
        let socket = seqpacket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        bind(&socket, &address).map_err(LaneError::system("bind a replica's socket"))?;
        let listener = EngineListener { socket, path: path.to_owned(), taken: false };
        listen(&listener.socket, BACKLOG).map_err(LaneError::system("listen for a replica"))?;
        Ok(listener)
    }

    /// Takes the one connection, if it came; afterwards the path is gone and nobody else can.
    pub fn try_accept(&mut self) -> Result<Option<EngineSession>, LaneError> {
        if self.taken {
            return Err(LaneError::Closed);
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match accept_with(&self.socket, flags) {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(None),
            Err(errno) => return Err(LaneError::system("accept a replica")(errno)),
        };
        self.close();
        Ok(Some(EngineSession { socket }))
    }

    /// The descriptor itself stays open, since a reactor may still watch it.
    fn close(&mut self) {
        self.taken = true;
        let _gone_already = std::fs::remove_file(&self.path);
        let _not_listening = shutdown(&self.socket, Shutdown::Both);
    }
}

impl AsFd for EngineListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for EngineListener {
    fn drop(&mut self) {
        if !self.taken {
            self.close();
        }
    }
}

/// What a look at the socket found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A whole message of so many bytes.
    Message(usize),
    /// Nothing yet.
    WouldBlock,
    /// The container closed its end, or is dead.
    Closed,
}

/// The engine's end of a connection; never blocks.
#[derive(Debug)]
pub struct EngineSession {
    socket: OwnedFd,
}

impl EngineSession {
    /// The next message, if there is one.
    pub fn try_recv(&mut self, into: &mut [u8]) -> Result<Received, LaneError> {
        let bytes_max = into.len();
        match recv(&self.socket, into, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => Ok(Received::Closed),
            Ok((_, bytes)) if bytes > bytes_max => {
                Err(LaneError::MessageTooLarge { bytes, bytes_max })
            }
            Ok((_, bytes)) => Ok(Received::Message(bytes)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Received::WouldBlock),
            Err(errno) => Err(LaneError::system("receive from a replica")(errno)),
        }
    }

    /// Sends one message.
    pub fn send(&mut self, message: &[u8]) -> Result<(), LaneError> {
        send_with(&self.socket, message, &[], SendFlags::DONTWAIT)
    }

    /// Sends one message together with a lane's descriptors.
    pub fn send_lane(&mut self, message: &[u8], fds: &LaneFds) -> Result<(), LaneError> {
        send_with(&self.socket, message, &fds.as_fds(), SendFlags::DONTWAIT)
    }
}

impl AsFd for EngineSession {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The container's end of a connection; waits, within bounds.
#[derive(Debug)]
pub struct ContainerSession {
    socket: OwnedFd,
}

impl ContainerSession {
    /// Connects to the engine that started us.
    pub fn connect(path: &Path) -> Result<ContainerSession, LaneError> {
        let address = SocketAddrUnix::new(path).map_err(LaneError::system("name a socket"))?;
        let socket = seqpacket(SocketFlags::CLOEXEC)?;
        for side in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, side, Some(ENGINE_SILENT_MAX))
                .map_err(LaneError::system("bound the wait for the engine"))?;
        }
        connect(&socket, &address).map_err(LaneError::system("connect to the engine"))?;
        Ok(ContainerSession { socket })
    }

    /// Sends one message.
    pub fn send(&mut self, message: &[u8]) -> Result<(), LaneError> {
        send_with(&self.socket, message, &[], SendFlags::empty())
    }

    /// Waits for one message.
    pub fn recv(&mut self, into: &mut [u8]) -> Result<usize, LaneError> {
        self.recv_lane(into).map(|(bytes, _)| bytes)
    }

    /// Waits for one message, and takes the lane that may come with it.
    pub fn recv_lane(&mut self, into: &mut [u8]) -> Result<(usize, Option<LaneFds>), LaneError> {
        let bytes_max = into.len();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LANE_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::TRUNC;
        let received = self.wait_for_message(&mut IoSliceMut::new(into), &mut control, flags)?;
        let fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        if received.bytes > bytes_max {
            return Err(LaneError::MessageTooLarge { bytes: received.bytes, bytes_max });
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(LaneError::DescriptorCount { count: fds.len() + 1, expected: LANE_FDS });
        }
        Ok((received.bytes, lane_of(fds)?))
    }

    fn wait_for_message(
        &self,
        into: &mut IoSliceMut<'_>,
        control: &mut RecvAncillaryBuffer<'_>,
        flags: RecvFlags,
    ) -> Result<rustix::net::RecvMsg, LaneError> {
        let seconds = ENGINE_SILENT_MAX.as_secs();
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.socket, std::slice::from_mut(into), control, flags)
        });
        match received {
            Ok(received) if received.bytes == 0 => Err(LaneError::Closed),
            Ok(received) => Ok(received),
            Err(Errno::CONNRESET) => Err(LaneError::Closed),
            Err(Errno::AGAIN) => Err(LaneError::PeerSilent { seconds }),
            Err(errno) => Err(LaneError::system("receive from the engine")(errno)),
        }
    }

    /// Whether the engine is gone; looks without waiting.
    pub fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let gone = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR | PollFlags::NVAL;
        matches!(poll(&mut fds, Some(&now)), Ok(1..)) && fds[0].revents().intersects(gone)
    }
}

impl AsFd for ContainerSession {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn seqpacket(flags: SocketFlags) -> Result<OwnedFd, LaneError> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(LaneError::system("make a socket"))
}

fn lane_of(fds: Vec<OwnedFd>) -> Result<Option<LaneFds>, LaneError> {
    if fds.is_empty() {
        return Ok(None);
    }
    let lane = <[OwnedFd; LANE_FDS]>::try_from(fds)
        .map_err(|fds| LaneError::DescriptorCount { count: fds.len(), expected: LANE_FDS })?;
    Ok(Some(LaneFds::from_fds(lane)))
}

/// One message, whole or not at all; a dead peer is an error, not a signal.
fn send_with(
    socket: &OwnedFd,
    message: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<(), LaneError> {
    assert!(!message.is_empty(), "an empty message would read as the end of the connection");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LANE_FDS))];
    let sent = rustix::io::retry_on_intr(|| {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            let fits = control.push(SendAncillaryMessage::ScmRights(fds));
            assert!(fits, "the control buffer holds a lane's descriptors");
        }
        sendmsg(socket, &[IoSlice::new(message)], &mut control, flags | SendFlags::NOSIGNAL)
    });
    match sent {
        Ok(_) => Ok(()),
        Err(Errno::AGAIN) => Err(LaneError::PeerNotReading),
        Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => Err(LaneError::Closed),
        Err(errno) => Err(LaneError::system("send to the peer")(errno)),
    }
}
