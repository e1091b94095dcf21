//! One question at a time, for looking at a server between measurements.

use std::io::{Read, Write};
use std::time::Duration;

use crate::address::{Address, Stream};
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
    Io { address: Address, source: std::io::Error },
    #[error("{address}: {source}")]
    Response { address: Address, source: ResponseError },
    #[error("{address} closed the connection in the middle of its answer")]
    Cut { address: Address },
    #[error("the answer of {address} is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong { address: Address },
}

pub fn get(address: impl Into<Address>, path: &str) -> Result<Answer, HttpError> {
    let address = address.into();
    let host = address.host();
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
}

/// Sends a whole request on a connection of its own.
pub fn exchange(address: impl Into<Address>, request: &[u8]) -> Result<Answer, HttpError> {
    let mut stream = connect(address)?;
    exchange_on(&mut stream, request)
}

pub fn connect(address: impl Into<Address>) -> Result<Stream, HttpError> {
    let address = address.into();
    Stream::connect(address, TIMEOUT).map_err(|source| HttpError::Io { address, source })
}

pub fn exchange_on(stream: &mut Stream, request: &[u8]) -> Result<Answer, HttpError> {
    send_on(stream, request)?;
    answer_on(stream)
}

pub fn send_on(stream: &mut Stream, request: &[u8]) -> Result<(), HttpError> {
    let address = stream.address;
    stream.write_all(request).map_err(|source| HttpError::Io { address, source })
}

/// The answer to the one request that was sent.
pub fn answer_on(stream: &mut Stream) -> Result<Answer, HttpError> {
    let address = stream.address;
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
