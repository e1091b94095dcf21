//! The three segments of a lane, in two kinds of memory, behind one trait.
//!
//! [`memfd`] is the default: sealed anonymous files, mapped by both sides. [`posix`] serves where
//! sealing is not to be had: named shared memory whose size the peer may change at any moment, so
//! the engine never loads from it but reads and writes it by system calls. Either way bytes cross
//! by copies, bounds-checked; no reference to memory a peer may write is ever made.

pub(crate) mod backing;
mod mapping;
pub(crate) mod memfd;
mod numa;
pub(crate) mod posix;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use mapping::{Access, Mapping};
pub(crate) use window::Window;
#[cfg(test)]
pub(crate) use window::heap::Heap;

use crate::control::Control;
use crate::error::LaneFault;

/// A whole segment: its control head, and its bytes.
pub(crate) trait Segment: Control {
    /// Copies `bytes` in. The range is ours to check and lies inside.
    fn put(&self, at: usize, bytes: &[u8]) -> Result<(), LaneFault>;

    /// Copies bytes out. The peer may be writing them: what arrives is a copy to be checked.
    fn get(&self, at: usize, into: &mut [u8]) -> Result<(), LaneFault>;

    /// Wakes the one process that may sleep on the word at `at`.
    fn wake(&self, at: usize);
}

/// Which of the three segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// E: written by the engine, read by the container.
    EngineOut,
    /// C: written by the container, read by the engine.
    ContainerOut,
    /// D: request slots, written by the engine, and by in-place models.
    RequestData,
}

impl Part {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::EngineOut => "engine_out",
            Part::ContainerOut => "container_out",
            Part::RequestData => "request_data",
        }
    }

    /// What the engine's mapping allows.
    fn engine_access(self) -> Access {
        match self {
            Part::EngineOut | Part::RequestData => Access::ReadWrite,
            Part::ContainerOut => Access::ReadOnly,
        }
    }
}
