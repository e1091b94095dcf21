//! Sealed anonymous files: made by the engine, checked by the container.
//!
//! A sealed size means that no load from the mapping can ever raise SIGBUS, whatever the peer
//! does with its descriptor; FUTURE_WRITE means that it can't even get a writable mapping. The
//! engine's segment is mapped writable first and sealed after, as the seal spares old mappings.

use super::{Mapping, Part, numa};
use crate::error::LaneError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat,
    ftruncate, memfd_create,
};
use rustix::io::Errno;

#[cfg(test)]
mod tests;

/// What the memory of a segment is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Two-MiB pages from the system's reserve.
    pub(crate) huge: bool,
    /// The node the memory is asked from; None: where it is touched first.
    pub(crate) node: Option<u32>,
}

fn seals(part: Part) -> SealFlags {
    let size = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    match part {
        Part::EngineOut => size | SealFlags::FUTURE_WRITE,
        Part::ContainerOut | Part::RequestData => size,
    }
}

/// Makes one segment: backed by memory now, mapped for the engine, then sealed.
pub(crate) fn create(
    part: Part,
    len: usize,
    pages: Pages,
) -> Result<(OwnedFd, Mapping), LaneError> {
    let fd = create_sealable(part.name(), pages.huge)?;
    ftruncate(&fd, len as u64).map_err(LaneError::system("size a segment"))?;
    let access = part.engine_access();
    let mapping = Mapping::untouched(fd.as_fd(), 0, len, access)?;
    if let Some(node) = pages.node {
        numa::prefer(&mapping, node)?;
    }
    // Unbacked pages would turn into SIGBUS or an OOM kill in whoever touches them first.
    fallocate(&fd, FallocateFlags::empty(), 0, len as u64)
        .map_err(LaneError::system("reserve memory for a segment"))?;
    mapping.prefault(access)?;
    fcntl_add_seals(&fd, seals(part)).map_err(LaneError::system("seal a segment"))?;
    Ok((fd, mapping))
}

/// What a container believes about a descriptor it was sent: its seals and its size.
pub(crate) fn check(part: Part, fd: BorrowedFd<'_>, len: usize) -> Result<(), LaneError> {
    let found = fcntl_get_seals(fd).map_err(LaneError::system("read a segment's seals"))?;
    if !found.contains(seals(part)) {
        return Err(LaneError::Unsealed { segment: part.name(), seals: found.bits() });
    }
    check_size(part, fd, len)
}

pub(crate) fn check_size(part: Part, fd: BorrowedFd<'_>, len: usize) -> Result<(), LaneError> {
    let stat = fstat(fd).map_err(LaneError::system("read a segment's size"))?;
    let (expected, found) = (len as u64, stat.st_size as u64);
    if expected != found {
        return Err(LaneError::SegmentBytes { segment: part.name(), expected, found });
    }
    Ok(())
}

fn create_sealable(name: &str, huge: bool) -> Result<OwnedFd, LaneError> {
    let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if huge {
        flags |= MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    }
    let created = match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 don't know the flag; the file then merely could be executable.
        Err(Errno::INVAL) => memfd_create(name, flags),
        created => created,
    };
    created.map_err(LaneError::system("create a segment"))
}
