//! What became of each request, for measurements that ask more than a histogram can tell.

use crate::ledger::Sent;
use crate::timing::ServerTiming;

/// A driver that never sleeps and has not looked at its clock for so long was kept from its core.
const STALL_MIN_NS: u64 = 1_000_000;

#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// In the order they ended.
    pub records: Vec<Record>,
    /// When the driver stood still, and for how long: only of one that never sleeps does it mean anything.
    pub stalls: Vec<Stall>,
    latest_turn_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    pub ended_ns: u64,
    pub span_ns: u64,
}

/// One request that was sent. Times are nanoseconds from the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    pub due_ns: u64,
    pub sent_ns: u64,
    pub ended_ns: u64,
    pub ended: Ended,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ended {
    Answered {
        status: u16,
        /// What the server says of where its time went.
        timing: Option<ServerTiming>,
    },
    /// The connection was closed under it.
    Closed,
}

impl Trace {
    /// With room for this many, so that growing it is no stall of its own.
    pub(crate) fn of(requests: usize) -> Trace {
        Trace { records: Vec::with_capacity(requests), ..Trace::default() }
    }

    pub(crate) fn turn(&mut self, now_ns: u64) {
        let span_ns = self.latest_turn_ns.map_or(0, |latest_ns| now_ns - latest_ns);
        if span_ns > STALL_MIN_NS {
            self.stalls.push(Stall { ended_ns: now_ns, span_ns });
        }
        self.latest_turn_ns = Some(now_ns);
    }

    pub(crate) fn answered(
        &mut self,
        now_ns: u64,
        sent: Sent,
        status: u16,
        timing: Option<ServerTiming>,
    ) {
        self.push(now_ns, sent, Ended::Answered { status, timing });
    }

    pub(crate) fn lost(&mut self, now_ns: u64, sent: Sent) {
        self.push(now_ns, sent, Ended::Closed);
    }

    fn push(&mut self, ended_ns: u64, Sent { due_ns, sent_ns, .. }: Sent, ended: Ended) {
        self.records.push(Record { due_ns, sent_ns, ended_ns, ended });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_pauses_between_turns_are_stalls() {
        let mut trace = Trace::default();
        for at_ns in [5_000_000, 5_000_100, 5_900_000, 8_000_000] {
            trace.turn(at_ns);
        }
        assert_eq!(trace.stalls, [Stall { ended_ns: 8_000_000, span_ns: 2_100_000 }]);
    }
}
