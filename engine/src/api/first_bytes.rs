//! The first bytes of a connection tell HTTP/2 (with prior knowledge) from HTTP/1.
//!
//! They are read once for a connection and handed on in front of the rest: a request pays for one comparison.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What an HTTP/2 client sends first (RFC 9113, section 3.4); no request of HTTP/1 begins so.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    Http1,
    Http2,
}

/// A stream whose first bytes have been read, as if they had not.
#[derive(Debug)]
pub struct Begun<S> {
    first: [u8; PREFACE.len()],
    /// Of `first`, what is still to be read again.
    unread: std::ops::Range<usize>,
    stream: S,
}

/// Reads until it is clear what the client speaks: mostly once.
pub async fn read<S: AsyncRead + Unpin>(stream: S) -> io::Result<(Spoken, Begun<S>)> {
    let mut begun = Begun { first: [0; PREFACE.len()], unread: 0..0, stream };
    loop {
        let end = begun.unread.end;
        if end == PREFACE.len() {
            return Ok((Spoken::Http2, begun));
        }
        let count = begun.stream.read(&mut begun.first[end..]).await?;
        begun.unread.end += count;
        if count == 0 || !PREFACE.starts_with(&begun.first[..begun.unread.end]) {
            return Ok((Spoken::Http1, begun));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let count = self.unread.len().min(into.remaining());
        into.put_slice(&self.first[self.unread.start..self.unread.start + count]);
        self.unread.start += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::api::test_server::run;

    async fn spoken(bytes: &[u8]) -> (Spoken, Vec<u8>) {
        let whole = bytes.to_vec();
        let (mut client, server) = tokio::io::duplex(1);
        tokio::task::spawn_local(async move {
            tokio::io::AsyncWriteExt::write_all(&mut client, &whole).await.unwrap();
        });
        let (spoken, mut begun) = read(server).await.unwrap();
        let mut all = Vec::new();
        begun.read_to_end(&mut all).await.unwrap();
        (spoken, all)
    }

    #[test]
    fn only_the_whole_preface_is_http2_and_nothing_is_lost() {
        run(async {
            for (bytes, expected) in [
                (&b"GET /v2 HTTP/1.1\r\n\r\n"[..], Spoken::Http1),
                (b"POST / HTTP/1.1\r\n\r\n", Spoken::Http1),
                (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more", Spoken::Http2),
                (b"PRI * HTTP/2.0\r\n\r\nNM\r\n\r\n", Spoken::Http1),
                (b"PRI * HT", Spoken::Http1),
                (b"", Spoken::Http1),
            ] {
                assert_eq!(spoken(bytes).await, (expected, bytes.to_vec()));
            }
        });
    }
}
