//! How an engine hands its listeners to the one that takes its place.
//!
//! The old engine starts the program again with one end of a socket as its standard input, and sends what it listens on:
//! one message of descriptors with a word for each that says what it is. The new one brings its models to life, opens
//! the doors and says so; then the old one stops to accept and drains. The sockets themselves are never closed, so no
//! client is refused. Whichever side goes first ends the handover: the old engine goes on as if nothing had been.

use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// The variable that tells a program that its standard input is the other end.
pub const VARIABLE: &str = "FOIL_HANDOVER";
const STDIN: &str = "stdin";

/// Descriptors that go in one message: the kernel takes 253, and a listener for each protocol and core of a machine with
/// 64 front-end cores is fewer.
const DESCRIPTORS_MAX: usize = 253;
const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// The old engine sends before it does anything else.
const MESSAGE_WAIT: Duration = Duration::from_secs(10);
/// What the new engine says when its models are ready and its doors open.
const READY: u8 = b'r';

/// What is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Http,
    Grpc,
    Metrics,
    Admin,
    HttpSocket,
    ClientMemory,
    AdminSocket,
}

#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error(
        "{VARIABLE} is for an engine that hands over to another: unset it to start one by itself"
    )]
    NotHandedOver,
    #[error("what the engine before this one handed over can't be read: {0}")]
    Message(#[from] serde_json::Error),
    #[error("{said} listeners were announced and {came} came")]
    Count { said: usize, came: usize },
    #[error("the engine before this one could not hand over: {0}")]
    Socket(#[from] io::Error),
}

/// What an engine was given by the one before it.
#[derive(Debug)]
pub struct Inherited {
    pub listeners: Vec<(Role, OwnedFd)>,
    pub predecessor: Predecessor,
}

/// The way back to the engine before this one.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// This engine answers from now on.
    pub fn relieve(mut self) -> io::Result<()> {
        self.0.write_all(&[READY])
    }
}

/// What this process was handed; None: it starts by itself.
pub fn inherited() -> Result<Option<Inherited>, HandoverError> {
    match std::env::var_os(VARIABLE) {
        None => Ok(None),
        Some(value) if value == OsStr::new(STDIN) => receive(io::stdin().as_fd()).map(Some),
        Some(_) => Err(HandoverError::NotHandedOver),
    }
}

fn receive(from: BorrowedFd<'_>) -> Result<Inherited, HandoverError> {
    rustix::net::sockopt::socket_type(from).map_err(|_| HandoverError::NotHandedOver)?;
    let stream = UnixStream::from(from.try_clone_to_owned()?);
    stream.set_read_timeout(Some(MESSAGE_WAIT))?;
    let (roles, descriptors) = read(&stream)?;
    if roles.len() != descriptors.len() {
        return Err(HandoverError::Count { said: roles.len(), came: descriptors.len() });
    }
    let listeners = roles.into_iter().zip(descriptors).collect();
    Ok(Inherited { listeners, predecessor: Predecessor(stream) })
}

fn read(stream: &UnixStream) -> Result<(Vec<Role>, Vec<OwnedFd>), HandoverError> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg(stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        .map_err(io::Error::from)?;
    let rights = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = rights.flatten().collect();
    Ok((serde_json::from_slice(&bytes[..message.bytes])?, descriptors))
}

/// For the standard input of the engine that takes over.
pub fn variable() -> (&'static str, &'static str) {
    (VARIABLE, STDIN)
}

pub fn send(to: &UnixStream, listeners: &[(Role, OwnedFd)]) -> io::Result<()> {
    let roles: Vec<Role> = listeners.iter().map(|(role, _)| *role).collect();
    let descriptors: Vec<_> = listeners.iter().map(|(_, it)| it.as_fd()).collect();
    let bytes = serde_json::to_vec(&roles)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        let why = format!("more than {DESCRIPTORS_MAX} listeners");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    sendmsg(to, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Whether what was read says that the new engine answers; an end without that says that it won't.
pub fn is_relief(mut from: impl Read) -> bool {
    let mut word = [0];
    matches!(from.read(&mut word), Ok(1)) && word == [READY]
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn listeners_arrive_with_what_they_are_and_still_listen() {
        let (old, new) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap();
        send(&old, &[(Role::Http, listener.into()), (Role::Metrics, metrics.into())]).unwrap();
        let Inherited { mut listeners, predecessor } = receive(new.as_fd()).unwrap();
        assert_eq!(listeners[1].0, Role::Metrics);
        let (role, descriptor) = listeners.swap_remove(0);
        assert_eq!(role, Role::Http);
        let client = std::net::TcpStream::connect(address).unwrap();
        let (_, peer) = TcpListener::from(descriptor).accept().unwrap();
        assert_eq!(client.local_addr().unwrap(), peer);
        predecessor.relieve().unwrap();
        assert!(is_relief(&old));
    }

    #[test]
    fn an_engine_that_ends_before_it_answers_relieves_nobody() {
        let (old, new) = UnixStream::pair().unwrap();
        send(&old, &[(Role::Http, TcpListener::bind("127.0.0.1:0").unwrap().into())]).unwrap();
        drop(receive(new.as_fd()).unwrap());
        drop(new);
        assert!(!is_relief(&old));
    }

    #[test]
    fn what_no_engine_sent_is_refused() {
        let (mut old, new) = UnixStream::pair().unwrap();
        old.write_all(b"[\"http\"]").unwrap();
        let error = receive(new.as_fd()).unwrap_err();
        assert!(matches!(error, HandoverError::Count { said: 1, came: 0 }), "{error}");
        old.write_all(b"hello").unwrap();
        assert!(matches!(receive(new.as_fd()).unwrap_err(), HandoverError::Message(_)));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(receive(file.as_fd()).unwrap_err(), HandoverError::NotHandedOver));
    }
}
