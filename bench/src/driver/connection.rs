//! One keep-alive connection: at most one request on its way, its answer read as it comes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use mio::net::TcpStream;

use crate::http::ANSWER_BYTES_MAX;
use crate::response::{ResponseError, parse};

/// Loopback answers at once or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Holds the usual answer; longer ones make it grow, up to [`ANSWER_BYTES_MAX`].
const BUFFER_BYTES: usize = 16 * 1024;

/// When the request that is on its way was due, and when its first byte was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) due_ns: u64,
    pub(super) sent_ns: u64,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes of the request that the socket took.
    written: usize,
    on_its_way: Option<Sent>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    Pending,
    Answered(Answered),
    /// The server ended the connection, or its answer is longer than we take.
    Closed,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) sent: Sent,
    pub(super) status: u16,
    pub(super) keep_alive: bool,
    body: Range<usize>,
}

impl Connection {
    /// Waits for the connection; everything after is non-blocking.
    pub(super) fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = std::net::TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream: TcpStream::from_std(stream),
            buffer: vec![0; BUFFER_BYTES],
            filled: 0,
            written: 0,
            on_its_way: None,
        })
    }

    pub(super) fn on_its_way(&self) -> Option<Sent> {
        self.on_its_way
    }

    /// Starts a request; the rest goes out as the socket takes it.
    pub(super) fn send(&mut self, request: &[u8], sent: Sent) -> io::Result<()> {
        assert!(self.on_its_way.is_none(), "an idle connection sends");
        self.on_its_way = Some(sent);
        self.written = 0;
        self.filled = 0;
        self.continue_sending(request)
    }

    pub(super) fn continue_sending(&mut self, request: &[u8]) -> io::Result<()> {
        while self.on_its_way.is_some() && self.written < request.len() {
            match self.stream.write(&request[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there. A read that leaves room in the buffer has emptied the socket: what comes later is a new
    /// edge, so the usual answer costs one call.
    pub(super) fn receive(&mut self) -> Result<Progress, ResponseError> {
        loop {
            if self.filled == self.buffer.len() {
                if self.filled >= ANSWER_BYTES_MAX {
                    return Ok(Progress::Closed);
                }
                self.buffer.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Ok(Progress::Closed),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Pending);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Ok(Progress::Closed),
            }
            if let Some(answered) = self.answered()? {
                return Ok(Progress::Answered(answered));
            }
            if self.filled < self.buffer.len() {
                return Ok(Progress::Pending);
            }
        }
    }

    pub(super) fn body(&self, answered: &Answered) -> &[u8] {
        &self.buffer[answered.body.clone()]
    }

    /// What stands ahead of the body: status and headers.
    pub(super) fn head(&self, answered: &Answered) -> &[u8] {
        &self.buffer[..answered.body.start]
    }

    /// Bytes past the answer, or without a question, are no HTTP we asked for.
    fn answered(&mut self) -> Result<Option<Answered>, ResponseError> {
        let Some(frame) = parse(&self.buffer[..self.filled])? else { return Ok(None) };
        let sent = self.on_its_way.take().ok_or(ResponseError::Malformed)?;
        if frame.body.end != self.filled {
            return Err(ResponseError::Malformed);
        }
        Ok(Some(Answered {
            sent,
            status: frame.status,
            keep_alive: frame.keep_alive,
            body: frame.body,
        }))
    }
}
