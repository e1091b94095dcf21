//! What a descriptor says, and the engine's private record of every slot.
//!
//! A slot goes `Free → Leased → Sent → Answered → Free` and each arrow is a function that takes
//! the token of the one before. A reply in parts goes `Sent → Parted → Sent` with each, or from
//! `Parted` to `Stopped`, from where only its end is believed. The record lives in engine memory: what a container claims is
//! compared with it, never believed. Deliberately absent: the bytes of a slot.

use crate::control::Entry;
use crate::error::LaneFault;
use crate::layout::{
    KIND_GO_ON, KIND_REQUEST, KIND_SHUT, KIND_STOP, LaneConfig, STATUS_DONE, STATUS_FAILED,
    STATUS_OK, STATUS_PART,
};

/// What a container says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The reply slot holds predictions.
    Ok,
    /// The reply slot holds a failure.
    Failed,
    /// The reply slot holds predictions, and the reply goes on once it is told so.
    Part,
    /// A reply in parts has ended; the reply slot holds nothing.
    Done,
}

impl Status {
    fn wire(self) -> u32 {
        match self {
            Status::Ok => STATUS_OK,
            Status::Failed => STATUS_FAILED,
            Status::Part => STATUS_PART,
            Status::Done => STATUS_DONE,
        }
    }

    fn from_wire(status: u32) -> Result<Status, LaneFault> {
        match status {
            STATUS_OK => Ok(Status::Ok),
            STATUS_FAILED => Ok(Status::Failed),
            STATUS_PART => Ok(Status::Part),
            STATUS_DONE => Ok(Status::Done),
            _ => Err(LaneFault::UnknownStatus { status }),
        }
    }
}

/// What the engine answers to a part it has copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next part may be written.
    GoOn,
    /// Nobody wants more: end the reply.
    Stop,
}

/// How much of a slot a message uses; the header comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    pub(crate) header_bytes: u32,
    pub(crate) total_bytes: u32,
}

impl Lengths {
    /// `header ≤ total ≤ slot`, whoever says it.
    pub(crate) fn check(self, slot_bytes: u32) -> Result<Lengths, LaneFault> {
        let Lengths { header_bytes, total_bytes } = self;
        if header_bytes <= total_bytes && total_bytes <= slot_bytes {
            return Ok(self);
        }
        Err(LaneFault::Lengths { header_bytes, total_bytes, slot_bytes })
    }
}

/// What the engine publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestEntry {
    Request(SentRequest),
    Verdict(SentVerdict),
    Shut,
}

/// One request as it crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentRequest {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) tag: u64,
    pub(crate) lengths: Lengths,
}

/// A verdict as it crosses, with the names of the request whose part it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentVerdict {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) tag: u64,
    pub(crate) verdict: Verdict,
}

impl SentVerdict {
    fn encode(self) -> Entry {
        let kind = match self.verdict {
            Verdict::GoOn => KIND_GO_ON,
            Verdict::Stop => KIND_STOP,
        };
        [pair(kind, self.slot), self.tag, 0, self.generation.into(), 0, 0, 0, 0]
    }

    fn decode(
        entry: &Entry,
        verdict: Verdict,
        config: &LaneConfig,
    ) -> Result<SentVerdict, LaneFault> {
        let (_, slot) = halves(entry[0]);
        let slot = known_slot(slot, config)?;
        let (generation, _) = halves(entry[3]);
        Ok(SentVerdict { slot, generation, tag: entry[1], verdict })
    }
}

impl RequestEntry {
    pub(crate) fn encode(self) -> Entry {
        match self {
            RequestEntry::Request(sent) => {
                let SentRequest { slot, generation, tag, lengths } = sent;
                let sizes = pair(lengths.header_bytes, lengths.total_bytes);
                [pair(KIND_REQUEST, slot), tag, sizes, generation.into(), 0, 0, 0, 0]
            }
            RequestEntry::Verdict(sent) => sent.encode(),
            RequestEntry::Shut => [pair(KIND_SHUT, 0), 0, 0, 0, 0, 0, 0, 0],
        }
    }

    pub(crate) fn decode(entry: &Entry, config: &LaneConfig) -> Result<RequestEntry, LaneFault> {
        let (kind, slot) = halves(entry[0]);
        match kind {
            KIND_REQUEST => {
                let slot = known_slot(slot, config)?;
                let (header_bytes, total_bytes) = halves(entry[2]);
                let lengths =
                    Lengths { header_bytes, total_bytes }.check(config.request_slot_bytes)?;
                let (generation, _) = halves(entry[3]);
                Ok(RequestEntry::Request(SentRequest { slot, generation, tag: entry[1], lengths }))
            }
            KIND_GO_ON => {
                Ok(RequestEntry::Verdict(SentVerdict::decode(entry, Verdict::GoOn, config)?))
            }
            KIND_STOP => {
                Ok(RequestEntry::Verdict(SentVerdict::decode(entry, Verdict::Stop, config)?))
            }
            KIND_SHUT => Ok(RequestEntry::Shut),
            _ => Err(LaneFault::UnknownKind { kind }),
        }
    }
}

/// What the container publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplyEntry {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) tag: u64,
    pub(crate) status: Status,
    pub(crate) lengths: Lengths,
    pub(crate) started_ns: u64,
    pub(crate) ended_ns: u64,
}

impl ReplyEntry {
    pub(crate) fn encode(&self) -> Entry {
        let sizes = pair(self.lengths.header_bytes, self.lengths.total_bytes);
        let state = pair(self.generation, self.status.wire());
        [self.slot.into(), self.tag, sizes, state, self.started_ns, self.ended_ns, 0, 0]
    }

    pub(crate) fn decode(entry: &Entry, config: &LaneConfig) -> Result<ReplyEntry, LaneFault> {
        let (slot, _) = halves(entry[0]);
        let slot = known_slot(slot, config)?;
        let (header_bytes, total_bytes) = halves(entry[2]);
        let lengths = Lengths { header_bytes, total_bytes }.check(config.reply_slot_bytes)?;
        let (generation, status) = halves(entry[3]);
        let status = Status::from_wire(status)?;
        let [_, tag, _, _, started_ns, ended_ns, ..] = *entry;
        Ok(ReplyEntry { slot, generation, tag, status, lengths, started_ns, ended_ns })
    }
}

fn known_slot(slot: u32, config: &LaneConfig) -> Result<u32, LaneFault> {
    if slot < config.slots {
        return Ok(slot);
    }
    Err(LaneFault::UnknownSlot { slot, slots: config.slots })
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// The right to fill one request slot. Give it to `publish`, or back with `release`.
#[must_use = "publish it or release it, or the slot is lost"]
#[derive(Debug)]
pub struct RequestSlot {
    index: u32,
    generation: u32,
}

impl RequestSlot {
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Leased,
    Sent {
        tag: u64,
    },
    /// A part was believed, and waits for the verdict on it.
    Parted {
        tag: u64,
    },
    Stopped {
        tag: u64,
    },
    Answered,
}

struct Record {
    generation: u32,
    state: State,
}

/// Every slot of a lane, as the engine knows it.
pub(crate) struct SlotTable {
    records: Vec<Record>,
    in_flight: usize,
}

impl SlotTable {
    pub(crate) fn new(slots: u32) -> SlotTable {
        let records = (0..slots).map(|_| Record { generation: 0, state: State::Free }).collect();
        SlotTable { records, in_flight: 0 }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A free slot, under a generation no earlier answer can carry.
    pub(crate) fn lease(&mut self) -> Option<RequestSlot> {
        let index = self.records.iter().position(|record| record.state == State::Free)?;
        let record = &mut self.records[index];
        record.generation = record.generation.wrapping_add(1);
        record.state = State::Leased;
        Some(RequestSlot { index: index as u32, generation: record.generation })
    }

    /// Whether this token was leased here and is still to be sent.
    pub(crate) fn holds(&self, slot: &RequestSlot) -> bool {
        let record = self.records.get(slot.index as usize);
        record.is_some_and(|it| it.generation == slot.generation && it.state == State::Leased)
    }

    pub(crate) fn release(&mut self, slot: RequestSlot) {
        assert!(self.holds(&slot), "a slot is released to the lane that leased it");
        self.records[slot.index as usize].state = State::Free;
    }

    pub(crate) fn send(&mut self, slot: RequestSlot, tag: u64) {
        assert!(self.holds(&slot), "a slot is published on the lane that leased it");
        self.records[slot.index as usize].state = State::Sent { tag };
        self.in_flight += 1;
    }

    /// Believes a reply only if it names a slot in flight, its generation and its tag, and comes when it may.
    pub(crate) fn answer(&mut self, reply: &ReplyEntry) -> Result<(), LaneFault> {
        let slot = reply.slot;
        let record = &mut self.records[slot as usize];
        let (tag, stopped) = match record.state {
            State::Sent { tag } => (tag, false),
            State::Stopped { tag } => (tag, true),
            State::Parted { .. } => return Err(LaneFault::TooSoon { slot }),
            State::Free | State::Leased | State::Answered => {
                return Err(LaneFault::SlotNotInFlight { slot });
            }
        };
        if record.generation != reply.generation {
            let (expected, found) = (record.generation, reply.generation);
            return Err(LaneFault::WrongGeneration { slot, expected, found });
        }
        if tag != reply.tag {
            return Err(LaneFault::WrongTag { slot, expected: tag, found: reply.tag });
        }
        if reply.status == Status::Part {
            record.state = State::Parted { tag };
            return if stopped { Err(LaneFault::PartAfterStop { slot }) } else { Ok(()) };
        }
        record.state = State::Answered;
        self.in_flight -= 1;
        Ok(())
    }

    /// A part was copied out: its slot may carry the next, or nothing but the end.
    pub(crate) fn tell(&mut self, slot: u32, generation: u32, verdict: Verdict) -> SentVerdict {
        let record = &mut self.records[slot as usize];
        let State::Parted { tag } = record.state else {
            panic!("a verdict is given once on each part");
        };
        assert_eq!(record.generation, generation, "on the lane it came from");
        record.state = match verdict {
            Verdict::GoOn => State::Sent { tag },
            Verdict::Stop => State::Stopped { tag },
        };
        SentVerdict { slot, generation, tag, verdict }
    }

    /// The reply was copied out: the slot may carry another request.
    pub(crate) fn finish(&mut self, slot: u32, generation: u32) {
        let record = &mut self.records[slot as usize];
        let answered = record.state == State::Answered && record.generation == generation;
        assert!(answered, "a completion is finished once, on the lane it came from");
        record.state = State::Free;
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        let sent = |record: &&Record| {
            matches!(
                record.state,
                State::Sent { .. } | State::Parted { .. } | State::Stopped { .. }
            )
        };
        assert_eq!(self.records.iter().filter(sent).count(), self.in_flight);
        assert!(!self.records.is_empty());
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests;
