//! The open connections of one core: what each waits for and since when, and how to wake it.
//!
//! Slow senders are found by a sweep a few times a second, so that no request pays for a timer of its own. Everything
//! here belongs to one thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Time;

/// How far shutting down has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainPhase {
    Serving,
    /// Not ready any more, but everything is still accepted and answered.
    NotReady,
    /// No new connections; what was accepted is answered, then the connection closed.
    Closing,
    /// The same, and another engine accepts in this one's place: all is well, and idle clients get more time to come back
    /// and be told to connect anew.
    HandedOver,
}

impl DrainPhase {
    /// New connections are somebody else's, or nobody's.
    pub fn is_closing(self) -> bool {
        matches!(self, DrainPhase::Closing | DrainPhase::HandedOver)
    }

    /// Whoever asks is to be sent here.
    pub fn is_ready(self) -> bool {
        matches!(self, DrainPhase::Serving | DrainPhase::HandedOver)
    }
}

/// What a connection's client has to do next, and by when.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Head {
        until: Time,
    },
    Body {
        until: Time,
    },
    /// Nothing: it is the engine's turn.
    No,
}

#[derive(Debug)]
pub struct Connection {
    waiting: Cell<Waiting>,
    /// The client let its time pass. Taken note of once, by whoever waits.
    expired: Cell<bool>,
    /// Of the connection's task; it stays the same for the task's life.
    waker: RefCell<Option<Waker>>,
    /// Bytes of bodies that are not whole yet, of all connections together.
    gathered_bytes: Rc<Cell<u64>>,
}

impl Connection {
    /// The task to wake when time is up. Cheap after the first call.
    pub fn register(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }

    pub fn await_head(&self, until: Time) {
        self.expect(Waiting::Head { until });
    }

    pub fn await_body(&self, until: Time) {
        self.expect(Waiting::Body { until });
    }

    pub fn await_nothing(&self) {
        self.expect(Waiting::No);
    }

    fn expect(&self, what: Waiting) {
        self.waiting.set(what);
        self.expired.set(false);
    }

    pub fn head_expired(&self) -> bool {
        self.expired.get() && matches!(self.waiting.get(), Waiting::Head { .. })
    }

    pub fn body_expired(&self) -> bool {
        self.expired.get() && matches!(self.waiting.get(), Waiting::Body { .. })
    }

    /// So many bytes more of bodies that are not whole yet; returns how many there are of all of them.
    pub fn gather(&self, bytes: u64) -> u64 {
        self.gathered_bytes.set(self.gathered_bytes.get() + bytes);
        self.gathered_bytes.get()
    }

    /// Bodies with so many bytes are whole, or given up.
    pub fn gathered(&self, bytes: u64) {
        self.gathered_bytes.set(self.gathered_bytes.get() - bytes);
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

#[derive(Debug)]
pub struct Connections {
    open: RefCell<HashMap<u64, Rc<Connection>>>,
    /// Requests that share their connection with others: what each waits for.
    shared: RefCell<HashMap<u64, Rc<Connection>>>,
    opened: Cell<u64>,
    /// Bytes of bodies that are not whole yet.
    gathered_bytes: Rc<Cell<u64>>,
    phase: Cell<DrainPhase>,
    /// Idle connections are to close now, the others after their answer.
    finishing: Cell<bool>,
    closed: Notify,
}

impl Default for Connections {
    fn default() -> Connections {
        Connections {
            open: RefCell::default(),
            shared: RefCell::default(),
            opened: Cell::new(0),
            gathered_bytes: Rc::default(),
            phase: Cell::new(DrainPhase::Serving),
            finishing: Cell::new(false),
            closed: Notify::new(),
        }
    }
}

impl Connections {
    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }

    pub fn phase(&self) -> DrainPhase {
        self.phase.get()
    }

    pub fn set_phase(&self, phase: DrainPhase) {
        self.phase.set(phase);
    }

    pub fn finishing(&self) -> bool {
        self.finishing.get()
    }

    /// A new connection whose first request's head is due by `head_until`. It counts until the guard is dropped.
    pub fn open(self: &Rc<Connections>, head_until: Time) -> Open {
        let (key, connection) = self.next(Waiting::Head { until: head_until });
        self.open.borrow_mut().insert(key, connection.clone());
        Open { connections: self.clone(), key, connection }
    }

    /// A request that shares its connection with others and whose body is timed by itself.
    pub fn share(self: &Rc<Connections>) -> Shared {
        let (key, connection) = self.next(Waiting::No);
        self.shared.borrow_mut().insert(key, connection.clone());
        Shared { connections: self.clone(), key, connection }
    }

    fn next(&self, waiting: Waiting) -> (u64, Rc<Connection>) {
        let key = self.opened.get();
        self.opened.set(key + 1);
        let connection = Connection {
            waiting: Cell::new(waiting),
            expired: Cell::new(false),
            waker: RefCell::new(None),
            gathered_bytes: self.gathered_bytes.clone(),
        };
        (key, Rc::new(connection))
    }

    /// Wakes every connection whose client let its time pass.
    pub fn sweep(&self, now: Time) {
        let (open, shared) = (self.open.borrow(), self.shared.borrow());
        for connection in open.values().chain(shared.values()) {
            let (Waiting::Head { until } | Waiting::Body { until }) = connection.waiting.get()
            else {
                continue;
            };
            if until <= now {
                connection.expired.set(true);
                connection.wake();
            }
        }
    }

    /// Asks every connection to end: at once when idle, else after its answer.
    pub fn finish(&self) {
        self.finishing.set(true);
        self.open.borrow().values().for_each(|connection| connection.wake());
    }

    /// Returns at the next closing of a connection.
    pub async fn one_closed(&self) {
        self.closed.notified().await;
    }
}

/// One open connection; dropping it takes it off the list.
#[derive(Debug)]
pub struct Open {
    connections: Rc<Connections>,
    key: u64,
    pub connection: Rc<Connection>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.key);
        self.connections.closed.notify_one();
    }
}

/// One of several requests of a connection; dropping it takes it off the list.
#[derive(Debug)]
pub struct Shared {
    connections: Rc<Connections>,
    key: u64,
    pub connection: Rc<Connection>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.connections.shared.borrow_mut().remove(&self.key);
    }
}

/// The part of `limit` after which a client that exceeds it must have been found out.
pub fn sweep_period(limit: Duration) -> Duration {
    const PER_LIMIT: u32 = 4;
    // Often enough to be noticed by nobody, seldom enough to cost nothing over thousands of connections.
    const MIN: Duration = Duration::from_millis(20);
    const MAX: Duration = Duration::from_secs(1);
    (limit / PER_LIMIT).clamp(MIN, MAX)
}
