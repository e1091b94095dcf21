//! One keep-alive connection: at most one request on its way, its answer read as it comes.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use super::stream::Stream;
use crate::address::Address;
use crate::http::ANSWER_BYTES_MAX;
use crate::ledger::Sent;
use crate::response::{Frame, ResponseError, parse};

/// Loopback answers at once or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Holds the usual answer; longer ones make it grow, up to [`ANSWER_BYTES_MAX`].
const BUFFER_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes of the request that the socket took.
    written: usize,
    on_its_way: Option<Sent>,
    /// The other side was heard of.
    established: bool,
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
    pub(super) frame: Frame,
}

impl Connection {
    /// Waits for the connection; everything after is non-blocking.
    pub(super) fn open(address: Address) -> io::Result<Connection> {
        Ok(Connection::over(Stream::open(address, CONNECT_TIMEOUT)?, true))
    }

    /// Doesn't wait: what is sent goes out when the other side has accepted.
    pub(super) fn begin(address: Address) -> io::Result<Connection> {
        Ok(Connection::over(Stream::begin(address)?, false))
    }

    fn over(stream: Stream, established: bool) -> Connection {
        let buffer = vec![0; BUFFER_BYTES];
        Connection { stream, buffer, filled: 0, written: 0, on_its_way: None, established }
    }

    pub(super) fn on_its_way(&self) -> Option<Sent> {
        self.on_its_way
    }

    pub(super) fn is_established(&self) -> bool {
        self.established
    }

    /// Starts a request; the rest goes out as the socket takes it.
    pub(super) fn send(&mut self, bytes: &[u8], sent: Sent) -> io::Result<()> {
        assert!(self.on_its_way.is_none(), "an idle connection sends");
        self.on_its_way = Some(sent);
        self.written = 0;
        self.filled = 0;
        self.continue_sending(bytes)
    }

    pub(super) fn continue_sending(&mut self, bytes: &[u8]) -> io::Result<()> {
        while self.on_its_way.is_some() && self.written < bytes.len() {
            match self.stream.write(&bytes[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    self.established = true;
                }
                Err(error) if waits(&error) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads until an answer is whole or the socket is empty: the usual answer costs one call.
    pub(super) fn receive(&mut self) -> Result<Progress, ResponseError> {
        loop {
            if self.filled == self.buffer.len() {
                if self.filled >= ANSWER_BYTES_MAX {
                    return Ok(Progress::Closed);
                }
                self.buffer.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => {
                    // Between two requests the buffer still holds the answer before.
                    let begun = self.on_its_way.is_some() && self.filled > 0;
                    let last = if begun { self.answered(true)? } else { None };
                    return Ok(last.map_or(Progress::Closed, Progress::Answered));
                }
                Ok(count) => self.filled += count,
                Err(error) if waits(&error) => return Ok(Progress::Pending),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Ok(Progress::Closed),
            }
            if let Some(answered) = self.answered(false)? {
                return Ok(Progress::Answered(answered));
            }
        }
    }

    /// What was received of the latest answer.
    pub(super) fn received(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Bytes past the answer, or without a question, are no HTTP we asked for.
    fn answered(&mut self, ended: bool) -> Result<Option<Answered>, ResponseError> {
        let Some(frame) = parse(&self.buffer[..self.filled], ended)? else { return Ok(None) };
        if frame.end() != self.filled {
            return Err(ResponseError::Malformed);
        }
        let sent = self.on_its_way.take().ok_or(ResponseError::Malformed)?;
        Ok(Some(Answered { sent, frame }))
    }
}

/// A socket whose connection is on its way says that it isn't connected, or to come back later.
fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
