//! One HTTP/2 connection to a gRPC server. A task of the runtime reads and writes it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::clock::Clock;

/// Loopback answers at once or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer we take fits, so that a server never waits for us within an answer.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// The protocol's limit: answers of all streams together never wait for us either.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

#[derive(Debug)]
pub(super) struct Peer {
    requests: SendRequest<Bytes>,
    seen: Arc<Seen>,
}

/// What the connection's task has seen.
#[derive(Debug, Default)]
struct Seen {
    gone: AtomicBool,
    /// When bytes came after there were none.
    readable_ns: AtomicU64,
}

/// Whether a connection takes one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// As many are on their way as the server allows on one connection.
    Full,
    /// Closed, or about to be.
    Gone,
}

impl Peer {
    /// Ready when the other side has proved that it speaks HTTP/2, and told its limits.
    pub(super) async fn open(address: SocketAddr, clock: Clock) -> io::Result<Peer> {
        match tokio::time::timeout(CONNECT_TIMEOUT, Peer::connect(address, clock)).await {
            Ok(opened) => opened,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn connect(address: SocketAddr, clock: Clock) -> io::Result<Peer> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let seen = Arc::<Seen>::default();
        let watched = Watched { stream, clock, seen: Arc::clone(&seen), is_drained: true };
        let mut builder = Builder::new();
        builder.initial_window_size(STREAM_WINDOW_BYTES).enable_push(false);
        builder.initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let (requests, mut connection) = builder.handshake(watched).await.map_err(as_io)?;
        let ping = connection.ping_pong();
        let ends = Arc::clone(&seen);
        tokio::spawn(async move {
            // Each request on it learns the reason.
            let _ = connection.await;
            ends.gone.store(true, Ordering::Relaxed);
        });
        if let Some(mut ping) = ping {
            ping.ping(h2::Ping::opaque()).await.map_err(as_io)?;
        }
        Ok(Peer { requests, seen })
    }

    pub(super) fn room(&mut self, in_flight: usize) -> Room {
        if self.seen.gone.load(Ordering::Relaxed) {
            return Room::Gone;
        }
        let streams_max = self.requests.current_max_send_streams();
        match self.requests.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) if in_flight < streams_max => Room::Free,
            Poll::Ready(Ok(())) | Poll::Pending => Room::Full,
            Poll::Ready(Err(_)) => Room::Gone,
        }
    }

    /// Hands the request to the connection's task, which writes it as soon as the caller waits for anything.
    pub(super) fn ask(
        &mut self,
        head: Request<()>,
        body: Bytes,
    ) -> Result<ResponseFuture, h2::Error> {
        let (response, mut stream) = self.requests.send_request(head, false)?;
        stream.send_data(body, true)?;
        Ok(response)
    }

    /// When what was read last began to be readable, on the clock given to [`Peer::open`].
    pub(super) fn readable_ns(&self) -> u64 {
        self.seen.readable_ns.load(Ordering::Relaxed)
    }
}

fn as_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    io::Error::other(error)
}

/// A stream that writes down when bytes came.
#[derive(Debug)]
struct Watched {
    stream: TcpStream,
    clock: Clock,
    seen: Arc<Seen>,
    /// The last read found nothing.
    is_drained: bool,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() && self.is_drained {
            self.seen.readable_ns.store(self.clock.now_ns(), Ordering::Relaxed);
        }
        self.is_drained = polled.is_pending();
        polled
    }
}

impl AsyncWrite for Watched {
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
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
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
