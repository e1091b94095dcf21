//! A single-threaded HTTP/1.1 load driver over keep-alive connections, closed or open loop.
//!
//! Open loop: a request is due when the plan says so, whether or not the server keeps up. Its latency counts from that
//! moment, so that a stall is felt by everyone who would have come during it; the time from the actual send is
//! recorded beside it. A request that finds every connection busy opens one more, up to the plan's limit; past it the
//! wait for a connection is written down apart from what the driver itself was late. Closed loop: each connection asks
//! again as soon as it is answered. Every run is bounded in time and in requests. An answer that isn't the expected one
//! is a failure and no latency; so is a connection that the server doesn't take or ends early, and the run goes on.
//! Deliberately absent: TLS, HTTP/2, pipelining, more than one thread.

mod connection;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use self::connection::{Answered, Connection, Progress};
use crate::address::Address;
use crate::clock::Clock;
use crate::ledger::{Answer, Ledger, Sent};
use crate::measured::{Feed, Measured};
use crate::plan::{CONNECTIONS_MAX, Edge, Load, Plan, Target, Wait};
use crate::schedule::{Schedule, Waiting};
use crate::timing::ServerTiming;
use crate::trace::Trace;

/// How long answers may take after the last request was sent.
pub(crate) const DRAIN_MAX_NS: u64 = 10_000_000_000;
/// The same where somebody waits for a run that he stopped.
pub(crate) const DRAIN_STOPPED_NS: u64 = 1_000_000_000;
/// A connection that the server refused is tried again after this, so that a server that is gone isn't flooded.
pub(crate) const REFUSED_PAUSE_NS: u64 = 10_000_000;
/// A sleeper wakes this much before the next request is due, and looks again and again from there: timers fire late by
/// some tens of µs.
pub(crate) const SPIN_BELOW_NS: u64 = 150_000;
/// The longest sleep, so that ends of phases are seen.
pub(crate) const WAIT_MAX: Duration = Duration::from_millis(10);
pub(crate) const EVENTS_PER_TURN: usize = 256;
/// The timer's among the connections' numbers.
const TIMER: Token = Token(usize::MAX - 1);

#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error(
        "give 1 to {CONNECTIONS_MAX} connections, at least one request and a measured time above zero"
    )]
    Plan,
    #[error("could not connect to {address}: {source}; is the server up?")]
    Connect { address: Address, source: io::Error },
    #[error("gRPC is asked over TCP; give an address with a port")]
    GrpcOverUnix,
    #[error("the system refused to wait for events: {0}")]
    Poll(io::Error),
}

/// Runs the plan. `at_edge` is called as the measured window opens and closes.
pub fn drive(
    target: &Target,
    plan: &Plan,
    at_edge: &mut dyn FnMut(Edge),
) -> Result<Measured, DriverError> {
    Ok(run(target, plan, at_edge, Ledger::new(None, None))?.0)
}

/// The same, handing out what was measured while it goes on; what comes back is the last stretch.
pub fn drive_fed(
    target: &Target,
    plan: &Plan,
    at_edge: &mut dyn FnMut(Edge),
    feed: Feed,
) -> Result<Measured, DriverError> {
    Ok(run(target, plan, at_edge, Ledger::new(None, Some(feed)))?.0)
}

/// The same as [`drive`], and what became of each request.
pub fn drive_traced(
    target: &Target,
    plan: &Plan,
    at_edge: &mut dyn FnMut(Edge),
) -> Result<(Measured, Trace), DriverError> {
    let requests = if let Load::Listed(due_ns) = &plan.load { due_ns.len() } else { 0 };
    let ledger = Ledger::new(Some(Trace::of(requests)), None);
    let (measured, trace) = run(target, plan, at_edge, ledger)?;
    Ok((measured, trace.unwrap_or_default()))
}

fn run(
    target: &Target,
    plan: &Plan,
    at_edge: &mut dyn FnMut(Edge),
    ledger: Ledger,
) -> Result<(Measured, Option<Trace>), DriverError> {
    let mut driver = Driver::new(target, plan, ledger)?;
    driver.run(at_edge)?;
    driver.settle_the_rest();
    Ok((driver.ledger.measured, driver.ledger.trace))
}

struct Driver<'a> {
    target: &'a Target,
    plan: &'a Plan,
    clock: Clock,
    poll: Poll,
    timer: OwnedFd,
    /// None: to be opened when it is needed next.
    connections: Vec<Option<Connection>>,
    idle: Vec<usize>,
    /// Refused ones, and when they may be tried again; the earliest first.
    resting: VecDeque<(u64, usize)>,
    schedule: Schedule,
    /// When the events of this turn were learned of.
    readable_ns: u64,
    ledger: Ledger,
}

impl<'a> Driver<'a> {
    fn new(target: &'a Target, plan: &'a Plan, ledger: Ledger) -> Result<Driver<'a>, DriverError> {
        let connections = 1..=CONNECTIONS_MAX;
        let sane = connections.contains(&plan.connections)
            && connections.contains(&plan.connections_max)
            && !target.requests.is_empty()
            && !plan.measure.is_zero();
        if !sane {
            return Err(DriverError::Plan);
        }
        let poll = Poll::new().map_err(DriverError::Poll)?;
        let timer = timer(&poll).map_err(DriverError::Poll)?;
        let mut driver = Driver {
            target,
            plan,
            clock: Clock::start(),
            poll,
            timer,
            connections: Vec::with_capacity(plan.connections_max),
            idle: (0..plan.connections).collect(),
            resting: VecDeque::new(),
            schedule: Schedule::new(plan),
            readable_ns: 0,
            ledger,
        };
        for index in 0..plan.connections {
            let address = target.address;
            let opened = Connection::open(address)
                .and_then(|connection| driver.registered(index, connection))
                .map_err(|source| DriverError::Connect { address, source })?;
            driver.connections.push(Some(opened));
        }
        Ok(driver)
    }

    fn run(&mut self, at_edge: &mut dyn FnMut(Edge)) -> Result<(), DriverError> {
        // Time starts when all connections stand.
        self.clock = Clock::start();
        self.ledger.open_window(self.plan.warm_up, self.plan.measure);
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            let now_ns = self.clock.now_ns();
            if self.is_done_early() {
                self.ledger.end_window(now_ns);
            }
            self.ledger.turn(now_ns, at_edge);
            self.schedule.take_arrivals(now_ns, &mut self.ledger);
            self.send_all(now_ns);
            self.schedule.give_up(now_ns, &mut self.ledger);
            if self.is_over(now_ns) {
                return Ok(());
            }
            self.wait(&mut events)?;
            self.readable_ns = self.clock.now_ns();
            for event in &events {
                if event.token() != TIMER {
                    self.serve(event);
                }
            }
        }
    }

    // ---- time ----

    /// Told to stop, or everything that was to be asked is answered.
    fn is_done_early(&mut self) -> bool {
        let stopped = self.ledger.feed.as_ref().is_some_and(Feed::is_stopped);
        self.ledger.measured.stopped |= stopped;
        stopped || (self.schedule.is_exhausted() && !self.awaits_answers())
    }

    fn awaits_answers(&self) -> bool {
        self.idle.len() + self.resting.len() < self.connections.len()
    }

    /// Past the window, when nothing is awaited any more or has been for too long.
    fn is_over(&self, now_ns: u64) -> bool {
        let stopped = self.ledger.measured.stopped;
        let drain_ns = if stopped { DRAIN_STOPPED_NS } else { DRAIN_MAX_NS };
        let too_long = now_ns >= self.ledger.window_end_ns() + drain_ns;
        self.ledger.has_ended() && (!self.awaits_answers() || too_long)
    }

    fn wait(&mut self, events: &mut Events) -> Result<(), DriverError> {
        let sleeps = self.plan.wait == Wait::Sleep && self.set_timer()?;
        let span = if sleeps { WAIT_MAX } else { Duration::ZERO };
        match self.poll.poll(events, Some(span)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other.map_err(DriverError::Poll),
        }
    }

    /// False: the next request is due too soon to sleep. `epoll` itself waits whole milliseconds only.
    fn set_timer(&mut self) -> Result<bool, DriverError> {
        let end_ns = self.ledger.window_end_ns();
        let next_due_ns = self.schedule.next_due_ns().filter(|due_ns| *due_ns < end_ns);
        let Some(due_ns) = next_due_ns else { return Ok(true) };
        let ahead_ns = due_ns.saturating_sub(self.clock.now_ns());
        if ahead_ns < SPIN_BELOW_NS {
            return Ok(false);
        }
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let sleep = Duration::from_nanos(ahead_ns - SPIN_BELOW_NS / 2).min(WAIT_MAX);
        let after = Timespec { tv_sec: 0, tv_nsec: sleep.subsec_nanos().into() };
        let setting = Itimerspec { it_interval: once, it_value: after };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting)
            .map_err(|error| DriverError::Poll(error.into()))?;
        Ok(true)
    }

    // ---- sending ----

    fn send_all(&mut self, now_ns: u64) {
        while let Some((_, index)) = self.resting.pop_front_if(|(until_ns, _)| *until_ns <= now_ns)
        {
            self.idle.push(index);
        }
        while let Some(index) = self.free_connection() {
            if !self.send_on(index, now_ns, None) {
                self.idle.push(index);
                break;
            }
        }
    }

    /// One more, where requests wait and all are busy.
    fn free_connection(&mut self) -> Option<usize> {
        let index = self.connections.len();
        self.idle.pop().or_else(|| {
            let more = self.schedule.waiting() > 0 && index < self.plan.connections_max;
            more.then(|| {
                self.connections.push(None);
                index
            })
        })
    }

    /// False: there is nothing to send now. `freed_ns`: when the connection was answered, where that is what the
    /// request waited for.
    fn send_on(&mut self, index: usize, now_ns: u64, freed_ns: Option<u64>) -> bool {
        let waiting = self.schedule.next(now_ns, &mut self.ledger);
        let Some(Waiting { due_ns, noticed_ns, number }) = waiting else { return false };
        let request = (number % self.target.requests.len() as u64) as usize;
        let blocked_ns = freed_ns.map_or(0, |freed_ns| freed_ns.saturating_sub(noticed_ns));
        let sent = Sent { due_ns, blocked_ns, sent_ns: self.clock.now_ns(), request };
        self.ledger.sent(sent);
        self.ask(index, sent);
        true
    }

    fn ask(&mut self, index: usize, sent: Sent) {
        if self.connections[index].is_none() {
            self.ledger.opened();
            let begun = Connection::begin(self.target.address);
            match begun.and_then(|connection| self.registered(index, connection)) {
                Ok(connection) => self.connections[index] = Some(connection),
                Err(_) => {
                    self.ledger.lost(sent.sent_ns, sent, false);
                    return self.rest(index);
                }
            }
        }
        let Some(connection) = &mut self.connections[index] else { return };
        if connection.send(&self.target.requests[sent.request].bytes, sent).is_err() {
            self.lose(index);
        }
    }

    // ---- receiving ----

    fn serve(&mut self, event: &Event) {
        let Token(index) = event.token();
        let Some(connection) = &mut self.connections[index] else { return };
        if let Some(sent) = connection.on_its_way().filter(|_| event.is_writable()) {
            let bytes = &self.target.requests[sent.request].bytes;
            if connection.continue_sending(bytes).is_err() {
                return self.lose(index);
            }
        }
        match connection.receive() {
            Ok(Progress::Pending) => {}
            Ok(Progress::Answered(mut answered)) => {
                // The end came with the answer: there is no other event to tell of it.
                answered.frame.keep_alive &= !event.is_read_closed();
                self.settle(index, &answered);
            }
            Ok(Progress::Closed) => self.lose(index),
            Err(_) => self.turn_away_from(index),
        }
    }

    /// What came is no answer. Of an idle connection it is nobody's failure: servers say that they close it.
    fn turn_away_from(&mut self, index: usize) {
        let Some(connection) = self.connections[index].take() else { return };
        if let Some(sent) = connection.on_its_way() {
            self.ledger.not_http(sent);
            self.idle.push(index);
        }
    }

    fn settle(&mut self, index: usize, answered: &Answered) {
        let now_ns = self.clock.now_ns();
        if let Some(connection) = &self.connections[index] {
            let (sent, frame, bytes) = (answered.sent, &answered.frame, connection.received());
            let answer = Answer {
                sent,
                readable_ns: self.readable_ns,
                status: frame.status,
                body: &frame.body(bytes),
                header_bytes: frame.header_bytes(bytes),
                timing: frame.server_timing(bytes).and_then(ServerTiming::parse),
            };
            self.ledger.answered(now_ns, &answer, &self.target.requests[sent.request]);
        }
        if !answered.frame.keep_alive {
            self.connections[index] = None;
        }
        // At once, not after the other events of this turn: in closed loop that is when the caller would.
        if !self.send_on(index, now_ns, Some(now_ns)) {
            self.idle.push(index);
        }
    }

    // ---- connections ----

    /// An idle one is opened again when it is needed.
    fn lose(&mut self, index: usize) {
        let Some(connection) = self.connections[index].take() else { return };
        let Some(sent) = connection.on_its_way() else { return };
        let established = connection.is_established();
        self.ledger.lost(self.clock.now_ns(), sent, established);
        if established { self.idle.push(index) } else { self.rest(index) }
    }

    fn rest(&mut self, index: usize) {
        self.resting.push_back((self.clock.now_ns() + REFUSED_PAUSE_NS, index));
    }

    fn registered(&self, index: usize, mut connection: Connection) -> io::Result<Connection> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut connection.stream, Token(index), interest)?;
        Ok(connection)
    }

    fn settle_the_rest(&mut self) {
        let open = self.connections.iter().flatten();
        let in_flight = open.filter(|connection| connection.on_its_way().is_some()).count();
        self.ledger.unanswered(in_flight as u64);
    }
}

/// Registered, not set.
fn timer(poll: &Poll) -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
    Ok(timer)
}
