//! Sealed anonymous files: made by the engine, checked by the container.
//!
//! A sealed size means that no load from the mapping can ever raise SIGBUS, whatever the peer
//! does with its descriptor; FUTURE_WRITE means that it can't even get a writable mapping. The
//! engine's segment is mapped writable first and sealed after, as the seal spares old mappings.

use super::{Access, Mapping};
use crate::error::LaneError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat,
    memfd_create,
};
use rustix::io::Errno;

/// Which of the three segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// E: written by the engine, read by the container.
    EngineOut,
    /// C: written by the container, read by the engine.
    ContainerOut,
    /// D: request slots, written by the engine, and by in-place models.
    RequestData,
}

impl Segment {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Segment::EngineOut => "engine_out",
            Segment::ContainerOut => "container_out",
            Segment::RequestData => "request_data",
        }
    }

    fn seals(self) -> SealFlags {
        let size = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        match self {
            Segment::EngineOut => size | SealFlags::FUTURE_WRITE,
            Segment::ContainerOut | Segment::RequestData => size,
        }
    }

    fn engine_access(self) -> Access {
        match self {
            Segment::EngineOut | Segment::RequestData => Access::ReadWrite,
            Segment::ContainerOut => Access::ReadOnly,
        }
    }
}

/// Makes one segment: backed by memory now, mapped for the engine, then sealed.
pub(crate) fn create(segment: Segment, len: usize) -> Result<(OwnedFd, Mapping), LaneError> {
    let fd = create_sealable(segment.name())?;
    // Unbacked pages would turn into SIGBUS or an OOM kill in whoever touches them first.
    fallocate(&fd, FallocateFlags::empty(), 0, len as u64)
        .map_err(LaneError::system("reserve memory for a segment"))?;
    let mapping = Mapping::new(fd.as_fd(), 0, len, segment.engine_access())?;
    fcntl_add_seals(&fd, segment.seals()).map_err(LaneError::system("seal a segment"))?;
    Ok((fd, mapping))
}

/// What a container believes about a descriptor it was sent: its seals and its size.
pub(crate) fn check(segment: Segment, fd: BorrowedFd<'_>, len: usize) -> Result<(), LaneError> {
    let seals = fcntl_get_seals(fd).map_err(LaneError::system("read a segment's seals"))?;
    if !seals.contains(segment.seals()) {
        return Err(LaneError::Unsealed { segment: segment.name(), seals: seals.bits() });
    }
    let stat = fstat(fd).map_err(LaneError::system("read a segment's size"))?;
    let (expected, found) = (len as u64, stat.st_size as u64);
    if expected != found {
        return Err(LaneError::SegmentBytes { segment: segment.name(), expected, found });
    }
    Ok(())
}

fn create_sealable(name: &str) -> Result<OwnedFd, LaneError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let created = match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 don't know the flag; the file then merely could be executable.
        Err(Errno::INVAL) => memfd_create(name, flags),
        created => created,
    };
    created.map_err(LaneError::system("create a segment"))
}

#[cfg(test)]
mod tests;
