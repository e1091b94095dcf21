//! The replica's socket, as raw as the system gives it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType, connect, recvmsg, send, sendmsg,
    socket,
};

/// Larger than any message of the engine.
const MESSAGE_BYTES_MAX: usize = 1 << 16;

pub(crate) struct Socket(pub(crate) OwnedFd);

impl Socket {
    pub(crate) fn connect() -> Socket {
        Socket::try_connect().expect("the engine listens")
    }

    pub(crate) fn try_connect() -> rustix::io::Result<Socket> {
        let path = std::env::var_os("FOIL_SOCKET").expect("FOIL_SOCKET");
        let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Socket(socket))
    }

    /// An engine that has gone, or hung up on us, needs no more attacks.
    pub(crate) fn send(&self, message: &[u8]) {
        if send(&self.0, message, SendFlags::NOSIGNAL).is_err() {
            std::process::exit(0);
        }
    }

    /// Sends a message with descriptors nobody asked for.
    pub(crate) fn push(&self, fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(fds));
        let message = [IoSlice::new(b"a present")];
        if sendmsg(&self.0, &message, &mut control, SendFlags::NOSIGNAL).is_err() {
            std::process::exit(0);
        }
    }

    pub(crate) fn receive(&self) -> (Vec<u8>, Vec<OwnedFd>) {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(&self.0, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC);
        let len = received.map_or(0, |received| received.bytes);
        if len == 0 {
            std::process::exit(0);
        }
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds = fds.flatten().collect();
        bytes.truncate(len);
        (bytes, fds)
    }

    /// Whether the engine hung up.
    pub(crate) fn is_closed(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}
