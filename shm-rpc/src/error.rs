//! What can go wrong: [`LaneError`] while a lane is made, [`LaneFault`] while it runs.
//!
//! A fault means that the peer's words contradict our own record. It ends that incarnation of the
//! replica and is never a panic. Deliberately absent: any text taken from the peer.

use std::io;

/// Why a lane could not be made, joined or written.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    #[error("ring depth {ring_depth} is not a power of two from 2 to 64: choose one")]
    RingDepth { ring_depth: u32 },
    #[error("{slots} slots do not fit a ring of depth {ring_depth}: use 1 to {ring_depth} slots")]
    Slots { slots: u32, ring_depth: u32 },
    #[error(
        "a slot of {slot_bytes} bytes is not possible: use 1 byte to 1 GiB a slot and at most \
         8 GiB in all"
    )]
    SlotBytes { slot_bytes: u32 },
    #[error("huge pages need sealed memory: choose memfd, or no huge pages")]
    HugePages,
    #[error(
        "could not {doing}: check the limits on memory, threads and open files of this process"
    )]
    System { doing: &'static str, source: io::Error },
    #[error(
        "segment {segment} lacks its seals (has {seals:#x}): the sender is no Hydrofoil engine"
    )]
    Unsealed { segment: &'static str, seals: u32 },
    #[error(
        "segment {segment} has {found} bytes, expected {expected}: rebuild engine and container from one version"
    )]
    SegmentBytes { segment: &'static str, expected: u64, found: u64 },
    #[error(
        "the segment's {word} is {found:#x}, expected {expected:#x}: rebuild engine and container from one version"
    )]
    Header { word: &'static str, expected: u64, found: u64 },
    #[error(
        "{len} bytes at {at} do not fit the slot of {slot_bytes} bytes: send fewer rows or declare larger outputs"
    )]
    OutOfSlot { at: u32, len: usize, slot_bytes: u32 },
    #[error(
        "a message of {bytes} bytes arrived where at most {bytes_max} are allowed: the peer must send less"
    )]
    MessageTooLarge { bytes: usize, bytes_max: usize },
    #[error(
        "{count} descriptors came with the message, expected {expected}: the sender is no Hydrofoil engine"
    )]
    DescriptorCount { count: usize, expected: usize },
    #[error("the peer closed the socket: see its last output")]
    Closed,
    #[error("the peer does not read its socket: replace it")]
    PeerNotReading,
    #[error("the peer did not answer within {seconds} s: see its last output")]
    PeerSilent { seconds: u64 },
    #[error("the lane broke: {0}")]
    Fault(#[from] LaneFault),
}

impl LaneError {
    /// Wraps a failed system call with what it was for.
    #[cfg(not(loom))]
    pub(crate) fn system(doing: &'static str) -> impl Fn(rustix::io::Errno) -> LaneError {
        move |errno| LaneError::System { doing, source: errno.into() }
    }
}

/// How the peer broke the protocol. The lane is finished: replace the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneFault {
    #[error("the peer claims {claimed} unread descriptors in a ring of {capacity}")]
    TailOutOfRange { claimed: u32, capacity: u32 },
    #[error("the peer claims to have taken {claimed} descriptors of {pushed} outstanding")]
    HeadOutOfRange { claimed: u32, pushed: u32 },
    #[error("the peer answers without taking its descriptors: the ring is full")]
    RingFull,
    #[error("descriptor of unknown kind {kind}")]
    UnknownKind { kind: u32 },
    #[error("slot {slot} of {slots}")]
    UnknownSlot { slot: u32, slots: u32 },
    #[error("slot {slot} is not in flight")]
    SlotNotInFlight { slot: u32 },
    #[error("slot {slot} already awaits a reply")]
    SlotTwice { slot: u32 },
    #[error("slot {slot} has generation {expected}, the peer says {found}")]
    WrongGeneration { slot: u32, expected: u32, found: u32 },
    #[error("slot {slot} carries tag {expected}, the peer says {found}")]
    WrongTag { slot: u32, expected: u64, found: u64 },
    #[error("slot {slot} was told to stop and goes on")]
    PartAfterStop { slot: u32 },
    #[error("slot {slot} goes on before its last part was taken")]
    TooSoon { slot: u32 },
    #[error("slot {slot} was told how to go on, and had no part out")]
    VerdictUnasked { slot: u32 },
    #[error("unknown status {status}")]
    UnknownStatus { status: u32 },
    #[error("a header of {header_bytes} bytes in {total_bytes} bytes of a slot of {slot_bytes}")]
    Lengths { header_bytes: u32, total_bytes: u32, slot_bytes: u32 },
    #[error("{len} bytes at {at} lie outside a message of {total_bytes} bytes")]
    OutsideMessage { at: u32, len: usize, total_bytes: u32 },
    #[error("the peer's position reads {word}, and positions are at most 255")]
    NoCounter { word: u32 },
    #[error("the peer rang {rings} times more than it had anything to say")]
    BellStorm { rings: u32 },
    #[error("a segment was cut off under the lane")]
    SegmentCut,
    #[cfg(not(loom))]
    #[error("a segment can't be read or written: {0}")]
    SegmentIo(rustix::io::Errno),
    #[cfg(not(loom))]
    #[error("could not wait for the peer: {0}")]
    Wait(rustix::io::Errno),
}

impl LaneFault {
    /// The stable name of the violation, for logs, metrics and tests.
    pub fn name(&self) -> &'static str {
        match self {
            LaneFault::TailOutOfRange { .. } => "tail_out_of_range",
            LaneFault::HeadOutOfRange { .. } => "head_out_of_range",
            LaneFault::RingFull => "ring_full",
            LaneFault::UnknownKind { .. } => "unknown_kind",
            LaneFault::UnknownSlot { .. } => "unknown_slot",
            LaneFault::SlotNotInFlight { .. } => "slot_not_in_flight",
            LaneFault::SlotTwice { .. } => "slot_twice",
            LaneFault::WrongGeneration { .. } => "wrong_generation",
            LaneFault::WrongTag { .. } => "wrong_tag",
            LaneFault::PartAfterStop { .. } => "part_after_stop",
            LaneFault::TooSoon { .. } => "too_soon",
            LaneFault::VerdictUnasked { .. } => "verdict_unasked",
            LaneFault::UnknownStatus { .. } => "unknown_status",
            LaneFault::Lengths { .. } => "lengths",
            LaneFault::OutsideMessage { .. } => "outside_message",
            LaneFault::NoCounter { .. } => "no_counter",
            LaneFault::BellStorm { .. } => "bell_storm",
            LaneFault::SegmentCut => "segment_cut",
            #[cfg(not(loom))]
            LaneFault::SegmentIo(_) => "segment_io",
            #[cfg(not(loom))]
            LaneFault::Wait(_) => "wait",
        }
    }
}
