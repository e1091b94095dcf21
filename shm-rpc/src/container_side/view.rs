//! A request seen where it lies, for models that read each byte once: the copy would be the second read.
//!
//! In posix memory as in sealed memory. What differs is that a posix segment can be cut off: looking at it would then
//! end this container, as copying from it would. Deliberately absent: views that outlive the batch (see `frozen`).

use super::{ContainerSide, Request};
use crate::engine_side::check_in_slot;
use crate::error::LaneError;

impl ContainerSide {
    /// Bytes of a request. Neither its reply nor an escape is possible while they are looked at.
    pub fn view<'a>(&'a self, r: &'a Request, at: u32, len: u32) -> Result<&'a [u8], LaneError> {
        check_in_slot(at, len as usize, r.total_bytes.min(self.config.request_slot_bytes))?;
        let from = self.slot(r).base();
        // SAFETY: the range was just checked to lie in the slot, and the slot in its mapping, which outlives the borrow
        // of `self`. Nobody writes there meanwhile: on this side only `escape` would, and it needs `self` for itself.
        // The engine started this process and could write all its memory, and is believed here: it writes a slot
        // before it sends it and not again until the reply, and `reply` takes the request that is borrowed.
        Ok(unsafe { std::slice::from_raw_parts(from.add(at as usize).as_ptr(), len as usize) })
    }
}
