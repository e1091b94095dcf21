//! One segment on the engine's side, whichever memory it lies in.

use super::memfd::{self, Pages};
use super::posix::{self, PosixSegment};
use super::{Mapping, Part, Segment};
use crate::control::{Control, Entry};
use crate::error::{LaneError, LaneFault};
use crate::layout::{LaneConfig, Memory};
use rustix::fd::OwnedFd;

pub(crate) enum Backing {
    Memfd(Mapping),
    Posix(PosixSegment),
}

impl Backing {
    /// Makes one segment of a lane, and the descriptor the container gets.
    pub(crate) fn create(
        part: Part,
        config: &LaneConfig,
        node: Option<u32>,
    ) -> Result<(OwnedFd, Backing), LaneError> {
        let len = config.segment_bytes(part);
        match config.memory {
            Memory::Memfd => {
                // Control words need no huge page of their own.
                let huge = config.huge_pages && part != Part::EngineOut;
                let (fd, mapping) = memfd::create(part, len, Pages { huge, node })?;
                Ok((fd, Backing::Memfd(mapping)))
            }
            Memory::Posix => {
                let (fd, segment) = posix::create(part, len, node)?;
                Ok((fd, Backing::Posix(segment)))
            }
        }
    }
}

impl Control for Backing {
    #[inline]
    fn load(&self, at: usize) -> Result<u32, LaneFault> {
        match self {
            Backing::Memfd(mapping) => mapping.load(at),
            Backing::Posix(segment) => segment.load(at),
        }
    }

    #[inline]
    fn store(&self, at: usize, value: u32) -> Result<(), LaneFault> {
        match self {
            Backing::Memfd(mapping) => mapping.store(at, value),
            Backing::Posix(segment) => segment.store(at, value),
        }
    }

    #[inline]
    fn publish(&self, at: usize, value: u32) -> Result<(), LaneFault> {
        match self {
            Backing::Memfd(mapping) => mapping.publish(at, value),
            Backing::Posix(segment) => segment.publish(at, value),
        }
    }

    #[inline]
    fn read_entry(&self, at: usize) -> Result<Entry, LaneFault> {
        match self {
            Backing::Memfd(mapping) => mapping.read_entry(at),
            Backing::Posix(segment) => segment.read_entry(at),
        }
    }

    #[inline]
    fn write_entry(&self, at: usize, entry: &Entry) -> Result<(), LaneFault> {
        match self {
            Backing::Memfd(mapping) => mapping.write_entry(at, entry),
            Backing::Posix(segment) => segment.write_entry(at, entry),
        }
    }
}

impl Segment for Backing {
    #[inline]
    fn put(&self, at: usize, bytes: &[u8]) -> Result<(), LaneFault> {
        match self {
            Backing::Memfd(mapping) => mapping.put(at, bytes),
            Backing::Posix(segment) => segment.put(at, bytes),
        }
    }

    #[inline]
    fn get(&self, at: usize, into: &mut [u8]) -> Result<(), LaneFault> {
        match self {
            Backing::Memfd(mapping) => mapping.get(at, into),
            Backing::Posix(segment) => segment.get(at, into),
        }
    }

    fn wake(&self, at: usize) {
        match self {
            Backing::Memfd(mapping) => mapping.wake(at),
            Backing::Posix(segment) => segment.wake(at),
        }
    }
}
