//! One client of the synthetic server: a request at a time, whole or not at all.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

/// Longer requests end the connection.
const REQUEST_BYTES_MAX: usize = 1 << 20;
const HEADERS_MAX: usize = 64;
const BODY: &str = r#"{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[0]}]}"#;

pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// Which of all that were accepted.
    pub(super) number: u64,
    delay_ns: u64,
}

pub(super) enum Took {
    Nothing,
    Request,
    /// It left, or sent what is no request.
    End,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, number: u64) -> Connection {
        Connection { stream, buffer: vec![0; 8 * 1024], filled: 0, number, delay_ns: 0 }
    }

    pub(super) fn awaits(&mut self, delay_ns: u64) {
        self.delay_ns = delay_ns;
    }

    pub(super) fn receive(&mut self) -> Took {
        loop {
            match whole_request(&self.buffer[..self.filled]) {
                Some(Ok(_)) => {
                    // One at a time: what a pipelining client sent ahead is not kept.
                    self.filled = 0;
                    return Took::Request;
                }
                Some(Err(())) => return Took::End,
                None => {}
            }
            if self.filled == self.buffer.len() {
                if self.filled >= REQUEST_BYTES_MAX {
                    return Took::End;
                }
                self.buffer.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Took::End,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Took::Nothing,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Took::End,
            }
        }
    }

    /// A client that doesn't take some hundred bytes will see its connection end.
    pub(super) fn answer(&mut self) {
        let ms = self.delay_ns as f64 / 1e6;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: synthetic\r\n\
             Server-Timing: queue;dur=0, lane;dur=0, model;dur={ms:.3};desc=\"batch 1\"\r\n\
             Content-Length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        if self.stream.write(answer.as_bytes()).ok() != Some(answer.len()) {
            let _gone_already = self.stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Where the request at the start ends, if it is whole.
fn whole_request(bytes: &[u8]) -> Option<Result<usize, ()>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let body_at = match head.parse(bytes) {
        Ok(httparse::Status::Complete(body_at)) => body_at,
        Ok(httparse::Status::Partial) => return None,
        Err(_) => return Some(Err(())),
    };
    let length =
        head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body = length.map_or(Some(0), |header| {
        std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok()
    });
    match body.and_then(|body| body_at.checked_add(body)) {
        Some(end) => (end <= bytes.len()).then_some(Ok(end)),
        None => Some(Err(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_at_its_last_byte() {
        let request = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nping";
        for end in 0..request.len() {
            assert_eq!(whole_request(&request[..end]), None, "after {end}");
        }
        assert_eq!(whole_request(request), Some(Ok(request.len())));
        assert_eq!(whole_request(b"GET / HTTP/1.1\r\n\r\n"), Some(Ok(18)));
        assert_eq!(whole_request(b"\x00\x01"), Some(Err(())));
        assert_eq!(whole_request(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), Some(Err(())));
    }
}
