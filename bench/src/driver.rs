//! A single-threaded HTTP/1.1 load driver: the same request over keep-alive connections, closed or open loop.
//!
//! Open loop: a request is due when the plan says so, whether or not the server keeps up. Its latency counts from that
//! moment, so that a stall is felt by everyone who would have come during it; the time from the actual send is
//! recorded beside it, and so is the lag between the two. Closed loop: each connection asks again as soon as it is
//! answered. Every run is bounded in time and in requests. An answer that isn't the expected one is a failure and no
//! latency. Deliberately absent: TLS, HTTP/2, pipelining, more than one thread.

mod connection;
#[cfg(test)]
mod tests;
mod trace;

use std::collections::VecDeque;
use std::io;
use std::iter::Peekable;
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use serde::Serialize;

use self::connection::{Answered, Connection, Progress, Sent};
pub use self::trace::{Ended, Record, Stall, Trace};
use crate::arrivals::Arrivals;
use crate::clock::{Clock, nanos};
use crate::record::Latencies;

/// Connections of one run; a process may open 1,024 descriptors by default.
pub const CONNECTIONS_MAX: usize = 1_000;
/// Requests that are due and find no free connection. Past it they count as dropped: the server is far behind.
const BACKLOG_MAX: usize = 1 << 16;
/// How long answers may take after the last request was sent.
const DRAIN_MAX_NS: u64 = 10_000_000_000;
/// A server that keeps closing connections ends the run.
const RECONNECTS_MAX: u64 = 1_000;
/// `epoll` waits whole milliseconds; what is due sooner than this is awaited by looking again.
const SPIN_BELOW_NS: u64 = 2_000_000;
/// The longest sleep, so that ends of phases are seen.
const WAIT_MAX_NS: u64 = 10_000_000;
const EVENTS_PER_TURN: usize = 256;

#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    /// A whole request, head and body.
    pub request: Vec<u8>,
    pub status: u16,
    /// Compared byte by byte where given.
    pub body: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub enum Load {
    Closed,
    Open(Arrivals),
    /// Open loop with every due time given, ascending nanoseconds from the start.
    Listed(Vec<u64>),
}

impl Load {
    fn due_times(&self) -> Option<Due> {
        match self {
            Load::Closed => None,
            Load::Open(arrivals) => Some(Due::Endless(arrivals.clone())),
            Load::Listed(due_ns) => Some(Due::Listed(due_ns.clone().into_iter())),
        }
    }
}

enum Due {
    Endless(Arrivals),
    Listed(std::vec::IntoIter<u64>),
}

impl Iterator for Due {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match self {
            Due::Endless(arrivals) => arrivals.next(),
            Due::Listed(due_ns) => due_ns.next(),
        }
    }
}

/// How the driver waits for answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Never sleeps: for a driver that owns its core. Its wake-up then isn't part of the latency.
    Spin,
    Sleep,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub connections: usize,
    pub load: Load,
    pub wait: Wait,
    /// Sent and answered, but not recorded.
    pub warm_up: Duration,
    pub measure: Duration,
    pub requests_max: u64,
}

/// The moments at which a caller reads the server's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    MeasureStarts,
    MeasureEnds,
}

#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// From the due time; in closed loop the same as `service`.
    pub latency: Latencies,
    /// From the moment it was sent.
    pub service: Latencies,
    /// From the due time to the moment it was sent.
    pub send_lag: Latencies,
    /// Right answers that arrived inside the measured window.
    pub answered: u64,
    pub window: Duration,
    pub failures: Failures,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failures {
    pub wrong_status: u64,
    pub wrong_body: u64,
    pub not_http: u64,
    pub closed: u64,
    pub unanswered: u64,
    /// Due, but never sent: the backlog was full or the run over.
    pub dropped: u64,
}

impl Failures {
    pub fn total(&self) -> u64 {
        let answers = self.wrong_status + self.wrong_body + self.not_http;
        answers + self.closed + self.unanswered + self.dropped
    }
}

impl Measured {
    pub fn requests_per_second(&self) -> f64 {
        self.answered as f64 / self.window.as_secs_f64()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error("give 1 to {CONNECTIONS_MAX} connections and a measured time above zero")]
    Plan,
    #[error("could not connect to {address}: {source}; is the server up?")]
    Connect { address: SocketAddr, source: io::Error },
    #[error(
        "the server closed {RECONNECTS_MAX} connections during one run; it does not keep them alive"
    )]
    KeepsClosing,
    #[error("the system refused to wait for events: {0}")]
    Poll(io::Error),
}

/// Runs the plan. `at_edge` is called as the measured window opens and closes.
pub fn drive(
    target: &Target,
    plan: &Plan,
    at_edge: &mut dyn FnMut(Edge),
) -> Result<Measured, DriverError> {
    let mut driver = Driver::new(target, plan, None)?;
    driver.run(at_edge)?;
    Ok(driver.finish().0)
}

/// The same, and what became of each request.
pub fn drive_traced(
    target: &Target,
    plan: &Plan,
    at_edge: &mut dyn FnMut(Edge),
) -> Result<(Measured, Trace), DriverError> {
    let requests = if let Load::Listed(due_ns) = &plan.load { due_ns.len() } else { 0 };
    let mut driver = Driver::new(target, plan, Some(Trace::of(requests)))?;
    driver.run(at_edge)?;
    let (measured, trace) = driver.finish();
    Ok((measured, trace.unwrap_or_default()))
}

struct Driver<'a> {
    target: &'a Target,
    plan: &'a Plan,
    clock: Clock,
    poll: Poll,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    arrivals: Option<Peekable<Due>>,
    /// Due times without a free connection, the oldest first.
    backlog: VecDeque<u64>,
    window_ns: (u64, u64),
    next_edge: Option<Edge>,
    sent: u64,
    reconnects: u64,
    measured: Measured,
    trace: Option<Trace>,
}

impl<'a> Driver<'a> {
    fn new(
        target: &'a Target,
        plan: &'a Plan,
        trace: Option<Trace>,
    ) -> Result<Driver<'a>, DriverError> {
        if !(1..=CONNECTIONS_MAX).contains(&plan.connections) || plan.measure.is_zero() {
            return Err(DriverError::Plan);
        }
        let mut driver = Driver {
            target,
            plan,
            clock: Clock::start(),
            poll: Poll::new().map_err(DriverError::Poll)?,
            connections: Vec::with_capacity(plan.connections),
            idle: (0..plan.connections).collect(),
            arrivals: plan.load.due_times().map(Iterator::peekable),
            backlog: VecDeque::new(),
            window_ns: (0, 0),
            next_edge: Some(Edge::MeasureStarts),
            sent: 0,
            reconnects: 0,
            measured: Measured { window: plan.measure, ..Measured::default() },
            trace,
        };
        for index in 0..plan.connections {
            let connection = driver.connect(index)?;
            driver.connections.push(connection);
        }
        Ok(driver)
    }

    fn run(&mut self, at_edge: &mut dyn FnMut(Edge)) -> Result<(), DriverError> {
        // Time starts when all connections stand.
        self.clock = Clock::start();
        let opens_ns = nanos(self.plan.warm_up);
        self.window_ns = (opens_ns, opens_ns + nanos(self.plan.measure));
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            let now_ns = self.clock.now_ns();
            if let Some(trace) = &mut self.trace {
                trace.turn(now_ns);
            }
            self.cross_edges(now_ns, at_edge);
            if self.is_over(now_ns) {
                return Ok(());
            }
            self.take_arrivals(now_ns);
            self.send_all(now_ns)?;
            self.wait(&mut events)?;
            for event in &events {
                self.serve(event.token().0, event.is_writable())?;
            }
        }
    }

    // ---- time ----

    fn cross_edges(&mut self, now_ns: u64, at_edge: &mut dyn FnMut(Edge)) {
        if self.next_edge == Some(Edge::MeasureStarts) && now_ns >= self.window_ns.0 {
            at_edge(Edge::MeasureStarts);
            self.next_edge = Some(Edge::MeasureEnds);
        }
        if self.next_edge == Some(Edge::MeasureEnds) && now_ns >= self.window_ns.1 {
            at_edge(Edge::MeasureEnds);
            self.next_edge = None;
        }
    }

    /// Past the window, when nothing is awaited any more or has been for too long.
    fn is_over(&self, now_ns: u64) -> bool {
        let waits = self.idle.len() < self.connections.len();
        self.next_edge.is_none() && (!waits || now_ns >= self.window_ns.1 + DRAIN_MAX_NS)
    }

    fn may_send(&self, now_ns: u64) -> bool {
        now_ns < self.window_ns.1 && self.sent < self.plan.requests_max
    }

    fn is_measured(&self, at_ns: u64) -> bool {
        (self.window_ns.0..self.window_ns.1).contains(&at_ns)
    }

    fn wait(&mut self, events: &mut Events) -> Result<(), DriverError> {
        let span = Duration::from_nanos(self.sleep_ns());
        match self.poll.poll(events, Some(span)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other.map_err(DriverError::Poll),
        }
    }

    fn sleep_ns(&mut self) -> u64 {
        if self.plan.wait == Wait::Spin {
            return 0;
        }
        let next_due_ns = self.arrivals.as_mut().and_then(|due| due.peek().copied());
        let Some(due_ns) = next_due_ns else { return WAIT_MAX_NS };
        let ahead_ns = due_ns.saturating_sub(self.clock.now_ns());
        if ahead_ns < SPIN_BELOW_NS { 0 } else { (ahead_ns - SPIN_BELOW_NS / 2).min(WAIT_MAX_NS) }
    }

    // ---- sending ----

    fn take_arrivals(&mut self, now_ns: u64) {
        let end_ns = self.window_ns.1;
        let Some(arrivals) = &mut self.arrivals else { return };
        while let Some(due_ns) = arrivals.next_if(|&due_ns| due_ns <= now_ns && due_ns < end_ns) {
            if self.backlog.len() < BACKLOG_MAX {
                self.backlog.push_back(due_ns);
            } else {
                self.measured.failures.dropped += 1;
            }
        }
    }

    fn send_all(&mut self, now_ns: u64) -> Result<(), DriverError> {
        while let Some(index) = self.idle.pop() {
            if !self.send_on(index, now_ns)? {
                self.idle.push(index);
                break;
            }
        }
        Ok(())
    }

    /// False: there is nothing to send now.
    fn send_on(&mut self, index: usize, now_ns: u64) -> Result<bool, DriverError> {
        if !self.may_send(now_ns) {
            return Ok(false);
        }
        let due_ns = match self.arrivals {
            None => now_ns,
            Some(_) => match self.backlog.pop_front() {
                Some(due_ns) => due_ns,
                None => return Ok(false),
            },
        };
        self.sent += 1;
        let sent = Sent { due_ns, sent_ns: self.clock.now_ns() };
        if self.connections[index].send(&self.target.request, sent).is_err() {
            self.lose(index)?;
        }
        Ok(true)
    }

    // ---- receiving ----

    fn serve(&mut self, index: usize, writable: bool) -> Result<(), DriverError> {
        if writable && self.connections[index].continue_sending(&self.target.request).is_err() {
            return self.lose(index);
        }
        match self.connections[index].receive() {
            Ok(Progress::Pending) => Ok(()),
            Ok(Progress::Answered(answered)) => self.settle(index, &answered),
            Ok(Progress::Closed) => self.lose(index),
            Err(_) => {
                self.measured.failures.not_http += 1;
                self.reconnect(index)
            }
        }
    }

    fn settle(&mut self, index: usize, answered: &Answered) -> Result<(), DriverError> {
        let now_ns = self.clock.now_ns();
        self.record(now_ns, index, answered);
        if !answered.keep_alive {
            return self.reconnect(index);
        }
        // At once, not after the other events of this turn: in closed loop that is when the caller would.
        if !self.send_on(index, now_ns)? {
            self.idle.push(index);
        }
        Ok(())
    }

    fn record(&mut self, now_ns: u64, index: usize, answered: &Answered) {
        if let Some(trace) = &mut self.trace {
            trace.answered(now_ns, answered, self.connections[index].head(answered));
        }
        let body = &self.target.body;
        let failures = &mut self.measured.failures;
        if answered.status != self.target.status {
            failures.wrong_status += 1;
            return;
        }
        if body.as_ref().is_some_and(|body| body != self.connections[index].body(answered)) {
            failures.wrong_body += 1;
            return;
        }
        if self.is_measured(now_ns) {
            self.measured.answered += 1;
        }
        let Sent { due_ns, sent_ns } = answered.sent;
        if self.is_measured(due_ns) {
            self.measured.latency.record(now_ns - due_ns);
            self.measured.service.record(now_ns - sent_ns);
            self.measured.send_lag.record(sent_ns - due_ns);
        }
    }

    // ---- connections ----

    fn lose(&mut self, index: usize) -> Result<(), DriverError> {
        if let Some(sent) = self.connections[index].on_its_way() {
            self.measured.failures.closed += 1;
            let now_ns = self.clock.now_ns();
            if let Some(trace) = &mut self.trace {
                trace.lost(now_ns, sent);
            }
        }
        self.reconnect(index)
    }

    fn reconnect(&mut self, index: usize) -> Result<(), DriverError> {
        self.reconnects += 1;
        if self.reconnects > RECONNECTS_MAX {
            return Err(DriverError::KeepsClosing);
        }
        self.connections[index] = self.connect(index)?;
        if !self.idle.contains(&index) {
            self.idle.push(index);
        }
        Ok(())
    }

    fn connect(&self, index: usize) -> Result<Connection, DriverError> {
        let address = self.target.address;
        let failed = |source| DriverError::Connect { address, source };
        let mut connection = Connection::open(address).map_err(failed)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(&mut connection.stream, Token(index), interest).map_err(failed)?;
        Ok(connection)
    }

    fn finish(self) -> (Measured, Option<Trace>) {
        let mut measured = self.measured;
        let unanswered = self.connections.iter().filter(|open| open.on_its_way().is_some()).count();
        measured.failures.unanswered += unanswered as u64;
        measured.failures.dropped += self.backlog.len() as u64;
        (measured, self.trace)
    }
}
