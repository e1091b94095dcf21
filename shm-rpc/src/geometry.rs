//! A lane's configuration as the welcome of Hydrofoil's handshake carries it.

use crate::layout::{LaneConfig, Memory};
use schemas::lifecycle::{LaneGeometry, LaneMemory};

impl From<&LaneGeometry> for LaneConfig {
    fn from(lane: &LaneGeometry) -> LaneConfig {
        LaneConfig {
            ring_depth: lane.ring_depth,
            slots: lane.slots,
            request_slot_bytes: lane.request_slot_bytes,
            reply_slot_bytes: lane.reply_slot_bytes,
            memory: match lane.memory {
                LaneMemory::Memfd => Memory::Memfd,
                LaneMemory::Posix => Memory::Posix,
            },
            huge_pages: lane.huge_pages,
        }
    }
}
