//! Accepts, serves and drains the HTTP connections of one core.
//!
//! Each core has its own listener on the same port (SO_REUSEPORT) and keeps what it accepts: nothing about a connection is shared
//! between threads. A Unix socket has no such thing: there each core has a duplicate of one listener, and whichever core is free
//! first takes the next connection. Bounds: connections per core, time and bytes of a head and of a body, headers of a head
//! (hyper's 100: it has room for them on its stack, and another number would cost every request).
//! Deliberately absent: a timer per request (see [`connections`](crate::api::connections)) and TLS.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::api::connections::{Connection, Connections, Open, sweep_period};
use crate::api::first_bytes::{self, Begun, Spoken};
use crate::api::front_end::FrontEnd;
use crate::api::http2;
use crate::api::oip_grpc;
use crate::api::oip_http;
use crate::observe::metrics::ErrorKind;

pub use crate::api::connections::DrainPhase;

mod sockets;

pub use self::sockets::Listener;

/// Handshakes the kernel completes before we accept them: a burst of new clients between two turns of the loop.
const BACKLOG: i32 = 1024;
/// Pause after an accept that failed for want of descriptors or memory: closing connections give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// While closing, an idle connection stays this long: its client may have sent a request that is still on its way.
const IDLE_GRACE: Duration = Duration::from_millis(200);
/// Where another engine has taken over there is no haste: most clients ask again within this, and are told to connect anew
/// with an answer instead of by a close that may cross their request.
const HANDED_OVER_GRACE: Duration = Duration::from_secs(3);
/// Connections beyond the bound that are being told so; more are closed without a word.
const TURNED_AWAY_MAX: usize = 64;
/// For the refused client to read its answer.
const TURN_AWAY_TIME_MAX: Duration = Duration::from_secs(1);
const TURNED_AWAY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    retry-after: 1\r\nretry-after-ms: 1000\r\nconnection: close\r\ncontent-length: 87\r\n\r\n\
    {\"error\":\"the server has as many connections as it takes; retry, or use fewer of them\"}";

/// A listener that shares its port with those of other cores. Its connections inherit TCP_NODELAY.
pub fn bind(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves until `drain` says [`DrainPhase::Closing`] and everything accepted is answered. `speak` is the whole of one
/// connection, from its accept to its end. Needs a runtime of one thread that can `spawn_local`.
pub async fn serve<L, S, C>(
    front: Rc<FrontEnd>,
    listener: L,
    mut drain: watch::Receiver<DrainPhase>,
    speak: S,
) -> io::Result<()>
where
    L: Listener,
    S: Fn(Rc<FrontEnd>, Rc<Connections>, L::Stream) -> C,
    C: Future<Output = ()> + 'static,
{
    let listener = listener.watch()?;
    let server = Server {
        front,
        speak,
        connections: Rc::default(),
        turned_away: Rc::default(),
        accepting: Cell::new(true),
        accepts: PhantomData::<L>,
    };
    let mut sweep = server.sweep_interval();
    server.accept_until_closing(&listener, &mut drain, &mut sweep).await;
    server.accept_what_waits(listener)?;
    server.finish(&mut sweep).await;
    Ok(())
}

struct Server<L, S> {
    front: Rc<FrontEnd>,
    speak: S,
    connections: Rc<Connections>,
    /// Clones of it are held by the connections that are being refused.
    turned_away: Rc<()>,
    /// The last accept succeeded: a streak of failures is worth one line of the log.
    accepting: Cell<bool>,
    accepts: PhantomData<L>,
}

impl<L, S, C> Server<L, S>
where
    L: Listener,
    S: Fn(Rc<FrontEnd>, Rc<Connections>, L::Stream) -> C,
    C: Future<Output = ()> + 'static,
{
    fn sweep_interval(&self) -> Interval {
        let limits = &self.front.limits;
        let shortest = limits.head_time_max.min(limits.body_time_max).min(limits.idle_time_max);
        let mut sweep = interval(sweep_period(shortest));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sweep
    }

    async fn accept_until_closing(
        &self,
        listener: &L::Watched,
        drain: &mut watch::Receiver<DrainPhase>,
        sweep: &mut Interval,
    ) {
        loop {
            self.connections.set_phase(*drain.borrow_and_update());
            if self.connections.phase().is_closing() {
                return;
            }
            tokio::select! {
                changed = drain.changed() => if changed.is_err() {
                    // Whoever could ask for an end is gone: that is the end.
                    return self.connections.set_phase(DrainPhase::Closing);
                },
                _ = sweep.tick() => self.connections.sweep(self.front.clock.coarse()),
                () = self.accept_some(listener) => {}
            }
        }
    }

    /// Takes what waits; returns now and then so that the rest of the loop gets its turn.
    async fn accept_some(&self, listener: &L::Watched) {
        const PER_TURN: usize = 64;
        for _ in 0..PER_TURN {
            match L::accept(listener).await {
                Ok(stream) => {
                    self.accepting.set(true);
                    self.admit(stream);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    if self.accepting.replace(false) {
                        tracing::warn!(%error, "cannot accept connections; trying again until it works");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Clients whose handshake is done believe themselves accepted.
    fn accept_what_waits(&self, listener: L::Watched) -> io::Result<()> {
        let listener = L::unwatch(listener)?;
        while let Ok(stream) = listener.accept_now() {
            if let Ok(stream) = stream {
                self.admit(stream);
            }
        }
        Ok(())
    }

    fn admit(&self, stream: L::Stream) {
        if self.connections.count() < self.front.limits.connections_max {
            let connection = (self.speak)(self.front.clone(), self.connections.clone(), stream);
            tokio::task::spawn_local(connection);
            return;
        }
        self.front.recorder.error(ErrorKind::QueueFull);
        if Rc::strong_count(&self.turned_away) <= TURNED_AWAY_MAX {
            let guard = self.turned_away.clone();
            tokio::task::spawn_local(async move {
                // Whether the client reads it is its own affair.
                drop(timeout(TURN_AWAY_TIME_MAX, turn_away(stream)).await);
                drop(guard);
            });
        }
    }

    /// Every request that is on its way is answered; idle connections close after a moment.
    async fn finish(&self, sweep: &mut Interval) {
        let handed_over = self.connections.phase() == DrainPhase::HandedOver;
        let grace = if handed_over { HANDED_OVER_GRACE } else { IDLE_GRACE };
        let grace = tokio::time::sleep(grace);
        let mut grace = pin!(grace);
        while self.connections.count() > 0 {
            tokio::select! {
                () = &mut grace, if !self.connections.finishing() => self.connections.finish(),
                _ = sweep.tick() => self.connections.sweep(self.front.clock.coarse()),
                () = self.connections.one_closed() => {}
            }
        }
    }
}

/// The peer went away between its handshake and our accept; the next one may be fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// A connection that speaks the Open Inference Protocol, over HTTP/1.1 or HTTP/2 as its first bytes say.
pub async fn oip<S>(front: Rc<FrontEnd>, connections: Rc<Connections>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    either_version(front, connections, stream, oip_http::handle_beside).await;
}

/// The same for administrators, who find gRPC on their one address, too.
pub async fn admin<S>(front: Rc<FrontEnd>, connections: Rc<Connections>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    either_version(front, connections, stream, oip_grpc::beside_pages).await;
}

async fn either_version<S, F, B>(
    front: Rc<FrontEnd>,
    connections: Rc<Connections>,
    stream: S,
    beside: fn(Rc<http2::Link>, Request<Incoming>) -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let open = connections.open(front.clock.coarse().after(front.limits.head_time_max));
    front.recorder.connection_opened();
    match first_bytes(&connections, &open, stream).await {
        None => {}
        Some((Spoken::Http1, stream)) => {
            go_on(&front, &connections, open, stream, oip_http::handle).await;
        }
        Some((Spoken::Http2, stream)) => {
            http2::go_on(front.clone(), connections, open, stream, beside).await;
        }
    }
    front.recorder.connection_closed();
}

/// None: the client went, took too long, or had not begun when the connection was to end.
async fn first_bytes<S: AsyncRead + Unpin>(
    connections: &Connections,
    open: &Open,
    stream: S,
) -> Option<(Spoken, Begun<S>)> {
    let mut reading = pin!(first_bytes::read(stream));
    poll_fn(|context| {
        open.connection.register(context);
        let read = reading.as_mut().poll(context);
        let ended = open.connection.head_expired() || connections.finishing();
        if read.is_pending() && ended { Poll::Ready(None) } else { read.map(Result::ok) }
    })
    .await
}

/// A connection that speaks HTTP/1.1; `handle` answers its requests, one after the other.
pub async fn http1<S, H, B>(front: &FrontEnd, connections: &Rc<Connections>, stream: S, handle: H)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: AsyncFn(&FrontEnd, &Connections, &Rc<Connection>, Request<Incoming>) -> Response<B>,
    B: Body<Data = Bytes, Error = Infallible> + 'static,
{
    let open = connections.open(front.clock.coarse().after(front.limits.head_time_max));
    front.recorder.connection_opened();
    go_on(front, connections, open, stream, handle).await;
    front.recorder.connection_closed();
}

/// The same for a connection that has been counted.
async fn go_on<S, H, B>(
    front: &FrontEnd,
    connections: &Rc<Connections>,
    open: Open,
    stream: S,
    handle: H,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    H: AsyncFn(&FrontEnd, &Connections, &Rc<Connection>, Request<Incoming>) -> Response<B>,
    B: Body<Data = Bytes, Error = Infallible> + 'static,
{
    let service = service_fn(async |request| {
        Ok::<_, Infallible>(handle(front, connections, &open.connection, request).await)
    });
    let mut builder = Builder::new();
    // Heads are timed by the sweep, which costs a request nothing.
    builder.header_read_timeout(None).max_header_size(front.limits.head_bytes_max);
    let mut protocol = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut told = false;
    let ended = poll_fn(|context| {
        open.connection.register(context);
        if open.connection.head_expired() {
            return Poll::Ready(Ok(()));
        }
        if connections.finishing() && !std::mem::replace(&mut told, true) {
            protocol.as_mut().graceful_shutdown();
        }
        protocol.as_mut().poll(context)
    })
    .await;
    if ended.is_err_and(|error| error.is_parse()) {
        front.recorder.error(ErrorKind::BadInput);
    }
}

async fn turn_away(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.write_all(TURNED_AWAY).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection and take the answer away from its reader.
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests;
