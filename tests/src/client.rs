//! A small blocking HTTP/1.1 client that can also send what no proper client would.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde_json::Value;

use crate::engine::WATCHDOG;

pub struct Client {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The sentence of an error answer.
    pub fn error(&self) -> String {
        let json = self.json();
        json["error"].as_str().unwrap_or_else(|| panic!("no error in {json}")).to_owned()
    }

    /// The data of an output of a JSON answer.
    pub fn output(&self, index: usize) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["outputs"][index]["data"].clone()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the engine listens");
        stream.set_read_timeout(Some(WATCHDOG)).expect("a watchdog");
        stream.set_nodelay(true).expect("no delay");
        Client { stream, unread: Vec::new() }
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    pub fn infer(&mut self, model: &str, body: &str) -> Response {
        self.post(&format!("/v2/models/{model}/infer"), &[], body.as_bytes())
    }

    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.request("POST", path, headers, body)
    }

    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.send(&bytes_of(method, path, headers, body));
        self.read().expect("an answer")
    }

    /// Sends raw bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the engine reads");
    }

    /// No more is coming.
    pub fn close_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("open until now");
    }

    /// The next answer; `None` when the connection ended before one began.
    pub fn read(&mut self) -> Option<Response> {
        let head_end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if self.fill() == 0 {
                assert!(
                    self.unread.is_empty(),
                    "cut off: {}",
                    String::from_utf8_lossy(&self.unread)
                );
                return None;
            }
        };
        let head =
            String::from_utf8(self.unread.drain(..head_end).collect()).expect("a head is text");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect();
        let mut response =
            Response { status: status.expect("a status"), headers, body: Vec::new() };
        let length =
            response.header("content-length").map_or(0, |it| it.parse().expect("a length"));
        while self.unread.len() < length {
            assert!(self.fill() > 0, "the body was cut off");
        }
        response.body = self.unread.drain(..length).collect();
        Some(response)
    }

    fn fill(&mut self) -> usize {
        let mut buffer = [0; 65_536];
        let count = loop {
            match self.stream.read(&mut buffer) {
                Ok(count) => break count,
                // A process that was stopped and goes on: the watchdog starts again.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break 0,
                Err(error) => panic!("no answer within the watchdog: {error}"),
            }
        };
        self.unread.extend_from_slice(&buffer[..count]);
        count
    }
}

/// A whole request as bytes.
pub fn bytes_of(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
    if method == "POST" {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    for (key, value) in headers {
        head += &format!("{key}: {value}\r\n");
    }
    head += "\r\n";
    [head.as_bytes(), body].concat()
}
