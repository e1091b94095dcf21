//! The container's face of a lane: wait for a request, view it, write the reply, publish it.
//!
//! Distrust is mutual and costs nothing: seals, sizes, header and every descriptor are checked
//! here too. Slots are mapped one by one, so that one can be replaced under views the model still
//! holds ([`ContainerSide::escape`], [`ContainerSide::escape_reply`]). A container that finds no request sleeps at
//! once, unless it was told that its core is its own ([`ContainerSide::set_spin`]). Deliberately
//! absent: the interpreter.

use crate::LaneFds;
use crate::clock::now;
use crate::doorbell::{announce, awake, futex_wait, peer_sleeps, ring_bell};
use crate::engine_side::check_in_slot;
use crate::error::{LaneError, LaneFault};
use crate::heartbeat::Heartbeat;
use crate::layout::{self, LaneConfig, Memory, TAIL_AT};
use crate::ring::{Consumer, Producer};
use crate::segment::memfd::{check, check_size};
use crate::segment::{Access, Mapping, Part, Window};
use crate::slot::{Lengths, ReplyEntry, RequestEntry, SentRequest, SentVerdict, Status, Verdict};
use crate::spin::Spin;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

mod frozen;
#[cfg(test)]
mod tests;
mod view;

pub use frozen::Escaped;
use frozen::freeze;

/// Reading the clock takes as long as a look or two; looks alone would not know when to end.
const LOOKS_PER_CLOCK: u32 = 16;

/// What the engine wants next.
#[derive(Debug)]
pub enum Next {
    /// A batch to answer.
    Request(Request),
    /// Nothing yet: look whether the engine still lives, then ask again.
    Idle,
    /// Everything published was taken: exit.
    Shut,
}

/// One request, to be answered once with [`ContainerSide::reply`].
#[must_use = "reply to it, or the engine kills this container for its silence"]
#[derive(Debug)]
pub struct Request {
    /// The engine's name for this batch.
    pub tag: u64,
    /// Bytes of the header at the start of the slot.
    pub header_bytes: u32,
    /// Bytes of the whole request, header included.
    pub total_bytes: u32,
    slot: u32,
    generation: u32,
}

impl Request {
    /// A verdict is believed if it names this request.
    fn check(&self, sent: SentVerdict) -> Result<Verdict, LaneFault> {
        let Request { tag, slot, generation, .. } = *self;
        if sent.slot != slot {
            return Err(LaneFault::VerdictUnasked { slot: sent.slot });
        }
        if sent.generation != generation {
            let (expected, found) = (generation, sent.generation);
            return Err(LaneFault::WrongGeneration { slot, expected, found });
        }
        if sent.tag != tag {
            return Err(LaneFault::WrongTag { slot, expected: tag, found: sent.tag });
        }
        Ok(sent.verdict)
    }
}

/// The container's end of one lane. Dropping it unmaps the slots, not what escaped from them.
pub struct ContainerSide {
    requests: Consumer,
    replies: Producer,
    config: LaneConfig,
    awaiting_reply: Vec<bool>,
    /// What came while a part waited for its verdict: at most a request a slot, and the farewell.
    came_meanwhile: VecDeque<Next>,
    spin: Spin,
    heartbeat: Option<Heartbeat>,
    fault: Option<LaneFault>,
    bell: OwnedFd,
    request_fd: OwnedFd,
    container_fd: OwnedFd,
    engine_out: Mapping,
    /// The control head alone.
    container_out: Mapping,
    request_slots: Vec<Mapping>,
    reply_slots: Vec<Mapping>,
}

impl ContainerSide {
    /// Joins a lane, if its descriptors are what the welcome promised.
    pub fn map(
        fds: LaneFds,
        config: LaneConfig,
        incarnation: u64,
    ) -> Result<ContainerSide, LaneError> {
        config.check()?;
        let [engine_fd, container_fd, request_fd, bell] = fds.into_fds();
        let check = |part, fd: BorrowedFd<'_>| match config.memory {
            Memory::Memfd => check(part, fd, config.segment_bytes(part)),
            Memory::Posix => check_size(part, fd, config.segment_bytes(part)),
        };
        check(Part::EngineOut, engine_fd.as_fd())?;
        check(Part::ContainerOut, container_fd.as_fd())?;
        check(Part::RequestData, request_fd.as_fd())?;
        let len = config.engine_out_bytes();
        let engine_out = Mapping::new(engine_fd.as_fd(), 0, len, Access::ReadOnly)?;
        check_header(&engine_out, &config, incarnation)?;
        let len = config.replies_at();
        let container_out = Mapping::new(container_fd.as_fd(), 0, len, Access::ReadWrite)?;
        let slots = (0..config.slots).map(|slot| map_request_slot(&request_fd, &config, slot));
        let request_slots = slots.collect::<Result<Vec<_>, _>>()?;
        let slots = (0..config.slots).map(|slot| map_reply_slot(&container_fd, &config, slot));
        let reply_slots = slots.collect::<Result<Vec<_>, _>>()?;
        Ok(ContainerSide {
            requests: Consumer::new(config.ring_entries()),
            replies: Producer::new(config.ring_entries()),
            config,
            awaiting_reply: vec![false; config.slots as usize],
            came_meanwhile: VecDeque::new(),
            spin: Spin::none(),
            heartbeat: None,
            fault: None,
            bell,
            request_fd,
            container_fd,
            engine_out,
            container_out,
            request_slots,
            reply_slots,
        })
    }

    /// The sizes this lane was made with.
    pub fn config(&self) -> &LaneConfig {
        &self.config
    }

    /// Beats every 100 ms from now on, in a thread of its own, until the lane is left. The engine must know of it: its
    /// hello says so.
    pub fn start_heartbeat(&mut self) -> Result<(), LaneError> {
        let (fd, len) = (self.container_fd.as_fd(), self.config.replies_at());
        let control = Mapping::new(fd, 0, len, Access::ReadWrite)?;
        self.heartbeat = Some(Heartbeat::start(control)?);
        Ok(())
    }

    /// Allows looking for requests without sleeping, up to `limit` at a time and only while they
    /// come in quick succession. For containers that share their cores with nobody.
    pub fn set_spin(&mut self, limit: Duration) {
        self.spin = Spin::up_to(limit);
    }

    /// The next request, waiting for it at most `wait` and never more than 100 ms.
    pub fn next(&mut self, wait: Duration) -> Result<Next, LaneFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if let Some(next) = self.came_meanwhile.pop_front() {
            return Ok(next);
        }
        let next = self.wait_and_take(wait, ContainerSide::take_next);
        next.map(|next| next.unwrap_or(Next::Idle)).inspect_err(|fault| self.fault = Some(*fault))
    }

    /// Waits as [`ContainerSide::next`] does for the verdict on the part that is out. None: nothing yet, look whether the
    /// engine still lives. The farewell stops it too.
    pub fn verdict(&mut self, r: &Request, wait: Duration) -> Result<Option<Verdict>, LaneFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let verdict = self.wait_and_take(wait, |side| side.take_verdict(r));
        verdict.inspect_err(|fault| self.fault = Some(*fault))
    }

    fn wait_and_take<T>(
        &mut self,
        wait: Duration,
        take: impl Fn(&mut ContainerSide) -> Result<Option<T>, LaneFault>,
    ) -> Result<Option<T>, LaneFault> {
        if let Some(taken) = take(self)? {
            return Ok(Some(taken));
        }
        if wait.is_zero() {
            return Ok(None);
        }
        if !self.spin.allowed() {
            self.sleep(wait)?;
            return take(self);
        }
        let began = now();
        if !self.came_while_spinning(began)? {
            self.sleep(wait)?;
        }
        let taken = take(self)?;
        self.spin.waited(now() - began);
        Ok(taken)
    }

    fn came_while_spinning(&self, began: Instant) -> Result<bool, LaneFault> {
        let budget = self.spin.budget();
        while now() - began < budget {
            for _ in 0..LOOKS_PER_CLOCK {
                if !self.requests.is_empty(&*self.engine_out)? {
                    return Ok(true);
                }
                std::hint::spin_loop();
            }
        }
        Ok(false)
    }

    /// Announce, look again, sleep.
    fn sleep(&mut self, wait: Duration) -> Result<(), LaneFault> {
        let (own, peer): (&Window, &Window) = (&self.container_out, &self.engine_out);
        announce(own)?;
        let slept = match self.requests.is_empty(peer)? {
            true => futex_wait(peer.word(TAIL_AT), self.requests.position(), wait),
            false => Ok(()),
        };
        awake(own)?;
        slept
    }

    fn take(&mut self) -> Result<Option<RequestEntry>, LaneFault> {
        let entry = self.requests.pop(&*self.container_out, &*self.engine_out)?;
        entry.map(|entry| RequestEntry::decode(&entry, &self.config)).transpose()
    }

    fn take_next(&mut self) -> Result<Option<Next>, LaneFault> {
        match self.take()? {
            None => Ok(None),
            Some(RequestEntry::Request(sent)) => Ok(Some(Next::Request(self.accept(sent)?))),
            Some(RequestEntry::Shut) => Ok(Some(Next::Shut)),
            Some(RequestEntry::Verdict(SentVerdict { slot, .. })) => {
                Err(LaneFault::VerdictUnasked { slot })
            }
        }
    }

    /// The verdict, if it is there; what stands before it is kept for later.
    fn take_verdict(&mut self, r: &Request) -> Result<Option<Verdict>, LaneFault> {
        while let Some(entry) = self.take()? {
            match entry {
                RequestEntry::Verdict(sent) => return r.check(sent).map(Some),
                RequestEntry::Request(sent) => {
                    let request = self.accept(sent)?;
                    self.came_meanwhile.push_back(Next::Request(request));
                }
                RequestEntry::Shut => {
                    self.came_meanwhile.push_back(Next::Shut);
                    return Ok(Some(Verdict::Stop));
                }
            }
        }
        Ok(None)
    }

    fn accept(&mut self, sent: SentRequest) -> Result<Request, LaneFault> {
        let SentRequest { slot, generation, tag, lengths } = sent;
        if std::mem::replace(&mut self.awaiting_reply[slot as usize], true) {
            return Err(LaneFault::SlotTwice { slot });
        }
        let Lengths { header_bytes, total_bytes } = lengths;
        Ok(Request { tag, header_bytes, total_bytes, slot, generation })
    }

    /// A private copy of the header, replacing what `into` held.
    pub fn header(&self, r: &Request, into: &mut Vec<u8>) {
        into.resize(r.header_bytes.min(self.config.request_slot_bytes) as usize, 0);
        self.slot(r).copy_out(0, into);
    }

    /// Where the request lies and how long it is, for zero-copy views. The engine does not write
    /// there until the reply is published; views kept longer need [`ContainerSide::escape`].
    pub fn request_bytes(&self, r: &Request) -> (*mut u8, usize) {
        let len = r.total_bytes.min(self.config.request_slot_bytes);
        (self.slot(r).base().as_ptr(), len as usize)
    }

    /// Copies part of the request into private memory.
    pub fn read(&self, r: &Request, at: u32, into: &mut [u8]) -> Result<(), LaneError> {
        check_in_slot(at, into.len(), r.total_bytes.min(self.config.request_slot_bytes))?;
        self.slot(r).copy_out(at as usize, into);
        Ok(())
    }

    /// Where the request slots are mapped and how long each mapping is, whole pages. They stay there but for
    /// [`ContainerSide::escape`], which moves the one of its request: what knows the addresses, such as a device that
    /// copies from them, must have let go of that one before, and finds the new one here.
    pub fn request_slots(&self) -> impl Iterator<Item = (*mut u8, usize)> {
        self.request_slots.iter().map(|slot| (slot.base().as_ptr(), slot.len()))
    }

    fn slot(&self, r: &Request) -> &Mapping {
        &self.request_slots[r.slot as usize]
    }

    /// Copies bytes into the reply slot that belongs to this request.
    pub fn write_reply(&mut self, r: &Request, at: u32, bytes: &[u8]) -> Result<(), LaneError> {
        check_in_slot(at, bytes.len(), self.config.reply_slot_bytes)?;
        self.reply_slots[r.slot as usize].copy_in(at as usize, bytes);
        Ok(())
    }

    /// Where the reply is to be written and how much room there is.
    pub fn reply_ptr(&mut self, r: &Request) -> (*mut u8, usize) {
        let base = self.reply_slots[r.slot as usize].base();
        (base.as_ptr(), self.config.reply_slot_bytes as usize)
    }

    /// Publishes the reply, and rings the engine's bell if it sleeps. An engine that broke the
    /// ring shows as a fault at the next [`ContainerSide::next`].
    pub fn reply(
        &mut self,
        r: Request,
        status: Status,
        header_bytes: u32,
        total_bytes: u32,
        started_ns: u64,
        ended_ns: u64,
    ) {
        assert!(status != Status::Part, "a part does not end its request");
        let lengths = Lengths { header_bytes, total_bytes };
        self.awaiting_reply[r.slot as usize] = false;
        self.say(&r, status, lengths, started_ns, ended_ns);
    }

    /// Publishes what the reply slot holds as a part of the reply. Nothing may be written there before
    /// [`ContainerSide::verdict`] has given one.
    pub fn part(
        &mut self,
        r: &Request,
        header_bytes: u32,
        total_bytes: u32,
        started_ns: u64,
        ended_ns: u64,
    ) {
        let lengths = Lengths { header_bytes, total_bytes };
        self.say(r, Status::Part, lengths, started_ns, ended_ns);
    }

    fn say(
        &mut self,
        r: &Request,
        status: Status,
        lengths: Lengths,
        started_ns: u64,
        ended_ns: u64,
    ) {
        let fits = lengths.check(self.config.reply_slot_bytes).is_ok();
        assert!(fits, "header ≤ total ≤ slot in what we publish");
        let Request { tag, slot, generation, .. } = *r;
        let reply = ReplyEntry { slot, generation, tag, status, lengths, started_ns, ended_ns };
        if let Err(fault) = self.push_and_ring(&reply) {
            self.fault.get_or_insert(fault);
        }
    }

    fn push_and_ring(&mut self, reply: &ReplyEntry) -> Result<(), LaneFault> {
        let (own, peer): (&Window, &Window) = (&self.container_out, &self.engine_out);
        self.replies.push(own, peer, &reply.encode())?;
        if peer_sleeps(peer)? {
            ring_bell(self.bell.as_fd());
        }
        Ok(())
    }

    /// Freezes the request under views that outlive it: the slot moves to a fresh address, and
    /// a private copy takes its place at the old one. To be called before the reply.
    pub fn escape(&mut self, r: &Request) -> Result<Escaped, LaneError> {
        let fresh = map_request_slot(&self.request_fd, &self.config, r.slot)?;
        let used_bytes = r.total_bytes.min(self.config.request_slot_bytes);
        freeze(&mut self.request_slots[r.slot as usize], fresh, used_bytes)
    }

    /// Freezes the first `used_bytes` of the reply under views that outlive it, in the same way.
    /// To be called once the reply is written, before it is published.
    pub fn escape_reply(&mut self, r: &Request, used_bytes: u32) -> Result<Escaped, LaneError> {
        let fresh = map_reply_slot(&self.container_fd, &self.config, r.slot)?;
        let used_bytes = used_bytes.min(self.config.reply_slot_bytes);
        freeze(&mut self.reply_slots[r.slot as usize], fresh, used_bytes)
    }
}

fn map_request_slot(fd: &OwnedFd, config: &LaneConfig, slot: u32) -> Result<Mapping, LaneError> {
    let offset = config.request_slot_at(slot);
    Mapping::new(fd.as_fd(), offset, config.request_stride(), Access::ReadWrite)
}

fn map_reply_slot(fd: &OwnedFd, config: &LaneConfig, slot: u32) -> Result<Mapping, LaneError> {
    let offset = config.reply_slot_at(slot);
    Mapping::new(fd.as_fd(), offset, config.reply_stride(), Access::ReadWrite)
}

/// The engine's own account of the lane must be the one the welcome gave.
fn check_header(
    engine_out: &Mapping,
    config: &LaneConfig,
    incarnation: u64,
) -> Result<(), LaneError> {
    let long_words = [
        ("magic", layout::MAGIC_AT, layout::MAGIC),
        ("ABI hash", layout::ABI_HASH_AT, layout::ABI_HASH),
        ("incarnation", layout::INCARNATION_AT, incarnation),
    ];
    for (word, at, expected) in long_words {
        let mut bytes = [0; 8];
        engine_out.copy_out(at, &mut bytes);
        same(word, expected, u64::from_le_bytes(bytes))?;
    }
    for (at, expected) in layout::header_words(config) {
        let mut bytes = [0; 4];
        engine_out.copy_out(at, &mut bytes);
        same("size", expected.into(), u32::from_le_bytes(bytes).into())?;
    }
    Ok(())
}

fn same(word: &'static str, expected: u64, found: u64) -> Result<(), LaneError> {
    if expected == found {
        return Ok(());
    }
    Err(LaneError::Header { word, expected, found })
}
