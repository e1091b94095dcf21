//! One shared mapping, unmapped on drop. Descriptors reach it through `memfd` and `posix`.

use super::Window;
use crate::error::LaneError;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use std::ops::Deref;
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

/// Owns a range of our address space, and is read and written as a [`Window`].
pub(crate) struct Mapping {
    window: Window,
}

impl Deref for Mapping {
    type Target = Window;

    fn deref(&self) -> &Window {
        &self.window
    }
}

impl Mapping {
    /// Maps `len` bytes of `fd` from `offset` and enters them into our tables; both are multiples
    /// of a page.
    pub(crate) fn new(
        fd: BorrowedFd<'_>,
        offset: usize,
        len: usize,
        access: Access,
    ) -> Result<Mapping, LaneError> {
        let mapping = Mapping::untouched(fd, offset, len, access)?;
        mapping.prefault(access)?;
        Ok(mapping)
    }

    /// Maps without touching a page, so that the memory's node can still be chosen.
    pub(crate) fn untouched(
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
        Mapping::own(base.cast(), len)
    }

    /// Takes over a fresh range the kernel just returned.
    pub(crate) fn own(base: *mut u8, len: usize) -> Result<Mapping, LaneError> {
        let base = NonNull::new(base).ok_or(Errno::NOMEM);
        let base = base.map_err(LaneError::system("map a segment"))?;
        // SAFETY: the kernel returned `len` bytes at a page; they stay mapped until `drop` or
        // `into_raw`, and a window borrowed from a Mapping ends before either.
        Ok(Mapping { window: unsafe { Window::over(base, len) } })
    }

    /// Gives the range away: nobody unmaps it any more.
    pub(crate) fn into_raw(self) -> (NonNull<u8>, usize) {
        let parts = (self.base(), self.len());
        std::mem::forget(self);
        parts
    }

    /// Enters the pages into our tables, so that the first batches take no faults.
    pub(crate) fn prefault(&self, access: Access) -> Result<(), LaneError> {
        let advice = match access {
            Access::ReadOnly => Advice::LinuxPopulateRead,
            Access::ReadWrite => Advice::LinuxPopulateWrite,
        };
        let len = self.len().min(PREFAULT_BYTES_MAX);
        // SAFETY: the range is our fresh mapping; populating changes no byte of it.
        match unsafe { madvise(self.base().as_ptr().cast(), len, advice) } {
            // Kernels before 5.14 don't know the advice; the pages then fault in one by one.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(LaneError::system("touch a segment")(errno)),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is ours alone, and windows borrowed from it have ended.
        let unmapped = unsafe { munmap(self.base().as_ptr().cast(), self.len()) };
        debug_assert!(unmapped.is_ok(), "a mapping is unmapped once");
    }
}
