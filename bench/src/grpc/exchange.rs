//! One unary call: what is sent, and its answer as it comes.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use percent_encoding::percent_decode_str;

use crate::http::ANSWER_BYTES_MAX;
use crate::timing::ServerTiming;

/// Ahead of each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// An answer of the protocol, right or wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    /// gRPC's: 0 is success.
    pub(super) status: u16,
    /// What the server says of a failure.
    pub(super) told: String,
    /// Empty where the call failed.
    pub(super) message: Bytes,
    pub(super) timing: Option<ServerTiming>,
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The server ended the stream or the connection, or its answer is longer than we take.
    Closed,
    /// What came isn't gRPC.
    NotGrpc,
}

impl From<h2::Error> for Lost {
    fn from(_: h2::Error) -> Lost {
        Lost::Closed
    }
}

/// The head of every request of one call.
pub(super) fn head(address: SocketAddr, call: &str) -> Request<()> {
    let uri = format!("http://{address}/inference.GRPCInferenceService/{call}");
    Request::post(uri)
        .version(Version::HTTP_2)
        .header(header::TE, "trailers")
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(())
        .expect("an address and the name of a call make a URI")
}

/// The message as it goes over the wire.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

pub(super) async fn answer(response: ResponseFuture) -> Result<Reply, Lost> {
    let (head, mut body) = response.await?.into_parts();
    if head.status != StatusCode::OK {
        return Err(Lost::NotGrpc);
    }
    let received = received(&mut body).await?;
    let trailers = body.trailers().await?;
    // A call that failed at once has its status in the head.
    let ending = trailers.as_ref().unwrap_or(&head.headers);
    let status = status(ending).ok_or(Lost::NotGrpc)?;
    let message = if status == 0 { unframed(received).ok_or(Lost::NotGrpc)? } else { Bytes::new() };
    let timing = head.headers.get("server-timing").map(HeaderValue::as_bytes);
    let timing = timing.and_then(ServerTiming::parse);
    let told = text(ending, "grpc-message").unwrap_or_default();
    let told = percent_decode_str(told).decode_utf8_lossy().into_owned();
    Ok(Reply { status, told, message, timing })
}

/// Copies only where the body comes in more than one piece.
async fn received(body: &mut RecvStream) -> Result<Bytes, Lost> {
    let Some(first) = piece(body).await? else { return Ok(Bytes::new()) };
    let Some(second) = piece(body).await? else { return Ok(first) };
    let mut whole = BytesMut::from(first);
    whole.extend_from_slice(&second);
    while let Some(more) = piece(body).await? {
        if whole.len() + more.len() > ANSWER_BYTES_MAX {
            return Err(Lost::Closed);
        }
        whole.extend_from_slice(&more);
    }
    Ok(whole.freeze())
}

async fn piece(body: &mut RecvStream) -> Result<Option<Bytes>, Lost> {
    let Some(piece) = body.data().await.transpose()? else { return Ok(None) };
    body.flow_control().release_capacity(piece.len())?;
    Ok(Some(piece))
}

fn status(headers: &HeaderMap) -> Option<u16> {
    text(headers, "grpc-status")?.parse().ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(HeaderValue::to_str)?.ok()
}

/// None: it is compressed, which we don't allow, or not as long as it says.
fn unframed(mut received: Bytes) -> Option<Bytes> {
    let prefix: [u8; PREFIX_BYTES] = *received.first_chunk()?;
    let [0, length @ ..] = prefix else { return None };
    let message = received.split_off(PREFIX_BYTES);
    (u32::from_be_bytes(length) as usize == message.len()).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_again_in_its_frame() {
        for message in [b"".as_slice(), b"ping"] {
            assert_eq!(unframed(framed(message)).as_deref(), Some(message));
        }
    }

    #[test]
    fn what_is_no_whole_plain_message_is_none() {
        let frames: [&'static [u8]; 5] =
            [b"", &[0; 4], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 1], &[0; 6]];
        for frame in frames {
            assert_eq!(unframed(Bytes::from_static(frame)), None, "{frame:?}");
        }
    }
}
