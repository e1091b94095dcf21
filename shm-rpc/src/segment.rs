//! A mapping of shared memory, and the copies in and out of it.
//!
//! A [`Mapping`] never yields a reference or slice: the peer may write the same bytes at any
//! moment. Bytes cross by `copy_in` and `copy_out`, both bounds-checked against the mapping.
//! Descriptors reach the mapping through `memfd`. Deliberately absent: a trait over several kinds
//! of segment, until the second kind exists.

pub(crate) mod memfd;

use crate::error::LaneError;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use std::ptr::NonNull;

/// What our side may do with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// At most this much of a mapping is entered into our page tables beforehand; the memory itself
/// is always backed. Larger lanes pay one minor fault per page on the first batches instead of a
/// start that takes seconds.
const PREFAULT_BYTES_MAX: usize = 64 << 20;

/// One shared mapping, unmapped on drop.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and every access goes through
// raw copies or atomics.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd` from `offset`; both are multiples of a page.
    pub(crate) fn new(
        fd: BorrowedFd<'_>,
        offset: usize,
        len: usize,
        access: Access,
    ) -> Result<Mapping, LaneError> {
        let prot = match access {
            Access::ReadOnly => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        let hint = std::ptr::null_mut();
        // SAFETY: without a fixed address the kernel chooses a range nothing else uses.
        let base = unsafe { mmap(hint, len, prot, MapFlags::SHARED, fd, offset as u64) }
            .map_err(LaneError::system("map a segment"))?;
        let mapping = Mapping::own(base.cast(), len)?;
        mapping.prefault(access)?;
        Ok(mapping)
    }

    /// Takes over a fresh range the kernel just returned.
    pub(crate) fn own(base: *mut u8, len: usize) -> Result<Mapping, LaneError> {
        let base = NonNull::new(base).ok_or(Errno::NOMEM);
        Ok(Mapping { base: base.map_err(LaneError::system("map a segment"))?, len })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Gives the range away: nobody unmaps it any more.
    pub(crate) fn into_raw(self) -> (NonNull<u8>, usize) {
        let parts = (self.base, self.len);
        std::mem::forget(self);
        parts
    }

    /// Copies `bytes` into the mapping, which must be writable.
    #[inline]
    pub(crate) fn copy_in(&self, at: usize, bytes: &[u8]) {
        self.check_range(at, bytes.len());
        // SAFETY: the range was just checked, `bytes` is private memory that can't overlap a
        // mapping of ours, and callers only write mappings made ReadWrite.
        unsafe { self.base.add(at).as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Copies bytes out. The peer may be writing them: what arrives is a copy to be checked.
    #[inline]
    pub(crate) fn copy_out(&self, at: usize, into: &mut [u8]) {
        self.check_range(at, into.len());
        // SAFETY: the range was just checked and `into` is private memory that can't overlap it.
        unsafe { self.base.add(at).as_ptr().copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) }
    }

    /// Our own bug if it fails: callers check what the peer says before they come here.
    fn check_range(&self, at: usize, len: usize) {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(inside, "a copy lies inside its mapping");
    }

    /// Enters the pages into our tables, so that the first batches take no faults.
    fn prefault(&self, access: Access) -> Result<(), LaneError> {
        let advice = match access {
            Access::ReadOnly => Advice::LinuxPopulateRead,
            Access::ReadWrite => Advice::LinuxPopulateWrite,
        };
        let len = self.len.min(PREFAULT_BYTES_MAX);
        // SAFETY: the range is our fresh mapping; populating changes no byte of it.
        match unsafe { madvise(self.base.as_ptr().cast(), len, advice) } {
            // Kernels before 5.14 don't know the advice; the pages then fault in one by one.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(LaneError::system("touch a segment")(errno)),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is ours alone; Words and Entries over it are dropped by the side
        // that owns both, and never used after.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping is unmapped once");
    }
}
