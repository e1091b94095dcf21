//! A single-threaded load driver for the Open Inference Protocol over gRPC, closed or open loop.
//!
//! It means the same by every word as [`crate::driver`] does over HTTP/1.1: due times, lags, the window, what is a
//! failure. In closed loop each of the plan's connections carries one request at a time. In open loop the requests
//! share few connections, up to [`SHARED_CONNECTIONS`], as those of a gRPC caller do, and `connections_max` bounds how
//! many requests are on their way at once; only where the server allows fewer on a connection are more opened. A
//! request that finds no server is refused at once rather than kept, and one that a server didn't look at, since it was
//! retiring the connection, is closed rather than sent again. A status of gRPC that isn't the expected one
//! (none given: 0) is a wrong status; what isn't gRPC at all counts as `not_http`.
//!
//! One owner, the driver, decides; tasks of a runtime on the same thread read and write the connections.
//! Deliberately absent: TLS, compression, deadlines, streaming calls.

mod exchange;
pub mod floor;
mod infer;
mod peer;
#[cfg(test)]
mod tests;
mod timer;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;

pub use self::infer::{GrpcError, ask, inputs, is_live, is_ready, message, prepare};

use self::exchange::{Lost, Reply, answer, framed, head};
use self::peer::{Peer, Room};
use self::timer::Timer;
use crate::clock::{Clock, nanos};
use crate::driver::{
    DRAIN_MAX_NS, DRAIN_STOPPED_NS, DriverError, EVENTS_PER_TURN, REFUSED_PAUSE_NS, SPIN_BELOW_NS,
    WAIT_MAX,
};
use crate::ledger::{Answer, Ledger, Sent};
use crate::measured::{Feed, Measured};
use crate::plan::{CONNECTIONS_MAX, Edge, Plan, Request, Target, Wait};
use crate::schedule::{Schedule, Waiting};

/// Connections that the requests of an open loop share. A caller has one channel; several callers keep the server's
/// thread of one connection from being what is measured.
pub const SHARED_CONNECTIONS: usize = 4;

/// Runs the plan. `at_edge` is called as the measured window opens and closes.
pub fn drive(
    target: &Target,
    plan: &Plan,
    at_edge: &mut dyn FnMut(Edge),
) -> Result<Measured, DriverError> {
    run(target, plan, at_edge, Ledger::new(None, None))
}

/// The same, handing out what was measured while it goes on; what comes back is the last stretch.
pub fn drive_fed(
    target: &Target,
    plan: &Plan,
    at_edge: &mut dyn FnMut(Edge),
    feed: Feed,
) -> Result<Measured, DriverError> {
    run(target, plan, at_edge, Ledger::new(None, Some(feed)))
}

fn run(
    target: &Target,
    plan: &Plan,
    at_edge: &mut dyn FnMut(Edge),
    ledger: Ledger,
) -> Result<Measured, DriverError> {
    let runtime = runtime().map_err(DriverError::Poll)?;
    runtime.block_on(async {
        let mut driver = Driver::new(target, plan, ledger).await?;
        driver.run(at_edge).await?;
        driver.ledger.unanswered(driver.exchanges.len() as u64);
        Ok(driver.ledger.measured)
    })
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

struct Driver<'a> {
    plan: &'a Plan,
    address: SocketAddr,
    requests: Vec<Request>,
    /// Head and framed message of each request.
    head: http::Request<()>,
    bodies: Vec<Bytes>,
    clock: Clock,
    /// When time started, on the clock.
    zero_ns: u64,
    timer: Timer,
    schedule: Schedule,
    slots: Vec<Slot>,
    /// Where to look first for a connection with room.
    turn: usize,
    /// Of a closed loop: refused ones, and when they may be tried again; the earliest first.
    resting: VecDeque<(u64, usize)>,
    openings: FuturesUnordered<LocalBoxFuture<'static, Opened>>,
    exchanges: FuturesUnordered<LocalBoxFuture<'static, Ended>>,
    ledger: Ledger,
}

/// A place for a connection.
struct Slot {
    link: Link,
    /// Requests on their way, also those on a connection that was replaced meanwhile.
    in_flight: usize,
}

enum Link {
    Up(Peer),
    Opening,
    /// Not to be tried again before this.
    Down {
        until_ns: u64,
    },
}

struct Opened {
    slot: usize,
    /// When it was needed.
    since_ns: u64,
    result: io::Result<Peer>,
}

struct Ended {
    slot: usize,
    sent: Sent,
    result: Result<Reply, Lost>,
}

impl<'a> Driver<'a> {
    async fn new(
        target: &Target,
        plan: &'a Plan,
        ledger: Ledger,
    ) -> Result<Driver<'a>, DriverError> {
        let connections = 1..=CONNECTIONS_MAX;
        let sane = connections.contains(&plan.connections)
            && connections.contains(&plan.connections_max)
            && !target.requests.is_empty()
            && !plan.measure.is_zero();
        if !sane {
            return Err(DriverError::Plan);
        }
        let address = target.address.tcp().ok_or(DriverError::GrpcOverUnix)?;
        let mut driver = Driver {
            plan,
            address,
            requests: target.requests.iter().map(with_status).collect(),
            head: head(address, "ModelInfer"),
            bodies: target.requests.iter().map(|request| framed(&request.bytes)).collect(),
            clock: Clock::start(),
            zero_ns: 0,
            timer: Timer::new().map_err(DriverError::Poll)?,
            schedule: Schedule::new(plan),
            slots: Vec::new(),
            turn: 0,
            resting: VecDeque::new(),
            openings: FuturesUnordered::new(),
            exchanges: FuturesUnordered::new(),
            ledger,
        };
        driver.open_first().await?;
        Ok(driver)
    }

    async fn open_first(&mut self) -> Result<(), DriverError> {
        let shared = self.plan.connections.min(SHARED_CONNECTIONS);
        let count = if self.schedule.is_open_loop() { shared } else { self.plan.connections };
        for _ in 0..count {
            let address = self.address;
            let opened = Peer::open(address, self.clock).await;
            let failed = |source| DriverError::Connect { address: address.into(), source };
            let peer = opened.map_err(failed)?;
            self.slots.push(Slot { link: Link::Up(peer), in_flight: 0 });
        }
        Ok(())
    }

    async fn run(&mut self, at_edge: &mut dyn FnMut(Edge)) -> Result<(), DriverError> {
        // Time starts when all connections stand.
        self.zero_ns = self.clock.now_ns();
        self.ledger.open_window(self.plan.warm_up, self.plan.measure);
        self.start_closed_loop();
        loop {
            let now_ns = self.now_ns();
            if self.is_done_early() {
                self.ledger.end_window(now_ns);
            }
            self.ledger.turn(now_ns, at_edge);
            self.schedule.take_arrivals(now_ns, &mut self.ledger);
            self.send_waiting(now_ns, None);
            self.retry_rested(now_ns);
            self.schedule.give_up(now_ns, &mut self.ledger);
            if self.is_over(now_ns) {
                return Ok(());
            }
            self.wait().await?;
        }
    }

    // ---- time ----

    fn now_ns(&self) -> u64 {
        self.clock.now_ns() - self.zero_ns
    }

    /// Told to stop, or everything that was to be asked is answered.
    fn is_done_early(&mut self) -> bool {
        let stopped = self.ledger.feed.as_ref().is_some_and(Feed::is_stopped);
        self.ledger.measured.stopped |= stopped;
        stopped || (self.schedule.is_exhausted() && self.exchanges.is_empty())
    }

    /// Past the window, when nothing is awaited any more or has been for too long.
    fn is_over(&self, now_ns: u64) -> bool {
        let stopped = self.ledger.measured.stopped;
        let drain_ns = if stopped { DRAIN_STOPPED_NS } else { DRAIN_MAX_NS };
        let too_long = now_ns >= self.ledger.window_end_ns() + drain_ns;
        self.ledger.has_ended() && (self.exchanges.is_empty() || too_long)
    }

    async fn wait(&mut self) -> Result<(), DriverError> {
        let sleeps = self.plan.wait == Wait::Sleep && self.set_timer()?;
        if !sleeps {
            // The connections' tasks run meanwhile, and whatever came is read.
            tokio::task::yield_now().await;
        }
        poll_fn(|context| self.poll_ended(context, sleeps)).await
    }

    /// False: the next request is due too soon to sleep.
    fn set_timer(&mut self) -> Result<bool, DriverError> {
        let (now_ns, end_ns) = (self.now_ns(), self.ledger.window_end_ns());
        let due_ns = self.schedule.next_due_ns().filter(|due_ns| *due_ns < end_ns);
        if due_ns.is_some_and(|due_ns| due_ns < now_ns + SPIN_BELOW_NS) {
            return Ok(false);
        }
        let latest_ns = now_ns + nanos(WAIT_MAX);
        let at_ns = due_ns.map_or(latest_ns, |due_ns| latest_ns.min(due_ns - SPIN_BELOW_NS / 2));
        self.timer.set(now_ns, at_ns).map_err(DriverError::Poll)?;
        Ok(true)
    }

    /// Takes what has ended, so many at most that nothing due waits for long.
    fn poll_ended(
        &mut self,
        context: &mut Context<'_>,
        sleeps: bool,
    ) -> Poll<Result<(), DriverError>> {
        let mut ended_count = 0;
        while let Poll::Ready(Some(opened)) = self.openings.poll_next_unpin(context) {
            self.opened(opened);
            ended_count += 1;
        }
        while ended_count < EVENTS_PER_TURN
            && let Poll::Ready(Some(ended)) = self.exchanges.poll_next_unpin(context)
        {
            self.settle(ended);
            ended_count += 1;
        }
        if ended_count > 0 || !sleeps {
            return Poll::Ready(Ok(()));
        }
        self.timer.poll(context).map_err(DriverError::Poll)
    }

    // ---- sending ----

    fn start_closed_loop(&mut self) {
        if !self.schedule.is_open_loop() {
            (0..self.slots.len()).for_each(|slot| self.ask_again(slot, 0));
        }
    }

    fn retry_rested(&mut self, now_ns: u64) {
        let is_rested = |(until_ns, _): &mut (u64, usize)| *until_ns <= now_ns;
        while let Some((_, slot)) = self.resting.pop_front_if(is_rested) {
            self.ask_again(slot, now_ns);
        }
    }

    /// The next request of a closed loop.
    fn ask_again(&mut self, slot: usize, now_ns: u64) {
        match self.room(slot) {
            Room::Free => self.send_on(slot, now_ns, None),
            Room::Gone => self.open(slot, now_ns),
            Room::Full => self.resting.push_back((now_ns + REFUSED_PAUSE_NS, slot)),
        }
    }

    /// What is due of an open loop, as far as there is room. `freed_ns`: when there was room again, where that is what
    /// they waited for.
    fn send_waiting(&mut self, now_ns: u64, freed_ns: Option<u64>) {
        while self.schedule.waiting() > 0
            && now_ns < self.ledger.window_end_ns()
            && let Some(slot) = self.slot_with_room(now_ns)
        {
            self.send_on(slot, now_ns, freed_ns);
        }
    }

    fn slot_with_room(&mut self, now_ns: u64) -> Option<usize> {
        if self.exchanges.len() >= self.plan.connections_max {
            return None;
        }
        let (mut any_full, mut any_opening) = (false, false);
        for step in 0..self.slots.len() {
            let slot = (self.turn + step) % self.slots.len();
            match self.room(slot) {
                Room::Free => {
                    self.turn = slot + 1;
                    return Some(slot);
                }
                Room::Full if matches!(self.slots[slot].link, Link::Opening) => any_opening = true,
                Room::Full => any_full = true,
                Room::Gone if self.may_open(slot, now_ns) => {
                    self.open(slot, now_ns);
                    any_opening = true;
                }
                Room::Gone => {}
            }
        }
        let may_add = self.slots.len() < self.plan.connections_max;
        if any_full && may_add && self.openings.len() < self.schedule.waiting() {
            self.slots.push(Slot { link: Link::Down { until_ns: 0 }, in_flight: 0 });
            self.open(self.slots.len() - 1, now_ns);
        }
        if !any_full && !any_opening {
            self.refuse_waiting(now_ns);
        }
        None
    }

    fn room(&mut self, slot: usize) -> Room {
        let Slot { link, in_flight } = &mut self.slots[slot];
        match link {
            Link::Up(peer) => peer.room(*in_flight),
            Link::Opening => Room::Full,
            Link::Down { .. } => Room::Gone,
        }
    }

    fn send_on(&mut self, slot: usize, now_ns: u64, freed_ns: Option<u64>) {
        let Some(waiting) = self.schedule.next(now_ns, &mut self.ledger) else { return };
        let sent = self.sent(waiting, freed_ns);
        let body = self.bodies[sent.request].clone();
        let Slot { link, in_flight } = &mut self.slots[slot];
        let Link::Up(peer) = link else { return };
        match peer.ask(self.head.clone(), body) {
            Ok(response) => {
                *in_flight += 1;
                let ended = async move { Ended { slot, sent, result: answer(response).await } };
                self.exchanges.push(Box::pin(ended));
            }
            Err(_) => {
                self.ledger.lost(now_ns, sent, true);
                self.rest(slot, now_ns);
            }
        }
    }

    fn sent(&mut self, waiting: Waiting, freed_ns: Option<u64>) -> Sent {
        let Waiting { due_ns, noticed_ns, number } = waiting;
        let blocked_ns = freed_ns.map_or(0, |freed_ns| freed_ns.saturating_sub(noticed_ns));
        // In closed loop, opening a connection is part of the service.
        let sent_ns = if self.schedule.is_open_loop() { self.now_ns() } else { due_ns };
        let request = (number % self.requests.len() as u64) as usize;
        let sent = Sent { due_ns, blocked_ns, sent_ns, request };
        self.ledger.sent(sent);
        sent
    }

    /// No server is there for those that are due.
    fn refuse_waiting(&mut self, now_ns: u64) {
        while self.schedule.waiting() > 0
            && let Some(waiting) = self.schedule.next(now_ns, &mut self.ledger)
        {
            let sent = self.sent(waiting, None);
            self.ledger.lost(now_ns, sent, false);
        }
    }

    // ---- receiving ----

    fn settle(&mut self, ended: Ended) {
        let Ended { slot, sent, result } = ended;
        let now_ns = self.now_ns();
        self.slots[slot].in_flight -= 1;
        match result {
            Ok(reply) => {
                let answer = Answer {
                    sent,
                    readable_ns: self.readable_ns(slot, sent, now_ns),
                    status: reply.status,
                    body: &reply.message,
                    header_bytes: None,
                    timing: reply.timing,
                };
                self.ledger.answered(now_ns, &answer, &self.requests[sent.request]);
            }
            Err(Lost::Closed) => self.ledger.lost(now_ns, sent, true),
            Err(Lost::NotGrpc) => self.ledger.not_http(sent),
        }
        if self.schedule.is_open_loop() {
            self.send_waiting(now_ns, Some(now_ns));
        } else {
            self.ask_again(slot, now_ns);
        }
    }

    /// An answer can't have lain there before its request was sent.
    fn readable_ns(&self, slot: usize, sent: Sent, now_ns: u64) -> u64 {
        let Link::Up(peer) = &self.slots[slot].link else { return now_ns };
        peer.readable_ns().saturating_sub(self.zero_ns).max(sent.sent_ns)
    }

    // ---- connections ----

    fn may_open(&self, slot: usize, now_ns: u64) -> bool {
        match self.slots[slot].link {
            Link::Down { until_ns } => until_ns <= now_ns,
            Link::Up(_) | Link::Opening => true,
        }
    }

    fn open(&mut self, slot: usize, since_ns: u64) {
        if since_ns >= self.ledger.window_end_ns() || self.schedule.is_exhausted() {
            return;
        }
        self.ledger.opened();
        self.slots[slot].link = Link::Opening;
        let (address, clock) = (self.address, self.clock);
        let opened =
            async move { Opened { slot, since_ns, result: Peer::open(address, clock).await } };
        self.openings.push(Box::pin(opened));
    }

    fn opened(&mut self, opened: Opened) {
        let Opened { slot, since_ns, result } = opened;
        let now_ns = self.now_ns();
        let is_open_loop = self.schedule.is_open_loop();
        match result {
            Ok(peer) => {
                self.slots[slot].link = Link::Up(peer);
                if is_open_loop {
                    self.send_waiting(now_ns, Some(now_ns));
                } else {
                    self.send_on(slot, since_ns, None);
                }
            }
            Err(_) => {
                if !is_open_loop
                    && let Some(waiting) = self.schedule.next(since_ns, &mut self.ledger)
                {
                    let sent = self.sent(waiting, None);
                    self.ledger.lost(now_ns, sent, false);
                }
                self.rest(slot, now_ns);
            }
        }
    }

    fn rest(&mut self, slot: usize, now_ns: u64) {
        let until_ns = now_ns + REFUSED_PAUSE_NS;
        self.slots[slot].link = Link::Down { until_ns };
        if !self.schedule.is_open_loop() {
            self.resting.push_back((until_ns, slot));
        }
    }
}

/// gRPC's success is 0, where nothing else is expected.
fn with_status(request: &Request) -> Request {
    let mut request = request.clone();
    request.expect.status.get_or_insert(0);
    request
}
