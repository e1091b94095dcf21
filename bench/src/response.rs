//! What an HTTP/1.1 answer is, from the bytes received so far. Pure.
//!
//! Deliberately absent: chunked bodies. Every server measured here knows the length of its answers; one that doesn't
//! is refused by name rather than measured wrongly.

use std::ops::Range;

/// Names and values in a head. Servers under test send about five.
const HEADERS_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub status: u16,
    /// Where the body lies in the bytes given.
    pub body: Range<usize>,
    pub keep_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    #[error("the answer is not HTTP/1; is another server on this port?")]
    Malformed,
    #[error("the answer has no Content-Length; only bodies of known length can be measured")]
    NoLength,
}

/// The answer at the start of `bytes`, or `None` while some of it is missing.
pub fn parse(bytes: &[u8]) -> Result<Option<Frame>, ResponseError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(bytes).map_err(|_| ResponseError::Malformed)?;
    let httparse::Status::Complete(body_at) = parsed else { return Ok(None) };
    let status = head.code.ok_or(ResponseError::Malformed)?;
    let body_bytes = match content_length(head.headers)? {
        Some(length) => length,
        None if matches!(status, 204 | 304) => 0,
        None => return Err(ResponseError::NoLength),
    };
    let end = body_at.checked_add(body_bytes).ok_or(ResponseError::Malformed)?;
    let frame = Frame { status, body: body_at..end, keep_alive: keeps_alive(&head) };
    Ok((bytes.len() >= end).then_some(frame))
}

/// The value of a header in an answer's head, if it is there.
pub fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).ok()?;
    value_of(response.headers, name)
}

fn content_length(headers: &[httparse::Header]) -> Result<Option<usize>, ResponseError> {
    let Some(value) = value_of(headers, "content-length") else { return Ok(None) };
    let number = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or(ResponseError::Malformed)
}

fn keeps_alive(head: &httparse::Response) -> bool {
    match value_of(head.headers, "connection") {
        Some(value) => !value.eq_ignore_ascii_case(b"close"),
        None => head.version == Some(1),
    }
}

fn value_of<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a [u8]> {
    let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    found.map(|header| header.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello";

    #[test]
    fn an_answer_is_complete_at_its_last_byte_and_not_before() {
        for end in 0..ANSWER.len() {
            assert_eq!(parse(&ANSWER[..end]), Ok(None), "after {end} bytes");
        }
        let frame = parse(ANSWER).expect("valid").expect("complete");
        assert_eq!(
            (frame.status, &ANSWER[frame.body], frame.keep_alive),
            (200, &b"hello"[..], true)
        );
    }

    #[test]
    fn a_header_is_found_by_its_name_in_any_case() {
        assert_eq!(header(ANSWER, "server"), Some(&b"x"[..]));
        assert_eq!(header(ANSWER, "server-timing"), None);
        assert_eq!(header(b"no answer", "server"), None);
    }

    #[test]
    fn what_follows_an_answer_is_left_alone() {
        let twice = [ANSWER, ANSWER].concat();
        let frame = parse(&twice).expect("valid").expect("complete");
        assert_eq!(frame.body.end, ANSWER.len());
    }

    #[test]
    fn a_server_that_closes_is_believed() {
        let closing = b"HTTP/1.1 503 Busy\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n";
        let frame = parse(closing).expect("valid").expect("complete");
        assert_eq!((frame.status, frame.keep_alive), (503, false));
        let old = parse(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").expect("valid");
        assert!(!old.expect("complete").keep_alive);
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        assert_eq!(parse(b"SSH-2.0-x\r\n"), Err(ResponseError::Malformed));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(parse(chunked), Err(ResponseError::NoLength));
        let lying = b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n";
        assert_eq!(parse(lying), Err(ResponseError::Malformed));
        let endless = b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n";
        assert_eq!(parse(endless), Err(ResponseError::Malformed));
    }
}
