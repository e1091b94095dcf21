//! One question at a time, for looking at a server between measurements.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::response::{ResponseError, parse};

/// For a server that is up; a measured one answers in microseconds.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Metadata and a metrics page are some hundred kilobytes at most.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("no answer from {address}: {source}; is the server up?")]
    Io { address: SocketAddr, source: std::io::Error },
    #[error("{address}: {source}")]
    Response { address: SocketAddr, source: ResponseError },
    #[error("{address} closed the connection in the middle of its answer")]
    Cut { address: SocketAddr },
    #[error("the answer of {address} is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong { address: SocketAddr },
}

pub fn get(address: SocketAddr, path: &str) -> Result<Answer, HttpError> {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
}

/// Sends a whole request on a connection of its own.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Result<Answer, HttpError> {
    let mut stream = connect(address)?;
    exchange_on(&mut stream, request)
}

pub fn connect(address: SocketAddr) -> Result<TcpStream, HttpError> {
    let opened = TcpStream::connect_timeout(&address, TIMEOUT).and_then(|stream| {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(stream)
    });
    opened.map_err(|source| HttpError::Io { address, source })
}

pub fn exchange_on(stream: &mut TcpStream, request: &[u8]) -> Result<Answer, HttpError> {
    send_on(stream, request)?;
    answer_on(stream)
}

pub fn send_on(stream: &mut TcpStream, request: &[u8]) -> Result<(), HttpError> {
    let address = address_of(stream);
    stream.write_all(request).map_err(|source| HttpError::Io { address, source })
}

/// The answer to the one request that was sent.
pub fn answer_on(stream: &mut TcpStream) -> Result<Answer, HttpError> {
    let address = address_of(stream);
    let io = |source| HttpError::Io { address, source };
    let mut received = Vec::new();
    let mut chunk = [0; 16 * 1024];
    let mut ended = false;
    while received.len() <= ANSWER_BYTES_MAX {
        let frame = parse(&received, ended);
        if let Some(frame) = frame.map_err(|source| HttpError::Response { address, source })? {
            return Ok(Answer { status: frame.status, body: frame.body(&received).into_owned() });
        }
        if ended {
            return Err(HttpError::Cut { address });
        }
        let count = stream.read(&mut chunk).map_err(io)?;
        ended = count == 0;
        received.extend_from_slice(&chunk[..count]);
    }
    Err(HttpError::TooLong { address })
}

fn address_of(stream: &TcpStream) -> SocketAddr {
    stream.peer_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
}
