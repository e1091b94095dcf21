//! The engine's face of a lane: lease a slot, fill it, publish, poll, copy out, finish.
//!
//! Nothing here blocks, nothing the container writes is believed before it is compared with the
//! private record of slots, and nothing it can write makes the engine panic. After a fault the
//! lane gives the same fault for ever: its replica is to be killed and its memory dropped.
//! Deliberately absent: reading request slots back (they are write-only here) and reading the
//! bell.

use crate::LaneFds;
use crate::control::Control;
use crate::doorbell::{announce, awake, bell, peer_sleeps};
use crate::error::{LaneError, LaneFault};
use crate::layout::{self, LaneConfig, Memory, TAIL_AT};
use crate::ring::{Consumer, Producer};
use crate::segment::backing::Backing;
use crate::segment::{Part, Segment};
use crate::slot::{
    Lengths, ReplyEntry, RequestEntry, RequestSlot, SentRequest, SlotTable, Status, Verdict,
};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::cell::Cell;
use std::marker::PhantomData;

#[cfg(test)]
mod tests;

/// A checked reply. Read what is needed, then [`EngineSide::finish`] it, or [`EngineSide::tell`] how it
/// goes on if its status is [`Status::Part`].
#[must_use = "finish it or tell it how to go on, or its slot is lost"]
#[derive(Debug)]
pub struct Completion {
    /// The tag the request was published with.
    pub tag: u64,
    /// What the container says of it.
    pub status: Status,
    /// Bytes of the header at the start of the reply slot.
    pub header_bytes: u32,
    /// Bytes of the whole reply, header included; at most the reply slot.
    pub total_bytes: u32,
    /// The container's monotonic clock when its model started. Unchecked: for statistics only.
    pub started_ns: u64,
    /// The container's monotonic clock when its model ended. Unchecked: for statistics only.
    pub ended_ns: u64,
    slot: u32,
    generation: u32,
}

/// The engine's end of one lane; one owner, one thread at a time.
pub struct EngineSide {
    requests: Producer,
    replies: Consumer,
    slots: SlotTable,
    config: LaneConfig,
    fault: Option<LaneFault>,
    shut: bool,
    bell: OwnedFd,
    engine_out: Backing,
    container_out: Backing,
    request_data: Backing,
    _one_thread: PhantomData<Cell<()>>,
}

impl EngineSide {
    /// Makes the three segments and the bell. Send the descriptors, then drop them. Tell the
    /// container what [`EngineSide::config`] says: where the system has no huge pages to give,
    /// the lane is made without.
    pub fn create(
        config: LaneConfig,
        incarnation: u64,
    ) -> Result<(EngineSide, LaneFds), LaneError> {
        EngineSide::create_on(config, incarnation, None)
    }

    /// As [`EngineSide::create`], with memory from the given NUMA node as long as it has some; from
    /// anywhere where this system binds no memory to nodes.
    pub fn create_on(
        config: LaneConfig,
        incarnation: u64,
        node: Option<u32>,
    ) -> Result<(EngineSide, LaneFds), LaneError> {
        config.check()?;
        let (config, segments) = create_segments(config, node)?;
        let [(engine_fd, engine_out), (container_fd, container_out), (data_fd, request_data)] =
            segments;
        write_header(&engine_out, &config, incarnation)?;
        let bell = bell()?;
        let their_bell = rustix::io::fcntl_dupfd_cloexec(&bell, 0)
            .map_err(LaneError::system("share the engine's bell"))?;
        let fds = LaneFds::from_fds([engine_fd, container_fd, data_fd, their_bell]);
        let side = EngineSide {
            requests: Producer::new(config.ring_entries()),
            replies: Consumer::new(config.ring_entries()),
            slots: SlotTable::new(config.slots),
            config,
            fault: None,
            shut: false,
            bell,
            engine_out,
            container_out,
            request_data,
            _one_thread: PhantomData,
        };
        Ok((side, fds))
    }

    /// The sizes this lane was made with.
    pub fn config(&self) -> &LaneConfig {
        &self.config
    }

    /// Requests published and not yet answered.
    pub fn in_flight(&self) -> usize {
        self.slots.in_flight()
    }

    /// How often the container's heart has beaten, modulo 2^32. Only whether it has changed means something.
    pub fn heartbeat(&self) -> Result<u32, LaneFault> {
        self.container_out.load(layout::HEARTBEAT_AT)
    }

    /// The descriptor to watch, edge-triggered, and never to read.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// A free slot, unless all are out or the lane was shut.
    pub fn lease(&mut self) -> Option<RequestSlot> {
        if self.shut { None } else { self.slots.lease() }
    }

    /// Copies bytes into a leased slot. A fault ends the lane, as one found by `poll` does.
    #[inline]
    pub fn write(&mut self, slot: &RequestSlot, at: u32, bytes: &[u8]) -> Result<(), LaneError> {
        assert!(self.slots.holds(slot), "a slot is written on the lane that leased it");
        check_in_slot(at, bytes.len(), self.config.request_slot_bytes)?;
        let offset = self.config.request_slot_at(slot.index()) + at as usize;
        self.request_data.put(offset, bytes).inspect_err(|fault| self.fault = Some(*fault))?;
        Ok(())
    }

    /// Gives an unused slot back.
    pub fn release(&mut self, slot: RequestSlot) {
        self.slots.release(slot);
    }

    /// Hands the filled slot to the container, and wakes it if it sleeps. A container that
    /// broke the ring shows as a fault at the next [`EngineSide::poll`].
    pub fn publish(&mut self, slot: RequestSlot, tag: u64, header_bytes: u32, total_bytes: u32) {
        assert!(!self.shut, "nothing is published after the farewell");
        let lengths = Lengths { header_bytes, total_bytes };
        let fits = lengths.check(self.config.request_slot_bytes).is_ok();
        assert!(fits, "header ≤ total ≤ slot in what we publish");
        let sent = SentRequest { slot: slot.index(), generation: slot.generation(), tag, lengths };
        self.slots.send(slot, tag);
        self.push(RequestEntry::Request(sent));
    }

    /// Tells the container to finish what was published and to exit.
    pub fn shut(&mut self) {
        if !self.shut {
            self.shut = true;
            self.push(RequestEntry::Shut);
        }
    }

    fn push(&mut self, entry: RequestEntry) {
        if let Err(fault) = self.push_and_wake(entry) {
            self.fault.get_or_insert(fault);
        }
    }

    fn push_and_wake(&mut self, entry: RequestEntry) -> Result<(), LaneFault> {
        self.requests.push(&self.engine_out, &self.container_out, &entry.encode())?;
        if peer_sleeps(&self.container_out)? {
            self.engine_out.wake(TAIL_AT);
        }
        Ok(())
    }

    /// The next reply, checked; one load when there is none.
    #[inline]
    pub fn poll(&mut self) -> Result<Option<Completion>, LaneFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.take().inspect_err(|fault| self.fault = Some(*fault))
    }

    fn take(&mut self) -> Result<Option<Completion>, LaneFault> {
        let Some(entry) = self.replies.pop(&self.engine_out, &self.container_out)? else {
            return Ok(None);
        };
        let reply = ReplyEntry::decode(&entry, &self.config)?;
        self.slots.answer(&reply)?;
        Ok(Some(Completion {
            tag: reply.tag,
            status: reply.status,
            header_bytes: reply.lengths.header_bytes,
            total_bytes: reply.lengths.total_bytes,
            started_ns: reply.started_ns,
            ended_ns: reply.ended_ns,
            slot: reply.slot,
            generation: reply.generation,
        }))
    }

    /// Copies part of a reply into private memory. The container may still be scribbling:
    /// check the copy, and never read the same bytes twice.
    #[inline]
    pub fn read(&self, c: &Completion, at: u32, into: &mut [u8]) -> Result<(), LaneFault> {
        let message_bytes = c.total_bytes.min(self.config.reply_slot_bytes);
        if at as usize + into.len() > message_bytes as usize {
            let (len, total_bytes) = (into.len(), message_bytes);
            return Err(LaneFault::OutsideMessage { at, len, total_bytes });
        }
        self.container_out.get(self.config.reply_slot_at(c.slot) + at as usize, into)
    }

    /// Everything needed was copied out: the slot may carry another request.
    pub fn finish(&mut self, c: Completion) {
        self.slots.finish(c.slot, c.generation);
    }

    /// A part was copied out: tells the container how to go on.
    pub fn tell(&mut self, c: Completion, verdict: Verdict) {
        let sent = self.slots.tell(c.slot, c.generation, verdict);
        if !self.shut {
            self.push(RequestEntry::Verdict(sent));
        }
    }

    /// Announces sleep, then looks again. True: sleep, the bell will ring. False: there is
    /// something to poll, and the announcement was taken back.
    pub fn announce_sleep(&mut self) -> bool {
        let idle = self.fault.is_none() && self.look_before_sleep();
        if !idle {
            self.awake();
        }
        idle
    }

    fn look_before_sleep(&mut self) -> bool {
        let looked =
            announce(&self.engine_out).and_then(|()| self.replies.is_empty(&self.container_out));
        // A fault is no reason to sleep: the next poll gives it.
        looked.inspect_err(|fault| self.fault = Some(*fault)).unwrap_or(false)
    }

    /// Spares the container the bell while the engine is at work.
    #[inline]
    pub fn awake(&mut self) {
        if let Err(fault) = awake(&self.engine_out) {
            self.fault.get_or_insert(fault);
        }
    }
}

/// Sealed memory where this system has it, and why not where it has not.
pub fn choose_memory() -> (Memory, Option<LaneError>) {
    match Backing::create(Part::EngineOut, &LaneConfig::new(2, 1, 1, 1), None) {
        Ok(_) => (Memory::Memfd, None),
        Err(why) => (Memory::Posix, Some(why)),
    }
}

type Segments = [(OwnedFd, Backing); 3];

/// With all that is wished for, else without huge pages, else without the node too.
fn create_segments(
    config: LaneConfig,
    node: Option<u32>,
) -> Result<(LaneConfig, Segments), LaneError> {
    let small = LaneConfig { huge_pages: false, ..config };
    for (config, node) in [(config, node), (small, node)] {
        if let Ok(segments) = create_three(&config, node) {
            return Ok((config, segments));
        }
    }
    Ok((small, create_three(&small, None)?))
}

fn create_three(config: &LaneConfig, node: Option<u32>) -> Result<Segments, LaneError> {
    Ok([
        Backing::create(Part::EngineOut, config, node)?,
        Backing::create(Part::ContainerOut, config, node)?,
        Backing::create(Part::RequestData, config, node)?,
    ])
}

/// `at + len ≤ slot`, for what we write ourselves.
pub(crate) fn check_in_slot(at: u32, len: usize, slot_bytes: u32) -> Result<(), LaneError> {
    if at as usize + len <= slot_bytes as usize {
        return Ok(());
    }
    Err(LaneError::OutOfSlot { at, len, slot_bytes })
}

fn write_header(
    engine_out: &Backing,
    config: &LaneConfig,
    incarnation: u64,
) -> Result<(), LaneFault> {
    engine_out.put(layout::MAGIC_AT, &layout::MAGIC.to_le_bytes())?;
    engine_out.put(layout::ABI_HASH_AT, &layout::ABI_HASH.to_le_bytes())?;
    engine_out.put(layout::INCARNATION_AT, &incarnation.to_le_bytes())?;
    for (at, value) in layout::header_words(config) {
        engine_out.put(at, &value.to_le_bytes())?;
    }
    Ok(())
}
