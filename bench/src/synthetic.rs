//! A server whose latency is known beforehand, to test load generators by: every answer leaves a chosen time after its
//! request came, and a planned stall holds back all that would leave during it.
//!
//! One thread, HTTP/1.1, any path, any body, one request at a time a connection; it never sleeps while an answer is due within `SPIN_BELOW_NS`, so that
//! its own lateness is a few µs. It tells what it means to do in `Server-Timing: model;dur=…`, as the engine does.

mod behaviour;
pub mod command;
mod connection;
mod pages;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

pub use self::behaviour::{Behaviour, Delay, Stall};
use self::connection::{Connection, Took};
use self::pages::Counts;
use crate::clock::Clock;

/// `epoll` waits whole milliseconds: what is due sooner is awaited by looking again.
const SPIN_BELOW_NS: u64 = 2_000_000;
/// The longest sleep.
const WAIT_MAX: Duration = Duration::from_millis(10);
const EVENTS_PER_TURN: usize = 256;
/// A load generator's most; later ones are turned away.
const CONNECTIONS_MAX: usize = 4_096;
const LISTENER: Token = Token(usize::MAX - 1);

pub struct Synthetic {
    poll: Poll,
    listener: TcpListener,
    clock: Clock,
    behaviour: Behaviour,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// When each answer leaves, to whom, and on which of the slot's connections, since slots are used again.
    leaving: BinaryHeap<Reverse<(u64, usize, u64)>>,
    accepted: u64,
    counts: Counts,
}

impl Synthetic {
    pub fn bind(listen: SocketAddr, behaviour: Behaviour) -> io::Result<Synthetic> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(listen)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Synthetic {
            poll,
            listener,
            clock: Clock::start(),
            behaviour,
            connections: Vec::new(),
            free: Vec::new(),
            leaving: BinaryHeap::new(),
            accepted: 0,
            counts: Counts::default(),
        })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` says so, asked at least every `WAIT_MAX`. Planned stalls count from the first request.
    pub fn serve(&mut self, stop: &dyn Fn() -> bool) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !stop() {
            self.answer_all();
            let wait = self.wait();
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(index) => self.receive(index),
                }
            }
        }
        Ok(())
    }

    fn wait(&self) -> Duration {
        let Some(Reverse((due_ns, ..))) = self.leaving.peek() else { return WAIT_MAX };
        let ahead_ns = due_ns.saturating_sub(self.clock.now_ns());
        if ahead_ns < SPIN_BELOW_NS { Duration::ZERO } else { Duration::from_millis(1) }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (mut stream, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let index = self.free.pop().unwrap_or(self.connections.len());
            if index >= CONNECTIONS_MAX {
                continue;
            }
            stream.set_nodelay(true)?;
            self.poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            self.accepted += 1;
            let connection = Some(Connection::new(stream, self.accepted));
            if index == self.connections.len() {
                self.connections.push(connection);
            } else {
                self.connections[index] = connection;
            }
        }
    }

    fn receive(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        match connection.receive(self.counts) {
            Took::Nothing => {}
            Took::Request => {
                let now_ns = self.clock.now_ns();
                let leaves_ns = self.behaviour.leaves_ns(now_ns);
                connection.awaits(leaves_ns - now_ns);
                self.counts.delays_ns += leaves_ns - now_ns;
                self.leaving.push(Reverse((leaves_ns, index, connection.number)));
            }
            Took::End => {
                self.connections[index] = None;
                self.free.push(index);
            }
        }
    }

    fn answer_all(&mut self) {
        while let Some(&Reverse((due_ns, index, number))) = self.leaving.peek() {
            if due_ns > self.clock.now_ns() {
                return;
            }
            self.leaving.pop();
            let connection = self.connections.get_mut(index).and_then(Option::as_mut);
            // The client may have left, and another have its place.
            if let Some(connection) = connection.filter(|open| open.number == number) {
                connection.answer();
                self.counts.answers += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::driver::drive;
    use crate::plan::{Expect, Plan, Target};

    const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nping";

    /// What each answer takes at least is certain; how much longer is the machine's affair.
    #[test]
    fn no_answer_comes_before_its_time() {
        let delay = Delay::Constant { us: 3_000 };
        let mut server =
            Synthetic::bind(([127, 0, 0, 1], 0).into(), Behaviour::new(delay, None, 1))
                .expect("a free port");
        let address = server.address().expect("bound");
        let done = AtomicBool::new(false);
        let measured = std::thread::scope(|scope| {
            scope.spawn(|| server.serve(&|| done.load(Ordering::Relaxed)));
            let target = Target::one(address, REQUEST.to_vec(), Expect::default());
            let measured =
                drive(&target, &Plan::closed(4, Duration::from_millis(200)), &mut |_| {});
            done.store(true, Ordering::Relaxed);
            measured.expect("a run")
        });
        assert_eq!(measured.failures.total(), 0);
        assert!(measured.answered > 4);
        let fastest_ns = measured.service.histogram().min();
        assert!(fastest_ns >= 2_990_000, "{fastest_ns}, three digits of 3 ms");
        assert!(measured.stages.model.summary().samples > 4, "it says what it takes");
    }
}
