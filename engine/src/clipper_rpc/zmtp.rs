//! ZeroMQ's wire protocol, as far as a socket needs it that answers DEALERs: ZMTP 3.0 over TCP, mechanism NULL.
//!
//! Ours because no library at hand bounds what a peer may make it hold: a frame that announces 2⁶² bytes is refused here
//! by its length alone. Where ZeroMQ's ROUTER tells peers apart by identities that it makes up, each has a connection
//! here; so it is known at once when one has gone.
//!
//! Deliberately absent: security mechanisms, heartbeats of ZMTP's own (3.1), older versions.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// From a connection to its peer's READY. Peers greet at once.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// What is written at a time is gone within this, or the peer has stopped reading.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// Room made for a read; more where a longer frame is under way and its sender has shown so much of it.
const READ_BYTES: usize = 64 << 10;

/// A READY holds a socket type and an identity of at most 255 bytes.
const READY_BYTES_MAX: usize = 1024;

const GREETING_BYTES: usize = 64;
const MECHANISM: [u8; 20] = *b"NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const VERSION_MAJOR: u8 = 3;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// What one message may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) frames: usize,
    /// Of all frames together.
    pub(super) bytes: usize,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("it closed its connection")]
    Closed,
    #[error("its connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("it does not greet as ZMTP 3 does: is it a ZeroMQ socket, of version 4 or newer?")]
    Greeting,
    #[error("it wants a security mechanism; containers speak NULL")]
    Mechanism,
    #[error("its handshake is broken")]
    Ready,
    #[error("its socket is no DEALER")]
    SocketType,
    #[error("it did not finish its handshake in {HANDSHAKE_MAX:?}")]
    HandshakeLate,
    #[error("it sent a frame with unknown flags {0:#04x}")]
    Flags(u8),
    #[error("it sent a message of more than {} frames or {} bytes", .0.frames, .0.bytes)]
    TooLarge(Bounds),
    #[error("it did not take what it was sent in {WRITE_MAX:?}")]
    WriteLate,
}

/// One peer's connection.
pub(super) struct Wire {
    stream: TcpStream,
    unread: BytesMut,
    /// Of the message under way, and their bytes.
    frames: Vec<Bytes>,
    frames_bytes: usize,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Wire {
        Wire { stream, unread: BytesMut::new(), frames: Vec::new(), frames_bytes: 0 }
    }

    /// Greets and is greeted.
    pub(super) async fn open(&mut self) -> Result<(), WireError> {
        let done = timeout(HANDSHAKE_MAX, self.shake_hands()).await;
        done.unwrap_or(Err(WireError::HandshakeLate))
    }

    async fn shake_hands(&mut self) -> Result<(), WireError> {
        self.stream.set_nodelay(true)?;
        self.stream.write_all(&greeting()).await?;
        while self.unread.len() < GREETING_BYTES {
            self.fill().await?;
            check_greeting(&self.unread)?;
        }
        self.unread.advance(GREETING_BYTES);
        self.stream.write_all(READY).await?;
        let bounds = Bounds { frames: 1, bytes: READY_BYTES_MAX };
        loop {
            if let Some(frame) = take_frame(&mut self.unread, bounds, 0)? {
                return match frame.flags & COMMAND {
                    0 => Err(WireError::Ready),
                    _ => check_ready(&frame.body),
                };
            }
            self.fill().await?;
        }
    }

    /// The frames of the next message. Dropped before it is ready, it loses nothing.
    pub(super) async fn next_message(&mut self, bounds: Bounds) -> Result<Vec<Bytes>, WireError> {
        loop {
            while let Some(frame) = take_frame(&mut self.unread, bounds, self.frames_bytes)? {
                // Commands are for what both sides agreed on in the handshake: nothing.
                if frame.flags & COMMAND != 0 {
                    continue;
                }
                self.frames_bytes += frame.body.len();
                self.frames.push(frame.body);
                if self.frames.len() > bounds.frames {
                    return Err(WireError::TooLarge(bounds));
                }
                if frame.flags & MORE == 0 {
                    self.frames_bytes = 0;
                    self.let_room_go();
                    return Ok(std::mem::take(&mut self.frames));
                }
            }
            self.fill().await?;
        }
    }

    pub(super) async fn send(&mut self, message: &[Bytes]) -> Result<(), WireError> {
        let encoded = encode(message);
        match timeout(WRITE_MAX, self.stream.write_all(&encoded)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(WireError::WriteLate),
        }
    }

    /// Room that was made for a long message goes with it.
    fn let_room_go(&mut self) {
        if self.unread.is_empty() {
            self.unread = BytesMut::new();
        }
    }

    async fn fill(&mut self) -> Result<(), WireError> {
        self.unread.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(WireError::Closed),
            _ => Ok(()),
        }
    }
}

// ---- pure ----

fn greeting() -> [u8; GREETING_BYTES] {
    let mut greeting = [0; GREETING_BYTES];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = VERSION_MAJOR;
    greeting[12..32].copy_from_slice(&MECHANISM);
    greeting
}

/// Checks as much as has come: whoever is no ZeroMQ socket is told apart by its first byte.
fn check_greeting(begun: &[u8]) -> Result<(), WireError> {
    let is = |at: usize, right: fn(u8) -> bool| begun.get(at).is_none_or(|&byte| right(byte));
    let right = is(0, |byte| byte == 0xff)
        && is(9, |byte| byte & 1 == 1)
        && is(10, |byte| byte >= VERSION_MAJOR);
    if !right {
        return Err(WireError::Greeting);
    }
    match begun.get(12..32) {
        Some(mechanism) if mechanism != MECHANISM => Err(WireError::Mechanism),
        _ => Ok(()),
    }
}

/// A command frame: its name, and our socket's type.
const READY: &[u8] = b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06ROUTER";

fn check_ready(body: &[u8]) -> Result<(), WireError> {
    let mut properties = body.strip_prefix(b"\x05READY").ok_or(WireError::Ready)?;
    while !properties.is_empty() {
        let (name, value) = take_property(&mut properties).ok_or(WireError::Ready)?;
        if name.eq_ignore_ascii_case(b"socket-type") {
            return if value == b"DEALER" { Ok(()) } else { Err(WireError::SocketType) };
        }
    }
    Err(WireError::Ready)
}

fn take_property<'b>(from: &mut &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
    let (&name_bytes, rest) = from.split_first()?;
    let (name, rest) = rest.split_at_checked(name_bytes.into())?;
    let (value_bytes, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*value_bytes) as usize)?;
    *from = rest;
    Some((name, value))
}

#[derive(Debug)]
struct Frame {
    flags: u8,
    body: Bytes,
}

/// The first frame of `unread`, once it is there whole. `taken` bytes of the same message came before.
fn take_frame(
    unread: &mut BytesMut,
    bounds: Bounds,
    taken: usize,
) -> Result<Option<Frame>, WireError> {
    let Some(&flags) = unread.first() else { return Ok(None) };
    let known = flags & !(MORE | LONG | COMMAND) == 0 && flags & (COMMAND | MORE) != COMMAND | MORE;
    if !known {
        return Err(WireError::Flags(flags));
    }
    let (head, size) = match flags & LONG {
        0 => (2, unread.get(1).map(|&size| u64::from(size))),
        _ => (9, unread.get(1..).and_then(|it| it.first_chunk()).copied().map(u64::from_be_bytes)),
    };
    let Some(size) = size else { return Ok(None) };
    let room = bounds.bytes.saturating_sub(taken);
    if size > room as u64 {
        return Err(WireError::TooLarge(bounds));
    }
    let end = head + size as usize;
    if unread.len() < end {
        return Ok(None);
    }
    let body = unread.split_to(end).freeze().slice(head..);
    Ok(Some(Frame { flags, body }))
}

fn encode(message: &[Bytes]) -> Vec<u8> {
    const HEAD_BYTES_MAX: usize = 9;
    let bytes = message.iter().map(|frame| frame.len() + HEAD_BYTES_MAX).sum();
    let mut encoded = Vec::with_capacity(bytes);
    for (index, frame) in message.iter().enumerate() {
        let more = if index + 1 < message.len() { MORE } else { 0 };
        match u8::try_from(frame.len()) {
            Ok(size) => encoded.extend_from_slice(&[more, size]),
            Err(_) => {
                encoded.push(more | LONG);
                encoded.extend_from_slice(&(frame.len() as u64).to_be_bytes());
            }
        }
        encoded.extend_from_slice(frame);
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { frames: 3, bytes: 1000 };

    fn frame(bytes: &[u8]) -> Result<Option<Frame>, WireError> {
        take_frame(&mut BytesMut::from(bytes), BOUNDS, 0)
    }

    #[test]
    fn a_message_is_framed_as_the_protocol_says() {
        let message = [Bytes::new(), Bytes::from_static(b"ab"), vec![7; 256].into()];
        let encoded = encode(&message);
        assert_eq!(encoded[..6], [1, 0, 1, 2, b'a', b'b']);
        assert_eq!(encoded[6..16], [2, 0, 0, 0, 0, 0, 0, 1, 0, 7]);
        assert_eq!(encoded.len(), 15 + 256);
    }

    #[test]
    fn frames_come_back_as_they_were_sent_and_not_before_they_are_whole() {
        let message = [Bytes::from_static(b"ab"), vec![7; 300].into()];
        let encoded = encode(&message);
        let mut unread = BytesMut::new();
        let mut found = Vec::new();
        for &byte in &encoded {
            unread.extend_from_slice(&[byte]);
            found.extend(take_frame(&mut unread, BOUNDS, 0).unwrap());
        }
        assert_eq!(found.iter().map(|it| &it.body).collect::<Vec<_>>(), message.each_ref());
        assert_eq!((found[0].flags, found[1].flags), (MORE, LONG));
    }

    #[test]
    fn a_length_alone_is_refused_however_large() {
        for size in [1001, 1 << 40, u64::MAX] {
            let head = [&[LONG][..], &size.to_be_bytes()].concat();
            assert!(matches!(frame(&head), Err(WireError::TooLarge(_))), "{size}");
        }
        let taken = take_frame(&mut BytesMut::from(&[0, 200][..]), BOUNDS, 801);
        assert!(matches!(taken, Err(WireError::TooLarge(_))), "with what came before");
    }

    #[test]
    fn unknown_flags_are_refused() {
        for flags in [8, 0x80, 0xff, COMMAND | MORE] {
            assert!(matches!(frame(&[flags, 0]), Err(WireError::Flags(_))), "{flags}");
        }
        assert!(frame(&[COMMAND, 0]).unwrap().is_some());
    }

    #[test]
    fn greetings_are_checked_as_they_come() {
        let ours = greeting();
        (0..=GREETING_BYTES).for_each(|end| check_greeting(&ours[..end]).unwrap());
        assert!(matches!(check_greeting(b"G"), Err(WireError::Greeting)), "HTTP");
        let with = |at: usize, byte| {
            let mut greeting = ours;
            greeting[at] = byte;
            check_greeting(&greeting)
        };
        assert!(matches!(with(10, 1), Err(WireError::Greeting)), "ZMTP 2");
        assert!(matches!(with(12, b'P'), Err(WireError::Mechanism)), "PLAIN");
        assert!(with(11, 1).is_ok(), "3.1 speaks 3.0 too");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_frame_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut unread = BytesMut::from(bytes.as_slice());
            let mut taken = 0;
            while let Ok(Some(frame)) = take_frame(&mut unread, BOUNDS, taken) {
                taken += frame.body.len();
                prop_assert!(taken <= BOUNDS.bytes);
            }
            let _checked = (check_greeting(&bytes), check_ready(&bytes));
            let _property = check_ready(&[b"\x05READY", bytes.as_slice()].concat());
        }
    }

    #[test]
    fn only_dealers_are_ready() {
        let ready = |kind: &[u8]| {
            let size = [0, 0, 0, kind.len() as u8];
            [b"\x05READY\x08Identity\0\0\0\0\x0bSocket-Type", &size[..], kind].concat()
        };
        assert!(check_ready(&ready(b"DEALER")).is_ok());
        assert!(matches!(check_ready(&ready(b"REQ")), Err(WireError::SocketType)));
        for broken in
            [&b"\x05READY"[..], b"\x05ERROR", b"\x05READY\xffx", b"\x05READY\x01x\xff\xff\xff\xff"]
        {
            assert!(matches!(check_ready(broken), Err(WireError::Ready)), "{broken:?}");
        }
        assert_eq!(usize::from(READY[1]), READY.len() - 2);
    }
}
