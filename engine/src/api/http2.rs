//! One connection that speaks HTTP/2: its bounds, its turns, its end.
//!
//! Requests of one connection run side by side, each a task of the core's own thread. Slow and silent clients are found
//! by the sweep over [`connections`](crate::api::connections): a connection on which the engine owes nothing must ask
//! something within the idle time, else it is asked to go, and soon after is closed. Deliberately absent: pings of ours
//! (the kernel probes peers that are gone) and TLS.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::api::connections::{Connections, Open};
use crate::api::front_end::FrontEnd;

/// Requests of one connection that may run side by side; a client holds back the others. A thousand of the least
/// models' answer within milliseconds.
const STREAMS_MAX: u32 = 1024;
/// Bytes of one request's headers, counted as HTTP/2 does: more than proxies add, too few to hurt.
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// Bytes that a client may send ahead of our reading, per request and in all. A megabyte keeps a fast link busy.
const WINDOW_BYTES: u32 = 1 << 20;
/// Largest requests whose bodies may be on their way side by side on one connection, by their bytes together.
const LARGEST_ARRIVING_MAX: u64 = 4;

/// What the requests of one connection share.
pub struct Link {
    pub front: Rc<FrontEnd>,
    pub connections: Rc<Connections>,
    open: Open,
    /// Requests that wait for the engine and not for their client.
    turns: Cell<usize>,
    /// Bytes of messages that have begun and not ended.
    arriving_bytes: Cell<u64>,
    closing: Cell<bool>,
    /// Of long answers, which end when the connection is to.
    waiting_for_close: RefCell<Vec<Waker>>,
}

impl Link {
    fn new(front: Rc<FrontEnd>, connections: Rc<Connections>, open: Open) -> Link {
        Link {
            front,
            connections,
            open,
            turns: Cell::new(0),
            arriving_bytes: Cell::new(0),
            closing: Cell::new(false),
            waiting_for_close: RefCell::default(),
        }
    }

    /// From here until it is dropped the engine owes something.
    pub fn turn(self: &Rc<Link>) -> Turn {
        self.turns.set(self.turns.get() + 1);
        self.open.connection.await_nothing();
        Turn(self.clone())
    }

    /// Every model can answer, and the engine stays.
    pub fn is_ready(&self) -> bool {
        self.connections.phase().is_ready() && self.front.catalog.load().is_ready()
    }

    /// False: that many more bytes on their way are too many.
    pub fn arrive(&self, bytes: u64) -> bool {
        let arriving = self.arriving_bytes.get() + bytes;
        self.arriving_bytes.set(arriving);
        arriving <= self.front.limits.body_bytes_max.saturating_mul(LARGEST_ARRIVING_MAX)
    }

    pub fn arrived(&self, bytes: u64) {
        self.arriving_bytes.set(self.arriving_bytes.get() - bytes);
    }

    /// Ready when the connection is to end.
    pub fn poll_closing(&self, context: &Context<'_>) -> Poll<()> {
        if self.closing.get() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting_for_close.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    fn close(&self) {
        self.closing.set(true);
        self.waiting_for_close.take().into_iter().for_each(Waker::wake);
    }
}

/// The engine's turn.
pub struct Turn(Rc<Link>);

impl Drop for Turn {
    fn drop(&mut self) {
        let Link { front, open, turns, .. } = &*self.0;
        turns.set(turns.get() - 1);
        if turns.get() == 0 {
            open.connection.await_head(front.clock.coarse().after(front.limits.idle_time_max));
        }
    }
}

/// Serves a connection; `handle` answers each of its requests.
pub async fn serve<S, F, B>(
    front: Rc<FrontEnd>,
    connections: Rc<Connections>,
    stream: S,
    handle: fn(Rc<Link>, Request<Incoming>) -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let open = connections.open(front.clock.coarse().after(front.limits.head_time_max));
    front.recorder.connection_opened();
    go_on(front.clone(), connections, open, stream, handle).await;
    front.recorder.connection_closed();
}

/// The same for a connection that has been counted and found to speak HTTP/2.
pub async fn go_on<S, F, B>(
    front: Rc<FrontEnd>,
    connections: Rc<Connections>,
    open: Open,
    stream: S,
    handle: fn(Rc<Link>, Request<Incoming>) -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let link = Rc::new(Link::new(front, connections, open));
    let service = service_fn(|request| {
        let turn = link.turn();
        // Boxed, since a request's future of some kilobytes would be moved several times on its way into its task.
        let answer = Box::pin(handle(link.clone(), request));
        async move {
            let answer = answer.await;
            drop(turn);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut protocol = pin!(builder().serve_connection(TokioIo::new(stream), service));
    let mut told = false;
    poll_fn(|context| {
        match link.end(context, &mut told) {
            End::None => {}
            End::Graceful => protocol.as_mut().graceful_shutdown(),
            End::AtOnce => return Poll::Ready(()),
        }
        // How a connection broke is of no use to anybody here: its requests were told by their own streams.
        protocol.as_mut().poll(context).map(drop)
    })
    .await;
    link.close();
}

enum End {
    None,
    Graceful,
    AtOnce,
}

impl Link {
    /// Whether the connection is to end. `told`: it was asked to.
    fn end(&self, context: &mut Context<'_>, told: &mut bool) -> End {
        let connection = &self.open.connection;
        connection.register(context);
        let expired = connection.head_expired();
        if expired && *told {
            return End::AtOnce;
        }
        if *told || !(expired || self.connections.finishing()) {
            return End::None;
        }
        *told = true;
        if expired {
            let patience = self.front.limits.head_time_max;
            connection.await_head(self.front.clock.coarse().after(patience));
        }
        self.close();
        End::Graceful
    }
}

fn builder() -> Builder<OwnThread> {
    let mut builder = Builder::new(OwnThread);
    builder
        .auto_date_header(false)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    builder
}

/// Tasks stay on the core's thread.
#[derive(Clone, Copy)]
pub(super) struct OwnThread;

impl<F> Executor<F> for OwnThread
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
