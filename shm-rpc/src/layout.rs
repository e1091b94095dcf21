//! Every offset, size and word value of the shared segments, in one place.
//!
//! Three segments make a lane; each is written by exactly one process, and no cache line of a
//! control segment has two writers. Everything is little-endian, 64-bit only, offsets in bytes.
//!
//! ```text
//! E  engine_out     line 0 header · line 1 tail of requests · line 2 engine sleeps · line 3 head of completions
//!                   from byte 256: request descriptors, 64 bytes each
//! C  container_out  line 0 heartbeat · line 1 tail of completions · line 2 container sleeps · line 3 head of requests
//!                   from byte 256: completion descriptors; from `replies_at`: reply slots
//! D  request_data   request slots
//! ```
//!
//! Both control heads have the same plan, so one ring type serves both directions. Deliberately
//! absent: anything a process would have to trust. Sizes are recomputed from the agreed
//! [`LaneConfig`] on both sides and only compared with what memory says.

use crate::error::LaneError;
#[cfg(not(loom))]
use crate::segment::Part;

/// Slots start on pages, so that one slot can be mapped on its own.
pub(crate) const PAGE_BYTES: usize = 4096;
/// The huge page every x86-64 has; slots over huge pages start on these.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;
/// One writer per cache line; 64 is the line of every machine this runs on.
pub(crate) const LINE_BYTES: usize = 64;

/// "HYDROFL1" read as little-endian bytes: tells a foreign file from ours before anything else.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"HYDROFL1");

pub(crate) const MAGIC_AT: usize = 0;
pub(crate) const ABI_HASH_AT: usize = 8;
pub(crate) const INCARNATION_AT: usize = 16;
pub(crate) const RING_DEPTH_AT: usize = 24;
pub(crate) const SLOTS_AT: usize = 28;
pub(crate) const REQUEST_SLOT_BYTES_AT: usize = 32;
pub(crate) const REPLY_SLOT_BYTES_AT: usize = 36;
pub(crate) const MEMORY_AT: usize = 40;
pub(crate) const HUGE_PAGES_AT: usize = 44;

/// Where the writer of this segment publishes how many descriptors it has pushed, modulo 256.
pub(crate) const TAIL_AT: usize = LINE_BYTES;
/// Where the writer of this segment says that it sleeps.
pub(crate) const SLEEPS_AT: usize = 2 * LINE_BYTES;
/// Where the writer of this segment says how many of its peer's descriptors it took, modulo 256.
pub(crate) const HEAD_AT: usize = 3 * LINE_BYTES;
/// Of C only: where the container's heartbeat is counted. Its writer is a thread of its own, and so is its line.
pub(crate) const HEARTBEAT_AT: usize = 0;
/// Where the descriptors begin.
pub(crate) const ENTRIES_AT: usize = 4 * LINE_BYTES;

/// A descriptor is one cache line: it never straddles two, so a burst costs one miss each.
pub(crate) const ENTRY_BYTES: usize = LINE_BYTES;
pub(crate) const ENTRY_WORDS: usize = ENTRY_BYTES / 8;

/// Fewer than 2 would not let a request be staged behind the running one.
pub(crate) const RING_DEPTH_MIN: u32 = 2;
/// Deeper queues only bind rows to a replica early; 64 is far above any credit we give.
pub(crate) const RING_DEPTH_MAX: u32 = 64;
/// Twice the requests that can be out: the farewell always finds room behind them.
pub(crate) const ENTRIES_PER_DEPTH: u32 = 2;
/// The deepest ring.
pub(crate) const RING_ENTRIES_MAX: u32 = RING_DEPTH_MAX * ENTRIES_PER_DEPTH;
/// Positions count modulo 256, one byte of their word, so that no copy of one can be torn.
pub(crate) const COUNTER_MAX: u32 = 255;
/// A slot larger than 1 GiB is a unit mistake, and offsets inside a slot are 32-bit.
pub(crate) const SLOT_BYTES_MAX: u32 = 1 << 30;
/// All slots of one direction; they are backed by real memory from the start, so 8 GiB is generous.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 8 << 30;

const _: () = assert!(size_of::<usize>() == 8, "lanes are 64-bit only");
const _: () = assert!(cfg!(target_endian = "little"), "lanes are little-endian only");
const _: () = assert!(HEARTBEAT_AT + 4 <= LINE_BYTES, "the heartbeat has the first line");
const _: () = assert!(HUGE_PAGES_AT + 4 <= LINE_BYTES, "the header is one cache line");
const _: () = assert!(2 * RING_ENTRIES_MAX <= COUNTER_MAX + 1, "a distance is unambiguous");
const _: () = assert!(HUGE_PAGE_BYTES.is_multiple_of(PAGE_BYTES));
const _: () = assert!(ENTRIES_AT.is_multiple_of(ENTRY_BYTES), "descriptors are line-aligned");
const _: () = assert!(RING_DEPTH_MAX.is_power_of_two() && RING_DEPTH_MIN.is_power_of_two());
const _: () = assert!(PAGE_BYTES.is_multiple_of(LINE_BYTES));

/// What a request descriptor asks for.
pub(crate) const KIND_REQUEST: u32 = 1;
/// The last descriptor of a lane: finish what came before, then exit.
pub(crate) const KIND_SHUT: u32 = 2;
/// The part was taken: write the next.
pub(crate) const KIND_GO_ON: u32 = 3;
/// The part was taken, and no more are wanted: end the reply.
pub(crate) const KIND_STOP: u32 = 4;

/// 0 is no status, so that memory never written can't pass for an answer.
pub(crate) const STATUS_OK: u32 = 1;
pub(crate) const STATUS_FAILED: u32 = 2;
/// Predictions, and the reply goes on.
pub(crate) const STATUS_PART: u32 = 3;
/// The end of a reply in parts, without predictions of its own.
pub(crate) const STATUS_DONE: u32 = 4;

/// A hash of everything above: two builds that disagree about memory refuse each other by name.
pub const ABI_HASH: u64 = abi_hash();

const fn abi_hash() -> u64 {
    let facts = [
        MAGIC,
        INCARNATION_AT as u64,
        RING_DEPTH_AT as u64,
        SLOTS_AT as u64,
        REQUEST_SLOT_BYTES_AT as u64,
        REPLY_SLOT_BYTES_AT as u64,
        MEMORY_AT as u64,
        HUGE_PAGES_AT as u64,
        COUNTER_MAX as u64,
        HUGE_PAGE_BYTES as u64,
        TAIL_AT as u64,
        SLEEPS_AT as u64,
        HEAD_AT as u64,
        HEARTBEAT_AT as u64,
        ENTRIES_AT as u64,
        ENTRY_BYTES as u64,
        ENTRIES_PER_DEPTH as u64,
        PAGE_BYTES as u64,
        KIND_REQUEST as u64,
        KIND_SHUT as u64,
        KIND_GO_ON as u64,
        KIND_STOP as u64,
        STATUS_OK as u64,
        STATUS_FAILED as u64,
        STATUS_PART as u64,
        STATUS_DONE as u64,
        DESCRIPTOR_REVISION,
    ];
    let mut hash = FNV_OFFSET;
    let mut at = 0;
    while at < facts.len() {
        hash = (hash ^ facts[at]).wrapping_mul(FNV_PRIME);
        at += 1;
    }
    hash
}

/// Raise it when the meaning of a word inside a descriptor changes.
const DESCRIPTOR_REVISION: u64 = 3;
/// FNV-1a's published constants: a hash that can run at compile time is all that is needed.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// What a lane's segments are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Sealed anonymous files, mapped by both sides. The fast and the safe choice.
    Memfd,
    /// Named shared memory, read by the engine through system calls. Where sealing is not to be
    /// had.
    Posix,
}

impl Memory {
    /// The name it goes by in settings and logs.
    pub fn name(self) -> &'static str {
        match self {
            Memory::Memfd => "memfd",
            Memory::Posix => "posix",
        }
    }

    fn word(self) -> u32 {
        match self {
            Memory::Memfd => 1,
            Memory::Posix => 2,
        }
    }
}

/// What both sides agree on before a lane exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneConfig {
    /// Requests that may be out at once: a power of two from 2 to 64.
    pub ring_depth: u32,
    /// Request slots, and as many reply slots; at most `ring_depth`.
    pub slots: u32,
    /// Bytes of one request slot; its memory is rounded up to whole pages.
    pub request_slot_bytes: u32,
    /// Bytes of one reply slot; its memory is rounded up to whole pages.
    pub reply_slot_bytes: u32,
    /// What the segments are made of.
    pub memory: Memory,
    /// Whether slots lie on 2 MiB pages; memfd only.
    pub huge_pages: bool,
}

impl LaneConfig {
    /// A lane over sealed memory with pages of 4 KiB.
    pub const fn new(
        ring_depth: u32,
        slots: u32,
        request_slot_bytes: u32,
        reply_slot_bytes: u32,
    ) -> LaneConfig {
        let memory = Memory::Memfd;
        let huge_pages = false;
        LaneConfig { ring_depth, slots, request_slot_bytes, reply_slot_bytes, memory, huge_pages }
    }

    /// Refuses sizes that could not make a lane.
    pub fn check(&self) -> Result<(), LaneError> {
        let depths = RING_DEPTH_MIN..=RING_DEPTH_MAX;
        if !self.ring_depth.is_power_of_two() || !depths.contains(&self.ring_depth) {
            return Err(LaneError::RingDepth { ring_depth: self.ring_depth });
        }
        if self.slots == 0 || self.slots > self.ring_depth {
            return Err(LaneError::Slots { slots: self.slots, ring_depth: self.ring_depth });
        }
        if self.huge_pages && self.memory != Memory::Memfd {
            return Err(LaneError::HugePages);
        }
        for slot_bytes in [self.request_slot_bytes, self.reply_slot_bytes] {
            let all_bytes = u64::from(self.slots) * u64::from(slot_bytes);
            let sizes = 1..=SLOT_BYTES_MAX;
            if !sizes.contains(&slot_bytes) || all_bytes > SEGMENT_BYTES_MAX {
                return Err(LaneError::SlotBytes { slot_bytes });
            }
        }
        Ok(())
    }

    /// Descriptors each ring holds.
    pub(crate) fn ring_entries(&self) -> u32 {
        self.ring_depth * ENTRIES_PER_DEPTH
    }

    #[cfg(not(loom))]
    pub(crate) fn segment_bytes(&self, part: Part) -> usize {
        match part {
            Part::EngineOut => self.engine_out_bytes(),
            Part::ContainerOut => self.container_out_bytes(),
            Part::RequestData => self.request_data_bytes(),
        }
    }

    fn control_bytes(&self) -> usize {
        ENTRIES_AT + self.ring_entries() as usize * ENTRY_BYTES
    }

    pub(crate) fn engine_out_bytes(&self) -> usize {
        self.control_bytes().next_multiple_of(PAGE_BYTES)
    }

    /// Where the reply slots begin in the container's segment.
    pub(crate) fn replies_at(&self) -> usize {
        self.whole_pages(self.control_bytes())
    }

    pub(crate) fn container_out_bytes(&self) -> usize {
        self.replies_at() + self.slots as usize * self.reply_stride()
    }

    pub(crate) fn request_data_bytes(&self) -> usize {
        self.slots as usize * self.request_stride()
    }

    pub(crate) fn request_stride(&self) -> usize {
        self.whole_pages(self.request_slot_bytes as usize)
    }

    pub(crate) fn reply_stride(&self) -> usize {
        self.whole_pages(self.reply_slot_bytes as usize)
    }

    /// Rounds up to whole pages; the largest input is a checked segment, far from overflow.
    fn whole_pages(&self, bytes: usize) -> usize {
        let page_bytes = if self.huge_pages { HUGE_PAGE_BYTES } else { PAGE_BYTES };
        bytes.next_multiple_of(page_bytes)
    }

    /// Byte offset of a request slot in D.
    pub(crate) fn request_slot_at(&self, slot: u32) -> usize {
        slot as usize * self.request_stride()
    }

    /// Byte offset of a reply slot in C.
    pub(crate) fn reply_slot_at(&self, slot: u32) -> usize {
        self.replies_at() + slot as usize * self.reply_stride()
    }
}

/// The agreed words as they stand in the header of E.
pub(crate) fn header_words(config: &LaneConfig) -> [(usize, u32); 6] {
    [
        (RING_DEPTH_AT, config.ring_depth),
        (SLOTS_AT, config.slots),
        (REQUEST_SLOT_BYTES_AT, config.request_slot_bytes),
        (REPLY_SLOT_BYTES_AT, config.reply_slot_bytes),
        (MEMORY_AT, config.memory.word()),
        (HUGE_PAGES_AT, config.huge_pages.into()),
    ]
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: LaneConfig = LaneConfig::new(4, 3, 5000, 100);

    #[test]
    fn slots_start_on_pages_and_do_not_overlap() {
        for slot in 0..SMALL.slots {
            assert_eq!(SMALL.request_slot_at(slot) % PAGE_BYTES, 0);
            assert_eq!(SMALL.reply_slot_at(slot) % PAGE_BYTES, 0);
        }
        assert_eq!(SMALL.request_slot_at(1) - SMALL.request_slot_at(0), 8192);
        assert_eq!(SMALL.request_data_bytes(), 3 * 8192);
        assert_eq!(SMALL.container_out_bytes(), SMALL.replies_at() + 3 * 4096);
    }

    #[test]
    fn descriptors_end_before_the_reply_slots_begin() {
        for ring_depth in [2, 4, 8, 16, 32, 64] {
            let config = LaneConfig { ring_depth, slots: 2, ..SMALL };
            let entries_end = ENTRIES_AT + config.ring_entries() as usize * ENTRY_BYTES;
            assert!(entries_end <= config.replies_at());
        }
    }

    #[test]
    fn refuses_sizes_that_make_no_lane() {
        assert!(SMALL.check().is_ok());
        for ring_depth in [0, 1, 3, 6, 128, u32::MAX] {
            assert!(LaneConfig { ring_depth, ..SMALL }.check().is_err(), "{ring_depth}");
        }
        for slots in [0, 5, u32::MAX] {
            assert!(LaneConfig { slots, ..SMALL }.check().is_err(), "{slots}");
        }
        for bytes in [0, SLOT_BYTES_MAX + 1, u32::MAX] {
            assert!(LaneConfig { request_slot_bytes: bytes, ..SMALL }.check().is_err());
            assert!(LaneConfig { reply_slot_bytes: bytes, ..SMALL }.check().is_err());
        }
    }

    #[test]
    fn refuses_slots_that_together_exceed_a_segment() {
        let config = LaneConfig::new(16, 16, SLOT_BYTES_MAX, 1);
        assert!(config.check().is_err());
    }
}
