//! A container without a library: ZeroMQ's wire by hand, so that it can also say what no library would.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::engine::WATCHDOG;

pub const MORE: u8 = 1;
pub const LONG: u8 = 2;
pub const COMMAND: u8 = 4;

const GREETING_BYTES: usize = 64;

/// As ZMTP 3 says it, mechanism NULL.
pub fn greeting() -> [u8; GREETING_BYTES] {
    let mut greeting = [0; GREETING_BYTES];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

/// What a socket of this kind says after its greeting.
pub fn ready(kind: &str) -> Vec<u8> {
    let size = (kind.len() as u32).to_be_bytes();
    frame(COMMAND, &[b"\x05READY\x0bSocket-Type", &size[..], kind.as_bytes()].concat())
}

/// One short frame.
pub fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let size = u8::try_from(body.len()).expect("a short frame");
    [&[flags, size][..], body].concat()
}

/// The head of a long one.
pub fn long_head(flags: u8, size: u64) -> Vec<u8> {
    [&[flags | LONG][..], &size.to_be_bytes()].concat()
}

pub fn message(frames: &[&[u8]]) -> Vec<u8> {
    let last = frames.len() - 1;
    let flags = |nth| if nth < last { MORE } else { 0 };
    frames.iter().enumerate().flat_map(|(nth, body)| frame(flags(nth), body)).collect()
}

pub const HEARTBEAT: &[&[u8]] = &[b"", &[2, 0, 0, 0]];

/// The message of a container that takes doubles.
pub fn new_container(name: &str, version: &str) -> Vec<u8> {
    message(&[b"", &[0; 4], name.as_bytes(), version.as_bytes(), b"3", &[3, 0, 0, 0]])
}

/// A response with one output.
pub fn response(id: u32, output: &[u8]) -> Vec<u8> {
    let header = [1u64, output.len() as u64].map(u64::to_le_bytes).concat();
    let size = 16u64.to_le_bytes();
    message(&[b"", &[1, 0, 0, 0], &id.to_le_bytes(), &size, &header, output])
}

pub struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// Connected, and nothing said.
    pub fn dial(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).expect("the engine takes containers");
        stream.set_read_timeout(Some(WATCHDOG)).expect("a watchdog");
        stream.set_nodelay(true).expect("no delay");
        Peer { stream }
    }

    /// A DEALER that has shaken hands and was asked who it is.
    pub fn meet(address: SocketAddr) -> Peer {
        let mut peer = Peer::dial(address);
        peer.send(&[&greeting()[..], &ready("DEALER")].concat());
        let mut theirs = [0; GREETING_BYTES];
        peer.stream.read_exact(&mut theirs).expect("a greeting");
        assert!(theirs == greeting(), "{theirs:?}");
        let (flags, body) = peer.frame().expect("a READY");
        assert!(flags == COMMAND && body.starts_with(b"\x05READY"), "{body:?}");
        assert_eq!(peer.receive().expect("a question")[3], [1, 0, 0, 0], "who are you?");
        peer
    }

    /// A replica of a model of doubles.
    pub fn join(address: SocketAddr, name: &str) -> Peer {
        let mut peer = Peer::meet(address);
        peer.send(&new_container(name, "1"));
        peer
    }

    /// What the engine has closed takes no more.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            let closed = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(closed.contains(&error.kind()), "{error}");
        }
    }

    /// The next message's frames; None: the engine closed the connection.
    pub fn receive(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        loop {
            let (flags, body) = self.frame()?;
            frames.push(body);
            if flags & MORE == 0 {
                return Some(frames);
            }
        }
    }

    /// The id of the next batch.
    pub fn batch(&mut self) -> Option<u32> {
        let frames = self.receive()?;
        assert_eq!(frames[2], [1, 0, 0, 0], "a batch: {frames:?}");
        Some(u32::from_le_bytes(frames[3].as_slice().try_into().expect("an id")))
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let flags = self.read(1)?[0];
        let size = match flags & LONG {
            0 => u64::from(self.read(1)?[0]),
            _ => u64::from_be_bytes(self.read(8)?.try_into().expect("eight bytes")),
        };
        Some((flags & !LONG, self.read(size as usize)?))
    }

    fn read(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) => {
                let closed = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
                assert!(closed.contains(&error.kind()), "{error}");
                None
            }
        }
    }
}
