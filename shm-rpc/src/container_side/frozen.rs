//! A private copy under views that outlive their batch: the range they see stays, the slot moves away from it.

use crate::error::LaneError;
use crate::segment::Mapping;
use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap_fixed, munmap};
use std::ptr::NonNull;

/// Private memory that stands where a slot was mapped, for views that outlive a batch.
///
/// Dropping it keeps the memory, so that views stay valid for ever.
#[derive(Debug)]
pub struct Escaped {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: it is only an address range of this process.
unsafe impl Send for Escaped {}

impl Escaped {
    /// Where the frozen copy lies: the address the slot had before.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Its length in bytes, whole pages.
    pub fn mapped_bytes(&self) -> usize {
        self.len
    }

    /// Returns the memory to the system.
    ///
    /// # Safety
    /// No view of the range may be used any more.
    pub unsafe fn unmap(self) {
        // SAFETY: the range is private, ours, and by the caller's word unused.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "an escaped range is unmapped once");
    }
}

/// Puts a private copy where `slot` lies, and `fresh` in its place.
pub(super) fn freeze(
    slot: &mut Mapping,
    fresh: Mapping,
    used_bytes: u32,
) -> Result<Escaped, LaneError> {
    let copy = private_copy(&fresh, used_bytes)?;
    let (len, to) = (copy.len(), slot.base().as_ptr().cast());
    // SAFETY: both ranges are mappings of ours of the same length; no Rust reference into
    // either exists, only raw views, which see equal bytes before and after.
    unsafe { mremap_fixed(copy.base().as_ptr().cast(), len, len, MremapFlags::MAYMOVE, to) }
        .map_err(LaneError::system("move a copy under the views of a batch"))?;
    // The kernel moved the range away: nothing is left to unmap there.
    let _moved = copy.into_raw();
    let (base, len) = std::mem::replace(slot, fresh).into_raw();
    Ok(Escaped { base, len })
}

/// Fresh private memory as large as `source`, holding its first `used_bytes`.
fn private_copy(source: &Mapping, used_bytes: u32) -> Result<Mapping, LaneError> {
    let (len, prot) = (source.len(), ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: without a fixed address the kernel chooses a range nothing else uses.
    let base = unsafe { mmap_anonymous(std::ptr::null_mut(), len, prot, MapFlags::PRIVATE) }
        .map_err(LaneError::system("copy a batch that is kept"))?;
    let copy = Mapping::own(base.cast(), len)?;
    assert!(used_bytes as usize <= len, "a message lies inside its slot");
    // SAFETY: both mappings are at least `used_bytes` long, distinct, and `copy` is writable.
    unsafe {
        let from = source.base().as_ptr().cast_const();
        copy.base().as_ptr().copy_from_nonoverlapping(from, used_bytes as usize);
    }
    Ok(copy)
}
