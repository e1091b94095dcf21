//! The fences every part orders its steps with: the standard library's, or loom's under its models.
//!
//! Loads of shared words come in one strength: relaxed, followed by [`acquire`] where it matters.
//! Atomic loads stronger than relaxed are not guaranteed on memory mapped read-only, and every
//! word we load is mapped read-only on our side or may be. A segment that is read by system calls
//! orders the same way: the fences stand before and after the call.

#[cfg(loom)]
use loom::sync::atomic::{Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{Ordering, fence};

/// Pairs a relaxed load that saw new work with the peer's releasing store.
#[inline]
pub(crate) fn acquire() {
    fence(Ordering::Acquire);
}

/// Orders everything written before with the store that follows.
#[cfg(not(loom))]
#[inline]
pub(crate) fn release() {
    fence(Ordering::Release);
}

/// Orders our store before our next load; the peer has the same fence the other way round.
#[inline]
pub(crate) fn full_fence() {
    fence(Ordering::SeqCst);
}
