//! The body of an answer that comes in lines, as things happen.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::api::connections::Connection;
use crate::api::front_end::FrontEnd;
use crate::api::http2::Turn;
use crate::clock::Clock;
use crate::fleet::catalog::PublishedCatalog;

/// Lines that wait for a client to read them; then whoever writes them waits.
const LINES_MAX: usize = 16;

/// Between two looks whether the engine is about to end: well within the time that a drain may take.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Returns once the engine drains: whoever waits for what may be long in coming is let go.
pub async fn draining(catalog: PublishedCatalog) {
    while !catalog.load().is_draining() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub struct Lines {
    lines: mpsc::Receiver<Bytes>,
    connection: Rc<Connection>,
    clock: Clock,
    /// For the client, to make room for the next line.
    read_time_max: Duration,
    /// Of a connection that carries other requests beside this one.
    turn: Option<Turn>,
}

impl Lines {
    /// What is given to the sender; its end is theirs.
    pub fn new(front: &FrontEnd, connection: &Rc<Connection>) -> (mpsc::Sender<Bytes>, Lines) {
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let (connection, clock) = (connection.clone(), front.clock);
        let read_time_max = front.limits.idle_time_max;
        (sender, Lines { lines, connection, clock, read_time_max, turn: None })
    }

    /// Till the end the engine owes something.
    pub fn hold(&mut self, turn: Turn) {
        self.turn = Some(turn);
    }

    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        // Asked for more, so what was given is on its way.
        self.connection.await_nothing();
        let line = ready!(self.lines.poll_recv(context));
        self.connection.await_head(self.clock.coarse().after(self.read_time_max));
        if line.is_none() {
            self.turn = None;
        }
        Poll::Ready(line)
    }
}
