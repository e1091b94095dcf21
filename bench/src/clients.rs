//! A few clients of one model in open loop, each with a plan and a connection of its own: how long their requests took.

use std::net::SocketAddr;
use std::time::Duration;

use crate::arrivals::{ArrivalError, Arrivals, Pattern};
use crate::clock::{Clock, nanos, pause};
use crate::http::{Answer, HttpError, connect, exchange_on};

const CLIENTS: u64 = 4;

pub(crate) struct Clients<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) request: &'a [u8],
    /// Of each.
    pub(crate) sends_per_s: f64,
}

/// Nanoseconds of each request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Took {
    /// From when it was due.
    pub(crate) all: Vec<u64>,
    /// How late its client was, which was free to send it: it shares the machine with those it measures.
    pub(crate) client: Vec<u64>,
}

impl Clients<'_> {
    /// How long each request took; `right` says what is wrong with an answer, and that ends it.
    pub(crate) fn ask<E>(
        &self,
        span: Duration,
        seed: u64,
        right: impl Fn(&Answer) -> Result<(), E> + Sync,
    ) -> Result<Took, E>
    where
        E: From<ArrivalError> + From<HttpError> + Send,
    {
        let right = &right;
        std::thread::scope(|scope| {
            let client = |nth| scope.spawn(move || self.one(span, seed * CLIENTS + nth, right));
            let clients: Vec<_> = (0..CLIENTS).map(client).collect();
            let mut took = Took::default();
            for client in clients {
                let joined = client.join();
                let one = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                took.all.extend(one.all);
                took.client.extend(one.client);
            }
            Ok(took)
        })
    }

    fn one<E>(
        &self,
        span: Duration,
        seed: u64,
        right: impl Fn(&Answer) -> Result<(), E>,
    ) -> Result<Took, E>
    where
        E: From<ArrivalError> + From<HttpError>,
    {
        let mut connection = connect(self.address)?;
        let due = Arrivals::of(&Pattern::Poisson, Some(self.sends_per_s), seed)?;
        let (clock, mut took) = (Clock::start(), Took::default());
        for due_ns in due.take_while(|&due_ns| due_ns < nanos(span)) {
            let free_ns = clock.now_ns();
            pause(Duration::from_nanos(due_ns.saturating_sub(free_ns)));
            took.client.push(clock.now_ns() - free_ns.max(due_ns));
            right(&exchange_on(&mut connection, self.request)?)?;
            took.all.push(clock.now_ns() - due_ns);
        }
        Ok(took)
    }
}

/// In milliseconds, of times in nanoseconds; None where there are none.
pub(crate) fn percentile_ms(times: &mut [u64], percent: usize) -> Option<f64> {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map(|ns| *ns as f64 / 1e6)
}
