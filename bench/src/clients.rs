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

impl Clients<'_> {
    /// Nanoseconds from when each request was due; `right` says what is wrong with an answer, and that ends it.
    pub(crate) fn ask<E>(
        &self,
        span: Duration,
        seed: u64,
        right: impl Fn(&Answer) -> Result<(), E> + Sync,
    ) -> Result<Vec<u64>, E>
    where
        E: From<ArrivalError> + From<HttpError> + Send,
    {
        let right = &right;
        std::thread::scope(|scope| {
            let client = |nth| scope.spawn(move || self.one(span, seed * CLIENTS + nth, right));
            let clients: Vec<_> = (0..CLIENTS).map(client).collect();
            let mut times = Vec::new();
            for client in clients {
                let joined = client.join();
                times.extend(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(times)
        })
    }

    fn one<E>(
        &self,
        span: Duration,
        seed: u64,
        right: impl Fn(&Answer) -> Result<(), E>,
    ) -> Result<Vec<u64>, E>
    where
        E: From<ArrivalError> + From<HttpError>,
    {
        let mut connection = connect(self.address)?;
        let due = Arrivals::of(&Pattern::Poisson, Some(self.sends_per_s), seed)?;
        let (clock, mut times) = (Clock::start(), Vec::new());
        for due_ns in due.take_while(|&due_ns| due_ns < nanos(span)) {
            pause(Duration::from_nanos(due_ns.saturating_sub(clock.now_ns())));
            right(&exchange_on(&mut connection, self.request)?)?;
            times.push(clock.now_ns() - due_ns);
        }
        Ok(times)
    }
}

/// In milliseconds, of times in nanoseconds; None where there are none.
pub(crate) fn percentile_ms(times: &mut [u64], percent: usize) -> Option<f64> {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map(|ns| *ns as f64 / 1e6)
}
