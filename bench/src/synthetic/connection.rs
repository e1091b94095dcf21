//! One client of the synthetic server: a request at a time, whole or not at all.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::pages::{Counts, page};

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
    /// A question, whose answer takes its time.
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

    pub(super) fn receive(&mut self, counts: Counts) -> Took {
        loop {
            match whole_request(&self.buffer[..self.filled], counts) {
                Some(Ok(request)) => {
                    // One at a time: what a pipelining client sent ahead is not kept.
                    self.filled = 0;
                    let Some(page) = request.page else { return Took::Request };
                    self.write(&page, "");
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

    pub(super) fn answer(&mut self) {
        let ms = self.delay_ns as f64 / 1e6;
        let timing = format!(
            "Server-Timing: queue;dur=0, lane;dur=0, model;dur={ms:.3};desc=\"batch 1\"\r\n"
        );
        self.write(BODY, &timing);
    }

    /// A client that doesn't take some hundred bytes will see its connection end.
    fn write(&mut self, body: &str, header: &str) {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: synthetic\r\n{header}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        if self.stream.write(answer.as_bytes()).ok() != Some(answer.len()) {
            let _gone_already = self.stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Whole {
    /// Where it ends in the bytes.
    end: usize,
    page: Option<String>,
}

/// The request at the start, if it is whole.
fn whole_request(bytes: &[u8], counts: Counts) -> Option<Result<Whole, ()>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let body_at = match head.parse(bytes) {
        Ok(httparse::Status::Complete(body_at)) => body_at,
        Ok(httparse::Status::Partial) => return None,
        Err(_) => return Some(Err(())),
    };
    let mut lengths =
        head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body = lengths.next().map_or(Some(0), |header| {
        std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok()
    });
    let Some(end) = body.and_then(|body| body_at.checked_add(body)) else { return Some(Err(())) };
    let (method, path) = (head.method.unwrap_or_default(), head.path.unwrap_or_default());
    (end <= bytes.len()).then(|| Ok(Whole { end, page: page(method, path, counts) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole_request(bytes: &[u8]) -> Option<Result<Whole, ()>> {
        super::whole_request(bytes, Counts::default())
    }

    #[test]
    fn a_request_is_whole_at_its_last_byte() {
        let request = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nping";
        for end in 0..request.len() {
            assert_eq!(whole_request(&request[..end]), None, "after {end}");
        }
        let whole = |end| Some(Ok(Whole { end, page: None }));
        assert_eq!(whole_request(request), whole(request.len()));
        assert_eq!(whole_request(b"GET / HTTP/1.1\r\n\r\n"), whole(18));
        assert_eq!(whole_request(b"\x00\x01"), Some(Err(())));
        assert_eq!(whole_request(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), Some(Err(())));
    }
}
