//! What one core writes of single requests: a line for each where that is asked for, traces of some, and a line a
//! second at most of those that failed or came late.
//!
//! Nothing of it is on from the start but the last, and what is off costs a comparison.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::log::{ACCESS, Log, TRACE};
use super::request_ids::RequestIds;
use super::traces::Traces;
use crate::clock::Time;
use crate::ids::{CoreId, Version};
use crate::query::types::Timings;

/// Failures, and as many late answers, that a core tells of: a reader sees that there is trouble and one example, and
/// the metrics count the rest.
const LINES_PER_SECOND_MAX: u32 = 1;

/// What all cores share of it.
#[derive(Clone, Debug, Default)]
pub struct Reporting {
    pub log: Arc<Log>,
    pub traces: Arc<Traces>,
    /// A line for each request, whatever the log's level.
    pub access_log: bool,
}

#[derive(Debug)]
pub struct Reports {
    shared: Reporting,
    core: CoreId,
    /// Since 1970: with it, ids differ from those of an earlier engine.
    started: Duration,
    named: Cell<u64>,
    /// Requests of traced models.
    seen: Cell<u32>,
    failures: Cell<Throttle>,
    late: Cell<Throttle>,
}

/// A request that has its answer.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'r> {
    pub protocol: &'static str,
    /// HTTP's method; gRPC's is in its path.
    pub method: &'r str,
    pub path: &'r str,
    pub status: u16,
    pub ids: Option<&'r RequestIds>,
}

/// A request that got a prediction.
#[derive(Clone, Copy, Debug)]
pub struct Predicted<'r> {
    pub model: &'r str,
    pub version: Version,
    pub id: Option<&'r str>,
    pub arrived: Time,
    pub submitted: Time,
    pub done: Time,
    pub timings: &'r Timings,
}

impl Reports {
    pub fn new(shared: Reporting, core: CoreId, started: Duration) -> Reports {
        Reports {
            shared,
            core,
            started,
            named: Cell::default(),
            seen: Cell::default(),
            failures: Cell::default(),
            late: Cell::default(),
        }
    }

    pub fn shared(&self) -> &Reporting {
        &self.shared
    }

    /// Whether each request has a line.
    pub fn wants_each(&self) -> bool {
        self.shared.access_log || tracing::enabled!(target: ACCESS, tracing::Level::DEBUG)
    }

    /// An id for a request that brought none.
    pub fn name(&self) -> String {
        let number = self.named.get();
        self.named.set(number + 1);
        format!("{:x}-{}-{number}", self.started.as_millis(), self.core)
    }

    pub fn ended(&self, of: Ended<'_>, took: Duration) {
        let Ended { protocol, method, path, status, ids } = of;
        let request_id = ids.and_then(RequestIds::request_id);
        let trace_id = ids.and_then(RequestIds::trace_id);
        let took_ms = ms(took);
        if self.shared.access_log {
            tracing::info!(target: ACCESS, protocol, method, path, status, took_ms, request_id, trace_id, "request");
        } else {
            tracing::debug!(target: ACCESS, protocol, method, path, status, took_ms, request_id, trace_id, "request");
        }
    }

    /// Says why, unless it was said of others just before.
    pub fn failed(&self, of: Ended<'_>, error: &dyn std::fmt::Display, now: Time) {
        let Some(unsaid) = throttled(&self.failures, now) else { return };
        let Ended { protocol, method, path, status, ids } = of;
        let request_id = ids.and_then(RequestIds::request_id);
        let trace_id = ids.and_then(RequestIds::trace_id);
        tracing::warn!(
            protocol,
            method,
            path,
            status,
            request_id,
            trace_id,
            unsaid,
            "a request failed: {error}"
        );
    }

    /// Says that an answer came after it was due, unless it was said of others just before.
    pub fn late(&self, of: &Predicted<'_>, due: Time) {
        let Some(unsaid) = throttled(&self.late, of.done) else { return };
        let Predicted { model, version, id, arrived, done, timings, .. } = of;
        tracing::warn!(
            model,
            version = version.0,
            id,
            late_ms = ms(done.since(due)),
            took_ms = ms(done.since(*arrived)),
            queue_ms = ms(timings.queue),
            model_ms = ms(timings.model),
            batch = timings.batch_rows,
            unsaid,
            "an answer came late"
        );
    }

    /// Whether some requests are traced.
    pub fn traces(&self) -> bool {
        tracing::enabled!(target: TRACE, tracing::Level::TRACE)
    }

    /// Writes where the request's time went, if its turn has come.
    pub fn trace(&self, of: &Predicted<'_>) {
        let Reporting { traces, log, .. } = &self.shared;
        let in_force = traces.of(Some(of.model));
        if !in_force.is_on() {
            return;
        }
        self.seen.set(self.seen.get().wrapping_add(1));
        if !self.seen.get().is_multiple_of(in_force.rate) {
            return;
        }
        if traces.take(of.model) {
            write_trace(of);
        }
        if !traces.any() {
            log.set_traces(false);
        }
    }
}

/// Instants in nanoseconds since the engine started, by the names of Triton's traces.
fn write_trace(of: &Predicted<'_>) {
    let Predicted { model, version, id, arrived, submitted, done, timings } = of;
    let sent = submitted.after(timings.queue);
    let replied = sent.after(timings.lane + timings.model);
    tracing::trace!(
        target: TRACE,
        model,
        version = version.0,
        id,
        request_start_ns = arrived.as_nanos(),
        queue_start_ns = submitted.as_nanos(),
        compute_start_ns = sent.as_nanos(),
        compute_end_ns = replied.as_nanos(),
        request_end_ns = done.as_nanos(),
        model_ns = timings.model.as_nanos() as u64,
        batch = timings.batch_rows,
        "trace"
    );
}

fn ms(span: Duration) -> f64 {
    span.as_micros() as f64 / 1e3
}

/// Lets through so many a second, and counts the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Throttle {
    second: u64,
    said: u32,
    unsaid: u64,
}

impl Throttle {
    /// Whether one may be told of now, and of how many before nothing was said.
    fn admit(&mut self, now: Time) -> Option<u64> {
        let second = now.as_nanos() / 1_000_000_000;
        if self.second != second {
            (self.second, self.said) = (second, 0);
        }
        if self.said == LINES_PER_SECOND_MAX {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

fn throttled(cell: &Cell<Throttle>, now: Time) -> Option<u64> {
    let mut throttle = cell.get();
    let admitted = throttle.admit(now);
    cell.set(throttle);
    admitted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> Time {
        Time::from_nanos(second * 1_000_000_000)
    }

    #[test]
    fn a_flood_of_failures_is_told_of_once_a_second_with_their_number() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.admit(second(5)), Some(0));
        for _ in 0..7 {
            assert_eq!(throttle.admit(second(5)), None);
        }
        assert_eq!(throttle.admit(second(6)), Some(7));
        assert_eq!(throttle.admit(second(9)), Some(0));
    }

    #[test]
    fn names_given_to_requests_differ() {
        let reports =
            |core| Reports::new(Reporting::default(), CoreId(core), Duration::from_secs(1));
        let (one, other) = (reports(0), reports(1));
        let names = [one.name(), one.name(), other.name()];
        assert_eq!(names, ["3e8-0-0", "3e8-0-1", "3e8-1-0"]);
        assert!(names.iter().all(|name| RequestIds::of(None, Some(name.as_bytes())).is_some()));
    }
}
