//! What an HTTP/1.1 answer is, from the bytes received so far. Pure.

use std::borrow::Cow;
use std::ops::Range;

/// Names and values in a head. Servers under test send about five; proxies add some.
const HEADERS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub status: u16,
    pub keep_alive: bool,
    /// Where the body lies in the bytes given, chunk sizes and all.
    body: Range<usize>,
    chunked: bool,
    server_timing: Option<Range<usize>>,
    header_length: Option<Range<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    #[error("the answer is not HTTP/1; is another server on this port?")]
    Malformed,
}

impl Frame {
    /// Where the answer ends in the bytes it was parsed from.
    pub fn end(&self) -> usize {
        self.body.end
    }

    /// The body in the same bytes that were parsed; joined where it came in chunks.
    pub fn body<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let body = &bytes[self.body.clone()];
        if self.chunked { Cow::Owned(joined(body)) } else { Cow::Borrowed(body) }
    }

    /// The value of `Server-Timing`, where the answer has one.
    pub fn server_timing<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        self.server_timing.clone().map(|range| &bytes[range])
    }

    /// The length of the JSON ahead of binary tensors, where the answer has them.
    pub fn header_bytes(&self, bytes: &[u8]) -> Option<usize> {
        let value = &bytes[self.header_length.clone()?];
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    }
}

/// The answer at the start of `bytes`, or `None` while some of it is missing. `ended`: no more bytes will come, which
/// is how a body without a length ends.
pub fn parse(bytes: &[u8], ended: bool) -> Result<Option<Frame>, ResponseError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(bytes).map_err(|_| ResponseError::Malformed)?;
    let httparse::Status::Complete(body_at) = parsed else { return Ok(None) };
    let status = head.code.ok_or(ResponseError::Malformed)?;
    let chunked = is_chunked(head.headers);
    let length = if chunked { None } else { content_length(head.headers)? };
    let has_no_body = (100..200).contains(&status) || matches!(status, 204 | 304);
    let end = match length {
        _ if has_no_body => Some(body_at),
        _ if chunked => end_of_chunks(bytes, body_at)?,
        Some(length) => Some(body_at.checked_add(length).ok_or(ResponseError::Malformed)?),
        None => ended.then_some(bytes.len()),
    };
    let Some(end) = end.filter(|&end| end <= bytes.len()) else { return Ok(None) };
    let until_close = length.is_none() && !chunked && !has_no_body;
    Ok(Some(Frame {
        status,
        keep_alive: keeps_alive(&head) && !until_close,
        body: body_at..end,
        chunked,
        server_timing: place_of(head.headers, "server-timing", bytes),
        header_length: place_of(head.headers, "inference-header-content-length", bytes),
    }))
}

fn content_length(headers: &[httparse::Header]) -> Result<Option<usize>, ResponseError> {
    let Some(value) = value_of(headers, "content-length") else { return Ok(None) };
    let number = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or(ResponseError::Malformed)
}

fn is_chunked(headers: &[httparse::Header]) -> bool {
    let value = value_of(headers, "transfer-encoding");
    value.is_some_and(|value| value.trim_ascii().to_ascii_lowercase().ends_with(b"chunked"))
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

/// Where in `bytes` the value of a header stands: header values are borrowed from there.
fn place_of(headers: &[httparse::Header], name: &str, bytes: &[u8]) -> Option<Range<usize>> {
    let value = value_of(headers, name)?;
    let start = value.as_ptr().addr() - bytes.as_ptr().addr();
    Some(start..start + value.len())
}

// ---- chunks ----

/// One chunk's data, and where the next begins; of the last, empty one where the body ends.
struct Chunk {
    data: Range<usize>,
    next: usize,
}

/// `None` while it is incomplete.
fn chunk(bytes: &[u8], at: usize) -> Result<Option<Chunk>, ResponseError> {
    let parsed = httparse::parse_chunk_size(bytes.get(at..).unwrap_or_default());
    let httparse::Status::Complete((line, size)) = parsed.map_err(|_| ResponseError::Malformed)?
    else {
        return Ok(None);
    };
    let start = at + line;
    if size == 0 {
        return Ok(end_of_trailers(bytes, start).map(|next| Chunk { data: start..start, next }));
    }
    let size = usize::try_from(size).map_err(|_| ResponseError::Malformed)?;
    let end = start.checked_add(size).ok_or(ResponseError::Malformed)?;
    let next = end.checked_add(2).ok_or(ResponseError::Malformed)?;
    match bytes.get(end..next) {
        Some(b"\r\n") => Ok(Some(Chunk { data: start..end, next })),
        Some(_) => Err(ResponseError::Malformed),
        None => Ok(None),
    }
}

/// Trailers are lines; an empty one ends them.
fn end_of_trailers(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let rest = bytes.get(at..)?;
        let line = rest.windows(2).position(|pair| pair == b"\r\n")?;
        at += line + 2;
        if line == 0 {
            return Some(at);
        }
    }
}

fn end_of_chunks(bytes: &[u8], mut at: usize) -> Result<Option<usize>, ResponseError> {
    while let Some(chunk) = chunk(bytes, at)? {
        if chunk.data.is_empty() {
            return Ok(Some(chunk.next));
        }
        at = chunk.next;
    }
    Ok(None)
}

/// Of a body that [`end_of_chunks`] found whole.
fn joined(body: &[u8]) -> Vec<u8> {
    let (mut data, mut at) = (Vec::with_capacity(body.len()), 0);
    while let Ok(Some(chunk)) = chunk(body, at) {
        if chunk.data.is_empty() {
            break;
        }
        data.extend_from_slice(&body[chunk.data]);
        at = chunk.next;
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer-Timing: queue;dur=1\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nhel\r\n2;last=1\r\nlo\r\n0\r\nTrailer: x\r\n\r\n";

    fn whole(bytes: &[u8]) -> Frame {
        parse(bytes, false).expect("valid").expect("complete")
    }

    #[test]
    fn an_answer_is_complete_at_its_last_byte_and_not_before() {
        for answer in [ANSWER, CHUNKED] {
            for end in 0..answer.len() {
                assert_eq!(parse(&answer[..end], false), Ok(None), "after {end} bytes");
            }
            let frame = whole(answer);
            assert_eq!((frame.status, frame.keep_alive, frame.end()), (200, true, answer.len()));
            assert_eq!(&*frame.body(answer), b"hello");
        }
    }

    #[test]
    fn server_timing_is_found_and_missed_by_none() {
        assert_eq!(whole(ANSWER).server_timing(ANSWER), Some(&b"queue;dur=1"[..]));
        assert_eq!(whole(CHUNKED).server_timing(CHUNKED), None);
    }

    #[test]
    fn the_length_of_the_json_ahead_of_tensors_is_found() {
        let tensors = b"HTTP/1.1 200 OK\r\ninference-header-content-length: 2\r\nContent-Length: 3\r\n\r\n{}x";
        assert_eq!(whole(tensors).header_bytes(tensors), Some(2));
        assert_eq!(whole(ANSWER).header_bytes(ANSWER), None);
    }

    #[test]
    fn what_follows_an_answer_is_left_alone() {
        assert_eq!(whole(&[ANSWER, ANSWER].concat()).end(), ANSWER.len());
        assert_eq!(whole(&[CHUNKED, ANSWER].concat()).end(), CHUNKED.len());
    }

    #[test]
    fn a_server_that_closes_is_believed() {
        let closing = b"HTTP/1.1 503 Busy\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!((whole(closing).status, whole(closing).keep_alive), (503, false));
        assert!(!whole(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").keep_alive);
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let endless = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhello";
        assert_eq!(parse(endless, false), Ok(None));
        let frame = parse(endless, true).expect("valid").expect("complete");
        assert_eq!((&*frame.body(endless), frame.keep_alive), (&b"hello"[..], false));
        assert_eq!(parse(&ANSWER[..ANSWER.len() - 1], true), Ok(None), "cut short");
    }

    #[test]
    fn nonsense_is_refused() {
        for nonsense in [
            &b"SSH-2.0-x\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            let told = String::from_utf8_lossy(nonsense);
            assert_eq!(parse(nonsense, false), Err(ResponseError::Malformed), "{told}");
        }
    }
}
