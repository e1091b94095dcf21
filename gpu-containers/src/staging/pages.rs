//! Shared memory as a lane's request segment has it, for the probe to pin.

use std::ptr::NonNull;
use std::rc::Rc;

use rustix::fd::AsFd;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::device::{Context, CudaError, Registered, Registration};

/// Whole pages of an anonymous file, mapped once.
#[derive(Debug)]
pub struct SharedPages {
    at: NonNull<u8>,
    bytes: usize,
    registration: Registration,
}

impl SharedPages {
    /// All zeros. Read-only pages are filled through a mapping that is gone by then.
    pub fn new(bytes: usize, registration: Registration) -> Result<SharedPages, Errno> {
        let fd = memfd_create("foil-probe", MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, bytes as u64)?;
        let prot = match registration {
            Registration::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
            Registration::ReadOnly => ProtFlags::READ,
        };
        let hint = std::ptr::null_mut();
        // SAFETY: without a fixed address the kernel chooses a range nothing else uses; populated, no page is missing.
        let at = unsafe {
            mmap(hint, bytes, prot, MapFlags::SHARED | MapFlags::POPULATE, fd.as_fd(), 0)
        }?;
        let at = NonNull::new(at.cast()).ok_or(Errno::NOMEM)?;
        Ok(SharedPages { at, bytes, registration })
    }

    /// Pins them.
    pub fn register(self, context: &Rc<Context>) -> Result<PinnedPages, CudaError> {
        let (at, bytes) = (self.at.as_ptr(), self.bytes);
        // SAFETY: mapped as `registration` says until `self` is dropped, which is after what pins them.
        let pinned = unsafe { Registered::new(context, at, bytes, self.registration) }?;
        Ok(PinnedPages { _pinned: pinned, pages: self })
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped readable until `self` is dropped, and known to this process alone.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.bytes) }
    }

    /// Of writable pages.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        assert_eq!(self.registration, Registration::ReadWrite, "only writable pages are written");
        // SAFETY: mapped writable, and borrowed for itself with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.bytes) }
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        // SAFETY: mapped once, unmapped once; what pinned them borrowed them.
        let unmapped = unsafe { munmap(self.at.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping is unmapped once");
    }
}

/// Pages that are pinned where they lie.
#[derive(Debug)]
pub struct PinnedPages {
    /// Before the pages: let go of while they are still mapped.
    _pinned: Registered,
    pub pages: SharedPages,
}
